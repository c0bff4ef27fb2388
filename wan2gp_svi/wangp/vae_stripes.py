"""The same latents and frames in less VRAM and time: Wan's VAE, stripe by stripe.

The weights are those of WanGP's VAE. The layers at full and half size take three quarters of the
time and nearly all the VRAM, so they run over one stripe of the picture after the other, with
margins as wide as they look. And they run with fewer copies in memory than in WanGP.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: pixels of a stripe without its margins, to encode and to decode: wide enough to lose little to
#: them, and narrow enough not to be the clip's peak of VRAM
STRIPE, DECODE_STRIPE = 80_000, 140_000
#: how far Wan's encoder looks until it is down to a quarter of the size: 16 pixels to each side and
#: 20 frames back (5 convolutions at full size, 4 at half size, 2 that shrink)
MARGIN, _REACH = 16, 20
#: how far its decoder looks from a quarter of the size on, in pixels of the video (1 convolution
#: and 6 at half size, 1 and 7 at full size)
DECODE_MARGIN = 24
_RESIDUAL = ["RMS_norm", "SiLU", "CausalConv3d", "RMS_norm", "SiLU", "Dropout", "CausalConv3d"]


def encodes(model: Any) -> bool:
    """Whether this is the VAE of Wan 2.1, whose encoder can work in stripes."""
    return _are(model, "encoder.downsamples encoder.middle", "R{1,2}2R{1,2}3R{1,2}3R{1,2}RAR")


def decodes(model: Any) -> bool:
    """Whether this is the VAE of Wan 2.1, whose decoder can work in stripes."""
    return (_are(model, "decoder.middle decoder.upsamples", "RARR{2,3}3R{2,3}3R{2,3}2R{2,3}")
            and model.decoder.head[-1].out_channels == 3)


def _are(model: Any, names: str, kinds: str) -> bool:
    try:
        layers = [layer for name in names.split() for layer in attrgetter(name)(model)]
    except AttributeError:
        return False
    return re.fullmatch(kinds, "".join(map(_kind, layers))) is not None


def _kind(layer: Any) -> str:
    """R(esidual), A(ttention), 2 (changes the size) or 3 (changes the number of frames too)."""
    name = getattr(layer, "mode", type(layer).__name__)
    if name == "ResidualBlock" and [type(part).__name__ for part in layer.residual] != _RESIDUAL:
        return "?"
    return name.removeprefix("downsample").removeprefix("upsample")[0]


@torch.no_grad()
def encode_in_stripes(model: Any, video: Tensor, scale: list[Tensor], any_end_frame: bool = False,
                      *, stripe: int = STRIPE) -> Tensor:
    """What `WanVAE_.encode` returns, up to rounding.

    `video` [1, 3, T, H, W] -> latents [1, 16, t, H/8, W/8]. The layers at full and half size look
    `_REACH` frames back, so they run only as long as the picture changes: an SVI clip ends in many
    copies of one image.
    """
    encoder, layers = model.encoder, list(model.encoder.downsamples)
    middle = 1 + [_kind(layer) for layer in layers].index("3")
    total = (video.shape[2] - 1) // 4 * 4 + 1
    frames = min(total, _still_from(video) + _REACH + 3 & ~3 | 1)
    axis, stripes = _stripes(video, stripe, MARGIN)
    kept = []
    for first, start, stop, last in stripes:
        part = video[:, :, :frames].narrow(axis, first, last - first)
        begun = (encoder.conv1(part[:, :, a:b], part[:, :, max(a - 2, 0):a] if a else None)
                 for a, b in _spans(frames, 4))
        quarter = _collected(_through(layers[:middle], begun), (frames + 1) // 2)
        kept.append(quarter.narrow(axis, (start - first) // 4, (stop - start) // 4))
    quarter = torch.cat(kept, axis)
    kept.clear()
    seen = torch.arange((total + 1) // 2, device=video.device).clamp_(max=quarter.shape[2] - 1)
    parts = (quarter[:, :, seen[a:b]] for a, b in _spans(len(seen), 2))
    eighth = _collected(_through([*layers[middle:], *encoder.middle], parts), (total + 3) // 4)
    latents = model.conv1(encoder.head(eighth)).chunk(2, dim=1)[0]
    mean, inverse_std = (value.view(1, -1, 1, 1, 1) for value in scale)
    return (latents - mean) * inverse_std


@torch.no_grad()
def decode_in_stripes(model: Any, latents: Tensor, scale: list[Tensor], *,
                      stripe: int = DECODE_STRIPE) -> Tensor:
    """What `WanVAE_.decode` returns, up to rounding: `latents` [1, 16, t, h, w] -> video
    [1, 3, 4 t - 3, 8 h, 8 w], about in [-1, 1]."""
    decoder, layers = model.decoder, list(model.decoder.upsamples)
    quarter_size = [index for index, layer in enumerate(layers) if _kind(layer) == "3"][1]
    mean, inverse_std = (value.view(1, -1, 1, 1, 1) for value in scale)
    z = model.conv2(latents / inverse_std + mean)
    begun = (decoder.conv1(z[:, :, a:b], z[:, :, max(a - 2, 0):a] if a else None)
             for a, b in _spans(z.shape[2], 1))
    quarter = _collected(_through([*decoder.middle, *layers[:quarter_size]], begun),
                         2 * z.shape[2] - 1)
    video = z.new_empty(1, 3, 4 * z.shape[2] - 3, 8 * z.shape[3], 8 * z.shape[4])
    axis, stripes = _stripes(video, stripe, DECODE_MARGIN)
    for first, start, stop, last in stripes:
        part = quarter.narrow(axis, first // 4, (last - first) // 4)
        parts = (part[:, :, a:b] for a, b in _spans(part.shape[2], 2))
        end, frame = _NormedConv(decoder.head[0], decoder.head[2]), 0
        for full in map(end, _through(layers[quarter_size:], parts)):
            target = video[:, :, frame:frame + full.shape[2]].narrow(axis, start, stop - start)
            target.copy_(full.narrow(axis, start - first, stop - start))
            frame += full.shape[2]
    return video


def _stripes(video: Tensor, stripe: int, margin: int
             ) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Across which axis of a video to cut, and where, in pixels: stripes of about `stripe` pixels,
    each as (start of the margin, start, stop, stop of the margin)."""
    height, width = video.shape[3:]
    length, count = max(height, width), -(-height * width // stripe)
    step = -(-length // (4 * count)) * 4
    return 3 if height >= width else 4, [
        (max(start - margin, 0), start, min(start + step, length),
         min(start + step + margin, length)) for start in range(0, length, step)]


def _still_from(video: Tensor) -> int:
    """The first of the equal frames at the end of a video [1, 3, T, H, W]."""
    frame = video.shape[2] - 1
    while frame and torch.equal(video[:, :, frame - 1], video[:, :, frame]):
        frame -= 1
    return frame


def _spans(frames: int, step: int) -> Iterator[tuple[int, int]]:
    """Frame 0, then the frames of one latent at a time."""
    yield 0, 1
    for start in range(1, frames, step):
        yield start, start + step


def _layout(part: Tensor) -> torch.memory_format:
    """Tensor cores want the channels of a pixel side by side."""
    return torch.channels_last_3d if part.is_cuda else torch.contiguous_format


def _collected(parts: Iterable[Tensor], frames: int) -> Tensor:
    """The parts of a video of so many frames, joined, without holding them twice."""
    whole, end = torch.empty(0, device="cpu"), 0
    for part in parts:
        if not end:
            whole = part.new_empty(*part.shape[:2], frames, *part.shape[3:])
        begin, end = end, end + part.shape[2]
        whole[:, :, begin:end] = part
    return whole


def _through(layers: list[Any], parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Runs causal layers over a video in parts; each layer remembers the end of the last part."""
    run = [_step(layer) for layer in layers]
    for part in parts:
        part = part.contiguous(memory_format=_layout(part))
        for step in run:
            part = step(part)
        yield part


def _step(layer: Any) -> Callable[[Tensor], Tensor]:
    """A layer that remembers."""
    if _kind(layer) == "A":
        return layer
    if _kind(layer) == "R":
        norm, _, conv, second_norm, _, _, second_conv = layer.residual
        first, second = _NormedConv(norm, conv), _NormedConv(second_norm, second_conv)
        return lambda part: second(first(part)).add_(layer.shortcut(part))
    if layer.mode.startswith("upsample"):
        return _Upsample(layer)
    memory: defaultdict[int, Tensor | None] = defaultdict(lambda: None)
    return lambda part: layer(part, memory, [0])


class _NormedConv:
    """RMS norm, SiLU and a causal convolution over 3 x 3 x 3, which looks two frames back."""

    def __init__(self, norm: Any, conv: Any) -> None:
        self.norm, self.conv = norm, conv
        self.before: Tensor | None = None

    def __call__(self, part: Tensor) -> Tensor:
        frames = torch.empty((*part.shape[:2], 2 + part.shape[2], *part.shape[3:]),
                             dtype=part.dtype, device=part.device, memory_format=_layout(part))
        before, now = frames[:, :, :2], frames[:, :, 2:]
        length = torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp_min_(1e-12)
        torch.div(part, length, out=now)
        F.silu(now.mul_(self.norm.scale * self.norm.gamma), inplace=True)
        before.zero_() if self.before is None else before.copy_(self.before)
        self.before = frames[:, :, -2:].clone()
        return F.conv3d(frames, self.conv.weight, self.conv.bias, padding=(0, 1, 1))


class _Upsample:
    """Doubles the size; in `upsample3d` also the frames, but for the first."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.before: Tensor | None = None

    def __call__(self, part: Tensor) -> Tensor:
        if _kind(self.layer) == "3":
            part = self._twice(part)
        frames = part.transpose(1, 2).flatten(0, 1)
        frames = self.layer.resample[1](F.interpolate(frames, scale_factor=2, mode="nearest"))
        return frames.unflatten(0, (part.shape[0], part.shape[2])).transpose(1, 2)

    def _twice(self, part: Tensor) -> Tensor:
        if self.before is None:  # frame 0: those that follow do not see it
            self.before = torch.zeros_like(part).repeat(1, 1, 2, 1, 1)
            return part
        frames = torch.cat([self.before, part], 2)
        self.before = frames[:, :, -2:].clone()
        conv = self.layer.time_conv
        pairs = F.conv3d(frames, conv.weight, conv.bias).chunk(2, dim=1)
        shape = (*part.shape[:2], 2 * part.shape[2], *part.shape[3:])
        both = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=_layout(part))
        both[:, :, ::2], both[:, :, 1::2] = pairs
        return both
