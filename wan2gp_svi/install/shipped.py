"""What the distribution holds, and where each file goes in WanGP. Writes nothing."""

from dataclasses import dataclass
from pathlib import Path

from wan2gp_svi.files import UNFINISHED

PACKAGE = "wan2gp_svi"
PROFILES = ("profiles/wan_i2v", "profiles/wan_2_2")
MODELS = ("finetunes/svi_dance.json",)  # of WanGP's list
OWN_PROFILES = "SVI*.json"  # the others are WanGP's, if this was unpacked into it
STATE = f"{PACKAGE}/state.json"
SELFTEST = f"{PACKAGE}/selftest.json"  # the last self-test that passed
WEIGHTS = "demo/weights/"  # not installed: 50 times the size of all other files
GUIDE = "docs/guide.md"


@dataclass(frozen=True)
class Distribution:
    """A folder with wan2gp_svi/, patches/ and profiles/, or WanGP with the package installed, which
    then holds the patches."""

    root: Path
    release: str

    @property
    def patches(self) -> Path:
        """The folder with the series of patches."""
        outside = self.root / "patches"
        return outside if (outside / "series").is_file() else self.root / PACKAGE / "patches"

    def files(self) -> dict[str, Path]:
        """Every shipped file: its place in WanGP, with forward slashes, and where it is now."""
        package, patches = self.root / PACKAGE, self.patches
        files = {f"{PACKAGE}/{name}": path for name, path in _shipped(package)}
        files |= {f"{PACKAGE}/patches/{name}": path for name, path in _shipped(patches)}
        if patches.parent == self.root:  # else the guide is inside the package already
            guide = self.root / GUIDE
            files |= {f"{PACKAGE}/{GUIDE}": guide} if guide.is_file() else {}
        for folder in PROFILES:
            profiles = sorted((self.root / folder).glob(OWN_PROFILES))
            files |= {f"{folder}/{path.name}": path for path in profiles}
        files |= {name: self.root / name for name in MODELS if (self.root / name).is_file()}
        for name in (STATE, SELFTEST):  # written here, not shipped
            files.pop(name, None)
        return files

    def unpacked_into(self, wangp: Path) -> bool:
        """Whether it was unpacked into WanGP, and is not the package that was installed there."""
        return self.patches.parent == self.root and self.root.resolve() == wangp.resolve()

    def in_place(self, wangp: Path) -> frozenset[str]:
        """The files that are in their place already, if the distribution was unpacked into WanGP.
        They are the user's only copy, so the installer leaves them alone."""
        return frozenset(name for name, path in self.files().items()
                         if (wangp / name).is_file() and path.samefile(wangp / name))


def _shipped(folder: Path) -> list[tuple[str, Path]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    named = [(path.relative_to(folder).as_posix(), path) for path in files]
    return [(name, path) for name, path in named if _belongs(name)]


def _belongs(name: str) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.split("/"))
    return not (hidden or name.startswith(WEIGHTS) or name.endswith((".pyc", UNFINISHED)))
