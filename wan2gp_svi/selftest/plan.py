"""The videos that the self-test makes, and what the authors' scripts say about how their clips are made and joined.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FRAMES = 81  #: of a clip
SEED, SEED_STEP = 1234, 42
SIZE = 64  #: pixels, both ways
PROMPTS = ("a boat", "a boat on a lake")
I2V, I2V22 = "svi_selftest_i2v", "svi_selftest_i2v22"  #: the tiny models, as WanGP knows them


@dataclass(frozen=True)
class Chain:
    """How the clips of a variant are conditioned and joined.

    `motion_frames`  frames of the clip before that open the conditioning video
    `grey`           the rest of it is mid grey instead of the reference
    `overlap`        frames that two clips share
    `keep_new`       at a seam the old clip loses its last `overlap` frames; else the new clip its first
    `pro`            latents are chained instead of frames
    """

    motion_frames: int = 1
    grey: bool = False
    overlap: int = 1
    keep_new: bool = True
    pro: bool = False

    def length(self, clips: int) -> int:
        """Frames of a video of so many clips."""
        return (FRAMES - self.overlap) * clips + self.overlap

    def span(self, clip: int, clips: int) -> slice:
        """The frames of clip `clip` (from 0) that go into a video of `clips` clips."""
        if self.keep_new:
            return slice(0, FRAMES if clip == clips - 1 else FRAMES - self.overlap)
        return slice(self.overlap if clip else 0, FRAMES)


SHOT = Chain()
FILM = Chain(5, grey=True, overlap=5)
TWO = Chain(5, overlap=5)
TWO_WAN22 = Chain(keep_new=False)
PRO = Chain(overlap=5, keep_new=False, pro=True)


@dataclass(frozen=True)
class Video:
    """One generation. `profile` is one of ours; `changes` are laid over it. `after`: a clip of this one continues the
    clips of that video. `first` is the number of the first clip that is really made, from 0."""

    id: str
    title: str
    profile: str
    clips: int
    chain: Chain | None
    changes: dict[str, Any] = field(default_factory=dict)
    prompts: tuple[str, ...] = PROMPTS[:1]
    model: str = I2V
    after: str = ""
    first: int = 0

    @property
    def made(self) -> int:
        """Clips that are really made, and that take their time."""
        return self.clips - self.first


_SHOT, _TWO = "SVI-Shot Infinite - 50 Steps", "SVI-2.0 Unified - 50 Steps"
_ONE_CLIP = {"video_length": FRAMES}
#: SVI LoRAs by the spelling of their keys; all hold the same weights
LORAS = {"authors": "svi-shot-authors.safetensors", "plain": "svi-shot-plain.safetensors"}
_OFF = {"activated_loras": [LORAS["plain"]], "loras_multipliers": "1", "video_length": 2 * FRAMES - 1}
_CUSTOM_OFF = {"svi_variant": "off", "num_motion_frames": "auto", "ref_pad_num": "auto", "seed_times": SEED_STEP,
               "svi_run": "auto"}
_CUSTOM_SHOT = {**_CUSTOM_OFF, "svi_variant": "shot"}

#: in the order in which they are made: a change of model takes its time
VIDEOS = {video.id: video for video in (
    Video("shot", "SVI-Shot", _SHOT, 2, SHOT),
    Video("again", "SVI-Shot from its video's settings", _SHOT, 2, SHOT, after="shot"),
    Video("lora-authors", "LoRA with the authors' keys", _SHOT, 1, SHOT,
          {**_ONE_CLIP, "activated_loras": [LORAS["authors"]]}),
    Video("lora-plain", "LoRA with plain keys", _SHOT, 1, SHOT, {**_ONE_CLIP, "activated_loras": [LORAS["plain"]]}),
    Video("lora-none", "no LoRA", _SHOT, 1, SHOT,
          {**_ONE_CLIP, "activated_loras": [], "loras_multipliers": "", "custom_settings": _CUSTOM_SHOT}),
    Video("off", "SVI off", _SHOT, 2, None, {**_OFF, "custom_settings": _CUSTOM_OFF}),
    Video("without", "WanGP without SVI", _SHOT, 2, None, {**_OFF, "custom_settings": None}),
    Video("film", "SVI-Film", "SVI-Film - 50 Steps", 2, FILM, prompts=PROMPTS),
    Video("two", "SVI-2.0", _TWO, 2, TWO, prompts=PROMPTS),
    Video("stopped", "SVI-2.0, stopped after clip 1", _TWO, 1, TWO, prompts=PROMPTS),
    Video("resumed", "SVI-2.0, resumed", _TWO, 2, TWO, prompts=PROMPTS, after="stopped", first=1),
    Video("continued", "SVI-2.0, a video continued", _TWO, 1, TWO, {"image_prompt_type": "V", "image_start": None},
          after="two"),
    Video("wan22", "SVI-2.0 for Wan 2.2", "SVI-2.0 - 50 Steps", 2, TWO_WAN22, model=I2V22),
    Video("pro", "SVI-2.0 Pro", "SVI-2.0 Pro - 50 Steps", 2, PRO, model=I2V22),
)}


def needed(videos: Iterable[str]) -> list[Video]:
    """The videos of these names and those that they stand on, in their order."""
    wanted = set(videos)
    for video in reversed(VIDEOS.values()):
        if video.id in wanted and video.after:
            wanted.add(video.after)
    return [video for video in VIDEOS.values() if video.id in wanted]
