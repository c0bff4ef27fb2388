"""Files that another program has open, as Windows treats them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # WanGP's Python has no pytest
    import pytest


def held(monkeypatch: pytest.MonkeyPatch, readable: bool = True) -> set[Path]:
    """From now on, files in the set that is returned are neither replaced nor removed, nor opened
    unless they are `readable`, and the folders that they are in are not renamed."""
    found: set[Path] = set()

    def guard(name: str) -> None:
        real = getattr(Path, name)

        def call(path: Path, *given: Any, **options: Any) -> Any:
            places = [path, *given] if name == "replace" else [path]
            for place in map(Path, places):
                if any(place in (file, *file.parents) for file in found):
                    raise PermissionError(errno.EACCES, "Access is denied", str(place))
            return real(path, *given, **options)

        monkeypatch.setattr(Path, name, call)

    for name in ("replace", "unlink", *([] if readable else ["open"])):
        guard(name)
    return found
