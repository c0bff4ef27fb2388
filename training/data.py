"""Clips of the demo model's world, drawn and encoded on the GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKLWan
from torch import Tensor

from wan2gp_svi.demo import world
from wan2gp_svi.demo.model import text_features
from wan2gp_svi.demo.network import encode
from wan2gp_svi.variants import CLIP_FRAMES

ENDS = 0.25  #: share of the clips that end on an image
WORDS = 16  #: tokens that are stored of a prompt; all others are zero
TESTED_FROM = 1_000_000  #: scenes from this seed on are never trained on


def scenes(first: int, count: int) -> list[world.Scene]:
    if first + count > TESTED_FROM:
        raise ValueError(f"scenes from {TESTED_FROM} on are for tests")
    return [world.scene(seed) for seed in range(first, first + count)]


def turns(speeds: Tensor, start: Tensor, frames: int = CLIP_FRAMES) -> Tensor:
    """Turns [B, T] of objects at these speeds [B], which begin at `start` [B]."""
    return start.cpu()[:, None] + speeds[:, None] * torch.arange(frames)


def speeds(actions: Sequence[str]) -> Tensor:
    """Turns from one frame to the next, [B]."""
    return torch.tensor([world.TURNS[action] / CLIP_FRAMES for action in actions])


def ending(speeds: Tensor) -> tuple[Tensor, Tensor]:
    """Which clips end on an image, bool [B], and the speeds: there, objects go up to half a turn
    further or less far, so that they end anywhere."""
    ends = torch.rand(len(speeds)) < ENDS
    return ends, speeds + ends * (torch.rand(len(speeds)) - 0.5) / (CLIP_FRAMES - 1)


def words(prompts: Sequence[str]) -> Tensor:
    return text_features(prompts)[:, :WORDS]


def text(features: Tensor) -> Tensor:
    """[B, 16, 256] -> [B, 512, 256]."""
    return F.pad(features.float(), (0, 0, 0, 512 - WORDS))


def to_bytes(pixels: Tensor) -> Tensor:
    return pixels.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)


def from_bytes(pixels: Tensor) -> Tensor:
    return pixels.float() / 127.5 - 1


def textures(count: int, device: torch.device) -> Tensor:
    """Videos of moving soft noise, [B, 3, T, H, W], so that the VAE knows other pictures, too."""
    height, width, margin = world.HEIGHT, world.WIDTH, 32
    video = torch.empty(count, 3, CLIP_FRAMES, height, width, device=device)
    for clip in video:
        cells = int(torch.randint(3, 20, ()))
        grid = torch.rand(1, 3, cells, cells + cells // 2, device=device)
        big = F.interpolate(grid, (height + margin, width + margin), mode="bicubic")
        big = big.clamp(0, 1)[0] * 2 - 1
        way = torch.rand(2) * margin
        for frame in range(CLIP_FRAMES):
            y, x = (way * (frame / CLIP_FRAMES)).int().tolist()
            clip[:, frame] = big[:, y:y + height, x:x + width]
    return video


@torch.no_grad()
def encoded(vae: AutoencoderKLWan, pixels: Tensor, batch: int = 64) -> Tensor:
    """Pixels -> latents, on a GPU in half precision."""
    with torch.autocast("cuda", torch.float16, enabled=pixels.is_cuda):
        return torch.cat([encode(vae, part).float() for part in pixels.split(batch)])


@torch.no_grad()
def conditioned(vae: AutoencoderKLWan, motion: Tensor, padding: Tensor | None, last: Tensor,
                ends: Tensor) -> Tensor:
    """The latents of `y`: motion frames [B, 3, N, H, W], then a reference [B, 3, H, W] or grey; in
    clips that `ends` [B], the `last` frame [B, 3, H, W]."""
    rest = CLIP_FRAMES - motion.shape[2]
    filled = torch.zeros_like(motion[:, :, :1]) if padding is None else padding[:, :, None]
    video = torch.cat([motion, filled.expand(-1, -1, rest, -1, -1)], 2)
    ends = ends.to(video.device)[:, None, None, None]
    video[:, :, -1] = torch.where(ends, last, video[:, :, -1])
    return encoded(vae, video)
