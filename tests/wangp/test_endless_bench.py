"""The benchmark of long videos, in a small form without checks of time and memory."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest
from conftest import PYTHON
from test_svi import HOME


@pytest.mark.skipif(not sys.platform.startswith("linux"),
                    reason="the benchmark reads the memory from /proc")
def test_every_frame_is_encoded_once_with_svi_and_each_time_again_without(wangp, tmp_path):
    command = [PYTHON, HOME / "benchmarks/endless.py", wangp, "--quick", "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment,
                          timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "endless.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for n in (1, 2, 3, 4):
        for kind in ("stock", "svi"):
            windows = [row for row in rows if (row["kind"], row["windows"]) == (kind, str(n))]
            if kind == "stock" and n == 4:  # the soak is SVI's alone
                continue
            assert [int(row["window"]) for row in windows] == list(range(1, n + 1))
            encoded = [int(row["encoded_frames"]) for row in windows]
            assert {int(row["video_frames"]) for row in windows} == {80 * n + 1}
            if kind == "svi":
                assert encoded == [80] * (n - 1) + [81]
            else:
                assert encoded == [80 * window + 1 for window in range(1, n + 1)]
                assert sum(encoded) == 40 * n**2 + 41 * n
    report = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert report in done.stdout and "## Soak: 4 clips at 64x64" in report
