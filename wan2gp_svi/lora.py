"""The keys of any SVI LoRA file -> the keys that WanGP's loader (mmgp) takes.

The authors' files name a layer `pipe.dit.blocks.0.self_attn.q.lora_A.default.weight`. mmgp wants
`diffusion_model.blocks.0.self_attn.q.lora_A.weight`, and a single key that it does not know makes
it refuse the whole file. Tensors are passed on unchanged.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_AUTHORS = "pipe.dit."
_PREFIXES = (_AUTHORS, "diffusion_model.", "transformer.")
_POSE = "dwpose_embedding."
_KEY = re.compile(r"(?P<layer>blocks\.[0-9]{1,4}\.(?:(?:self|cross)_attn\.[qkvo]|ffn\.[02]))"
                  r"\.lora_(?P<side>A|B|down|up)(?:\.default)?\.weight")
_IMAGE = re.compile(r"\b(cross_attn\.(norm_)?[kv]_img|img_emb)\.")
LAYERS_PER_BLOCK = 10  #: of those that SVI's LoRAs adapt
_SIDES = {"A": "A", "down": "A", "B": "B", "up": "B"}


@dataclass(frozen=True)
class Cleaned:
    """A LoRA file for WanGP's loader.

    `lora`    tensors under mmgp's keys
    `pose`    the pose network of SVI-Dance, without its prefix
    `layers`  how many layers the LoRA adapts, of the `wanted` ones in this model
    """

    lora: dict[str, Any]
    pose: dict[str, Any]
    layers: int
    wanted: int


def is_authors(keys: Collection[str]) -> bool:
    """Whether a file has keys in the SVI authors' format, which WanGP's loader does not take."""
    return any(key.startswith(_AUTHORS) or _bare(key).startswith(_POSE) for key in keys)


def layers(keys: Collection[str], blocks: int) -> set[str]:
    """The layers of a model with so many blocks that keys in any spelling adapt, among those that
    SVI adapts."""
    found = {match["layer"] for key in keys if (match := _KEY.fullmatch(_bare(key)))}
    return {layer for layer in found if int(layer.split(".")[1]) < blocks}


def for_image(keys: Collection[str]) -> set[str]:
    """The keys for CLIP's image, which Wan 2.1 sees and Wan 2.2 does not."""
    return {key for key in keys if _IMAGE.search(key)}


def clean(tensors: Mapping[str, Any], blocks: int | None = None) -> Cleaned:
    """The file's tensors under the keys that WanGP loads, and how many layers they adapt.

    `blocks`: transformer blocks of the model, 40 in the 14B ones; None takes the number in the
    file. Raises ValueError with the first unknown keys if the file is not an SVI LoRA for this
    model.
    """
    lora: dict[str, Any] = {}
    pose: dict[str, Any] = {}
    sides: dict[str, set[str]] = {}
    stray = []
    for key, tensor in tensors.items():
        bare = _bare(key)
        match = _KEY.fullmatch(bare)
        if bare.startswith(_POSE):
            pose[bare.removeprefix(_POSE)] = tensor
        elif match and (blocks is None or int(bare.split(".")[1]) < blocks):
            lora[_clean_key(key)] = tensor
            sides.setdefault(match["layer"], set()).add(_SIDES[match["side"]])
        else:
            stray.append(key)
    single = {layer: found for layer, found in sides.items() if len(found) == 1}
    stray += [f"{layer} (only lora_{found.pop()})" for layer, found in single.items()]
    if stray or not lora:
        more = f" and {len(stray) - 3} more" if len(stray) > 3 else ""
        few = ", ".join(key[:100] for key in stray[:3])
        named = few + more if stray else "(the file is empty)"
        raise ValueError(f"This is not an SVI LoRA for this model: it has {len(sides)} known "
                         f"layers and these unknown keys: {named}. Download the file again, or "
                         "choose the LoRA for this model.")
    found = 1 + max(int(layer.split(".")[1]) for layer in sides)
    return Cleaned(lora, pose, len(sides), LAYERS_PER_BLOCK * (blocks or found))


def _bare(key: str) -> str:
    return next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)


def _clean_key(key: str) -> str:
    if key.endswith(".default.weight"):
        key = key.removesuffix(".default.weight") + ".weight"
    return "diffusion_model." + key.removeprefix(_AUTHORS) if key.startswith(_AUTHORS) else key
