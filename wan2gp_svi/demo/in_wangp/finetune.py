"""The small model as WanGP knows a finetune: its definition, checkpoints, LoRAs, profiles, and pictures to start from.

`files` makes them all; nothing is written here.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save

from ... import location
from ...install import Refused, loras
from ...variants import CLIP_FRAMES, VARIANTS
from ...wangp.plan import SMALL
from ...wangp.profiles import profiles
from .. import model, world

TITLE = "SVI small (96x64, demo)"
TRANSFORMER, VAE = "svi_small_i2v_bf16.safetensors", "svi_small_vae.safetensors"
PROFILES = {"SVI-Shot small": "shot", "SVI-Film small": "film", "Without SVI small": ""}
SCENES = (1_000_001, 1_000_003)  #: of the pictures; it was not trained on them
CLIPS = 5
_SIZE = f"{world.WIDTH}x{world.HEIGHT}"
_NEEDED = ("small-wan-i2v.safetensors", "small-wan-vae.safetensors", *model.ADAPTERS.values())


def files(wangp: Path, weights: Path = model.WEIGHTS, lora_dir: str | None = None) -> dict[str, bytes]:
    """Every file, by its path in WanGP; the definition last, since it makes WanGP look for the others."""
    missing = [name for name in _NEEDED if not (weights / name).is_file()]
    if missing:
        raise Refused(f"there is no {' and no '.join(missing)} in {weights}: run this in the folder that SVI for WanGP "
                      "was unpacked to")
    lora_folder, models = loras.folder(wangp, "2.1", lora_dir), wangp / _checkpoints(wangp)
    found = {lora_folder / name: (weights / name).read_bytes() for name in model.ADAPTERS.values()}
    found |= {models / TRANSFORMER: transformer(weights), models / VAE: (weights / _NEEDED[1]).read_bytes()}
    found |= {wangp / _picture(seed): picture(seed) for seed in SCENES}
    found |= {wangp / "profiles" / SMALL / f"{title}.json": _json(profile(variant))
              for title, variant in PROFILES.items()}
    found[wangp / "finetunes" / f"{SMALL}.json"] = _json(definition())
    return {(path.relative_to(wangp).as_posix() if path.is_relative_to(wangp) else str(path)): content
            for path, content in found.items()}


def definition() -> dict[str, Any]:
    """The model, and the settings that its form opens with: WanGP's own windows, without SVI."""
    return {
        "model": {
            "name": TITLE,
            "architecture": "i2v",
            "description": "A Wan 2.1 of 7 million weights that knows one little world: one or two things circle over "
                           "a landscape. It shows what SVI does to a long video, in seconds, also without a GPU. "
                           "Give it a picture of that world; the profiles choose SVI. Prompts are of the kind \"a red "
                           f"plain ball waits\", with {_any(world.COLOURS)}; {_any(world.MARKS)}; "
                           f"{_any(world.SHAPES)}; {_any(world.TURNS)}.",
            SMALL: True,
            "URLs": [TRANSFORMER],
            "VAE_URLs": [VAE],
            "text_encoder_URLs": [VAE],  # WanGP wants a file here, and none is read
            "resolutions": [[f"{_SIZE} (3:2)", _SIZE]],
            "profiles_dir": [SMALL],
        },
        "prompt": world.scene(SCENES[0]).prompt(),
        "image_start": _picture(SCENES[0]),
        "image_prompt_type": "S",
        "resolution": _SIZE,
        "video_length": CLIP_FRAMES * CLIPS,
        "seed": 1,
        **_SAMPLING,
    }


def profile(variant: str) -> dict[str, Any]:
    """The settings of a profile: those that pin the large model to SVI, or without a variant away from it."""
    pinned = next(one.settings for one in profiles() if one.variant.id.startswith(variant))
    if variant:
        about = (f"SVI-{variant.title()} with the small model. Give a picture of its world (finetunes/{SMALL}), and "
                 f"more than {CLIP_FRAMES} frames: every {CLIP_FRAMES} frames are one clip.")
        if VARIANTS[variant].stream:
            about += (" Its stream of prompts: paragraphs with an empty line between them, one for each clip, such as "
                      f"\"{world.scene(SCENES[0]).prompt('waits')}\".")
    else:
        about = "The small model with WanGP's own windows, to see what they come to after some clips."
    return {
        **pinned,
        "model_type": SMALL,
        "activated_loras": [model.ADAPTERS[variant]] if variant else [],
        "loras_multipliers": "1" if variant else "",
        "resolution": _SIZE,
        **_SAMPLING,
        "help": about,
    }


# WanGP's euler ends with a step that is next to nothing, from 0.3 % of noise: so one more than the model is made for
_SAMPLING = {"num_inference_steps": model.STEPS + 1, "flow_shift": model.SHIFT, "guidance_phases": 1,
             "guidance_scale": 1, "sample_solver": "euler"}


def transformer(weights: Path) -> bytes:
    """The transformer's checkpoint in full, its shape in it, and as wide for text as WanGP has every Wan."""
    tensors = model.transformer_file(weights)
    narrow = tensors["text_embedding.0.weight"]
    tensors["text_embedding.0.weight"] = torch.nn.functional.pad(narrow, (0, model.T5_DIM - narrow.shape[1]))
    shape = {"_class_name": "WanModel", "model_type": "i2v", "dim": model.DIM, "num_heads": model.HEADS,
             "num_layers": model.BLOCKS, "ffn_dim": model.FFN, "freq_dim": 256, "in_dim": 36, "out_dim": 16,
             "text_len": model.TEXT_TOKENS, "eps": 1e-6}
    # as mmgp, WanGP's loader, wants it; older WanGPs cannot be given another file for it
    config = base64.b64encode(json.dumps(shape).encode("utf-8")).decode("ascii")
    # one entry alone: of several safetensors would write another order each time, and the file would not be the same
    return save({name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()},
                {"config_base64": config})


def picture(seed: int) -> bytes:
    """The first frame of a scene, as a PNG."""
    frame = world.render([world.scene(seed)], torch.zeros(1, 1))[0, :, 0]
    pixels = ((frame + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _any(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"


def _picture(seed: int) -> str:
    return f"finetunes/{SMALL}/{world.scene(seed).prompt()}.png"


def _checkpoints(wangp: Path) -> str:
    """WanGP's first folder for models, relative to it or absolute."""
    try:
        folder = (location.config(wangp) or {})["checkpoints_paths"][0].strip()
    except (LookupError, TypeError, AttributeError):
        folder = ""
    return folder or "ckpts"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=4, ensure_ascii=False) + "\n").encode("utf-8")
