"""A window of WanGP's loop as an SVI clip: whether it can be one, and what goes into the clip."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain, files
from ..storyboard import LOOP
from ..variants import CLIP_FRAMES
from . import board, continuing, matching, pose_video, source_video, stop_button, visitors
from .check.telling import for_page, running_limits
from .clip import Clip, Seam, Video
from .dance import Poses, detector
from .form import SettingsError
from .frames import on_grid, to_uint8
from .log import say
from .plan import Plan
from .recorder import Recording
from .speech import Speech

_Scope = Mapping[str, Any]
_WANGPS_SOUND = 3000  # frames that WanGP itself reads of a sound


def video_of(scope: _Scope) -> Video:
    """What WanGP's loop says about the video; the run on disk is added later."""
    server = scope.get("server_config") or {}
    return Video(
        gen=scope.get("gen") or {}, send_cmd=scope.get("send_cmd"),
        lock=scope.get("lock") or contextlib.nullcontext(),
        replaces=not server.get("keep_intermediate_sliding_windows", 1),
        in_memory=bool(scope.get("api_return_video_uint8")),
        sound=bool(scope.get("postprocess_audio") or scope.get("audio_source")),
        source_frames=scope.get("source_video_frames_count") or 0,
        source_overlap=scope.get("source_video_overlap_frames_count") or 0,
        wangp=str(scope.get("WanGP_version", "?")))


def check(plan: Plan, number: int, scope: _Scope) -> None:
    """Raises SettingsError for a window that cannot be an SVI clip.

    `check` and `required` see to most of it beforehand, but not all settings come past them.
    """
    overlap, source = plan.variant.overlap, scope.get("source_video_frames_count") or 0
    no_image = number == 0 and scope.get("image_start_tensor") is None
    if no_image and scope.get("prefix_video") is None:
        raise SettingsError("There is no start image, and no last video to continue. Add one of "
                            "them.")
    if no_image and source < overlap:
        raise SettingsError(
            f"The video to continue has {source} frames, but {plan.variant.title} needs its last "
            f"{overlap}. Continue a longer video, or use one of its frames as the start image.")
    if scope.get("image_end_tensor") is not None:
        raise SettingsError("An end image belongs to a clip: choose it in the storyboard (tab "
                            "SVI), and remove it here.")
    windows = [(scope["current_video_length"], scope["reuse_frames"] if number else overlap)]
    if number == 0:
        windows += _planned(scope)
        _check_images(plan)
    if plan.sound and number + len(windows) == scope["total_windows"]:
        frames, shared = windows[-1]  # WanGP ends with the sound; see Clip.keywords
        windows[-1] = max(frames, CLIP_FRAMES), shared
    for frames, shared in windows:
        if (frames, shared) != (CLIP_FRAMES, overlap):
            raise SettingsError(
                f"SVI needs windows of {CLIP_FRAMES} frames with an overlap of {overlap}, but "
                f"WanGP plans one of {frames} with {shared}. Remove window commands from the "
                "prompt and press Generate again.")


def _check_images(plan: Plan) -> None:
    only = running_limits()
    for path in board.images(plan.board):
        if only is not None and visitors.is_foreign(path, only):
            raise SettingsError(f"{path} is no image of this page. Add it in the tab SVI.",
                                "storyboard")


def _planned(scope: _Scope) -> list[tuple[int, int]]:
    """Frames and overlap of every window after the first, if WanGP plans ahead (since 12.54)."""
    windows = scope.get("default_windows")
    if not isinstance(windows, list) or len(windows) != scope["total_windows"]:
        return []
    return [(window["frame_num"], window["overlap_frames"]) for window in windows[1:]]


def first_clip(plan: Plan, scope: _Scope) -> Clip:
    """The first clip of a video, with the run that the video belongs to. Raises SettingsError."""
    variant, total, latents = plan.variant, scope["total_windows"], None
    source, apart = None, False
    if scope.get("image_start_tensor") is not None:
        # a copy: WanGP converts its own to 8 bit in place when it saves the first window
        reference = scope["image_start_tensor"].float().cpu().clone()
        motion_frames = on_grid(reference[:, None])
    else:
        before = source_video.whole(scope.get("video_source"), Path(scope["save_path"]))
        apart = before is not None
        source = before or Path(str(scope.get("video_source")))
        if before is None and source_video.too_long(scope, Fraction(scope["fps"])) is not None:
            raise source_video.add_instead(source, Fraction(scope["fps"]))
        of_source = scope if before is None else {
            **scope, "video_source": str(before),
            "source_video_frames_count": _frames_like(before, scope)}
        reference, motion_frames, latents = continuing.source(
            of_source, variant.overlap, say, lambda line: _warn(line, scope))
        scope = {**scope, "seed": continuing.first_seed(of_source, plan.board.seed_step)}
    video, seam = video_of(scope), Seam()
    video.apart = apart
    if plan.sound:
        video.speech = Speech(str(scope.get("audio_guide")))
    if variant.poses and (path := pose_video.given(scope)):
        height, width = reference.shape[1:]
        image = to_uint8(reference).movedim(0, -1) if pose_video.is_aligned(scope) else None
        video.poses = Poses(str(path), height, width, variant.overlap,
                            detector if pose_video.of_person(scope) else None, image,
                            lambda line: _warn(line, scope))
    if video.source_frames > 1:
        keep_new = variant.keep_new and not video.apart  # a copy keeps its last frames
        seam = Seam(variant.overlap, keep_new, video.source_overlap)
    recording = matching.begin(scope, plan, reference, motion_frames, say,
                               source if source is not None and source.is_file() else None, apart)
    video.recording = recording
    if plan.sound and recording is None and chain.length(total, variant.overlap) > _WANGPS_SOUND:
        raise SettingsError("This WanGP keeps only two minutes of sound in a video. Update it to "
                            "10.41 or later, or use a shorter sound.")
    if plan.board.pause and recording is None:
        _warn("this WanGP cannot stop after every clip. Update it to 10.41 or later.", scope)
    if recording is None:
        video.gen[stop_button.RUN] = None
    video.seed = scope["seed"] if recording is None else recording.run.about.seed
    video.start, video.images = reference, _images(plan, recording)
    seeds = [] if recording is None else [clip.seed for clip in recording.clips]
    seeds += [plan.seed(video.seed, number) for number in range(len(seeds), total)]
    say(plan.describe(seeds, scope["fps"], source is not None))
    return _asked(Clip(plan, 0, total, plan.seed(video.seed, 0), reference, motion_frames,
                       None if latents is None else latents[0], seam=seam, video=video), scope)


def _frames_like(before: Path, scope: _Scope) -> int:
    """The frames of a video that is copied. Raises SettingsError if the clips are unlike it."""
    track = source_video.track(before)
    height, width = scope["prefix_video"].shape[2:]
    if (track.size, track.rate) != ((width, height), Fraction(scope["fps"])):
        raise SettingsError(
            f"{before.name} is {track.size[0]}x{track.size[1]} with {float(track.rate):g} frames a "
            f"second, but WanGP makes {width}x{height} with {scope['fps']:g}, which cannot be "
            "joined to it. Convert it, or cut off its beginning.", "source-length")
    return track.frames


def _images(plan: Plan, recording: Recording | None) -> dict[str, Path]:
    """The storyboard's images: the run's own copies, which stay."""
    found = {path: Path(path) for path in board.images(plan.board)}
    if recording is not None:
        found |= {path: own for path in found
                  if (own := recording.run.image(board.digest(path))) is not None}
    return found


def _asked(clip: Clip, scope: _Scope) -> Clip:
    """The clip with the images, the start and the strengths that its row asks for."""
    row, video = clip.row, clip.video
    if video.start is None:
        return clip
    size = video.start.shape[1:]
    clip.loras = tuple(map(str, scope.get("loras_selected") or []))
    if row.reference:
        clip.reference = _picture(video.images[row.reference], size)
    if row.end_image:
        clip.end = (on_grid(video.start[:, None])[:, 0] if row.end_image == LOOP else
                    _picture(video.images[row.end_image], size))
    if row.new_shot:
        clip.motion_frames, clip.previous_latents = on_grid(clip.reference[:, None]), None
    return clip


def _picture(path: Path, size: Sequence[int]) -> Tensor:
    try:
        return continuing.picture(path, size)
    except Exception as error:  # whatever it holds
        raise SettingsError(f"The image {path} of the storyboard cannot be read "
                            f"({files.explain(error)}). Add another.", "storyboard") from None


def _warn(line: str, scope: _Scope) -> None:
    """Writes a line to WanGP's log and onto its page."""
    say(line)
    with contextlib.suppress(Exception):  # the log has it
        scope["send_cmd"]("info", for_page(f"SVI: {line}"))


def next_clip(plan: Plan, scope: _Scope, before: Clip | None) -> Clip:
    """The clip after `before`. Raises SettingsError if that one was made without SVI."""
    if before is None or before.next_motion_frames is None:
        raise SettingsError("The first clips of this video were made without SVI, so SVI cannot "
                            "continue it. Generate the video again.")
    number, total, seconds = scope["window_no"] - 1, scope["total_windows"], before.seconds
    recording = before.video.recording
    if before.row.end_image == LOOP:  # the user has asked for one window more
        _warn(f"clip {number} closes the loop, but another one follows, so the video does not end "
              "where it begins. To move the end of the loop, extend the run in the tab SVI.", scope)
    if recording is not None:
        recording.total = total  # the user may have asked for one window more
        if plan.variant.keep_new and not before.next_seam.keep_new:
            recording.follow()
    if not before.stored:
        seconds = (*seconds, time.monotonic() - before.started)
    reference = before.reference if before.video.start is None else before.video.start
    clip = Clip(plan, number, total, plan.seed(before.video.seed, number), reference,
                before.next_motion_frames, before.next_latents, seam=before.next_seam,
                video=before.video, seconds=seconds)
    return _asked(clip, scope)


def begin(clip: Clip, prompt: str, scope: _Scope) -> str:
    """Tells the run, if there is one, that the clip begins -> the clip's prompt."""
    recording, variant, own = clip.video.recording, clip.plan.variant, clip.row.prompt
    if recording is None:
        prompts = matching.non_empty(scope["prompts"]) or [prompt]
        return own or prompts[chain.prompt_index(clip.number, len(prompts), variant.prompt_repeat,
                                                 clip.total)]
    about = recording.asked
    prompt = own or about.prompts[chain.prompt_index(clip.number, len(about.prompts), about.repeat)]
    asks = about.asks[clip.number] if clip.number < len(about.asks) else ""
    clip.stored = recording.begin(clip.number, prompt, clip.seed, clip.conditioned_on,
                                  scope.get("send_cmd"), asks)
    return prompt


def continued(sample: Tensor, clip: Clip) -> Tensor:
    """The seam to the user's video. WanGP has put the video's frames before the clip's, which are
    the last 81, and every version drops others of those that both show."""
    source, overlap = clip.video.source_frames, clip.plan.variant.overlap
    if clip.number or source < 2:
        return sample
    if clip.video.apart:
        return sample[:, overlap - CLIP_FRAMES :]
    if clip.seam.keep_new:
        return torch.cat([sample[:, : source - overlap], sample[:, -CLIP_FRAMES:]], dim=1)
    return torch.cat([sample[:, :source], sample[:, overlap - CLIP_FRAMES :]], dim=1)
