"""What is written down about a run and about each of its clips, as JSON."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__, files
from ..untrusted import (
    MOST_JSON,
    NAME,
    NOTHING,
    Kind,
    content,
    either,
    fits,
    has,
    line,
    many,
    misfit,
    number,
    parse_json,
    text,
)
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
    `asks`        what the storyboard asked of it, besides; see `storyboard.Row.key`
    `seconds`     that it took to make; 0 if unknown
    `holds`       its files: name -> SHA-256 and size in bytes
    """

    number: int
    prompt: str
    seed: int
    frames: int
    tail: int = 0
    tail_stays: bool = False
    after: str = ""
    asks: str = ""
    seconds: float = field(default=0, compare=False)
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
    `sound`       what each clip hears, as hashes; none without a sound
    `asks`        what the storyboard asks of each clip, up to the last row
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
    sound: list[str] = field(default_factory=list)
    asks: list[str] = field(default_factory=list)


Record = TypeVar("Record", Clip, About)


_PIECE = re.compile(r"[0-9]{4,6}(-tail)?\.(?!json)[A-Za-z0-9]{2,11}")
_HASH = re.compile(r"[0-9a-f]{64}")
_COUNT, _FRAMES, _SEED = number(1, 100_000), number(0, 10**6), number(-(2**63), 2**63)
_TEXT, _LINE = text(MOST_JSON), line()
_PROMPTS = Kind("prompts", lambda one: many(_TEXT, 100_000).fits(one) and len(one) > 0)


def _holds(one: Any) -> bool:
    return has({}).fits(one) and len(one) <= 3 and all(
        _PIECE.fullmatch(name) and isinstance(facts, list) and len(facts) == 2
        and isinstance(facts[0], str) and _HASH.fullmatch(facts[0])
        and number(0, 2**40).fits(facts[1]) for name, facts in one.items())


def _base(one: Any) -> bool:
    return one is None or (isinstance(one, list) and len(one) == 2 and NAME.fits(one[0])
                           and _COUNT.fits(one[1]))


#: record -> each field, and what it may hold
FIELDS: dict[type, dict[str, Kind]] = {
    Clip: {
        "number": number(0, 99_999), "prompt": _TEXT, "seed": _SEED, "frames": _FRAMES,
        "tail": _FRAMES, "tail_stays": Kind("true or false", lambda one: isinstance(one, bool)),
        "after": _LINE, "asks": _TEXT, "seconds": number(0, 10**7, float),
        "holds": Kind(
            "up to 3 files of a clip, each with its SHA-256 and its size", _holds,
            lambda one: {name: (digest, size) for name, (digest, size) in one.items()}),
    },
    About: {
        "variant": Kind("a variant that this version of SVI for WanGP knows",
                        lambda one: isinstance(one, str) and one in VARIANTS),
        "title": _LINE, "clips": _COUNT, "seed": _SEED, "fps": number(0.1, 1000, float),
        "asked": _PROMPTS, "prompts": _PROMPTS, "repeat": _COUNT,
        "decides": has({"SVI seed step": number(1, 1000)}),
        "settings": has({"model_type": _LINE, "sliding_window_overlap": number(0, 80),
                         "custom_settings": either(NOTHING, has({}))}),
        "base": Kind("a run's name and a number of clips, or nothing", _base,
                     lambda one: one and tuple(one)),
        "ended": _TEXT, "video": text(2**15), "made": _LINE, "version": _LINE,
        "label": text(1000), "sound": many(line(16), 2000), "asks": many(_TEXT, 2000),
    },
}


def as_json(record: Clip | About) -> bytes:
    data = {"format": FORMAT, **asdict(record)}
    return json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8")


def read(path: Path, kind: type[Record]) -> Record:
    """A record from its file. Raises StoreError if it cannot be read or has another format."""
    try:
        return parse(files.patiently(partial(content, path)), kind)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {files.explain(error, path)}") from None


def check(about: About) -> None:
    """Raises StoreError if the record of a run, which grows by WanGP's settings, could not be read
    once it is written."""
    try:
        data = as_json(about)
        parse(data, About)
        if not fits(2 * data):
            raise ValueError("the prompts are too long")
    except ValueError as error:
        raise StoreError(f"this video cannot be kept as a run: {error}") from None


def parse(data: bytes, kind: type[Record]) -> Record:
    """A record from JSON, which anybody may have written. Raises ValueError, which says why not."""
    values, known = parse_json(data), FIELDS[kind]
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise ValueError("it is not a record of a run")
    if values.pop("format") != FORMAT:
        raise ValueError("it was written by another version of SVI for WanGP")
    needed = {one.name for one in fields(kind) if one.default is one.default_factory is MISSING}
    unknown = values.keys() - known.keys()
    for what, names in (("lacks", needed - values.keys()), ("has the unknown", unknown)):
        if names:
            raise ValueError(f"it {what} {reprlib.repr(min(names))}")
    if wrong := misfit(values, known):
        raise ValueError(wrong)
    return kind(**{name: known[name].kept(value) for name, value in values.items()})
