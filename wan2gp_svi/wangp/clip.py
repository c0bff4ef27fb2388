"""A clip of a video while WanGP makes it, and what all clips of that video share."""

from __future__ import annotations

import contextlib
import hashlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import __version__
from ..runs import record
from ..storyboard import Row
from ..text import sentence
from ..variants import CLIP_FRAMES, identify
from . import board
from .check.telling import for_page
from .form import SettingsError
from .frames import on_grid, to_uint8
from .log import say
from .plan import Plan, accelerates

if TYPE_CHECKING:
    from .dance import Poses
    from .recorder import Recording
    from .speech import Speech


@dataclass(frozen=True)
class Seam:
    """Where a clip joins what comes before it, be it a clip or the user's video.

    `overlap`   frames that both sides show
    `keep_new`  the clip's are the ones that stay in the video, else those before it
    `dropped`   frames that WanGP takes off when it joins the two
    """

    overlap: int = 0
    keep_new: bool = False
    dropped: int = 0

    @property
    def given_up(self) -> int:
        """Frames that the side before the seam loses from its end."""
        return self.overlap if self.keep_new else 0

    @property
    def lead(self) -> int:
        """Frames that are put twice at the clip's start, so that WanGP drops the copies."""
        return self.dropped if self.keep_new else 0


@dataclass
class Video:
    """What all clips of a video share: WanGP's loop, as far as it matters, and the run on disk.

    `recording`       None if this WanGP collects frames in a way that leaves no room for a run
    `replaces`        WanGP takes the last window out of its gallery when the next one is there
    `in_memory`       WanGP's caller wants all frames
    `speech`          what is spoken, in SVI-Talk
    `poses`           what is danced, in SVI-Dance
    `start`           the user's image [3, H, W], as every clip is conditioned on it
    `images`          the storyboard's images, by the paths in its text, as files that stay
    `seed`            of the video, from which those of its clips follow
    `source_frames`   length of the video that is continued
    `source_overlap`  frames of that video that WanGP shares with the first clip
    `apart`           that video is copied as it is, before the run's clips
    `failure`         why the video has ended, "" while all is well
    """

    recording: Recording | None = None
    gen: dict[str, Any] = field(default_factory=dict)
    send_cmd: Callable[..., None] | None = None
    lock: Any = field(default_factory=contextlib.nullcontext)
    replaces: bool = False
    in_memory: bool = False
    sound: bool = False
    speech: Speech | None = None
    poses: Poses | None = None
    start: Tensor | None = None
    images: dict[str, Path] = field(default_factory=dict)
    seed: int = 0
    source_frames: int = 0
    source_overlap: int = 0
    apart: bool = False
    wangp: str = "?"
    failure: str = ""

    def end(self, where: str, error: BaseException) -> None:
        """Ends the video because of `error`, and says so in WanGP's log and page. Never raises."""
        if self.failure:
            return
        foreseen = isinstance(error, (SettingsError, record.StoreError))
        said = self.failure = (
            sentence(str(error)) if foreseen else self._bug_report(where, error))
        with contextlib.suppress(Exception):  # WanGP shows it on its page as well
            self.failure = for_page(said)
        if not foreseen:
            with contextlib.suppress(Exception):
                traceback.print_exception(error)
        say(said)
        with contextlib.suppress(Exception):
            if self.send_cmd is not None:
                self.send_cmd("info", f"SVI: {self.failure}")
        with contextlib.suppress(Exception):
            if self.recording is not None:
                kind = "" if foreseen else f"{type(error).__name__}: "
                self.recording.close(f"{kind}{_text(error)}")

    def _bug_report(self, where: str, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        safe = "" if self.recording is None else (
            f" Your clips are safe in {self.recording.run.folder}: press Generate again with the "
            "same settings to resume.")
        return (f"A bug in SVI ended this video early.{safe} Please report this line: "
                f"SVI {__version__}, WanGP {self.wangp}, {where}, {type(error).__name__}: "
                f"{_text(error)} ({place})")


@dataclass
class Clip:
    """One clip of a video.

    `number`            counts from 0
    `reference`         [3, H, W], float32 in [-1, 1]
    `motion_frames`     [3, N, H, W], float32 in [-1, 1]
    `previous_latents`  [16, t, h, w], in SVI 2.0 Pro; None in the first clip
    `end`               [3, H, W], the image that the clip ends on
    `loras`             the files of all active LoRAs, in WanGP's order
    `motion`            the motion amplitude, once WanGP has handed it over
    `seam`              to what comes before the clip
    `stored`            the clip's record, if the run already has the clip
    `seconds`           what each clip so far took
    `next_...`          for the clip after this one, known once this one is finished
    """

    plan: Plan
    number: int
    total: int
    seed: int
    reference: Tensor
    motion_frames: Tensor
    previous_latents: Tensor | None = None
    end: Tensor | None = None
    loras: tuple[str, ...] = ()
    motion: float = 1
    seam: Seam = field(default_factory=Seam)
    video: Video = field(default_factory=Video)
    stored: record.Clip | None = None
    seconds: tuple[float, ...] = ()
    started: float = field(default_factory=time.monotonic)
    next_motion_frames: Tensor | None = None
    next_latents: Tensor | None = None
    next_seam: Seam = field(default_factory=Seam)

    @property
    def row(self) -> Row:
        """What the user asks of this clip."""
        return self.plan.board.row(self.number)

    @property
    def is_stock(self) -> bool:
        """Whether it is made without the SVI LoRA, as WanGP makes a first clip."""
        return self.row.svi_strength == 0

    @property
    def conditioned_on(self) -> str:
        """The hash of what this clip gets from the previous clip."""
        found = hashlib.sha256(to_uint8(self.motion_frames).contiguous().numpy().tobytes())
        if self.previous_latents is not None:
            data = self.previous_latents.contiguous().view(torch.uint8)
            found.update(data.numpy().tobytes())
        return found.hexdigest()

    def finish(self, result: Any, new: bool) -> Any:
        """What `generate` returned -> what WanGP's loop gets. `new`: the run lacks this clip."""
        frames, latents = frames_and_latents(result)
        variant, recording = self.plan.variant, self.video.recording
        self.next_motion_frames = on_grid(frames[:, -variant.overlap :])
        if variant.pro:
            if latents is None:
                raise LookupError("generate returned no latents")
            self.next_latents = latents[0].detach().cpu()
        if new and recording is not None:
            recording.receive(frames, variant, latents.detach().cpu() if variant.pro else None)
        if lead := self.seam.lead:
            frames = torch.cat([frames[:, :lead], frames], dim=1)
            result = {**result, "x": frames} if isinstance(result, dict) else frames
        return result

    def keywords(self, given: dict[str, Any]) -> dict[str, Any]:
        """WanGP's keywords for `generate`, as this clip needs them: it is whole although the sound
        ends in it, hears its own part of the sound, and gets what its row asks for."""
        given = {**given, **self._asked(given)}
        if self.video.speech is None:
            return given
        if not {"frame_num", "audio_proj"} <= given.keys():
            raise LookupError("this WanGP hands the sound to its model in another way")
        return {**given, "frame_num": CLIP_FRAMES,
                "audio_proj": self.video.speech.window(self.number)}

    def _asked(self, given: dict[str, Any]) -> dict[str, Any]:
        row, names = self.row, ("guide_scale", "guide2_scale", "guide3_scale")
        asked = {name: row.guidance for name in names if name in given and row.guidance is not None}
        if row.steps is not None:
            asked["sampling_steps"] = row.steps
        if not self.is_stock:
            amplitude = given.get("motion_amplitude", 1)
            self.motion = amplitude if row.motion is None else row.motion
            if "motion_amplitude" in given:
                asked["motion_amplitude"] = 1  # see `encoding`
        elif row.motion is not None:
            asked["motion_amplitude"] = row.motion
        svi, fast = (1 if one is None else one
                     for one in (row.svi_strength, row.accelerator_strength))
        if (svi, fast) != (1, 1):
            factors = [svi if identify(name) else fast if accelerates(name) else 1
                       for name in self.loras]
            asked["loras_slists"] = board.scaled(given.get("loras_slists"), factors)
        if missing := asked.keys() - given.keys():
            raise LookupError(f"this WanGP's generate has no {min(missing)}")
        return asked

    @property
    def joined_frames(self) -> int:
        """How many frames WanGP's loop has, once it has joined this clip to what comes before."""
        source = 0 if self.number or self.video.source_frames < 2 else self.video.source_frames
        return source + self.seam.lead + CLIP_FRAMES - self.seam.dropped


def frames_and_latents(result: Any) -> tuple[Any, Any]:
    """Frames [3, T, H, W] and latents [1, 16, t, h, w] that `generate` returned, or None."""
    if isinstance(result, dict):
        return result.get("x"), result.get("latent_slice")
    return result, None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "?"
