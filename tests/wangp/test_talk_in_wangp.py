"""SVI-Talk in the real WanGP, on its type multitalk: what the transformer hears, the sound of the
finished video, and what users do with a run. Golden values go through WanGP's own functions."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import numpy as np  # noqa: E402
import sounds  # noqa: E402
import torch  # noqa: E402
import trees  # noqa: E402
import videos  # noqa: E402
from test_svi import SEED, install, start_image, svi, task, unit, write_loras  # noqa: E402, F401

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.conditioning import condition  # noqa: E402

TESTS = [str(Path(__file__).parents[1])]
TALK = "SVI-Talk - 50 Steps"
FRAMES = 200  # of sound: it ends in the third clip
CLICKS = [0, 40, 79, 80, 81, 120, 160, 199]
NEITHER_CLICK_NOR_SILENCE = 0.01  # noise, so that no frame is like another


def speaking(sound: Path | None = None, **changes) -> dict:
    given = {} if sound is None else {"audio_guide": str(sound)}
    return task(TALK, 1, prompt="a person is talking", resolution="64x64", **given, **changes)


def clicking() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(-1, 1, FRAMES * 640) * NEITHER_CLICK_NOR_SILENCE
    return noise + sounds.clicks(CLICKS, FRAMES)


@pytest.fixture(scope="module")
def talked(run_wangp, svi) -> trees.Outcome:  # noqa: F811
    sound = sounds.write(svi / "clicks.wav", clicking())
    return run_wangp(svi, {"level": "loop", "tasks": [speaking(sound)], "speech": True,
                           "setup": "talk_jobs:open_mouths", "path": TESTS})


def test_the_sound_decides_the_clips_and_each_is_whole(talked):
    report, = talked.report["tasks"]
    assert report["success"], report["errors"]
    assert [window["arguments"]["frame_num"] for window in report["windows"]] == [81, 81, 81]
    assert report["windows"][0]["arguments"]["audio_cfg_scale"] == 5.0
    assert report["windows"][0]["arguments"]["guide_scale"] == 2.0
    assert report["windows"][0]["arguments"]["shift"] == 5.0
    assert report["windows"][0]["arguments"]["sample_solver"] == "euler"
    assert "3 whole clips of 81" in report["log"] and "241 frames, 9.6 s" in report["log"]
    assert [(file["frames"], file["fps"]) for file in report["files"]] == [(241, 25.0)]


def test_each_clip_is_conditioned_as_the_authors_do(talked):
    tensors, reference = talked.tensors, start_image(talked)
    for clip, name in enumerate(f"task0.window{number}" for number in (1, 2, 3)):
        motion = reference[:, None]
        if clip:
            motion = unit(tensors[f"task0.window{clip}.frames"][:, -1:])
            loud = sounds.heard([tensors[f"task0.window{clip}.audio0.first"].float(),
                                 tensors[f"task0.window{clip}.audio0.later"].float()])
            if loud[-1] > loud.max() / 3:
                motion = torch.ones_like(motion)  # its mouth was open
        latents = tensors[f"{name}.encode0.latents"]
        y = condition(motion, reference, lambda _, latents=latents: latents)
        assert torch.equal(tensors[f"{name}.y"], y)
        assert torch.equal(tensors[f"{name}.encode0"][:, :1], motion)
        noise = torch.randn(1, 16, 21, 8, 8,
                            generator=torch.Generator().manual_seed(chain.seed(SEED, clip)))
        assert torch.equal(tensors[f"{name}.noise"], noise)


def test_the_transformer_hears_each_clips_own_part_of_the_sound(talked):
    tensors = talked.tensors
    peaks = []
    for clip in range(3):
        heard, dropped, nothing = (
            [tensors[f"task0.window{clip + 1}.audio{forward}.{part}"].float()
             for part in ("first", "later")] for forward in range(3))
        assert all(map(torch.equal, heard, dropped)) and not any(part.any() for part in nothing)
        loud = sounds.heard(heard)
        assert loud.shape == (81,)
        peaks.append({80 * clip + int(at) for at in torch.nonzero(loud > loud.max() / 3)})
        if clip == 2:
            assert loud[39] > 10 * loud[40:].max() == 0, "silence where the sound has ended"
    assert [sorted(one) for one in peaks] == [[0, 40, 79, 80], [80, 81, 120, 160], [160, 199]]


def test_the_sound_of_the_finished_video_is_in_step(talked):
    video = Path(talked.report["tasks"][0]["files"][0]["path"])
    frames = videos.read(video)
    seen = np.flatnonzero(frames.min((1, 2, 3)) > 230)
    assert seen.tolist() == CLICKS
    raw = videos.ffmpeg("-i", video, "-map", "0:a", "-ac", 1, "-ar", 16_000, "-f", "s16le", "-")
    loud = np.flatnonzero(np.abs(np.frombuffer(raw, "<i2").astype(int)) > 8000)
    heard = loud[np.flatnonzero(np.diff(loud, prepend=-9999) > 2000)] // 640
    assert len(heard) == 6 and np.abs(heard - [0, 40, 79, 120, 160, 199]).max() <= 1
    assert len([*video.parent.glob("*.mp4")]) == 1, "none of WanGP's own files is left"


@pytest.fixture(scope="module")
def pressed(run_wangp, svi) -> list[dict]:  # noqa: F811
    job = {"level": "play", "play": "talk_jobs:runs", "settings": speaking(), "speech": True,
           "path": TESTS}
    return run_wangp(svi, job, timeout=600).report


def test_stop_resume_and_a_longer_sound(pressed):
    stopped, resumed, longer = pressed[:3]
    assert stopped["success"] and (stopped["made"], stopped["ended"]) == ([1], "stopped")
    assert resumed["success"] and (resumed["made"], resumed["ended"]) == ([2], "finished")
    assert stopped["run"] == resumed["run"] != longer["run"]
    assert longer["success"] and (longer["made"], longer["clips"]) == ([2, 3], 3)
    first, second = Path(resumed["video"]), Path(longer["video"])
    assert (len(videos.read(first)), len(videos.read(second))) == (161, 241)
    assert all("Audio: aac" in videos.about(video) for video in (first, second))
    assert (videos.read(second)[:80] == videos.read(first)[:80]).all(), "clip 1 stays"


def test_bad_sounds_are_refused_and_nothing_is_lost(pressed):
    before = pressed[2]
    for found, said in zip(pressed[3:], (
            "SVI-Talk needs a sound", "silent.wav is silent", "corrupt.mp3 cannot be read as sound",
            "lasts 180 min 00 s", "trained with one speaker"), strict=True):
        assert not found["success"] and not found["made"]
        assert said in " ".join(found["errors"]) or "Audio Source" in " ".join(found["errors"])
        assert (found["run"], found["clips"]) == (before["run"], 3)


@pytest.mark.parametrize("version", [*trees.COMMITS, *later.LATER])
def test_every_version(version, run_wangp, wangp_at, wangp_copy):
    tree = wangp_copy(wangp_at(version))
    install(tree)
    write_loras(tree)
    sound = sounds.write(tree / "speech.wav", sounds.speech(90))
    outcome = run_wangp(tree, {"level": "process", "settings": speaking(sound), "speech": True})
    report, = outcome.report["tasks"]
    assert report["success"] and [window["arguments"]["frame_num"]
                                  for window in report["windows"]] == [81, 81]
    loud = [sounds.heard([outcome.tensors[f"task0.window{clip}.audio0.{part}"].float()
                          for part in ("first", "later")]) for clip in (1, 2)]
    samples = sounds.speech(90)
    wanted = torch.from_numpy(np.abs(samples[: 90 * 640].reshape(90, 640)).mean(1)).float()
    for clip, found in enumerate(loud):
        part = wanted[80 * clip : 80 * clip + 81]
        scale = found[: len(part)] / part
        assert (scale / scale.mean() - 1).abs().max() < 0.02, "each frame hears its own moment"
        assert not found[len(part):].any()
    video = report["files"][-1]
    # without runs, WanGP itself adds the sound, and ends the video with it
    assert (video["frames"], video["fps"]) == (95 if version in ("9.91", "10.12") else 161, 25.0)
    assert "Audio: aac" in videos.about(Path(video["path"]))


@pytest.fixture(scope="module")
def golden(run_wangp, wangp) -> dict:
    return run_wangp(wangp, {"level": "call", "call": "talk_jobs:golden", "speech": True}).report


def test_the_window_is_the_authors(golden):
    assert golden["talk_window"] == 0


def test_the_sum_of_the_three_forwards_is_the_authors(golden):
    assert max(golden["talk_cfg"].values()) < 1e-5


def test_the_embeddings_of_a_sound_are_the_authors(golden):
    assert max(golden["talk_wav2vec"].values()) < 1e-5


def test_the_attention_to_the_sound_is_the_authors(golden):
    assert max(golden["talk_attention"].values()) < 1e-5


def test_the_whole_model_predicts_what_the_authors_does(golden):
    assert len(golden["talk_dit"]) == 6
    assert max(golden["talk_dit"].values()) < 2 * 0.0077, "twice bfloat16's own error"
