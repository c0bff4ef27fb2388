"""What SVI and WanGP's window loop do together, in the real WanGP."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("safetensors.torch", reason="needs torch and safetensors to read the runs")

from scenarios import SCENARIOS, Scenario, check  # noqa: E402
from test_svi import install, write_loras  # noqa: E402


@pytest.fixture(scope="module")
def played(wangp: Path, tmp_path_factory: pytest.TempPathFactory,
           run_wangp: Callable[..., Any]) -> dict[str, Any]:
    """Every scenario, in one process of WanGP."""
    tree = Path(shutil.copytree(wangp, tmp_path_factory.mktemp("scenarios") / "Wan2GP"))
    install(tree)
    write_loras(tree)
    job = {"level": "play", "play": "scenario_jobs:play", "path": [str(Path(__file__).parents[1])]}
    return run_wangp(tree, job, timeout=900).report


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_in_wangp(scenario: Scenario, played: dict[str, Any]):
    check(scenario, played[scenario.name])
