"""Files that are written whole or not at all, and locked folders. Standard library only."""

import contextlib
import errno
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .untrusted import content, parse_json

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

UNFINISHED = ".svi-unfinished"  #: in the name of a file that is being written


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
