"""From WanGP's settings to what SVI does, and what the settings must be for it.

`check` looks for problems. WanGP names used here: the keys of its settings.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import chain
from ..chain import MAX_CLIPS
from ..storyboard import LOOP, Storyboard
from ..text import count, duration, plural
from ..untrusted import is_file
from ..variants import CLIP_FRAMES, VARIANTS, Variant, identify, noise
from . import board, pose_video, sound, source_video
from .board import MOST_PIXELS
from .form import AUTO, OFF, Custom, SettingsError
from .source_video import continues

#: WanGP's architectures that SVI runs on -> the generation of Wan
ARCHITECTURES = {"i2v": "2.1", "i2v_2_2": "2.2", "multitalk": "2.1"}

TALKING = "multitalk"  #: the one of these that follows a sound, and runs SVI-Talk alone

DANCING = "svi_dance"  #: our model in WanGP's list, an i2v whose form has a control video

BUILT_IN = "i2v_2_2_svi2pro"  #: WanGP's own SVI 2 Pro
SMALL = "svi_small"  #: the demo model's type in WanGP, and the mark of its definition
DEMO_ONLY = "SVI_DEMO_ONLY"  #: a variable of a wgp.py that was started for that model, without GPU

STOCK_MAXIMA = "svi_stock_maxima"  #: in model definitions: the form's limits without SVI

_FPS = 16  # of Wan's videos, for their length in seconds

_ACCELERATOR = re.compile(
    r"lightx2v|lightning|fusioni?x|causvid|accvid|self[\W_]?forc|distill|seko|fastwan"
    r"|\d[\W_]?steps?[\W_]|(^|[\W_])(dmd2?|rcm)([\W_]|$)")


@dataclass(frozen=True)
class Plan:
    """What SVI does with given settings: `variant` has the user's overrides, `loras` are the active
    SVI files, and `requested_run` is what the user wrote under "SVI run"; see `matching.begin`.
    With `sound`, a person speaks it, and it decides the length of the video. `board` is what the
    user asks of single clips."""

    variant: Variant
    loras: tuple[str, ...]
    requested_run: str = AUTO
    sound: bool = False
    board: Storyboard = field(default_factory=Storyboard)

    @property
    def fps(self) -> int:
        """Of the video, unless the user forces another."""
        return self.variant.fps if self.sound or self.variant.poses else _FPS

    def seed(self, base: int, clip: int) -> int:
        """The seed of a clip of a run that begins with `base`."""
        own = self.board.row(clip).seed
        return chain.seed(base, clip, self.board.seed_step) if own is None else own

    def frames(self, clips: int, more: bool = False) -> int:
        """The length of a video of so many clips, or how much `more` they make of a video that
        they continue."""
        loops = self.board.row(clips - 1).end_image == LOOP
        return chain.length(clips, self.variant.overlap) - loops - self.variant.overlap * more

    def describe(self, seeds: Sequence[int], fps: float, more: bool = False) -> str:
        """What SVI does, in a line, for one clip per seed; `more` as in `frames`."""
        v, names = self.variant, list(map(str, seeds))
        if len(seeds) > 6:
            names[3:-1] = ["..."]
        start = f"latents {v.motion_latents}" if v.pro else f"frames {v.motion_frames}"
        return (f"{self.outline(len(seeds), fps, more)} Motion {start}, padding: {self.padding}, "
                f"{plural(len(seeds), 'seed')} {', '.join(names)}")

    def outline(self, clips: int, fps: float, more: bool = False) -> str:
        frames = self.frames(clips, more)
        files = ", ".join(file_name(name) for name in self.loras) or "no SVI LoRA"
        return (f"{self.variant.title} ({files}): {count(clips, 'clip')} of {CLIP_FRAMES} frames, "
                f"{count(frames, 'more frame' if more else 'frame')}, {duration(frames / fps)}.")

    @property
    def padding(self) -> str:
        v = self.variant
        if v.pro:
            return "latent zeros"
        if v.ref_pad_num == -1 or v.ref_pad_num >= CLIP_FRAMES - v.motion_frames:
            return "reference"
        n = v.ref_pad_num
        return f"reference for {count(n, 'frame')}, then grey" if n else "grey"


def make_plan(architecture: str, loras: list[str],
              custom_settings: Mapping[str, Any] | None) -> Plan | None:
    """What SVI does on this architecture of WanGP with these LoRAs and custom settings; None if it
    is off. Raises SettingsError if they do not fit together."""
    wan = ARCHITECTURES.get(architecture)
    if wan is None:
        return None
    chosen = Custom(custom_settings or {})
    if chosen.variant == OFF:
        return None
    found = {name: variant for name in loras if (variant := identify(name))}
    variant = _variant(found, chosen.variant)
    if variant is None or architecture == TALKING and not variant.talks:
        return None
    for one in (variant, *found.values()):
        if one.wan != wan:
            raise SettingsError(
                f"{one.title} is for Wan {one.wan}, but the chosen model is Wan {wan}. Choose "
                f"Image2Video 14B of Wan {one.wan}, or an SVI profile for Wan {wan}.", "wrong-wan")
    _check_experts(variant, list(found))
    return Plan(chosen.override(variant), tuple(found), chosen.requested_run,
                architecture == TALKING, chosen.storyboard)


def _variant(found: Mapping[str, Variant], chosen: str) -> Variant | None:
    variants = {variant.id: name for name, variant in found.items()}
    if len(variants) > 1:
        files = " and ".join(file_name(name) for name in variants.values())
        raise SettingsError(
            f"two SVI LoRAs of different variants are active: {files}. Remove one.", "two-variants")
    id = chosen if chosen != AUTO else next(iter(variants), None)
    return VARIANTS[id] if id else None


def _check_experts(variant: Variant, loras: list[str]) -> None:
    """Half of a LoRA pair for Wan 2.2 gives half a video that drifts."""
    wanted = {lora.noise for lora in variant.loras if lora.noise}
    given = {noise(file_name(name)) for name in loras if identify(name) is variant} & wanted
    if given and given != wanted:
        missing = (wanted - given).pop()
        file = next(lora.name for lora in variant.loras if lora.noise == missing)
        raise SettingsError(
            f"{variant.title} needs both of its LoRAs, but the one for {missing} noise is not "
            f"active. Add {file}, or apply the profile again.", "missing-twin")


def obstacles(inputs: Mapping[str, Any]) -> list[SettingsError]:
    """What no variant of SVI can do."""
    prompt_type, found = inputs.get("image_prompt_type") or "", []
    if not _possible_frames(inputs.get("video_length")):
        found.append(SettingsError(
            f"{inputs['video_length']} frames are not possible. Set {CLIP_FRAMES} for each clip, "
            f"and at most {CLIP_FRAMES * MAX_CLIPS:,} ({MAX_CLIPS:,} clips).", "number-of-frames"))
    if "E" in prompt_type and first_image(inputs.get("image_end")) is not None:
        found.append(SettingsError(
            "an end image belongs to a clip: choose it in the storyboard (tab SVI), and remove it "
            "here.", "end-image"))
    references = inputs.get("image_refs") if "I" in str(inputs.get("video_prompt_type")) else None
    if first_image(references) is not None:
        named = first_image(references)
        row = f"reference = {named}" if isinstance(named, (str, Path)) else "reference = IMAGE.png"
        found.append(SettingsError(
            "WanGP's reference images (image_refs) are not for SVI, where each clip can have its "
            f"own. Write \"{row}\" under [2] of the storyboard for clip 2, or add it there in the "
            "tab SVI, and remove it here.", "references"))
    image, video = first_image(inputs.get("image_start")), inputs.get("video_source")
    if not set(prompt_type) & set("SVL") or (
            "S" in prompt_type and "image_start" in inputs and is_blank(image)):
        choose = "" if "S" in prompt_type else "choose to start with an image, and "
        black = "" if image is None else " that is not black"  # WanGP takes it for none
        found.append(SettingsError(
            f"{choose}add a start image (image_start){black}. To start from text, make the image "
            "first with a text-to-image model of WanGP, such as Qwen Image.", "start-image"))
    elif "S" in prompt_type and (given := _number_of(inputs.get("image_start"))) > 1 and (
            _is_by_window(inputs.get("multi_prompts_gen_type"))):
        found.append(SettingsError(
            f"a video starts with one image, and there are {given} start images. Remove all but "
            "one; a clip can have a reference of its own in the storyboard.", "start-image"))
    elif "S" in prompt_type and _is_missing(image):
        found.append(SettingsError(
            f"there is no start image {image}. Add another, or correct its path.", "start-image"))
    elif "S" in prompt_type and isinstance(image, (str, Path)) and not board.is_image(str(image)):
        found.append(SettingsError(
            f"the start image {Path(image).name} cannot be read as an image. Add another, such as "
            "a PNG or a JPEG.", "start-image"))
    if "V" in prompt_type and video is None and "video_source" in inputs:
        found.append(SettingsError(
            "add the video to continue (video_source), or start with an image.",
            "source-video"))
    elif "V" in prompt_type and _is_missing(video):
        found.append(SettingsError(
            f"there is no video {video} to continue. Add another, or correct its path.",
            "source-video"))
    if commands := board.commands(str(inputs.get("prompt") or "")):
        named = " and ".join(f"/{name}" for name in sorted(commands))
        found.append(SettingsError(
            f"remove {named} from the prompt: with commands in it, WanGP plans windows of other "
            f"lengths, and SVI's clips always have {CLIP_FRAMES} frames. The storyboard has "
            "strengths and cuts (new shot) for single clips.", "window-commands"))
    return found


def first_image(images: Any) -> Any:
    """A picture or a path: the first of a gallery's pairs of a picture and its caption, of a list,
    or the only one; None if there is none."""
    while isinstance(images, (list, tuple)):
        images = images[0] if images else None
    return images if images != "" else None


def _number_of(images: Any) -> int:
    """How many images a gallery has, as a list."""
    return len(images) if isinstance(images, list) else 1


def _is_by_window(mode: Any) -> bool:
    """Whether all prompts are for one video, and WanGP takes one image. Older ones have numbers."""
    return mode == 1 or "W" in str(mode)


def is_blank(image: Any) -> bool:
    """Whether there is no image, or a black one: WanGP puts that in where there is none."""
    if isinstance(image, (str, Path)) and is_file(image):
        seen = Path(image).stat()
        return _is_black(str(image), seen.st_mtime_ns, seen.st_size)
    return image is None or hasattr(image, "convert") and image.convert("RGB").getbbox() is None


@lru_cache(maxsize=16)  # the form asks at every change
def _is_black(path: str, changed: int, size: int) -> bool:
    with contextlib.suppress(Exception):  # no picture, no PIL
        from PIL import Image

        with Image.open(path) as opened:
            small = opened.width * opened.height <= MOST_PIXELS
            return small and is_blank(opened.convert("RGB"))
    return False


def _is_missing(path: Any) -> bool:
    return isinstance(path, (str, Path)) and not is_file(path)


def _possible_frames(frames: Any) -> bool:
    try:
        return 1 <= int(frames or CLIP_FRAMES) <= CLIP_FRAMES * MAX_CLIPS
    except (TypeError, ValueError, OverflowError):
        return False


def unfit_rows(plan: Plan, inputs: Mapping[str, Any], only: Path | None = None
               ) -> list[SettingsError]:
    """What of the storyboard cannot be done; `only`: the folder where its images must be."""
    clips = clips_of(plan, inputs)
    return [*board.obstacles(plan.board, plan.variant, clips, continues(inputs), only)]


def awaits_sound(plan: Plan, inputs: Mapping[str, Any]) -> bool:
    """Whether the video is as long as a sound that is not there, or cannot be read."""
    return plan.sound and not sound.clips(inputs)


def clips_of(plan: Plan, inputs: Mapping[str, Any]) -> int:
    """The clips of a video, without those of a video that it continues."""
    if plan.sound and (clips := sound.clips(inputs)):
        return clips
    frames, overlap = int(inputs.get("video_length") or CLIP_FRAMES), plan.variant.overlap
    clips = chain.clips_of(frames, overlap, _of_source(plan, inputs))
    return pose_video.capped(clips, inputs, overlap) if plan.variant.poses else clips


def _of_source(plan: Plan, inputs: Mapping[str, Any]) -> int:
    """The frames that WanGP adds to a request that continues a video: the overlap less one."""
    return plan.variant.overlap - 1 if continues(inputs) else 0


def rate_of(plan: Plan, inputs: Mapping[str, Any]) -> Fraction:
    """The frames a second of a video; see `required`."""
    fixed = plan.sound or plan.variant.poses
    return Fraction(plan.fps) if fixed else source_video.rate(inputs, plan.fps)


def frames_of(plan: Plan, inputs: Mapping[str, Any]) -> int:
    """The frames that a request adds: WanGP is asked for one more if they are a loop, which gives
    up its last one."""
    return plan.frames(clips_of(plan, inputs)) - _of_source(plan, inputs)


def required(plan: Plan, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What WanGP's settings must be for SVI."""
    overlap = plan.variant.overlap
    frames = chain.length(clips_of(plan, inputs), overlap) - _of_source(plan, inputs)
    wanted = {"video_length": frames, "sliding_window_size": CLIP_FRAMES,
              "sliding_window_overlap": overlap}
    # anything else would repaint, shift or cut the frames that the next clip starts from; not every
    # WanGP has all of these
    fixed = {"sliding_window_discard_last_frames": 0, "sliding_window_trim_first_frames": 0,
             "sliding_window_color_correction_strength": 0,
             **({"force_fps": ""} if plan.sound else {}),
             **(pose_video.required(inputs) if plan.variant.poses else {})}
    return wanted | {name: value for name, value in fixed.items() if name in inputs}


def active_loras(chosen: list[str] | None, model_def: Mapping[str, Any] | None) -> list[str]:
    """The active LoRAs: those of the model definition, then the user's."""
    built_in = (model_def or {}).get("loras")
    return [*(built_in if isinstance(built_in, list) else []), *(chosen or [])]


def file_name(name: str) -> str:
    """The file name of a LoRA, which WanGP gives as a path or URL."""
    return name.replace("\\", "/").rpartition("/")[2]


def accelerates(name: str) -> bool:
    """Whether a LoRA is an accelerator, by the name of its file."""
    return identify(name) is None and bool(_ACCELERATOR.search(file_name(name).lower()))
