"""SVI's custom settings: how WanGP's form shows them, and how they are read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..storyboard import Storyboard, StoryboardError, parse
from ..text import cut
from ..variants import CLIP_FRAMES, SEED_STEP, VARIANTS, Variant

AUTO, OFF, NEW = "auto", "off", "new"
STORYBOARD = "svi_storyboard"  #: the setting that holds one, in `storyboard.parse`'s text
#: WanGP's settings that decide what a clip shows, and that `About` has no field of its own for
DECIDING = (
    "apg_switch", "attention_sparsity", "cfg_star_switch", "cfg_zero_step", "film_grain_intensity",
    "film_grain_saturation", "flow_shift", "force_fps", "guidance2_scale", "guidance3_scale",
    "guidance_phases", "guidance_scale", "loras_multipliers", "model_switch_phase",
    "motion_amplitude", "NAG_alpha", "NAG_scale", "NAG_tau", "negative_prompt",
    "num_inference_steps", "override_attention", "perturbation_end_perc", "perturbation_layers",
    "perturbation_start_perc", "perturbation_switch", "RIFLEx_setting", "sample_solver",
    "self_refiner_certain_percentage", "self_refiner_f_uncertainty", "self_refiner_plan",
    "self_refiner_setting", "skip_steps_cache_type", "skip_steps_multiplier",
    "skip_steps_start_step_perc", "slg_end_perc", "slg_layers", "slg_start_perc", "slg_switch",
    "spatial_upsampler_param", "spatial_upsampler_param2", "spatial_upsampler_prompt",
    "spatial_upsampling", "switch_threshold", "switch_threshold2", "temporal_upsampling",
)

_SEED_STEP = "seed_times"  # a setting of earlier versions
_MOTION_FRAMES = tuple(sorted({variant.motion_frames for variant in VARIANTS.values()}))
_MASKED = "5 cfg"  # 5 motion frames, all of them in the mask
_LONGEST_RUN = 300  # characters; Python reads no number of thousands


class SettingsError(ValueError):
    """Settings that SVI cannot honour. The message says what, why, and the fix; `id` is its row in
    the guide."""

    def __init__(self, message: str, id: str = "settings"):
        super().__init__(message)
        self.id = id


class Custom:
    """SVI's custom settings as chosen. `auto`, or no value, leaves the choice to the variant."""

    def __init__(self, values: Mapping[str, Any]):
        self._values = update(values)
        self.variant = self.text("svi_variant") or AUTO
        allowed = (AUTO, OFF, *VARIANTS)
        if self.variant not in allowed:
            raise _not_possible("svi_variant", self.variant, f"one of: {', '.join(allowed)}")
        self.requested_run = self.text("svi_run") or AUTO
        if len(self.requested_run) > _LONGEST_RUN:
            raise _not_possible("svi_run", self.requested_run,
                                f"{AUTO}, {NEW}, a run's name, or its name with @ and a clip")

    def override(self, variant: Variant) -> Variant:
        """The variant with what the user chose."""
        latents = self.storyboard.motion_latents
        if latents is not None and not variant.pro:
            raise SettingsError(
                f"{variant.title} chains frames, so it has no motion latents. Remove them from the "
                "storyboard, or choose SVI-2.0 Pro.", "storyboard")
        if variant.pro:
            for name in ("num_motion_frames", "ref_pad_num"):
                if self.text(name) not in ("", AUTO):
                    raise SettingsError(
                        f"{variant.title} chains latents, so motion frames and padding cannot be "
                        f"chosen. Set {_NAMES[name]} to {AUTO}.")
            n = variant.motion_latents if latents is None else latents
            return replace(variant, motion_latents=n, overlap=1 + 4 * n)
        pad = self._number("ref_pad_num", range(-1, CLIP_FRAMES), variant.ref_pad_num)
        masked = self.text("num_motion_frames") == _MASKED
        n = 5 if masked else self._number("num_motion_frames", _MOTION_FRAMES,
                                             variant.motion_frames)
        return replace(variant, motion_frames=n, overlap=n, ref_pad_num=pad,
                       ref_pad_cfg=masked or variant.ref_pad_cfg)

    @property
    def storyboard(self) -> Storyboard:
        """Raises SettingsError if it cannot be read; while SVI is off, nobody asks."""
        text = str(self._values.get(STORYBOARD) or "").strip()
        try:
            return Storyboard() if text.lower() == AUTO else parse(text)
        except StoryboardError as error:
            raise SettingsError(f"{error}.", "storyboard") from None

    def text(self, name: str) -> str:
        """A setting in lower case; "" if it has no value."""
        value = self._values.get(name)
        return "" if value is None else str(value).strip().lower()

    def _number(self, name: str, allowed: range | tuple[int, ...], default: int) -> int:
        text = self.text(name)
        if text in ("", AUTO):
            return default
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if number not in allowed:
            span = (f" or a number from {allowed[0]} to {allowed[-1]}" if isinstance(allowed, range)
                    else f", {' or '.join(map(str, allowed))}")
            raise _not_possible(name, text, AUTO + span)
        return int(number)


def _not_possible(name: str, text: str, allowed: str) -> SettingsError:
    return SettingsError(f"{_NAMES[name]} is \"{cut(text, 60)}\". Set it to {allowed}.")


def custom_settings() -> list[dict[str, Any]]:
    """SVI's five custom settings, as WanGP draws them (text boxes and drop-downs)."""
    variants = [(variant.title, variant.id) for variant in VARIANTS.values()]
    return [
        _setting("svi_variant", "dropdown", choices=[
            ("auto (from the active SVI LoRA)", AUTO), ("off", OFF), *variants]),
        _setting("num_motion_frames", "dropdown", choices=[
            ("auto (from the variant)", AUTO), *((f"{n}", f"{n}") for n in _MOTION_FRAMES),
            ("5, all in the mask (ref_pad_cfg)", _MASKED)]),
        _setting("ref_pad_num", "text", ": auto, -1 (image), 0 (grey), or N images"),
        _setting(STORYBOARD, "text", ": auto, or what each clip gets (tab SVI)"),
        _setting("svi_run", "text", ": auto, new, RUN to resume, RUN@CLIP to redo"),
    ]


_NAMES = {
    "svi_variant": "SVI variant",
    "num_motion_frames": "SVI motion frames (num_motion_frames)",
    "ref_pad_num": "SVI padding (ref_pad_num)",
    STORYBOARD: "SVI storyboard",
    "svi_run": "SVI run",
}


def _setting(name: str, kind: str, hint: str = "", **options: Any) -> dict[str, Any]:
    label = _NAMES[name] + hint
    return {"id": name, "name": name, "label": label, "type": kind, "default": AUTO, **options}


def update(values: Mapping[str, Any]) -> dict[str, Any]:
    """Custom settings of earlier versions as this one writes them."""
    current = dict(values)
    step = str(current.pop(_SEED_STEP, "")).removesuffix(".0")
    if step in ("", "None", AUTO, str(SEED_STEP)) or current.get(STORYBOARD, AUTO) != AUTO:
        return current
    return {**current, STORYBOARD: f"[all]\nseed step = {step}\n"}


DEFAULTS = {setting["id"]: setting["default"] for setting in custom_settings()}
