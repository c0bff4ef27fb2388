"""The video that is continued, before WanGP reads it: how long it is, and which run made it.

WanGP names used here: the keys of its settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..drift.layout import provenance
from ..text import duration
from .form import SettingsError
from .media import MediaError, opened, remembered

if TYPE_CHECKING:
    from ..runs.store import Run

MOST = 3000  #: frames that WanGP reads of a video
_FORMATS = "mov,matroska,avi,mpegts,asf,flv,ogg"


def given(inputs: Mapping[str, Any]) -> Any:
    """The file that a request continues; None if it starts otherwise."""
    return inputs.get("video_source") if "V" in str(inputs.get("image_prompt_type") or "") else None


@remembered("video", "a video")
def seconds(path: str) -> float:
    """How long a video is. Raises MediaError."""
    with opened(path, _FORMATS) as container:
        if not container.streams.video:
            raise MediaError(f"the file {Path(path).name} holds no video")
        track = container.streams.video[0]
        if track.duration is not None and track.time_base is not None:
            return float(track.duration * track.time_base)
        return (container.duration or 0) / 1e6


def obstacles(inputs: Mapping[str, Any], fps: float) -> Iterator[SettingsError]:
    """What keeps SVI from continuing a video that is made with `fps` frames a second."""
    path = given(inputs)
    if path is None or str(inputs.get("keep_frames_video_source") or ""):
        return  # the user says how much of it is used
    with contextlib.suppress(MediaError, ImportError):  # WanGP says so
        if (length := seconds(path)) * fps > MOST:
            yield SettingsError(
                f"the video {Path(path).name} lasts {duration(length)}, but WanGP reads only its "
                f"first {duration(MOST / fps)}, so the end would be lost. Extend its run in the "
                "tab SVI, which has no limit; or cut off its beginning, and join the two parts "
                "afterwards.",
                "source-length")


def run_of(inputs: Mapping[str, Any], outputs: Path) -> Run | None:
    """The run that made the video which is continued; None if it is not there, or unknown."""
    path = given(inputs)
    if path is None:
        return None
    from ..runs.record import StoreError
    from ..runs.store import FOLDER, Store  # loads torch
    from .check import settings_file

    with contextlib.suppress(settings_file.SavedError, StoreError, OSError):
        (_, settings), = settings_file.read(Path(path))
        name = provenance(settings).get("run")
        run = Store(outputs / FOLDER).open(name) if isinstance(name, str) else None
        made = run.video if run is not None else None
        return run if made is not None and made.samefile(path) else None
    return None
