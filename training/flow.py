"""The loss of the base and of the LoRAs: flow matching; in the LoRAs with recycled errors of single
steps (Stable Video Infinity, 2025)."""

from __future__ import annotations

from dataclasses import dataclass

import data
import torch
from torch import Tensor, nn

from wan2gp_svi.demo.model import SHIFT, clip_features

KEPT_ERRORS = 1024


@dataclass(frozen=True)
class Samples:
    """Clips to learn from: latents, latents of `y`, whether they end on an image, first motion
    frame (uint8), words."""

    latents: Tensor
    y: Tensor
    ends: Tensor
    frame: Tensor
    words: Tensor

    @classmethod
    def empty(cls, count: int, device: torch.device) -> Samples:
        def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(count, *shape, dtype=dtype, device=device)

        half = torch.bfloat16 if device.type == "cuda" else torch.float32
        return cls(zeros(16, 21, 8, 12, dtype=half), zeros(16, 21, 8, 12, dtype=half),
                   zeros(dtype=torch.bool), zeros(3, 64, 96, dtype=torch.uint8),
                   zeros(data.WORDS, 256, dtype=half))

    def put(self, place: slice | Tensor, latents: Tensor, y: Tensor, ends: Tensor, frame: Tensor,
            words: Tensor) -> None:
        self.latents[place], self.y[place] = latents.to(self.latents.dtype), y.to(self.y.dtype)
        self.ends[place] = ends.to(self.ends)
        self.frame[place], self.words[place] = frame, words.to(self.words)

    def draw(self, count: int, among: Tensor) -> tuple[Tensor, ...]:
        """`count` samples of the first `among` [1]."""
        which = (torch.rand(count, device=self.latents.device) * among).long()
        return (self.latents[which].float(), self.y[which].float(), self.ends[which],
                self.frame[which], self.words[which])


def y_of(latents: Tensor, ends: Tensor) -> Tensor:
    """The mask on the first frame, and on the last one of clips that end on an image; the
    latents."""
    mask = torch.zeros_like(latents[:, :4])
    mask[:, :, 0] = 1
    mask[:, 3, -1] = ends[:, None, None].to(mask)
    return torch.cat([mask, latents], 1)


def times(count: int, device: torch.device) -> Tensor:
    """Noise levels [B], one from each of B equal parts of the sampler's steps."""
    even = (torch.arange(count, device=device) + torch.rand(count, device=device)) / count
    return SHIFT * even / (1 + (SHIFT - 1) * even)


def flow(dit: nn.Module, x: Tensor, sigma: Tensor, y: Tensor, ends: Tensor, frame: Tensor,
         words: Tensor) -> Tensor:
    with torch.autocast("cuda", torch.bfloat16, enabled=x.is_cuda):
        return dit(torch.cat([x, y_of(y, ends)], 1), sigma * 1000, data.text(words),
                   clip_features(data.from_bytes(frame)), return_dict=False)[0].float()


@dataclass(frozen=True)
class Errors:
    """A memory of the errors of one-step predictions at low noise, to add to what is denoised."""

    kept: Tensor
    share: float

    @classmethod
    def none(cls, device: torch.device, share: float) -> Errors:
        return cls(torch.zeros(KEPT_ERRORS, 16, 21, 8, 12, device=device), share)


def loss(dit: nn.Module, samples: tuple[Tensor, ...], errors: Errors | None = None,
         still: float = 0.0, edge: float = 1.0) -> Tensor:
    """`still` weighs the error's mean over time: fading in all frames, which motion would drown.
    `edge` weighs the first latent, and the last one of clips that end on an image."""
    clean, *seen = samples
    ends = seen[1][:, None, None, None].float()
    sigma = times(len(clean), clean.device)
    level = sigma[:, None, None, None, None]
    noise = torch.randn_like(clean)
    soiled = clean
    if errors:
        which = torch.randint(KEPT_ERRORS, (len(clean),), device=clean.device)
        hit = (torch.rand_like(level) < errors.share).float()
        soiled = clean + hit * errors.kept[which]
    x = torch.lerp(soiled, noise, level)
    found = flow(dit, x, sigma, *seen)
    if errors:
        made = (x - level * found).detach() - clean
        errors.kept[which] = torch.where((level < 0.5) & (hit == 0), made, errors.kept[which])
    wrong = found - (noise - clean)
    weight = torch.ones_like(wrong[:, :1, :, :1, :1])
    weight[:, :, 0], weight[:, :, -1] = edge, 1 + (edge - 1) * ends
    return (weight * wrong.square()).mean() + still * wrong.mean(2).square().mean()
