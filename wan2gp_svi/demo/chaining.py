"""Long videos of the small Wan: chained by the product's own code, or as WanGP's windows are without SVI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .. import chain
from ..conditioning import condition
from ..variants import SEED_STEP, VARIANTS, Variant
from . import model, network


@dataclass(frozen=True)
class Way:
    """A way to chain clips: a variant's, with the LoRA `adapter` ("": none), and by how much seeds differ."""

    variant: Variant
    adapter: str = ""
    seed_step: int = SEED_STEP


SVI = {id: Way(VARIANTS[id], adapter=id) for id in model.ADAPTERS}
#: WanGP's sliding windows without SVI: the last frame, then grey; at a seam the old clip's frame; one seed for all
STOCK = Way(replace(VARIANTS["shot"], id="stock", title="WanGP's own windows", loras=(), ref_pad_num=0, keep_new=False),
            seed_step=0)


@dataclass(frozen=True)
class Wan:
    """The small Wan, its layers on one device."""

    transformer: network.WanTransformer3DModel
    vae: network.AutoencoderKLWan

    @classmethod
    def load(cls, adapter: str = "", folder: Path = model.WEIGHTS, device: torch.device | str = "cpu") -> Wan:
        """With the LoRA of a variant added to it, or ("") without."""
        tensors = model.transformer_file(folder)
        if adapter:
            tensors = model.fused(tensors, model.adapter_file(adapter, folder))
        return cls(network.transformer(tensors).to(device), network.autoencoder(model.vae_file(folder)).to(device))

    def encode(self, pixels: Tensor) -> Tensor:
        """As `conditioning` calls it: without a batch."""
        return network.encode(self.vae, pixels[None])[0]


def clips(wan: Wan, way: Way, images: Tensor, prompts: Sequence[Sequence[str]], seeds: Sequence[int], number: int,
          steps: int = model.STEPS) -> Iterator[Tensor]:
    """The clips of B videos that are made side by side: `number` times [B, 3, 81, H, W] in [-1, 1], of 8 bit.

    Each video has its image, [B, 3, H, W], its stream of prompts and its seed. A clip is whole: see `joined`.
    """
    variant, device = way.variant, wan.vae.device
    streams = [chain.stream(stream, number, variant.prompt_repeat) for stream in prompts]
    references = on_grid(images.to(device))
    motion_frames = references[:, :, None]
    for clip in range(number):
        y = torch.stack([
            condition(frames, reference, wan.encode, ref_pad_num=variant.ref_pad_num, ref_pad_cfg=variant.ref_pad_cfg)
            for frames, reference in zip(motion_frames, references, strict=True)
        ])
        noises = torch.stack([noise(chain.seed(seed, clip, way.seed_step), y.shape[2:]) for seed in seeds])
        text = model.text_features([stream[clip] for stream in streams])
        latents = network.denoise(wan.transformer, y, text.to(device), model.clip_features(motion_frames[:, :, 0]),
                                  noises.to(device), steps)
        made = on_grid(network.decode(wan.vae, latents))
        yield made
        motion_frames = made[:, :, -variant.motion_frames:]


def joined(made: Sequence[Tensor], variant: Variant) -> Tensor:
    """Clips [..., 81, H, W] as one video [..., T, H, W], cut at the seams as the variant has it."""
    spans = (chain.kept(clip, len(made), variant.overlap, variant.keep_new) for clip in range(len(made)))
    return torch.cat([clip[..., span, :, :] for clip, span in zip(made, spans, strict=True)], -3)


def noise(seed: int, shape: Sequence[int]) -> Tensor:
    """What a clip of latents [16, *shape] begins as: drawn on the CPU, where a seed means the same everywhere."""
    return torch.randn(16, *shape, generator=torch.Generator("cpu").manual_seed(seed))


def on_grid(frames: Tensor) -> Tensor:
    """Frames as a video file would hold them: of 8 bit, as between the clips in the authors' scripts."""
    return frames.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1)
