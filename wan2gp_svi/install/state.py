"""What an installation has written: wan2gp_svi/state.json in WanGP.

A file of ours is known by its hash; any other content is the user's, and stays. Losing the state loses
nothing but the memory of older releases: hooks are known by their marker, files by the distribution's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wan2gp_svi.install.shipped import PACKAGE, STATE


@dataclass(frozen=True)
class State:
    """The release, and by path in WanGP the sha256 as written: of our files, and of the hooked ones."""

    release: str = ""
    files: dict[str, str] = field(default_factory=dict)
    hooked: dict[str, str] = field(default_factory=dict)

    def text(self) -> bytes:
        """The state as it is stored."""
        return (json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def load(wangp: Path) -> State | None:
    """The state of an installation; None if there is none, or none that can be read."""
    try:
        stored = json.loads((wangp / STATE).read_text(encoding="utf-8"))
        state = State(**stored)
        hashes = [*state.files.values(), *state.hooked.values(), state.release]
        # Whatever the file says, nothing outside our own folders is ever taken for ours.
        places = [name for name in state.files if name.split("/")[0] not in (PACKAGE, "profiles")]
        outside = [name for name in (*state.files, *state.hooked) if ".." in name.split("/") or ":" in name]
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    bad = places or outside or not all(isinstance(value, str) for value in hashes)
    return None if bad else state


def sha256(data: bytes) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(data).hexdigest()
