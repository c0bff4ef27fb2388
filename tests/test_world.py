"""The demo model's world: drawn alike everywhere, without a fault by its own measures, which see
every fault."""

import math
from dataclasses import replace

import pytest
import torch

from wan2gp_svi.demo.truth import jump, measure
from wan2gp_svi.demo.world import (
    CENTRE,
    COLOURS,
    HEIGHT,
    TURNS,
    WIDTH,
    background,
    centres,
    covered,
    numbers,
    phases,
    render,
    scene,
    with_background,
)
from wan2gp_svi.variants import CLIP_FRAMES

SEEDS = range(40)


def clip(one, action="", start=0.0):
    turns = phases(action or one.action, start)
    return render([one], turns[None])[0], turns


def test_a_background_is_its_numbers():
    here, there = scene(1), scene(2)
    moved = with_background(here, numbers([there])[0].tolist())
    assert background([moved]).equal(background([there]))
    assert not background([here]).equal(background([there]))
    assert (moved.objects, moved.orbit, moved.action) == (here.objects, here.orbit, here.action)


def test_a_seed_is_a_scene_and_another_seed_another():
    assert [scene(seed) for seed in SEEDS] == [scene(seed) for seed in SEEDS]
    assert len({scene(seed) for seed in SEEDS}) == len(SEEDS)
    first = scene(0)
    # as in the training
    assert first.prompt() == "a yellow plain kite circles clockwise slowly"
    assert first.prompt("waits") == "a yellow plain kite waits"


def test_one_object_or_two_as_asked():
    assert {len(scene(seed, objects=2).objects) for seed in SEEDS} == {2}
    assert {len(scene(seed).objects) for seed in SEEDS} == {1, 2}
    assert " and " in scene(3, objects=2).prompt()


def test_a_video_is_in_range_and_of_the_worlds_size():
    scenes = [scene(seed) for seed in SEEDS]
    video = render(scenes, torch.zeros(len(scenes), 2))
    assert video.shape == (len(scenes), 3, 2, HEIGHT, WIDTH)
    assert -1 <= video.min() < video.max() <= 1


def test_scenes_drawn_together_are_those_drawn_alone():
    scenes = [scene(1), scene(0)]  # of two objects and of one
    turns = torch.stack([phases(each.action) for each in scenes])
    together = render(scenes, turns)
    for each, alone, where in zip(together, scenes, turns, strict=True):
        torch.testing.assert_close(each, render([alone], where[None])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_an_object_is_where_its_centre_is_said_to_be(seed):
    one = scene(seed, objects=1)
    video, turns = clip(one)
    seen = (video - background([one])[0][:, None]).abs().sum(0) > 0.3
    found = [torch.tensor(frame.nonzero(as_tuple=False).float().mean(0).flip(0).tolist())
             for frame in seen]
    for frame in range(0, CLIP_FRAMES, 20):
        said = centres(one, turns)[0, frame]
        assert math.dist(said, found[frame]) < 2
    assert not (seen & ~covered(one, turns)).any()


def test_objects_go_round_the_centre_in_the_time_that_the_words_say():
    one = scene(0)
    for action, turns in TURNS.items():
        where = phases(action, frames=CLIP_FRAMES + 1)
        assert where[-1] == pytest.approx(turns)
    there, opposite = centres(one, torch.tensor([0.0, 0.5]))[0]
    assert (there + opposite).tolist() == pytest.approx([2 * CENTRE[0], 2 * CENTRE[1]], abs=1e-3)


# --------------------------------------------------------------------------------- measurements


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_off_in_the_truth(seed):
    one = scene(seed)
    for action in TURNS:
        if action == "waits":
            continue  # the background behind an object that stands still cannot be seen
        video, turns = clip(one, action, 0.3)
        found = measure(video, one, turns)
        assert found.colour < 0.02
        assert found.psnr > 30
        assert found.there and found.present == pytest.approx(1, abs=1e-6)
        assert found.motion == pytest.approx(1, abs=1e-6)


def test_colours_that_drift_are_told_by_as_much():
    one = scene(0)
    video, turns = clip(one)
    offs = [measure(video * (1 - strength), one, turns) for strength in (0, 0.1, 0.3)]
    assert offs[0].colour < offs[1].colour < offs[2].colour
    assert offs[0].psnr > offs[1].psnr > offs[2].psnr
    grey = measure(torch.zeros_like(video), one, turns)
    off = (background([one])[0] / 2).norm(dim=0).mean().item()
    assert grey.colour == pytest.approx(off, abs=1e-5)


def test_a_video_that_stands_still_does_not_move_and_is_otherwise_well():
    one = scene(0)
    video, turns = clip(one)
    still = video[:, :1].expand(-1, CLIP_FRAMES, -1, -1)
    found = measure(still, one, turns)
    assert found.motion < 0.01 and found.there


def test_an_object_that_vanishes_is_not_there_and_leaves_the_background_as_it_is():
    one = scene(0)
    _, turns = clip(one)
    empty = background([one])[0][:, None].expand(-1, CLIP_FRAMES, -1, -1)
    found = measure(empty, one, turns)
    assert not found.there and found.present < 0.5 and found.motion == 0
    assert found.colour < 1e-6


def test_an_object_of_another_colour_is_not_the_object():
    one = scene(0, objects=1)
    colour = "red" if one.objects[0].colour != "red" else "blue"
    other = replace(one, objects=(replace(one.objects[0], colour=colour),))
    video, turns = clip(other)
    assert not measure(video, one, turns).there
    assert set(COLOURS) >= {each.colour for each in one.objects + other.objects}


def test_a_shape_is_measured_wherever_the_object_is():
    one = scene(0, objects=1)
    video, turns = clip(one)
    assert measure(video, one, turns).shape == 1
    late = render([one], (turns - 0.02)[None])[0]
    assert measure(late, one, turns).shape > 0.85
    kite = replace(one, objects=(replace(one.objects[0], shape="kite"),))
    assert one.objects[0].shape == "box"
    assert 0.4 < measure(render([kite], turns[None])[0], one, turns).shape < 0.8
    gone = background([one])[0][:, None].expand(-1, CLIP_FRAMES, -1, -1)
    assert measure(gone, one, turns).shape == 0


def test_an_object_that_goes_on_does_not_jump_and_one_that_leaps_or_is_gone_does():
    one = scene(0, objects=1)
    starts = (0, TURNS[one.action] * (1 - 1 / CLIP_FRAMES), 0.5)
    first, second, elsewhere = (render([one], phases(one.action, start)[None])[0]
                                for start in starts)
    assert jump(first, second, one) < 4
    assert jump(first, elsewhere, one) > 8
    gone = background([one])[0][:, None].expand(-1, 8, -1, -1)
    assert math.isnan(jump(first, gone, one))
