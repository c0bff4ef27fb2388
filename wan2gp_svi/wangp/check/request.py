"""A request in the terms that the rules use: sizes, strengths, files. Pure."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...text import paragraphs, uncommented
from ...untrusted import is_file
from ...variants import VARIANTS, Variant, identify, noise
from ..plan import ARCHITECTURES, SMALL, Plan, accelerates, active_loras, file_name, first_image
from ..source_video import continues

#: our key in the server's configuration: the attention mode that "auto" means on this machine
AUTO_ATTENTION = "auto attention"

_MODES: dict[Any, str] = {0: "G", 1: "W", 2: "FG"}  # their numbers before WanGP 11.20
_QUANTISED = re.compile(r"quanto|int[48]|fp8|nvfp4|nf4|gguf|q\d_")


@dataclass(frozen=True)
class Lora:
    """An active LoRA, and its greatest strengths on high noise and on low.

    `expert` is the model of Wan 2.2 that its name says, `place` its index among the user's LoRAs,
    None for one of the model's own.
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
        return accelerates(self.name)

    @property
    def trained(self) -> tuple[float, float]:
        """The strengths that an SVI LoRA was trained with."""
        return float(self.expert != "low"), float(self.expert != "high")


@dataclass(frozen=True)
class Request:
    """`inputs`, `model_def` and `server` (its configuration, perhaps empty) are WanGP's."""

    plan: Plan
    architecture: str
    model_def: Mapping[str, Any]
    inputs: Mapping[str, Any]
    server: Mapping[str, Any]

    @property
    def variant(self) -> Variant:
        """With the user's overrides."""
        return self.plan.variant

    @property
    def trained(self) -> Variant:
        """As it was trained."""
        return VARIANTS[self.plan.variant.id]

    @property
    def small(self) -> bool:
        """With the demo model."""
        return bool(self.model_def.get(SMALL))

    @property
    def two_experts(self) -> bool:
        return ARCHITECTURES[self.architecture] == "2.2"

    @property
    def continues(self) -> bool:
        return continues(self.inputs)

    @property
    def prompt_mode(self) -> str:
        mode = self.inputs.get("multi_prompts_gen_type")
        return _MODES.get(mode, str(mode or "PW"))

    @property
    def by_line(self) -> bool:
        """Whether each line is a prompt, rather than each paragraph."""
        return "P" not in self.prompt_mode and self.prompt_mode != "FG"

    @property
    def prompts(self) -> list[str]:
        """The lines or paragraphs."""
        text = str(self.inputs.get("prompt") or "")
        if not self.by_line:
            return paragraphs(text)
        return [line for line in uncommented(text).splitlines() if line.strip()]

    @property
    def asked(self) -> list[str]:
        """The prompts that the clips of a video share: all of them, or else one for every clip, or
        the first of several videos."""
        if self.prompt_mode == "FG":
            return [" ".join(self.prompts)]
        return self.prompts if "W" in self.prompt_mode else self.prompts[:1]

    @cached_property
    def multipliers(self) -> list[str]:
        return _tokens(self.inputs.get("loras_multipliers"))

    @cached_property
    def loras(self) -> list[Lora]:
        phases = self.inputs.get("guidance_phases") or 1
        high_phases = (self.inputs.get("model_switch_phase") or 1) if phases == 3 else 1

        def lora(name: str, tokens: list[str], at: int, place: int | None) -> Lora:
            token = tokens[at] if at < len(tokens) else "1"
            high, low = _strengths(token, phases, high_phases)
            expert = noise(file_name(name)) if self.two_experts else ""
            return Lora(name, high, low, expert, place)

        own, tokens = active_loras(None, self.model_def), self.model_def.get("loras_multipliers")
        chosen = self.inputs.get("activated_loras") or []
        return [*(lora(name, _tokens(tokens), at, None) for at, name in enumerate(own)),
                *(lora(name, self.multipliers, at, at) for at, name in enumerate(chosen))]

    @property
    def accelerators(self) -> list[Lora]:
        return [lora for lora in self.loras if lora.accelerates and (lora.high or lora.low)]

    @property
    def merged_accelerator(self) -> str:
        """The model's name if an accelerator is part of its weights, else ""."""
        name = str(self.model_def.get("name") or "")
        if any(lora.accelerates for lora in self.loras if lora.place is None):
            return ""  # it is a LoRA of the model's
        merged = any(map(accelerates, (name, *self.weights)))
        return (name or "this model") if merged else ""

    @property
    def weights(self) -> list[str]:
        """The model's files, of which WanGP takes one; or the name of the model that has them."""
        urls = self.model_def.get("URLs") or []
        return [urls] if isinstance(urls, str) else list(map(str, urls))

    @property
    def quantised(self) -> bool:
        """By the only file, or else by the configuration; no if unknown."""
        marks = [bool(_QUANTISED.search(file_name(name).lower()))
                 for name in self.weights if "." in name]
        if len(marks) == 1 or marks and not any(marks):
            return marks[0]
        return self.server.get("transformer_quantization") not in (None, "", "bf16")

    @property
    def resolution(self) -> tuple[int, int] | None:
        """The width and height that the user chose."""
        text = str(self.inputs.get("resolution") or "")
        found = re.fullmatch(r"\s*0*([1-9]\d*)\s*x\s*0*([1-9]\d*)\s*", text)
        return (int(found[1]), int(found[2])) if found else None

    @cached_property
    def image(self) -> tuple[int, int] | None:
        return None if self.continues else _size(self.inputs.get("image_start"))

    @property
    def crops(self) -> bool:
        """Whether WanGP crops images to the resolution, instead of giving a video their shape."""
        return self.server.get("fit_canvas") == 2

    @property
    def shape(self) -> tuple[int, int] | None:
        """A width and height in the video's proportions; None if another video decides."""
        if self.crops:
            return self.resolution
        return None if self.continues else self.image or self.resolution


def _size(image: Any) -> tuple[int, int] | None:
    """The size of a PIL image, a path, or the first of a list of these."""
    image = first_image(image)
    if isinstance(image, (str, Path)):
        if not is_file(image):  # a pipe would never end
            return None
        with contextlib.suppress(Exception):  # no such file, no picture, no PIL
            from PIL import Image

            with Image.open(image) as opened:
                return opened.size
        return None
    size = getattr(image, "size", None)
    return size if isinstance(size, tuple) and len(size) == 2 and min(size) > 0 else None


def _tokens(multipliers: Any) -> list[str]:
    """WanGP's multipliers, one per LoRA: "1 0.5;0 1,0.8". Lines that begin with # are comments."""
    if isinstance(multipliers, (list, tuple)):
        return [str(one).strip() for one in multipliers]
    lines = str(multipliers or "").splitlines()
    text = " ".join(line for line in lines if not line.strip().startswith("#"))
    return text.replace("|", " ").split()


def _strengths(token: str, phases: int, high_phases: int) -> tuple[float, float]:
    """A LoRA's greatest strengths on high and on low noise; ";" separates phases, "," steps."""
    try:
        parts = [[max(map(float, step.split(":"))) for step in part.split(",")]
                 for part in token.split(";")]
    except ValueError:
        return 1.0, 1.0  # WanGP refuses it
    if len(parts) == 1:
        steps = parts[0]
        middle = (len(steps) + 1) // 2
        return max(steps[:middle]), max(steps[middle:] or steps)
    if len(parts) < phases:  # as WanGP fills them up
        parts = parts[:1] + parts if high_phases == 2 else parts + parts[-1:]
    return max(map(max, parts[:high_phases])), max(map(max, parts[high_phases:] or parts[-1:]))
