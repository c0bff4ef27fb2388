"""The video that is continued, before WanGP reads it: how long it is, and which run made it.

WanGP names used here: the keys of its settings.
"""

from __future__ import annotations

import contextlib
import filecmp
import itertools
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import files
from ..drift.layout import provenance
from ..files import read_json
from ..text import duration
from .form import SettingsError
from .media import MediaError, opened, remembered

if TYPE_CHECKING:
    from ..runs.store import Run

MOST = 3000  #: frames that WanGP reads of a video
FOLDER = "svi_sources"  #: beside the runs' folder: the ends of videos that are too long
_END = 81  # frames of such an end: a clip starts from the last ones
_CODECS = {"264": "h264", "265": "hevc"}  # WanGP's -> FFmpeg's
_NAMES = {"h264": "H.264", "hevc": "H.265"}
_PROBES = ("shared.utils.utils", "shared.utils.video_decode")  # WanGP's, which look at videos
_Cached = type(lru_cache(lambda: None))
_FORMATS = "mov,matroska,avi,mpegts,asf,flv,ogg"


def forget() -> None:
    """Has WanGP look at videos again. It remembers by its path how long a video is, and the video
    of a run grows: continued, all but its first clips would be lost."""
    for name in _PROBES:
        for function in [*vars(sys.modules.get(name, ModuleType(name))).values()]:
            if isinstance(function, _Cached):
                function.cache_clear()


def continues(inputs: Mapping[str, Any]) -> bool:
    """Whether a request continues a video: one that is given, or the last one of WanGP's list."""
    return bool(set(str(inputs.get("image_prompt_type") or "")) & set("VL"))


def is_last(inputs: Mapping[str, Any]) -> bool:
    """Whether a request continues the last video of WanGP's list."""
    return "L" in str(inputs.get("image_prompt_type") or "")


def given(inputs: Mapping[str, Any]) -> Any:
    """The file that a request continues; None if it starts otherwise, or with the last one of
    WanGP's list and that is not known: WanGP's own check is not told."""
    return inputs.get("video_source") if continues(inputs) else None


def last(made: Iterable[Any], outputs: Path | None) -> str | None:
    """The file that WanGP would continue if asked for its last one: of its list `made`, or else the
    newest video among its `outputs`; None if there is none."""
    if listed := [*made]:
        return str(listed[-1])
    with contextlib.suppress(OSError):  # just being removed
        found = [] if outputs is None else [
            path for path in outputs.iterdir() if path.suffix in (".mp4", ".mov", ".mkv")]
        return str(max(found, key=lambda path: path.stat().st_mtime)) if found else None
    return None


def rate(inputs: Mapping[str, Any], fps: float) -> Fraction:
    """The frames a second that a request asks for; `fps`: those of its model."""
    forced = str(inputs.get("force_fps") or "")
    if forced.isdecimal() and int(forced) > 0:
        return Fraction(forced)
    if forced in ("source", "auto"):
        with contextlib.suppress(MediaError, ImportError):
            return track(given(inputs)).rate or Fraction(fps)
    return Fraction(fps)


@remembered("video", "a video")
def seconds(path: str) -> float:
    """How long a video is. Raises MediaError."""
    with opened(path, _FORMATS) as container:
        given = _video(container, path)
        if given.duration is not None and given.time_base is not None:
            return float(given.duration * given.time_base)
        return (container.duration or 0) / 1e6


@dataclass(frozen=True)
class Track:
    """What must be the same in two videos that are joined by copying.

    `size`    width and height
    `pixels`  FFmpeg's name of their format
    `steady`  each frame is shown as long as any other
    """

    codec: str
    pixels: str
    size: tuple[int, int]
    rate: Fraction
    frames: int
    steady: bool


@remembered("video", "a video")
def track(path: str) -> Track:
    """What a video is. Reads all of it, but decodes no frame. Raises MediaError."""
    with opened(path, _FORMATS) as container:
        given, codec = _video(container, path), container.streams.video[0].codec_context
        times = sorted(packet.pts for packet in container.demux(given)
                       if packet.size and packet.pts is not None)
        steps = [after - before for before, after in itertools.pairwise(times)] or [0]
        return Track(codec.name, str(codec.pix_fmt), (codec.width, codec.height),
                     given.average_rate or Fraction(0), len(times), max(steps) - min(steps) <= 1)


def _video(container: Any, path: str) -> Any:
    if not container.streams.video:
        raise MediaError(f"the file {Path(path).name} holds no video")
    return container.streams.video[0]


def obstacles(inputs: Mapping[str, Any], fps: Fraction, config: Mapping[str, Any] | None = None
              ) -> Iterator[SettingsError]:
    """What keeps SVI from continuing a video with `fps` frames a second; see `shortened`.
    `config`: WanGP's."""
    if (path := too_long(inputs, fps)) is None:
        return
    with contextlib.suppress(MediaError, ImportError):  # WanGP says so
        if "V" not in str(inputs.get("image_prompt_type")):
            yield add_instead(Path(path), fps)
        elif why := _unlike(track(path), Path(path), inputs, fps, config or {}):
            yield SettingsError(
                f"the video {Path(path).name} lasts {duration(seconds(path))}, and WanGP reads "
                f"only the first {duration(float(MOST / fps))}. SVI can read its end instead "
                f"and copy the rest, but {why}. Or cut off its beginning, and join the two parts "
                "afterwards; a run's own video is extended in the tab SVI.", "source-length")


def add_instead(path: Path, fps: Fraction) -> SettingsError:
    """Why the last video of WanGP's list cannot be continued so: it is too long. Raises
    MediaError."""
    return SettingsError(
        f"the last video {path.name} lasts {duration(seconds(str(path)))}, and WanGP reads only "
        f"the first {duration(float(MOST / fps))}. Choose to continue a video, and add this one: "
        "then SVI can read its end. A run's own video is extended in the tab SVI.", "source-length")


def too_long(inputs: Mapping[str, Any], fps: Fraction) -> Any:
    """The video that a request continues, if WanGP would not read it to its end; else None."""
    path = given(inputs)
    if path is None or str(inputs.get("keep_frames_video_source") or ""):
        return None  # the user says how much of it is used
    with contextlib.suppress(MediaError, ImportError):
        return path if seconds(path) * fps > MOST else None
    return None


def _unlike(given: Track, path: Path, inputs: Mapping[str, Any], rate: Fraction,
            config: Mapping[str, Any]) -> str:
    """Why the clips cannot be joined to a video by copying, and what to do; "" if they can."""
    width, height = given.size
    codec = str(config.get("video_output_codec") or "libx264_8")
    made = next((name for mark, name in _CODECS.items() if mark in codec), "")
    if path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
        return f"it is no MP4, MOV or MKV. Convert it to {_NAMES.get(made, 'H.264')} in MP4"
    if "lossless" in codec or not made:
        return (f"WanGP's codec {codec} cannot be joined to it. Choose x264 or x265 under "
                "Configuration, Outputs")
    if (given.codec, given.pixels) != (made, "yuv420p"):
        return (f"it is {_NAMES.get(given.codec, given.codec)} ({given.pixels}), and WanGP writes "
                f"{_NAMES[made]} (yuv420p). Convert it, or choose that codec under Configuration, "
                "Outputs")
    if not given.steady:
        return f"its frames are not equally long. Convert it to {float(rate):g} frames a second"
    if given.rate != rate:
        return (f"it has {float(given.rate):g} frames a second, and the clips {float(rate):g}. Set "
                f"Force FPS to the source video's, or convert it to {float(rate):g}")
    if any(side % 16 for side in given.size):
        return f"it is {width}x{height}, and WanGP makes multiples of 16. Convert it"
    if str(inputs.get("resolution")) != f"{width}x{height}":
        return (f"it is {width}x{height}, and the clips {inputs.get('resolution')}. Choose "
                f"{width}x{height}, or convert it")
    if inputs.get("temporal_upsampling") or inputs.get("spatial_upsampling"):
        return "upsampled clips are unlike it. Turn upsampling off, and do it afterwards"
    if inputs.get("audio_source") or inputs.get("postprocess_audio"):
        return "it has no room for another soundtrack. Remove that, and add it afterwards"
    return ""


def shortened(inputs: Mapping[str, Any], fps: Fraction, outputs: Path) -> dict[str, Any]:
    """What replaces a video that is too long for WanGP: its end, in a file beside the runs, without
    sound. `whole` finds the video again. Raises MediaError and OSError."""
    path = too_long(inputs, fps)
    if path is None:
        return {}
    found = Path(path).absolute()
    end = outputs / FOLDER / f"{files.sha256(found)[:16]}.mp4"
    end.parent.mkdir(parents=True, exist_ok=True)
    if not end.is_file():
        files.write(end, partial(_write_end, found))
    note = json.dumps({"video": str(found)}, ensure_ascii=False).encode()
    files.write(end.with_suffix(".json"), lambda target: target.write_bytes(note))
    return {"video_source": str(end)}


def _write_end(video: Path, target: Path) -> None:
    """The last frames of a video, without loss."""
    import av

    try:
        with opened(video, _FORMATS) as source, av.open(str(target), "w", format="mp4") as made:
            given = _video(source, str(video))
            start = max(0, seconds(video) - 2 * _END / float(given.average_rate))
            source.seek(int(start / given.time_base) + (given.start_time or 0), stream=given)
            last = deque(source.decode(given), maxlen=_END)  # from the keyframe before on
            encoder = made.add_stream("libx264", rate=given.average_rate)
            encoder.width, encoder.height = given.width, given.height
            encoder.pix_fmt, encoder.options = given.pix_fmt, {"qp": "0"}
            for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
                setattr(encoder.codec_context, name, getattr(given.codec_context, name))
            for number, frame in enumerate(last):
                frame.pts, frame.time_base = number, 1 / given.average_rate
                frame.pict_type = 0
                made.mux(encoder.encode(frame))
            made.mux(encoder.encode(None))
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"the end of {video.name} cannot be read "
                         f"({getattr(error, 'strerror', '') or error})") from error


def whole(path: Any, outputs: Path) -> Path | None:
    """The video whose end WanGP reads at `path`; None if that is a video of its own."""
    end = Path(path) if isinstance(path, (str, Path)) else None
    if end is None or end.resolve().parent != (outputs / FOLDER).resolve():
        return None
    note = read_json(end.with_suffix(".json"))
    video = Path(str(note.get("video") if isinstance(note, dict) else ""))
    if not video.is_file() or files.sha256(video)[:16] != end.stem:
        raise SettingsError(f"the video {video} that is continued is gone, or has changed. Put it "
                            "back, or choose it again.", "source-video")
    return video


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
        # a page makes copies of what is added
        return run if made is not None and filecmp.cmp(made, path, shallow=False) else None
    return None
