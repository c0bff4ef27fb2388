"""What the distribution holds, and where in WanGP each file goes. Nothing is written here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan2gp_svi.files import UNFINISHED

PACKAGE = "wan2gp_svi"
PROFILES = ("profiles/wan_i2v", "profiles/wan_2_2")
STATE = f"{PACKAGE}/state.json"
SELFTEST = f"{PACKAGE}/selftest.json"  # the last self-test that passed
WEIGHTS = "demo/weights/"  # in the package, and as large as all else 50 times over: for the demo alone
GUIDE = "docs/guide.md"


@dataclass(frozen=True)
class Distribution:
    """The folder with wan2gp_svi/, patches/ and profiles/ in it, and the release that it is.

    An installed copy is one as well (its root is WanGP): its patches lie inside the package.
    """

    root: Path
    release: str

    @property
    def patches(self) -> Path:
        """The folder with the series of patches."""
        outside = self.root / "patches"
        return outside if (outside / "series").is_file() else self.root / PACKAGE / "patches"

    def files(self) -> dict[str, Path]:
        """Every file that is shipped: its place in WanGP, with forward slashes, and where it lies now."""
        package = self.root / PACKAGE
        files = {f"{PACKAGE}/{name}": path for name, path in _below(package) if _belongs(name)}
        files |= {f"{PACKAGE}/patches/{name}": path for name, path in _below(self.patches) if _belongs(name)}
        if self.patches.parent == self.root:  # else the guide lies in the package already
            files |= {f"{PACKAGE}/{GUIDE}": path for path in [self.root / GUIDE] if path.is_file()}
        for folder in PROFILES:
            files |= {f"{folder}/{path.name}": path for path in sorted((self.root / folder).glob("*.json"))}
        for name in (STATE, SELFTEST):  # written here, not shipped
            files.pop(name, None)
        return files

    def in_place(self, wangp: Path) -> frozenset[str]:
        """Files whose place in WanGP is where they lie: the distribution was unpacked straight into WanGP.

        They are the user's only copy, so they are neither written nor deleted.
        """
        return frozenset(name for name, path in self.files().items() if _same(path, wangp / name))


def _below(folder: Path) -> list[tuple[str, Path]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [(path.relative_to(folder).as_posix(), path) for path in files]


def _belongs(name: str) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
    return not hidden and not name.startswith(WEIGHTS) and not name.endswith((".pyc", UNFINISHED))


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and other.samefile(one)
