"""The same latents for less VRAM: Wan's encoder run over the picture in stripes, exactly."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

#: pixels of a stripe, without its margins: wide enough to lose little to them, narrow enough not to be the clip's peak
STRIPE = 80_000
#: what Wan's encoder sees of its surroundings down to a quarter of the size: 16 pixels to each side, and the 20 frames
#: before (5 convolutions at full size, 4 at half size, 2 that shrink)
MARGIN, _REACH = 16, 20


def is_known(model: Any) -> bool:
    """Whether this is the VAE of Wan 2.1, as all versions of WanGP have it, whose encoder can work in stripes."""
    try:
        kinds = "".join(_kind(layer) for layer in (*model.encoder.downsamples, *model.encoder.middle))
    except AttributeError:
        return False
    return re.fullmatch("R{1,2}2R{1,2}3R{1,2}3R{1,2}RAR", kinds) is not None


def _kind(layer: Any) -> str:
    """R(esidual), A(ttention), 2 (halves the size) or 3 (halves the frames too)."""
    return getattr(layer, "mode", type(layer).__name__).removeprefix("downsample")[0]


@torch.no_grad()
def encode_in_stripes(model: Any, video: Tensor, scale: list[Tensor], any_end_frame: bool = False, *,
                      stripe: int = STRIPE) -> Tensor:
    """What `WanVAE_.encode` gives, up to rounding: `video` [1, 3, T, H, W] -> latents [1, 16, t, H/8, W/8].

    Three quarters of the work, and nearly all the VRAM, are in the layers at full and half size. They see no farther
    than `MARGIN` pixels and `_REACH` frames back. So they are run over one stripe of the picture after the other, and
    no longer than the picture changes: the padding of an SVI clip is one image to its end.
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
    """The frame from which on a video [1, 3, T, H, W] stands still."""
    frame = video.shape[2] - 1
    while frame and torch.equal(video[:, :, frame - 1], video[:, :, frame]):
        frame -= 1
    return frame


def _spans(frames: int, step: int) -> Iterator[tuple[int, int]]:
    """Frame 0, and then as many at a time as become one latent."""
    yield 0, 1
    for start in range(1, frames, step):
        yield start, start + step


def _through(layers: list[Any], parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """A video in parts of a few frames through causal layers, each of which remembers the end of the part before."""
    memory: defaultdict[int, Tensor | None] = defaultdict(lambda: None)
    for part in parts:
        index = [0]
        for layer in layers:
            part = layer(part) if _kind(layer) == "A" else layer(part, memory, index)
        yield part
