"""The clean/smudge filter, as git runs it, so that hooks survive git.

git sees the hooked files without their hooks (clean), so every pull, reset, stash and checkout goes
through. It adds the hooks to each version that it writes (smudge). If one does not fit, the file
stays as upstream wrote it, except for the hook at WanGP's start, which says that SVI is off and
why. `archive` makes one file of this and what it needs, and `git_clone` sets that up in .git, as:
python filter.pyz clean|smudge PATH < FILE > FILE
"""

import sys
from collections.abc import Callable
from pathlib import Path
from zipimport import zipimporter

from wan2gp_svi.install import patches
from wan2gp_svi.install.patches import Patch, PatchError, fault, hooked, parse_series, unhooked

FOLDER = "patches"  #: in the archive


def filtered(
    mode: str, path: str, source: bytes, read: Callable[[str], str]
) -> tuple[bytes, str]:
    """What the filter makes of a file, and why it has no hooks ("" if it has, or needs none).

    `read` returns the text of a patch, as in `parse_series`.
    """
    if mode == "clean":
        return unhooked(source), ""
    from wan2gp_svi.wangp import contract  # git status cleans, and waits for it

    patch = None
    try:
        patch = next((patch for patch in parse_series(read) if patch.path == path), None)
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
        advice = contract.advice(contract.version(source))
        return _started(bare, patch) if patch else bare, f"{error}. {advice}"


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
        result, why = filtered(mode, path, source, _read)
    except Exception as error:  # whatever happens, git must get a file
        result, why = source, f"{type(error).__name__}: {error}. Please report this line"
    sys.stdout.buffer.write(result)
    if why:
        print(f"[SVI] SVI is off: {why}", file=sys.stderr)
    return 0


def _read(name: str) -> str:
    """The text of a patch in the archive that this module is in."""
    archive = zipimporter(str(Path(__file__).parents[2]))
    return archive.get_data(f"{FOLDER}/{name}").decode("utf-8")
