"""What WanGP's page shows of a run: its progress, and its one video in the gallery."""

import re
from pathlib import Path
from statistics import median
from typing import Any

from ..text import roughly
from .clip import Clip


def tell_progress(current: Clip, gen: dict[str, Any]) -> None:
    """Puts the current clip, and the time left for all of them, into WanGP's progress line."""
    told = f"Clip {current.number + 1}/{current.total}"
    if current.seconds:
        left = median(current.seconds) * (current.total - current.number)
        told += f", about {roughly(left)} left"
    status = gen.get("progress_status") or ""
    gen["progress_status"] = (re.sub(r"Sliding Window \d+/\d+", told, status)
                              if "Sliding Window" in status else told)


def only_once(path: str, current: Clip) -> None:
    """Takes the video out of WanGP's gallery, which is about to get it again with one more clip. If
    WanGP keeps no intermediate files, it replaces the last entry itself, and its file."""
    video = current.video
    if video.replaces and current.number > 0:
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


def keep_last(written: tuple[dict[str, Any], Any], current: Clip) -> None:
    """Adds a clip that WanGP wrote into a file of its own to the gallery: WanGP removes the file of
    the last entry, which would be the video so far."""
    video, (configs, path) = current.video, written
    if not (video.replaces and current.number > 0):
        return
    with video.lock:
        shown, settings = video.gen.get("file_list"), video.gen.get("file_settings_list")
        if shown and settings is not None and _resolved(shown[-1]) != _resolved(path):
            shown.append(path)
            settings.append(configs)


def _resolved(path: Any) -> Path | None:
    return Path(path).resolve() if isinstance(path, (str, Path)) else None
