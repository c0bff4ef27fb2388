"""The clean/smudge filter, as git runs it, so that hooks survive git.

git sees the hooked files without their hooks (clean), so every pull, reset, stash and checkout goes
through. It adds the hooks to each version that it writes (smudge). If one does not fit, the file
stays as upstream wrote it, except for the hook at WanGP's start, which says that SVI is off and
why. `git_clone` sets the filter up, as: python filter.py clean|smudge PATH < FILE > FILE
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # git runs it by its path; the package is in WanGP's folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from wan2gp_svi.install import patches
from wan2gp_svi.install.patches import Patch, PatchError, fault, hooked, unhooked
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.wangp import contract


def filtered(mode: str, path: str, source: bytes, home: Path) -> tuple[bytes, str]:
    """What the filter makes of a file, and why it has no hooks ("" if it has, or needs none)."""
    if mode == "clean":
        return unhooked(source), ""
    patch = None
    try:
        series = patches.read_series(Distribution(home, "").patches)
        patch = next((patch for patch in series if patch.path == path), None)
        if patch is None:
            return source, ""
        result = hooked(source, patch)
        if wrong := fault(result):
            if not fault(source):
                raise PatchError(f"{path}: with the hooks it is not valid Python ({wrong})")
        elif facts := contract.of_file(source, patch):
            raise PatchError(facts[0])
        return result, ""
    except PatchError as error:
        bare = unhooked(source)
        return _started(bare, patch) if patch else bare, f"{error}. {contract.ADVICE}"


def _started(bare: bytes, patch: Patch) -> bytes:
    """A file without hooks, except for the one at WanGP's start if it fits."""
    start = tuple(hunk for hunk in patch.hunks if patches.hook_name(hunk) == patches.START)
    try:
        result = hooked(bare, Patch(patch.path, start))
    except PatchError:
        return bare
    return bare if fault(result) else result


def main(mode: str, path: str) -> int:
    source = sys.stdin.buffer.read()
    try:
        result, why = filtered(mode, path, source, Path(__file__).resolve().parents[2])
    except Exception as error:  # whatever happens, git must get a file
        result, why = source, f"{type(error).__name__}: {error}. Please report this line"
    sys.stdout.buffer.write(result)
    if why:
        print(f"[SVI] SVI is off: {why}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
