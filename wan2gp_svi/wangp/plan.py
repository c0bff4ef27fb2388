"""WanGP's settings -> what SVI does, and what they have to be for it; the check finds the problems in them.

WanGP names used here: the keys of its settings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import chain
from ..text import count, plural
from ..variants import CLIP_FRAMES, VARIANTS, Variant, identify, noise
from .form import AUTO, OFF, Custom, SettingsError

#: WanGP's architectures that SVI runs on -> the generation of Wan
ARCHITECTURES = {"i2v": "2.1", "i2v_2_2": "2.2"}

BUILT_IN = "i2v_2_2_svi2pro"  #: WanGP's own SVI 2 Pro
SMALL = "svi_small"  #: type of the small model in WanGP, and the key that its definition is known by


@dataclass(frozen=True)
class Plan:
    """What SVI does in a run: the variant with the user's overrides, and the SVI LoRA files that are active. `run` is
    the run on disk to resume, see `matching.begin`."""

    variant: Variant
    seed_step: int
    loras: tuple[str, ...]
    run: str = AUTO

    def describe(self, seeds: Sequence[int], fps: float) -> str:
        v, names = self.variant, [str(seed) for seed in seeds]
        if len(seeds) > 6:
            names[3:-1] = ["..."]
        inside = f"Motion latents {v.motion_latents}" if v.pro else f"Motion frames {v.motion_frames}"
        return (f"{self.outline(len(seeds), fps)} {inside}, padding: {self.padding}, {plural(len(seeds), 'seed')} "
                f"{', '.join(names)}")

    def outline(self, clips: int, fps: float) -> str:
        frames = chain.length(clips, self.variant.overlap)
        files = ", ".join(file_name(name) for name in self.loras) or "no SVI LoRA"
        return (f"{self.variant.title} ({files}): {count(clips, 'clip')} of {CLIP_FRAMES} frames, {frames} frames, "
                f"{frames / fps:.1f} s.")

    @property
    def padding(self) -> str:
        v = self.variant
        if v.pro:
            return "latent zeros"
        left = CLIP_FRAMES - v.motion_frames
        if v.ref_pad_num == -1 or v.ref_pad_num >= left:
            return "reference"
        return f"reference for {count(v.ref_pad_num, 'frame')}, then grey" if v.ref_pad_num else "grey"


def plan(architecture: str, loras: list[str], custom_settings: Mapping[str, Any] | None) -> Plan | None:
    """What SVI does with these LoRAs and custom settings on this architecture of WanGP; None where SVI is off.

    Raises SettingsError for what cannot be.
    """
    wan = ARCHITECTURES.get(architecture)
    if wan is None:
        return None
    chosen = Custom(custom_settings or {})
    if chosen.variant == OFF:
        return None
    found = {name: variant for name in loras if (variant := identify(name))}
    variant = _variant(found, chosen.variant)
    if variant is None:
        return None
    for one in (variant, *found.values()):
        if one.wan != wan:
            raise SettingsError(f"{one.title} is made for Wan {one.wan}, and the model chosen is Wan {wan}. "
                                f"Choose Image2Video 14B of Wan {one.wan}, or a profile of SVI for Wan {wan}.",
                                "wrong-wan")
    _check_experts(variant, list(found))
    return Plan(chosen.override(variant), chosen.seed_step, tuple(found), chosen.run)


def _variant(found: Mapping[str, Variant], chosen: str) -> Variant | None:
    variants = {variant.id: name for name, variant in found.items()}
    if len(variants) > 1:
        files = " and ".join(file_name(name) for name in variants.values())
        raise SettingsError(f"two SVI LoRAs of different variants are active: {files}. Take one of them out of the "
                            "LoRAs.", "two-variants")
    id = chosen if chosen != AUTO else next(iter(variants), None)
    return VARIANTS[id] if id else None


def _check_experts(variant: Variant, loras: list[str]) -> None:
    """A LoRA pair of Wan 2.2 with one half missing gives half a video that drifts."""
    wanted = {lora.noise for lora in variant.loras if lora.noise}
    given = {noise(file_name(name)) for name in loras if identify(name) is variant} & wanted
    if given and given != wanted:
        missing = (wanted - given).pop()
        file = next(lora.name for lora in variant.loras if lora.noise == missing)
        raise SettingsError(f"{variant.title} needs both of its LoRAs, and the one for {missing} noise is not active: "
                            f"add {file}, or apply the profile again.", "missing-twin")


def obstacles(inputs: Mapping[str, Any]) -> list[SettingsError]:
    """What no SVI run can do, whatever the variant."""
    prompt_type, found = inputs.get("image_prompt_type") or "", []
    if "E" in prompt_type and inputs.get("image_end") is not None:
        found.append(SettingsError("an end image cannot be used with SVI yet. Take the end image away, or take the SVI "
                                   "LoRA out to make a video without SVI.", "end-image"))
    if not any(letter in prompt_type for letter in "SVL"):
        found.append(SettingsError("a start image is needed: it is the reference that every clip returns to. Choose "
                                   "\"Start Video with Image\" and give one.", "start-image"))
    scheduler = inputs.get("frame_scheduler")
    if isinstance(scheduler, Mapping) and scheduler.get("active"):
        found.append(SettingsError("prompt commands in [/...] change the length of windows, and SVI clips have "
                                   f"{CLIP_FRAMES} frames always. Take the commands out of the prompt.",
                                   "window-commands"))
    return found


def clips_of(run: Plan, inputs: Mapping[str, Any]) -> int:
    """Clips of a run, those of a video that it continues aside."""
    return chain.clips_of(int(inputs.get("video_length") or CLIP_FRAMES), run.variant.overlap, _of_source(run, inputs))


def _of_source(run: Plan, inputs: Mapping[str, Any]) -> int:
    """WanGP adds all but one of the frames that a window shares with a video that is continued."""
    return run.variant.overlap - 1 if set(inputs.get("image_prompt_type") or "") & set("VL") else 0


def required(run: Plan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What WanGP's settings have to be for SVI."""
    overlap = run.variant.overlap
    wanted = {"video_length": chain.length(clips_of(run, inputs), overlap) - _of_source(run, inputs),
              "sliding_window_size": CLIP_FRAMES, "sliding_window_overlap": overlap}
    # what would repaint, shift or cut the frames that the next clip is conditioned on; not every WanGP has all of them
    may_be = {"sliding_window_discard_last_frames": 0, "sliding_window_trim_first_frames": 0,
              "sliding_window_color_correction_strength": 0, "motion_amplitude": 1}
    return wanted | {name: value for name, value in may_be.items() if name in inputs}


def active_loras(chosen: list[str] | None, model_def: Mapping[str, Any] | None) -> list[str]:
    """The LoRAs of a run: the user's, and those that the model definition brings along."""
    built_in = (model_def or {}).get("loras")
    return [*(built_in if isinstance(built_in, list) else []), *(chosen or [])]


def file_name(name: str) -> str:
    """The file of a LoRA, which WanGP names by path or URL."""
    return name.replace("\\", "/").rpartition("/")[2]
