"""SVI-Dance without WanGP: poses, skeletons, and runs that follow them in the stand-in for WanGP's
loop."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from wan2gp_svi import chain, poses, skeleton

GOLDEN = Path(__file__).parent / "golden"
CASES = {case["name"]: case for case in
         json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))}
PREFIX = "dwpose_embedding."


def golden(name: str) -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / CASES[name]["file"])


def network(data: dict[str, torch.Tensor]) -> poses.PoseNetwork:
    return poses.PoseNetwork({name.removeprefix(PREFIX): tensor for name, tensor in data.items()
                              if name.startswith(PREFIX)})


# ------------------------------------------------------------------------------- the pose network

@pytest.mark.parametrize("at_once", [1, 3, 4, 21])
@pytest.mark.parametrize("name", ["dance_pose_81", "dance_pose_wide_later_clip"])
def test_tokens_are_what_the_authors_network_gave(name, at_once):
    case, data = CASES[name], golden(name)
    made = network(data)
    read = made.read(data["pose"], at_once=at_once)
    before = torch.randn(2, 64, *case["grid"])
    tokens = (made.add(before.clone(), read) - before).flatten(2).transpose(1, 2)
    for one in tokens:  # both branches
        torch.testing.assert_close(one, data["tokens"], rtol=0, atol=10 * case["float32_error"])


@pytest.mark.parametrize("frames", [1, 5, 9, 33])
def test_pieces_are_the_whole_whatever_the_number_of_frames(frames):
    made = network(golden("dance_pose_81"))
    pose = torch.randint(0, 256, (frames, 32, 16, 3), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(frames))
    whole = made.read(pose, at_once=99)
    assert whole.shape == (16, (frames + 3) // 4, 4, 2)
    for at_once in (1, 2, 3):
        torch.testing.assert_close(made.read(pose, at_once=at_once), whole, rtol=1e-5, atol=1e-4)


def test_a_network_that_is_another_is_refused():
    data = golden("dance_pose_81")
    assert network(data).dim == 64
    with pytest.raises(ValueError, match=r"lacks 4\.bias"):
        network({name: tensor for name, tensor in data.items() if name != f"{PREFIX}4.bias"})
    with pytest.raises(ValueError, match=r"has the shape \(16, 3, 1, 1, 1\)"):
        network({**data, f"{PREFIX}0.weight": torch.zeros(16, 3, 1, 1, 1)})
    with pytest.raises(ValueError, match="80 pose frames of 48x64"):
        network(data).read(data["pose"][:80])


# ------------------------------------------------------------------------------- poses of a clip

@pytest.mark.parametrize(("length", "overlap"), [(50, 1), (81, 1), (223, 1), (223, 5)])
def test_no_pose_comes_twice(length, overlap):
    """The authors' first clip, and their later ones without the pose that they give twice."""
    theirs = golden("dance_pose_indices")[f"length_{length}_motion_{overlap}"].tolist()
    ours = [chain.pose_indices(clip, length, overlap) for clip in range(4)]
    assert ours[0] == theirs[0]
    for clip, (one, other) in enumerate(zip(ours[1:], theirs[1:], strict=True), 1):
        late = [(at - 1) % length for at in one]
        assert other == (one[:overlap] + late[overlap:] if clip == 1 else late)
    video = [*ours[0], *(at for clip in ours[1:] for at in clip[overlap:])]
    assert video == [at % length for at in range(len(video))]


# ------------------------------------------------------------------------------------ skeletons

DRAWN = ["dance_draw_tall", "dance_draw_wide"]


@pytest.mark.parametrize("name", DRAWN)
def test_the_skeleton_is_the_trainings_byte_for_byte(name):
    pytest.importorskip("cv2", reason="draws with OpenCV, as WanGP does")
    data = {key: tensor.numpy() for key, tensor in golden(name).items()}
    height, width, _ = data["seen"].shape
    one = skeleton.person(data["keypoints_134"][0], data["scores_134"][0], height, width)
    np.testing.assert_allclose(one.joints, data["candidate"], rtol=0, atol=1e-15)
    assert (one.hands == data["hands"]).all()
    drawn = skeleton.draw(one, height, width)
    assert (drawn == data["seen"]).all() and (drawn[..., ::-1] == data["drawn"]).all()


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_fitted_into_a_size_byte_for_byte(name):
    data = golden(name)
    for key in (key for key in data if key.startswith("resized_")):
        height, width = map(int, key.removeprefix("resized_").split("x"))
        assert torch.equal(poses.fit(data["seen"], height, width), data[key])
    assert torch.equal(poses.fit(data["seen"], *data["seen"].shape[:2]), data["seen"])
