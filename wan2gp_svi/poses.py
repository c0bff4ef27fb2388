"""Pose frames -> what SVI-Dance adds to the transformer's patch tokens.

A pose frame is a picture of a skeleton on black, uint8 [H, W, 3]. The network reads the frames of a
clip and gives one step for each of its latents. Source: the Dance pipeline of Stable Video
Infinity, which has the network from UniAnimate-DiT.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAD = 3  # copies of the first frame before it, so that each latent has four frames
_STRIDES = ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2))  # kernels are 3x3x3
_LAST = (1, 2, 2)  # kernel and stride of the layer that makes tokens
_AT_ONCE = 2  # steps: 1.5 GiB at 832x480


class PoseNetwork:
    """The network, of a file's tensors without their prefix. Raises ValueError if they are others.

    `dim`: the channels of a token, 5120 in the 14B models
    """

    def __init__(self, tensors: Mapping[str, Tensor]):
        names = [2 * layer for layer in range(len(_STRIDES) + 1)]  # between them, the activations
        wanted = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
        if tensors.keys() != wanted:
            raise ValueError("the pose network lacks "
                             f"{', '.join(sorted(wanted - tensors.keys())) or 'no tensor'} and has "
                             f"{', '.join(sorted(tensors.keys() - wanted)) or 'none'} too many")
        self._layers = [(tensors[f"{name}.weight"].clone().float(),  # not the mapped file
                         tensors[f"{name}.bias"].clone().float()) for name in names]
        channels = 3
        for (weight, bias), kernel in zip(self._layers, [(3, 3, 3)] * len(_STRIDES) + [_LAST],
                                          strict=True):
            if weight.shape[1:] != (channels, *kernel) or bias.shape != weight.shape[:1]:
                raise ValueError(f"a layer of the pose network has the shape {tuple(weight.shape)}")
            channels = weight.shape[0]
        self.dim = channels

    def read(self, poses: Tensor, device: torch.device | str = "cpu",
             at_once: int = _AT_ONCE) -> Tensor:
        """Pose frames uint8 [T, H, W, 3], with T = 4 (t - 1) + 1 and H and W multiples of 16 ->
        what the last layer makes tokens of, float32 [16, t, H/8, W/8] on the CPU, a few steps
        `at_once`."""
        frames, height, width, _ = poses.shape
        if (frames - 1) % 4 or height % 16 or width % 16:
            raise ValueError(f"{frames} pose frames of {width}x{height}: their number less one is "
                             "not a multiple of 4, or a side not one of 16")
        steps = (frames + _LEAD) // 4
        return torch.cat([
            self._steps(poses, len(_STRIDES) - 1, start, min(start + at_once, steps), device).cpu()
            for start in range(0, steps, at_once)], dim=1)

    def _steps(self, poses: Tensor, layer: int, start: int, end: int, device: torch.device | str
               ) -> Tensor:
        """What a layer gives at the times from `start` on; -1 is the input."""
        if layer < 0:
            at = (torch.arange(start, end, device=poses.device) - _LEAD).clamp_(min=0)
            return poses[at].to(device).movedim(-1, 0).float().div_(255)
        weight, bias = (one.to(device) for one in self._layers[layer])
        stride, below = _STRIDES[layer], len(poses) + _LEAD
        for other in _STRIDES[:layer]:
            below //= other[0]
        first, last = start * stride[0] - 1, (end - 1) * stride[0] + 2
        given = self._steps(poses, layer - 1, max(first, 0), min(last, below), device)
        if first < 0 or last > below:
            given = F.pad(given, (0, 0, 0, 0, max(-first, 0), max(last - below, 0)))
        return F.silu(F.conv3d(given[None], weight, bias, stride, (0, 1, 1))[0], inplace=True)

    def add(self, tokens: Tensor, read: Tensor) -> Tensor:
        """Adds to patch tokens [B, dim, t, h, w] what `read` returned, in place, step by step: all
        of it at once would take 0.7 GB at 832x480."""
        weight, bias = (one.to(tokens.device) for one in self._layers[-1])
        for step in range(tokens.shape[2]):
            made = F.conv3d(read[None, :, step : step + 1].to(tokens.device), weight, bias, _LAST)
            tokens[:, :, step] += made[:, :, 0].to(tokens.dtype)
        return tokens


def fit(frame: Tensor, height: int, width: int) -> Tensor:
    """A picture [h, w, 3] as large as fits into [height, width, 3], its nearest pixels, centred on
    black."""
    ratio = min(height / frame.shape[0], width / frame.shape[1])
    sides = [max(1, int(side * ratio)) for side in frame.shape[:2]]
    rows, columns = (
        (torch.arange(new, device=frame.device) * (old / new)).long().clamp_(max=old - 1)
        for new, old in zip(sides, frame.shape[:2], strict=True))
    made = frame.new_zeros(height, width, 3)
    top, left = (height - sides[0]) // 2, (width - sides[1]) // 2
    made[top : top + sides[0], left : left + sides[1]] = frame[rows][:, columns]
    return made
