"""The one encode of a clip: in 32 bit and untiled where the free VRAM allows it, else as near to that as it does.

The authors found that a 16-bit or tiled VAE leaves artefacts that add up from clip to clip on still backgrounds. WanGP
fixes the VAE's precision when it loads the model (16 bit by default), and casts whatever it is given; so a second VAE
is read from the same file in 32 bit, its encoder alone, which waits in RAM (0.2 GB) between the clips. Of the two,
tiles are by far the larger change of the latents, so they are given up first.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: peak of an untiled encode of 81 frames for each pixel of a frame, measured on an H200, and the encoder itself
_BYTES_PER_PIXEL = {torch.float32: 17_100, torch.float16: 9_500, torch.bfloat16: 9_500}
_BYTES_ENCODER = 250 * 2**20


def encode(pipe: Any, video: Tensor, *, tile_size: int, say: Callable[[str], None] | None = None) -> Tensor:
    """`video` float32 [3, T, H, W] in [-1, 1] -> latents float32 [16, t, H/8, W/8].

    `tile_size` is WanGP's own choice, for when VRAM is short; `say` then gets the line that tells the user.
    """
    own, free = pipe.vae.dtype, _free_vram()
    if free >= _wanted(video, torch.float32):
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
        wanted = _wanted(video, torch.float32)
        say(f"VAE: the clips are encoded in {torch.finfo(own).bits} bit, {how}: {free / 2**30:.1f} GB of VRAM are "
            f"free, and 32 bit untiled wants {wanted / 2**30:.1f} GB."
            + (" Still backgrounds may slowly gain artefacts; a smaller resolution avoids that." if tile else ""))
    return latents


def _wanted(video: Tensor, dtype: torch.dtype) -> int:
    return _BYTES_PER_PIXEL[dtype] * video.shape[2] * video.shape[3] + _BYTES_ENCODER


def _encode_exactly(pipe: Any, video: Tensor) -> Tensor:
    if pipe.vae.dtype == torch.float32:
        return pipe.vae.encode([video], 0)[0]
    exact = getattr(pipe, "svi_vae", None)
    if exact is None:
        exact = pipe.svi_vae = _load_encoder(pipe)
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
    """Bytes that can be had, those that torch keeps for itself included."""
    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
