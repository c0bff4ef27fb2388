"""Files that are written whole or not at all, and locked folders. Standard library only.

On Windows, nobody opens, replaces or removes a file at the moment in which another program has it
open, such as a virus scanner, OneDrive or a reader of ours. So all that is tried for a while.
"""

import contextlib
import errno
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from .untrusted import content, parse_json

if sys.platform == "win32":
    import _winapi
else:
    import fcntl

UNFINISHED = ".svi-unfinished"  #: in the name of a file that is being written
#: seconds for which a file is tried that another program has; elsewhere than on Windows it is free
PATIENCE = 1.0 if os.name == "nt" else 0.0
_PAUSE = 0.001  # seconds between two tries: a reader that never pauses leaves short gaps
_WAIT = 0.2  # seconds for a lock: somebody may be looking at it

Found = TypeVar("Found")


class Busy(Exception):
    """Another process has locked the folder."""


def unfinished(path: Path) -> Path:
    """Where `path` is written first. It keeps the suffix: programs choose a format by it."""
    return path.with_name(f"{path.stem}{UNFINISHED}{path.suffix}")


def write(path: Path, make: bytes | Callable[[Path], object]) -> None:
    """Writes a file, given as bytes or as a function that writes to a path. If the process is
    killed, the file is as it was or as it should be. Raises OSError, which names `path`."""
    part = unfinished(path)
    try:
        stage(part, make)
        replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove(part)
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            error.filename = str(path)
        raise


def stage(part: Path, make: bytes | Callable[[Path], object]) -> None:
    """Writes `part`, and waits until the disk has it. On an error, half of it may be left."""
    if isinstance(make, bytes):
        patiently(partial(part.write_bytes, make))
    else:
        make(part)
    with patiently(lambda: part.open("r+b")) as file:
        os.fsync(file.fileno())


def replace(part: Path, path: Path) -> None:
    """Puts a file or folder in the place of another file. An error names that one."""
    try:
        patiently(lambda: part.replace(path))
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def remove(path: Path) -> None:
    """Removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        patiently(path.unlink)


def read(path: Path) -> bytes | None:
    """The content of a file; None if there is no such file."""
    try:
        return patiently(path.read_bytes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        if path.is_dir():  # Windows only says that access is denied
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        raise


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if it is missing or unreadable."""
    try:
        return parse_json(patiently(partial(content, path)))
    except (OSError, ValueError):
        return None


def sha256(path: Path) -> str:
    """The hash of a file, however large. Raises OSError."""
    found = hashlib.sha256()
    with patiently(lambda: path.open("rb")) as file:
        while data := file.read(2**20):
            found.update(data)
    return found.hexdigest()


def patiently(work: Callable[[], Found]) -> Found:
    """Does `work`, again and again for `PATIENCE` while a file is in use."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return work()
        except PermissionError:
            if time.monotonic() >= end:
                raise
        time.sleep(_PAUSE)


def is_protected(path: Path) -> bool:
    """Whether the file or folder is there and write-protected."""
    try:
        return not path.stat().st_mode & stat.S_IWRITE
    except OSError:
        return False


def explain(error: Exception, known: Path | None = None) -> str:
    """An error in words for the user: the file, unless it is the `known` one, and what is wrong
    with it."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    what, path = error.strerror, Path(os.fsdecode(error.filename or ""))
    if isinstance(error, PermissionError) and PATIENCE and path.is_file():
        what = "it is write-protected" if is_protected(path) else (
            "another program uses it, or you have no permission")
    return f"{path}: {what}" if error.filename and path != known else what


def remedy(error: Exception) -> str:
    """What the user can do about a file that cannot be written, as the beginning of a sentence."""
    if isinstance(error, PermissionError):
        return "Close the program that uses the file, or allow writing"
    full = {errno.ENOSPC, getattr(errno, "EDQUOT", None)}  # a quota, which Windows lacks
    return "Free some disk space" if getattr(error, "errno", 0) in full else "Check the disk"


# -------------------------------------------------------------------------------------------- locks

def lock(folder: Path) -> Callable[[], None]:
    """Locks `folder` against other processes, until the returned function is called or this process
    ends. Raises Busy if another one has it."""
    end = time.monotonic() + _WAIT
    while True:
        try:
            held = [_lock(folder)]
            break
        except _Taken:
            if time.monotonic() >= end:
                raise Busy(str(folder)) from None
        except OSError:  # a disk without locks: work without one
            held = []
            break
        time.sleep(0.01)

    def release() -> None:
        while held:
            held.pop()()

    return release


class _Taken(Exception):
    """Somebody has the lock now, perhaps only to look."""


if sys.platform == "win32":
    _DELETE, _GENERIC_READ, _OPEN_ALWAYS, _DELETE_ON_CLOSE = 0x10000, 0x80000000, 4, 0x4000000
    _SHARING_VIOLATION = 32

    def _lock_file(folder: Path) -> Path:
        """Not in the folder, which could not be renamed then."""
        place = hashlib.sha256(str(folder.resolve()).lower().encode("utf-8")).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"wan2gp_svi-{place}.lock"

    def _lock(folder: Path) -> Callable[[], object]:
        """A file that nobody else can open; Windows deletes it when it is closed, however."""
        try:
            handle = _winapi.CreateFile(str(_lock_file(folder)), _DELETE | _GENERIC_READ, 0, 0,
                                        _OPEN_ALWAYS, _DELETE_ON_CLOSE, 0)
        except PermissionError as error:
            if error.winerror == _SHARING_VIOLATION:
                raise _Taken from error
            raise
        return partial(_winapi.CloseHandle, handle)

    def is_locked(folder: Path) -> bool:
        """Whether a process has locked `folder`."""
        try:
            _lock_file(folder).unlink()  # left by a power cut
        except OSError as error:
            return isinstance(error, PermissionError)
        return False
else:
    def _lock(folder: Path) -> Callable[[], object]:
        """The folder itself, so no lock file is left."""
        return _flocked(folder, fcntl.LOCK_EX)

    def _flocked(folder: Path, how: int) -> Callable[[], object]:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise _Taken from error
            raise
        return partial(os.close, handle)

    def is_locked(folder: Path) -> bool:
        """Whether a process has locked `folder`."""
        try:
            _flocked(folder, fcntl.LOCK_SH)()  # shared and for a moment: `lock` tries again
        except (_Taken, OSError) as error:
            return isinstance(error, _Taken)
        return False
