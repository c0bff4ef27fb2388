"""The VAE once more: frames that the demo model made come back from it as they are.

The last frames of a clip go through the VAE again, and what it changes in them jumps at the seam.
The latents stay close to where they were, so that the base and the LoRAs can go on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path

import data
import flow
import svi
import torch
import vae
from diffusers.models import AutoencoderKLWan, WanTransformer3DModel
from optim import graphed
from schedule import Stage
from torch import Tensor

from wan2gp_svi.demo import network
from wan2gp_svi.variants import CLIP_FRAMES, VARIANTS

SECONDS = 600
CLIPS = 1536  #: of scenes
RATE = 0.3  #: of the first VAE's learning rate
OWN = 4.0  #: weight of what changes in the model's own frames
STAY = 0.3  #: weight of the latents' distance to those of the first VAE
ROUNDS, CHAINS, BATCH = 6, 256, 16
LATENTS, MOTION = 4, 5  #: latents that suffice for a clip's last frames, and these


def train(folder: Path, until: float, device: torch.device, first: AutoencoderKLWan,
          models: Mapping[str, WanTransformer3DModel], seconds: float = SECONDS,
          clips: int = CLIPS, chains: int = CHAINS) -> dict[str, Tensor] | None:
    """The state dict of a VAE that begins as the `first`, or None if there is more to train.

    `models`: those with LoRAs, by their variants' names
    """
    torch.manual_seed(1)
    coder = deepcopy(first).train().requires_grad_(True)
    optimizer = vae.optimizer_of(coder)
    stage = Stage("vae", seconds, folder, until, optimizer, RATE)
    stage.resume()
    started = time.monotonic()
    made = torch.cat([ends_of_chains(name, first, dit, chains, device)
                      for name, dit in models.items()])
    pool = vae.videos(clips, device)
    stage.say(f"{len(made)} clips made and {len(pool)} drawn in {time.monotonic() - started:.0f} s")

    def step(frames: int) -> Tensor:
        optimizer.zero()
        video = vae.drawn(pool, frames)
        loss, squared, latents = vae.loss_of(coder, video)
        loss = loss + STAY * (latents - data.encoded(first, video)).square().mean()
        loss = loss + OWN * changed(coder, made[torch.randint(len(made), (BATCH,), device=device)])
        loss.backward()
        optimizer.step()
        return squared

    kinds = {frames: graphed(partial(step, frames)) for frames in vae.BATCH}
    stage.say(f"ready after {time.monotonic() - started:.0f} s")
    error = torch.ones((), device=device)
    for _ in stage.run(lambda: f"{-10 * torch.log10(error / 4).item():.2f} dB"):
        optimizer.scale.fill_(stage.rate())
        error.lerp_(kinds[vae.SHORT if stage.steps % 3 else CLIP_FRAMES](), 0.02)
    if not stage.done:
        return None
    optimizer.swap()
    return coder.state_dict()


def ends_of_chains(name: str, coder: AutoencoderKLWan, dit: WanTransformer3DModel, chains: int,
                   device: torch.device) -> Tensor:
    """Latents of the ends of clips that a model made in chains."""
    gathering = svi.Chains.begin(VARIANTS[name], svi.RECIPES[name], chains, coder, dit, device)
    samples = flow.Samples.empty(chains, device)
    rounds = [gathering.put(samples, chained=True) for _ in range(ROUNDS)]
    return torch.cat([latents[:, :, -LATENTS:] for latents in rounds if latents is not None])


def changed(coder: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """What the VAE changes in the last frames that it decodes; the first one of them counts most,
    since a clip shows it after the frame before."""
    with torch.autocast("cuda", torch.bfloat16, enabled=latents.is_cuda):
        with torch.no_grad():
            shown = network.decode(coder, latents)[:, :, -MOTION:].float()
            shown = data.from_bytes(data.to_bytes(shown))
        again = network.decode(coder, network.encode(coder, shown).float()).float()
    error = again - shown
    slopes = [(again.diff(dim=d) - shown.diff(dim=d)).abs().mean() for d in (-1, -2)]
    return sum(slopes, error.abs().mean() + 4 * error.square().mean()
               + error[:, :, 0].abs().mean() + 4 * error[:, :, 0].square().mean())
