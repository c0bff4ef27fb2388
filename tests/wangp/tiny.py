"""Tiny random Wan models for the real WanGP: checkpoints, stand-ins for the text and
image encoders, random LoRAs.

Downloads nothing. Random weights depend on their names, so every version of WanGP gets the same.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file

# WanGP fixes the head size (128) and the text size
DIM, HEADS, BLOCKS, FFN, TEXT_DIM = 128, 1, 2, 256, 4096
VAE_SHAPE = {"dim": 8, "num_res_blocks": 1}
CLIP_TOKENS, CLIP_DIM = 257, 1280
AUDIO_LAYERS, AUDIO_DIM = 12, 768
CLIP_FILE = "xlm-roberta-large/models_clip_open-clip-xlm-roberta-large-vit-huge-14-bf16.safetensors"
TEXT_ENCODER_FILE = "umt5-xxl/tiny_text_encoder_bf16.safetensors"
DANCE = Path(__file__).parents[2] / "finetunes/svi_dance.json"
LOCATED_FILES = (
    CLIP_FILE,
    "xlm-roberta-large/tokenizer.json",
    TEXT_ENCODER_FILE,
    Path(TEXT_ENCODER_FILE).name,  # for versions before v10.80
    "umt5-xxl/tokenizer_config.json",
    "chinese-wav2vec2-base/config.json",
)

LORA_LAYERS = (
    *(f"{kind}_attn.{layer}" for kind in ("self", "cross") for layer in "qkvo"),
    "ffn.0",
    "ffn.2",
)
LORA_KEYS = {  # as the SVI authors spell them, and as WanGP accepts them
    "svi": "pipe.dit.blocks.{block}.{layer}.lora_{side}.default.weight",
    "plain": "blocks.{block}.{layer}.lora_{side}.weight",
    "diffusion_model": "diffusion_model.blocks.{block}.{layer}.lora_{side}.weight",
}

# finetune -> (WanGP's architecture, kind of WanModel, transformer files)
MODELS = {
    "tiny_i2v": ("i2v", "i2v", ("tiny_i2v_mbf16.safetensors",)),
    "tiny_dance": ("i2v", "i2v", ("tiny_i2v_mbf16.safetensors",)),
    "tiny_talk": ("multitalk", "i2v", ("tiny_talk_mbf16.safetensors",)),
    "tiny_i2v22": ("i2v_2_2", "i2v2_2",
                   ("tiny_i2v22_high_mbf16.safetensors", "tiny_i2v22_low_mbf16.safetensors")),
    "tiny_svi2pro": (
        "i2v_2_2_svi2pro",
        "i2v2_2",
        ("tiny_i2v22_high_mbf16.safetensors", "tiny_i2v22_low_mbf16.safetensors"),
    ),
}

def shrink(tree: Path) -> None:
    """Makes 64x64 the resolution of a WanGP's form and of SVI's profiles in it."""
    (tree / "resolutions.json").write_text(json.dumps([["64x64 (1:1)", "64x64"]]), encoding="utf-8")
    for path in tree.glob("profiles/wan_*/SVI*.json"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**settings, "resolution": "64x64"}), encoding="utf-8")


def write_i2v(tree: Path) -> None:
    """Makes a WanGP's 14B image-to-video tiny, and its form and profiles small."""
    shrink(tree)
    (tree / "finetunes").mkdir(exist_ok=True)
    (tree / "finetunes/i2v.json").write_text(json.dumps({"model": {
        "name": "Image2video 480p", "architecture": "i2v", "description": "tiny",
        "URLs": ["tiny_i2v_mbf16.safetensors"],
        "text_encoder_URLs": [Path(TEXT_ENCODER_FILE).name]}, "resolution": "64x64"}),
        encoding="utf-8")


def write_lora(path: Path, keys: str = "svi", seed: int = 0, rank: int = 4,
               scale: float = 0.2, poses: bool = False) -> Path:
    """Writes a random LoRA for the layers that SVI's LoRAs adapt; `keys` is one of LORA_KEYS.
    `poses`: with a pose network."""
    inputs = {"ffn.2": FFN}
    outputs = {"ffn.0": FFN}
    tensors = {}
    for block in range(BLOCKS):
        for layer in LORA_LAYERS:
            for side, shape in (("A", (rank, inputs.get(layer, DIM))),
                                ("B", (outputs.get(layer, DIM), rank))):
                name = LORA_KEYS[keys].format(block=block, layer=layer, side=side)
                tensors[name] = scale * _normal(f"lora {seed} {block} {layer} {side}", shape)
    for layer in range(0, 14, 2) if poses else ():
        shape = ((DIM, 16, 1, 2, 2) if layer == 12 else (16, 16 if layer else 3, 3, 3, 3))
        weight = _normal(f"poses {layer}", shape) / shape[1] ** 0.5 / 2
        tensors |= {f"dwpose_embedding.{layer}.weight": weight,
                    f"dwpose_embedding.{layer}.bias": 0.1 * _normal(f"bias {layer}", shape[:1])}
    save_file(tensors, path)
    return path


def install(root: Path) -> None:
    """Installs the tiny checkpoints and finetune definitions in the WanGP at `root`."""
    for name, (architecture, kind, files) in MODELS.items():
        model = {
            "name": name.replace("_", " "),
            "architecture": architecture,
            "description": "tiny random weights",
            "URLs": [files[0]],
            "text_encoder_URLs": [Path(TEXT_ENCODER_FILE).name],
        }
        write_checkpoints(root, architecture, kind, files)
        if name == "tiny_dance":
            ours = json.loads(DANCE.read_text(encoding="utf-8"))["model"]
            model |= {key: ours[key] for key in ours.keys() - model.keys()}
        if len(files) > 1:
            model |= {"URLs2": [files[1]], "group": "wan2_2"}
        _write_json(root / "finetunes" / f"{name}.json", {"model": model, **default_settings(name)})


def stop_downloads() -> None:
    import huggingface_hub

    huggingface_hub.hf_hub_download = huggingface_hub.snapshot_download = lambda *args, **kwargs: (
        None
    )


def default_settings(name: str) -> dict[str, Any]:
    """With two experts, the first of two steps runs on one and the second on the other."""
    two_experts = name in MODELS and len(MODELS[name][2]) > 1
    return {"guidance_phases": 2, "switch_threshold": 900} if two_experts else {}


def write_checkpoints(root: Path, architecture: str, kind: str, files: tuple[str, ...]) -> None:
    """Writes the architecture's shape, and what is missing: transformers, the VAE, files that WanGP
    only looks for."""
    from models.wan.modules.model import WanModel
    from models.wan.modules.vae import WanVAE_

    shape = {
        "dim": DIM, "num_heads": HEADS, "num_layers": BLOCKS, "ffn_dim": FFN, "freq_dim": 256,
        "in_dim": 36, "out_dim": 16, "text_len": 512, "eps": 1e-6, "model_type": kind,
    }
    if architecture == "multitalk":
        shape |= {"multitalk_output_dim": AUDIO_DIM, "intermediate_dim": 16, "context_tokens": 4}
    # before v11.30 a model definition cannot name another place
    config = root / f"models/wan/configs/{architecture}.json"
    _write_json(config, {"_class_name": "WanModel", "_diffusers_version": "0.30.0", **shape})
    checkpoints = root / "ckpts"
    for name in LOCATED_FILES:
        (checkpoints / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoints / name).touch()
    for file in files:
        if not (checkpoints / file).exists():
            _save(checkpoints / file, _random_weights(WanModel(**shape), file), torch.bfloat16)
    vae = checkpoints / "Wan2.1_VAE.safetensors"
    if not vae.exists():
        layers = WanVAE_(
            **VAE_SHAPE, z_dim=16, dim_mult=[1, 2, 4, 4], attn_scales=[],
            temperal_downsample=[False, True, True]
        )
        _save(vae, _random_weights(layers, vae.name), torch.float32)


def replace_encoders() -> None:
    """Replaces T5 and CLIP by stand-ins, and makes the VAE as small as its checkpoint."""
    from models.wan import any2video
    from models.wan.modules import vae

    any2video.T5EncoderModel, any2video.CLIPModel = StandInT5, StandInCLIP
    vae._video_vae = functools.partial(vae._video_vae, **VAE_SHAPE)


def replace_wav2vec() -> None:
    """Replaces the encoder of sound by a stand-in, and what no test uses but WanGP imports with it
    and few have: a voice, and what takes music out of a sound."""
    for module, name in (("kokoro", "KPipeline"), ("extract_vocals", "get_vocals")):
        stand_in = ModuleType(f"preprocessing.{module}")
        setattr(stand_in, name, None)
        sys.modules[stand_in.__name__] = stand_in
    from models.wan.multitalk import multitalk

    multitalk.custom_init = lambda device, folder: (
        lambda samples, sampling_rate: SimpleNamespace(input_values=samples), StandInWav2Vec())


class StandInT5(torch.nn.Module):
    """One random token per word, the same for the same prompt."""

    def __init__(self, text_len: int = 512, dtype: torch.dtype = torch.bfloat16, **_: Any) -> None:
        super().__init__()
        self.text_len, self.dtype = text_len, dtype
        self.model = torch.nn.Linear(8, 8).to(dtype)  # WanGP's handler passes this to mmgp

    def __call__(self, prompts: list[str], device: Any = None) -> list[torch.Tensor]:
        return [
            _normal(prompt, (min(len(prompt.split()) + 1, self.text_len), TEXT_DIM)).to(
                device, self.dtype)
            for prompt in prompts
        ]


class StandInCLIP:
    """A fixed random projection of the mean colour."""

    def __init__(self, **_: Any) -> None:
        self.dtype = torch.float32
        self.model = torch.nn.Linear(3, CLIP_DIM, bias=False)
        self.model.weight.data = _normal("clip", (CLIP_DIM, 3))
        self.model.image_size = 224

    def visual(self, videos: list[torch.Tensor]) -> torch.Tensor:
        colours = torch.stack([video.float().mean(dim=(1, 2, 3)) for video in videos])
        features = self.model(colours.to(self.model.weight))
        return features[:, None].expand(-1, CLIP_TOKENS, -1).to(videos[0].device, torch.bfloat16)


class StandInWav2Vec:
    """The loudness of each frame, in a fixed random direction for each layer. Every frame is heard
    by itself, so a piece of a sound gives the same as the whole."""

    def __call__(self, samples: torch.Tensor, seq_len: int, output_hidden_states: bool) -> Any:
        edges = torch.linspace(0, samples.shape[1], seq_len + 1, device="cpu").round().long()
        loud = torch.stack([samples[0, start:end].abs().mean()
                            for start, end in zip(edges, edges[1:], strict=False)])
        ways = _normal("wav2vec", (AUDIO_LAYERS + 1, AUDIO_DIM))
        return AudioStates([loud[None, :, None] * way for way in ways])


@dataclass
class AudioStates:
    hidden_states: list[torch.Tensor]

    def __len__(self) -> int:
        return 1


def _normal(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    # mmgp makes the GPU torch's default device
    return torch.randn(shape,
                       generator=torch.Generator("cpu").manual_seed(zlib.crc32(name.encode())),
                       device="cpu")


def _random_weights(model: torch.nn.Module, salt: str) -> dict[str, torch.Tensor]:
    """Random weights by name: matrices and kernels that keep the variance,
    small biases, norms of one.

    With biases of zero the VAE turns grey frames into subnormal numbers, ten times slower on a CPU.
    """

    def draw(name: str, value: torch.Tensor) -> torch.Tensor:
        if value.squeeze().dim() < 2 and not name.endswith("bias"):
            return torch.ones_like(value)
        scale = 0.1 if name.endswith("bias") else value[0].numel() ** -0.5
        return scale * _normal(f"{salt} {name}", tuple(value.shape))

    return {name: draw(name, value) for name, value in model.state_dict().items()}


def _save(path: Path, tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}, partial)
    partial.replace(path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
