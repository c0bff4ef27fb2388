"""The GPU benchmarks in their small form, without checks of times, so that their
code keeps working. And the VAE in stripes, which gives what WanGP's own
gives in every version of WanGP."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trees
from conftest import PYTHON
from test_svi import HOME, install


def run(script: str, *arguments: str | Path) -> list[list[str]]:
    """The rows of a benchmark's tables, without lines of dashes."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1",
                   "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([PYTHON, HOME / "benchmarks/gpu" / script, *arguments],
                          capture_output=True, encoding="utf-8", env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()
            if line.startswith("| ")]


@pytest.mark.parametrize("options", [("i2v", "--int8"), ("i2v_2_2",), ("multitalk",)],
                         ids=lambda options: options[0])
def test_the_benchmark_runs_every_setting_with_tiny_models(options, wangp, wangp_copy):
    tree = wangp_copy(wangp)
    install(tree)
    rows = run("bench.py", tree, "--tiny", "--repeats", "1", "--steps", "2", "--model", *options)
    names = [row[0] for row in rows]
    assert len(rows) == {"i2v": 7, "i2v_2_2": 5, "multitalk": 4}[options[0]]
    assert names[1] == "stock" and any(name.startswith("SVI") for name in names[2:])
    assert all(row[-1] == "float32, untiled" for row in rows[1:])


def test_a_capped_card_is_pretended_and_wangps_tiles_follow_it(wangp, wangp_copy):
    tree = wangp_copy(wangp)
    install(tree)
    rows = run("bench.py", tree, "--tiny", "--repeats", "1", "--steps", "1", "--vram", "24", "8",
               "--only", "stock", "SVI-Shot")
    assert [row[-1] for row in rows if row[0] == "stock"] == ["float32, untiled",
                                                              "float32, tiles of 256"]
    assert [row[-1] for row in rows if row[0] == "SVI-Shot"] == ["float32, untiled"] * 2


def test_the_vaes_benchmark_runs_with_a_tiny_vae(wangp):
    rows = {row[0]: row[-1] for row in run("vae.py", wangp, "--tiny")}
    assert float(rows["32 bit, in stripes (SVI)"]) < 1e-5 < float(rows["16 bit (fp16), untiled"])


def test_clips_fed_back_part_in_16_bit_and_in_tiles_and_not_in_stripes(wangp):
    rows = run("vae.py", wangp, "--tiny", "--feedback", "2")
    last = {row[0]: float(row[-1].split(",")[0]) for row in rows if row[0]}
    # rounding in 32 bit can change a frame by one step of 8 bit
    assert last["32 bit, in stripes (SVI)"] < 1e-3 < last["16 bit (fp16), untiled"]


@pytest.mark.parametrize("version", trees.COMMITS)
def test_the_vae_in_stripes_is_exact_in_every_version(version, wangp_at):
    """Landscape and portrait, one frame and many, still and moving, one residual block and two."""
    rows = run("vae.py", wangp_at(version), "--exact")
    assert len(rows) > 20 and max(float(cell) for row in rows[1:] for cell in row[-2:]) < 1e-5
