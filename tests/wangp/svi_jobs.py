"""Hooks for jobs (see session.py). They run inside WanGP's process and
import the installed package."""

from __future__ import annotations

from collections.abc import Callable
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


def continue_a_grown_video(generate: Callable[[dict[str, Any]], Any], job: dict[str, Any]
                           ) -> dict[str, Any]:
    """Makes two clips, and continues their video by one. Meanwhile WanGP looks at the video each
    time that it has grown, as its page does -> the numbers of frames."""
    import wgp

    from wan2gp_svi.runs.store import FOLDER, Store
    from wan2gp_svi.runs.video import count_frames
    from wan2gp_svi.wangp.recorder import Recording

    grow, seen = Recording.grow, []

    def look(self: Any, *others: Any) -> None:
        grow(self, *others)
        if self._video is not None:
            seen.append(wgp.get_video_info(str(self._video.path))[3])

    Recording.grow, Recording.report = look, lambda self, video: None
    store, frames = Store(Path(job["work"]) / "outputs" / FOLDER), []
    more: dict[str, Any] = {"video_length": 162}
    for _ in range(2):
        result = generate({**job["settings"], **more})
        assert result.success, [error.message for error in result.errors]
        video = next(store.runs()).video
        frames.append(count_frames(video))
        more = {"video_length": 81, "image_prompt_type": "V", "image_start": None,
                "video_source": str(video)}
    return {"seen": seen, "frames": frames}


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
