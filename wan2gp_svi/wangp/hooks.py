"""What the patched lines of WanGP call, through `svi`.

Each hook takes a value of WanGP's and returns the value that WanGP goes on to use: the same one
while SVI is off. In the order of a run: `start` when wgp.py is loaded; `lora` for each LoRA file;
for every window `before_generate`, then inside the model's `generate` `seed`, `clip_vision_frame`,
`mask` and `injected_latents`, and back in the loop `after_join` and `after_save`.

`pipe` is WanGP's pipeline, which carries the current clip. `scope` holds the variables of WanGP's
generation loop; `contract` lists those that the hooks need.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from .. import lora as lora_keys
from ..conditioning import check, clip_vision_image, kept_frames
from ..conditioning import mask as keep_mask
from ..poses import PoseNetwork
from ..runs.record import StoreError
from ..storyboard import LOOP
from ..variants import CLIP_FRAMES, identify
from . import dance, page, window
from .check.telling import for_page
from .clip import Seam
from .encoding import expect_encode
from .form import SettingsError
from .loading import next_file
from .log import say
from .pipeline import Ended, OnPipeline, current_clip, on
from .plan import active_loras, make_plan
from .recorder import Frames, with_provenance
from .start import start
from .vae import expect_decode


def call(hook: str, value: Any, *context: Any) -> Any:
    """Calls a hook. An error in it neither loses a clip nor stops WanGP: it ends the video, and the
    user is told. WanGP itself shows what the user can fix before a clip is made."""
    function = HOOKS.get(hook)
    if function is None:  # a hook of another release
        return value
    try:
        return function(value, *context)
    except torch.cuda.OutOfMemoryError as error:
        if hook in ("after_join", "after_save"):  # where WanGP does not catch it
            return _failed(hook, value, context, error)
        raise
    except (SettingsError, StoreError) as error:
        if hook == "before_generate":
            error.args = (for_page(str(error)),)
            raise
        return _failed(hook, value, context, error)
    except Exception as error:
        return _failed(hook, value, context, error)


def _failed(hook: str, value: Any, context: tuple[Any, ...], error: Exception) -> Any:
    pipe, scope = (*context, None, None)[:2]
    clip = current_clip(pipe)
    if hook == "lora":  # nothing is made yet; WanGP names the file and ends the job
        raise error
    if hook == "start":
        say(f"SVI is off: {type(error).__name__}: {error}. WanGP itself is not affected. Please "
            "report this line.")
        return value
    if hook != "before_generate" and clip is None:  # a video without SVI carries on
        say(f"a bug in SVI {__version__} ({hook}, {type(error).__name__}: {error}): this video is "
            "made without SVI. Please report this line.")
        return value
    video = window.video_of(scope or {}) if clip is None else clip.video
    video.end(hook, error)
    if hook == "before_generate":
        on(pipe).expect_generate(pipe, None)
    elif hook == "after_save":
        with contextlib.suppress(Exception):  # WanGP's own path may lead to no file
            if video.recording is not None:
                return value[0], video.recording.shown(value[1])
    elif hook != "after_join":
        raise Ended(video.failure) from error
    return value


# ------------------------------------------------------------------------- the loop over windows

def before_generate(asked: tuple[str, Any], pipe: Any, scope: Mapping[str, Any]
                    ) -> tuple[str, Any]:
    """Before each window: puts the coming clip on `pipe`.

    `asked` are the window's prompt and the latents that the loop wants back; returns both as the
    clip needs them.
    """
    attached = getattr(pipe, "svi", None)
    if isinstance(attached, OnPipeline):
        attached.withdraw(pipe)
    if scope["window_no"] == 1:
        _forget_clip(pipe)
    plan = None
    if not scope.get("image_mode"):
        loras = active_loras(scope["activated_loras"], scope["model_def"])
        plan = make_plan(scope["base_model_type"], loras, scope.get("custom_settings"))
    if plan is None:
        _forget_clip(pipe)
        return asked
    before, number = current_clip(pipe), scope["window_no"] - 1
    if number and before is not None and before.video.failure:
        on(pipe).expect_generate(pipe, None)
        return asked
    window.check(plan, number, scope)
    clip = window.next_clip(plan, scope, before) if number else window.first_clip(plan, scope)
    on(pipe).clip = clip
    prompt = window.begin(clip, asked[0], scope)
    on(pipe).expect_generate(pipe, clip)
    page.tell_progress(clip)
    variant = plan.variant
    return prompt, slice(-variant.motion_latents, None) if variant.pro else asked[1]


def _forget_clip(pipe: Any) -> None:
    """Lets go of the last video. An error there does not concern the new one."""
    clip = current_clip(pipe)
    if clip is None:
        return
    on(pipe).clip = None
    try:
        if clip.video.recording is not None:
            clip.video.recording.close()
    except Exception as error:
        clip.video.end("close", error)


def after_join(joined: tuple[Tensor, Any], pipe: Any, scope: Mapping[str, Any]
               ) -> tuple[Tensor, Any]:
    """After WanGP has joined a window: its frames [3, T, H, W] and the list of those before.

    If the next clip keeps the frames that both show, this one loses them here.
    """
    clip = current_clip(pipe)
    if clip is None or clip.video.failure:
        return joined
    sample, frames = joined
    variant, video, recording = clip.plan.variant, clip.video, clip.video.recording
    if sample.shape[1] != clip.joined_frames:
        raise LookupError(f"this WanGP joins clips in another way: {sample.shape[1]} frames, not "
                          f"{clip.joined_frames}")
    last = (clip.number + 1 >= clip.total and not video.gen.get("extra_windows", 0)
            or scope.get("stop_current_sample", False)
            or recording is not None and recording.stop_asked())
    tail_stays = last or clip.stored is not None and clip.stored.tail_stays
    clip.next_seam = Seam(variant.overlap, variant.keep_new and not tail_stays, variant.overlap)
    sample = window.continued(sample, clip)
    if last and clip.row.end_image == LOOP:  # it is the first frame
        sample = sample[:, :-1]
    result = sample[:, : sample.shape[1] - clip.next_seam.given_up]
    if recording is None:
        return result, frames
    tail = variant.overlap if last and variant.keep_new else 0
    if tail and clip.row.end_image == LOOP:
        tail -= 1
    recording.joined(result.shape[1], tail, last)
    if not isinstance(frames, Frames):
        frames = Frames(video, recording)
    if clip.stored is not None and not video.sound:
        result = result[:, -2:]  # enough for WanGP's upsampling; a soundtrack needs them all
    return result, frames


def after_save(written: tuple[dict[str, Any], Any], pipe: Any) -> tuple[dict[str, Any], Any]:
    """After WanGP has written a window: logs it, and adds to the metadata how SVI made it.

    `written` are WanGP's settings for the metadata, and the path of the file.
    """
    clip = current_clip(pipe)
    if clip is None:
        return written
    if clip.video.failure:
        page.keep_last(written, clip)
        return written
    (configs, path), plan, recording = written, clip.plan, clip.video.recording
    if recording is None:
        seeds = [plan.seed(clip.video.seed, number) for number in range(clip.number + 1)]
        made = {"version": __version__, "variant": plan.variant.id, "seeds": seeds}
        configs = with_provenance(configs, made)
    else:
        configs, path = recording.saved(configs, path)
        page.only_once(path, clip)
    time_taken = f"done in {time.monotonic() - clip.started:.1f} s"
    say(f"clip {clip.number + 1}/{clip.total} {'reused' if clip.stored else time_taken}: {path}")
    return configs, path


# ---------------------------------------------------------------------- the pipeline's `generate`

def seed(value: int, pipe: Any) -> int:
    clip = current_clip(pipe)
    return value if clip is None else clip.seed


def clip_vision_frame(image: Tensor, pipe: Any) -> Tensor:
    """The image that CLIP sees: the FIRST motion frame. The encode and decode that follow are
    SVI's."""
    clip = current_clip(pipe)
    if clip is None or clip.is_stock:
        return image
    check(clip.motion_frames, clip.reference, CLIP_FRAMES)
    expect_encode(pipe, clip)
    expect_decode(pipe, say if clip.number == 0 else None)
    dance.expect_tokens(pipe, clip, image.device)
    frame = clip.motion_frames[:, 0]
    size = getattr(getattr(getattr(pipe, "clip", None), "model", None), "image_size", None)
    if size is None:  # Wan 2.2 has no CLIP
        return frame.to(image)
    # WanGP cuts it down to 8 bit, and then resizes only what has another size
    levels = ((clip_vision_image(frame, size) + 1) * 127.5).round().clamp(0, 255)
    return ((levels + 0.25) / 127.5 - 1).to(image.device)


def mask(value: Tensor, pipe: Any) -> Tensor:
    clip = current_clip(pipe)
    if clip is None or clip.is_stock:
        return value
    kept = kept_frames(clip.motion_frames.shape[1], clip.plan.variant.ref_pad_cfg)
    return keep_mask(CLIP_FRAMES, value, kept, clip.end is not None)


def injected_latents(count: int, pipe: Any) -> int:
    """Latents of the overlap that WanGP would write into the noise at each step: none in SVI."""
    clip = current_clip(pipe)
    return count if clip is None or clip.is_stock else 0


# ----------------------------------------------------------------------------------------- LoRAs

def lora(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The tensors of a LoRA file, named as WanGP's loader expects. For a video with SVI, without
    those for what the model lacks: CLIP's image, which Wan 2.2 does not see."""
    file = next_file(model)
    if lora_keys.is_authors(tensors):
        cleaned = lora_keys.clean(tensors, len(model.blocks))
        pose = ", and the pose network" if cleaned.pose else ""
        say(f"LoRA: {cleaned.layers} of {cleaned.wanted} layers matched{pose}")
        if cleaned.pose:
            model.svi_pose_network = PoseNetwork(cleaned.pose)
        return cleaned.lora
    if file and identify(file):
        blocks = len(model.blocks)
        say(f"LoRA: {len(lora_keys.layers(tensors, blocks))} of "
            f"{lora_keys.LAYERS_PER_BLOCK * blocks} layers matched")
    stray = lora_keys.for_image(tensors)
    if file is not None and stray and not any(
            "k_img" in name for name, _ in model.named_modules()):
        say(f"{file or 'a LoRA'}: {len(stray)} of {len(tensors)} tensors are for CLIP's image, "
            "which this model does not see, and were left out")
        return {key: tensor for key, tensor in tensors.items() if key not in stray}
    return tensors


#: what a hooked line may ask for
HOOKS: dict[str, Callable[..., Any]] = {
    "start": start, "lora": lora, "before_generate": before_generate, "seed": seed,
    "clip_vision_frame": clip_vision_frame, "mask": mask, "injected_latents": injected_latents,
    "after_join": after_join, "after_save": after_save,
}
