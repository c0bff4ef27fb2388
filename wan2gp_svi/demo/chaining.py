"""Long videos of the demo model: chained by the add-on's own code, or as WanGP's own windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from .. import chain
from ..conditioning import condition
from ..variants import SEED_STEP, VARIANTS, Variant
from . import model, network


@dataclass(frozen=True)
class Way:
    """How clips are chained: like a variant, with its LoRA `adapter` ("": none), and by how much
    seeds differ."""

    variant: Variant
    adapter: str = ""
    seed_step: int = SEED_STEP


SVI = {id: Way(VARIANTS[id], adapter=id) for id in model.ADAPTERS}
#: WanGP's windows without SVI: the last frame, then grey; at a seam the old clip's frame; one seed
STOCK = Way(replace(VARIANTS["shot"], id="stock", title="WanGP's own windows", loras=(),
                    ref_pad_num=0, keep_new=False), seed_step=0)


@dataclass(frozen=True)
class Wan:
    """The demo model on a device."""

    transformer: network.WanTransformer3DModel
    vae: network.AutoencoderKLWan

    @classmethod
    def load(cls, adapter: str = "", folder: Path = model.WEIGHTS,
             device: torch.device | str = "cpu") -> Wan:
        """`adapter`: the variant whose LoRA is added; "": none."""
        tensors = model.transformer_file(folder)
        if adapter:
            tensors = model.fused(tensors, model.adapter_file(adapter, folder))
        return cls(Module.to(network.transformer(tensors), device),
                   Module.to(network.autoencoder(model.vae_file(folder)), device))

    def encode(self, pixels: Tensor) -> Tensor:
        """Without a batch, as `conditioning` calls it.

        The VAE looks back two latents, so padding that repeats one frame needs three only.
        """
        changes = pixels.diff(dim=1).abs().amax((0, 2, 3)).nonzero()
        last = int(changes[-1]) + 1 if len(changes) else 0  # the first frame of those that repeat
        latents, needed = (pixels.shape[1] + 3) // 4, (last + 3) // 4 + 3
        found = network.encode(self.vae, pixels[None, :, :4 * needed - 3])[0]
        return torch.cat([found, found[:, -1:].expand(-1, max(0, latents - needed), -1, -1)], 1)


def clips(wan: Wan, way: Way, images: Tensor, prompts: Sequence[Sequence[str]],
          seeds: Sequence[int], number: int, steps: int = model.STEPS) -> Iterator[Tensor]:
    """Makes B videos side by side: `number` clips [B, 3, 81, H, W] in [-1, 1], in steps of 8 bit.

    Each video has an image, [B, 3, H, W], a stream of prompts and a seed. Clips are whole; `joined`
    makes one video of them.
    """
    variant, device = way.variant, wan.vae.device
    streams = [chain.stream(stream, number, variant.prompt_repeat) for stream in prompts]
    references = on_grid(images.to(device))
    motion_frames = references[:, :, None]
    for clip in range(number):
        y = torch.stack([
            condition(frames, reference, wan.encode, ref_pad_num=variant.ref_pad_num,
                      ref_pad_cfg=variant.ref_pad_cfg)
            for frames, reference in zip(motion_frames, references, strict=True)
        ])
        noises = torch.stack([noise(chain.seed(seed, clip, way.seed_step), y.shape[2:])
                              for seed in seeds])
        text = model.text_features([stream[clip] for stream in streams])
        seen = model.clip_features(motion_frames[:, :, 0])
        latents = network.denoise(wan.transformer, y, text.to(device), seen, noises.to(device),
                                  steps)
        made = on_grid(network.decode(wan.vae, latents))
        yield made
        motion_frames = made[:, :, -variant.motion_frames:]


def joined(made: Sequence[Tensor], variant: Variant) -> Tensor:
    """Clips [..., 81, H, W] as one video [..., T, H, W], cut at the seams like the variant's."""
    return torch.cat([clip[..., chain.kept(at, len(made), variant.overlap, variant.keep_new), :, :]
                      for at, clip in enumerate(made)], -3)


def noise(seed: int, shape: Sequence[int]) -> Tensor:
    """The noise of a clip, [16, *shape], from the CPU, where a seed means the same everywhere."""
    return torch.randn(16, *shape, generator=torch.Generator("cpu").manual_seed(seed))


def on_grid(frames: Tensor) -> Tensor:
    """Rounds frames to 8 bit, as the authors' scripts do between clips."""
    return frames.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)
