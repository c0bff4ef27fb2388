"""What is known to spoil SVI, one rule each, and what to do about it.

A rule takes a request and yields (id, text): `id` is a row of docs/guide.md, and the text can
follow a colon. Sources: the FAQ, DevLog and notes of SVI's authors, WanGP's code, and where a text
says so, reports of users.
"""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches

from ...text import count, cut
from ...variants import CLIP_FRAMES, identify
from .. import board as of_rows
from .. import pose_video, sound
from ..form import DEFAULTS
from ..plan import clips_of, file_name
from .request import AUTO_ATTENTION, Lora, Request

Advice = Iterator[tuple[str, str]]

_HALF = 0.5  # the strength that SVI's authors advise for accelerators on high noise
_STRONG = 0.75  # from here on, an accelerator's strength counts as full
_FEW_STEPS = 20  # fewer need an accelerator
_MUCH_GUIDANCE = 2  # with an accelerator
_480P = 480 * 832
_CROPPED = 1.2  # a ratio of two shapes that is worth a warning
_LCM_STEPS = 8  # that WanGP's lcm makes at most
_EULER_STEPS = 8  # up to here, one that does nothing counts
_ALIKE = 0.8  # of two names, 1 if they are the same
_CACHES = {"tea": "TeaCache", "mag": "MagCache"}


def variant(request: Request) -> Advice:
    plan, now, trained = request.plan, request.variant, request.trained
    # any LoRA but an accelerator may be SVI's under another name
    if not plan.loras and all(lora.accelerates for lora in request.loras):
        yield "no-lora", (
            f"{trained.title} is chosen, but its LoRA is not active, and SVI needs it. Add "
            f"{' and '.join(lora.name for lora in trained.loras)}, or apply the profile.")
    if plan.loras and all(identify(name) != trained for name in plan.loras):
        yield "override", (
            f"\"SVI variant\" makes {file_name(plan.loras[0])} run as {trained.title}, but it was "
            "not trained for that. Set it to auto.")
    # SVI 2.0 is made for 1 motion frame and for 5
    own_frames = now.motion_frames == trained.motion_frames or trained.id == "2.0"
    own_padding = (now.ref_pad_num, now.ref_pad_cfg) == (trained.ref_pad_num, trained.ref_pad_cfg)
    if not (own_frames and own_padding):
        yield "override", (
            f"{trained.title} was trained with {count(trained.motion_frames, 'motion frame')} and "
            f"padding {trained.ref_pad_num}, and drifts or jumps with others. Set both to auto.")
    if trained.talks and not plan.sound:
        yield "talk-dance", (
            f"{trained.title} was trained with sound, but gets none here. Choose Multitalk 480p "
            "and apply the profile SVI-Talk.")
    if trained.poses and not pose_video.used(request.inputs):
        yield "talk-dance", (
            f"{trained.title} was trained with poses, but gets none here. Choose the model "
            f"{trained.title}, and add a pose video.")


def names(request: Request) -> Advice:
    for name in [*filter(DEFAULTS.__contains__, request.inputs)]:
        yield "setting-names", (
            f"\"{name}\" has no effect where it is. Move it into \"custom_settings\".")
    for name in request.inputs.get("custom_settings") or {}:
        if name not in DEFAULTS and (meant := get_close_matches(name, DEFAULTS, 1, _ALIKE)):
            yield "setting-names", (
                f"the custom setting \"{cut(name, 40)}\" is unknown, and has no effect. Is it "
                f"meant to be \"{meant[0]}\"?")


def talking(request: Request) -> Advice:
    if not request.plan.sound:
        return
    guidance, trained = request.inputs.get("audio_guidance_scale"), request.trained.audio_cfg
    if text := sound.advice(request.inputs):
        yield "telephone", text
    fast = request.accelerators or request.merged_accelerator
    if guidance is not None and not fast and guidance != trained:
        yield "audio-guidance", (
            f"the audio guidance is {guidance:g}, but {request.trained.title} is made with "
            f"{trained:g}. Set it to {trained:g}, or apply the profile.")


def dancing(request: Request) -> Advice:
    if not request.trained.poses:
        return
    clips, overlap = clips_of(request.plan, request.inputs), request.variant.overlap
    if text := pose_video.shape_advice(request.inputs, request.shape):
        yield "pose-shape", text
    frames = request.plan.frames(clips)
    if text := pose_video.length_advice(request.inputs, clips, overlap, frames):
        yield "pose-length", text


def weights(request: Request) -> Advice:
    if not request.two_experts and any("720p" in name.lower() for name in request.weights):
        yield "weights", (
            "these are the 720p weights, but SVI for Wan 2.1 was trained on the 480p ones. Choose "
            "Wan2.1 Image2Video 480p 14B.")
    if request.variant.film and request.quantised:
        yield "quantised", (
            f"{request.variant.title} suffers most from quantised weights, its authors say. If you "
            "have the RAM, choose 16-bit under Configuration, Transformer Model Quantization; "
            "otherwise use more steps, SVI-2.0 or SVI-Shot.")


def strengths(request: Request) -> Advice:
    wrong = [lora for lora in request.loras if _wrong_strength(lora)]
    if wrong:
        two = request.two_experts
        each = [f"{lora.file} has a strength of {_pair(lora.high, lora.low, two)}, but was trained "
                f"with {_pair(*lora.trained, two)}" for lora in wrong]
        yield "svi-strength", f"{'; '.join(each)}. {_fix(request, wrong)}"


def accelerators(request: Request) -> Advice:
    harm = _harm_of_accelerators(request)
    strong = [lora for lora in request.loras if _too_strong(request, lora)]
    if strong:
        where = " on high noise" if request.two_experts else ""
        each = " and ".join(f"{lora.file} ({lora.high:g}{where})" for lora in strong)
        yield "accelerator", f"{harm}: {each}. {_fix(request, strong)}"
    if harm and request.merged_accelerator:
        yield "accelerator", (
            f"{harm}, and {request.merged_accelerator} has one in its weights. Choose the plain "
            f"Image2Video 14B of Wan {request.variant.wan}, and a profile with an accelerator.")


def _harm_of_accelerators(request: Request) -> str:
    """What they do at full strength; "" where the authors' own workflow has it."""
    if request.two_experts:
        return ("accelerators at full strength weaken motion and make the video ignore prompts and "
                "snap back to the start image")
    if request.variant.film:
        return (f"{request.variant.title} suffers most from accelerators at full strength, its "
                "authors say")
    return ""


def _too_strong(request: Request, lora: Lora) -> bool:
    return bool(_harm_of_accelerators(request)) and lora.accelerates and lora.high > _STRONG


def _wrong_strength(lora: Lora) -> bool:
    return lora.is_svi and (lora.high, lora.low) != lora.trained


def _pair(high: float, low: float, two: bool) -> str:
    if two:
        return f"{high:g} on high and {low:g} on low noise"
    return f"{high:g}" if high == low else f"{high:g} to {low:g}"


def _fix(request: Request, wrong: list[Lora]) -> str:
    """All multipliers as they should be, to copy."""
    if all(lora.place is None for lora in wrong):
        return ("It belongs to this model: choose the plain Image2Video 14B of Wan "
                f"{request.variant.wan}.")
    fixed = []
    for lora in request.loras:
        if lora.place is None:
            continue
        both = f"{_HALF};1" if request.two_experts else f"{_HALF}"
        if _wrong_strength(lora):
            now = {"high": "1;0", "low": "0;1"}.get(lora.expert, "1")
        elif _too_strong(request, lora):
            now = {"high": f"{_HALF};0", "low": "0;1"}.get(lora.expert, both)
        else:
            given = request.multipliers
            now = given[lora.place] if lora.place < len(given) else "1"
        fixed.append(now)
    return f"Set the LoRA multipliers to: {' '.join(fixed)}"


def guidance(request: Request) -> Advice:
    inputs = request.inputs
    steps, cfg = inputs.get("num_inference_steps") or 0, inputs.get("guidance_scale")
    phases = inputs.get("guidance_phases")
    if not (request.accelerators or request.merged_accelerator):
        if 0 < steps < _FEW_STEPS:
            yield "steps", (
                f"with {count(steps, 'step')} and no known accelerator, videos stay noisy. "
                f"Use {request.trained.steps} steps, or apply a profile with an accelerator.")
        if cfg is not None and cfg <= 1:
            yield "guidance", (
                f"with a guidance of {cfg:g} and no known accelerator, prompts have little effect. "
                f"Set it to {request.trained.cfg:g}.")
    # with three phases, the first may have no accelerator
    elif cfg is not None and cfg > _MUCH_GUIDANCE and phases != 3:
        yield "guidance", (
            f"a guidance of {cfg:g} is too high with an accelerator. SVI's authors use 1 to 2; "
            "prompts have more effect near 2.")
    if request.two_experts and phases == 1:
        yield "phases", (
            "with one guidance phase, the low-noise model of Wan 2.2 never runs. Set the guidance "
            "phases to 2, or apply the profile again.")


def sampling(request: Request) -> Advice:
    inputs, steps = request.inputs, request.inputs.get("num_inference_steps") or 0
    solver = str(inputs.get("sample_solver") or "").lower()
    cache = inputs.get("skip_steps_cache_type")
    if re.search(r"sde|ancestral|euler_a$", solver):
        yield "sampler", (
            f"the sampler {solver} adds noise at every step. Users suspect that this harms SVI, "
            "though its authors use dpm++_sde on Wan 2.2. If clips get worse, choose unipc.")
    elif solver == "lcm" and steps > _LCM_STEPS:
        yield "sampler", f"WanGP's lcm makes at most {_LCM_STEPS} steps, not {steps}. Choose unipc."
    elif solver == "causvid":
        yield "sampler", (
            "the sampler causvid has its own noise levels, and ignores SVI's shift of "
            f"{request.variant.shift:g}. Choose unipc.")
    elif solver == "euler" and 1 < steps <= _EULER_STEPS and not request.small:
        yield "sampler", (
            f"of {steps} steps with WanGP's euler, the last one changes nothing. Choose unipc, or "
            f"{steps + 1} steps.")
    if inputs.get("self_refiner_setting"):
        yield "self-refiner", (
            "the self refiner adds noise between steps, which nobody has tried with SVI. Turn it "
            "off.")
    if cache:
        yield "step-skipping", (
            f"{_CACHES.get(cache, cache)} guesses some steps, and the errors add up from clip to "
            "clip. Turn step skipping off.")


def attention(request: Request) -> Advice:
    mode = request.inputs.get("override_attention") or request.server.get("attention_mode")
    if mode == "auto":
        mode = request.server.get(AUTO_ATTENTION)
    # radial is built on SageAttention
    if request.variant.pro and (str(mode).startswith("sage") or mode == "radial"):
        yield "attention", (
            f"users report flashes between clips of {request.variant.title} with SageAttention "
            f"({mode}), though SVI's authors use it. If clips flash, choose sdpa in Override "
            "Attention Mode or Configuration.")


def size(request: Request) -> Advice:
    asked, made = request.resolution, request.shape
    if asked and asked[0] * asked[1] > 1.25 * _480P:
        yield "720p", (
            f"{asked[0]}x{asked[1]} is far above 832x480, the size of SVI's training: the video is "
            "less steady and moves less. Generate in 480p, then upscale.")
    if made and made[1] > made[0] and not request.variant.vertical:
        shape = "" if asked and asked[1] > asked[0] else ", like the start image"
        yield "vertical", (
            f"the video will be vertical{shape}, but SVI was trained at 832x480: it moves less, "
            "follows prompts less, and snaps back to the start image more often. Extend the sides "
            "of the image to about 832x480.")


def image_shape(request: Request) -> Advice:
    asked, image = request.resolution, request.image
    if request.crops and asked and image:
        ratio = image[0] / image[1] / (asked[0] / asked[1])
        if max(ratio, 1 / ratio) > _CROPPED:
            yield "image-shape", (
                f"WanGP crops {1 - min(ratio, 1 / ratio):.0%} off the start image "
                f"({image[0]}x{image[1]}) for {asked[0]}x{asked[1]}. Choose a resolution in the "
                "image's proportions, or crop or extend the image yourself.")


def prompts(request: Request) -> Advice:
    mode, number, clips = request.prompt_mode, len(request.prompts), clips_of(
        request.plan, request.inputs)
    what = "lines" if request.by_line else "paragraphs"
    fix = "set each paragraph to be the prompt of a new sliding window, as the profile does"
    if number > 1 and mode == "FG" and request.variant.stream:
        yield "prompts", (
            f"the {number} {what} are one prompt for every clip. For a prompt per clip, {fix}.")
    elif number > 1 and mode in ("G", "PG"):
        yield "prompts", (
            f"the {number} {what} make {number} videos. For a prompt per clip, {fix}.")
    elif number > clips and "W" in mode:
        yield "prompts", (
            f"there are {number} prompts for {count(clips, 'clip')}. To use them all, set "
            f"{CLIP_FRAMES * number} frames.")


def storyboard(request: Request) -> Advice:
    board, clips = request.plan.board, clips_of(request.plan, request.inputs)
    amplitude = request.inputs.get("motion_amplitude") or 1
    rows = [board.row(clip) for clip in range(min(clips, board.clips))]
    if amplitude != 1 or any(row.motion not in (None, 1) for row in rows):
        yield "motion-amplitude", (
            "a motion amplitude above 1 changes the conditioning that SVI was trained with. Users "
            "raise it when an accelerator makes clips too still; if colours drift, set it to 1.")
    ends = [clip + 1 for clip, row in enumerate(rows) if row.end_image]
    if ends and not request.small:
        yield "end-untrained", (
            f"clip {ends[0]} ends on an image, which SVI was not trained for. Look at its last "
            "second: if it fades or freezes, try another seed, or an image closer to the scene.")
    shape = request.shape
    cut = [(path, part) for path in of_rows.images(board)
           if shape and (part := of_rows.cropped(path, shape)) > 1 - 1 / _CROPPED]
    if cut:
        path, part = cut[0]
        yield "image-shape", (
            f"{part:.0%} of the storyboard's image {path} are cut off, because the video has "
            "another shape. Crop or extend the image yourself.")


def seeds(request: Request) -> Advice:
    board, clips = request.plan.board, clips_of(request.plan, request.inputs)
    # after a video that used the seed, its sequence goes on
    base = None if request.continues else request.inputs.get("seed")
    if said := of_rows.same_seed(board, clips, base):
        yield "same-seed", said


RULES: tuple[Callable[[Request], Advice], ...] = (
    variant, names, talking, dancing, weights, strengths, accelerators, guidance, sampling,
    size, image_shape, prompts, attention, storyboard, seeds,
)
#: those that hold for the demo model, too
OF_ANY_SIZE = (variant, names, strengths, sampling, image_shape, prompts, storyboard, seeds)
