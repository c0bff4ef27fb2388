"""What WanGP's page shows of a run: its progress, and its one video in the gallery."""

import re
from pathlib import Path
from statistics import median
from typing import Any

from ..text import roughly
from .clip import Clip


def tell_progress(clip: Clip, gen: dict[str, Any]) -> None:
    """Which clip of how many, and the time left for all of them, in WanGP's progress line."""
    told = f"Clip {clip.number + 1}/{clip.total}"
    if clip.seconds:
        left = median(clip.seconds) * (clip.total - clip.number)
        told += f", about {roughly(left)} left"
    status, window = gen.get("progress_status") or "", r"Sliding Window \d+/\d+"
    gen["progress_status"] = re.sub(window, told, status) if re.search(window, status) else told


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
