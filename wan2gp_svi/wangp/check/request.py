"""A request as WanGP's settings describe it, in the terms that advice is given in: sizes, strengths, files. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...variants import VARIANTS, Variant, identify, noise
from ..plan import ARCHITECTURES, Plan, active_loras, file_name

#: key of the server's configuration: what the attention mode "auto" comes to on this machine; not one of WanGP's
AUTO_ATTENTION = "auto attention"

_ACCELERATOR = re.compile(r"lightx2v|lightning|fusioni?x|causvid|accvid|self[\W_]?forc|distill|seko|fastwan"
                          r"|\d[\W_]?steps?[\W_]|(^|[\W_])(dmd2?|rcm)([\W_]|$)")
_QUANTISED = re.compile(r"quanto|int[48]|fp8|nvfp4|nf4|gguf|q\d_")


@dataclass(frozen=True)
class Lora:
    """An active LoRA and its greatest strengths where noise is high, which makes the motion, and where it is low.

    `expert` is the model of Wan 2.2 that its name says it is for, `place` its place among the user's LoRAs, None for
    one that the model brings along.
    """

    name: str
    high: float
    low: float
    expert: str
    place: int | None

    @property
    def file(self) -> str:
        return file_name(self.name)

    @property
    def is_svi(self) -> bool:
        return identify(self.name) is not None

    @property
    def accelerates(self) -> bool:
        return not self.is_svi and bool(_ACCELERATOR.search(self.file.lower()))

    @property
    def trained(self) -> tuple[float, float]:
        """The strengths of an SVI LoRA in training."""
        return float(self.expert != "low"), float(self.expert != "high")


@dataclass(frozen=True)
class Request:
    """`inputs`, `model_def` and `server` (its configuration, maybe empty) are WanGP's; `run` is what SVI does."""

    run: Plan
    architecture: str
    model_def: Mapping[str, Any]
    inputs: Mapping[str, Any]
    server: Mapping[str, Any]

    @property
    def variant(self) -> Variant:
        """With the user's overrides."""
        return self.run.variant

    @property
    def trained(self) -> Variant:
        """As it was trained."""
        return VARIANTS[self.run.variant.id]

    @property
    def two_experts(self) -> bool:
        return ARCHITECTURES[self.architecture] == "2.2"

    @property
    def continues(self) -> bool:
        return bool(set(self.inputs.get("image_prompt_type") or "") & set("VL"))

    @cached_property
    def multipliers(self) -> list[str]:
        return _tokens(self.inputs.get("loras_multipliers"))

    @cached_property
    def loras(self) -> list[Lora]:
        phases = self.inputs.get("guidance_phases") or 1
        high_phases = (self.inputs.get("model_switch_phase") or 1) if phases == 3 else 1

        def lora(name: str, tokens: list[str], at: int, place: int | None) -> Lora:
            high, low = _strength(tokens[at] if at < len(tokens) else "1", phases, high_phases)
            return Lora(name, high, low, noise(file_name(name)) if self.two_experts else "", place)

        brought, own = active_loras(None, self.model_def), _tokens(self.model_def.get("loras_multipliers"))
        return [*(lora(name, own, at, None) for at, name in enumerate(brought)),
                *(lora(name, self.multipliers, at, at)
                  for at, name in enumerate(self.inputs.get("activated_loras") or []))]

    @property
    def accelerators(self) -> list[Lora]:
        return [lora for lora in self.loras if lora.accelerates and (lora.high or lora.low)]

    @property
    def merged(self) -> str:
        """The model's name if an accelerator is part of its weights, else ""."""
        name = str(self.model_def.get("name") or "")
        files = [file_name(file) for file in self.weights]
        if any(lora.accelerates for lora in self.loras if lora.place is None):
            return ""  # it is a LoRA that the model brings along
        return (name or "this model") if any(_ACCELERATOR.search(one.lower()) for one in (name, *files)) else ""

    @property
    def weights(self) -> list[str]:
        """Files of the model, of which WanGP takes one; or the name of the model whose files it uses."""
        urls = self.model_def.get("URLs") or []
        return [urls] if isinstance(urls, str) else list(map(str, urls))

    @property
    def quantised(self) -> bool:
        """As the only file there is, else as configured; no if it is not known."""
        marks = [bool(_QUANTISED.search(file_name(name).lower())) for name in self.weights if "." in name]
        if len(marks) == 1 or marks and not any(marks):
            return marks[0]
        return self.server.get("transformer_quantization") not in (None, "", "bf16")

    @property
    def resolution(self) -> tuple[int, int] | None:
        """Width and height as asked for."""
        found = re.fullmatch(r"\s*(\d+)\s*x\s*(\d+)\s*", str(self.inputs.get("resolution") or ""))
        return (int(found[1]), int(found[2])) if found and int(found[1]) * int(found[2]) else None

    @cached_property
    def image(self) -> tuple[int, int] | None:
        """Width and height of the start image, as far as they are known."""
        return None if self.continues else _size(self.inputs.get("image_start"))

    @property
    def crops(self) -> bool:
        """Whether WanGP cuts images to the resolution; by default a video has the shape of its image instead."""
        return self.server.get("fit_canvas") == 2

    @property
    def shape(self) -> tuple[int, int] | None:
        """Width and height of something that has the video's shape; None where that is up to a video."""
        if self.crops:
            return self.resolution
        return None if self.continues else self.image or self.resolution


def _size(image: Any) -> tuple[int, int] | None:
    """Of a PIL image, a path, or a list of such."""
    while isinstance(image, (list, tuple)):  # a gallery holds pairs of a picture and its caption
        image = image[0] if image else None
    if isinstance(image, (str, Path)):
        with contextlib.suppress(Exception):  # no such file, no picture, no PIL
            from PIL import Image

            with Image.open(image) as opened:
                return opened.size
        return None
    size = getattr(image, "size", None)
    return size if isinstance(size, tuple) and len(size) == 2 and min(size) > 0 else None


def _tokens(multipliers: Any) -> list[str]:
    """WanGP's multipliers, one for each LoRA: "1 0.5;0 1,0.8"; lines that begin with # are comments."""
    if isinstance(multipliers, (list, tuple)):
        return [str(one).strip() for one in multipliers]
    lines = [line for line in str(multipliers or "").splitlines() if not line.strip().startswith("#")]
    return " ".join(lines).replace("|", " ").split()


def _strength(token: str, phases: int, high_phases: int) -> tuple[float, float]:
    """The greatest strength on high and on low noise. In a token, ";" parts the phases and "," the steps."""
    try:
        parts = [[max(map(float, step.split(":"))) for step in part.split(",")] for part in token.split(";")]
    except ValueError:
        return 1.0, 1.0  # WanGP refuses it
    if len(parts) == 1:
        steps = parts[0]
        middle = (len(steps) + 1) // 2
        return max(steps[:middle]), max(steps[middle:] or steps)
    if len(parts) < phases:  # as WanGP fills them up
        parts = parts[:1] + parts if high_phases == 2 else parts + parts[-1:]
    return max(map(max, parts[:high_phases])), max(map(max, parts[high_phases:] or parts[-1:]))
