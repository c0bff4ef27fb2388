"""python -m wan2gp_svi demo-model: adds the demo model to WanGP's list, to try SVI in seconds.

`finetune` makes the files; the installed package loads them (`loader`).
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ... import location
from ...files import explain
from ...install import Refused, locate
from ...install.shipped import PACKAGE
from ...install.transaction import alone, carry_out, remove_if_empty
from ...text import is_closed_pipe, size
from . import record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wangp", metavar="WANGP_FOLDER",
                        help="the folder of wgp.py, with SVI installed in it")
    parser.add_argument("--lora-dir", metavar="FOLDER",
                        help="WanGP's folder for LoRA files, if you start WanGP with that option")
    parser.add_argument("--weights", metavar="FOLDER", type=Path,
                        help="other weights than the ones in this package")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--remove", action="store_true",
                      help="remove the demo model; your own edits stay")
    what.add_argument("--start", nargs=argparse.REMAINDER, metavar="OPTION", help="then start "
                      "WanGP, even without a GPU; needs WanGP's Python. All that follows goes to "
                      "wgp.py")


def run(options: argparse.Namespace) -> int:
    """Adds or removes the demo model -> exit code."""
    try:
        wangp = locate.find(options.wangp, location.HOME, Path.cwd())
        with alone(wangp):
            if options.remove:
                _remove(wangp)
            else:
                _add(wangp, options)
        return 0 if options.start is None else _start(wangp, options.start)
    except (Refused, OSError) as error:
        if is_closed_pipe(error):  # `main` knows what to do
            raise
        print(f"The demo model: {' '.join(explain(error).split())}", file=sys.stderr)
    return 1


def _add(wangp: Path, options: argparse.Namespace) -> None:
    _check(wangp)
    try:
        from ..model import WEIGHTS
        from . import finetune
    except ImportError as error:
        raise Refused("this Python lacks torch, safetensors or pillow "
                      f"({error}): run the same command with WanGP's") from None
    try:
        files = finetune.files(wangp, options.weights or WEIGHTS, options.lora_dir)
    except Refused:  # WanGP's folder has no weights, but what was made of them is enough to start
        if options.start is not None and record.is_complete(wangp):
            return
        raise
    changes = record.added(wangp, files)
    carry_out(wangp, changes)
    state = f"was added to {wangp}" if changes else f"is in {wangp} already, complete"
    then = "restart WanGP, open" if options.start is None else "on WanGP's page, open"
    print(f"The demo model {state} ({size(sum(map(len, files.values())), 0)}).",
          f"Next: {then} its tab SVI, choose \"{next(iter(finetune.PROFILES))}\", and press "
          "New video, then Generate.", "Pictures to start from:",
          *(f"  {wangp / name}" for name in files if name.endswith(".png")), sep="\n", flush=True)


def _check(wangp: Path) -> None:
    """Raises Refused unless this WanGP has an SVI that can load the demo model."""
    if not (wangp / PACKAGE / "demo/in_wangp/loader.py").is_file():
        raise Refused(f"{wangp} has no SVI for WanGP, or an older release of it. Install it first: "
                      f"python install.py \"{wangp}\"")
    from ...wangp import why_off

    if why := why_off(wangp):
        raise Refused(f"SVI does not work in {wangp}: {why}")


def _remove(wangp: Path) -> None:
    plan = record.without(wangp)
    carry_out(wangp, plan.changes)
    remove_if_empty(wangp / folder for folder in plan.folders)
    for name in plan.kept:
        print(f"Kept, because you edited it: {wangp / name}")
    print(f"The demo model was removed from {wangp}." if plan.changes else
          f"Nothing to do: the demo model is not in {wangp}.")


def _start(wangp: Path, options: Iterable[str]) -> int:
    """Runs WanGP, with or without a GPU -> its exit code."""
    # since WanGP 17.00 a folder in it, before that a package
    if not (wangp / "mmgp/__init__.py").is_file() and importlib.util.find_spec("mmgp") is None:
        raise Refused(f"{sys.executable} lacks WanGP's packages: use WanGP's Python")
    script = wangp / PACKAGE / "demo/in_wangp/cpu.py"
    # an exception, with which `call` ends WanGP too; alone, WanGP would keep its port
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl+C is for WanGP, which then ends
    try:
        return subprocess.call([sys.executable, str(script), *options], cwd=wangp)
    finally:
        signal.signal(signal.SIGINT, before)
