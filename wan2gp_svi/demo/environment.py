"""Makes a Python with the packages that the demo or the tests need. Standard library only.

For Linux, the registry's PyTorch comes with gigabytes of CUDA that nothing here uses. So pip is
asked for the CPU build, wherever it looks, and if it finds none, uv, which knows where that is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]
VENV = HOME / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
#: what the demo and the drift report import, besides diffusers
MODULES = ("torch", "safetensors", "numpy", "scipy", "PIL", "av", "cv2", "matplotlib")
DIFFUSERS, TORCH = "0.36.", "2.13.0"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--constraint", "constraints.txt")  # one version of each package, so that all get the same


class SetUpError(Exception):
    """The message says what to do."""


def complete() -> bool:
    """Whether this Python has everything that the demo needs."""
    try:
        return all(map(find_spec, MODULES)) and version("diffusers").startswith(DIFFUSERS)
    except PackageNotFoundError:
        return False


def prepared() -> bool:
    """Whether `.venv` has everything that the demo needs."""
    question = "from wan2gp_svi.demo.environment import complete; raise SystemExit(not complete())"
    return PYTHON.exists() and _run("-c", question, silent=True)


def prepare(extra: str) -> Path:
    """Installs the packages of an extra of pyproject.toml into `.venv` -> the Python there."""
    if not (HOME / "pyproject.toml").is_file():
        raise SetUpError(f"this Python lacks packages, and {HOME} has only a part of SVI for "
                         "WanGP. Download all of it, and run the command in its folder.")
    if not PYTHON.exists():
        _make()
    if sys.platform == "linux":
        _torch_without_cuda()
    if not _run(*_PIP, "--editable", f".[{extra}]"):
        raise SetUpError("the packages could not be installed; the lines above say why. Fix that "
                         "and run the same command again: it continues from here.")
    return PYTHON


def _make() -> None:
    try:
        venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
    except BaseException as error:
        shutil.rmtree(VENV, ignore_errors=True)  # half of one would pass for a whole one
        if isinstance(error, subprocess.CalledProcessError):
            raise SetUpError("this Python cannot make an environment for packages. On Debian and "
                             "Ubuntu, run: sudo apt install python3-venv") from None
        if isinstance(error, OSError):
            raise SetUpError(f"the folder {VENV} could not be made: {error.strerror or error}. "
                             f"Move {HOME} to a place that you may write to.") from None
        raise


def _torch_without_cuda() -> None:
    there = ("import importlib.metadata as m; "
             f"raise SystemExit(m.version('torch').partition('+')[0] != '{TORCH}')")
    if _run("-c", there, silent=True) or _run(*_PIP, f"torch=={TORCH}+cpu", silent=True):
        return
    uv = ("-m", "uv", "pip", "install", "--quiet", "--python", str(PYTHON), "--torch-backend",
          "cpu")
    if not (_run(*_PIP, "uv") and _run(*uv, f"torch=={TORCH}")):
        raise SetUpError("PyTorch without CUDA could not be installed; the lines above say why. "
                         "Run the same command again when you are online, or install torch "
                         f"{TORCH} for CPU into {VENV} yourself.")


def _run(*arguments: str, silent: bool = False) -> bool:
    """Whether `.venv`'s Python did it."""
    where = subprocess.DEVNULL if silent else None
    done = subprocess.run([PYTHON, *arguments], cwd=HOME, stdout=where, stderr=where)
    return done.returncode == 0
