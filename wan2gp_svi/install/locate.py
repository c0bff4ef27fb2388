"""Finds WanGP, and checks that hooks can go into it."""

import os
import re
from pathlib import Path

from wan2gp_svi import files
from wan2gp_svi.install import Refused, legacy
from wan2gp_svi.install.shipped import PACKAGE, PROFILES
from wan2gp_svi.wangp import contract

SIGNS = ("wgp.py", "models/wan/any2video.py")
COMMAND = os.environ.get("SVI_INSTALL", "python install.py")  #: what the user starts
HOW = "drop WanGP's folder on install.bat" if "SVI_INSTALL" in os.environ else (
    "name its folder, python install.py PATH/TO/Wan2GP")
CONTAINERS = ("/.dockerenv", "/run/.containerenv")  #: the sign of Docker, and of Podman
UNLINK = "put a folder in its place, or delete it, and run install.py"


def _missing(folder: Path) -> list[str]:
    # os.path.isfile returns False where Path.is_file raises PermissionError
    return [sign for sign in SIGNS if not os.path.isfile(folder / sign)]  # noqa: PTH113


def find(given: str | None, home: Path, here: Path) -> Path:
    """The WanGP folder: `given`, or else the one around `home`, our distribution, or `here`.

    A given folder may be one around WanGP, such as Pinokio's or a portable one. Else looks at
    `home` and its parents (the distribution was copied into WanGP or is one of its plugins), then
    at the folders beside `home`, then at `here`, then where others put WanGP. Raises Refused if
    none is WanGP, or if several in one of these places are.
    """
    if given is not None:
        folder = Path(given or ".").expanduser()
        if folder.name == "wgp.py" and os.path.isfile(folder):  # noqa: PTH113
            folder = folder.parent
        missing = _missing(folder)
        inside = _in(folder) if missing else []
        if missing and not inside:
            raise Refused(f"{folder} is not a WanGP folder: it has no {' and no '.join(missing)}")
        return _only([folder] if not missing else inside, "name one of them").resolve()
    for folder in (home, *home.parents[:2]):
        if not _missing(folder):
            return folder.resolve()
    beside = _in(home.parent)
    if not beside and not _missing(here):
        return here.resolve()
    elsewhere = beside or [folder for folder in usual_places() if not _missing(folder)]
    if not elsewhere:
        raise Refused(f"no WanGP ({' and '.join(SIGNS)}) around {home} or in {here}: {HOW}")
    return _only(elsewhere).resolve()


def _in(folder: Path) -> list[Path]:
    """The WanGPs among the folders of a folder."""
    try:
        return sorted(one for one in folder.iterdir() if not _missing(one))
    except OSError:
        return []


def _only(folders: list[Path], how: str = HOW) -> Path:
    if len(folders) > 1:
        raise Refused(f"there are several WanGP folders here ({', '.join(map(str, folders))}): "
                      f"{how}")
    return folders[0]


def usual_places() -> list[Path]:
    """Where WanGP usually is: in Pinokio's folder, in its container, in the user's folder."""
    user = Path.home()
    pinokios = dict.fromkeys([user / "pinokio", Path(user.anchor, "pinokio")])
    return [*(app for one in pinokios for app in sorted(one.glob("api/*/app"))),
            Path(user.anchor, "workspace"), Path(user.anchor, "workspace/Wan2GP"),
            user / "Wan2GP"]


def kind(wangp: Path) -> str:
    """What brought this WanGP: Pinokio, a container, or a portable package; "" if none is known."""
    around = wangp.parent
    if wangp.name == "app" and (around / "pinokio.js").is_file():
        return f"Pinokio (its launcher is in {around})"
    found = [one.parent for place in (wangp, around)
             for pattern in ("python*/python.exe", "runtime/*/python.exe")
             for one in sorted(place.glob(pattern)) if (one.parent / "DLLs").is_dir()
             or list(one.parent.glob("python*._pth"))]
    if found:
        return f"a portable package (its Python is in {found[0]})"
    in_container = any(Path(sign).exists() for sign in CONTAINERS)
    return "a container (what is not in a volume is lost with it)" if in_container else ""


def version(wangp: Path) -> str:
    """WanGP's version as wgp.py has it, or "?". For messages only: it orders nothing."""
    return contract.version((wangp / "wgp.py").read_bytes())


def copies(wangp: Path) -> dict[Path, str]:
    """Folders in WanGP with another copy of the package that it uses, and their releases."""
    found = {}
    for pattern in ("*", "plugins/*"):
        for file in sorted(wangp.glob(f"{pattern}/wan2gp_svi/__init__.py")):
            text = file.read_text(encoding="utf-8", errors="replace")
            release = re.search(r"""^__version__ *= *["']([^"'\r\n]*)""", text, re.MULTILINE)
            found[file.parents[1]] = release[1] if release else "?"
    return found


def links(wangp: Path) -> dict[str, Path]:
    """The folders for our files that are links, and where they lead."""
    found: dict[str, Path] = {}
    for name in (PACKAGE, "profiles", *PROFILES):
        target = (wangp / name).resolve()
        straight = os.path.normcase(target) == os.path.normcase(wangp.resolve() / name)
        if not straight and not any(name.startswith(f"{other}/") for other in found):
            found[name] = target
    return found


def is_here(wangp: Path, name: str) -> bool:
    """Whether a file of WanGP is in its folder, and no link leads out of it."""
    return (wangp / name).resolve().is_relative_to(wangp.resolve())


def check(wangp: Path) -> None:
    """Raises Refused if WanGP is too old, has the hooks of the earlier distribution, or has links
    where our files go."""
    for name, target in links(wangp).items():
        raise Refused(f"{name} is a link to {target}, and git and updates cannot work with it: "
                      f"{UNLINK}")
    for name in contract.HOOKED:
        if not is_here(wangp, name):
            raise Refused(f"{name} is a link to {(wangp / name).resolve()}, outside WanGP: put the "
                          "file itself there and run this again")
    if not (wangp / "profiles").is_dir():
        raise Refused(
            f"WanGP {version(wangp)} is too old (it has no profiles folder): update WanGP first")
    for name in legacy.FILES:
        if found := legacy.traces(files.read(wangp / name) or b""):
            raise Refused(f"{name} has changes of an earlier SVI distribution ({found[0]}): run "
                          "this with --replace-old to remove them; your own edits stay")
