"""Where this package lies, where WanGP is, and what WanGP's configuration says. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[1]  #: the folder that this package lies in: WanGP's, where it is installed
CONFIG = "wgp_config.json"


def is_wangp(folder: Path) -> bool:
    """Whether WanGP is in this folder, whatever its version."""
    return (folder / "wgp.py").is_file()


def wangp_here() -> Path | None:
    """The WanGP that this package lies in, or that the current folder is."""
    return next((place for place in (HOME, Path.cwd()) if is_wangp(place)), None)


def config(wangp: Path) -> dict[str, Any] | None:
    """WanGP's configuration; None where there is none that can be read."""
    try:
        found = json.loads((wangp / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
