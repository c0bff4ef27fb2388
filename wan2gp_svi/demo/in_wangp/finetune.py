"""The demo model as a finetune of WanGP: definition, checkpoints, LoRAs, profiles, start pictures.

`files` makes them; nothing is written here.
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
from ...install import Refused
from ...variants import CLIP_FRAMES, VARIANTS
from ...wangp.form import AUTO, OFF
from ...wangp.plan import SMALL
from ...wangp.profiles import profiles
from .. import model, world

TITLE = "SVI demo model (96x64)"
#: the names of the files and of the type of model stay, since runs on disk name them
TRANSFORMER, VAE = "svi_small_i2v_bf16.safetensors", "svi_small_vae.safetensors"
PROFILES = {"SVI-2.0 demo": "2.0", "SVI-Shot demo": "shot", "SVI-Film demo": "film",
            "Demo without SVI": ""}
SCENES = (1_000_001, 1_000_003)  #: of the start pictures; the model was not trained on them
CLIPS = 5
_SIZE = f"{world.WIDTH}x{world.HEIGHT}"
_NEEDED = (model.TRANSFORMER, model.VAE, *model.ADAPTERS.values())


def files(wangp: Path, weights: Path = model.WEIGHTS,
          lora_dir: str | None = None) -> dict[str, bytes]:
    """Every file, by its path in WanGP. The definition, which names the others, comes last."""
    missing = [name for name in _NEEDED if not (weights / name).is_file()]
    if missing:
        raise Refused(f"{weights} lacks {', '.join(missing)}: run this in the folder that you "
                      "downloaded SVI for WanGP to, or download that again")
    lora_folder, models = location.lora_folder(wangp, "2.1", lora_dir), wangp / _checkpoints(wangp)
    found = {lora_folder / name: (weights / name).read_bytes() for name in model.ADAPTERS.values()}
    found |= {models / TRANSFORMER: transformer(weights),
              models / VAE: (weights / model.VAE).read_bytes()}
    found |= {wangp / _picture(seed): picture(seed) for seed in SCENES}
    found |= {wangp / "profiles" / SMALL / f"{title}.json": _json(profile(variant))
              for title, variant in PROFILES.items()}
    found[wangp / "finetunes" / f"{SMALL}.json"] = _json(definition())
    return {path.relative_to(wangp).as_posix() if path.is_relative_to(wangp) else str(path): content
            for path, content in found.items()}


def definition() -> dict[str, Any]:
    """The model, and the settings that its form opens with: without SVI."""
    return {
        "model": {
            "name": TITLE,
            "architecture": "i2v",
            "description": "A Wan 2.1 of 8 million weights that knows one little world: one or two "
                           "objects circle in front of a background. It shows in seconds what SVI "
                           "does to a long video, even without a GPU. Start from a picture of that "
                           "world; the profiles turn SVI on. Write prompts like \"a red plain ball "
                           f"waits\", with {_any(world.COLOURS)}; {_any(world.MARKS)}; "
                           f"{_any(world.SHAPES)}; {_any(world.TURNS)}.",
            SMALL: True,
            "URLs": [TRANSFORMER],
            "VAE_URLs": [VAE],
            "text_encoder_URLs": [VAE],  # WanGP wants a file here, but none is read
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
    """The settings of a profile: those of the variant's own profile; "": without SVI."""
    pinned = min((one for one in profiles() if one.variant.id.startswith(variant or "shot")),
                 key=lambda one: len(one.variant.id)).settings  # "2.0", not "2.0-pro"
    if variant:
        chosen = VARIANTS[variant]
        about = (f"{chosen.title} with the demo model. Start from a picture of its world "
                 f"(finetunes/{SMALL}), and set more than {CLIP_FRAMES} frames: every "
                 f"{CLIP_FRAMES} frames are one clip.")
        if chosen.stream:
            clips = "each clip" if chosen.prompt_repeat == 1 else f"{chosen.prompt_repeat} clips"
            about += (f" Write one paragraph for {clips}, with an empty line between paragraphs, "
                      "such as "
                      f"\"{world.scene(SCENES[0]).prompt('waits')}\".")
    else:
        about = "The demo model with WanGP's own windows, to see how they drift."
    return {
        **pinned,
        "model_type": SMALL,
        "activated_loras": [model.ADAPTERS[variant]] if variant else [],
        "loras_multipliers": "1" if variant else "",
        "custom_settings": {**pinned["custom_settings"], "svi_variant": AUTO if variant else OFF},
        "resolution": _SIZE,
        **_SAMPLING,
        "help": about,
    }


# one step more than the model was made for, since the last one of WanGP's euler starts from 0.3 %
# of noise and does next to nothing
_SAMPLING = {"num_inference_steps": model.STEPS + 1, "flow_shift": model.SHIFT,
             "guidance_phases": 1, "guidance_scale": 1, "sample_solver": "euler"}


def transformer(weights: Path) -> bytes:
    """The transformer's whole checkpoint, with its shape, and as wide for text as WanGP's Wans."""
    tensors = model.transformer_file(weights)
    narrow = tensors["text_embedding.0.weight"]
    wide = torch.nn.functional.pad(narrow, (0, model.T5_DIM - narrow.shape[1]))
    tensors["text_embedding.0.weight"] = wide
    shape = {"_class_name": "WanModel", "model_type": "i2v", "dim": model.DIM,
             "num_heads": model.HEADS, "num_layers": model.BLOCKS, "ffn_dim": model.FFN,
             "freq_dim": 256, "in_dim": 36, "out_dim": 16, "text_len": model.TEXT_TOKENS,
             "eps": 1e-6}
    # in the checkpoint, where WanGP's loader (mmgp) finds it: older WanGPs take no other file
    config = base64.b64encode(json.dumps(shape).encode("utf-8")).decode("ascii")
    # one entry only, since safetensors writes several in a random order, and the hash would change
    return save({name: tensor.to(torch.bfloat16).contiguous() for name, tensor in tensors.items()},
                {"config_base64": config})


def picture(seed: int) -> bytes:
    """The first frame of a scene, as a PNG."""
    frame = world.render([world.scene(seed)], torch.zeros(1, 1, device="cpu"))[0, :, 0]
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
    """WanGP's first folder for checkpoints, relative to WanGP or absolute."""
    try:
        folder = (location.config(wangp) or {})["checkpoints_paths"][0].strip()
    except (LookupError, TypeError, AttributeError):
        folder = ""
    return folder or "ckpts"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=4, ensure_ascii=False) + "\n").encode("utf-8")
