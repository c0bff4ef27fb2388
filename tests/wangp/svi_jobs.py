"""Named in jobs (see session.py); runs inside WanGP's process, where the installed package is importable."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def keep_saved(wgp: Any, job: dict[str, Any]) -> None:
    """Writes the frames of every video that WanGP saves, joined, to saved-0.safetensors, saved-1 ... in the work folder."""
    import torch
    from safetensors.torch import save_file

    original, count = wgp.save_video, iter(range(10**6))

    def save_video(tensor: Any = None, *args: Any, **kwargs: Any) -> Any:
        parts = tensor if isinstance(tensor, list) else [tensor]
        frames = torch.cat([part.cpu() for part in parts], dim=1).contiguous()
        save_file({"frames": frames}, Path(job["work"]) / f"saved-{next(count)}.safetensors")
        return original(tensor, *args, **kwargs)

    wgp.save_video = save_video


def attach_clip(pipe: Any, number: int, arguments: dict[str, Any]) -> None:
    """What WanGP's loop does before each window, for the pipeline alone: the clip goes onto the pipeline."""
    from wan2gp_svi import chain
    from wan2gp_svi.wangp import hooks
    from wan2gp_svi.wangp.settings import plan

    loras = attach_clip.job["args"]["loras"]
    run = plan(pipe.base_model_type, loras, None)
    first = number == 1
    before = getattr(pipe, "svi", None)
    video = arguments["input_video"]
    pipe.svi = hooks.Clip(
        run, number - 1, len(attach_clip.job["windows"]), chain.seed(arguments["seed"], number - 1),
        reference=video[:, 0] if first else before.reference, motion_frames=video,
        previous_latents=None if first or not run.variant.pro else attach_clip.latents,
    )
    if run.variant.pro:
        arguments["return_latent_slice"] = slice(-1, None)
        generate = type(pipe).generate

        def keep(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = generate(self, *args, **kwargs)
            attach_clip.latents = result["latent_slice"][0]
            return result

        if not hasattr(type(pipe), "_kept"):
            type(pipe).generate, type(pipe)._kept = keep, True


def prepare_clips(pipe: Any, job: dict[str, Any]) -> None:
    attach_clip.job = job
