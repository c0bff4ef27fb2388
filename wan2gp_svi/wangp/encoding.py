"""The one encode of a clip: SVI's conditioning in the place of WanGP's."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..conditioning import amplify, condition, condition_pro
from . import vae
from .clip import Clip
from .log import say
from .pipeline import Ended


def expect_encode(pipe: Any, clip: Clip) -> None:
    """Stands in for the next call of the VAE's `encode`, which encodes the conditioning video."""

    def encode_once(videos: list[Tensor], tile_size: int = 0, *_: Any, **__: Any) -> list[Tensor]:
        del pipe.vae.encode
        try:
            return [encode(pipe, clip, videos[0], tile_size)]
        except torch.cuda.OutOfMemoryError:  # which WanGP explains to the user
            raise
        except Exception as error:
            clip.video.end("encode", error)
            raise Ended(clip.video.failure) from error

    pipe.vae.encode = encode_once


def encode(pipe: Any, clip: Clip, video: Tensor, tile_size: int) -> Tensor:
    """WanGP's conditioning video [3, 81, H, W] -> latents [16, 21, H/8, W/8] as SVI wants them.

    A video in float32 is filled in place, to save a copy. WanGP adds the mask: see `hooks.mask`.
    """
    variant, device, frames = clip.plan.variant, video.device, video.shape[1]
    reference, motion_frames = clip.reference.to(device), clip.motion_frames.to(device)
    end = None if clip.end is None else clip.end.to(device)
    vae_encode = partial(vae.encode, pipe, tile_size=tile_size,
                         say=say if clip.number == 0 else None)
    if variant.pro:
        previous = clip.previous_latents
        if previous is None and motion_frames.shape[1] > 1:  # the user's video has no latents
            previous = vae_encode(motion_frames)[:, -variant.motion_latents :]
        y = condition_pro(reference, vae_encode, num_frames=frames, previous_latents=previous,
                          num_motion_latent=variant.motion_latents, end=end)
        kept = 1 if previous is None else 1 + variant.motion_latents
    else:
        # the authors' code for Wan 2.2 pads with grey up to an end image, as the base model does
        grey = end is not None and variant.wan == "2.2"
        y = condition(motion_frames, reference, vae_encode, num_frames=frames, out=video.float(),
                      ref_pad_num=0 if grey else variant.ref_pad_num,
                      ref_pad_cfg=variant.ref_pad_cfg, end=end)
        kept = 1 + (motion_frames.shape[1] - 1) // 4
    return amplify(y[4:], kept, clip.motion, end is not None)
