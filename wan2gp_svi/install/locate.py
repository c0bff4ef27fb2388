"""Which folder is WanGP, and is it one that the hooks can go into."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wan2gp_svi.install import Refused, legacy

SIGNS = ("wgp.py", "models/wan/any2video.py")
HOW = "python install.py PATH_OF_WANGP"


def is_wangp(folder: Path) -> bool:
    """Whether `folder` is a WanGP."""
    return not _missing(folder)


def _missing(folder: Path) -> list[str]:
    # os.path.isfile says False where Path.is_file raises PermissionError, in folders that are not ours to see
    return [sign for sign in SIGNS if not os.path.isfile(folder / sign)]  # noqa: PTH113


def find(given: str | None, home: Path, here: Path) -> Path:
    """The WanGP folder: `given`, or else what is found around `home`, our distribution folder, and `here`.

    In this order: `home` itself and its parent (the distribution was copied into WanGP), a folder beside
    `home`, `here`. Raises Refused if there is none, or if there are several beside `home`.
    """
    if given is not None:
        # 'install.bat "D:\WanGP\"' arrives with the closing quote in the name
        folder = Path(given.rstrip('"') or ".").expanduser()
        if not is_wangp(folder):
            raise Refused(
                f"{folder} is not a WanGP folder: there is no {' and no '.join(_missing(folder))} in it"
            )
        return folder.resolve()
    for folder in (home, home.parent):
        if is_wangp(folder):
            return folder.resolve()
    beside = sorted(folder for folder in home.parent.iterdir() if is_wangp(folder))
    if len(beside) > 1:
        names = ", ".join(str(folder) for folder in beside)
        raise Refused(f"there are several WanGP folders here ({names}): say which one, {HOW}")
    if not beside and not is_wangp(here):
        raise Refused(f"no WanGP ({' and '.join(SIGNS)}) around {home} or in {here}: say where it is, {HOW}")
    return (beside or [here])[0].resolve()


def version(wangp: Path) -> str:
    """WanGP's version as wgp.py has it, "?" if it does not say. For messages only: it orders nothing."""
    source = (wangp / "wgp.py").read_bytes()
    found = re.search(rb"""^WanGP_version *= *["']([^"'\r\n]*)""", source, re.MULTILINE)
    return found.group(1).decode("latin-1") if found else "?"


def copies(wangp: Path) -> dict[Path, str]:
    """Folders inside WanGP, beside the package that it uses, that hold another copy of it, with its release."""
    found = {}
    for pattern in ("*", "plugins/*"):
        for file in sorted(wangp.glob(f"{pattern}/wan2gp_svi/__init__.py")):
            text = file.read_text(encoding="utf-8", errors="replace")
            release = re.search(r"""^__version__ *= *["']([^"'\r\n]*)""", text, re.MULTILINE)
            found[file.parents[1]] = release[1] if release else "?"
    return found


def check(wangp: Path) -> None:
    """Raises Refused if WanGP is too old, or has the hooks of the earlier distribution in it."""
    if not (wangp / "profiles").is_dir():
        raise Refused(f"WanGP {version(wangp)} is too old, it has no profiles folder: update WanGP first")
    for name in legacy.FILES:
        if (wangp / name).is_file() and (found := legacy.traces((wangp / name).read_bytes())):
            raise Refused(f"{name} has the changes of an earlier SVI distribution in it ({found[0]}): run this with "
                          "--replace-old to take them out, your own edits stay")
