"""The videos that the self-test makes, and how the authors' scripts condition and join their clips.

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
I2V, I2V22 = "svi_selftest_i2v", "svi_selftest_i2v22"  #: the tiny models in WanGP


@dataclass(frozen=True)
class Chain:
    """How the clips of a variant are conditioned and joined."""

    motion_frames: int = 1  # of the previous clip, at the beginning of the conditioning video
    grey: bool = False  # what follows them: mid grey, or else the reference
    overlap: int = 1  # frames that two clips share
    keep_new: bool = True  # at a seam, the old clip loses frames, or else the new one
    pro: bool = False  # latents are chained instead of frames

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
    """One generation with one of our profiles."""

    id: str
    title: str
    profile: str
    clips: int  # of the whole video
    chain: Chain
    changes: dict[str, Any] = field(default_factory=dict)  # of the profile's settings
    prompts: tuple[str, ...] = PROMPTS[:1]
    model: str = I2V
    svi: bool = True  # False where SVI is off
    after: str = ""  # the video that has its first clips
    first: int = 0  # the first clip that is made, from 0
    like: str = ""  # the video whose frames are compared with its own

    @property
    def made(self) -> int:
        """Clips that take their time."""
        return self.clips - self.first

    @property
    def frames(self) -> int:
        return self.chain.length(self.clips)


_SHOT, _TWO = "SVI Shot Infinite - 50 Steps", "SVI-2.0 Unified - 50 Steps"
#: SVI LoRAs with the same weights, by the spelling of their keys
LORAS = {"authors": "svi-shot-authors.safetensors", "plain": "svi-shot-plain.safetensors"}
_PLAIN = {"activated_loras": [LORAS["plain"]], "loras_multipliers": "1"}
_OFF = {"svi_variant": "off", "num_motion_frames": "auto", "ref_pad_num": "auto",
        "svi_storyboard": "auto", "svi_run": "auto"}

#: in the order in which they are made, because it takes time to change models
VIDEOS = {video.id: video for video in (
    Video("shot", "SVI-Shot", _SHOT, 2, SHOT),
    Video("again", "SVI-Shot from its video's settings", _SHOT, 2, SHOT, after="shot", like="shot"),
    Video("lora-authors", "LoRA with the authors' keys", _SHOT, 1, SHOT,
          {"activated_loras": [LORAS["authors"]]}),
    Video("lora-plain", "LoRA with plain keys", _SHOT, 1, SHOT, _PLAIN, like="lora-authors"),
    Video("lora-none", "no LoRA", _SHOT, 1, SHOT, {
        "activated_loras": [], "loras_multipliers": "",
        "custom_settings": {**_OFF, "svi_variant": "shot"}}, like="lora-plain"),
    Video("off", "SVI off", _SHOT, 2, SHOT, {**_PLAIN, "custom_settings": _OFF}, svi=False),
    Video("without", "WanGP without SVI", _SHOT, 2, SHOT, {**_PLAIN, "custom_settings": None},
          svi=False, like="off"),
    Video("film", "SVI-Film", "SVI-Film - 50 Steps", 2, FILM, prompts=PROMPTS),
    Video("two", "SVI-2.0", _TWO, 2, TWO, prompts=PROMPTS),
    Video("stopped", "SVI-2.0, stopped after clip 1", _TWO, 1, TWO, {"video_length": 2 * FRAMES},
          PROMPTS),
    Video("resumed", "SVI-2.0, resumed", _TWO, 2, TWO, prompts=PROMPTS,
          after="stopped", first=1, like="two"),
    Video("continued", "SVI-2.0, a video continued", _TWO, 3, TWO,
          {"image_prompt_type": "V", "image_start": None, "video_length": FRAMES},
          after="two", first=2),
    Video("wan22", "SVI-2.0 for Wan 2.2", "SVI-2.0 - 50 Steps", 2, TWO_WAN22, model=I2V22),
    Video("pro", "SVI-2.0 Pro", "SVI-2.0 Pro - 50 Steps", 2, PRO, model=I2V22),
)}


def needed(videos: Iterable[str]) -> list[Video]:
    """These videos and those that they need, in the order in which they are made."""
    wanted = set(videos)
    for video in reversed(VIDEOS.values()):
        if video.id in wanted:
            wanted |= {video.after, video.like}
    return [video for video in VIDEOS.values() if video.id in wanted]


def progress(video: Video, done: int, clips: int, seconds: float, spent: float) -> str:
    """A line for the user when a video is done, which took `seconds`; all videos so far `spent`."""
    left = f"; about {spent / done * (clips - done):.0f} s left" if done < clips else ""
    return f"[{done:2}/{clips} clips] {video.title}, {seconds:.0f} s{left}"
