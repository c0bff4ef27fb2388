"""Sounds and videos that a user gives: opened with care, and read once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from ..files import explain
from ..untrusted import is_file

Found = TypeVar("Found")


class MediaError(ValueError):
    """A file that cannot be used. The message says why, and lacks its full stop."""


def opened(path: Path | str, formats: str) -> Any:
    """A file for PyAV, of one of the formats. A list of other files or of addresses is a sound or a
    video for FFmpeg, too, if it is asked."""
    import av

    return av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": formats},
                   metadata_errors="replace")


def remembered(noun: str, kind: str) -> Callable[[Callable[[str], Found]], Callable[[Any], Found]]:
    """For a function that reads a file with PyAV: it reads each file once, as long as that stays as
    it is, and raises MediaError."""
    def wrap(read: Callable[[str], Found]) -> Callable[[Any], Found]:
        @lru_cache(maxsize=16)
        def once(path: str, changed: int, size: int) -> Found:
            import av

            try:
                return read(path)
            except MediaError:
                raise
            except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
                raise MediaError(f"the file {Path(path).name} cannot be read as {kind} "
                                 f"({getattr(error, 'strerror', '') or explain(error)})") from error

        @wraps(read)
        def find(path: Any) -> Found:
            if not isinstance(path, (str, Path)) or not is_file(path):
                raise MediaError(f"there is no {noun} {path}")
            seen = Path(path).stat()
            return once(str(path), seen.st_mtime_ns, seen.st_size)

        return find
    return wrap
