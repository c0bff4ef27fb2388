"""The video that a dancer follows: how long it is, and what keeps SVI-Dance from it.

It shows a skeleton on black, in the colours of SVI-Dance's training, and is used as it is; or a
person, whose poses WanGP finds. `find` reads a file once and remembers it. WanGP names used here:
the keys of its settings and of its model definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..text import count
from ..variants import CLIP_FRAMES
from .form import SettingsError
from .media import MediaError, opened, remembered

FPS = 25  #: of a dancer's video
OFFERED = "guide_preprocessing"  #: in definitions of models whose form has a control video

# WanGP's letters for a control video, for the poses in it and for poses that it aligns with the
# image; and its mark for a video that ends with its control video ("Capped By", since 12.26)
_USED, _FOUND, _ALIGNED, _CAPPED = "V", "P", "O", "|"
_DARK, _BACKGROUND = 24, 0.5  # at most this bright, and at least this part of the picture
_CROPPED = 1.2  # a ratio of two shapes that is worth a warning
_HDR = {16, 18}  # PQ and HLG

FORMATS = "mov,matroska,avi,mpegts,gif,mpeg,asf,ogg,flv"  #: of FFmpeg


@dataclass(frozen=True)
class Found:
    """What a file holds.

    `frames`      in the file
    `rate`        of these, a second
    `background`  whether its first frame is mostly black
    `hdr`         whether its colours are those of HDR
    """

    frames: int
    rate: Fraction
    width: int
    height: int
    background: bool
    hdr: bool

    @property
    def poses(self) -> int:
        """Its frames at 25 a second."""
        return max(1, round(self.frames * FPS / self.rate))

    def frame(self, pose: int) -> int:
        """The frame that is shown at the time of a pose."""
        return min(int(pose * self.rate / FPS), self.frames - 1)


@remembered("pose video", "a video")
def find(path: str) -> Found:
    """The video in a file. Raises MediaError."""
    with opened(path, FORMATS) as container:
        if not container.streams.video:
            raise MediaError(f"the file {Path(path).name} holds no video")
        track = container.streams.video[0]
        frames = sum(1 for packet in container.demux(track)
                     if packet.size and not packet.is_discard)
        rate = track.average_rate or track.guessed_rate
    with opened(path, FORMATS) as container:
        first = next(container.decode(video=0), None)
        hdr = container.streams.video[0].codec_context.color_trc in _HDR
    if first is None or not frames or not rate:
        raise MediaError(f"the file {Path(path).name} has no frames")
    dark = first.to_ndarray(format="gray") <= _DARK
    return Found(frames, Fraction(rate), first.width, first.height,
                 bool(dark.mean() >= _BACKGROUND), hdr)


def used(inputs: Mapping[str, Any]) -> bool:
    """Whether a request has a control video."""
    return _USED in _letters(inputs)


def of_person(inputs: Mapping[str, Any]) -> bool:
    """Whether the control video shows a person, whose poses are to be found."""
    return bool({_FOUND, _ALIGNED} & _letters(inputs))


def is_aligned(inputs: Mapping[str, Any]) -> bool:
    """Whether these poses are to be moved to the person in the start image."""
    return _ALIGNED in _letters(inputs)


def _letters(inputs: Mapping[str, Any]) -> set[str]:
    return set(str(inputs.get("video_prompt_type") or ""))


def given(inputs: Mapping[str, Any]) -> Any:
    """The file with the poses that a request uses; None if there is none."""
    return (inputs.get("video_guide") or None) if used(inputs) else None


def required(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What WanGP's settings must be for SVI-Dance."""
    letter = _ALIGNED if is_aligned(inputs) else _FOUND if of_person(inputs) else ""
    return {"force_fps": str(FPS), "keep_frames_video_guide": "",
            **({"video_prompt_type": letter + _USED} if given(inputs) else {})}


def obstacles(inputs: Mapping[str, Any], model_def: Mapping[str, Any]) -> Iterator[SettingsError]:
    """What keeps SVI-Dance from these settings."""
    path = given(inputs)
    if path is None:
        if not model_def.get(OFFERED) and used(inputs):
            yield SettingsError("this model has no place for a pose video. Choose the model "
                                "SVI-Dance, and apply the profile there.", "pose-video")
        elif model_def.get(OFFERED) and ("video_guide" in inputs or not used(inputs)):
            yield SettingsError("SVI-Dance needs a pose video (video_guide). Add one under Control "
                                "Video, with skeletons on black, or with a person and \"Find the "
                                "poses\".", "pose-video")
        return
    try:
        found = find(path)
    except MediaError as error:
        yield SettingsError(f"{error}. Add another file, such as an MP4.", "pose-video")
    except ImportError:  # the check of a file, with a Python that cannot read video
        return
    else:
        name = Path(path).name
        if found.hdr:
            yield SettingsError(f"the video {name} is in HDR, which changes the colours that the "
                                "poses are read from. Convert it to SDR.", "pose-video")
        elif not of_person(inputs) and not found.background:
            yield SettingsError(
                f"the video {name} does not show skeletons on black. If it shows a dancer, choose "
                "\"Find the poses\" (PV).", "pose-video")


def is_capped(inputs: Mapping[str, Any]) -> bool:
    """Whether the video is to end with its pose video."""
    return _CAPPED in _letters(inputs)


def capped(clips: int, inputs: Mapping[str, Any], overlap: int) -> int:
    """The clips of a request for so many: not more than the pose video has poses for, if the video
    is to end with it. Clips are whole, so the last poses may be left out."""
    found = _readable(inputs) if is_capped(inputs) else None
    return clips if found is None else min(clips, _whole_clips(found, overlap))


def _whole_clips(found: Found, overlap: int) -> int:
    return max(1, (found.poses - overlap) // (CLIP_FRAMES - overlap))


def shape_advice(inputs: Mapping[str, Any], shape: tuple[int, int] | None) -> str:
    """What the user should know about a pose video that has another shape than the video; ""
    if nothing."""
    found = _readable(inputs)
    if found is None or not shape:
        return ""
    ratio = found.width / found.height / (shape[0] / shape[1])
    if max(ratio, 1 / ratio) <= _CROPPED or is_aligned(inputs):
        return ""
    align = ", or have the poses aligned with the image" if of_person(inputs) else ""
    return (f"the pose video has {found.width}x{found.height}, and the video the shape of "
            f"{shape[0]}x{shape[1]}: the skeleton gets black bars, and may not be where the dancer "
            f"is. Crop or extend the start image to the shape of the pose video{align}.")


def length_advice(inputs: Mapping[str, Any], clips: int, overlap: int, frames: int) -> str:
    """What the user should know about a pose video that ends before the video of so many `frames`;
    "" if nothing."""
    found = _readable(inputs)
    if found is None or found.poses >= frames:
        return ""
    whole = _whole_clips(found, overlap)
    end = (f", or set {CLIP_FRAMES * whole} frames, {count(whole, 'clip')}, to end with it"
           if whole < clips and found.poses >= CLIP_FRAMES else "")
    return (f"the pose video has {found.poses} poses, and the video {frames} frames: it "
            f"starts over where it ends, with a jump. Add a longer one{end}.")


def about_people(people: Sequence[int]) -> Iterator[str]:
    """What the user should know about the number of people that each of some frames shows, as
    sentences without their full stop."""
    of, missing = count(len(people), "frame"), people.count(0)
    gone = len(people) - max((at for at, number in enumerate(people, 1) if number), default=0)
    if missing == len(people):
        yield f"no person was found in any of {of}, and the pose is empty"
        return
    if gone:
        yield (f"the person leaves the picture: nobody was found in the last {gone} of {of}, and "
               "the pose is empty there")
    if missing > gone:
        yield f"no person was found in {missing - gone} of {of}, and the pose is empty there"
    if several := sum(number > 1 for number in people):
        yield (f"there are several people in {several} of {of}, and the dancer follows the one "
               "whom the detector finds first, who may change. Crop the video to one person")


def _readable(inputs: Mapping[str, Any]) -> Found | None:
    try:
        return find(given(inputs))
    except (MediaError, ImportError):
        return None
