"""Everything that knows WanGP's names. The lines that the patches add to WanGP call `svi` alone.

`svi(hook, value, ...)` gives `value` to the function of that name in `hooks.HOOKS`, and returns its
result. While SVI is off, it returns the value itself. SVI is off if any hook is missing from
WanGP's files; if this package is missing, the patched files define a `svi` that does the same.

Importing this costs nothing: torch is loaded by the first call.
"""

import contextlib
import functools
import importlib
import sys
from pathlib import Path
from typing import Any


def svi(hook: str, value: Any = None, *context: Any) -> Any:
    if why := off():
        if hook == "start":
            _tell_on_page(why)
        return value
    from . import hooks

    return hooks.call(hook, value, *context)


@functools.cache
def off() -> str:
    """Why SVI is off in the WanGP that holds this package, printed once; "" if it is on.

    If SVI is there as a plugin of WanGP, it first follows what WanGP's Plugins tab has done.
    """
    try:
        from .. import location
        from ..install import plugin

        why = plugin.remove_if_gone(location.HOME)
        if not why:
            updated, why = plugin.update(location.HOME)
            if updated and not why:
                return _anew()
        why = why or why_off(location.HOME)
        if not why:
            from . import hooks  # noqa: F401
    except Exception as error:  # whatever became of this package, WanGP starts and says so
        why = (f"a part of it is missing or broken ({error}). Undo your edit of it, update SVI, "
               "or run install.py again")
    if why:
        line = f"[SVI] SVI is off, WanGP itself is not affected: {why}."
        print(line.encode("ascii", "backslashreplace").decode(), flush=True)  # on every console
    return why


def _tell_on_page(why: str) -> None:
    with contextlib.suppress(Exception):  # the log has it
        from shared.utils import plugins

        from .. import location
        from ..text import sentence
        from . import own_tab

        own_tab.say_off(plugins, sentence(why.replace(str(location.HOME), location.HOME.name)))


def _anew() -> str:
    """`off` of the release that was just installed: nothing of the one before stays loaded."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "wan2gp_svi"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return str(importlib.import_module(__name__).off())


def why_off(wangp: Path) -> str:
    """Why SVI cannot work in this WanGP, such as an update that it does not fit; "" if it can."""
    from .. import location
    from ..install.patches import NO_PYTHON, PatchError, foreign, present, read_series
    from ..install.shipped import Distribution
    from . import contract

    if not location.is_wangp(wangp):
        return ""  # the package is used without WanGP
    try:
        patches = read_series(Distribution(wangp, "").patches)
        sources = contract.read(wangp, patches)
        if any(NO_PYTHON.encode() in source for source in sources.values()):
            return ("git's filter found no Python when it updated WanGP. Run install.py again, "
                    "with WanGP's Python")
        for patch in patches:
            if not sources.get(patch.path, b"").strip():
                return (f"{patch.path} is missing or empty, so it has 0 of {len(patch.hunks)} "
                        "hooks. Update WanGP again, then run install.py")
        if facts := contract.check(wangp, patches):
            more = f" (and {len(facts) - 1} more: install.py --doctor)" if len(facts) > 1 else ""
            return facts[0] + more
        for patch in patches:
            found, wanted = present(sources[patch.path], patch), len(patch.hunks)
            if foreign(sources[patch.path], patch):
                return f"{patch.path} has hooks from another release of SVI. Run install.py again"
            if found < wanted:
                return f"{patch.path} has {found} of {wanted} hooks. Run install.py again"
    except PatchError as error:
        return str(error)
    return ""
