"""The VAE: small batches of short and whole clips in turn; L1, squared error, gradients, noise;
what moves weighs more, and what stands still must look the same in every frame.

At a seam, the first frame of a clip follows one of the last of the clip before, and a VAE like
Wan's codes the two differently. So this one begins as a VAE for pictures: its convolutions see one
frame at a time, and only the layers that halve or double the frames see others.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import data
import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKLWan
from optim import Optimizer, graphed
from schedule import Stage
from torch import Tensor, nn

from wan2gp_svi.demo import network, world
from wan2gp_svi.variants import CLIP_FRAMES

SECONDS = 415
CLIPS = 3072
MOVING = 3.0  #: how much more weight what moves has
STILL = 3.0  #: weight of changes in what stands still
NOISE = 0.05  #: in the latents of half of the clips
SHORT, BATCH = 9, {9: 8, CLIP_FRAMES: 2}
ALONE = 0.4  #: share of the time with short clips only; with them only, it fails at 81 frames


def train(folder: Path, until: float, device: torch.device, seconds: float = SECONDS,
          clips: int = CLIPS) -> dict[str, Tensor] | None:
    """The VAE's state dict, or None if there is more to train."""
    torch.manual_seed(1)
    vae = nn.Module.to(begun(), device).train().requires_grad_(True)
    optimizer = optimizer_of(vae)
    stage = Stage("vae", seconds, folder, until, optimizer)
    stage.resume()
    started = time.monotonic()
    pool = videos(clips, device)
    stage.say(f"{len(pool)} clips drawn in {time.monotonic() - started:.0f} s")

    def step(frames: int) -> Tensor:
        optimizer.zero()
        loss, squared, _ = loss_of(vae, drawn(pool, frames))
        loss.backward()
        optimizer.step()
        return squared

    kinds = {frames: graphed(partial(step, frames)) for frames in BATCH}
    stage.say(f"ready after {time.monotonic() - started:.0f} s")
    error = torch.ones((), device=device)
    for _ in stage.run(lambda: f"{-10 * torch.log10(error / 4).item():.2f} dB"):
        optimizer.scale.fill_(stage.rate())
        frames = SHORT if stage.part < ALONE or stage.steps % 2 else CLIP_FRAMES
        error.lerp_(kinds[frames](), 0.02)
    if not stage.done:
        return None
    optimizer.swap()
    _scaled(vae, pool, device)
    return vae.state_dict()


def optimizer_of(vae: AutoencoderKLWan) -> Optimizer:
    outer = (vae.encoder.conv_in, vae.decoder.conv_out, vae.quant_conv, vae.post_quant_conv)
    edges = {id(p) for layer in outer for p in layer.parameters()}
    matrices = [p for p in vae.parameters() if p.squeeze().dim() > 1 and id(p) not in edges]
    chosen = {id(p) for p in matrices}
    others = [p for p in vae.parameters() if id(p) not in chosen]
    return Optimizer(matrices, others, 6e-3, 1e-3, mean=0.998)


@torch.no_grad()
def begun() -> AutoencoderKLWan:
    """A VAE for which a video without motion is the same picture again and again, exactly."""
    vae = network.autoencoder()
    for conv in network.convolutions(vae):
        network.flatten(conv)
        conv.weight.mul_(3 ** 0.5)  # drawn for three times as many inputs
    for name, layer in vae.named_modules():
        if name.endswith("time_conv"):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            same = torch.eye(layer.weight.shape[1])
            layer.weight[:, :, -1, 0, 0] = same.repeat(len(layer.weight) // len(same), 1)
    return vae


def videos(clips: int, device: torch.device) -> Tensor:
    """[N, T, 3, H, W] uint8: scenes, some without motion, and moving textures."""
    pool = torch.empty(clips, CLIP_FRAMES, 3, world.HEIGHT, world.WIDTH, dtype=torch.uint8,
                       device=device)
    for start in range(0, clips, 64):
        part = pool[start:start + 64]
        found = data.scenes(start, len(part))
        actions = ["waits" if number % 12 == 0 else scene.action
                   for number, scene in enumerate(found)]
        video = world.render(found, data.turns(data.speeds(actions), torch.rand(len(part))), device)
        few = max(1, len(part) // 8)
        video[:few] = data.textures(few, device)
        part.copy_(data.to_bytes(video).transpose(1, 2))
    return pool


def drawn(pool: Tensor, frames: int) -> Tensor:
    """A batch of so many frames in a row."""
    one = torch.randint(len(pool), (BATCH[frames], 1), device=pool.device)
    first = torch.randint(CLIP_FRAMES - frames + 1, (BATCH[frames], 1), device=pool.device)
    chosen = pool[one, first + torch.arange(frames, device=pool.device)]
    return data.from_bytes(chosen).transpose(1, 2)


def loss_of(vae: AutoencoderKLWan, video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the mean squared error, and the latents."""
    with torch.autocast("cuda", torch.bfloat16, enabled=video.is_cuda):
        latents = network.encode(vae, video).float()
        noise = NOISE * (torch.rand(len(video), 1, 1, 1, 1, device=video.device) < 0.5)
        seen = network.decode(vae, latents + noise * torch.randn_like(latents)).float()
    error = seen - video
    # a thing covers a twentieth of the picture, and its outline is what people look at
    moving = (video - video.mean(2, keepdim=True)).abs().amax(1, keepdim=True).mul(3).clamp(max=1)
    moving = F.max_pool3d(moving, (1, 3, 3), 1, (0, 1, 1))
    weight = 1 + MOVING * moving
    slopes = [((seen.diff(dim=d) - video.diff(dim=d)).abs() * weight.narrow(d, 1, size - 1)).mean()
              for d, size in ((-1, world.WIDTH), (-2, world.HEIGHT))]
    squared = error.square()
    loss = ((error.abs() + 4 * squared) * weight).mean() + sum(slopes)
    calm = 1 - torch.maximum(moving, moving[:, :, :1])
    changes = (error - error[:, :, :1]).abs() + (error - error.roll(1, 2)).abs()
    loss = loss + STILL * (changes * calm).mean()
    return loss + 1e-3 * latents.square().mean(), squared.mean().detach(), latents


@torch.no_grad()
def _scaled(vae: AutoencoderKLWan, pool: Tensor, device: torch.device) -> None:
    """Gives the latents mean 0 and deviation 1, like Wan's, in the layers before and after them."""
    latents = torch.cat([network.encode(vae, data.from_bytes(pool[i:i + 8]).transpose(1, 2))
                         for i in range(0, min(len(pool), 256), 8)])
    mean, deviation = latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
    theirs, scale = (torch.tensor(vae.config[name], device=device)
                     for name in ("latents_mean", "latents_std"))
    # now z = (h - theirs) / scale; wanted: (z - mean) / deviation = (h' - theirs) / scale
    out: Any = vae.quant_conv
    out.weight[:16] /= deviation.view(-1, 1, 1, 1, 1)
    out.bias[:16] = (out.bias[:16] - theirs - mean * scale) / deviation + theirs
    into: Any = vae.post_quant_conv
    shift = theirs + mean * scale - deviation * theirs
    into.bias += (into.weight[:, :, 0, 0, 0] * shift).sum(1)
    into.weight *= deviation.view(1, -1, 1, 1, 1)
