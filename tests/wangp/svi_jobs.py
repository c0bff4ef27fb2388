"""Hooks for jobs (see session.py). They run inside WanGP's process and
import the installed package."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def keep_saved(wgp: Any, job: dict[str, Any]) -> None:
    """Writes the frames of each video that WanGP saves to saved-0.safetensors and
    so on, in the work folder."""
    import torch
    from safetensors.torch import save_file

    original, count = wgp.save_video, iter(range(10**6))

    def save_video(tensor: Any = None, *args: Any, **kwargs: Any) -> Any:
        parts = tensor if isinstance(tensor, list) else [tensor]
        frames = torch.cat([part.cpu() for part in parts], dim=1).contiguous()
        save_file({"frames": frames}, Path(job["work"]) / f"saved-{next(count)}.safetensors")
        return original(tensor, *args, **kwargs)

    wgp.save_video = save_video


def choose_variant(pipe: Any, task: dict[str, Any]) -> None:
    from wan2gp_svi.wangp.plan import make_plan

    pipe.svi_plan = make_plan(pipe.base_model_type, task["loras"], None)


def attach_clip(pipe: Any, number: int, arguments: dict[str, Any], result: Any) -> None:
    """Does for the pipeline alone what the hook before_generate does in WanGP's loop."""
    from wan2gp_svi import chain
    from wan2gp_svi.wangp.clip import Clip
    from wan2gp_svi.wangp.pipeline import on

    variant, video = pipe.svi_plan.variant, arguments["input_video"]
    on(pipe).clip = Clip(
        pipe.svi_plan, number - 1, 2, chain.seed(arguments["seed"], number - 1),
        reference=on(pipe).clip.reference if result else video[:, 0], motion_frames=video,
        previous_latents=result["latent_slice"][0] if result and variant.pro else None,
    )
    if variant.pro:
        arguments["return_latent_slice"] = slice(-1, None)
