"""One check of a whole request before it runs: what cannot be SVI, what is known to hurt it, what is set right for it.

`check` is a pure function of WanGP's settings. WanGP shows what it finds before a run (`telling`), and so does
`python -m wan2gp_svi check FILE` for settings in a file (`command`). No torch, no WanGP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...text import count
from ...variants import CLIP_FRAMES, identify
from ..form import SettingsError
from ..plan import ARCHITECTURES, BUILT_IN, SMALL, Plan, active_loras, clips_of, file_name, obstacles, plan, required
from . import rules
from .request import Request

GUIDE = "wan2gp_svi/docs/guide.md"  #: as it lies in WanGP


@dataclass(frozen=True)
class Finding:
    """`kind` is "refused", "warning" or "changed"; `id` a heading of the guide; `text` says what, why, and what to do,
    and can follow a colon."""

    kind: str
    id: str
    text: str


def check(architecture: str, model_def: Mapping[str, Any] | None, inputs: Mapping[str, Any],
          server_config: Mapping[str, Any] | None = None) -> list[Finding]:
    """What there is to say about a request: first what is refused, then warnings, then what is set for SVI.

    `architecture`, `model_def`, `inputs`: as WanGP hands them to `validate_generative_prompt`. `server_config`: its
    wgp_config.json; without it the checks of what stands there are left out. Nothing is changed here.
    """
    model_def = model_def or {}
    if (inputs.get("image_mode") or 0) > 0:
        return []
    chosen = list(inputs.get("activated_loras") or [])
    ours = [name for name in chosen if identify(name)]
    if architecture == BUILT_IN and ours:
        return [Finding("refused", "built-in", (
            "this model has SVI 2 Pro and its LoRAs built in, by WanGP itself. Take the SVI LoRAs out, or choose "
            "Image2Video 14B of Wan 2.2 and apply the profile there."))]
    if architecture not in ARCHITECTURES:
        return [_other_model(architecture, model_def, ours)] if ours else []
    try:
        run = plan(architecture, active_loras(chosen, model_def), inputs.get("custom_settings"))
    except SettingsError as error:
        return [_refused(error), *map(_refused, obstacles(inputs))]
    unknown = list(_unknown_lora(chosen, run, inputs))
    if run is None:
        return [*unknown, *_lost_lora(inputs)]
    request = Request(run, architecture, model_def, inputs, server_config or {})
    found = [*map(_refused, obstacles(inputs)), *unknown]
    for rule in () if model_def.get(SMALL) else rules.RULES:  # which are about Wan as it is
        try:
            found += [Finding("warning", id, text) for id, text in rule(request)]
        except Exception as error:  # advice must not keep a run from starting
            found.append(Finding("warning", "check", f"one check failed ({rule.__name__}: {error!r}). The run is not "
                                                     "affected; please report this line."))
    return [*found, *_changes(request)]


def _refused(error: SettingsError) -> Finding:
    return Finding("refused", error.id, str(error))


def _other_model(architecture: str, model_def: Mapping[str, Any], loras: list[str]) -> Finding:
    small = " SVI's weights for Wan 2.2 5B were announced and never published." if architecture == "ti2v_2_2" else ""
    return Finding("warning", "other-model", (
        f"an SVI LoRA is active ({file_name(loras[0])}), but SVI is off: it runs on Image2Video 14B of Wan 2.1 and "
        f"2.2, and {model_def.get('name') or architecture} runs by WanGP's own rules, without SVI's padding and "
        f"seeds.{small} Choose Image2Video 14B, or take the SVI LoRA out."))


def _unknown_lora(loras: list[str], run: Plan | None, inputs: Mapping[str, Any]) -> Iterator[Finding]:
    if run is None and str((inputs.get("custom_settings") or {}).get("svi_variant")).strip().lower() == "off":
        return
    for name in loras:
        words = re.split(r"[^a-z0-9]+", file_name(name).lower())
        if "svi" in words and not identify(name) and (run is None or run.loras):
            yield Finding("warning", "unknown-lora", (
                f"{file_name(name)} seems to be an SVI LoRA, but its name does not tell of which variant, and it is "
                "taken for any other LoRA. Give the file its own name back, or choose its variant under \"SVI "
                "variant\"."))


def _lost_lora(inputs: Mapping[str, Any]) -> Iterator[Finding]:
    """As after an accelerator profile that was applied on top of an SVI profile: it replaces the LoRAs."""
    values = {name: str(value).strip().lower() for name, value in (inputs.get("custom_settings") or {}).items()}
    left = [name for name in ("num_motion_frames", "ref_pad_num", "svi_run")
            if values.get(name, "") not in ("", "none", "auto", "new")]
    if left and values.get("svi_variant") != "off":
        yield Finding("warning", "no-lora", (
            f"{' and '.join(left)} is set, but SVI is off, because no SVI LoRA is active. Another profile may have "
            "replaced the LoRAs: apply the SVI profile again, after the other one."))


def _changes(request: Request) -> Iterator[Finding]:
    inputs, wanted, overlap = request.inputs, required(request.run, request.inputs), request.variant.overlap

    def differs(*names: str) -> bool:
        return any(name in inputs and name in wanted and (inputs[name] or 0) != wanted[name] for name in names)

    if differs("video_length"):
        yield Finding("changed", "frames", (
            f"{wanted['video_length']} frames are made for the {inputs['video_length']} asked for: "
            f"{count(clips_of(request.run, inputs), 'whole clip')} of {CLIP_FRAMES}, and neighbours share {overlap}."))
    if differs("sliding_window_size", "sliding_window_overlap", "sliding_window_discard_last_frames",
               "sliding_window_trim_first_frames"):
        yield Finding("changed", "window", (
            f"the sliding windows have {CLIP_FRAMES} frames and share {overlap}, and nothing is cut off them: SVI was "
            "trained on that alone."))
    if differs("sliding_window_color_correction_strength"):
        yield Finding("changed", "colour-correction", (
            "WanGP's colour correction is off: it would shift the frames that the next clip starts from."))
    if differs("motion_amplitude"):
        yield Finding("changed", "motion-amplitude", (
            "the motion amplitude is 1: more than that changes the conditioning that SVI was trained with. For more "
            "motion, see the guide."))
