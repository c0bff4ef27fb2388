"""A storyboard in the real WanGP: what its transformer gets in each clip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import trees  # noqa: E402
from PIL import Image  # noqa: E402
from test_svi import (  # noqa: E402, F401
    SEED,
    SHOT,
    install,
    start_image,
    svi,
    task,
    unit,
    write_loras,
)

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.conditioning import amplify, condition, condition_pro  # noqa: E402
from wan2gp_svi.drift.layout import provenance  # noqa: E402

TWO, PRO = "SVI-2.0 - 50 Steps", "SVI-2.0 Pro - 50 Steps"


@pytest.fixture(scope="module")
def other(svi) -> torch.Tensor:  # noqa: F811
    """An image that is not the start image, [3, 64, 64]; its path is other ü.png in WanGP."""
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(svi / "other ü.png")
    return unit(torch.from_numpy(pixels).movedim(-1, 0))


def staged(profile: str, clips: int, text: str, **changes) -> dict:
    settings = task(profile, clips, **changes)
    settings["custom_settings"] = {**settings["custom_settings"], "svi_storyboard": text}
    return settings


@pytest.fixture(scope="module")
def boards(run_wangp, svi, other) -> trees.Outcome:  # noqa: F811
    picture = svi / "other ü.png"
    tasks = [
        staged(SHOT, 3, f"[2]\nprompt = a kite\nreference = {picture}\nseed = 77\nguidance = 2\n"
                        "steps = 3\nmotion = 1.3\nsvi strength = 1.5\n[3]\nend image = loop"),
        staged(TWO, 2, f"[2]\nend image = {picture}"),
        staged(PRO, 3, f"[2]\nend image = {picture}\n[3]\nnew shot = yes\nreference = {picture}"),
        staged(SHOT, 2, "[1]\nsvi strength = 0"),
        staged(SHOT, 3, "[all]\npause = yes"),
        staged(SHOT, 2, "[3]\nseed = 1"),
        staged(SHOT, 2, "seed = 1"),
        staged(PRO, 2, "[all]\nmotion latents = 2"),
    ]
    return run_wangp(svi, {"level": "loop", "tasks": tasks}, timeout=1200)


def condition_of(outcome: trees.Outcome, number: int, clip: int):
    """The VAE's encode, as it was recorded, for the video that was encoded, and `y`."""
    name = f"task{number}.window{clip}"
    encoded, latents = (outcome.tensors[f"{name}.encode0{end}"] for end in ("", ".latents"))

    def encode(video: torch.Tensor) -> torch.Tensor:
        assert torch.equal(video, encoded), "another video was encoded"
        return latents
    return encode, outcome.tensors[f"{name}.y"]


def last_frames(outcome: trees.Outcome, number: int, clip: int, frames: int) -> torch.Tensor:
    return unit(outcome.tensors[f"task{number}.window{clip}.frames"][:, -frames:])


def test_all_of_them_are_made_or_refused_with_a_sentence(boards):
    reports = boards.report["tasks"]
    for report in (*reports[:5], *reports[7:]):
        assert report["success"] and not report["errors"], report["errors"]
    assert [len(report["windows"]) for report in reports] == [3, 2, 3, 2, 1, 0, 0, 2]
    assert "clip 3 is not in this video, which has 2 clips" in str(reports[5]["errors"])
    assert "belongs to no clip. Put the clip before it" in str(reports[6]["errors"])


def test_a_row_gives_its_clip_what_it_asks_for(boards, other):
    windows = boards.report["tasks"][0]["windows"]
    encode, y = condition_of(boards, 0, 2)
    made = condition(last_frames(boards, 0, 1, 1), other, encode)
    assert torch.equal(y[:4], made[:4]) and torch.equal(y[4:], amplify(made[4:], 1, 1.3))
    noise = torch.randn(1, 16, 21, 8, 8, generator=torch.Generator().manual_seed(77))
    assert torch.equal(boards.tensors["task0.window2.noise"], noise)
    assert windows[1]["arguments"]["input_prompt"] == "a kite"
    assert windows[1]["arguments"]["guide_scale"] == 2
    # two steps are the task's; guidance makes two predictions of each step
    assert [len({one["timestep"] for one in window["forwards"]}) for window in windows] == [2, 3, 2]


def test_a_loop_closes_on_the_first_frame(boards):
    reference = start_image(boards)
    encode, y = condition_of(boards, 0, 3)
    made = condition(last_frames(boards, 0, 2, 1), reference, encode, end=reference)
    assert torch.equal(y, made)
    assert y[:4, -1].flatten(1)[:, 0].tolist() == [0, 0, 0, 1]
    file = boards.report["tasks"][0]["files"][-1]
    assert file["frames"] == chain.length(3, 1) - 1


def test_an_end_image_on_wan_2_2_follows_grey_as_in_the_authors_code(boards, other):
    encode, y = condition_of(boards, 1, 2)
    assert torch.equal(y, condition(last_frames(boards, 1, 1, 1), start_image(boards), encode,
                                    ref_pad_num=0, end=other))


def test_pro_ends_on_the_latent_of_its_image_and_starts_a_new_shot(boards, other):
    tensors, reference = boards.tensors, start_image(boards)
    for clip, anchor, previous, end in (
            (2, reference, tensors["task2.window1.latent_slice"][0], other),
            (3, other, None, None)):
        encoded = [tensors[f"task2.window{clip}.encode{at}"] for at in range(2)
                   if f"task2.window{clip}.encode{at}" in tensors]
        wanted = [anchor] + [end] * (end is not None)
        assert [one.shape[1] for one in encoded] == [1] * len(wanted)
        assert all(torch.equal(one[:, 0], image)
                   for one, image in zip(encoded, wanted, strict=True))
        latents = iter([tensors[f"task2.window{clip}.encode{at}.latents"]
                        for at in range(len(wanted))])
        y = condition_pro(anchor, lambda _, latents=latents: next(latents),
                          previous_latents=previous, end=end)
        assert torch.equal(tensors[f"task2.window{clip}.y"], y)


def test_clip_1_without_the_lora_is_what_wangp_makes(boards, run_wangp, svi):  # noqa: F811
    settings = task(SHOT, 1, activated_loras=[], loras_multipliers="", custom_settings=None)
    stock = run_wangp(svi, {"level": "loop", "tasks": [settings]})
    for name in ("y", "noise", "frames"):
        assert torch.equal(boards.tensors[f"task3.window1.{name}"],
                           stock.tensors[f"task0.window1.{name}"]), name


def test_the_strength_of_the_lora_counts_for_its_clip_alone(boards, run_wangp, svi):  # noqa: F811
    plain = run_wangp(svi, {"level": "loop", "tasks": [
        staged(SHOT, 2, "[2]\nsvi strength = 1.5"), task(SHOT, 2)]})
    first = [plain.tensors[f"task{number}.window1.frames"] for number in range(2)]
    second = [plain.tensors[f"task{number}.window2.frames"] for number in range(2)]
    assert torch.equal(*first) and not torch.equal(*second)
    assert torch.equal(*(plain.tensors[f"task{number}.window2.y"] for number in range(2)))


def test_a_run_pauses_and_its_storyboard_is_in_the_metadata(boards):
    report = boards.report["tasks"][4]
    assert "stopped after clip 1" in report["log"]
    settings = boards.report["tasks"][0]["files"][-1]["metadata"]
    assert "seed = 77" in settings["custom_settings"]["svi_storyboard"]
    run = json.loads(next(Path(boards.work).glob("outputs/svi/*/run.json")).read_text("utf-8"))
    assert run["format"] == 1


def test_pro_starts_from_as_many_latents_as_are_asked_for(boards):
    encode, y = condition_of(boards, 7, 2)
    previous = boards.tensors["task7.window1.latent_slice"][0]
    assert previous.shape[1] == 2
    assert torch.equal(y, condition_pro(start_image(boards), encode, previous_latents=previous,
                                        num_motion_latent=2))
    assert boards.report["tasks"][7]["files"][-1]["frames"] == chain.length(2, 9)


@pytest.mark.parametrize("version", [
    version for version in (*trees.COMMITS, *later.LATER) if version not in ("9.91", "10.12")])
def test_the_program_of_every_version(version, run_wangp, wangp_at, wangp_copy):
    """By a file of settings. Older WanGPs have no settings of a model's own."""
    tree = wangp_copy(wangp_at(version))
    install(tree)
    write_loras(tree)
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tree / "other.png")
    other = unit(torch.from_numpy(pixels).movedim(-1, 0))
    text = (f"[2]\nprompt = a kite\nreference = {tree / 'other.png'}\nseed = 77\nguidance = 2\n"
            "svi strength = 1.5\nend image = loop")
    outcome = run_wangp(tree, {"level": "process", "settings": staged(SHOT, 2, text)})
    report, = outcome.report["tasks"]
    assert report["success"], report["errors"]
    assert [window["arguments"]["input_prompt"] for window in report["windows"]] == [
        "a boat", "a kite"]
    assert report["windows"][1]["arguments"]["guide_scale"] == 2
    first, second = (outcome.tensors[f"task0.window{clip}.encode0"] for clip in (1, 2))
    assert (second[:, 1:-1] - other[:, None]).abs().max() < 1e-6
    assert (second[:, -1] - first[:, 0]).abs().max() <= 1 / 255 + 1e-6
    noise = torch.randn(1, 16, 21, 8, 8, generator=torch.Generator().manual_seed(77))
    assert torch.equal(outcome.tensors["task0.window2.noise"], noise)
    assert report["files"][-1]["frames"] == chain.length(2, 1) - 1
    assert provenance(report["files"][-1]["metadata"])["seeds"] == [SEED, 77]
