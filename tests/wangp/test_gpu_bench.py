"""The GPU benchmark in its small form, so that its code goes on running; nothing is asserted of its times."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import PYTHON
from test_svi import HOME, install


@pytest.mark.parametrize("model", ["i2v", "i2v_2_2"])
def test_the_benchmark_runs_every_setting_with_tiny_models(model, wangp, wangp_copy):
    tree = wangp_copy(wangp)
    install(tree)
    options = ("--tiny", "--model", model, "--repeats", "1", "--steps", "2")
    command = [PYTHON, HOME / "benchmarks/gpu/bench.py", tree, *options]
    environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 5 and rows[1] == "stock" and any(row.startswith("SVI") for row in rows[2:])
