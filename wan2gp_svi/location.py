"""Where this package and WanGP are, and what WanGP's configuration says. Standard library only."""

from pathlib import Path
from typing import Any

from .files import read_json

HOME = Path(__file__).resolve().parents[1]  #: the folder with this package; WanGP, once installed
CONFIG = "wgp_config.json"


def is_wangp(folder: Path) -> bool:
    """Whether this folder holds WanGP, of any version and perhaps incomplete."""
    return (folder / "wgp.py").is_file()


def wangp_here() -> Path | None:
    """The WanGP that holds this package, or else the current folder if it is one."""
    return next((place for place in (HOME, Path.cwd()) if is_wangp(place)), None)


def config(wangp: Path) -> dict[str, Any] | None:
    """WanGP's configuration; None if it is missing or unreadable."""
    found = read_json(wangp / CONFIG)
    return found if isinstance(found, dict) else None
