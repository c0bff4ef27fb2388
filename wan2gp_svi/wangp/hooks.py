"""What the patched lines of WanGP call, through `svi`. Each function takes a value of WanGP's and returns what WanGP
goes on with: the same value wherever SVI is off.

In the order of a run: `start` when wgp.py is loaded; `lora` when a LoRA file is; for every window of a generation
`clip`, then in the model's `generate` `seed`, `clip_image`, `mask`, `injected_latents`, and back in the loop `whole`,
`kept`, `saved`. `pipe` is WanGP's pipeline object, which carries the clip that is being made; `scope` are the local
variables of WanGP's generation loop.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import __version__, chain
from .. import lora as lora_keys
from ..conditioning import check, condition_pro, pad_
from ..conditioning import mask as keep_mask
from ..variants import CLIP_FRAMES
from . import vae
from .settings import Plan, SettingsError, active_loras, extend, plan

_Scope = dict[str, Any]


@dataclass
class Clip:
    """One clip of a run; `number` counts from 0. `motion_frames` [3, N, H, W] and `reference` [3, H, W] are float32 in
    [-1, 1]; `previous_latents` [16, t, h, w], of SVI 2.0 Pro alone, are None in the first clip."""

    plan: Plan
    number: int
    total: int
    seed: int
    reference: Tensor
    motion_frames: Tensor
    previous_latents: Tensor | None = None
    tail_given_up: bool = False
    started: float = field(default_factory=time.monotonic)


def say(line: str) -> None:
    print(f"[SVI] {line}", flush=True)


def start(_: None = None) -> None:
    """Extends WanGP's Wan handler. Whatever fails here must not keep WanGP from starting."""
    try:
        from models.wan.wan_handler import family_handler
        from shared.utils import prompt_parser

        extend(family_handler, text_modes=hasattr(prompt_parser, "split_prompt_units"))
    except Exception as error:
        say(f"is off: this WanGP could not be extended ({type(error).__name__}: {error}). WanGP itself is not "
            "affected. Please report this line.")


# ---------------------------------------------------------------------------------------------- the loop over windows

def clip(asked: tuple[str, Any], pipe: Any, scope: _Scope) -> tuple[str, Any]:
    """Before the pipeline is called: what the coming clip is made of goes onto `pipe`. `asked` are the window's prompt
    and the latents that the loop asks back; both are returned as the clip needs them."""
    before = getattr(pipe, "svi", None)
    run = None
    if not scope.get("image_mode"):
        run = plan(scope["base_model_type"], active_loras(scope["activated_loras"], scope["model_def"]),
                   scope.get("custom_settings"))
    if run is None:
        if before is not None:
            pipe.svi = None
        return asked
    pipe.svi = None
    number, total = scope["window_no"] - 1, scope["total_windows"]
    _check_window(run, number, scope)
    first = number == 0
    if not first and before is None:
        raise SettingsError("the first clips of this video were made without SVI, so it cannot go on with it. "
                            "Generate the video anew.")
    pipe.svi = Clip(
        run, number, total, chain.seed(scope["seed"], number, run.seed_step),
        # a copy, since WanGP turns its own into 8 bit in place when it saves the first window
        reference=scope["image_start_tensor"].float().cpu().clone() if first else before.reference,
        motion_frames=_eight_bit(scope["pre_video_guide"]),
        previous_latents=None if first or not run.variant.pro else scope["overlapped_latents"][0],
        tail_given_up=not first and before.tail_given_up,
    )
    if first:
        say(run.describe(total, scope["seed"], scope["fps"]))
    prompt, latents = asked
    prompts = [text for text in scope["prompts"] if text.strip()] or [prompt]  # older WanGPs keep empty lines
    prompt = prompts[chain.prompt_index(number, len(prompts), run.variant.prompt_repeat, total)]
    return prompt, slice(-run.variant.motion_latents, None) if run.variant.pro else latents


def _check_window(run: Plan, number: int, scope: _Scope) -> None:
    """A window of another length or overlap is not an SVI clip; settings that `prepare` never saw end here."""
    if scope["current_video_length"] != CLIP_FRAMES or number and scope["reuse_frames"] != run.variant.overlap:
        raise SettingsError(f"SVI needs windows of {CLIP_FRAMES} frames with an overlap of {run.variant.overlap}, and "
                            f"this window has {scope['current_video_length']} with {scope['reuse_frames']}. Press "
                            "Generate again, without window commands in the prompt.")
    if scope.get("image_end_tensor") is not None:
        raise SettingsError("an end image cannot be used with SVI yet. Take it away.")
    if number == 0 and scope.get("image_start_tensor") is None:
        raise SettingsError("a start image is needed: it is the reference that every clip returns to.")


def _eight_bit(frames: Tensor) -> Tensor:
    """Frames as a video file would hold them, as in the authors' scripts; for the 8-bit frames that newer WanGPs hand
    on this only takes float rounding away."""
    return (frames.float().cpu() + 1).mul_(127.5).round_().clamp_(0, 255).div_(127.5).sub_(1)


def whole(sample: Tensor, pipe: Any) -> Tensor:
    """Before WanGP drops a later window's first frames: where the new clip is kept whole they are put there twice."""
    current = getattr(pipe, "svi", None)
    if current is None or not current.plan.variant.keep_new:
        return sample
    return torch.cat([sample[:, :current.plan.variant.overlap], sample], dim=1) if current.tail_given_up else sample


def kept(sample: Tensor, pipe: Any, scope: _Scope) -> Tensor:
    """After WanGP has joined a window: where the new clip is kept whole, the old one loses its last frames here."""
    current = getattr(pipe, "svi", None)
    if current is None:
        return sample
    variant = current.plan.variant
    last = scope["window_no"] >= scope["total_windows"] and not scope["gen"].get("extra_windows", 0)
    last = last or scope.get("stop_current_sample", False)
    end = chain.kept(0, 1 if last else 2, variant.overlap, variant.keep_new).stop
    current.tail_given_up = end < CLIP_FRAMES
    return sample[:, :sample.shape[1] - (CLIP_FRAMES - end)]


def saved(configs: dict[str, Any], pipe: Any, scope: _Scope) -> dict[str, Any]:
    """After a window is written: a line in the log, and how the video was made into its metadata."""
    current = getattr(pipe, "svi", None)
    if current is None:
        return configs
    say(f"clip {current.number + 1}/{current.total} done in {time.monotonic() - current.started:.1f} s: "
        f"{scope['video_path']} ({CLIP_FRAMES} frames)")
    run = current.plan
    seeds = [chain.seed(scope["seed"], number, run.seed_step) for number in range(current.number + 1)]
    return {**configs, "svi": {"version": __version__, "variant": run.variant.id, "seeds": seeds}}


# ------------------------------------------------------------------------------------------- the pipeline's `generate`

def seed(value: int, pipe: Any) -> int:
    current = getattr(pipe, "svi", None)
    return value if current is None else current.seed


def clip_image(image: Tensor, pipe: Any) -> Tensor:
    """The image that CLIP is shown: the FIRST motion frame. Also readies the VAE for the one encode that follows."""
    current = getattr(pipe, "svi", None)
    vars(pipe.vae).pop("encode", None)  # left there by a run that broke off before its encode
    if current is None:
        return image
    check(current.motion_frames, current.reference, CLIP_FRAMES)
    pipe.vae.encode = partial(_encode, pipe, current)
    return current.motion_frames[:, 0].to(image)


def _encode(pipe: Any, current: Clip, videos: list[Tensor], tile_size: int = 0, **_: Any) -> list[Tensor]:
    """Stands in for one call of the VAE's `encode`: WanGP's conditioning video [3, 81, H, W] is filled as SVI wants it,
    in place, and encoded once."""
    del pipe.vae.encode
    device = videos[0].device
    reference, variant = current.reference.to(device), current.plan.variant
    encode = partial(vae.encode, pipe, tile_size=tile_size, say=say if current.number == 0 else None)
    if variant.pro:
        y = condition_pro(reference, encode, num_frames=videos[0].shape[1], num_motion_latent=variant.motion_latents,
                          previous_latents=current.previous_latents)
        return [y[4:]]
    video = videos[0].float()  # no copy where the VAE runs in 32 bit
    n = current.motion_frames.shape[1]
    video[:, :n] = current.motion_frames.to(device)
    return [encode(pad_(video, n, reference, variant.ref_pad_num))]


def mask(value: Tensor, pipe: Any) -> Tensor:
    current = getattr(pipe, "svi", None)
    if current is None:
        return value
    cfg = current.plan.variant.ref_pad_cfg
    return keep_mask(CLIP_FRAMES, value, current.motion_frames.shape[1] if cfg else 1)


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
