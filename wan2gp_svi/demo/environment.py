"""A Python with the packages that the demo or the tests need, on a machine that has nothing but Python.

Standard library only. PyTorch for Linux comes with CUDA from the registry, gigabytes that nothing here has a use for;
so it is asked for as the build for the processor, from wherever pip looks, and else by uv, which knows its place.
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
#: that the demo imports, diffusers aside
MODULES = ("torch", "safetensors", "numpy", "PIL", "av", "cv2", "matplotlib", "imageio", "imageio_ffmpeg")
DIFFUSERS, TORCH = "0.36.", "2.13.0"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")


class SetUpError(Exception):
    """The message says what to do."""


def complete() -> bool:
    """Whether this Python has all that the demo needs."""
    try:
        return all(map(find_spec, MODULES)) and version("diffusers").startswith(DIFFUSERS)
    except PackageNotFoundError:
        return False


def prepared() -> bool:
    """Whether `.venv` has all that the demo needs."""
    question = "import sys; from wan2gp_svi.demo.environment import complete; sys.exit(not complete())"
    return PYTHON.exists() and _run("-c", question, silent=True)


def prepare(extra: str) -> Path:
    """The Python of `.venv`, made where there is none, with the packages of an extra of pyproject.toml in it."""
    if not (HOME / "pyproject.toml").is_file():
        raise SetUpError(f"this Python lacks packages, and {HOME} holds only a part of SVI for WanGP. Download the "
                         "whole, and start the command in its folder.")
    if not PYTHON.exists():
        _make()
    if sys.platform == "linux":
        _torch_without_cuda()
    if not _run(*_PIP, "--editable", f".[{extra}]"):
        raise SetUpError("the packages could not be installed; the lines above say why. Start the same command again "
                         "when that is fixed: it continues from here.")
    return PYTHON


def _make() -> None:
    try:
        venv.create(VENV, with_pip=True, symlinks=os.name != "nt")
    except BaseException as error:
        shutil.rmtree(VENV, ignore_errors=True)  # half of it would pass for the whole
        if isinstance(error, subprocess.CalledProcessError):
            raise SetUpError("this Python cannot make an environment for packages. On Debian and Ubuntu that is a "
                             "package of its own: sudo apt install python3-venv") from None
        if isinstance(error, OSError):
            raise SetUpError(f"the folder {VENV} could not be made: {error.strerror or error}. Move the folder that "
                             "it would be in to a place that you may write to.") from None
        raise


def _torch_without_cuda() -> None:
    there = f"import importlib.metadata as m, sys; sys.exit(m.version('torch').partition('+')[0] != '{TORCH}')"
    if _run("-c", there, silent=True) or _run(*_PIP, f"torch=={TORCH}+cpu", silent=True):
        return
    uv = ("-m", "uv", "pip", "install", "--quiet", "--python", str(PYTHON), "--torch-backend", "cpu")
    if not (_run(*_PIP, "uv") and _run(*uv, f"torch=={TORCH}")):
        raise SetUpError("PyTorch without CUDA could not be installed; the lines above say why. Start the same command "
                         f"again with a connection, or install torch {TORCH} for CPU into {VENV} by hand.")


def _run(*arguments: str, silent: bool = False) -> bool:
    """Whether `.venv`'s Python did it."""
    where = subprocess.DEVNULL if silent else None
    return subprocess.run([PYTHON, *arguments], cwd=HOME, stdout=where, stderr=where).returncode == 0
