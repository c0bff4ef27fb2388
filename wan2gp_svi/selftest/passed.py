"""The last self-test that passed, kept in WanGP's folder, and whether WanGP changed since.

Standard library only, and quick: WanGP asks at each start.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path

from .. import __version__, files
from ..install.locate import version
from ..install.patches import MARKER, unhooked
from ..install.shipped import SELFTEST

#: WanGP's files that can break SVI when they change
_SOURCES = ("wgp.py", "models/wan/*.py", "models/wan/modules/*.py", "shared/utils/*.py")


def remember(wangp: Path, verdict: str) -> None:
    """Raises OSError."""
    content = {"release": __version__, "wangp": version(wangp), "sources": _digest(wangp),
               "when": datetime.date.today().isoformat(), "verdict": verdict}
    files.write(wangp / SELFTEST, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def changed_since(wangp: Path) -> str:
    """A line for the log if WanGP or SVI changed since the last self-test that passed, else "".
    Never raises."""
    try:
        passed = files.read_json(wangp / SELFTEST)
        when = f"passed on WanGP {passed['wangp']} on {passed['when']}"
        if passed["release"] != __version__:
            what = f"SVI changed from release {passed['release']} to {__version__}"
        elif passed["sources"] != _digest(wangp):
            what = "WanGP changed"
        else:
            return ""
        return f"{what} since the self-test {when}. Run it again: python -m wan2gp_svi selftest"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _digest(wangp: Path) -> str:
    """A hash of WanGP's sources, without hooks and the same for all line endings."""
    digest = hashlib.sha256()
    for path in (path for pattern in _SOURCES for path in sorted(wangp.glob(pattern))):
        source = path.read_bytes()
        if MARKER.encode() in source:
            source = unhooked(source)
        source = source.replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(wangp).as_posix()} {len(source)}\n".encode() + source)
    return digest.hexdigest()
