"""The one encode of a clip: in 32 bit and untiled where the free VRAM allows it, else as near to that as it does.

The authors found that a 16-bit or tiled VAE leaves artefacts that add up from clip to clip on still backgrounds. WanGP
fixes the VAE's precision when it loads the model (16 bit by default), and casts whatever it is given; so a second VAE
is read from the same file in 32 bit, its encoder alone, which waits in RAM (0.2 GB) between the clips.

It gives what the whole picture would, for less VRAM and time than WanGP's 16 bit takes (`encode_in_stripes`). Where
even that does not fit, tiles are given up before 32 bit: of the two they are by far the larger change of the latents.
"32 bit" is what torch makes of it by default: newer cards multiply in TF32.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

#: bytes that an untiled encode of 81 frames takes at its peak beside the video, for each pixel of a frame; and the
#: encoder itself. Measured on an H200 (benchmarks/gpu/vae.py)
_BYTES_PER_PIXEL = {torch.float32: 17_300, torch.float16: 9_500, torch.bfloat16: 9_500}
_BYTES_ENCODER = 250 * 2**20
#: the same in stripes: a stripe's pixels take what they would in a frame, what is kept of those that are done 192
#: channels of 41 frames at a quarter of the size, and then the layers at that size the rest
_BYTES_KEPT, _BYTES_THEN = 2_000, 5_500

#: pixels of a stripe, without its margins: wide enough to lose little to them, narrow enough not to be the clip's peak
_STRIPE = 80_000
#: what Wan's encoder sees of its surroundings down to a quarter of the size: 16 pixels to each side, and the 20 frames
#: before (5 convolutions at full size, 4 at half size, 2 that shrink)
_MARGIN, _REACH = 16, 20


def encode(pipe: Any, video: Tensor, *, tile_size: int, say: Callable[[str], None] | None = None) -> Tensor:
    """`video` float32 [3, T, H, W] in [-1, 1] -> latents float32 [16, t, H/8, W/8].

    `tile_size` is WanGP's own choice, for when VRAM is short; `say` then gets the line that tells the user.
    """
    own, free = pipe.vae.dtype, _free_vram()
    wanted = _wanted(video, torch.float32, _STRIPE if is_known(pipe.vae.model) else 0)
    if free >= wanted:
        try:
            return _encode_exactly(pipe, video)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
    tiles = [tile_size]
    if tile_size and own != torch.float32 and free >= _wanted(video, own):
        tiles.insert(0, 0)
    for tile in tiles:
        try:
            latents = pipe.vae.encode([video.to(own)], tile)[0]
        except torch.cuda.OutOfMemoryError:
            if tile == tiles[-1]:
                raise
            torch.cuda.empty_cache()
        else:
            break
    if say is not None:
        how = f"in tiles of {tile} pixels" if tile else "untiled"
        say(f"VAE: the clips are encoded in {torch.finfo(own).bits} bit, {how}: {free / 2**30:.1f} GB of VRAM are "
            f"free, and 32 bit untiled wants {wanted / 2**30:.1f} GB."
            + (" Still backgrounds may slowly gain artefacts; a smaller resolution avoids that." if tile else ""))
    return latents


def _wanted(video: Tensor, dtype: torch.dtype, stripe: int = 0) -> int:
    """Bytes of VRAM for an untiled encode, in stripes of so many pixels or as a whole."""
    height, width = video.shape[2:]
    pixels = height * width
    if not stripe:
        return _BYTES_PER_PIXEL[dtype] * pixels + _BYTES_ENCODER
    inside = min(pixels, stripe + 2 * _MARGIN * min(height, width))
    return max(_BYTES_PER_PIXEL[dtype] * inside + _BYTES_KEPT * pixels, _BYTES_THEN * pixels) + _BYTES_ENCODER


def _encode_exactly(pipe: Any, video: Tensor) -> Tensor:
    in_stripes = is_known(pipe.vae.model)
    if pipe.vae.dtype == torch.float32 and not in_stripes:
        return pipe.vae.encode([video], 0)[0]
    exact = getattr(pipe, "svi_vae", None)
    if exact is None:
        exact = pipe.svi_vae = _load_encoder(pipe)
        if in_stripes:
            exact.model.encode = partial(encode_in_stripes, exact.model)
    exact.device = pipe.device
    exact.model.to(pipe.device)
    try:
        return exact.encode([video], 0)[0]
    finally:
        exact.model.to("cpu")


def _load_encoder(pipe: Any) -> Any:
    from shared.utils import files_locator

    urls = (pipe.model_def or {}).get("VAE_URLs")
    name = urls[0] if isinstance(urls, list) and urls else urls or "Wan2.1_VAE.safetensors"
    exact = type(pipe.vae)(vae_pth=files_locator.locate_file(name), dtype=torch.float32, device="cpu")
    exact.model.decoder = exact.model.conv2 = torch.nn.Identity()
    return exact


def _free_vram() -> int:
    """Bytes that can be had, those that torch keeps for itself included; where its allocator is another one, as in
    WanGP 17, it may not say how many these are."""
    free, _ = torch.cuda.mem_get_info()
    try:
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    except RuntimeError:
        return free


# ------------------------------------------------------------------------------------- the same latents for less VRAM

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
                      stripe: int = _STRIPE) -> Tensor:
    """What `WanVAE_.encode` gives, up to rounding: `video` [1, 3, T, H, W] -> latents [1, 16, t, H/8, W/8].

    Three quarters of the work, and nearly all the VRAM, are in the layers at full and half size. They see no farther
    than `_MARGIN` pixels and `_REACH` frames back. So they are run over one stripe of the picture after the other, and
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
        stop, first = min(start + step, length), max(start - _MARGIN, 0)
        part = video[:, :, :frames].narrow(axis, first, min(stop + _MARGIN, length) - first)
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
