"""The last self-test that passed, as WanGP's folder remembers it, and whether WanGP has changed since.

Standard library only, and quick: WanGP asks when it starts.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from .. import __version__, files
from ..install.locate import version
from ..install.patches import MARKER, unhooked
from ..install.shipped import SELFTEST

#: what a change of can break SVI; the package's own files aside
_SOURCES = ("wgp.py", "models/wan/*.py", "models/wan/modules/*.py", "shared/utils/*.py")


def remember(wangp: Path, verdict: str) -> None:
    """Raises OSError."""
    content = {"release": __version__, "wangp": version(wangp), "sources": _digest(wangp),
               "when": datetime.date.today().isoformat(), "verdict": verdict}
    files.write(wangp / SELFTEST, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def changed_since(wangp: Path) -> str:
    """A line for the log where WanGP, or SVI, is not what the last self-test that passed has seen; "" where it is, and
    where there never was one. Never raises."""
    try:
        passed = json.loads((wangp / SELFTEST).read_text(encoding="utf-8"))
        before = f"{passed['wangp']} on {passed['when']}"
        if passed["release"] != __version__:
            return (f"this is release {__version__}, and the last self-test that passed was of release "
                    f"{passed['release']}: python -m wan2gp_svi selftest")
        if passed["sources"] != _digest(wangp):
            return (f"WanGP has changed since SVI's last self-test that passed ({before}): python -m wan2gp_svi "
                    "selftest")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return ""


def _digest(wangp: Path) -> str:
    """A hash of WanGP's own sources, without the hooks and however their lines end."""
    found = hashlib.sha256()
    for path in _sources(wangp):
        source = path.read_bytes()
        if MARKER.encode() in source:
            source = unhooked(source)
        source = source.replace(b"\r\n", b"\n")
        found.update(f"{path.relative_to(wangp).as_posix()} {len(source)}\n".encode() + source)
    return found.hexdigest()


def _sources(wangp: Path) -> Iterator[Path]:
    for pattern in _SOURCES:
        yield from sorted(wangp.glob(pattern))
