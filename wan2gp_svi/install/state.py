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
    """The release; our files by path in WanGP, with the sha256 as written; WanGP's files that have hooks."""

    release: str = ""
    files: dict[str, str] = field(default_factory=dict)
    hooked: tuple[str, ...] = ()

    def text(self) -> bytes:
        """The state as it is stored."""
        return (json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")


def load(wangp: Path) -> State | None:
    """The state of an installation; None if there is none, or none that can be read."""
    try:
        stored = json.loads((wangp / STATE).read_text(encoding="utf-8"))
        state = State(stored["release"], stored["files"], tuple(stored["hooked"]))  # a newer release may have more
        hashes = [*state.files.values(), *state.hooked, state.release]
        # Whatever the file says, nothing outside our own folders is ever taken for ours.
        places = [name for name in state.files if name.split("/")[0] not in (PACKAGE, "profiles")]
        outside = [name for name in (*state.files, *state.hooked) if ".." in name.split("/") or ":" in name]
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
    bad = places or outside or not all(isinstance(value, str) for value in hashes)
    return None if bad else state


def sha256(data: bytes) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(data).hexdigest()
