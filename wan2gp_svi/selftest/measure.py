"""Numbers from tensors: seeds, differences, frames that are not where they belong. Needs torch, and OpenCV for videos.

Pixels are in [-1, 1], or of 8 bit where that is said.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .plan import SEED, SIZE

_NEAR = 130  # seeds above and below the first that are tried
_SHIFT = 8  # frames to each side that a frame may have come from


def read_frames(path: Path) -> Tensor:
    """uint8 [T, 3, H, W], RGB; none where the video cannot be opened."""
    import cv2

    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        found, frame = capture.read()
        if not found:
            break
        frames.append(np.ascontiguousarray(frame[:, :, ::-1].transpose(2, 0, 1)))
    capture.release()
    return torch.from_numpy(np.stack(frames)) if frames else torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)


def misplaced(frames: Tensor, wanted: Tensor) -> list[int]:
    """The frames of a file that look less like the one that has to be there than like one of its neighbours. Encoding
    blurs both alike."""
    found, grey = [], [one.float().mean(1) for one in (frames, wanted)]
    for at, frame in enumerate(grey[0]):
        near = range(max(0, at - _SHIFT), min(len(wanted), at + _SHIFT + 1))
        off = torch.stack([(frame - grey[1][one]).abs().mean() for one in near]) if near else torch.ones(1)
        if at >= len(wanted) or float(off[near.index(at)]) > float(off.min()) + 0.5:
            found.append(at)
    return found


def named_seeds(value: Any) -> list[int] | None:
    """The clips' seeds in a video's settings, wherever a release of SVI writes them."""
    if isinstance(value, str) and value.startswith("{"):
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("seeds"), list):
        return [int(seed) for seed in value["seeds"]]
    return next((found for one in value.values() if (found := named_seeds(one))), None)


def seed_of(noise: Tensor, device: str) -> int | None:
    """The seed whose noise a transformer was given. Wan draws it where the model is."""
    noise = noise if noise.ndim == 5 else noise[None]
    for seed in sorted(range(SEED - _NEAR, SEED + _NEAR), key=lambda seed: (abs(seed - SEED) % 42, seed)):
        drawn = torch.randn(noise.shape, generator=torch.Generator(device).manual_seed(seed), device=device).cpu()
        if float((drawn - noise).abs().max()) < 0.05:  # the transformer may be given it in 16 bit
            return seed
    return None


def steps(one: Tensor, two: Tensor) -> float:
    """The largest difference of pixels in [-1, 1], in steps of 8 bit."""
    return float((one - two).abs().max()) * 127.5 if one.shape == two.shape else 255.0


def gap(one: Tensor, two: Tensor) -> float:
    """The largest difference of latents, as a share of the largest."""
    return float((one - two).abs().max() / two.abs().max().clamp(min=1e-6)) if one.shape == two.shape else 1.0


def shown(picture: Tensor, motion: Tensor) -> int:
    """Which of the motion frames [3, N, H, W] a picture [3, 1, H', W'] is, which WanGP has enlarged."""
    enlarged = torch.nn.functional.interpolate(motion.movedim(1, 0), picture.shape[-2:], mode="bicubic")
    return int((enlarged - picture[None, :, 0]).abs().mean((1, 2, 3)).argmin())
