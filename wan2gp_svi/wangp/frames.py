"""Frames as floats and in 8 bit, converted as the authors' scripts do to write and read a clip."""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 8  # frames: a whole clip in float32 takes 0.4 GB


def to_uint8(frames: Tensor) -> Tensor:
    """Frames [3, T, H, W] or one [3, H, W] in [-1, 1] -> uint8 on the CPU, always a copy.

    Converted on the frames' own device, a few at a time. uint8 frames keep their values.
    """
    if frames.dtype == torch.uint8:
        return frames.cpu().clone()
    result = torch.empty(frames.shape, dtype=torch.uint8, device="cpu")
    rows, source = (result[:, None], frames[:, None]) if frames.dim() == 3 else (result, frames)
    for start in range(0, source.shape[1], _AT_ONCE):
        part = (source[:, start : start + _AT_ONCE].float() + 1).mul_(127.5).round_().clamp_(0, 255)
        rows[:, start : start + _AT_ONCE] = part.to(torch.uint8).cpu()
    return result


def to_float(frames: Tensor) -> Tensor:
    """uint8 frames -> float32 in [-1, 1]."""
    return frames.float().div_(127.5).sub_(1)


def on_grid(frames: Tensor) -> Tensor:
    """Frames as a video file would hold them, rounded to 8 bit: float32 in [-1, 1] on the CPU."""
    return to_float(to_uint8(frames))


def smallest(frames: Tensor) -> Tensor:
    """Frames without loss in the smallest type that holds them, on the CPU."""
    if not frames.is_floating_point():
        return to_uint8(frames)
    exact = frames.detach().cpu()
    half = exact.half()
    return half if half.to(exact.dtype).equal(exact) else exact
