"""The one encode of a clip: in 32 bit and untiled where the free VRAM allows it, else as near to that as it does.

The authors found that a 16-bit or tiled VAE leaves artefacts that add up from clip to clip on still backgrounds. WanGP
fixes the VAE's precision when it loads the model (16 bit by default), and casts whatever it is given; so a second VAE
is read from the same file in 32 bit, its encoder alone, which waits in RAM (0.2 GB) between the clips.

It gives what the whole picture would, for less VRAM and time than WanGP's 16 bit takes (`encode_in_stripes`). Where
even that does not fit, tiles are given up before 32 bit: of the two they are by far the larger change of the latents.
"32 bit" is what torch makes of it by default: newer cards multiply in TF32.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .vae_stripes import MARGIN, STRIPE, encode_in_stripes, is_known

#: bytes that an untiled encode of 81 frames takes at its peak beside the video, for each pixel of a frame; and the
#: encoder itself. Measured on an H200 (benchmarks/gpu/vae.py)
_BYTES_PER_PIXEL = {torch.float32: 17_300, torch.float16: 9_500, torch.bfloat16: 9_500}
_BYTES_ENCODER = 250 * 2**20
#: the same in stripes: a stripe's pixels take what they would in a frame, what is kept of those that are done 192
#: channels of 41 frames at a quarter of the size, and then the layers at that size the rest
_BYTES_KEPT, _BYTES_THEN = 2_000, 5_500


def encode(pipe: Any, video: Tensor, *, tile_size: int, say: Callable[[str], None] | None = None) -> Tensor:
    """`video` float32 [3, T, H, W] in [-1, 1] -> latents float32 [16, t, H/8, W/8].

    `tile_size` is WanGP's own choice, for when VRAM is short; `say` then gets the line that tells the user.
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
    inside = min(pixels, stripe + 2 * MARGIN * min(height, width))
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
