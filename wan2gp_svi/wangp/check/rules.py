"""What is known to hurt SVI, one rule for each; and what to do about it.

A rule is given a request and yields (id, text): `id` is a heading of docs/guide.md; the text can follow a colon.
Sources: the FAQ, DevLog and notes of SVI's authors, WanGP's code. What users report is called that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ...text import count
from ...variants import CLIP_FRAMES, identify
from ..plan import clips_of, file_name
from .request import AUTO_ATTENTION, Lora, Request

Advice = Iterator[tuple[str, str]]

_HALF, _STRONG = 0.5, 0.75  # the strength that SVI's authors advise for accelerators; from here on it counts as full
_FEW_STEPS = 20  # fewer need an accelerator
_MUCH_GUIDANCE = 2  # with an accelerator
_480P = 480 * 832
_CROPPED = 1.2  # the ratio of two shapes from which on it is worth a word
_LCM_STEPS = 8  # that WanGP's lcm makes at most
_CACHES = {"tea": "TeaCache", "mag": "MagCache"}


# ------------------------------------------------------------------------------------------------------ model and LoRAs

def variant(request: Request) -> Advice:
    run, now, trained = request.run, request.variant, request.trained
    if not run.loras and all(lora.accelerates for lora in request.loras):  # else it may be one of another name
        yield "no-lora", (
            f"{trained.title} is chosen, but its LoRA is not active, and without it its padding does harm. Add "
            f"{' and '.join(lora.name for lora in trained.loras)}, or apply the profile.")
    if run.loras and all(identify(name) != trained for name in run.loras):
        yield "override", (
            f"{file_name(run.loras[0])} is run as {trained.title}, since \"SVI variant\" says so, and was not trained "
            "for that. Set it to auto.")
    own_frames = now.motion_frames == trained.motion_frames or trained.id == "2.0"  # which is made for 1 and for 5
    if not own_frames or (now.ref_pad_num, now.ref_pad_cfg) != (trained.ref_pad_num, trained.ref_pad_cfg):
        yield "override", (
            f"motion frames or padding are not what {trained.title} was trained with ({trained.motion_frames} and "
            f"{trained.ref_pad_num}), and it is known to drift or to jump then. Set both to auto.")
    if trained.id in ("talk", "dance"):
        yield "talk-dance", (
            f"{trained.title} was trained with {'audio' if trained.id == 'talk' else 'a pose video'}, and here it runs "
            "without. Take SVI-Shot for one scene without cuts.")


def weights(request: Request) -> Advice:
    if not request.two_experts and any("720p" in name.lower() for name in request.weights):
        yield "weights", (
            "SVI for Wan 2.1 was trained on the 480p weights, and these are the 720p ones. Choose Wan2.1 Image2Video "
            "480p 14B.")
    if request.variant.id.startswith("film") and request.quantised:
        yield "quantised", (
            f"the model's weights are quantised, and {request.variant.title} suffers from that more than others, its "
            "authors say. If your RAM allows it, choose 16-bit under Configuration, Transformer Model Quantization; "
            "else take more steps, SVI-2.0 or SVI-Shot.")


def strengths(request: Request) -> Advice:
    wrong = [lora for lora in request.loras if _wrong_strength(lora)]
    if wrong:
        two = request.two_experts
        each = [f"{lora.file} has a strength of {_pair(lora.high, lora.low, two)} and was trained for "
                f"{_pair(*lora.trained, two)}" for lora in wrong]
        yield "svi-strength", f"{'; '.join(each)}. {_fix(request, wrong)}"


def accelerators(request: Request) -> Advice:
    harm = "motion gets weak, prompts are ignored, and the start image comes back"
    strong = [lora for lora in request.accelerators if lora.high > _STRONG]
    if strong:
        where = " on high noise" if request.two_experts else ""
        each = " and ".join(f"{lora.file} ({lora.high:g}{where})" for lora in strong)
        yield "accelerator", f"an accelerator runs at full strength, {each}: {harm}. {_fix(request, strong)}"
    if request.merged:
        yield "accelerator", (
            f"{request.merged} has an accelerator in its weights, whose strength cannot be lowered: {harm}. Choose the "
            f"plain Image2Video 14B of Wan {request.variant.wan}, and an SVI profile with an accelerator.")


def _wrong_strength(lora: Lora) -> bool:
    return lora.is_svi and (lora.high, lora.low) != lora.trained


def _pair(high: float, low: float, two: bool) -> str:
    if two:
        return f"{high:g} on high and {low:g} on low noise"
    return f"{high:g}" if high == low else f"{high:g} to {low:g}"


def _fix(request: Request, wrong: list[Lora]) -> str:
    """All multipliers as they should be, to be copied."""
    if all(lora.place is None for lora in wrong):
        return f"This model brings it along: choose the plain Image2Video 14B of Wan {request.variant.wan}."
    fixed = []
    for lora in request.loras:
        if lora.place is None:
            continue
        both = f"{_HALF};1" if request.two_experts else f"{_HALF}"
        if _wrong_strength(lora):
            now = {"high": "1;0", "low": "0;1"}.get(lora.expert, "1")
        elif lora.accelerates and lora.high > _STRONG:
            now = {"high": f"{_HALF};0", "low": "0;1"}.get(lora.expert, both)
        else:
            now = request.multipliers[lora.place] if lora.place < len(request.multipliers) else "1"
        fixed.append(now)
    return f"Set the multipliers of the LoRAs to: {' '.join(fixed)}"


# ------------------------------------------------------------------------------------------------------------- sampling

def guidance(request: Request) -> Advice:
    inputs = request.inputs
    steps, cfg = inputs.get("num_inference_steps") or 0, inputs.get("guidance_scale")
    phases = inputs.get("guidance_phases")
    if not (request.accelerators or request.merged):
        if 0 < steps < _FEW_STEPS:
            yield "steps", (
                f"{count(steps, 'step')} and no accelerator that is known here: the picture stays unfinished. Take "
                f"{request.trained.steps} steps, or apply a profile with an accelerator.")
        if cfg is not None and cfg <= 1:
            yield "guidance", (
                f"a guidance of {cfg:g} and no accelerator that is known here: the prompt is hardly followed. Set it "
                f"to {request.trained.cfg:g}.")
    elif cfg is not None and cfg > _MUCH_GUIDANCE and phases != 3:  # the first of three may have no accelerator
        yield "guidance", (
            f"a guidance of {cfg:g} is too much with an accelerator. SVI's authors use 1 to 2; higher in that range "
            "follows the prompt better.")
    if request.two_experts and phases == 1:
        yield "phases", (
            "with one guidance phase the low-noise model of Wan 2.2 never runs. Set the guidance phases to 2, or apply "
            "the profile again.")


def sampling(request: Request) -> Advice:
    inputs, steps = request.inputs, request.inputs.get("num_inference_steps") or 0
    solver, cache = str(inputs.get("sample_solver") or "").lower(), inputs.get("skip_steps_cache_type")
    if re.search(r"sde|ancestral|euler_a$", solver):
        yield "sampler", (
            f"the sampler {solver} adds noise at every step, and SVI is known to suffer from that. Choose unipc or "
            "euler.")
    elif solver == "lcm" and steps > _LCM_STEPS:
        yield "sampler", f"WanGP's sampler lcm makes {_LCM_STEPS} steps at most, not {steps}. Choose unipc."
    elif solver == "causvid":
        yield "sampler", (
            f"the sampler causvid has noise levels of its own and passes over the shift of {request.variant.shift:g} "
            "that SVI uses. Choose unipc, or euler with an accelerator.")
    if inputs.get("self_refiner_setting"):
        yield "self-refiner", (
            "the self refiner adds new noise between the steps, and SVI is known to suffer from samplers that do. "
            "Switch it off.")
    if cache:
        yield "step-skipping", (
            f"{_CACHES.get(cache, cache)} puts guesses in the place of steps, and the faults go into the next clip and "
            "add up. Switch the skipping of steps off.")


def attention(request: Request) -> Advice:
    mode = request.inputs.get("override_attention") or request.server.get("attention_mode")
    if mode == "auto":
        mode = request.server.get(AUTO_ATTENTION)
    if request.variant.pro and (str(mode).startswith("sage") or mode == "radial"):  # which is built on it
        yield "attention", (
            f"users report flashes between the clips of {request.variant.title} with SageAttention ({mode}), and none "
            "with sdpa. Choose sdpa under Override Attention Mode, or in the Configuration.")


def vae(request: Request) -> Advice:
    if request.server.get("vae_config"):
        yield "vae-tiles", (
            "the VAE is set to work in tiles, whose faults add up from clip to clip on still backgrounds. If your VRAM "
            "allows it, set VAE Tiling to Auto in the Configuration.")


# ------------------------------------------------------------------------------------------------ image, size, and text

def size(request: Request) -> Advice:
    asked, made = request.resolution, request.shape
    if asked and asked[0] * asked[1] > 1.25 * _480P:
        yield "720p", (
            f"{asked[0]}x{asked[1]} is far above 832x480, which SVI was trained at: the video is less steady and moves "
            "less. Make it in 480p, and enlarge it afterwards.")
    if made and made[1] > made[0]:
        shape = "" if asked and asked[1] > asked[0] else ", as the start image is"
        yield "vertical", (
            f"the video will be vertical{shape}, and SVI was trained at 832x480: it moves less, follows prompts less, "
            "and snaps back to the start image more often. Extend the image at its sides to about 832x480.")


def image_shape(request: Request) -> Advice:
    asked, image = request.resolution, request.image
    if request.crops and asked and image:
        ratio = image[0] / image[1] / (asked[0] / asked[1])
        if max(ratio, 1 / ratio) > _CROPPED:
            yield "image-shape", (
                f"the start image is {image[0]}x{image[1]}, and WanGP cuts {1 - min(ratio, 1 / ratio):.0%} of it off "
                f"for {asked[0]}x{asked[1]}; the reference does not have it then. Choose a resolution of the image's "
                "shape, or cut or extend the image yourself.")


def prompts(request: Request) -> Advice:
    mode = request.inputs.get("multi_prompts_gen_type")
    mode = {0: "G", 1: "W", 2: "FG"}.get(mode, str(mode or "PW"))  # numbers before WanGP 11.20
    lines = [line for line in str(request.inputs.get("prompt") or "").splitlines() if not line.strip().startswith("#")]
    paragraphs = [part for part in re.split(r"\n\s*\n", "\n".join(lines)) if part.strip()]
    by_line = "P" not in mode and mode != "FG"
    number = len([line for line in lines if line.strip()] if by_line else paragraphs)
    what, clips = "lines" if by_line else "paragraphs", clips_of(request.run, request.inputs)
    fix = "let each paragraph be the prompt of a new sliding window; the profile does so"
    if number > 1 and mode == "FG" and request.variant.stream:
        yield "prompts", f"the {number} {what} are one prompt, for every clip. For one each, {fix}."
    elif number > 1 and mode in ("G", "PG"):
        yield "prompts", f"the {number} {what} make {number} videos. For one video with a prompt for each clip, {fix}."
    elif number > clips and "W" in mode:
        yield "prompts", (
            f"there are {number} prompts and {count(clips, 'clip')}, so the last {number - clips} will not be used. "
            f"Ask for {CLIP_FRAMES * number} frames.")


RULES: tuple[Callable[[Request], Advice], ...] = (
    variant, weights, strengths, accelerators, guidance, sampling, size, image_shape, prompts, attention, vae,
)
