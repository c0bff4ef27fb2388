"""The same latents in less VRAM: runs Wan's encoder over the picture stripe by stripe."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

#: pixels of a stripe without its margins: wide enough to lose little to them, and narrow enough not
#: to be the clip's peak of VRAM
STRIPE = 80_000
#: how far Wan's encoder looks until it is down to a quarter of the size: 16 pixels to each side and
#: 20 frames back (5 convolutions at full size, 4 at half size, 2 that shrink)
MARGIN, _REACH = 16, 20


def is_known(model: Any) -> bool:
    """Whether this is the VAE of Wan 2.1, whose encoder can work in stripes."""
    try:
        layers = (*model.encoder.downsamples, *model.encoder.middle)
        kinds = "".join(map(_kind, layers))
    except AttributeError:
        return False
    return re.fullmatch("R{1,2}2R{1,2}3R{1,2}3R{1,2}RAR", kinds) is not None


def _kind(layer: Any) -> str:
    """R(esidual), A(ttention), 2 (halves the size) or 3 (halves the frames too)."""
    return getattr(layer, "mode", type(layer).__name__).removeprefix("downsample")[0]


@torch.no_grad()
def encode_in_stripes(model: Any, video: Tensor, scale: list[Tensor], any_end_frame: bool = False,
                      *, stripe: int = STRIPE) -> Tensor:
    """What `WanVAE_.encode` returns, up to rounding.

    `video` [1, 3, T, H, W] -> latents [1, 16, t, H/8, W/8]. The layers at full and half size take
    three quarters of the time and nearly all the VRAM. They look no farther than `MARGIN` pixels
    and `_REACH` frames back, so they run over one stripe after the other, and only as long as the
    picture changes: an SVI clip ends in many copies of one image.
    """
    encoder, layers = model.encoder, list(model.encoder.downsamples)
    middle = 1 + [_kind(layer) for layer in layers].index("3")
    total = (video.shape[2] - 1) // 4 * 4 + 1
    frames = min(total, _still_from(video) + _REACH + 3 & ~3 | 1)
    axis = 3 if video.shape[3] >= video.shape[4] else 4
    length, kept = video.shape[axis], []
    count = -(-video.shape[3] * video.shape[4] // stripe)
    step = -(-length // (4 * count)) * 4
    for start in range(0, length, step):
        stop, first = min(start + step, length), max(start - MARGIN, 0)
        part = video[:, :, :frames].narrow(axis, first, min(stop + MARGIN, length) - first)
        begun = (encoder.conv1(part[:, :, a:b], part[:, :, max(a - 2, 0):a] if a else None)
                 for a, b in _spans(frames, 4))
        quarter = torch.cat(list(_through(layers[:middle], begun)), 2)
        kept.append(quarter.narrow(axis, (start - first) // 4, (stop - start) // 4))
    quarter = torch.cat(kept, axis)
    kept.clear()
    seen = torch.arange((total + 1) // 2, device=video.device).clamp_(max=quarter.shape[2] - 1)
    parts = (quarter[:, :, seen[a:b]] for a, b in _spans(len(seen), 2))
    eighth = torch.cat(list(_through([*layers[middle:], *encoder.middle], parts)), 2)
    latents = model.conv1(encoder.head(eighth)).chunk(2, dim=1)[0]
    mean, inverse_std = (value.view(1, -1, 1, 1, 1) for value in scale)
    return (latents - mean) * inverse_std


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


def _through(layers: list[Any], parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """Runs causal layers over a video in parts; each layer remembers the end of the last part."""
    memory: defaultdict[int, Tensor | None] = defaultdict(lambda: None)
    for part in parts:
        index = [0]
        for layer in layers:
            part = layer(part) if _kind(layer) == "A" else layer(part, memory, index)
        yield part
