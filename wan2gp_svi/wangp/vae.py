"""The one encode of a clip: in 32 bit and untiled if the free VRAM allows it, else close to that.

The authors found that a VAE in 16 bit or in tiles leaves artefacts, which add up from clip to clip
on still backgrounds. WanGP sets the VAE's precision when it loads the model, 16 bit by default,
and casts every input to it. So SVI reads the encoder a second time from the same file, in 32 bit;
it waits in RAM (0.2 GB) between the clips.

`encode_in_stripes` gives exactly what encoding the whole picture would, in less VRAM and time than
WanGP's 16 bit takes. If even that does not fit, SVI gives up 32 bit before it takes tiles: tiles
change the latents far more. "32 bit" is what torch makes of it: newer cards multiply in TF32.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .pipeline import on
from .vae_stripes import MARGIN, STRIPE, encode_in_stripes, is_known

#: peak VRAM of an untiled encode of 81 frames, in bytes for each pixel of a frame, besides the
#: video; and of the encoder itself. Measured on an H200 by benchmarks/gpu/vae.py
_BYTES_PER_PIXEL = {torch.float32: 17_300, torch.float16: 9_500, torch.bfloat16: 9_500}
_BYTES_ENCODER = 250 * 2**20
#: the same in stripes: the pixels of one stripe take as much as above; finished stripes are kept as
#: 192 channels of 41 frames at a quarter of the size; the layers at that size come last
_BYTES_KEPT, _BYTES_LAST = 2_000, 5_500


def encode(pipe: Any, video: Tensor, *, tile_size: int, say: Callable[[str], None] | None = None
           ) -> Tensor:
    """`video` float32 [3, T, H, W] in [-1, 1] -> latents float32 [16, t, H/8, W/8].

    `tile_size` is WanGP's own choice, used when VRAM is short; `say` is then told.
    """
    own, free = pipe.vae.dtype, _free_vram()
    wanted = _wanted(video, torch.float32, STRIPE if is_known(pipe.vae.model) else 0)
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
    stripes = _BYTES_PER_PIXEL[dtype] * inside + _BYTES_KEPT * pixels
    return max(stripes, _BYTES_LAST * pixels) + _BYTES_ENCODER


def _encode_exactly(pipe: Any, video: Tensor) -> Tensor:
    in_stripes = is_known(pipe.vae.model)
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


def _free_vram() -> int:
    """Bytes that torch can use, its cache included, which WanGP 17's allocator does not tell."""
    free, _ = torch.cuda.mem_get_info()
    try:
        return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    except RuntimeError:
        return free
