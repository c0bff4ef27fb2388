"""What visitors may do: on a page that other computers can open, what destroys or costs is off.

WanGP names used here: the options `listen`, `share` and `server_name` of wgp.py, in its `args`, and
the variable SERVER_NAME.
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .form import SettingsError

TRUST = "SVI_TRUST_VISITORS"  #: the variable that allows it, by the value 1
OFF = ("Other computers can open this page, so it cannot remove runs, download LoRA files, or run "
       "the doctor and the self-test. To allow this, set the environment variable "
       f"{TRUST}=1 and start WanGP again.")
#: the same beside a control that is off
HERE = ("This is off because other computers can open this page. The line above the runs says how "
        "to allow it.")


def check(wgp: Mapping[str, Any]) -> None:
    """Raises SettingsError if what destroys or costs is off. `wgp` are the variables of wgp.py."""
    if is_off(wgp):
        raise SettingsError(OFF)


def is_foreign(path: str, outputs: Path) -> bool:
    """Whether a file lies elsewhere than in WanGP's folder for videos, with SVI's runs and the
    images that were added in the tab."""
    try:
        return not Path(path).resolve().is_relative_to(outputs.resolve())
    except (OSError, ValueError, RuntimeError):  # no path, or links in a circle
        return True


def is_off(wgp: Mapping[str, Any]) -> bool:
    return is_shared(wgp) and os.environ.get(TRUST, "").strip() != "1"


def is_shared(wgp: Mapping[str, Any]) -> bool:
    """Whether other computers can open WanGP's page; True if WanGP does not say."""
    options: Any = wgp.get("args")
    try:
        if options.listen or options.share:
            return True
        name = options.server_name or os.environ.get("SERVER_NAME", "localhost")
    except AttributeError:
        return True
    name = name or os.environ.get("GRADIO_SERVER_NAME", "localhost")  # so does gradio
    try:
        return name != "localhost" and not ipaddress.ip_address(name).is_loopback
    except ValueError:
        return True
