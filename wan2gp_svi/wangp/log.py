"""WanGP's log."""

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import wraps
from typing import Any

_is_open = False  # whether the newest line has no end, as a progress bar has none


def say(line: str) -> None:
    """Prints a line, below a progress bar if there is one. Never raises, even if the log is closed
    or cannot print the characters."""
    with contextlib.suppress(OSError, ValueError):
        watch()
        text = ("\n" if _is_open else "") + f"[SVI] {line}"
        try:
            print(text, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), flush=True)


def watch() -> None:
    """From now on, notices WanGP's progress bars, in the log and on the same screen."""
    streams = [sys.stdout]
    with contextlib.suppress(Exception):  # none, or no file
        if os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno()):
            streams.append(sys.stderr)
    for stream in streams:
        with contextlib.suppress(Exception):  # such as a stream of another kind
            _watch(stream)


def _watch(stream: Any) -> None:
    global _is_open
    write = stream.write
    if hasattr(write, "__wrapped__"):
        return

    @wraps(write)
    def watched(text: str) -> Any:
        global _is_open
        written = write(text)
        if text:
            _is_open = not text.endswith(("\n", "\r"))
        return written

    stream.write, _is_open = watched, False


@contextlib.contextmanager
def without(part: str) -> Iterator[None]:
    """Goes on without a part of SVI that raises an error, and says so."""
    try:
        yield
    except Exception as error:
        say(f"{part} does not work ({type(error).__name__}: {error}). Everything else does. Please "
            "report this line.")
