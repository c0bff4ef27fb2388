"""SVI-Talk in the real WanGP, on its type multitalk: what the transformer hears, and the sound of the
finished video."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import sounds  # noqa: E402
import trees  # noqa: E402
from test_svi import svi, task  # noqa: E402, F401

TALK = "SVI-Talk - 50 Steps"
FRAMES = 200  # of sound: it ends in the third clip


def speaking(sound: Path, **changes) -> dict:
    return task(TALK, 1, audio_guide=str(sound), prompt="a person is talking", resolution="64x64",
                **changes)


@pytest.fixture(scope="module")
def talked(run_wangp, svi) -> trees.Outcome:  # noqa: F811
    sound = sounds.write(svi / "speech.wav", sounds.speech(FRAMES))
    return run_wangp(svi, {"level": "loop", "tasks": [speaking(sound)], "speech": True})


def test_the_sound_decides_the_clips(talked):
    report, = talked.report["tasks"]
    assert report["success"], report["errors"]
    print(report["log"])
    assert [window["arguments"]["frame_num"] for window in report["windows"]] == [81, 81, 81]


@pytest.fixture(scope="module")
def golden(run_wangp, wangp) -> dict:
    job = {"level": "call", "call": "talk_jobs:golden", "speech": True}
    return run_wangp(wangp, job).report


def test_golden(golden):
    print(golden)
