"""What the patched lines of WanGP call, through `svi`. Each function takes a value of WanGP's and returns what WanGP
goes on with: the same value wherever SVI is off.

In the order of a run: `start` when wgp.py is loaded; `lora` when a LoRA file is; for every window of a generation
`before_generate`, then in the model's `generate` `seed`, `clip_vision_frame`, `mask`, `injected_latents`, and back in
the loop `after_join` and `after_save`. `pipe` is WanGP's pipeline object, which carries the clip that is being made;
`scope` are the variables that WanGP's generation loop sees: which of them are needed stands in `contract`.
"""

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from .. import __version__, chain
from .. import lora as lora_keys
from ..conditioning import check, condition, condition_pro, kept_frames
from ..conditioning import mask as keep_mask
from ..runs.store import StoreError
from ..selftest.passed import changed_since
from ..text import roughly
from ..variants import CLIP_FRAMES
from . import continuing, matching, vae
from .clip import Clip, Ended, Generate, Video, on_grid, say, stand_in
from .form import SettingsError
from .handler import extend
from .plan import SMALL, Plan, active_loras, plan
from .recorder import Frames, with_provenance

_Scope = Mapping[str, Any]


def call(hook: str, value: Any, *context: Any) -> Any:
    """A hook, whose faults neither lose a clip nor stop WanGP: they end the video that is being made, and are told.

    What the user can put right (SettingsError, StoreError) is WanGP's to show, which it does before a clip is made.
    """
    does = HOOKS.get(hook)
    if does is None:  # of another release
        return value
    try:
        return does(value, *context)
    except torch.cuda.OutOfMemoryError:
        raise
    except (SettingsError, StoreError) as error:
        if hook == "before_generate":
            raise
        return _failed(hook, value, context, error)
    except Exception as error:
        return _failed(hook, value, context, error)


def _failed(hook: str, value: Any, context: tuple[Any, ...], error: Exception) -> Any:
    pipe, scope = (*context, None, None)[:2]
    current = getattr(pipe, "svi", None)
    if hook == "lora":  # before anything is made; WanGP names the file and ends the job
        raise error
    if hook == "start":
        say(f"is off: {type(error).__name__}: {error}. WanGP itself is not affected. Please report this line.")
        return value
    video = current.video if isinstance(current, Clip) else _video(scope or {})
    video.end(hook, error)
    if hook == "before_generate":
        Generate(pipe, None)
    elif hook == "after_save":
        with contextlib.suppress(Exception):  # the loop's own path may be that of no file
            return value[0], video.recording.shown(value[1])
    elif hook != "after_join":
        raise Ended(video.failure) from error
    return value


def start(save_video: Callable[..., Any]) -> Callable[..., Any]:
    """Extends WanGP's Wan handler, and returns its `save_video` for SVI's clips as well. Whatever fails here must not
    keep WanGP from starting."""
    try:
        from models.wan.wan_handler import family_handler
        from shared.utils import prompt_parser

        extend(family_handler, text_modes=hasattr(prompt_parser, "split_prompt_units"))
    except Exception as error:
        say(f"is off: this WanGP could not be extended ({type(error).__name__}: {error}). WanGP itself is not "
            "affected. Please report this line.")

    with contextlib.suppress(ImportError, AttributeError, TypeError):  # not there before WanGP 13
        from shared.utils import setting_names

        # videos of SVI before 1.1 have this among their settings, and WanGP refuses names that it does not know
        setting_names.NON_SETTING_KEYS = setting_names.NON_SETTING_KEYS | {"svi"}

    if Path("finetunes", f"{SMALL}.json").is_file():
        try:
            from . import small

            small.offer()
        except Exception as error:
            say(f"the small model cannot be loaded ({type(error).__name__}: {error}); all else works.")

    try:
        from shared.utils import plugins

        from . import tab

        tab.offer(plugins, say)
    except Exception as error:
        say(f"the SVI tab is not there ({type(error).__name__}: {error}); all else works.")

    if changed := changed_since(Path(__file__).resolve().parents[2]):
        say(changed)

    @wraps(save_video)
    def save(tensor: Any = None, save_file: Any = None, *arguments: Any, **options: Any) -> Any:
        if isinstance(tensor, Frames) and not arguments:
            return tensor.save(save_file, save_video, **options)
        return save_video(tensor, save_file, *arguments, **options)

    return save


# ---------------------------------------------------------------------------------------------- the loop over windows

def before_generate(asked: tuple[str, Any], pipe: Any, scope: _Scope) -> tuple[str, Any]:
    """Before the pipeline is called: what the coming clip is made of goes onto `pipe`. `asked` are the window's prompt
    and the latents that the loop asks back; both are returned as the clip needs them."""
    waiting = stand_in(pipe)
    if waiting is not None:  # WanGP never got as far as calling it
        waiting.withdraw()
    before = getattr(pipe, "svi", None)
    run = None
    if not scope.get("image_mode"):
        run = plan(scope["base_model_type"], active_loras(scope["activated_loras"], scope["model_def"]),
                   scope.get("custom_settings"))
    if before is not None and (run is None or scope["window_no"] == 1):
        pipe.svi = None
        if before.video.recording is not None:
            before.video.recording.close()
    if run is None:
        return asked
    number, total = scope["window_no"] - 1, scope["total_windows"]
    if number and before is not None and before.video.failure:
        Generate(pipe, None)
        return asked
    _check_window(run, number, scope)
    current = _first(run, total, scope) if number == 0 else _next(run, number, total, scope, before)
    prompt, latents = asked
    prompts, repeat = _said(scope["prompts"]) or [prompt], run.variant.prompt_repeat  # older WanGPs keep empty lines
    recording, whole = current.video.recording, total
    if recording is not None:
        about = recording.run.about
        prompts, repeat, whole = about.prompts, about.repeat, None
        current.seed = chain.seed(about.seed, number, run.seed_step)
    prompt = prompts[chain.prompt_index(number, len(prompts), repeat, whole)]
    if recording is not None:
        current.stored = recording.begin(number, prompt, current.seed, current.conditioned_on,
                                          scope.get("send_cmd"))
    pipe.svi = current
    Generate(pipe, current)
    _tell_progress(current, scope["gen"])
    return prompt, slice(-run.variant.motion_latents, None) if run.variant.pro else latents


def _video(scope: _Scope) -> Video:
    server = scope.get("server_config") or {}
    return Video(
        gen=scope.get("gen") or {}, send_cmd=scope.get("send_cmd"), lock=scope.get("lock") or contextlib.nullcontext(),
        replaces=not server.get("keep_intermediate_sliding_windows", 1),
        in_memory=bool(scope.get("api_return_video_uint8")),
        sound=bool(scope.get("postprocess_audio") or scope.get("audio_source")),
        source_frames=scope.get("source_video_frames_count") or 0,
        source_overlap=scope.get("source_video_overlap_frames_count") or 0,
        wangp=str(scope.get("WanGP_version", "?")))


def _first(run: Plan, total: int, scope: _Scope) -> Clip:
    latents = None
    if scope.get("image_start_tensor") is not None:
        # a copy, since WanGP turns its own into 8 bit in place when it saves the first window
        reference = scope["image_start_tensor"].float().cpu().clone()
        motion = on_grid(reference[:, None])
    else:
        reference, motion, latents = continuing.source(scope, run.variant.overlap, say)
    video = _video(scope)
    video.recording = recording = matching.begin(scope, run, reference, motion, say)
    seed, done = (scope["seed"], []) if recording is None else (recording.run.about.seed, recording.clips)
    seeds = [clip.seed for clip in done] + [chain.seed(seed, k, run.seed_step) for k in range(len(done), total)]
    say(run.describe(seeds, scope["fps"]))
    return Clip(run, 0, total, seed, reference, motion, None if latents is None else latents[0], video=video)


def _next(run: Plan, number: int, total: int, scope: _Scope, before: Clip | None) -> Clip:
    if before is None:
        raise SettingsError("the first clips of this video were made without SVI, so it cannot go on with it. "
                            "Generate the video anew.")
    recording = before.video.recording
    if recording is not None:
        recording.total = total  # the user may have asked for one window more
        if run.variant.keep_new and not before.tail_given_up:
            recording.follow()
    seconds = before.seconds if before.stored else (*before.seconds, time.monotonic() - before.started)
    return Clip(run, number, total, chain.seed(scope["seed"], number, run.seed_step), before.reference,
                before.next_motion_frames, before.next_latents, tail_given_up=before.tail_given_up, video=before.video,
                seconds=seconds)


def _tell_progress(current: Clip, gen: dict[str, Any]) -> None:
    """Which clip of how many, and how long all that are left will take, in WanGP's line of progress."""
    told = f"Clip {current.number + 1}/{current.total}"
    if current.seconds:
        told += f", about {roughly(median(current.seconds) * (current.total - current.number))} left"
    status = gen.get("progress_status") or ""
    gen["progress_status"] = re.sub(r"Sliding Window \d+/\d+", told, status) if "Sliding Window" in status else told


def _check_window(run: Plan, number: int, scope: _Scope) -> None:
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


def _said(prompts: list[str]) -> list[str]:
    return [text for text in prompts if text.strip()]


def after_join(joined: tuple[Tensor, Any], pipe: Any, scope: _Scope) -> tuple[Tensor, Any]:
    """After WanGP has joined a window: its frames [3, T, H, W] and the list of those before. Where the new clip is kept
    whole, the old one loses its last frames here."""
    current = getattr(pipe, "svi", None)
    if current is None or current.video.failure:
        return joined
    sample, frames = joined
    variant, video = current.plan.variant, current.video
    recording = video.recording
    if sample.shape[1] != current.joined:
        raise LookupError(f"this WanGP joins clips in another way: {sample.shape[1]} frames, not {current.joined}")
    last = current.number + 1 >= current.total and not video.gen.get("extra_windows", 0)
    last = last or scope.get("stop_current_sample", False) or recording is not None and recording.stop_asked()
    end = chain.kept(0, 1 if last else 2, variant.overlap, variant.keep_new).stop
    current.tail_given_up = end < CLIP_FRAMES
    if current.stored is not None and current.stored.tail_stays:
        end, current.tail_given_up = CLIP_FRAMES, False
    sample = _continued(sample, current)
    result = sample[:, :sample.shape[1] - (CLIP_FRAMES - end)]
    if recording is None:
        return result, frames
    recording.joined(result.shape[1], variant.overlap if last and variant.keep_new else 0, last)
    if not isinstance(frames, Frames):
        frames = Frames(video)
    if current.stored is not None and not video.sound:
        result = result[:, -2:]  # upsampling need not go over all of it again; a soundtrack is as long as they are
    return result, frames


def _continued(sample: Tensor, current: Clip) -> Tensor:
    """The seam to a video that is continued. WanGP has put its frames before the clip's, which are the last 81, and has
    dropped of these or of those what it takes to be shared: 1 to N frames, in every version in its own way."""
    source, shared = current.video.source_frames, current.plan.variant.overlap
    if current.number or source < 2:
        return sample
    if current.plan.variant.keep_new:
        return torch.cat([sample[:, :source - shared], sample[:, -CLIP_FRAMES:]], dim=1)
    return torch.cat([sample[:, :source], sample[:, shared - CLIP_FRAMES:]], dim=1)


def after_save(written: tuple[dict[str, Any], Any], pipe: Any) -> tuple[dict[str, Any], Any]:
    """After a window is written: a line in the log, and how the video was made into its metadata. `written` are these,
    and the path of the file."""
    current = getattr(pipe, "svi", None)
    if current is None or current.video.failure:
        return written
    (configs, path), run, recording = written, current.plan, current.video.recording
    if recording is None:
        seeds = [chain.seed(current.seed, number - current.number, run.seed_step)
                 for number in range(current.number + 1)]
        made = {"version": __version__, "variant": run.variant.id, "seeds": seeds}
        configs = with_provenance(configs, made)
    else:
        configs, path = recording.saved(configs, path)
        _only_once(path, current)
    how = "is on disk" if current.stored else f"done in {time.monotonic() - current.started:.1f} s"
    say(f"clip {current.number + 1}/{current.total} {how}: {path} ({CLIP_FRAMES} frames)")
    return configs, path


def _only_once(path: str, current: Clip) -> None:
    """Takes the video out of WanGP's gallery, to which it is about to be added again, grown. Where intermediate files
    are not kept, WanGP replaces the last entry itself, and removes its file if it is another one."""
    video = current.video
    if video.replaces and current.number > 0:
        return
    with video.lock:
        shown, settings = video.gen.get("file_list"), video.gen.get("file_settings_list")
        if not shown or not settings or len(shown) != len(settings):
            return
        same = Path(path).resolve()
        for at in reversed([at for at, other in enumerate(shown) if _resolved(other) == same]):
            del shown[at], settings[at]
        if isinstance(selected := video.gen.get("selected"), int):
            video.gen["selected"] = max(0, min(selected, len(shown) - 1))


def _resolved(path: Any) -> Path | None:
    return Path(path).resolve() if isinstance(path, (str, Path)) else None


# ------------------------------------------------------------------------------------------- the pipeline's `generate`

def seed(value: int, pipe: Any) -> int:
    current = getattr(pipe, "svi", None)
    return value if current is None else current.seed


def clip_vision_frame(image: Tensor, pipe: Any) -> Tensor:
    """The image that CLIP is shown: the FIRST motion frame. Also readies the VAE for the one encode that follows."""
    current = getattr(pipe, "svi", None)
    vars(pipe.vae).pop("encode", None)  # left there by a run that broke off before its encode
    if current is None:
        return image
    check(current.motion_frames, current.reference, CLIP_FRAMES)
    pipe.vae.encode = partial(_encode, pipe, current)
    return current.motion_frames[:, 0].to(image)


def _encode(pipe: Any, current: Clip, videos: list[Tensor], tile_size: int = 0, *_: Any, **__: Any) -> list[Tensor]:
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
    return [y[4:]]  # WanGP puts the mask before it, and the hook below is given that


def mask(value: Tensor, pipe: Any) -> Tensor:
    current = getattr(pipe, "svi", None)
    if current is None:
        return value
    kept = kept_frames(current.motion_frames.shape[1], current.plan.variant.ref_pad_cfg)
    return keep_mask(CLIP_FRAMES, value, kept)


def injected_latents(count: int, pipe: Any) -> int:
    """Latents of the overlap that WanGP would write into the noise at every step. SVI knows no such thing."""
    return count if getattr(pipe, "svi", None) is None else 0


# ---------------------------------------------------------------------------------------------------------------- LoRAs

def lora(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """A LoRA file's tensors as WanGP's loader takes them."""
    if not lora_keys.is_authors(tensors):
        return tensors
    cleaned = lora_keys.clean(tensors, len(model.blocks))
    say(f"LoRA: {cleaned.layers} of {cleaned.wanted} layers matched"
        + (f"; {len(cleaned.pose)} tensors of the pose network are set aside" if cleaned.pose else ""))
    return cleaned.lora


#: what a hooked line may ask for
HOOKS: dict[str, Callable[..., Any]] = {
    "start": start, "lora": lora, "before_generate": before_generate, "seed": seed,
    "clip_vision_frame": clip_vision_frame, "mask": mask, "injected_latents": injected_latents,
    "after_join": after_join, "after_save": after_save,
}
