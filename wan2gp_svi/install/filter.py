"""Hooks that survive git: the clean/smudge filter, as git runs it.

git sees the hooked files without their hooks (clean), so that nothing is modified and every pull, reset, stash and
checkout goes through; and it puts the hooks into each version that it writes (smudge). Where a hook does not fit
any more, the file stays as upstream wrote it, but for the hook at WanGP's start, which says that SVI is off and why.
It is set up by `git_clone`. Run as a program this module is the filter:

    python filter.py clean|smudge PATH < FILE > FILE
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # git runs it by its path; the package lies in WanGP's folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from wan2gp_svi.install.patches import (
    START,
    Hunk,
    Patch,
    PatchError,
    fault,
    hook_name,
    hooked,
    read_series,
    unhooked,
)
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.wangp import contract


def filtered(mode: str, path: str, source: bytes, home: Path) -> tuple[bytes, str]:
    """What the filter makes of a file, and why it put no hooks in ("" if it did, or had not to)."""
    if mode == "clean":
        return unhooked(source), ""
    patch = None
    try:
        patch = next((patch for patch in read_series(Distribution(home, "").patches) if patch.path == path), None)
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
        return _started(source, patch), f"SVI is off: {error}. {contract.ADVICE}"


def _started(source: bytes, patch: Patch | None) -> bytes:
    """A file that the hooks do not fit: none in it, but for the one at WanGP's start, which says so there."""
    start: tuple[Hunk, ...] = tuple(hunk for hunk in (patch.hunks if patch else ()) if hook_name(hunk) == START)
    bare = unhooked(source)
    try:
        result = hooked(bare, Patch(patch.path, start)) if start else bare
    except PatchError:
        return bare
    return bare if fault(result) else result


def main(mode: str, path: str) -> int:
    source = sys.stdin.buffer.read()
    try:
        result, why = filtered(mode, path, source, Path(__file__).resolve().parents[2])
    except Exception as error:  # whatever happens, git must get a file
        result, why = source, f"SVI is off: {type(error).__name__}: {error}. Please report this line"
    sys.stdout.buffer.write(result)
    if why:
        print(f"[SVI] {why}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
