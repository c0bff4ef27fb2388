"""The check of a request: errors, warnings, and adjustments that SVI makes.

`check` is a pure function of WanGP's settings. `telling` reports its findings in WanGP, `command`
those about settings in a file. None of this needs torch or WanGP.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ...lora import is_authors
from ...text import count, cut
from ...untrusted import header, is_complete, is_file
from ...variants import CLIP_FRAMES, identify
from .. import plan as planning
from .. import pose_video, sound, source_video
from ..form import AUTO, NEW, OFF, STORYBOARD, Custom, SettingsError
from ..plan import Plan, file_name
from ..source_video import continues
from . import rules
from .request import Request

GUIDE = "wan2gp_svi/docs/guide.md"  #: its place in WanGP
_BLOCK = 16  # pixels, to whose multiples WanGP rounds the sides of a video
NO_LORA = "SVI is off: no SVI LoRA is active. Apply the SVI profile last."


@dataclass(frozen=True)
class Finding:
    """`id` is a row of the guide. `text` says what, why, and the fix; it can follow a colon."""

    kind: Literal["error", "warning", "adjustment"]
    id: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text} ({GUIDE}#{self.id})"


@dataclass(frozen=True)
class Checked:
    """The plan for a request, None if SVI is off or cannot run, and the findings: errors first."""

    plan: Plan | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        return [finding.text for finding in self.findings if finding.kind == "error"]


def check(architecture: str, model_def: Mapping[str, Any] | None, inputs: Mapping[str, Any],
          server_config: Mapping[str, Any] | None = None, outputs: Path | None = None,
          loras: Path | None = None, addresses: Collection[Path] = (),
          only: Path | None = None, first: bool = False) -> Checked:
    """Checks a request, and changes nothing.

    architecture, model_def, inputs: as WanGP gives them to `validate_generative_prompt`
    server_config: WanGP's wgp_config.json; without it, nothing in it is checked
    outputs: WanGP's folder for videos, with the runs; without it, "SVI run" is not checked
    loras: this model's folder for LoRA files; without it, SVI's are known by their names alone
    addresses: the LoRA files that WanGP knows where to download
    only: the folder where the images of a storyboard must be; without it, anywhere
    first: no job before this one makes a video
    """
    model_def = model_def or {}
    if (server_config or {}).get(planning.DEMO_ONLY) and not model_def.get(planning.SMALL):
        return Checked(None, [Finding("error", "demo-only", (
            "this WanGP was started without a GPU, for the demo model only. Choose the profile "
            "SVI-2.0 demo in the tab SVI and press New video, or start WanGP as usual, with a "
            "GPU."))])
    if (inputs.get("image_mode") or 0) > 0:
        return Checked(None)
    chosen = list(inputs.get("activated_loras") or [])
    ours = [name for name in chosen if identify(name)]
    if architecture == planning.BUILT_IN and ours:
        return Checked(None, [Finding("error", "built-in", (
            "this model has SVI 2 Pro and its LoRAs built in. Remove the SVI LoRAs, or choose "
            "Image2Video 14B of Wan 2.2 and apply the profile there."))])
    if architecture not in planning.ARCHITECTURES:
        return Checked(None, [_other_model(architecture, model_def, ours)] if ours else [])
    obstacles = planning.obstacles(inputs)
    custom = inputs.get("custom_settings") or {}
    try:
        plan = planning.make_plan(architecture, planning.active_loras(chosen, model_def), custom)
    except SettingsError as error:
        return Checked(None, _errors(error, *obstacles))
    unknown = list(_unknown_lora(chosen, plan, Custom(custom), loras))
    if plan is None and architecture == planning.TALKING and ours:
        return Checked(None, [_other_model(architecture, model_def, ours)])
    if plan is None:
        return Checked(None, [*unknown, *_lost_lora(Custom(custom))])
    if plan.sound:
        obstacles += sound.obstacles(inputs)
        if continues(inputs):  # which it cannot, with no video either
            obstacles = [one for one in obstacles if one.id != "source-video"]
    if plan.variant.poses:
        obstacles += pose_video.obstacles(inputs, model_def)
    errors = _errors(*obstacles)
    if any(error.id == "number-of-frames" for error in errors):  # then nothing can be counted
        return Checked(None, errors)
    unfit = _errors(*planning.unfit_rows(plan, inputs, only))
    errors += [*unfit, *_errors(*source_video.obstacles(
        inputs, planning.rate_of(plan, inputs), server_config))]
    request = Request(plan, architecture, model_def, inputs, server_config or {})
    errors.extend(_thin(request))
    errors.extend(_impossible(request))
    if outputs is not None and plan.requested_run not in (AUTO, NEW) and not unfit:
        errors.extend(_unfit_run(request, outputs))
    absent = [*_absent_loras(chosen, loras, addresses)] if loras is not None else []
    source = [] if outputs is None else [*_source(request, outputs, first)]
    errors += [one for one in source if one.kind == "error"]
    source = [one for one in source if one not in errors]
    return Checked(plan, [*errors, *absent, *unknown, *source, *_warnings(request),
                          *_adjustments(request)])


def _source(request: Request, outputs: Path, first: bool) -> Iterator[Finding]:
    """What is known of a video that is continued."""
    if (source_video.is_last(request.inputs) and source_video.given(request.inputs) is None
            and source_video.last([], outputs) is None):
        yield Finding("error" if first else "warning", "source-video", (
            f"there is no last video to continue: {outputs} has none. Add a start image, or the "
            "video to continue."))
    run = source_video.run_of(request.inputs, outputs)
    if run is not None and request.plan.requested_run in (AUTO, NEW):
        yield Finding("warning", "extend-instead", (
            f"run {run.name} made the video that you continue. To add clips to it, extend the run "
            "in the tab SVI instead: its frames stay as they are, however long it gets."))


def _errors(*found: SettingsError) -> list[Finding]:
    return [Finding("error", error.id, str(error)) for error in found]


def _thin(request: Request) -> Iterator[Finding]:
    """WanGP gives a video the image's proportions: with as many pixels as the resolution has, or
    with a longer side as long as its own."""
    shape, asked = request.shape, request.resolution
    if shape and asked:
        ratio = min(shape) / max(shape)
        side = (min(max(asked) * ratio, min(asked)) if request.server.get("fit_canvas") == 1
                else math.sqrt(math.prod(asked) * ratio))
        if side < _BLOCK / 2:
            yield Finding("error", "start-image", (
                f"the start image is too thin ({shape[0]}x{shape[1]}): at {asked[0]}x{asked[1]}, "
                f"a video in its proportions would have a side of {side:.0f} pixels. Crop or "
                "extend the image."))


def _impossible(request: Request) -> Iterator[Finding]:
    """Values that WanGP's form does not allow, but that a file may have."""
    steps, size = request.inputs.get("num_inference_steps"), request.inputs.get("resolution")
    if isinstance(steps, (int, float)) and steps < 1:
        yield Finding("error", "settings", (
            f"with {steps:g} steps, the video would be noise. Set at least 1."))
    if size is not None and request.resolution is None:
        yield Finding("error", "settings", (
            f"the resolution must be a width and a height, such as 832x480, not "
            f"{cut(repr(size), 40)}."))


def _unfit_run(request: Request, outputs: Path) -> Iterator[Finding]:
    from .. import matching  # loads torch, which WanGP has and the check of a file can do without

    try:
        matching.check_requested(outputs, request.plan, request.inputs, request.server,
                                 request.asked)
    except SettingsError as error:
        yield Finding("error", error.id, str(error))


def _other_model(architecture: str, model_def: Mapping[str, Any], loras: list[str]) -> Finding:
    small = (" SVI's weights for Wan 2.2 5B were announced but never published."
             if architecture == "ti2v_2_2" else "")
    variant = identify(loras[0])
    models, choose = (("Multitalk 480p", "Multitalk 480p") if variant and variant.talks else
                      ("Image2Video 14B of Wan 2.1 and 2.2", "Image2Video 14B"))
    return Finding("warning", "other-model", (
        f"an SVI LoRA is active ({file_name(loras[0])}), but SVI is off: it works with {models}, "
        f"not with {model_def.get('name') or architecture}.{small} Choose {choose}, or remove the "
        "SVI LoRA."))


def _unknown_lora(loras: list[str], plan: Plan | None, custom: Custom, folder: Path | None
                  ) -> Iterator[Finding]:
    if custom.variant == OFF or plan is not None and not plan.loras:  # the user chose the variant
        return
    for name in loras:
        words = re.findall(r"[a-z]+", file_name(name).lower())
        if not identify(name) and ("svi" in words or folder and _has_svi_keys(folder, name)):
            yield Finding("warning", "unknown-lora", (
                f"{file_name(name)} seems to be an SVI LoRA, but its name does not say which "
                "variant, so it counts as any other LoRA. Restore the file's original name, or "
                "choose its variant under \"SVI variant\"."))


def _has_svi_keys(folder: Path, name: str) -> bool:
    try:
        return is_authors(header(_place(folder, name))[0])
    except (OSError, ValueError):  # not there yet, or no LoRA: WanGP says so
        return False


def _place(folder: Path, lora: str) -> Path:
    """Where WanGP looks for a LoRA file: an address may end in |SUBFOLDER."""
    address, _, subfolder = lora.partition("|")
    return folder / subfolder / file_name(address) if "://" in lora else folder / lora


def _absent_loras(loras: list[str], folder: Path, addresses: Collection[Path]
                  ) -> Iterator[Finding]:
    coming = []
    for name in loras:
        place = _place(folder, name)
        # WanGP before 11.77 has no sub-folders
        there = next((one for one in (place, folder / place.name) if is_file(one)), None)
        if there is not None:
            state = there.stat()
            if there.suffix == ".safetensors" and not _whole(
                    there, state.st_size, state.st_mtime_ns):
                yield Finding("error", "lora-file", (
                    f"the LoRA {there} is incomplete or no LoRA. Delete it, and download it "
                    "again."))
            continue
        if "://" in name or place.absolute() in addresses:
            coming.append(place.name)
        else:
            yield Finding("error", "lora-file", (
                f"the LoRA {place.name} is not in {place.parent}, and WanGP does not know where to "
                "download it. Put the file there, choose it by its present name, or apply the "
                "profile again."))
    if coming:
        noun, are, them = ("LoRA", "is", "it") if len(coming) == 1 else ("LoRAs", "are", "them")
        yield Finding("warning", "lora-download", (
            f"the {noun} {', '.join(coming)} {are} not on the disk yet: WanGP downloads {them} "
            f"before the first clip. Without internet, put {them} into {folder}."))


@lru_cache(64)
def _whole(lora: Path, size: int, changed: int) -> bool:
    """Whether a LoRA file is complete; the form asks at each change."""
    return is_complete(lora)


def _lost_lora(custom: Custom) -> Iterator[Finding]:
    """An accelerator profile, applied after an SVI profile, replaces its LoRAs."""
    left = [name for name in ("num_motion_frames", "ref_pad_num", "svi_run", STORYBOARD)
            if custom.text(name) not in ("", "none", AUTO, NEW)]
    if custom.variant == OFF and STORYBOARD in left:
        yield Finding("warning", "no-lora", (
            f"{STORYBOARD} is set, but SVI is off, so no clip gets what it asks for. Set \"SVI "
            f"variant\" to {AUTO}, or clear the storyboard."))
    elif left and custom.variant != OFF:
        yield Finding("warning", "no-lora", (
            f"{' and '.join(left)} {'is' if len(left) == 1 else 'are'} set, but {NO_LORA}"))


def _warnings(request: Request) -> Iterator[Finding]:
    for rule in rules.OF_ANY_SIZE if request.small else rules.RULES:
        try:
            yield from (Finding("warning", id, text) for id, text in rule(request))
        except Exception as error:  # advice must not stop a run
            yield Finding("warning", "check", (
                f"one check failed ({rule.__name__}: {error!r}). The video is not affected; please "
                "report this line."))


def _adjustments(request: Request) -> Iterator[Finding]:
    inputs, wanted = request.inputs, planning.required(request.plan, request.inputs)
    overlap = request.variant.overlap
    changed = {name for name in inputs.keys() & wanted
               if (inputs[name] or 0) != (wanted[name] or 0)}

    frames = planning.frames_of(request.plan, inputs)
    number = planning.clips_of(request.plan, inputs)
    if inputs.get("video_length") is None or planning.awaits_sound(request.plan, inputs):
        changed.discard("video_length")  # there is nothing to compare with
    if "video_length" in changed and frames != inputs["video_length"] and request.continues:
        each = "which" if number == 1 else "each of which"
        yield Finding("adjustment", "frames", (
            f"{request.plan.frames(number, True)} more frames instead of {inputs['video_length']}: "
            f"{count(number, 'whole clip')} of {CLIP_FRAMES}, {each} shares {overlap} with what is "
            "before it."))
    elif "video_length" in changed and frames != inputs["video_length"]:
        clips = count(number, "whole clip")
        of = ("sound" if request.plan.sound else "pose video"
              if request.variant.poses and pose_video.is_capped(inputs) else "")
        why = f", as long as the {of}" if of else ""
        loop = "" if frames == wanted["video_length"] else "; a loop ends one frame earlier"
        yield Finding("adjustment", "frames", (
            f"{frames} frames instead of {inputs['video_length']}{why}: {clips} of {CLIP_FRAMES}, "
            f"and neighbours share {overlap}{loop}."))
    if changed & {"sliding_window_size", "sliding_window_overlap",
                  "sliding_window_discard_last_frames", "sliding_window_trim_first_frames"}:
        yield Finding("adjustment", "window", (
            f"sliding windows have {CLIP_FRAMES} frames, share {overlap} and discard none, as in "
            "SVI's training."))
    if "sliding_window_color_correction_strength" in changed:
        yield Finding("adjustment", "colour-correction", (
            "WanGP's colour correction is off: it would shift the frames that the next clip starts "
            "from."))
    if "force_fps" in changed:
        yield Finding("adjustment", "frame-rate", (
            f"the video has {request.plan.fps} frames a second, as {request.trained.title} was "
            "trained."))
