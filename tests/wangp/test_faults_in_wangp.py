"""Faults planted in SVI, all in one queue of the real WanGP: each time it moves on to its next job,
no clip is lost, and the video can be resumed."""

from __future__ import annotations

import shutil
from itertools import product

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

from test_svi import SHOT, install, task, write_loras  # noqa: E402

from wan2gp_svi.runs.state import State  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402

PLACES = ("before_generate", "seed", "clip_vision_frame", "mask", "injected_latents", "encode",
          "receive", "after_join", "save", "saved", "after_save")
#: faults that come after the run has finished, so that the same settings start a new one
AT_THE_END = (("saved", "after"), ("after_save", "after"))
CASES = dict(enumerate(product(PLACES, ("before", "after")), 100))


@pytest.fixture(scope="module")
def queue(wangp, tmp_path_factory, run_wangp):
    tree = shutil.copytree(wangp, tmp_path_factory.mktemp("faults") / "Wan2GP")
    install(tree)
    write_loras(tree)
    first = [task(SHOT, 2, seed=seed) for seed in CASES]
    job = {"level": "loop", "at_once": True, "setup": "svi_faults:plant", "tasks": [*first, *first],
           "faults": {seed: [place, 2, when] for seed, (place, when) in CASES.items()}}
    return run_wangp(tree, job, timeout=900)


@pytest.mark.parametrize("seed", CASES, ids=["-".join(case) for case in CASES.values()])
def test_the_queue_goes_on_and_the_video_is_resumed(seed, queue):
    report, = queue.report["tasks"]
    assert report["success"] and not report["errors"]
    finished = CASES[seed] in AT_THE_END
    made = [window for window in report["windows"] if window["arguments"]["seed"] == seed
            and "result" in window]
    # the clip never got to the disk
    again = 2 if finished else CASES[seed] == ("receive", "before")
    assert len(made) == 2 + again, "what was made is not made again"
    runs = [run for run in Store(queue.work / "outputs/svi").runs() if run.about.seed == seed]
    assert len(runs) == 1 + finished
    for run in runs:
        assert len(run.done()) == 2 and run.about.ended == State.FINISHED
        assert not list(run.folder.glob("*-frames.safetensors")), ("nothing is left of what was "
                                                                   "made and not saved")


def test_each_fault_is_told_once_with_a_line_for_a_bug_report(queue):
    lines = [line for line in queue.log.splitlines() if line.startswith("[SVI]")
             and "Please report this line" in line]
    assert len(lines) == len(CASES)
    for line, (place, _) in zip(lines, CASES.values(), strict=True):
        assert ("RuntimeError: planted" in line and "WanGP 12.60" in line
                and "to resume" in line), place
