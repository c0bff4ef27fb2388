"""Files that are there whole or not at all, and folders that one process has to itself. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

UNFINISHED = ".svi-unfinished"  #: ending of a file that is being written


class Busy(Exception):
    """Another process has the folder to itself."""


def unfinished(path: Path) -> Path:
    """Where `path` is written before it takes its place. The ending stays: programs choose a format by it."""
    return path.with_name(f"{path.stem}{UNFINISHED}{path.suffix}")


def write(path: Path, make: bytes | Callable[[Path], object]) -> None:
    """Writes a file, given as bytes or by a function that writes to the path that it is given. Raises OSError.

    Killed at any moment, the file is the old one, or missing as before, or the new one.
    """
    part = unfinished(path)
    try:
        if isinstance(make, bytes):
            part.write_bytes(make)
        else:
            make(part)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def lock(folder: Path) -> Callable[[], None]:
    """Keeps every other process out of `folder`, until the function that is returned is called, or this process has
    ended, however that comes about. Raises Busy where another one has it."""
    handle = -1
    try:
        if fcntl:
            handle = os.open(folder, os.O_RDONLY)  # the folder itself: no file of a lock is left behind
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            name = hashlib.sha256(str(folder.resolve()).lower().encode("utf-8")).hexdigest()[:16]
            handle = os.open(Path(tempfile.gettempdir()) / f"wan2gp_svi-{name}.lock", os.O_RDWR | os.O_CREAT)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if handle >= 0 and error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            os.close(handle)
            raise Busy(str(folder)) from None
        # a disk that knows no locks: as good as it goes

    def release() -> None:
        nonlocal handle
        if handle >= 0:
            os.close(handle)
            handle = -1

    return release
