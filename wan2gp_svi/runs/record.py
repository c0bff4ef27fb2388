"""What is written down about a run and about each of its clips, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .. import __version__, files

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


def as_json(record: Clip | About) -> bytes:
    data = {"format": FORMAT, **asdict(record)}
    return json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8")


def read(path: Path, kind: type[Record]) -> Record:
    """A record from its file. Raises StoreError if it cannot be read or has another format."""
    try:
        data = json.loads(files.patiently(path.read_bytes).decode("utf-8"))
        if data.pop("format") != FORMAT:
            raise StoreError(f"{path} was written by another version of SVI for WanGP, and this "
                             "one cannot read it")
        if "holds" in data:
            data["holds"] = {name: (digest, size) for name, (digest, size) in data["holds"].items()}
        if data.get("base"):
            data["base"] = tuple(data["base"])
        return kind(**data)
    except StoreError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise StoreError(f"{path} cannot be read: {files.explain(error, path)}") from None
