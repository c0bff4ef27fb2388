"""A window of WanGP's loop as an SVI clip: whether it can be one, and what the clip is made of."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import chain
from ..variants import CLIP_FRAMES
from . import continuing, matching
from .clip import Clip, Video, on_grid, say
from .form import SettingsError
from .plan import Plan

_Scope = Mapping[str, Any]


def video_of(scope: _Scope) -> Video:
    """What the clips of a video share, as far as WanGP's loop says it; the run on disk comes later."""
    server = scope.get("server_config") or {}
    return Video(
        gen=scope.get("gen") or {}, send_cmd=scope.get("send_cmd"), lock=scope.get("lock") or contextlib.nullcontext(),
        replaces=not server.get("keep_intermediate_sliding_windows", 1),
        in_memory=bool(scope.get("api_return_video_uint8")),
        sound=bool(scope.get("postprocess_audio") or scope.get("audio_source")),
        source_frames=scope.get("source_video_frames_count") or 0,
        source_overlap=scope.get("source_video_overlap_frames_count") or 0,
        wangp=str(scope.get("WanGP_version", "?")))


def first(run: Plan, total: int, scope: _Scope) -> Clip:
    """The first clip of a video, and with it the run that the video goes on with. Raises SettingsError."""
    latents = None
    if scope.get("image_start_tensor") is not None:
        # a copy, since WanGP turns its own into 8 bit in place when it saves the first window
        reference = scope["image_start_tensor"].float().cpu().clone()
        motion = on_grid(reference[:, None])
    else:
        reference, motion, latents = continuing.source(scope, run.variant.overlap, say)
    video = video_of(scope)
    video.recording = recording = matching.begin(scope, run, reference, motion, say)
    seed, done = (scope["seed"], []) if recording is None else (recording.run.about.seed, recording.clips)
    seeds = [clip.seed for clip in done] + [chain.seed(seed, k, run.seed_step) for k in range(len(done), total)]
    say(run.describe(seeds, scope["fps"]))
    return Clip(run, 0, total, seed, reference, motion, None if latents is None else latents[0], video=video)


def next_one(run: Plan, number: int, total: int, scope: _Scope, before: Clip | None) -> Clip:
    """The clip after `before`. Raises SettingsError where that one was made without SVI."""
    if before is None:
        raise SettingsError("the first clips of this video were made without SVI, so SVI cannot continue it. "
                            "Generate the video again.")
    recording = before.video.recording
    if recording is not None:
        recording.total = total  # the user may have asked for one window more
        if run.variant.keep_new and not before.tail_given_up:
            recording.follow()
    seconds = before.seconds if before.stored else (*before.seconds, time.monotonic() - before.started)
    return Clip(run, number, total, chain.seed(scope["seed"], number, run.seed_step), before.reference,
                before.next_motion_frames, before.next_latents, tail_given_up=before.tail_given_up, video=before.video,
                seconds=seconds)


def check(run: Plan, number: int, scope: _Scope) -> None:
    """A window of another length or overlap is not an SVI clip; settings that `prepare` never saw end here."""
    overlap, source = run.variant.overlap, scope.get("source_video_frames_count") or 0
    if number == 0 and scope.get("image_start_tensor") is None and scope.get("prefix_video") is None:
        raise SettingsError("a start image is needed: it is the reference that every clip returns to.")
    if number == 0 and scope.get("image_start_tensor") is None and source < overlap:
        raise SettingsError(f"the video to be continued has {source} frames, and {run.variant.title} needs its last "
                            f"{overlap}. Continue a longer video, or take one of its frames as the start image.")
    if scope.get("image_end_tensor") is not None:
        raise SettingsError("an end image cannot be used with SVI yet. Take it away.")
    windows = [(scope["current_video_length"], scope["reuse_frames"] if number else overlap)]
    if number == 0:
        windows += _planned(scope)
    for frames, shared in windows:
        if (frames, shared) != (CLIP_FRAMES, overlap):
            raise SettingsError(f"SVI needs windows of {CLIP_FRAMES} frames with an overlap of {overlap}, and WanGP "
                                f"plans one of {frames} with {shared}. Press Generate again, without window commands "
                                "in the prompt.")


def _planned(scope: _Scope) -> list[tuple[int, int]]:
    """Frames and overlap of all windows but the first one, where WanGP has a plan of them beforehand (since 12.54)."""
    windows = scope.get("default_windows")
    if not isinstance(windows, list) or len(windows) != scope["total_windows"]:
        return []
    return [(window["frame_num"], window["overlap_frames"]) for window in windows[1:]]


def continued(sample: Tensor, current: Clip) -> Tensor:
    """The seam to a video that is continued. WanGP has put its frames before the clip's, which are the last 81, and has
    dropped of these or of those what it takes to be shared: 1 to N frames, in every version in its own way."""
    source, shared = current.video.source_frames, current.plan.variant.overlap
    if current.number or source < 2:
        return sample
    if current.plan.variant.keep_new:
        return torch.cat([sample[:, :source - shared], sample[:, -CLIP_FRAMES:]], dim=1)
    return torch.cat([sample[:, :source], sample[:, shared - CLIP_FRAMES:]], dim=1)
