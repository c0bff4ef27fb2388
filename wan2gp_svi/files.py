"""Files that are written whole or not at all, files of strangers, and locked folders.

Standard library only.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

UNFINISHED = ".svi-unfinished"  #: in the name of a file that is being written

# what nobody meets: a run of 1,500 clips with 1,200 letters for each takes 6 MB and 100,000 values
MOST_JSON = 12 * 2**20  #: bytes of JSON that are read
_MOST_VALUES = 300_000  # in it: an empty list takes 2 bytes of text and 64 of memory
_DEEPEST = 50  # lists and objects inside each other
_LONGEST_NUMBER = 100  # characters; thousands would take long to read

_NO_NAME = re.compile(r"[\x00-\x1f\x7f/\\:]|[ .]$")  # Windows leaves out blanks and dots at an end
_DEVICE = re.compile(r"(con|prn|aux|nul|con(in|out)\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\..*)?", re.I)


class Busy(Exception):
    """Another process has locked the folder."""


def unfinished(path: Path) -> Path:
    """Where `path` is written first. It keeps the suffix: programs choose a format by it."""
    return path.with_name(f"{path.stem}{UNFINISHED}{path.suffix}")


def write(path: Path, make: bytes | Callable[[Path], object]) -> None:
    """Writes a file, given as bytes or as a function that writes to a path. If the process is
    killed, the file is as it was or as it should be. Raises OSError."""
    part = unfinished(path)
    try:
        stage(part, make)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def stage(part: Path, make: bytes | Callable[[Path], object]) -> None:
    """Writes `part`, and waits until the disk has it. On an error, half of it may be left."""
    if isinstance(make, bytes):
        part.write_bytes(make)
    else:
        make(part)
    with part.open("r+b") as file:
        os.fsync(file.fileno())


def read(path: Path) -> bytes | None:
    """The content of a file; None if there is no such file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or unreadable."""
    try:
        return parse_json(content(path))
    except (OSError, ValueError):
        return None


# -------------------------------------------------------------------------------- what others wrote

def content(path: Path, most: int = MOST_JSON) -> bytes:
    """The content of a file of at most so many bytes. Raises OSError, and ValueError, which says
    why, for a larger one and for what is no file, such as a pipe that never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        data = file.read(most + 1)
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


def is_name(text: Any) -> bool:
    """Whether this names a file in its folder and nothing elsewhere, on Windows and on Linux."""
    return (isinstance(text, str) and 0 < len(text) <= 255 and not _NO_NAME.search(text)
            and not _DEVICE.fullmatch(text))


def lock(folder: Path) -> Callable[[], None]:
    """Locks `folder` against other processes, until the returned function is called or this process
    ends. Raises Busy if another one has it."""
    handle = -1
    try:
        if sys.platform == "win32":
            place = hashlib.sha256(str(folder.resolve()).lower().encode("utf-8")).hexdigest()[:16]
            name = Path(tempfile.gettempdir()) / f"wan2gp_svi-{place}.lock"
            handle = os.open(name, os.O_RDWR | os.O_CREAT)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            handle = os.open(folder, os.O_RDONLY)  # the folder itself, so no lock file is left
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if handle >= 0 and error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            os.close(handle)
            raise Busy(str(folder)) from None
        # a disk without locks: work without one

    def release() -> None:
        nonlocal handle
        if handle >= 0:
            os.close(handle)
            handle = -1

    return release
