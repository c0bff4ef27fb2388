"""What WanGP's page shows of a run: its progress, and its one video in the gallery."""

import contextlib
import re
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any

from ..text import roughly
from .clip import Clip


def tell_progress(clip: Clip) -> None:
    """Adds the time left for all clips to WanGP's progress line, which says which window it is."""
    if not clip.seconds:
        return
    each = median(clip.seconds)
    passed = min(time.monotonic() - clip.started, each)
    left = roughly(each * (clip.total - clip.number) - passed)
    gen = clip.video.gen
    status = re.sub(r"(, )?about [^,]* left$", "", gen.get("progress_status") or "")
    gen["progress_status"] = f"{status}, about {left} left".removeprefix(", ")


def counting_down(callback: Callable[..., Any], clip: Clip) -> Callable[..., Any]:
    """WanGP's progress callback, which now updates the time left at each step of the model."""
    @wraps(callback)
    def told(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(Exception):  # a line on the page must not cost a clip
            tell_progress(clip)
        return callback(*arguments, **options)

    return told


def only_once(path: str, clip: Clip) -> None:
    """Takes the video out of WanGP's gallery, which is about to add it again, longer. If WanGP does
    not keep intermediate files, it replaces the last entry itself, and deletes its file."""
    video = clip.video
    if video.replaces and clip.number > 0:
        return
    with video.lock:
        shown, settings = video.gen.get("file_list"), video.gen.get("file_settings_list")
        if not shown or not settings or len(shown) != len(settings):
            return
        same = Path(path).resolve()
        for at in reversed([at for at, other in enumerate(shown) if _resolved(other) == same]):
            del shown[at], settings[at]
        if isinstance(selected := video.gen.get("selected"), int):
            video.gen["selected"] = max(0, min(selected, len(shown) - 1))


def keep_last(written: tuple[dict[str, Any], Any], clip: Clip) -> None:
    """Adds a clip that WanGP wrote into a file of its own to the gallery: WanGP is about to replace
    the last entry, the video so far, and would delete its file."""
    video, (configs, path) = clip.video, written
    if not (video.replaces and clip.number > 0):
        return
    with video.lock:
        shown, settings = video.gen.get("file_list"), video.gen.get("file_settings_list")
        if shown and settings is not None and _resolved(shown[-1]) != _resolved(path):
            shown.append(path)
            settings.append(configs)


def _resolved(path: Any) -> Path | None:
    return Path(path).resolve() if isinstance(path, (str, Path)) else None
