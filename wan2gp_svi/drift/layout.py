"""Where the clips of a finished video begin and end. Standard library only; clips count from 0."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import chain
from ..storyboard import LOOP, Storyboard, StoryboardError, parse
from ..text import paragraphs, uncommented
from ..untrusted import is_name
from ..variants import CLIP_FRAMES, VARIANTS, Variant

RUNS = "svi"  #: the folder of runs beside the videos, as in runs.store


class DriftError(Exception):
    """Something that the user can fix; the message is one plain sentence."""


@dataclass(frozen=True)
class Layout:
    """How clips follow one another in a video.

    `size`, `overlap`  frames of a clip, and those that neighbours share
    `keep_new`  the video shows the shared frames of the new clip, not the old one's (`chain.kept`)
    `origin`    how this is known
    `seams`     False: nothing is known, and the video is only cut into sections of `size` frames
    `variant`   of SVI, if one made the video
    `cuts`      clips before which the user asked for a cut
    `restarts`  clips for which the user asked for another picture, by a cut or an image: changes
                are measured from there
    `prompted`  clips with another prompt than the one before
    """

    size: int
    overlap: int
    keep_new: bool
    origin: str
    seams: bool = True
    variant: Variant | None = None
    cuts: frozenset[int] = frozenset()
    restarts: frozenset[int] = frozenset()
    prompted: frozenset[int] = frozenset()

    @classmethod
    def of(cls, variant: Variant, origin: str = "") -> Layout:
        """The chain of an SVI variant."""
        return cls(CLIP_FRAMES, variant.overlap, variant.keep_new, origin, variant=variant)

    @classmethod
    def sections(cls, why: str) -> Layout:
        """For a video whose clips are unknown; `why` tells the reader."""
        return cls(CLIP_FRAMES, 0, True, why, seams=False)

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Reads `81/1` or `81/5/old`, as on the command line. Raises DriftError."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*(?:/\s*(new|old)\s*)?", text, re.I)
        if not match:
            raise DriftError(f'--clips is "{text}"; give the frames of a clip and those that two '
                             "clips share, such as 81/1, or 81/5/old if the video shows the shared "
                             "frames of the old clip.")
        size, overlap = int(match[1]), int(match[2])
        if not 0 <= overlap < size or size < 2:
            raise DriftError(f"--clips is {text.strip()}, but clips of {size} frames cannot share "
                             f"{overlap}.")
        return cls(size, overlap, (match[3] or "new").lower() == "new", f"--clips {text.strip()}")

    @property
    def noun(self) -> str:
        return "clip" if self.seams else "section"

    def first(self, clip: int) -> int:
        """The clip that `clip` is compared with: the last that restarts, or the first of all."""
        return max((at for at in self.restarts if at <= clip), default=0)

    def start(self, clip: int) -> int:
        """The first frame that the video shows of clip `clip`."""
        shared = 0 if self.keep_new or not clip else self.overlap
        return clip * (self.size - self.overlap) + shared

    def length(self, clips: int) -> int:
        """Frames of a whole chain: `chain.length` for clips of any size."""
        return (self.size - self.overlap) * clips + self.overlap

    def spans(self, frames: int) -> tuple[range, ...]:
        """The frames of each clip of a video; the last clip may be cut short."""
        step = self.size - self.overlap
        # the short rest of a clip is a clip; that of a section belongs to the section before
        clips = -(-(frames - self.overlap) // step) if self.seams else (frames + step // 2) // step
        starts = [self.start(clip) for clip in range(max(1, clips))]
        return tuple(map(range, starts, [*starts[1:], frames]))


#: what `provenance` takes from a video, which anybody may have written
_MADE: dict[str, Callable[[Any], bool]] = {
    "version": lambda one: isinstance(one, str), "run": is_name,
    "variant": lambda one: isinstance(one, str) and one in VARIANTS,
    "seeds": lambda one: isinstance(one, list) and 0 < len(one) <= 100_000 and all(
        type(seed) is int and abs(seed) < 2**63 for seed in one),
}


def provenance(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """How SVI made a video, by the settings that WanGP wrote into it: version, variant, run, seeds,
    as far as they can be such; empty if SVI did not. Release 1.0 put it among the settings
    themselves."""
    custom = settings.get("custom_settings")
    for place in (custom, settings):
        if isinstance(place, Mapping) and isinstance(made := place.get("svi"), Mapping):
            return {name: made[name] for name, fits in _MADE.items()
                    if name in made and fits(made[name])}
    return {}


def reference_of(video: Path, settings: Mapping[str, Any]) -> Path | None:
    """The reference of the run that made a video, by the settings that WanGP wrote into it; None if
    the run is not beside the video."""
    run = provenance(settings).get("run")
    path = video.parent / RUNS / (run or "") / "reference.png"
    return path if run and path.is_file() and not path.is_symlink() else None


def _with_wishes(layout: Layout, settings: Mapping[str, Any], clips: int) -> Layout:
    """With the cuts, images and prompts that the video's settings asked for."""
    custom = settings.get("custom_settings")
    text = custom.get("svi_storyboard") if isinstance(custom, Mapping) else None
    try:
        board = parse(text) if isinstance(text, str) and text != "auto" else Storyboard()
    except StoryboardError:  # anybody may have written it
        return layout
    cuts, ends, images = (frozenset(clip for clip in range(1, clips) if asks(clip)) for asks in (
        lambda clip: board.row(clip).new_shot,
        lambda clip: any(board.row(at).end_image not in ("", LOOP) for at in (clip - 1, clip)),
        lambda clip: board.row(clip).reference != board.row(clip - 1).reference))
    asked = [board.row(clip).prompt or prompt
             for clip, prompt in enumerate(_stream(layout, settings, clips))]
    return replace(layout, cuts=cuts, restarts=cuts | ends | images, prompted=frozenset(
        clip for clip in range(1, clips) if asked[clip] != asked[clip - 1]))


def _stream(layout: Layout, settings: Mapping[str, Any], clips: int) -> list[str]:
    """The prompt of each clip that has none of its own in the storyboard."""
    written, mode = settings.get("prompt"), settings.get("multi_prompts_gen_type")
    text = written if isinstance(written, str) else ""
    lines = [line.strip() for line in uncommented(text).splitlines() if line.strip()]
    prompts = (paragraphs(text) if mode in (None, "PW") else
               lines if mode in (1, "W") else []) or [""]  # else one for all clips
    repeat = layout.variant.prompt_repeat if layout.variant else 1
    return chain.stream(prompts, clips, max(1, min(repeat, clips // len(prompts))))


def of_settings(settings: Mapping[str, Any], frames: int) -> Layout:
    """The layout of a video of `frames` frames by the settings that WanGP wrote into it."""
    unknown = "clip boundaries are unknown"
    svi = provenance(settings)
    variant = VARIANTS.get(svi.get("variant", ""))
    if variant is None:
        return Layout.sections(f"{unknown}, because the video does not say that SVI made it; "
                               "--clips tells")
    if settings.get("temporal_upsampling"):
        return Layout.sections(f"{unknown}, because WanGP put frames between those of SVI")
    layout = Layout.of(variant, f"{variant.title}, by the video's own settings")
    own = settings.get("sliding_window_overlap")
    if type(own) is int and 0 < own < CLIP_FRAMES:
        layout = replace(layout, overlap=own)
    clips = len(svi.get("seeds", ())) or chain.clips_of(frames, layout.overlap)
    whole = layout.length(clips)
    # a chain that keeps the new clip gives up the shared frames before that clip is there; a loop
    # does not show its first frame twice
    short = whole - layout.overlap if variant.keep_new else whole
    if set(str(settings.get("image_prompt_type") or "")) & set("VL") and frames > whole:
        # its own frames come first, however many
        return replace(Layout.sections(f"{unknown}, because the video begins with the one that it "
                                       "continues"), variant=variant)
    if frames not in (whole, short, whole - 1):
        return Layout.sections(f"{unknown}: the video's settings say {clips} clips of "
                               f"{variant.title}, {whole} frames, but it has {frames}; --clips "
                               "tells")
    return _with_wishes(layout, settings, clips)
