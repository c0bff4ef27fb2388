"""What is written down about a run and about each of its clips, as JSON."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__, files
from ..variants import VARIANTS

FORMAT = 1  #: of both files; a run in another format is listed, and left alone

Piece = tuple[Path, int]  #: a file with a part of the video, and its number of frames


class StoreError(ValueError):
    """Something that cannot be done with a run. The message says what, why, and what to do."""


@dataclass(frozen=True)
class Clip:
    """A finished clip.

    `frames`      of its first piece
    `tail`        frames of its second piece, which the last clip of a video has. The clip gives
                  them up when another clip follows, unless `tail_stays`
    `after`       the hash of the state of the previous clip
    `holds`       its files: name -> SHA-256 and size in bytes
    """

    number: int
    prompt: str
    seed: int
    frames: int
    tail: int = 0
    tail_stays: bool = False
    after: str = ""
    holds: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """How a run is made.

    `asked`       the prompts as the user wrote them
    `prompts`     the prompts as the model gets them, each for `repeat` clips
    `decides`     everything else that decides what the clips show
    `settings`    WanGP's own, to make the video again
    `base`        the run whose first clips were taken over, and how many
    `ended`       "finished", "stopped" by the user, why the run failed, or "" if unknown
    `video`       the file that the user sees
    `label`       the user's own name for the run, "" if there is none
    """

    variant: str
    title: str
    clips: int
    seed: int
    fps: float
    asked: list[str]
    prompts: list[str]
    repeat: int
    decides: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    base: tuple[str, int] | None = None
    ended: str = ""
    video: str = ""
    made: str = ""
    version: str = __version__
    label: str = ""


Record = TypeVar("Record", Clip, About)


# ---------------------------------------------------------------------------- what a record may say

@dataclass(frozen=True)
class Kind:
    """What a field may hold: in words, as a test, and as the record has it."""

    words: str
    fits: Callable[[Any], bool]
    kept: Callable[[Any], Any] = lambda value: value


def _number(least: float, most: float, kind: type[int] | type[float] = int) -> Kind:
    """A float may be written as a whole number, too."""
    what = "whole number" if kind is int else "number"
    return Kind(f"a {what} from {least:,} to {most:,}",
                lambda one: type(one) in (int, kind) and least <= one <= most)


def _is_object(value: Any, known: Mapping[str, Kind]) -> bool:
    return isinstance(value, dict) and all(
        kind.fits(value[name]) for name, kind in known.items() if name in value)


_PIECE = re.compile(r"[0-9]{4,6}(-tail)?\.(?!json)[A-Za-z0-9]{2,11}")
_TEXT = Kind("text", lambda one: isinstance(one, str))
_LINE = Kind("one line of text", lambda one: isinstance(one, str) and len(one) < 4096
             and not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", one))
_NAME = Kind("a file's name", files.is_name)
_COUNT, _FRAMES, _SEED = _number(1, 100_000), _number(0, 10**6), _number(-(2**63), 2**63)
_BYTES, _HASH = _number(0, 2**40), Kind("a SHA-256", lambda one: isinstance(one, str) and bool(
    re.fullmatch("[0-9a-f]{64}", one)))
_PROMPTS = Kind("a list of prompts", lambda one: isinstance(one, list) and 0 < len(one) <= 100_000
                and all(map(_TEXT.fits, one)))


def _pair(one: Any, first: Kind, second: Kind) -> bool:
    return isinstance(one, list) and len(one) == 2 and first.fits(one[0]) and second.fits(one[1])


#: record -> each field, and what it may hold
FIELDS: dict[type, dict[str, Kind]] = {
    Clip: {
        "number": _number(0, 99_999), "prompt": _TEXT, "seed": _SEED, "frames": _FRAMES,
        "tail": _FRAMES, "tail_stays": Kind("true or false", lambda one: isinstance(one, bool)),
        "after": _LINE,
        "holds": Kind(
            "up to 3 files of a clip, each with its SHA-256 and its size",
            lambda one: isinstance(one, dict) and len(one) <= 3 and all(
                _PIECE.fullmatch(name) and _pair(facts, _HASH, _BYTES)
                for name, facts in one.items()),
            lambda one: {name: (digest, size) for name, (digest, size) in one.items()}),
    },
    About: {
        "variant": Kind("a variant that this version of SVI for WanGP knows",
                        lambda one: isinstance(one, str) and one in VARIANTS),
        "title": _LINE, "clips": _COUNT, "seed": _SEED, "fps": _number(0.1, 1000, float),
        "asked": _PROMPTS, "prompts": _PROMPTS, "repeat": _COUNT,
        "decides": Kind("settings with an \"SVI seed step\" from 1 to 1,000",
                        lambda one: _is_object(one, {"SVI seed step": _number(1, 1000)})),
        "settings": Kind("WanGP's settings", lambda one: _is_object(one, {
            "model_type": _LINE, "sliding_window_overlap": _number(0, 80),
            "custom_settings": Kind("", lambda one: one is None or isinstance(one, dict))})),
        "base": Kind("a run's name and a number of clips, or nothing",
                     lambda one: one is None or _pair(one, _NAME, _COUNT),
                     lambda one: one and tuple(one)),
        "ended": _TEXT, "video": _LINE, "made": _LINE, "version": _LINE, "label": _LINE,
    },
}


def as_json(record: Clip | About) -> bytes:
    data = {"format": FORMAT, **asdict(record)}
    return json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8")


def read(path: Path, kind: type[Record]) -> Record:
    """A record from its file. Raises StoreError if it cannot be read or has another format."""
    try:
        return parse(files.content(path), kind)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None


def check(about: About) -> None:
    """Raises StoreError if the record of a run, which grows by WanGP's settings, could not be read
    once it is written."""
    try:
        data = as_json(about)
        parse(data, About)
        if not files.fits(2 * data):
            raise ValueError("the prompts are too long")
    except ValueError as error:
        raise StoreError(f"this video cannot be kept as a run: {error}") from None


def parse(data: bytes, kind: type[Record]) -> Record:
    """A record from JSON, which anybody may have written. Raises ValueError, which says why not."""
    values, known = files.parse_json(data), FIELDS[kind]
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise ValueError("it is not a record of a run")
    if values.pop("format") != FORMAT:
        raise ValueError("it was written by another version of SVI for WanGP")
    needed = {one.name for one in fields(kind) if one.default is one.default_factory is MISSING}
    unknown = values.keys() - known.keys()
    for what, names in (("lacks", needed - values.keys()), ("has the unknown", unknown)):
        if names:
            raise ValueError(f"it {what} {reprlib.repr(min(names))}")
    for name, value in values.items():
        if not known[name].fits(value):
            raise ValueError(f"{name} is {reprlib.repr(value)}, not {known[name].words}")
    return kind(**{name: known[name].kept(value) for name, value in values.items()})
