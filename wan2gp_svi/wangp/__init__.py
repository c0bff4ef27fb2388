"""Everything that knows WanGP's names. The lines that the patches add to WanGP call `svi` and nothing else.

`svi(hook, value, ...)` hands `value` to the function of that name in `hooks` and returns what it makes of it: the
value itself wherever SVI is off. Where this package is missing, the patched files put a function in its place that
always does so.
"""

from typing import Any

from . import hooks


def svi(hook: str, value: Any = None, *context: Any) -> Any:
    return getattr(hooks, hook)(value, *context)
