"""What others wrote: files of any size and kind, JSON, names, values. Standard library only.

Runs, videos, queues and LoRA files are passed around, so whoever wrote one may have meant harm.
"""

import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# what nobody meets: a run of 1,500 clips with 1,200 letters for each takes 6 MB and 100,000 values
MOST_JSON = 12 * 2**20  #: bytes of JSON that are read
_MOST_VALUES = 300_000  # in it: an empty list takes 2 bytes of text and 64 of memory
_DEEPEST = 50  # lists and objects inside each other
_LONGEST_NUMBER = 100  # characters; thousands would take long to read

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]")
_NO_NAME = re.compile(r"[\x00-\x1f\x7f/\\:]|[ .]$")  # Windows leaves out blanks and dots at an end
_DEVICE = re.compile(r"(con|prn|aux|nul|con(in|out)\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\..*)?", re.I)


def content(path: Path, most: int = MOST_JSON) -> bytes:
    """The content of a file of at most so many bytes. Raises OSError, and ValueError, which says
    why, for a larger one and for what is no file, such as a pipe that never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size  # as much memory is taken as is asked for
        data = file.read(min(size, most) + 1)
    if len(data) > most:
        raise ValueError(f"it is longer than {most / 1e6:.1f} MB")
    return data


def fits(data: bytes) -> bool:
    """Whether JSON is short enough to be read."""
    return (len(data) <= MOST_JSON
            and sum(map(data.count, (b"[", b"{", b","))) <= _MOST_VALUES)


def parse_json(data: bytes) -> Any:
    """JSON that anybody may have written, as values that can be written again. Raises ValueError,
    which says why."""
    if not fits(data):
        raise ValueError("it holds too much")
    try:
        found = DECODER.decode(data.decode("utf-8-sig"))
        _check(found, _DEEPEST)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON (line {error.lineno}, column {error.colno})"
                         ) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeError:
        raise ValueError("its text is not UTF-8") from None
    return found


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str):
        if not value.isascii():
            value.encode("utf-8")  # half a character cannot be written
    elif isinstance(value, (dict, list)):
        if not levels:
            raise RecursionError
        for one in value:
            _check(one, levels - 1)
        for one in value.values() if isinstance(value, dict) else ():
            _check(one, levels - 1)


def _number(text: str, kind: type[int] | type[float] = float) -> int | float:
    if len(text) > _LONGEST_NUMBER or not math.isfinite(number := kind(text)):
        raise ValueError(f"it has a number that cannot be used: {text[:20]}")
    return number


DECODER = json.JSONDecoder(parse_int=partial(_number, kind=int), parse_float=_number,
                           parse_constant=_number)


def header(path: Path) -> tuple[dict[str, Any], int]:
    """What a safetensors file says of its tensors, and where the first of them begins. Raises
    OSError, and ValueError if it is no such file."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        found = parse_json(file.read(min(length, MOST_JSON + 1)))
    if not isinstance(found, dict):
        raise ValueError("it has no header")
    return found, 8 + length


def is_complete(path: Path) -> bool:
    """Whether a safetensors file has as many bytes as its header says, whatever its rank."""
    try:
        tensors, start = header(path)
        ends = [one["data_offsets"][1] for name, one in tensors.items() if name != "__metadata__"]
        return bool(ends) and path.stat().st_size == start + max(ends)
    except (OSError, ValueError, TypeError, LookupError):
        return False


def is_name(text: Any) -> bool:
    """Whether this names a file in its folder and nothing elsewhere, on Windows and on Linux."""
    return (isinstance(text, str) and 0 < len(text.encode("utf-8", "replace")) <= 255
            and not _NO_NAME.search(text) and not _DEVICE.fullmatch(text))


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; no where a system does not take such a path."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


# ------------------------------------------------------------------------------------------- values

@dataclass(frozen=True)
class Kind:
    """What a value may be: in words, as a test, and as it is kept."""

    words: str
    fits: Callable[[Any], bool]
    kept: Callable[[Any], Any] = lambda value: value


def misfit(values: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str:
    """What is wrong with the first value that is not what it may be; ""."""
    return next((f"{name} is {reprlib.repr(values[name])}, not {kind.words}"
                 for name, kind in kinds.items() if name in values and not kind.fits(values[name])),
                "")


def number(least: float, most: float, kind: type[int] | type[float] = int) -> Kind:
    """A float may be written as a whole number, too."""
    what = "whole number" if kind is int else "number"
    return Kind(f"a {what} from {least:,} to {most:,}",
                lambda one: type(one) in (int, kind) and least <= one <= most)


def text(most: int) -> Kind:
    return Kind("text" if most >= MOST_JSON else f"text of at most {most:,} characters",
                lambda one: isinstance(one, str) and len(one) <= most)


def many(kind: Kind, most: int) -> Kind:
    return Kind(f"a list of at most {most:,}: {kind.words}", lambda one: (
        isinstance(one, list) and len(one) <= most and all(map(kind.fits, one))))


def has(known: Mapping[str, Kind]) -> Kind:
    """An object with values of these kinds, if it has them, and any others."""
    return Kind(f"an object, with {', '.join(known)} as SVI writes them" if known else "an object",
                lambda one: isinstance(one, dict) and not misfit(one, known))


def either(*kinds: Kind) -> Kind:
    return Kind(" or ".join(kind.words for kind in kinds),
                lambda one: any(kind.fits(one) for kind in kinds))


def line(most: int = 4096) -> Kind:
    return Kind(f"one line of at most {most:,} characters", lambda one: (
        isinstance(one, str) and len(one) <= most and not _CONTROL.search(one)))


NOTHING = Kind("nothing", lambda one: one is None)
NAME = Kind("a name of a file", is_name)
