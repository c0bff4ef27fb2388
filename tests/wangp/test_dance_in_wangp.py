"""SVI-Dance in the real WanGP: what the transformer gets with a pose video, and what users do with
a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import numpy as np  # noqa: E402
import poses  # noqa: E402
import torch  # noqa: E402
import trees  # noqa: E402
import videos  # noqa: E402
from conftest import PYTHON  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_svi import SEED, install, start_image, svi, task, unit, write_loras  # noqa: E402, F401

from wan2gp_svi import chain, lora  # noqa: E402
from wan2gp_svi.conditioning import condition  # noqa: E402
from wan2gp_svi.poses import PoseNetwork  # noqa: E402
from wan2gp_svi.wangp import dance  # noqa: E402
from wan2gp_svi.wangp.frames import to_uint8  # noqa: E402

TESTS = [str(Path(__file__).parents[1])]
DANCE, SHOT = "SVI-Dance - 50 Steps", "SVI Shot Infinite - 50 Steps"
POSES = 100  # of the video: it starts over in the second clip


def dancing(clips: int, video: Path | None = None, **changes) -> dict:
    given = {} if video is None else {"video_guide": str(video)}
    return task(DANCE, clips, prompt="the person is dancing", **given, **changes)


@pytest.fixture(scope="module")
def danced(run_wangp, svi) -> trees.Outcome:  # noqa: F811
    """Two clips with poses, then one of Shot on the same transformer, then one with a person whose
    poses are aligned with the image."""
    video = poses.write(svi / "poses.mp4", POSES)
    person = videos.write(svi / "person.mp4", np.full((90, 96, 64, 3), poses.ONE, np.uint8),
                          videos.EXACT, 25)
    return run_wangp(svi, {"level": "loop", "path": TESTS, "setup": "dance_jobs:detect", "tasks": [
        dancing(2, video), task(SHOT, 1), dancing(1, person, video_prompt_type="OV")]})


def test_the_profile_is_what_the_model_gets(danced):
    report = danced.report["tasks"][0]
    assert report["success"], report["errors"]
    assert [one["arguments"]["guide_scale"] for one in report["windows"]] == [2.0, 2.0]
    assert [one["arguments"]["frame_num"] for one in report["windows"]] == [81, 81]
    assert [(file["frames"], file["fps"]) for file in report["files"]] == [(161, 25.0)]
    assert "20 of 20 layers matched, and the pose network" in report["log"]
    assert f"the pose video has {POSES} poses, and the video 161 frames" in report["log"]


def test_each_clip_is_conditioned_as_the_authors_do(danced):
    tensors, reference = danced.tensors, start_image(danced)
    for clip in range(2):
        name, motion = f"task0.window{clip + 1}", reference[:, None]
        if clip:
            motion = unit(tensors[f"task0.window{clip}.frames"][:, -1:])
        latents = tensors[f"{name}.encode0.latents"]
        y = condition(motion, reference, lambda _, latents=latents: latents)
        assert torch.equal(tensors[f"{name}.y"], y)
        noise = torch.randn(1, 16, 21, 8, 8,
                            generator=torch.Generator().manual_seed(chain.seed(SEED, clip)))
        assert torch.equal(tensors[f"{name}.noise"], noise)


def test_the_poses_of_each_clip_are_in_its_tokens(danced, svi):  # noqa: F811
    file = load_file(svi / "loras/wan_i2v/svi-dance.safetensors")
    network, tensors = PoseNetwork(lora.clean(file).pose), danced.tensors
    frames = torch.from_numpy(poses.dancer(POSES))
    added = []
    for clip in range(2):
        added.append(in_tokens(network, tensors, f"task0.window{clip + 1}",
                               frames[chain.pose_indices(clip, POSES, 1)]))
    assert (added[0] - added[1]).abs().max() > 0.1 * added[0].abs().max()


def in_tokens(network: PoseNetwork, tensors: dict, window: str, shown: torch.Tensor
              ) -> torch.Tensor:
    """Checks that a clip's poses are in its tokens -> what they add."""
    wanted = network.add(torch.zeros(1, network.dim, 21, 4, 4), network.read(shown))[0]
    branches = [name for name in tensors if name.startswith(f"{window}.tokens")]
    for name in branches:
        plain = tensors[name.replace("tokens", "plain")].float()
        for one in tensors[name].float() - plain:
            assert (one - wanted).abs().max() < 0.02 * wanted.abs().max()
    assert branches, "one, if WanGP shares it between the branches"
    return wanted


def test_a_person_is_followed_where_the_one_in_the_image_stands(danced, svi, monkeypatch):  # noqa: F811
    pytest.importorskip("cv2", reason="draws with OpenCV, as WanGP does")
    assert "clip 1/1 done" in (log := danced.report["tasks"][2]["log"]), log[-2000:]
    for name, module in poses.stand_ins(SimpleNamespace(missing=())).items():
        monkeypatch.setitem(sys.modules, name, module)
    image = to_uint8(start_image(danced)).movedim(0, -1)
    shown, plain = (dance.Poses(str(svi / "person.mp4"), 64, 64, 1, dance.detector, one).clip(0)
                    for one in (image, None))
    assert shown.any() and not torch.equal(shown, plain)
    network = PoseNetwork(lora.clean(load_file(svi / "loras/wan_i2v/svi-dance.safetensors")).pose)
    in_tokens(network, danced.tensors, "task2.window1", shown)


def test_without_dance_the_transformer_is_as_it_was(danced):
    assert danced.report["tasks"][1]["success"]
    assert not [name for name in danced.tensors if name.startswith("task1.window1.tokens")]


@pytest.fixture(scope="module")
def pressed(run_wangp, svi) -> list[dict]:  # noqa: F811
    job = {"level": "play", "play": "dance_jobs:runs", "settings": dancing(2), "path": TESTS}
    return run_wangp(svi, job, timeout=600).report


def test_stop_resume_and_extend(pressed):
    stopped, resumed, longer = pressed[:3]
    assert stopped["success"] and (stopped["made"], stopped["ended"]) == ([1], "stopped")
    assert resumed["success"] and (resumed["made"], resumed["ended"]) == ([2], "finished")
    assert longer["success"] and (longer["made"], longer["clips"]) == ([3], 3)
    assert stopped["run"] == resumed["run"] == longer["run"]
    assert len(videos.read(Path(longer["video"]))) == 241


def test_bad_pose_videos_are_refused_and_nothing_is_lost(pressed):
    before = pressed[2]
    for found, said in zip(pressed[3:], ("needs a pose video", "cannot be read as a video",
                                         "does not show skeletons on black"), strict=True):
        assert not found["success"] and not found["made"]
        assert said in " ".join(found["errors"])
        assert (found["run"], found["clips"]) == (before["run"], 3)


@pytest.mark.parametrize("version", [*trees.COMMITS, *later.LATER])
def test_every_version(version, run_wangp, wangp_at, wangp_copy):
    tree = wangp_copy(wangp_at(version))
    leaves_it_to_svi = b"skip_video_guide_preprocess" in (tree / "wgp.py").read_bytes()
    if not leaves_it_to_svi and trees.lacks(PYTHON, "decord"):
        pytest.skip("this WanGP reads the pose video, too, with decord, which is missing")
    install(tree)
    write_loras(tree)
    outcome = run_wangp(tree, {"level": "process", "path": TESTS, "settings": dancing(
        2, poses.write(tree / "poses.mp4", POSES))})
    report, = outcome.report["tasks"]
    assert report["success"] and len(report["windows"]) == 2
    video = report["files"][-1]
    assert (video["frames"], video["fps"]) == (161, 25.0)
    for clip in (1, 2):
        tokens, plain = (outcome.tensors[f"task0.window{clip}.{name}0"].float()
                         for name in ("tokens", "plain"))
        assert (tokens - plain).abs().max() > 0.1


def test_the_whole_model_predicts_what_the_authors_does(run_wangp, svi):  # noqa: F811
    found = run_wangp(svi, {"level": "call", "call": "dance_jobs:golden"}).report
    assert found.pop("tokens") < 2e-4, "ten times the network's own error in 32 bit"
    assert len(found) == 6 and max(found.values()) < 2 * 0.0066, "twice bfloat16's own error"
