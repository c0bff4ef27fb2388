"""What WanGP's page shows of a run: how far it has come, and its one video in the gallery."""

import re
from pathlib import Path
from statistics import median
from typing import Any

from ..text import roughly
from .clip import Clip


def tell_progress(current: Clip, gen: dict[str, Any]) -> None:
    """Which clip of how many, and how long all that are left will take, in WanGP's line of progress."""
    told = f"Clip {current.number + 1}/{current.total}"
    if current.seconds:
        told += f", about {roughly(median(current.seconds) * (current.total - current.number))} left"
    status = gen.get("progress_status") or ""
    gen["progress_status"] = re.sub(r"Sliding Window \d+/\d+", told, status) if "Sliding Window" in status else told


def only_once(path: str, current: Clip) -> None:
    """Takes the video out of WanGP's gallery, to which it is about to be added again, grown. Where intermediate files
    are not kept, WanGP replaces the last entry itself, and removes its file if it is another one."""
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
    """A clip that WanGP has written into a file of its own is not to take the place of the video so far, whose file
    WanGP would remove: it stands in the gallery already when WanGP replaces the last entry."""
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
