"""WanGP's log."""

import contextlib
from collections.abc import Iterator


def say(line: str) -> None:
    """Prints a line. Never raises, even if the log is closed or cannot print the characters."""
    with contextlib.suppress(OSError, ValueError):
        try:
            print(f"[SVI] {line}", flush=True)
        except UnicodeEncodeError:
            print(f"[SVI] {line.encode('ascii', 'backslashreplace').decode()}", flush=True)


@contextlib.contextmanager
def without(part: str) -> Iterator[None]:
    """Goes on without a part of SVI that raises an error, and says so."""
    try:
        yield
    except Exception as error:
        say(f"{part} does not work ({type(error).__name__}: {error}). Everything else does. Please "
            "report this line.")
