"""Everything that knows WanGP's names. The lines that the patches add to WanGP call `svi` and nothing else.

`svi(hook, value, ...)` hands `value` to the function of that name in `hooks` and returns what it makes of it: the
value itself wherever SVI is off. Where this package is missing, the patched files put a function in its place that
always does so; and so does this one where not all hooks are in WanGP's files, since half of SVI would be no SVI.
"""

from pathlib import Path
from typing import Any

from ..install.patches import PatchError, present, read_series
from ..install.shipped import Distribution

try:
    from . import hooks
    _BROKEN = ""
except Exception as error:  # WanGP starts whatever has become of this package, and the user is told
    _BROKEN = f"a part of it is missing or broken ({error}). Run install.py again"


def svi(hook: str, value: Any = None, *context: Any) -> Any:
    return value if _OFF else getattr(hooks, hook)(value, *context)


def why_off(wangp: Path) -> str:
    """Which hooks are missing in this WanGP, as after an update that they do not fit; "" if they are all there."""
    if not (wangp / "wgp.py").is_file():
        return ""  # the package is not in a WanGP at all, but in use by itself
    try:
        for patch in read_series(Distribution(wangp, "").patches):
            file = wangp / patch.path
            found, wanted = present(file.read_bytes(), patch) if file.is_file() else 0, len(patch.hunks)
            if found < wanted:
                return (f"{patch.path} has {found} of {wanted} hooks. Run install.py again; if this line comes back, "
                        "WanGP has changed and a newer release of SVI for WanGP is needed")
    except PatchError as error:
        return str(error)
    return ""


_OFF = _BROKEN or why_off(Path(__file__).resolve().parents[2])
if _OFF:
    print(f"[SVI] is off, WanGP itself is not affected: {_OFF}.", flush=True)
