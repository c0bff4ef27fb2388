"""The demo: its chains give the network what the add-on's own code makes, its files are whole, its
words plain.

The network is a stand-in, except in the last test, which makes two clips with the shipped weights.
"""

import ast
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from _thread import interrupt_main
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

for needed in ("diffusers", "matplotlib", "cv2", "PIL", "av", "scipy"):
    pytest.importorskip(needed, reason=f"the demo needs {needed}")

import av  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.__main__ import main as package  # noqa: E402
from wan2gp_svi.conditioning import condition  # noqa: E402
from wan2gp_svi.demo import (  # noqa: E402
    chaining,
    command,
    environment,
    model,
    network,
    picture,
    takes,
    video,
    world,
)
from wan2gp_svi.demo.chaining import STOCK, SVI, clips, joined, noise, on_grid  # noqa: E402
from wan2gp_svi.demo.takes import Take, Task  # noqa: E402
from wan2gp_svi.demo.world import HEIGHT, TURNS, WIDTH, render, scene  # noqa: E402
from wan2gp_svi.variants import CLIP_FRAMES  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
WAYS = {"stock": STOCK, **SVI}


def pixels(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def encode(video):
    """A VAE that forgets nothing of importance: 16 channels of means."""
    frames = torch.cat([video[:, :1].expand(-1, 4, -1, -1), video[:, 1:]], 1)
    means = torch.nn.functional.avg_pool3d(frames[None], (4, 8, 8))[0]
    return torch.cat([means] * 6)[:16]


@dataclass
class Seen:
    """What the network is given, clip by clip."""

    y: list[Any] = field(default_factory=list)
    text: list[Any] = field(default_factory=list)
    clip: list[Any] = field(default_factory=list)
    noise: list[Any] = field(default_factory=list)


@pytest.fixture
def seen(monkeypatch):
    """A network that makes other frames of every noise, and keeps what it was given."""
    found = Seen()

    def denoise(_, y, text, clip, noise, steps):
        found.y.append(y)
        found.text.append(text)
        found.clip.append(clip)
        found.noise.append(noise)
        return noise

    def decode(_, latents):
        seeds = (int(1e6 * each.abs().mean()) for each in latents)
        return torch.stack([1.2 * pixels(3, CLIP_FRAMES, HEIGHT, WIDTH, seed=seed)
                            for seed in seeds])

    monkeypatch.setattr(network, "denoise", denoise)
    monkeypatch.setattr(network, "decode", decode)
    return found


def stand_in():
    return SimpleNamespace(transformer=None, vae=SimpleNamespace(device="cpu"), encode=encode)


def made(way, images, prompts, seeds, number):
    return list(clips(stand_in(), way, images, prompts, seeds, number))


# ------------------------------------------------------------------------------------------- chains


@pytest.mark.parametrize("id", WAYS)
def test_the_network_is_given_what_the_products_own_code_makes(id, seen):
    way, variant = WAYS[id], WAYS[id].variant
    images = on_grid(pixels(1, 3, HEIGHT, WIDTH, seed=3))
    found = made(way, images, [["one", "two"]], [7], 3)
    motion = [images[0][:, None], *(each[0][:, -variant.motion_frames:] for each in found)]
    for clip in range(3):
        wanted = condition(motion[clip], images[0], encode, ref_pad_num=variant.ref_pad_num)
        assert torch.equal(seen.y[clip][0], wanted)
        assert torch.equal(seen.clip[clip], model.clip_features(motion[clip][None, :, 0]))
        seed = chain.seed(7, clip, way.seed_step)
        assert torch.equal(seen.noise[clip][0], noise(seed, (21, 8, 12)))
    said = chain.stream(["one", "two"], 3, variant.prompt_repeat)
    assert torch.equal(torch.cat(seen.text), model.text_features(said))


def test_svi_draws_other_noise_for_every_clip(seen):
    made(SVI["shot"], pixels(1, 3, HEIGHT, WIDTH), [["one"]], [7], 2)
    assert torch.equal(seen.noise[1][0], noise(7 + 42, (21, 8, 12)))
    assert not torch.equal(*seen.noise)


def test_stock_chaining_is_that_of_wangps_windows(seen):
    """The last frame, then grey; a mask on it; one seed; no LoRA; at seams the old clip's frame."""
    images = pixels(1, 3, HEIGHT, WIDTH)
    first, second = made(STOCK, images, [["one"]], [7], 2)
    video = torch.zeros(3, CLIP_FRAMES, HEIGHT, WIDTH)
    video[:, 0] = first[0][:, -1]
    assert torch.equal(seen.y[1][0, 4:], encode(video))
    assert seen.y[1][0, :4].sum() == 4 * 8 * 12 and (seen.y[1][0, :4, 0] == 1).all()
    assert torch.equal(*seen.noise)
    assert STOCK.adapter == ""
    video = joined([first, second], STOCK.variant)
    assert torch.equal(video, torch.cat([first, second[:, :, 1:]], 2))


def test_svis_variants_differ_as_the_table_has_it(seen):
    found = {id: (way.variant.motion_frames, way.variant.ref_pad_num, way.adapter)
             for id, way in SVI.items()}
    assert found == {"2.0": (5, -1, "2.0"), "shot": (1, -1, "shot"), "film": (5, 0, "film")}


@pytest.mark.parametrize("id", WAYS)
def test_clips_join_to_the_length_that_the_product_says(id, seen):
    variant = WAYS[id].variant
    found = made(WAYS[id], pixels(1, 3, HEIGHT, WIDTH), [["one"]], [7], 3)
    video = joined(found, variant)
    assert video.shape[2] == chain.length(3, variant.overlap)
    if variant.keep_new:
        assert torch.equal(video[:, :, CLIP_FRAMES - variant.overlap], found[1][:, :, 0])


def test_frames_pass_through_8_bit(seen):
    for clip in made(SVI["film"], pixels(1, 3, HEIGHT, WIDTH), [["one"]], [7], 2):
        levels = (clip + 1) * 127.5
        assert (levels - levels.round()).abs().max() < 1e-3 and clip.abs().max() <= 1
        assert torch.equal(on_grid(clip), clip)


def test_videos_that_are_made_side_by_side_are_those_made_alone(seen):
    images, prompts, seeds = pixels(2, 3, HEIGHT, WIDTH), [["one"], ["two", "three"]], [7, 11]
    together = made(SVI["film"], images, prompts, seeds, 2)
    for at in range(2):
        alone = made(SVI["film"], images[at:at + 1], prompts[at:at + 1], seeds[at:at + 1], 2)
        assert all(torch.equal(a[at], b[0]) for a, b in zip(together, alone, strict=True))


# -------------------------------------------------------------------------------------------- takes


ONE = scene(0)
PROMPT = ONE.prompt()
IMAGE = render([ONE], torch.zeros(1, 1))[0, :, 0]


def told(way, found, prompts=None):
    name = "without SVI" if way is STOCK else f"with {way.variant.title}"
    return Take(name, way, tuple(found), tuple(prompts or [PROMPT] * len(found)))


def frames_of(path):
    """[T, H, W, 3], and frames per second."""
    with av.open(path) as file:
        rate = file.streams.video[0].average_rate
        return np.stack([each.to_ndarray(format="rgb24") for each in file.decode(video=0)]), rate


@pytest.fixture(scope="module")
def pair():
    """Two takes of three clips: one that fades, and the truth as SVI's."""
    where = world.turns([PROMPT] * 3, 1)
    true = [render([ONE], at[None])[0] for at in where]
    faded = [clip * (1 - 0.2 * k) for k, clip in enumerate(true)]
    return [told(STOCK, faded), told(SVI["shot"], true)]


@pytest.mark.parametrize("overlap", [1, 5])
def test_the_truth_goes_on_from_clip_to_clip(overlap):
    prompts = [ONE.prompt("circles clockwise quickly")] * 2 + [ONE.prompt("waits")]
    first, second, third = world.turns(prompts, overlap)
    torch.testing.assert_close(first[-overlap:], second[:overlap])
    assert third.unique().numel() == 1 and third[0] == pytest.approx(second[-overlap].item())
    assert world.turns(["an elephant"], 1) is None


def test_what_drifts_is_seen_and_what_does_not_is_not(pair):
    found = takes.drift(Task(IMAGE, (PROMPT,), 3, 0, ONE), pair)
    faded, true = found.values
    assert faded[0] < 1 and faded[0] < faded[1] < faded[2] and max(true) < 1
    assert found.what == "the background"
    assert takes.verdict(pair, found) == (
        f"After 3 clips the colours are off by {faded[2]:.1f} Lab units without SVI, "
        f"by {true[2]:.1f} with SVI-Shot")


def test_without_a_truth_the_products_metrics_tell_it(pair):
    found = takes.drift(Task(IMAGE, (PROMPT,), 3, 0), pair)
    faded, true = found.values
    assert faded[2] > faded[0] + 5 and true[2] == pytest.approx(true[0], abs=1.5)
    assert found.what == "the picture"
    strange = [told(take.way, take.clips, ["an elephant"] * 3) for take in pair]
    assert takes.drift(Task(IMAGE, ("an elephant",), 3, 0, ONE), strange) == found


def test_each_half_of_svi_can_be_compared():
    found = takes.ways("film", compare=True)
    assert list(found) == ["without SVI", "with SVI-Film", "with SVI's LoRA alone",
                           "with SVI's conditioning alone"]
    lora, conditioning = list(found.values())[2:]
    assert (lora.adapter, lora.variant) == ("film", STOCK.variant)
    assert (conditioning.adapter, conditioning.variant) == ("", SVI["film"].variant)


def test_an_image_of_any_shape_is_cut_to_the_worlds(tmp_path):
    Image.new("RGBA", (300, 900), (255, 0, 0, 255)).save(tmp_path / "tall.png")
    found = takes.read_image(tmp_path / "tall.png")
    assert found.shape == (3, HEIGHT, WIDTH)
    assert found[:, 5, 5].tolist() == [1, -1, -1]


# -------------------------------------------------------------------------------- video and picture


DRIFT = takes.Drift("the background", ((1.0, 4.0, 8.0), (1.0, 1.0, 2.0)) * 2)


def test_the_video_shows_every_frame_of_both(pair, tmp_path):
    video.write(tmp_path / "demo.mp4", video.side_by_side(pair, DRIFT))
    found, rate = frames_of(tmp_path / "demo.mp4")
    count, height, width, _ = found.shape
    assert count == chain.length(3, 1) and rate == 16
    assert width % 4 == height % 4 == 0 and width > 2 * video.SCALE * WIDTH
    inside = found[0, video.HEAD:video.HEAD + video.SCALE * HEIGHT,
                   video.GAP:video.GAP + video.SCALE * WIDTH]
    assert_alike(inside, takes.pictures(pair[0].video)[0])


def assert_alike(enlarged, picture):
    shrunk = Image.fromarray(enlarged).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    assert np.abs(np.asarray(shrunk, float) - picture).mean() < 6


def test_a_bar_under_each_take_shows_how_far_its_colours_have_drifted(pair):
    def bars(at):
        page = frames[at]
        row = page[video.HEAD + video.SCALE * HEIGHT + 22].astype(int)
        coloured = row.max(1) - row.min(1) > 60
        return [int(coloured[x:x + video.SCALE * WIDTH].sum()) for x, _ in video.places(2)]

    frames = list(video.side_by_side(pair, DRIFT))
    full = video.SCALE * WIDTH - 200
    for at, values in ((0, (1, 1)), (100, (4, 1)), (240, (8, 2))):
        # less the line at what is just noticed
        assert bars(at) == pytest.approx([value / 8 * full for value in values], abs=4)
    # under the line, what it means
    below = video.HEAD + video.SCALE * HEIGHT + 36
    line = video.GAP + int(takes.NOTICED / 8 * full)
    assert frames[0][below:below + 12, line - 30:line + 30].min() < 160


def test_a_video_of_one_take_shows_it_alone(pair, tmp_path):
    video.write(tmp_path / "with-svi.mp4", video.alone(pair[1]))
    found, _ = frames_of(tmp_path / "with-svi.mp4")
    assert found.shape == (chain.length(3, 1), video.SCALE * HEIGHT, video.SCALE * WIDTH, 3)
    assert_alike(found[200], takes.pictures(pair[1].video)[200])


def test_the_video_says_which_clip_a_frame_is_of(pair):
    # at a seam the old clip's frame
    assert [video.shown(pair[0]).index(clip) for clip in range(3)] == [0, 81, 161]
    assert [video.shown(pair[1]).index(clip) for clip in range(3)] == [0, 80, 160]
    film = told(SVI["film"], pair[0].clips)
    assert len(video.shown(film)) == chain.length(3, 5)


def test_takes_of_different_length_end_together(pair):
    frames = list(video.side_by_side([pair[0], told(SVI["film"], pair[1].clips)], DRIFT))
    assert len(frames) == chain.length(3, 5)


def test_four_takes_fill_two_rows(pair):
    two, four = (next(video.side_by_side(pair * times, DRIFT)).shape for times in (1, 2))
    assert four[1] == two[1] and four[0] > 1.8 * two[0]


@pytest.mark.parametrize("times", [1, 2])
def test_the_picture_is_as_wide_as_it_is_meant_to_be(pair, tmp_path, times):
    drift = takes.drift(Task(IMAGE, (PROMPT,), 3, 0, ONE), pair * times)
    picture.write(tmp_path / "demo.png", takes.truths(ONE, pair[1]), pair * times, drift)
    with Image.open(tmp_path / "demo.png") as found:
        assert found.size[0] == 1600 and found.size[1] > 800


def test_a_column_of_the_picture_is_one_moment_in_every_row(monkeypatch):
    drawn = []
    monkeypatch.setattr(picture.Page, "picture", lambda page, *place: drawn.append(place[-1]))
    turned = [(way, world.turns([PROMPT] * 3, way.variant.overlap)) for way in (STOCK, SVI["film"])]
    true = [told(way, [render([ONE], at[None])[0] for at in turns]) for way, turns in turned]
    picture.draw(takes.truths(ONE, true[1]), true, DRIFT)
    truth, *rows = (np.stack(drawn[row:row + 3]).astype(int) for row in (0, 3, 6))
    assert all(np.abs(row - truth).max() <= 2 for row in rows)
    ends = true[1].video[:, [0, -1]]
    assert np.array_equal(truth[[0, -1]], takes.pictures(ends))


def test_a_picture_of_one_clip_shows_how_it_ends(pair, monkeypatch):
    """All begin with the same image."""
    drawn = []
    monkeypatch.setattr(picture.Page, "picture", lambda page, *place: drawn.append(place[-1]))
    single = [told(take.way, take.clips[:1]) for take in pair]
    page = picture.draw(None, single, takes.Drift("", ((1.0,), (1.0,))))
    assert np.array_equal(drawn, [takes.pictures(take.video[:, -1:])[0] for take in single])
    assert [text.get_text() for text in page.figure.texts if "after" in text.get_text()] == [
        "after 5 s"]


def test_a_picture_of_one_clip_and_without_truth(pair, tmp_path):
    single = [told(take.way, take.clips[:1], ["象がいる"]) for take in pair]
    drift = takes.drift(Task(IMAGE, ("象がいる",), 1, 0), single)
    picture.write(tmp_path / "demo.png", None, single, drift)
    assert (tmp_path / "demo.png").stat().st_size > 10_000


def test_the_clips_that_are_shown_begin_with_the_first_and_end_with_the_last():
    assert picture.columns(1) == [0]
    assert picture.columns(5) == [0, 1, 2, 3, 4]
    assert picture.columns(command.CLIPS) == [0, 2, 4, 6, 8, 10]
    assert picture.columns(60)[::5] == [0, 59]


def test_the_highest_name_is_below_the_title_of_a_narrow_curve(pair):
    drift = takes.Drift("something whose name is longer than two clips are wide, and so above them",
                        ((1.0, 3.0), (1.0, 2.2)))
    figure = picture.draw(None, [told(take.way, take.clips[:2]) for take in pair], drift).figure
    figure.canvas.draw()
    axes = figure.axes[-1]
    title = axes.get_title(loc="left")
    drawn, = (text for text in axes.get_children() if getattr(text, "get_text", str)() == title)
    below = drawn.get_window_extent().y0
    assert all(name.get_window_extent().y1 < below for name in axes.texts)


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("ends", [(1, 8), (5, 5, 5), (9, 9.5, 10), (1, 1, 33, 22), (1, 1, 1, 1)])
def test_names_that_would_lie_upon_each_other_are_moved_apart(pair, ends, clips):
    drift = takes.Drift("the background", tuple((0.0, 0.0, end)[-clips:] for end in ends))
    ways = [*takes.ways("2.0", compare=True).items()][: len(ends)]
    named = [Take(name, way, pair[0].clips[:clips], (PROMPT,) * clips) for name, way in ways]
    page = picture.draw(None, named, drift)
    page.figure.canvas.draw()
    axes = page.figure.axes[-1]
    names = [name for name in axes.texts if name.get_text() != "just noticeable"]
    shown = sorted((name.get_window_extent() for name in names), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in zip(shown, shown[1:], strict=False))
    assert shown[0].y0 >= axes.bbox.y0 - 2 and shown[-1].x1 <= page.width
    if ends == (1, 8):
        assert sorted(name.xy[1] for name in names)[1] == pytest.approx(0.87 * axes.get_ylim()[1])


@pytest.mark.parametrize("clips", [1, 2, 3])
def test_the_picture_of_few_clips_has_no_empty_half(pair, monkeypatch, clips):
    drawn = []
    monkeypatch.setattr(picture.Page, "picture", lambda page, *place: drawn.append(place))
    short = [told(take.way, take.clips[:clips]) for take in pair]
    page = picture.draw(None, short, takes.Drift("the background", ((1.0,) * clips,) * 2))
    page.figure.canvas.draw()
    assert page.width - max(x + width for x, _, width, *_ in drawn) < 170
    words = [text for part in (page.figure, page.figure.axes[-1]) for text in part.texts]
    words.append(page.figure.axes[-1].title)
    assert max(text.get_window_extent().x1 for text in words) <= page.width


# ------------------------------------------------------------------------------------------ command


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(here, monkeypatch, pair):
    """The demo with a network that takes no time."""
    def take(name, way, wan, task, done):
        for _ in range(task.clips):
            done()
        prompts = tuple(chain.stream(task.prompts, task.clips))
        return Take(name, way, pair[1].clips[:task.clips], prompts)

    monkeypatch.setattr(takes, "take", take)
    monkeypatch.setattr(chaining.Wan, "load", lambda adapter, folder: None)
    monkeypatch.setattr(command, "complete", lambda: True)
    return here


@pytest.fixture
def ctrl_c():
    """Ctrl+C interrupts, also in a pytest that a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield interrupt_main
    signal.signal(signal.SIGINT, before)


def test_a_run_from_beginning_to_end(quick, capsys):
    assert package(["demo", "--clips", "2"]) == 0
    said = capsys.readouterr().out
    made = {path.name for path in (quick / "svi-demo").iterdir()}
    assert made == {"demo.mp4", "demo.png", "with-svi.mp4", "without-svi.mp4"}
    end = r"\[#{22}\.{8}\] 3 of 4 clips, \d+ s left\n\[#{30}\] 4 of 4 clips, \d+ s\nWriting "
    assert "[" + 30 * "." + "] 0 of 4 clips\n" in said and re.search(end, said)
    assert "After 2 clips the colours are off by" in said and all(name in said for name in made)


def test_an_earlier_demo_stays(quick):
    (quick / "svi-demo").mkdir()
    (quick / "svi-demo-2").mkdir()
    assert command.main(["--clips", "1"]) == 0
    assert len(list((quick / "svi-demo-3").iterdir())) == 4
    assert not list((quick / "svi-demo").iterdir())


def test_an_image_of_ones_own(quick, capsys):
    Image.new("RGB", (40, 40), "green").save(quick / "mine.png")
    assert command.main(["--clips", "1", "--image", "mine.png", "--prompt", "a Cat, waits"]) == 0
    said = capsys.readouterr().out
    assert "its own little world" in said
    assert "does not know: cat. It knows: a, an, and, " in said


def test_an_action_is_a_prompt(quick, capsys):
    assert command.main(["--clips", "2", "--seed", "0", "--variant", "film", "--prompt", "waits",
                         "--prompt", "circles clockwise slowly"]) == 0
    said = capsys.readouterr().out
    assert f'"{ONE.prompt("waits")}", then "{ONE.prompt("circles clockwise slowly")}"' in said
    assert "does not know" not in said


def test_film_is_given_a_stream(quick, monkeypatch):
    tasks = []

    def take(name, way, wan, task, done):
        tasks.append(task)
        raise command.DemoError("that is all to see here")

    monkeypatch.setattr(takes, "take", take)
    assert command.main(["--variant", "film", "--clips", "7"]) == 1
    found = tasks[0].prompts
    assert len(found) == 7 and len(set(found)) == 3 and found[0] == found[2] == PROMPT != found[3]
    assert all(any(prompt.endswith(action) for action in TURNS) for prompt in found)


@pytest.mark.parametrize(("arguments", "says"), [
    (["--clips", "0"], "--clips is 0; choose 1 to 60."),
    (["--clips", "61"], "--clips is 61; choose 1 to 60."),
    (["--prompt", " "], "--prompt is empty"),
    (["--image", "none.png"], "There is no image none.png"),
    (["--image", "text.png"], "The image text.png cannot be read"),
    (["--out", "taken"], "The folder taken has a demo.png already, and nothing is overwritten; "),
    (["--out", "text.png"], "--out text.png is a file; choose a folder"),
    (["--out", "text.png/below", "--clips", "1"], "Nothing can be written to text.png"),
])
def test_what_cannot_be_done_is_said_in_a_sentence(quick, capsys, arguments, says):
    (quick / "text.png").write_text("no picture", encoding="utf-8")
    (quick / "taken").mkdir()
    (quick / "taken" / "demo.png").write_text("mine", encoding="utf-8")
    assert command.main(arguments) == 1
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert (quick / "taken" / "demo.png").read_text(encoding="utf-8") == "mine"
    assert not (quick / "svi-demo").exists()


@pytest.mark.parametrize("arguments", [["--variant", "dance"], ["--clips", "many"], ["--colour"]])
def test_what_is_no_option_is_refused(quick, capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("broken", [False, True])
def test_weights_that_are_missing_or_broken_are_said(here, monkeypatch, capsys, broken):
    if broken:
        (here / "small-wan-i2v.safetensors").write_text("version of a pointer", encoding="utf-8")
    monkeypatch.setattr(model, "WEIGHTS", here)
    assert command.main([]) == 1
    said = capsys.readouterr().err
    assert "The demo model cannot be read" in said and "download it again" in said
    assert said.count("\n") == 1
    assert not (here / "svi-demo").exists()


def test_a_demo_that_is_stopped_leaves_nothing(quick, monkeypatch, capsys, ctrl_c):
    def take(name, way, wan, task, done):
        if way is STOCK:
            ctrl_c()
        while True:
            done()
            time.sleep(0.01)

    monkeypatch.setattr(takes, "take", take)
    assert package(["demo"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"
    assert not (quick / "svi-demo").exists()


def test_a_demo_is_stopped_in_the_middle_of_a_clip(quick, monkeypatch, ctrl_c):
    finished, both = [], threading.Barrier(2, timeout=30)

    def take(name, way, wan, task, done):
        both.wait()
        if way is STOCK:
            ctrl_c()
        end = time.monotonic() + 5
        while time.monotonic() < end:
            torch.nn.Identity()(task.image)  # as a layer of the network
            time.sleep(0.01)
        finished.append(name)

    monkeypatch.setattr(takes, "take", take)
    monkeypatch.setattr(command.os, "cpu_count", lambda: 2)
    assert package(["demo"]) == 130
    assert not finished
    torch.nn.Identity()(torch.zeros(1))  # others go on


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal for one program alone")
def test_a_demo_in_another_python_is_stopped_by_itself(here, monkeypatch):
    """It removes its folder, which takes a moment."""
    (here / "wan2gp_svi").mkdir()
    (here / "wan2gp_svi/__init__.py").touch()
    (here / "wan2gp_svi/__main__.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(1)\n"
        "    pathlib.Path('removed').touch()\n"
        "    sys.exit(130)\n", encoding="utf-8")
    monkeypatch.setattr(command, "complete", lambda: False)
    monkeypatch.setattr(command, "set_up", lambda: None)
    monkeypatch.setattr(command, "PYTHON", sys.executable)
    assert command.main([]) == 130
    assert (here / "removed").exists()


def test_a_take_that_fails_ends_the_others(quick, monkeypatch, capsys):
    def take(name, way, wan, task, done):
        if way is not STOCK:
            raise command.DemoError("no memory is left")
        while True:
            done()
            time.sleep(0.01)

    monkeypatch.setattr(takes, "take", take)
    assert command.main([]) == 1
    assert "No memory is left\n" in capsys.readouterr().err


def test_takes_are_made_side_by_side_with_a_thread_each(quick, monkeypatch):
    both = threading.Barrier(2, timeout=30)

    def take(name, way, wan, task, done):
        both.wait()
        assert torch.get_num_threads() == 1
        done()
        raise command.DemoError("that is all to see here")

    monkeypatch.setattr(command.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(takes, "take", take)
    assert command.main(["--clips", "1"]) == 1


def test_a_disk_that_is_full_leaves_no_half_file(quick, monkeypatch, capsys):
    def full(path, _):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video, "write", full)
    assert command.main(["--clips", "1"]) == 1
    assert "demo.mp4: No space left on device. Choose another folder" in capsys.readouterr().err
    assert not (quick / "svi-demo").exists()


# ------------------------------------------------------------------------------------------- set-up


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """What `.venv`'s Python is asked to do; what it fails at is in `fails`."""
    found = SimpleNamespace(made=[], fails=())

    def run(arguments, **_):
        asked = " ".join(map(str, arguments[1:]))
        found.made.append(asked)
        return SimpleNamespace(returncode=int(any(words in asked for words in found.fails)))

    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "python").touch()
    monkeypatch.setattr(environment, "HOME", tmp_path)
    monkeypatch.setattr(environment, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment.sys, "platform", "linux")
    return found


def test_every_package_is_asked_for_in_one_version(calls):
    home = Path(__file__).parents[1]
    constraints = (home / "constraints.txt").read_text("utf-8")
    locked = re.findall(r"^([a-z0-9-]+)==[^;\s]+", constraints, re.M)
    project = (home / "pyproject.toml").read_text("utf-8")
    lists = project[project.index("\ndependencies"):project.index("\n[build-system]")]
    wanted = set(re.findall(r'"([a-z][a-z_-]+)', lists)) - {"wan", "torch"}  # wan2gp-svi
    assert len(wanted) > 10 and {name.replace("_", "-") for name in wanted} < set(locked)
    environment.prepare("test")
    assert all(" --constraint constraints.txt " in asked for asked in calls.made if "pip" in asked)


def test_a_torch_that_is_there_is_left(calls):
    assert environment.prepare("demo") == environment.PYTHON
    asked, packages = calls.made
    assert "version('torch')" in asked and packages.endswith("--editable .[demo]")


def test_torch_without_cuda_is_asked_for_where_pip_looks(calls):
    calls.fails = ("-c import",)
    environment.prepare("test")
    _, torch_, packages = calls.made
    assert torch_.endswith(f" torch=={environment.TORCH}+cpu") and packages.endswith(".[test]")


def test_else_uv_brings_it(calls):
    calls.fails = ("-c import", "+cpu")
    environment.prepare("demo")
    assert calls.made[2].endswith(" uv") and "--torch-backend cpu" in calls.made[3]
    assert calls.made[4].endswith("--editable .[demo]")


def test_the_build_with_cuda_is_never_installed(calls):
    """Without a torch that needs no CUDA, nothing is installed that would bring the other."""
    calls.fails = ("-c import", "+cpu", "--torch-backend")
    with pytest.raises(environment.SetUpError, match="PyTorch without CUDA could not be installed"):
        environment.prepare("demo")
    assert not any("--editable" in asked for asked in calls.made)


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_the_registrys_torch_has_no_cuda(calls, monkeypatch, platform):
    monkeypatch.setattr(environment.sys, "platform", platform)
    environment.prepare("demo")
    assert len(calls.made) == 1


def test_a_part_of_the_distribution_does_not_install(calls):
    (environment.HOME / "pyproject.toml").unlink()
    with pytest.raises(environment.SetUpError, match="has only a part"):
        environment.prepare("demo")


@pytest.mark.parametrize(("error", "says"), [
    (subprocess.CalledProcessError(1, "ensurepip"), "apt install python3-venv"),
    (PermissionError(13, "Permission denied"), "Permission denied. Move "),
])
def test_no_half_environment_is_left(calls, tmp_path, monkeypatch, error, says):
    def create(folder, **_):
        folder.mkdir()
        raise error

    monkeypatch.setattr(environment, "PYTHON", tmp_path / "missing")
    monkeypatch.setattr(environment, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(environment.venv, "create", create)
    with pytest.raises(environment.SetUpError, match=says):
        environment.prepare("demo")
    assert not (tmp_path / ".venv").exists()


def test_missing_packages_are_installed_once_and_announced(here, monkeypatch, capsys):
    there = iter([False, True])
    installed, started = [], []
    monkeypatch.setattr(command, "complete", lambda: False)
    monkeypatch.setattr(command, "prepared", lambda: next(there))
    monkeypatch.setattr(command, "prepare", installed.append)
    done = contextlib.nullcontext(SimpleNamespace(wait=lambda: 7))
    monkeypatch.setattr(command.subprocess, "Popen",
                        lambda arguments: started.append(arguments) or done)
    assert command.main(["--clips", "2"]) == 7
    assert installed == ["demo"]
    assert started == [[environment.PYTHON, "-m", "wan2gp_svi", "demo", "--clips", "2"]]
    said = capsys.readouterr().out
    assert "without CUDA" in said and "MB" in said


@pytest.mark.parametrize("own", [False, True])
def test_a_python_with_a_broken_package_is_replaced_by_an_environment(
        here, monkeypatch, capsys, own):
    def broken(options):
        raise command.BrokenPackage("a package does not work")

    monkeypatch.setattr(command, "complete", lambda: True)
    monkeypatch.setattr(command, "show", broken)
    monkeypatch.setattr(command, "set_up", lambda: None)
    done = contextlib.nullcontext(SimpleNamespace(wait=lambda: 7))
    monkeypatch.setattr(command.subprocess, "Popen", lambda arguments: done)
    monkeypatch.setattr(command, "VENV", Path(sys.prefix) if own else here)
    assert command.main([]) == (1 if own else 7)
    assert ("does not work" in capsys.readouterr().err) == own


def test_an_environment_that_stays_incomplete_is_no_endless_loop(here, monkeypatch, capsys):
    monkeypatch.setattr(command, "complete", lambda: False)
    monkeypatch.setattr(command, "prepared", lambda: False)
    monkeypatch.setattr(command, "prepare", lambda extra: None)
    assert command.main([]) == 1
    assert "delete that folder" in capsys.readouterr().err


def test_the_extra_is_what_the_demo_asks_for(monkeypatch):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extra = re.search(r"^demo = \[(.*?)\]$", text, re.DOTALL | re.MULTILINE)[1]
    assert f'"torch=={environment.TORCH}"' in extra
    assert f'"diffusers=={environment.DIFFUSERS}*"' in extra
    assert environment.complete()
    monkeypatch.setattr(environment, "version", lambda _: "0.99.0")
    assert not environment.complete()
    monkeypatch.setattr(environment, "MODULES", ("no_such_package",))
    assert not environment.complete()


def test_no_package_is_forgotten():
    """The demo looks for all modules that it and the drift report import."""
    own = ("chaining", "command", "model", "network", "picture", "takes", "truth", "video", "world")
    files = [*(ROOT / "wan2gp_svi/demo" / f"{name}.py" for name in own),
             *(ROOT / "wan2gp_svi/drift").glob("*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    others = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    assert others <= {*environment.MODULES, "diffusers"}


def test_a_python_without_packages_can_be_asked():
    """-S: without the packages that are installed here."""
    asked = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = [subprocess.run([sys.executable, "-S", "-m", "wan2gp_svi", *arguments], env=asked,
                            capture_output=True, encoding="utf-8")
             for arguments in (["demo", "--clips", "0"], ["runs"])]
    assert found[0].stderr == "--clips is 0; choose 1 to 60.\n"
    assert "All commands but demo and selftest need WanGP's own Python." in found[1].stderr
    assert {each.returncode for each in found} == {1}


# ----------------------------------------------------------------------------------- the real thing


def test_two_clips_with_the_shipped_weights(here, capsys):
    assert command.main(["--clips", "2", "--out", "out"]) == 0
    assert len(frames_of(here / "out" / "demo.mp4")[0]) == chain.length(2, 5)
    with Image.open(here / "out" / "demo.png") as found:
        assert 860 < found.size[0] < 1600  # as wide as two clips need
    stock, svi = (float(end) for end in re.findall(r"by ([\d.]+)", capsys.readouterr().out))
    assert svi < 1.3 < stock < 3


@pytest.mark.parametrize(("moves", "ends", "needed"), [
    (1, False, 9), (2, False, 13), (5, False, 17), (8, False, 17), (9, False, 21), (80, False, 81),
    (5, True, 81)])
def test_padding_that_repeats_a_frame_is_encoded_in_part_and_gives_the_same(
        monkeypatch, moves, ends, needed):
    wan, encode, given = chaining.Wan.load(), network.encode, []
    video = render([ONE], torch.linspace(0, 0.4, CLIP_FRAMES)[None])[0]
    whole = torch.cat([video[:, :moves], IMAGE[:, None].expand(-1, CLIP_FRAMES - moves, -1, -1)], 1)
    if ends:
        whole[:, -1] = video[:, -1]
    wanted = encode(wan.vae, whole[None])[0]
    monkeypatch.setattr(network, "encode", lambda vae, pixels: given.append(pixels.shape[2])
                        or encode(vae, pixels))
    assert torch.allclose(wan.encode(whole), wanted, atol=1e-5)
    assert given == [needed]


@pytest.mark.parametrize("variant", SVI)
def test_a_variants_lora_changes_the_transformer(variant):
    plain, adapted = (chaining.Wan.load(adapter).transformer.state_dict()
                      for adapter in ("", variant))
    changed = sum(not torch.equal(plain[name], adapted[name]) for name in plain)
    assert changed == 10 * model.BLOCKS


@pytest.mark.parametrize("variant", ["2.0", "shot"])
def test_a_clip_ends_on_its_image_and_does_not_fade_before_it(variant):
    way, wan = SVI[variant], chaining.Wan.load(variant)
    image = on_grid(IMAGE)
    first = next(clips(wan, way, image[None], [[PROMPT]], [1], 1))[0]
    motion = first[:, -way.variant.motion_frames:]
    y = condition(motion, image, wan.encode, ref_pad_num=way.variant.ref_pad_num, end=image)
    made = on_grid(network.decode(wan.vae, network.denoise(
        wan.transformer, y[None], model.text_features([PROMPT]),
        model.clip_features(motion[None, :, 0]), noise(43, y.shape[1:])[None])))[0]
    luma = (made.mean((0, 2, 3)) * 127.5)[-20:]
    assert luma.max() - luma.min() < 3
    assert ((made[:, -1] - image).abs().mean() * 127.5).item() < 4
    assert ((made[:, 40] - image).abs().mean() * 127.5).item() > 4, "it moves in between"
