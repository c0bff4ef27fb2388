"""A tiny Wan with random weights, as Wan 2.1 and as the two experts of Wan 2.2: checkpoints, LoRAs,
and a start image, all in the throw-away copy. Needs WanGP's packages.

Random weights are enough: the checks look at what goes into the model, and at what becomes of what
comes out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ..demo.in_wangp import loader
from .plan import I2V, I2V22, LORAS, SIZE, VIDEOS

_DIM, _BLOCKS, _FFN = 128, 2, 256  # one head, because WanGP fixes its size (128)
_VAE_SHAPE = {"dim": 8, "num_res_blocks": 1}
_TEXT_ENCODER = "svi_selftest_text_encoder_bf16.safetensors"
#: files that WanGP looks for, and that nothing reads here
_LOCATED = (
    "xlm-roberta-large/models_clip_open-clip-xlm-roberta-large-vit-huge-14-bf16.safetensors",
    "xlm-roberta-large/tokenizer.json", "umt5-xxl/tokenizer_config.json",
    f"umt5-xxl/{_TEXT_ENCODER}", _TEXT_ENCODER)
#: model -> WanGP's architecture, its kind of WanModel, checkpoints
_MODELS = {
    I2V: ("i2v", "i2v", (f"{I2V}_mbf16.safetensors",)),
    I2V22: ("i2v_2_2", "i2v2_2",
            (f"{I2V22}_high_mbf16.safetensors", f"{I2V22}_low_mbf16.safetensors")),
}
_LAYERS = (*(f"{kind}_attn.{layer}" for kind in ("self", "cross") for layer in "qkvo"),
           "ffn.0", "ffn.2")
_KEYS = {"authors": "pipe.dit.blocks.{}.{}.lora_{}.default.weight",
         "plain": "blocks.{}.{}.lora_{}.weight",
         "wangp": "diffusion_model.blocks.{}.{}.lora_{}.weight"}


def install(root: Path, profiles: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds the models and all LoRAs of the self-test's videos to the WanGP at `root`, and replaces
    its T5, CLIP and VAE by small ones."""
    from models.wan import any2video
    from models.wan.modules import vae

    any2video.T5EncoderModel, any2video.CLIPModel = loader.Text, loader.Picture
    for name in _LOCATED:
        (root / "ckpts" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "ckpts" / name).touch()
    small = partial(vae.WanVAE_, **_VAE_SHAPE, z_dim=16, dim_mult=[1, 2, 4, 4], attn_scales=[],
                    temperal_downsample=[False, True, True])
    _write_weights(root / "ckpts/Wan2.1_VAE.safetensors", small, torch.float32)
    vae._video_vae = partial(vae._video_vae, **_VAE_SHAPE)
    for name in _MODELS:
        _write_model(root, name)
    for video in VIDEOS.values():
        folder = root / "loras" / ("wan_i2v" if video.model == I2V else "wan")
        folder.mkdir(parents=True, exist_ok=True)
        for url in profiles[video.profile]["activated_loras"]:
            _write_lora(folder / url.rpartition("/")[2], "wangp")
    for spelling, name in LORAS.items():
        _write_lora(root / "loras/wan_i2v" / name, spelling)


def write_start_image(path: Path) -> Tensor:
    """A picture with a different ramp in each channel -> the reference [3, H, W] in [-1, 1]."""
    ramp = torch.arange(SIZE, device="cpu") * 255 // (SIZE - 1)
    x, y = ramp.expand(SIZE, SIZE), ramp[:, None].expand(SIZE, SIZE)
    pixels = torch.stack([x, y, (x + y) // 2]).to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path)
    return pixels.float() / 127.5 - 1


def _write_model(root: Path, name: str) -> None:
    from models.wan.modules.model import WanModel

    architecture, kind, files = _MODELS[name]
    definition = {"name": name, "architecture": architecture, "description": "self-test",
                  "URLs": [files[0]], "text_encoder_URLs": [_TEXT_ENCODER]}
    if len(files) > 1:
        definition |= {"URLs2": [files[1]], "group": "wan2_2"}
    shape = {"dim": _DIM, "num_heads": 1, "num_layers": _BLOCKS, "ffn_dim": _FFN, "freq_dim": 256,
             "in_dim": 36, "out_dim": 16, "text_len": 512, "eps": 1e-6, "model_type": kind}
    _write_json(root / f"finetunes/{name}.json", {"model": definition})
    # in the place of WanGP's own: before 11.30, a model's definition cannot name another file
    _write_json(root / f"models/wan/configs/{architecture}.json", {
        "_class_name": "WanModel", "_diffusers_version": "0.30.0", **shape})
    for file in files:
        _write_weights(root / "ckpts" / file, partial(WanModel, **shape), torch.bfloat16)


def _write_lora(path: Path, spelling: str) -> None:
    """The same weights in each file: only the spelling of the keys differs."""
    torch.manual_seed(0)
    tensors = {}
    for block in range(_BLOCKS):
        for layer in _LAYERS:
            inputs, outputs = (_FFN if layer == one else _DIM for one in ("ffn.2", "ffn.0"))
            for side, shape in (("A", (4, inputs)), ("B", (outputs, 4))):
                key = _KEYS[spelling].format(block, layer, side)
                tensors[key] = torch.randn(shape, device="cpu") * 0.1
    save_file(tensors, path)


def _write_weights(path: Path, make: Callable[[], torch.nn.Module], dtype: torch.dtype) -> None:
    """Random weights, none of them zero: zeros would let the VAE turn grey frames into subnormal
    numbers, which takes ten times longer."""
    torch.manual_seed(zlib.crc32(path.name.encode()))
    save_file({name: (value + 0.05 * torch.randn_like(value)).to(dtype).contiguous()
               for name, value in make().state_dict().items()}, path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
