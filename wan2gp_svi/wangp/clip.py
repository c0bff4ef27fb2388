"""What lies on WanGP's pipeline while a clip is made, and what stands in for the one call of its `generate`.

The stand-in sees what `generate` returns before WanGP does: it notes what the next clip is conditioned on, and puts the
clip on the disk before anything else happens to it. Whatever goes wrong in SVI ends the video with a sentence: WanGP
gets no result, as after an abort, and goes on with its next job.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import __version__
from ..conditioning import condition, condition_pro
from ..runs import store
from ..runs.state import State
from ..text import sentence
from ..variants import CLIP_FRAMES
from . import vae
from .form import SettingsError
from .log import say
from .plan import Plan

if TYPE_CHECKING:
    from .recorder import Recording


class Ended(Exception):
    """A fault of SVI's inside WanGP's `generate`. The user has been told; the stand-in for `generate` catches it."""


@dataclass
class Video:
    """What all clips of a video share: WanGP's loop, as far as it matters once a clip has been made, and the run on
    disk. `recording` is None where this WanGP keeps its frames in a way that leaves no room for it.

    `source_frames`: frames of a video that is continued, of which WanGP shares the last `source_overlap` with the first
    clip and drops them from the clip's start. `failure`: why the video has ended; "" while all is well.
    """

    recording: Recording | None = None
    gen: dict[str, Any] = field(default_factory=dict)
    send_cmd: Callable[..., None] | None = None
    lock: Any = field(default_factory=contextlib.nullcontext)
    replaces: bool = False  # WanGP itself takes the last window out of its gallery when the next one is there
    in_memory: bool = False  # its caller wants all frames
    sound: bool = False
    source_frames: int = 0
    source_overlap: int = 0
    wangp: str = "?"
    failure: str = ""

    def end(self, where: str, error: BaseException) -> None:
        """Ends the video because of `error`, and says so in WanGP's log and on its page. Never raises."""
        if self.failure:
            return
        foreseen = isinstance(error, (SettingsError, store.StoreError))
        self.failure = sentence(str(error)) if foreseen else _unforeseen(where, error, self)
        if not foreseen:
            with contextlib.suppress(Exception):
                traceback.print_exception(error)
        say(self.failure)
        with contextlib.suppress(Exception):
            if self.send_cmd is not None:
                self.send_cmd("info", f"SVI: {self.failure}")
        with contextlib.suppress(Exception):
            if self.recording is not None:
                self.recording.close(f"{type(error).__name__}: {_text(error)}")


@dataclass
class Clip:
    """One clip of a video; `number` counts from 0. `motion_frames` [3, N, H, W] and `reference` [3, H, W] are float32
    in [-1, 1]; `previous_latents` [16, t, h, w], of SVI 2.0 Pro alone, are None in the first clip. `tail_given_up`: the
    clip before has given its last frames up to this one, or this one to the next once it has been joined. `seconds`:
    what each clip so far took.

    Once it has been made, `next_motion_frames` and `next_latents` are those of the clip after it, and `lead` frames
    stand twice at its start, see `_lead`.
    """

    plan: Plan
    number: int
    total: int
    seed: int
    reference: Tensor
    motion_frames: Tensor
    previous_latents: Tensor | None = None
    tail_given_up: bool = False
    video: Video = field(default_factory=Video)
    stored: store.Clip | None = None
    seconds: tuple[float, ...] = ()
    started: float = field(default_factory=time.monotonic)
    next_motion_frames: Tensor | None = None
    next_latents: Tensor | None = None
    lead: int = 0

    @property
    def conditioned_on(self) -> str:
        """The hash of what the clip before hands to this one."""
        found = hashlib.sha256(to_uint8(self.motion_frames).contiguous().numpy().tobytes())
        if self.previous_latents is not None:
            found.update(self.previous_latents.contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def made(self, result: Any, new: bool) -> Any:
        """What `generate` has returned, as WanGP's loop is to get it. `new`: it is not from the disk."""
        frames, latents = _parts(result)
        variant, recording = self.plan.variant, self.video.recording
        self.next_motion_frames = on_grid(frames[:, -variant.overlap :])
        if variant.pro:
            if latents is None:
                raise LookupError("generate returned no latents")
            self.next_latents = latents[0].detach().cpu()
        if new and recording is not None:
            recording.receive(frames, variant, latents.detach().cpu() if variant.pro else None)
        self.lead = self._lead()
        if self.lead:
            frames = torch.cat([frames[:, : self.lead], frames], dim=1)
            result = {**result, "x": frames} if isinstance(result, dict) else frames
        return result

    @property
    def joined(self) -> int:
        """Frames that the loop has once it has joined the clip to what it shares with the window or video before."""
        if self.number:
            return self.lead + CLIP_FRAMES - self.plan.variant.overlap
        before = self.video.source_frames - self.video.source_overlap if self.video.source_frames > 1 else 0
        return before + self.lead + CLIP_FRAMES

    def _lead(self) -> int:
        """Frames that the loop drops from the clip's start though the video keeps them: they are put there twice."""
        if not self.plan.variant.keep_new:
            return 0
        if self.number:
            return self.plan.variant.overlap if self.tail_given_up else 0
        return self.video.source_overlap if self.video.source_frames > 1 else 0


class Generate:
    """Stands in for one call of the pipeline's `generate`; without a clip it returns None, which ends WanGP's loop."""

    def __init__(self, pipe: Any, clip: Clip | None):
        self.pipe, self.clip = pipe, clip
        self._own = vars(pipe).get("generate")
        pipe.generate = self

    def withdraw(self) -> None:
        if self._own is None:
            vars(self.pipe).pop("generate", None)
        else:
            self.pipe.generate = self._own

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.withdraw()
        clip = self.clip
        if clip is None or clip.video.failure:
            return None
        video, recording, result = clip.video, clip.video.recording, None
        try:
            if recording is not None:
                if recording.stopping():
                    return None
                result = recording.from_disk()
        except Exception as error:
            video.end("before generate", error)
            return None
        new = result is None
        if new:
            try:
                result = self.pipe.generate(*arguments, **keywords)
            except Ended:
                return None
            except BaseException as error:  # WanGP's own, which tells of it
                with contextlib.suppress(Exception):
                    if recording is not None:
                        recording.close(f"{type(error).__name__}: {error}")
                raise
        try:
            if result is None or _parts(result)[0] is None:
                if recording is not None:
                    recording.close(State.STOPPED)
                return result
            return clip.made(result, new)
        except Exception as error:
            video.end("after generate", error)
            return result


def stand_in(pipe: Any) -> Generate | None:
    """The stand-in that waits for WanGP to call `generate`, if there is one."""
    found = getattr(pipe, "__dict__", {}).get("generate")
    return found if isinstance(found, Generate) else None


def on_grid(frames: Tensor) -> Tensor:
    """Frames as a video file would hold them, in [-1, 1], float32, on the CPU, as in the authors' scripts."""
    return to_uint8(frames).float().div_(127.5).sub_(1)


def to_uint8(frames: Tensor) -> Tensor:
    """Frames in [-1, 1] as 8 bit on the CPU; frames of 8 bit as they are. A copy, made where the frames are, a few at
    a time: those of a whole clip in float32 are 0.4 GB."""
    if frames.dtype == torch.uint8:
        return frames.cpu().clone()
    made = torch.empty(frames.shape, dtype=torch.uint8, device="cpu")
    whole = made[:, None] if frames.dim() == 3 else made
    parts = frames[:, None] if frames.dim() == 3 else frames
    for start in range(0, parts.shape[1], 8):
        part = (parts[:, start : start + 8].float() + 1).mul_(127.5).round_().clamp_(0, 255)
        whole[:, start : start + 8] = part.to(torch.uint8).cpu()
    return made


def _parts(result: Any) -> tuple[Any, Any]:
    """Frames [3, T, H, W] and latents [1, 16, t, h, w] of what `generate` returned; either may be None."""
    return (result.get("x"), result.get("latent_slice")) if isinstance(result, dict) else (result, None)


def _unforeseen(where: str, error: BaseException, video: Video) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    safe = "" if video.recording is None else f" The clips are safe in {video.recording.run.folder}: press Generate " \
        "again with the same settings to resume."
    return (f"This video has ended early, because of a fault in SVI.{safe} Please report this line: SVI {__version__}, "
            f"WanGP {video.wangp}, {where}, {type(error).__name__}: {_text(error)} ({place})")


def encode_once(pipe: Any, current: Clip, videos: list[Tensor], tile_size: int = 0, *_: Any, **__: Any) -> list[Tensor]:
    """Stands in for one call of the VAE's `encode`."""
    del pipe.vae.encode
    try:
        return encode(pipe, current, videos, tile_size)
    except torch.cuda.OutOfMemoryError:  # of which WanGP tells the user
        raise
    except Exception as error:
        current.video.end("encode", error)
        raise Ended(current.video.failure) from error


def encode(pipe: Any, current: Clip, videos: list[Tensor], tile_size: int) -> list[Tensor]:
    """WanGP's conditioning video [3, 81, H, W] is filled as SVI wants it, in place, and encoded once."""
    device = videos[0].device
    reference, variant = current.reference.to(device), current.plan.variant
    encode = partial(vae.encode, pipe, tile_size=tile_size, say=say if current.number == 0 else None)
    if variant.pro:
        previous, source = current.previous_latents, current.motion_frames
        if previous is None and source.shape[1] > 1:  # a video is continued that no run has the latents of
            previous = encode(source.to(device))[:, -variant.motion_latents:]
        y = condition_pro(reference, encode, num_frames=videos[0].shape[1], num_motion_latent=variant.motion_latents,
                          previous_latents=previous)
        return [y[4:]]
    y = condition(current.motion_frames.to(device), reference, encode, num_frames=videos[0].shape[1],
                  ref_pad_num=variant.ref_pad_num, ref_pad_cfg=variant.ref_pad_cfg,
                  out=videos[0].float())  # no copy where the VAE runs in 32 bit
    return [y[4:]]  # WanGP puts the mask before it, and the hook `mask` is given that


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "?"
