"""The demo model: its shape, its files, and its stand-ins for T5 and CLIP. Needs no diffusers.

An image-to-video transformer and a VAE with Wan's layers, names and shapes, small enough to ship.
T5 and CLIP are too large for that: a random vector for each word, and a random projection of each
part of the picture, take their place.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from .. import lora

WEIGHTS = Path(__file__).parent / "weights"
BLOCKS, DIM, HEADS, FFN, TEXT_DIM = 6, 256, 4, 1024, 256
TEXT_TOKENS, T5_DIM, CLIP_TOKENS, CLIP_DIM = 512, 4096, 257, 1280  #: Wan's own
VAE_SHAPE: dict[str, Any] = dict(dim=8, dim_mult=[1, 2, 4, 8])  #: where it differs from Wan's
STEPS, SHIFT = 5, 3.0
#: files of weights; their names stay, since runs on disk name them
TRANSFORMER, VAE = "small-wan-i2v.safetensors", "small-wan-vae.safetensors"
ADAPTERS = {"2.0": "small-svi-2-wan21.safetensors", "shot": "small-svi-shot.safetensors",
            "film": "small-svi-film.safetensors"}


def transformer_file(folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """The transformer's whole state dict, under Wan's names.

    The file leaves out what was never trained: an identity in front of CLIP's features.
    """
    return {**load_file(folder / TRANSFORMER),
            "img_emb.proj.1.weight": torch.eye(CLIP_DIM, device="cpu"),
            "img_emb.proj.1.bias": torch.zeros(CLIP_DIM, device="cpu")}


def vae_file(folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """The VAE's state dict, under Wan's names."""
    return load_file(folder / VAE)


def vae_shape(file: Path) -> dict[str, Any]:
    """The shape of the VAE in a file, like `VAE_SHAPE`: WanGP may have an older one."""
    with safe_open(file, "pt") as tensors:
        dim, *wide = (tensors.get_slice(f"encoder.{layer}.weight").get_shape()[0] for layer in (
            "conv1", *(f"downsamples.{3 * stage}.residual.2" for stage in range(4))))
    return dict(dim=dim, dim_mult=[channels // dim for channels in wide])


def adapter_file(variant: str, folder: Path = WEIGHTS) -> dict[str, Tensor]:
    """The SVI LoRA of a variant, under the keys of SVI's authors."""
    return load_file(folder / ADAPTERS[variant])


def fused(tensors: Mapping[str, Tensor], adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The transformer's state dict with a LoRA added. Raises ValueError if it does not fit."""
    cleaned = lora.clean(adapter, BLOCKS).lora
    result = dict(tensors)
    for key in (key for key in cleaned if key.endswith(".lora_A.weight")):
        name = key.removeprefix("diffusion_model.").replace(".lora_A.weight", ".weight")
        delta = cleaned[key.replace("lora_A", "lora_B")].float() @ cleaned[key].float()
        result[name] = tensors[name].float() + delta
    return result


def text_features(prompts: Iterable[str]) -> Tensor:
    """Stands in for T5: [B, 512, 256], a random vector for each word, always the same one."""
    features = torch.zeros(len(prompts := list(prompts)), TEXT_TOKENS, TEXT_DIM,
                           device="cpu")
    for row, prompt in zip(features, prompts, strict=True):
        words = prompt.lower().replace(",", " ").replace(".", " ").split()
        for token, word in zip(row, words, strict=False):
            token[:] = _drawn(f"word {'a' if word == 'an' else word}", (TEXT_DIM,))
    return features


def clip_features(frames: Tensor) -> Tensor:
    """Stands in for CLIP: frames [B, 3, H, W] -> [B, 257, 1280], the picture and its 256 parts."""
    grid = F.interpolate(frames.float(), (64, 96), mode="area")
    parts = F.unfold(grid, (4, 6), stride=(4, 6)).transpose(1, 2)  # [B, 256, 72]
    tokens = torch.cat([parts.mean(1, keepdim=True), parts], 1)
    tokens = tokens @ _drawn("clip", (72, CLIP_DIM), frames.device)
    return tokens / 72**0.5 + _drawn("clip places", (CLIP_TOKENS, CLIP_DIM), frames.device)


@cache
def _drawn(name: str, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Drawn on the CPU, to be the same on every machine."""
    generator = torch.Generator("cpu").manual_seed(zlib.crc32(name.encode()))
    return torch.randn(shape, generator=generator, device="cpu").to(device)
