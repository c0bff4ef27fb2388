"""python -m wan2gp_svi small: the small model in WanGP's own list of models, to try SVI in seconds.

What is written is made in `finetune`; how WanGP loads it is in the installed package (`loader`).
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ... import location
from ...install import Refused, locate
from ...install.shipped import PACKAGE
from ...install.transaction import alone, carry_out, remove_if_empty
from . import record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wangp", metavar="WANGP_FOLDER", help="where wgp.py is; SVI has to be installed in it")
    parser.add_argument("--lora-dir", metavar="FOLDER", help="where LoRA files go, if WanGP is started with such an "
                        "option")
    parser.add_argument("--weights", metavar="FOLDER", type=Path, help="other weights than those that belong to this")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--remove", action="store_true", help="take it out again; your own edits stay")
    what.add_argument("--start", nargs=argparse.REMAINDER, metavar="OPTION", help="then start WanGP, also on a machine "
                      "without a GPU; needs WanGP's Python. What follows is handed to wgp.py")


def run(options: argparse.Namespace) -> int:
    """Carries the command out -> exit code."""
    try:
        wangp = locate.find(options.wangp, location.HOME, Path.cwd())
        with alone(wangp):
            if options.remove:
                _remove(wangp)
            else:
                _add(wangp, options.weights, options.lora_dir)
        return 0 if options.start is None else _start(wangp, options.start)
    except (Refused, OSError) as error:
        print(f"The small model: {' '.join(str(error).split())}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    return 1


def _add(wangp: Path, weights: Path | None, lora_dir: str | None) -> None:
    _check(wangp)
    try:
        from ..model import WEIGHTS
        from . import finetune
    except ImportError as error:
        raise Refused(f"it needs torch, safetensors and pillow ({error}): run this with WanGP's Python") from None
    files = finetune.files(wangp, weights or WEIGHTS, lora_dir)
    changes = record.added(wangp, files)
    carry_out(wangp, changes)
    size, pictures = sum(map(len, files.values())), [f"  {wangp / name}" for name in files if name.endswith(".png")]
    print(f"The small model is in {wangp}, {'written' if changes else 'and whole'} ({size / 1e6:.0f} MB).",
          f"Next: restart WanGP, choose Wan2.1, Image2video 14B, {finetune.TITLE}; pick "
          f"\"{next(iter(finetune.PROFILES))}\" in the list of settings, press Apply, then Generate.",
          "Pictures to start from:", *pictures, sep="\n", flush=True)


def _check(wangp: Path) -> None:
    """Raises Refused unless an SVI that can load the small model is installed in this WanGP."""
    how = f"python install.py \"{wangp}\""
    if not (wangp / PACKAGE / "demo/in_wangp/loader.py").is_file():
        raise Refused(f"SVI for WanGP is not installed in {wangp}, or an older release of it is: {how}")
    from ...wangp import why_off

    if why := why_off(wangp):
        raise Refused(f"SVI for WanGP is not whole in {wangp}: {why}")


def _remove(wangp: Path) -> None:
    plan = record.without(wangp)
    carry_out(wangp, plan.changes)
    remove_if_empty(wangp / folder for folder in plan.folders)
    for name in plan.kept:
        print(f"Yours, edited, and kept: {wangp / name}")
    print(f"Taken out of {wangp}" if plan.changes else f"Nothing to do: it is not in {wangp}")


def _start(wangp: Path, options: Iterable[str]) -> int:
    """WanGP, on a machine with or without a GPU, until it ends -> its exit code."""
    # a folder of WanGP's own since WanGP 17.00, and a package of its Python before
    if not (wangp / "mmgp/__init__.py").is_file() and importlib.util.find_spec("mmgp") is None:
        raise Refused(f"{sys.executable} does not have WanGP's packages: run this with WanGP's Python")
    return subprocess.call([sys.executable, str(wangp / PACKAGE / "demo/in_wangp/cpu.py"), *options], cwd=wangp)
