"""Where the clips of a finished video begin and end. Pure arithmetic, standard library only; clips count from 0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import chain
from ..variants import CLIP_FRAMES, VARIANTS, Variant


class DriftError(Exception):
    """What the user can fix; the message is one plain sentence."""


@dataclass(frozen=True)
class Layout:
    """A chain of clips of `size` frames whose neighbours share `overlap`, of which the video shows the new clip's
    (`keep_new`) or the old one's, as `chain.kept` has it. `origin` says how this is known.

    `seams` False: nothing is known, and the video is only cut into sections of `size` frames.
    """

    size: int
    overlap: int
    keep_new: bool
    origin: str
    seams: bool = True

    @classmethod
    def of(cls, variant: Variant, origin: str = "") -> Layout:
        """The chain of an SVI variant."""
        return cls(CLIP_FRAMES, variant.overlap, variant.keep_new, origin or variant.title)

    @classmethod
    def sections(cls, why: str) -> Layout:
        """No chain is known; `why` says so to the reader."""
        return cls(CLIP_FRAMES, 0, True, why, seams=False)

    @classmethod
    def parse(cls, text: str) -> Layout:
        """`81/1` or `81/5/old`, as on the command line: size, shared frames, and whose they are. Raises DriftError."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*(?:/\s*(new|old)\s*)?", text, re.IGNORECASE)
        if not match:
            raise DriftError(f'--clips is "{text}"; it is the frames of a clip and those that two clips share, as in '
                             "81/1, or 81/5/old where the video shows the old clip's.")
        size, overlap = int(match[1]), int(match[2])
        if not 0 <= overlap < size or size < 2:
            raise DriftError(f"--clips is {text.strip()}; clips of {size} frames cannot share {overlap}.")
        return cls(size, overlap, (match[3] or "new").lower() == "new", f"--clips {text.strip()}")

    @property
    def noun(self) -> str:
        return "clip" if self.seams else "section"

    def start(self, clip: int) -> int:
        """The first frame of the video that is clip `clip`'s."""
        return clip * (self.size - self.overlap) + (0 if self.keep_new or not clip else self.overlap)

    def length(self, clips: int) -> int:
        """Frames of a whole chain of `clips` clips; `chain.length` for clips of any size."""
        return (self.size - self.overlap) * clips + self.overlap

    def spans(self, frames: int) -> tuple[range, ...]:
        """The frames of each clip of a video of `frames` frames; the last clip may be cut short."""
        step = self.size - self.overlap
        # a clip that is cut short is a clip; the short rest of a section goes with the section before it
        clips = -(-(frames - self.overlap) // step) if self.seams else (frames + step // 2) // step
        starts = [self.start(clip) for clip in range(max(1, clips))]
        return tuple(map(range, starts, [*starts[1:], frames]))


def provenance(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """How SVI made a video, by the settings that WanGP wrote into it: version, variant, run, seeds; empty where SVI did
    not. Before release 1.1 it stood among the settings themselves."""
    custom = settings.get("custom_settings")
    for place in (custom, settings):
        if isinstance(place, Mapping) and isinstance(place.get("svi"), Mapping):
            return place["svi"]
    return {}


def of_settings(settings: Mapping[str, Any], frames: int) -> Layout:
    """The layout of a video of `frames` frames by the settings that WanGP wrote into it, else sections."""
    svi = provenance(settings)
    variant = VARIANTS.get(str(svi.get("variant")))
    if variant is None:
        return Layout.sections("where clips meet is not known, for the video does not say that SVI made it (tell it by "
                               "--clips)")  # fmt: skip
    if settings.get("temporal_upsampling"):
        return Layout.sections("where clips meet is not known, for frames were put between those of SVI")
    custom = settings.get("custom_settings")
    own = str(custom.get("num_motion_frames") or "").strip() if isinstance(custom, Mapping) else ""
    overlap = int(own) if own.isdigit() and 0 < int(own) < CLIP_FRAMES and not variant.pro else variant.overlap
    layout = Layout(CLIP_FRAMES, overlap, variant.keep_new, f"{variant.title}, by the video's own settings")
    seeds = svi.get("seeds")
    clips = len(seeds) if isinstance(seeds, list) and seeds else chain.clips_of(frames, overlap)
    whole = layout.length(clips)
    # before its last clip is done, a chain that keeps the new clip has already given up the frames that are shared
    if frames != whole and not (variant.keep_new and frames == whole - overlap):
        return Layout.sections(f"where clips meet is not known: the video's settings speak of {clips} of "
                               f"{variant.title}, {whole} frames, and it has {frames} (tell it by --clips)")
    return layout
