"""What a storyboard asks for, in WanGP: its images, the strengths of LoRAs, what cannot be done.

WanGP names used here: the keys of its settings, and `loras_slists` of `generate`, which holds for
each phase the strengths of all LoRAs, one number or a list of one for each step.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .. import chain, files
from ..storyboard import LOOP, Row, Storyboard
from ..text import count, named
from ..untrusted import is_file
from ..variants import Variant
from . import visitors
from .form import SettingsError

_COMMANDS = ("duration", "overlap", "new_shot", "loras_mult")  # in WanGP's prompts
_ORIENTATION = 0x112  # of the camera, in EXIF
MOST_PIXELS = 7680 * 4320  #: of a picture that is looked at before WanGP opens it


def obstacles(board: Storyboard, variant: Variant | None, clips: int, continues: bool,
              only: Path | None = None) -> Iterator[SettingsError]:
    """What of a storyboard cannot be done in a video of so many clips, a sentence each. `variant`:
    None for what none can do. `only`: the folder where its images must be."""
    by_variant = [] if variant is None else _unlike(board, variant)
    for text in (*_faults(board, clips, continues), *by_variant, *_unusable(board, only)):
        yield SettingsError(f"storyboard: {text}", "storyboard")


def _faults(board: Storyboard, clips: int, continues: bool) -> Iterator[str]:
    if board.clips > clips:
        beyond = [clip for clip in board.rows if clip >= clips]
        yield (f"{named(beyond)} {'is' if len(beyond) == 1 else 'are'} not in this video, which "
               f"has {count(clips, 'clip')}. Add clips, or remove "
               f"{'that row' if len(beyond) == 1 else 'those rows'}.")
    rows, first = board.rows.items(), board.row(0)
    if early := [clip for clip, row in rows if row.end_image == LOOP and clip < clips - 1]:
        yield (f"{named(early)} cannot close the loop, because only the last one ends the video. "
               f"Close it in clip {clips} instead.")
    elif continues and board.row(clips - 1).end_image == LOOP:
        yield "a video that continues another cannot be a loop. Start with an image instead."
    if told := [clip for clip, row in rows if commands(row.prompt)]:
        yield (f"WanGP's commands do not work in the prompt of {named(told)}. Remove them; for "
               "the strength of a LoRA, set \"SVI strength\" or \"accelerator strength\".")
    if off := [clip for clip, row in rows if row.svi_strength == 0 and clip]:
        yield (f"{named(off)} would be made without the SVI LoRA, and only clip 1 can be. Set "
               "\"SVI strength\" above 0.")
    if first.svi_strength == 0 and (continues or first.end_image or first.reference):
        yield ("clip 1 without the SVI LoRA is as WanGP makes it from the start image alone. "
               "Remove its reference and end image, and do not continue a video.")
    if first.new_shot:
        yield "clip 1 is a new shot already. Remove \"new shot\" from it."


def _unlike(board: Storyboard, variant: Variant) -> Iterator[str]:
    """What this variant cannot do."""
    rows, first = board.rows.items(), board.row(0)
    grey = variant.ref_pad_num == 0 and not variant.pro
    padded = [clip for clip, row in rows if row.reference and not row.new_shot]
    if grey and padded:
        yield (f"{variant.title} pads with grey, so the reference of {named(padded)} would have "
               "no effect. Remove it, or use SVI-Shot or SVI-2.0.")
    ends = [clip for clip in padded if board.row(clip).end_image]
    if ends and variant.wan == "2.2" and not (grey or variant.pro):  # see `encoding`
        yield (f"before an end image, {variant.title} pads with grey, so the reference of "
               f"{named(ends)} would have no effect. Remove it, or the end image.")
    if variant.pro and first.reference:
        yield (f"in {variant.title}, clip 1 starts from its reference, which is the start image. "
               "Remove the reference of clip 1, or change the start image.")
    if first.svi_strength == 0 and variant.poses:
        yield "clip 1 follows no poses without the SVI LoRA. Set its \"SVI strength\" above 0."


def _unusable(board: Storyboard, only: Path | None) -> Iterator[str]:
    for path in images(board):
        if only is not None and visitors.is_foreign(path, only):
            yield (f"other computers can open this page, so it takes images from {only} "
                   f"alone. Add {path} in the tab SVI, or set the environment variable "
                   f"{visitors.TRUST}=1 and start WanGP again.")
        elif why := _unreadable(path):
            yield f"the image {path} {why}. Add another, or correct its path."


def same_seed(board: Storyboard, clips: int, base: Any = None) -> str:
    """Which clips have one seed, if a row asks for it, and what to do; "". `base`: the seed of the
    video, from which those of other clips follow; none is known before a random one is drawn."""
    known = isinstance(base, int) and base >= 0
    found: dict[int, list[int]] = {}
    for clip in range(clips if known else min(clips, board.clips)):
        own = board.row(clip).seed
        if own is not None or known:
            seed = chain.seed(base, clip, board.seed_step) if own is None else own
            found.setdefault(seed, []).append(clip)
    return next((f"{named(shared)} have the same seed, {seed}, so they start from the same noise. "
                 "Give each its own, or none." for seed, shared in found.items()
                 if len(shared) > 1), "")


# ------------------------------------------------------------------------------------------- images

def images(board: Storyboard) -> list[str]:
    """The paths of a storyboard's images, each once."""
    named = [path for row in board.rows.values() for path in (row.reference, row.end_image)]
    return [*dict.fromkeys(path for path in named if path not in ("", LOOP))]


def _renamed(row: Row, paths: Mapping[str, str]) -> Row:
    return replace(row, reference=paths.get(row.reference, row.reference),
                   end_image=paths.get(row.end_image, row.end_image))


def keys(board: Storyboard) -> list[str]:
    """For each clip up to the last that has a row, what is asked of it, with hashes of the images
    in the place of their paths; see `Row.key`."""
    hashes = {path: digest(path) for path in images(board)}
    return [_renamed(board.row(clip), hashes).key() for clip in range(board.clips)]


def commands(prompt: str) -> set[str]:
    """The names of WanGP's commands in a prompt: `duration` of `[/duration=5s, overlap=9]`, and
    `overlap`. What a comma adds to the value before is none."""
    parts = [part.strip() for block in re.findall(r"\[\s*(/[^\]]*)\]", prompt)
             for part in block.split(",")]
    named = {part.lstrip("/ ").partition("=")[0].strip().lower() for part in parts
             if part.startswith("/") or "=" in part or part.lower() in _COMMANDS}
    return named - {""}


def digest(path: str) -> str:
    """The hash of an image, by which a run knows it. Raises SettingsError."""
    try:
        seen = Path(path).stat()
        return _digest(path, seen.st_mtime_ns, seen.st_size)
    except (OSError, ValueError) as error:
        raise SettingsError(f"The image {path} of the storyboard cannot be read "
                            f"({files.explain(error)}). Add another.", "storyboard") from None


@lru_cache(maxsize=256)
def _digest(path: str, changed: int, size: int) -> str:
    return files.sha256(Path(path))[:16]


def _unreadable(path: str) -> str:
    """Why an image cannot be used; ""."""
    if not is_file(path):
        return "does not exist"
    if not is_image(path):
        return "cannot be read as an image"
    width, height = _shape(path)
    return f"is {width}x{height}, larger than 8K" if width * height > MOST_PIXELS else ""


def is_image(path: str) -> bool:
    """Whether a file is an image that can be read. One larger than 8K is taken for one by its
    beginning; where nothing can read images, any file is."""
    return _shape(path) != (-1, -1)


def _shape(path: str) -> tuple[int, int]:
    """The width and height of an image; -1 if it cannot be read, 0 if this Python reads none."""
    seen = Path(path).stat()
    return _remembered_shape(path, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=256)
def _remembered_shape(path: str, changed: int, size: int) -> tuple[int, int]:
    try:
        from PIL import Image
    except ImportError:  # the check of a file, with a Python that cannot read images
        return 0, 0
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height <= MOST_PIXELS:
                opened.load()
            return opened.size
    except Exception:  # whatever a stranger's file holds
        return -1, -1


def cropped(path: str, shape: tuple[int, int]) -> float:
    """How much of an image is cut off for a video of that width and height: 0 to 1."""
    with contextlib.suppress(Exception):
        from PIL import Image

        with Image.open(path) as opened:
            ratio = opened.width / opened.height
            if opened.getexif().get(_ORIENTATION, 1) > 4:  # it lies on its side
                ratio = 1 / ratio
            ratio /= shape[0] / shape[1]
            return 1 - min(ratio, 1 / ratio)
    return 0


# ---------------------------------------------------------------------------------------- strengths

def scaled(strengths: Any, factors: Sequence[float]) -> Any:
    """WanGP's strengths of LoRAs, each times its factor. Raises LookupError if they do not fit."""
    if not isinstance(strengths, Mapping):
        raise LookupError("this WanGP hands the strengths of LoRAs to its model in another way")
    return {name: _scaled(value, factors) if name.startswith("phase") or isinstance(value, Mapping)
            else value for name, value in strengths.items()}


def _scaled(value: Any, factors: Sequence[float]) -> Any:
    if isinstance(value, Mapping):  # of one of several branches
        return scaled(value, factors)
    if len(value) != len(factors):
        raise LookupError("this WanGP counts LoRAs in another way")
    return [[one * factor for one in strength] if isinstance(strength, list) else strength * factor
            for strength, factor in zip(value, factors, strict=True)]
