"""A tiny Wan with random weights, as Wan 2.1 and as the two experts of Wan 2.2: its checkpoints, the parts that stand
in for T5 and CLIP, LoRAs, a start image. Needs WanGP's packages; everything is written into the throw-away copy.

Random weights are enough: what is checked is what goes into the model, and what becomes of what comes out.
"""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .plan import I2V, I2V22, LORAS, SIZE, VIDEOS

_DIM, _HEADS, _BLOCKS, _FFN, _TEXT_DIM = 128, 1, 2, 256, 4096  # WanGP fixes the head size (128) and the text size
_VAE_SHAPE = {"dim": 8, "num_res_blocks": 1}
_CLIP_TOKENS, _CLIP_DIM = 257, 1280
_TEXT_ENCODER = "svi_selftest_text_encoder_bf16.safetensors"
#: that WanGP looks for, and that nothing reads here
_LOCATED = ("xlm-roberta-large/models_clip_open-clip-xlm-roberta-large-vit-huge-14-bf16.safetensors",
            "xlm-roberta-large/tokenizer.json", f"umt5-xxl/{_TEXT_ENCODER}", _TEXT_ENCODER,
            "umt5-xxl/tokenizer_config.json")
#: model -> (WanGP's architecture, its kind of WanModel, transformer files)
_MODELS = {
    I2V: ("i2v", "i2v", (f"{I2V}_mbf16.safetensors",)),
    I2V22: ("i2v_2_2", "i2v2_2", (f"{I2V22}_high_mbf16.safetensors", f"{I2V22}_low_mbf16.safetensors")),
}
_LAYERS = (*(f"{kind}_attn.{layer}" for kind in ("self", "cross") for layer in "qkvo"), "ffn.0", "ffn.2")
_KEYS = {"authors": "pipe.dit.blocks.{}.{}.lora_{}.default.weight", "plain": "blocks.{}.{}.lora_{}.weight",
         "wangp": "diffusion_model.blocks.{}.{}.lora_{}.weight"}


def install(root: Path, profiles: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the models, every LoRA that a video of the self-test wants, and the stand-ins into the WanGP at `root`."""
    from models.wan import any2video
    from models.wan.modules import vae

    for name, (architecture, kind, files) in _MODELS.items():
        definition = {"name": name.replace("_", " "), "architecture": architecture, "description": "self-test",
                      "URLs": [files[0]], "text_encoder_URLs": [_TEXT_ENCODER]}
        if len(files) > 1:
            definition |= {"URLs2": [files[1]], "group": "wan2_2"}
        _write_checkpoints(root, architecture, kind, files)
        _write_json(root / "finetunes" / f"{name}.json", {"model": definition})
    for video in VIDEOS.values():
        folder = root / "loras" / ("wan_i2v" if video.model == I2V else "wan")
        folder.mkdir(parents=True, exist_ok=True)
        for url in profiles[video.profile]["activated_loras"]:
            _write_lora(folder / url.rpartition("/")[2], "wangp")
    for spelling, name in LORAS.items():
        _write_lora(root / "loras/wan_i2v" / name, spelling)
    any2video.T5EncoderModel, any2video.CLIPModel = _Text, _Picture
    vae._video_vae = functools.partial(vae._video_vae, **_VAE_SHAPE)


def write_start_image(path: Path) -> Tensor:
    """A picture with another ramp in every channel, of the size of the videos -> the reference [3, H, W] in [-1, 1]."""
    from PIL import Image

    ramp = torch.arange(SIZE) * 255 // (SIZE - 1)
    x, y = ramp.expand(SIZE, SIZE), ramp[:, None].expand(SIZE, SIZE)
    pixels = torch.stack([x, y, (x + y) // 2]).to(torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path)
    return pixels.float() / 127.5 - 1


def _write_checkpoints(root: Path, architecture: str, kind: str, files: tuple[str, ...]) -> None:
    from models.wan.modules.model import WanModel
    from models.wan.modules.vae import WanVAE_

    shape = {"dim": _DIM, "num_heads": _HEADS, "num_layers": _BLOCKS, "ffn_dim": _FFN, "freq_dim": 256, "in_dim": 36,
             "out_dim": 16, "text_len": 512, "eps": 1e-6, "model_type": kind}
    # the place of WanGP's own: before 11.30 a model definition could not name another
    _write_json(root / f"models/wan/configs/{architecture}.json",
                {"_class_name": "WanModel", "_diffusers_version": "0.30.0", **shape})
    checkpoints = root / "ckpts"
    for name in _LOCATED:
        (checkpoints / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoints / name).touch()
    for file in files:
        _save(checkpoints / file, _random(WanModel(**shape), file), torch.bfloat16)
    vae = checkpoints / "Wan2.1_VAE.safetensors"
    if not vae.exists():
        layers = WanVAE_(**_VAE_SHAPE, z_dim=16, dim_mult=[1, 2, 4, 4], attn_scales=[],
                         temperal_downsample=[False, True, True])
        _save(vae, _random(layers, vae.name), torch.float32)


def _write_lora(path: Path, spelling: str) -> None:
    """The same random weights for every file of a variant, so that only the spelling of the keys is another."""
    inputs, outputs = {"ffn.2": _FFN}, {"ffn.0": _FFN}
    tensors = {}
    for block in range(_BLOCKS):
        for layer in _LAYERS:
            for side, shape in (("A", (4, inputs.get(layer, _DIM))), ("B", (outputs.get(layer, _DIM), 4))):
                tensors[_KEYS[spelling].format(block, layer, side)] = 0.1 * _normal(f"{block}{layer}{side}", shape)
    save_file(tensors, path)


class _Text(torch.nn.Module):
    """In T5's place: one random token for each word, the same for the same prompt."""

    def __init__(self, text_len: int = 512, dtype: torch.dtype = torch.bfloat16, **_: Any) -> None:
        super().__init__()
        self.text_len, self.dtype = text_len, dtype
        self.model = torch.nn.Linear(8, 8).to(dtype)  # WanGP's memory management wants a network of every part

    def __call__(self, prompts: list[str], device: Any = None) -> list[Tensor]:
        return [_normal(prompt, (min(len(prompt.split()) + 1, self.text_len), _TEXT_DIM)).to(device, self.dtype)
                for prompt in prompts]


class _Picture:
    """In CLIP's place: a fixed random projection of the mean colour, in the transformer's precision."""

    transformer_dtype = torch.bfloat16

    def __init__(self, **_: Any) -> None:
        self.dtype = torch.float32
        self.model = torch.nn.Linear(8, 8)
        self.model.image_size = 224

    def visual(self, videos: list[Tensor]) -> Tensor:
        colours = torch.stack([video.float().mean(dim=(1, 2, 3)) for video in videos])
        features = torch.nn.functional.linear(colours, _normal("clip", (_CLIP_DIM, 3)).to(colours.device))
        return features[:, None].expand(-1, _CLIP_TOKENS, -1).to(videos[0].device, self.transformer_dtype)


def _normal(name: str, shape: tuple[int, ...]) -> Tensor:
    # drawn by name, and on the CPU: mmgp makes the card torch's default device
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(zlib.crc32(name.encode())), device="cpu")


def _random(model: torch.nn.Module, salt: str) -> dict[str, Tensor]:
    """The model's state: matrices and kernels keep the variance, biases are small, norms stay one. A bias of zero would
    let the VAE turn grey frames into subnormal numbers, ten times slower on a CPU."""

    def draw(name: str, value: Tensor) -> Tensor:
        if value.squeeze().dim() < 2 and not name.endswith("bias"):
            return torch.ones_like(value, device="cpu")
        return (0.1 if name.endswith("bias") else value[0].numel() ** -0.5) * _normal(f"{salt} {name}", value.shape)

    return {name: draw(name, value) for name, value in model.state_dict().items()}


def _save(path: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}, path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
