"""Fixtures for tests that run the real WanGP, on a CPU and with tiny random weights.

    pytest tests/wangp --wangp /path/to/WanGP         or WANGP_DIR=/path/to/WanGP pytest
    WANGP_PYTHON=/path/to/python                      the Python that has WanGP's
                                                      packages (default: this one)

The checkout is only read. WanGP runs in other processes; session.py says what a job can hold.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import later  # noqa: E402
import trees  # noqa: E402

PYTHON = os.environ.get("WANGP_PYTHON", sys.executable)
# for WanGP: threads that spin while they wait slow down those that work
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--wangp", metavar="DIR",
                     help="a WanGP checkout to test with (or set WANGP_DIR)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    reason = _missing(config) if ours else ""
    for item in ours if reason else []:
        item.add_marker(pytest.mark.skip(reason=reason))


def _missing(config: pytest.Config) -> str:
    """Why WanGP cannot run, and what to do about it; empty if it can."""
    if _checkout(config) is None:
        return "needs a WanGP checkout: pytest tests/wangp --wangp DIR, or set WANGP_DIR"
    error = trees.lacks(PYTHON, "mmgp", "gradio")
    return (f"{PYTHON} cannot run WanGP ({error}): set WANGP_PYTHON to a Python "
            "with WanGP's packages" if error else "")


def _checkout(config: pytest.Config) -> Path | None:
    # `pytest tests` finds this file too late to know the option
    folder = config.getoption("--wangp", None) or os.environ.get("WANGP_DIR")
    if folder and not Path(folder, "wgp.py").is_file():
        raise pytest.UsageError(f"{folder} holds no wgp.py: --wangp and WANGP_DIR "
                                "name a WanGP checkout")
    return Path(folder).resolve() if folder else None


@pytest.fixture(scope="session")
def wangp(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without git and big files, for tests that change nothing in it."""
    return trees.copy(_checkout(pytestconfig), tmp_path_factory.mktemp("wangp") / "now")


@pytest.fixture(scope="session")
def wangp_at(pytestconfig: pytest.Config,
             tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """version -> WanGP as of that version, written once, for tests that change nothing in it.

    A version is a key of trees.COMMITS, or one of the imitated ones in later.LATER.
    """
    folder = tmp_path_factory.mktemp("versions")

    def export(version: str) -> Path:
        target = folder / version
        if not target.exists():
            commit = trees.COMMITS[later.BASE if version in later.LATER else version]
            try:
                trees.export(_checkout(pytestconfig), commit, target)
            except trees.NoTree as error:
                pytest.skip(str(error))
            if version in later.LATER:
                later.make(target, version, PYTHON)
        return target

    return export


@pytest.fixture
def wangp_copy(tmp_path: Path) -> Callable[[Path], Path]:
    """tree -> a copy for this test alone, which it may change."""
    return lambda tree: Path(shutil.copytree(tree,
                                             tmp_path / f"wangp-{len(list(tmp_path.iterdir()))}"))


@pytest.fixture(scope="session")
def run_wangp(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., trees.Outcome]:
    """(tree, job, timeout=300) -> the outcome of a job; session.py describes its keys."""

    def run(tree: Path, job: dict[str, Any], timeout: float = 300) -> trees.Outcome:
        return trees.run(PYTHON, tree, tmp_path_factory.mktemp("job"), job, timeout)

    return run


@pytest.fixture
def serve_wangp(tmp_path: Path) -> Callable[..., Any]:
    """(tree, job=None) -> a context with the address of the real UI;
    browser.open_page() opens it."""
    return lambda tree, job=None: trees.serve(PYTHON, tree, tmp_path / "ui", job)
