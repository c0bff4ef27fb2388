"""The custom settings of SVI: as WanGP's form draws them, and as they are read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..variants import CLIP_FRAMES, SEED_STEP, VARIANTS, Variant

AUTO, OFF, _MASKED = "auto", "off", "5 cfg"


class SettingsError(ValueError):
    """Settings that SVI cannot honour. The message says what, why, and what to do; `id` is its place in the guide."""

    def __init__(self, message: str, id: str = "settings"):
        super().__init__(message)
        self.id = id


class Custom:
    """The custom settings of SVI as chosen: `auto`, or nothing at all, leaves a value to the variant."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = values
        self.variant = self._choice("svi_variant", (AUTO, OFF, *VARIANTS)) or AUTO
        self.seed_step = self._number("seed_times", range(1, 1001), SEED_STEP)
        self.run = self._text("svi_run") or AUTO

    def override(self, variant: Variant) -> Variant:
        if variant.pro:
            for name in ("num_motion_frames", "ref_pad_num"):
                if self._text(name) not in ("", AUTO):
                    raise SettingsError(f"{variant.title} chains latents and has neither motion frames nor padding to "
                                        f"choose. Set {_label(name)} to {AUTO}.")
            return variant
        pad = self._number("ref_pad_num", range(-1, CLIP_FRAMES), variant.ref_pad_num)
        if self._text("num_motion_frames") == _MASKED:
            return replace(variant, motion_frames=5, overlap=5, ref_pad_num=pad, ref_pad_cfg=True)
        n = self._number("num_motion_frames", (1, 5), variant.motion_frames)
        return replace(variant, motion_frames=n, overlap=n, ref_pad_num=pad)

    def _text(self, name: str) -> str:
        value = self._values.get(name)
        return "" if value is None else str(value).strip().lower()

    def _choice(self, name: str, allowed: tuple[str, ...]) -> str:
        text = self._text(name)
        if text and text not in allowed:
            raise SettingsError(f"{_label(name)} is \"{text}\"; it can be one of: {', '.join(allowed)}.")
        return text

    def _number(self, name: str, allowed: range | tuple[int, ...], default: int) -> int:
        text = self._text(name)
        if text in ("", AUTO):
            return default
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number not in allowed:
            span = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
            raise SettingsError(f"{_label(name)} is {text}; it can be {AUTO} or {span}.")
        return int(number)


def custom_settings() -> list[dict[str, Any]]:
    """The five custom settings of SVI, as WanGP draws them (text boxes and drop-downs)."""
    variants = [(variant.title, variant.id) for variant in VARIANTS.values()]
    return [
        _dropdown("svi_variant", [("auto: by the SVI LoRA that is active", AUTO), ("off", OFF), *variants]),
        _dropdown("num_motion_frames", [("auto: by the variant", AUTO), ("1", "1"), ("5", "5"),
                                        ("5, all of them in the mask (ref_pad_cfg)", _MASKED)]),
        _text_box("ref_pad_num"),
        {"id": "seed_times", "name": "seed_times", "label": _label("seed_times"), "type": "int", "default": SEED_STEP,
         "min": 1, "max": 1000, "inc": 1},
        _text_box("svi_run"),
    ]


_LABELS = {
    "svi_variant": "SVI variant",
    "num_motion_frames": "SVI motion frames (num_motion_frames)",
    "ref_pad_num": "SVI padding: auto, -1 image, 0 grey, k frames (ref_pad_num)",
    "seed_times": "SVI seed step from clip to clip (seed_times)",
    "svi_run": "SVI run: auto, new, a run to resume, or run@clip to redo from",
}


def _label(name: str) -> str:
    return _LABELS[name]


def _text_box(name: str) -> dict[str, Any]:
    return {"id": name, "name": name, "label": _label(name), "type": "text", "default": AUTO}


def _dropdown(name: str, choices: list[tuple[str, str]]) -> dict[str, Any]:
    return {"id": name, "name": name, "label": _label(name), "type": "dropdown", "default": AUTO, "choices": choices}
