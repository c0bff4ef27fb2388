"""What the patched lines of WanGP call, through `svi`. Each function takes a value of WanGP's and returns what WanGP
goes on with: the same value wherever SVI is off.

In the order of a run: `start` when wgp.py is loaded; `lora` when a LoRA file is; for every window of a generation
`before_generate`, then in the model's `generate` `seed`, `clip_vision_frame`, `mask`, `injected_latents`, and back in
the loop `after_join` and `after_save`. `pipe` is WanGP's pipeline object, which carries the clip that is being made;
`scope` are the variables that WanGP's generation loop sees: which of them are needed stands in `contract`.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import __version__, chain
from .. import lora as lora_keys
from ..conditioning import check, kept_frames
from ..conditioning import mask as keep_mask
from ..runs.store import StoreError
from ..variants import CLIP_FRAMES
from . import page, window
from .clip import Clip, Ended, Generate, encode_once, say, stand_in
from .form import SettingsError
from .matching import said
from .plan import active_loras, make_plan
from .recorder import Frames, with_provenance
from .start import start


def call(hook: str, value: Any, *context: Any) -> Any:
    """A hook, whose faults neither lose a clip nor stop WanGP: they end the video that is being made, and are told.

    What the user can put right (SettingsError, StoreError) is WanGP's to show, which it does before a clip is made.
    """
    does = HOOKS.get(hook)
    if does is None:  # of another release
        return value
    try:
        return does(value, *context)
    except torch.cuda.OutOfMemoryError as error:
        if hook in ("after_join", "after_save"):  # outside of what WanGP catches
            return _failed(hook, value, context, error)
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
    if hook != "before_generate" and not isinstance(current, Clip):  # a video without SVI, which goes on
        say(f"something is wrong in SVI {__version__} ({hook}, {type(error).__name__}: {error}). This video is made "
            "without it. Please report this line.")
        return value
    video = current.video if isinstance(current, Clip) else window.video_of(scope or {})
    video.end(hook, error)
    if hook == "before_generate":
        if (waiting := stand_in(pipe)) is not None:
            waiting.withdraw()
        Generate(pipe, None)
    elif hook == "after_save":
        with contextlib.suppress(Exception):  # the loop's own path may be that of no file
            return value[0], video.recording.shown(value[1])
    elif hook != "after_join":
        raise Ended(video.failure) from error
    return value


# ---------------------------------------------------------------------------------------------- the loop over windows

def before_generate(asked: tuple[str, Any], pipe: Any, scope: Mapping[str, Any]) -> tuple[str, Any]:
    """Before the pipeline is called: what the coming clip is made of goes onto `pipe`. `asked` are the window's prompt
    and the latents that the loop asks back; both are returned as the clip needs them."""
    waiting = stand_in(pipe)
    if waiting is not None:  # WanGP never got as far as calling it
        waiting.withdraw()
    if scope.get("window_no") == 1:
        _forget_clip(pipe)
    run = None
    if not scope.get("image_mode"):
        run = make_plan(scope["base_model_type"], active_loras(scope["activated_loras"], scope["model_def"]),
                        scope.get("custom_settings"))
    if run is None:
        _forget_clip(pipe)
        return asked
    before = getattr(pipe, "svi", None)
    number, total = scope["window_no"] - 1, scope["total_windows"]
    if number and before is not None and before.video.failure:
        Generate(pipe, None)
        return asked
    window.check(run, number, scope)
    current = window.first(run, total, scope) if number == 0 else window.next_one(run, number, total, scope, before)
    prompt, latents = asked
    prompts, repeat = said(scope["prompts"]) or [prompt], run.variant.prompt_repeat
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
    page.tell_progress(current, scope["gen"])
    return prompt, slice(-run.variant.motion_latents, None) if run.variant.pro else latents


def _forget_clip(pipe: Any) -> None:
    """Lets go of the video before this one. A fault there is not this one's."""
    before = getattr(pipe, "svi", None)
    if before is None:
        return
    pipe.svi = None
    try:
        if before.video.recording is not None:
            before.video.recording.close()
    except Exception as error:
        before.video.end("close", error)


def after_join(joined: tuple[Tensor, Any], pipe: Any, scope: Mapping[str, Any]) -> tuple[Tensor, Any]:
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
    sample = window.continued(sample, current)
    result = sample[:, :sample.shape[1] - (CLIP_FRAMES - end)]
    if recording is None:
        return result, frames
    recording.joined(result.shape[1], variant.overlap if last and variant.keep_new else 0, last)
    if not isinstance(frames, Frames):
        frames = Frames(video)
    if current.stored is not None and not video.sound:
        result = result[:, -2:]  # upsampling need not go over all of it again; a soundtrack is as long as they are
    return result, frames


def after_save(written: tuple[dict[str, Any], Any], pipe: Any) -> tuple[dict[str, Any], Any]:
    """After a window is written: a line in the log, and how the video was made into its metadata. `written` are these,
    and the path of the file."""
    current = getattr(pipe, "svi", None)
    if current is None:
        return written
    if current.video.failure:
        page.keep_last(written, current)
        return written
    (configs, path), run, recording = written, current.plan, current.video.recording
    if recording is None:
        seeds = [chain.seed(current.seed, number - current.number, run.seed_step)
                 for number in range(current.number + 1)]
        made = {"version": __version__, "variant": run.variant.id, "seeds": seeds}
        configs = with_provenance(configs, made)
    else:
        configs, path = recording.saved(configs, path)
        page.only_once(path, current)
    how = "is on disk" if current.stored else f"done in {time.monotonic() - current.started:.1f} s"
    say(f"clip {current.number + 1}/{current.total} {how}: {path} ({CLIP_FRAMES} frames)")
    return configs, path


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
    pipe.vae.encode = partial(encode_once, pipe, current)
    return current.motion_frames[:, 0].to(image)


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
