"""The one encode and the one decode of a clip, untiled if the free VRAM allows it.

The authors found that a VAE in 16 bit or in tiles leaves artefacts, which add up from clip to clip
on still backgrounds. `vae_stripes` gives exactly what the whole picture would, in less VRAM and
time than WanGP takes.

WanGP sets the VAE's precision when it loads the model, 16 bit by default, and casts every input to
it. For the encode, SVI reads the encoder a second time from the same file, in 32 bit; it waits in
RAM (0.2 GB) between the clips. If that does not fit, SVI gives up 32 bit before it takes tiles:
tiles change the latents far more. "32 bit" is what torch makes of it: newer cards multiply in TF32.
The decode keeps WanGP's precision.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .pipeline import DECODES, on
from .vae_stripes import (
    DECODE_MARGIN,
    DECODE_STRIPE,
    MARGIN,
    STRIPE,
    decode_in_stripes,
    decodes,
    encode_in_stripes,
    encodes,
)

#: peak VRAM of an untiled encode of 81 frames, in bytes for each pixel of a frame, besides the
#: video; and of the encoder itself. Measured on an H100 by benchmarks/gpu/vae.py
_BYTES_PER_PIXEL = {torch.float32: 17_300, torch.float16: 9_500, torch.bfloat16: 9_500}
_BYTES_ENCODER = 250 * 2**20
#: the same in stripes of 32 bit: for each pixel of one stripe with its margins; for each pixel of
#: the picture, what is kept at a quarter of the size; and for the last layers, at that size
_BYTES_STRIPE, _BYTES_KEPT, _BYTES_LAST = 12_000, 2_000, 5_500
#: of a decode in stripes of 16 bit: for each pixel of one stripe; of the picture, with the video
_BYTES_DECODED, _BYTES_DECODED_KEPT = 7_700, 2_500


def encode(pipe: Any, video: Tensor, *, tile_size: int, say: Callable[[str], None] | None = None
           ) -> Tensor:
    """`video` float32 [3, T, H, W] in [-1, 1] -> latents float32 [16, t, H/8, W/8].

    `tile_size` is WanGP's own choice, used when VRAM is short; `say` is then told.
    """
    own, free = pipe.vae.dtype, _free_vram()
    wanted = _wanted(video, torch.float32, STRIPE if encodes(pipe.vae.model) else 0)
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
        advice = " A smaller resolution avoids artefacts on still backgrounds." if tile else ""
        say(f"VAE: clips are encoded in {torch.finfo(own).bits} bit, {how}, because "
            f"{free / 2**30:.1f} GB of VRAM are free and 32 bit untiled needs "
            f"{wanted / 2**30:.1f} GB.{advice}")
    return latents


def _wanted(video: Tensor, dtype: torch.dtype, stripe: int = 0) -> int:
    """Bytes of VRAM for an untiled encode, as a whole or in stripes of so many pixels."""
    height, width = video.shape[2:]
    pixels = height * width
    if not stripe:
        return _BYTES_PER_PIXEL[dtype] * pixels + _BYTES_ENCODER
    inside = min(pixels, stripe + 2 * MARGIN * min(height, width))
    stripes = _BYTES_STRIPE * inside + _BYTES_KEPT * pixels
    return max(stripes, _BYTES_LAST * pixels) + _BYTES_ENCODER


def _encode_exactly(pipe: Any, video: Tensor) -> Tensor:
    in_stripes = encodes(pipe.vae.model)
    if pipe.vae.dtype == torch.float32 and not in_stripes:
        return pipe.vae.encode([video], 0)[0]
    exact = on(pipe).encoder
    if exact is None:
        exact = on(pipe).encoder = _load_encoder(pipe)
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
    path = files_locator.locate_file(name)
    exact = type(pipe.vae)(vae_pth=path, dtype=torch.float32, device="cpu")
    exact.model.decoder = exact.model.conv2 = torch.nn.Identity()
    return exact


def expect_decode(pipe: Any, say: Callable[[str], None] | None = None) -> None:
    """Stands in for the decodes of this `generate`. `say` is told if VRAM is short."""
    for name in DECODES:
        if hasattr(pipe.vae, name):
            setattr(pipe.vae, name, partial(_decode, pipe.vae, getattr(pipe.vae, name), say))


def _decode(vae: Any, original: Callable[..., Any], say: Callable[[str], None] | None,
            latents: list[Tensor], tile_size: int = 0, *rest: Any, **named: Any) -> Any:
    """WanGP's own method, untiled, while its model decodes in stripes."""
    model = vae.model
    if rest or named or not decodes(model):
        return original(latents, tile_size, *rest, **named)
    own = vars(model).get("decode")  # mmgp's
    model.decode = partial(_decode_in_stripes, model)
    try:
        return original(latents, 0)
    except torch.cuda.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
    finally:
        del model.decode
        if own is not None:
            model.decode = own
    torch.cuda.empty_cache()
    if say is not None:
        tiles = f"in tiles of {tile_size} pixels" if tile_size else "as WanGP does it"
        say(f"VAE: clips are decoded {tiles}, because VRAM is short: {reason}. A smaller "
            "resolution avoids artefacts on still backgrounds.")
    return original(latents, tile_size)


def _decode_in_stripes(model: Any, latents: Tensor, scale: list[Tensor],
                       any_end_frame: bool = False) -> Tensor:
    model.conv2(latents[:, :, :1])  # here mmgp brings the VAE to the GPU, and takes others away
    free, (height, width) = _free_vram(), (8 * size for size in latents.shape[3:])
    size = latents.element_size() / 2
    for stripe in (DECODE_STRIPE, DECODE_STRIPE // 2, DECODE_STRIPE // 4):
        inside = min(height * width, stripe + 2 * DECODE_MARGIN * min(height, width))
        wanted = size * (_BYTES_DECODED * inside + _BYTES_DECODED_KEPT * height * width)
        if free >= wanted:
            return decode_in_stripes(model, latents, scale, stripe=stripe)
    raise torch.cuda.OutOfMemoryError(f"an untiled decode needs {wanted / 2**30:.1f} GB, and "
                                      f"{free / 2**30:.1f} GB are free")


def _free_vram() -> int:
    """Bytes that torch can use, its cache included, which WanGP 17's allocator does not tell."""
    free, _ = torch.cuda.mem_get_info()
    try:
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    except RuntimeError:
        return free
