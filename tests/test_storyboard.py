"""The storyboard: its text, and what becomes of it in a video, with the loop of loop.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import loop
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loop import WanGP, settings
from PIL import Image

from wan2gp_svi import chain
from wan2gp_svi.runs.record import StoreError
from wan2gp_svi.runs.store import STOP, Run, Store
from wan2gp_svi.storyboard import (
    LOOP,
    Row,
    Storyboard,
    StoryboardError,
    edited,
    in_text,
    inserted,
    moved,
    of_prompts,
    parse,
    removed,
    same_clips,
    write,
)
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import board as of_rows
from wan2gp_svi.wangp import encoding, hooks, resuming, vae, visitors
from wan2gp_svi.wangp.check.findings import Checked
from wan2gp_svi.wangp.clip import Clip
from wan2gp_svi.wangp.continuing import picture
from wan2gp_svi.wangp.form import SettingsError
from wan2gp_svi.wangp.handler import prepare
from wan2gp_svi.wangp.last_board import Board, Boards, of_page
from wan2gp_svi.wangp.plan import Plan, make_plan
from wan2gp_svi.wangp.tab import desk, helpers, view

# ------------------------------------------------------------------------------------ the text

TEXT = """[all]
pause = yes

[1-3]
prompt = a kite: 100% of the sky = blue

[4]
seed = 7
SVI strength = 1.25
steps = 6

[9]
end image = C:\\Meine Bilder\\ü.png
"""


def test_a_text_says_what_each_clip_gets():
    board = parse(TEXT)
    assert board.pause and board.seed_step == 42 and board.clips == 9
    assert board.row(0) == board.row(2) == Row(prompt="a kite: 100% of the sky = blue")
    assert board.row(3) == Row(seed=7, svi_strength=1.25, steps=6)
    assert board.row(4) == Row() and board.row(8).end_image == "C:\\Meine Bilder\\ü.png"
    assert write(board) == TEXT


def test_later_sections_count_and_names_may_be_written_in_any_case():
    board = parse("[1-4]\nGuidance: 5\nnew  shot = NO\n"
                  "[ 2 - 3 ]\nguidance = 2\nprompt = one\n  two")
    assert [board.row(clip).guidance for clip in range(4)] == [5, 2, 2, 5]
    assert board.row(1).prompt == "one two" and not board.row(0).new_shot
    assert parse("; so\n[1]\n# and so\nseed = 7\n; not = this") == parse("[1]\nseed = 7")
    assert not parse("") and not parse("# nothing\n\n[3]\n") and write(Storyboard()) == ""


@pytest.mark.parametrize(("text", "said"), [
    ("a kite", r"line 1 of the storyboard belongs to no clip.*such as \[1\]"),
    ("[1]\n[1]", r"has \[1\] twice"),
    ("[1]\nseed = 1\nseed = 2", "seed is twice in clip 1 of"),
    ("[1]\na kite", "line 2 of the storyboard cannot be read"),
    ("[0]\nseed = 1", r"\[0\] of the storyboard is no clip"),
    ("[5-2]", "is no clip"), ("[1501]", "up to 1,500"), ("[one]", "is no clip"), ("[]", "line 1"),
    ("[1]\nseed = -1", 'seed in clip 1 of the storyboard cannot be "-1". Set it to a whole'),
    ("[1]\nseed = 1.5", "whole number"), ("[1]\nsteps = 101", "from 1 to 100"),
    ("[1]\nsvi strength = nan", "a number from 0 to 3"), ("[1]\nmotion = 0.5", "from 1 to 2"),
    ("[1]\nguidance = " + "1" * 50, "from 0 to 20"),
    ("[1]\nnew shot = maybe", "Set it to yes or no"),
    ("[1]\npause = yes", '"pause" in clip 1 of the storyboard is unknown. Known are: prompt, seed'),
    ("[all]\nseed = 1", "Known are: pause, seed step"),
    ("[4] svi strength = 1.2", "line 1 of the storyboard cannot be read"),
    ("[1] [2]\nseed = 1", "line 1 of the storyboard cannot be read"),
    ("[1]\nreference = loop", "Set it to the path of an image"),
    ("\n".join(f"[{n:05}-{end}]" for n in range(1, 1001) for end in (1498, 1499, 1500, 1497)),
     "more than 3,000 sections. Join those"),
    ("#" * 2_000_001, "Shorten it to 2,000,000"),
], ids=lambda text: text[:20])
def test_a_text_that_cannot_be_read_is_a_sentence(text, said):
    with pytest.raises(StoryboardError, match=said):
        parse(text)
    with pytest.raises(SettingsError, match=said):
        prepared(settings("shot", 2), text)


@pytest.mark.parametrize("path", [
    "//host/share/a.png", r"\\host\share\a.png", r"\/host\a.png", r'"\\host\share\a b.png"',
    r"\\?\UNC\host\share\a.png", r"\??\UNC\host\share\a.png", "https://host/a.png",
    "'\"//host/a.png\"'"])
def test_a_path_to_a_server_is_refused_before_anything_looks_for_it(monkeypatch, path):
    monkeypatch.setattr(Path, "stat", lambda self: pytest.fail(f"looked for {self}"))
    monkeypatch.setattr(Path, "is_file", lambda self: pytest.fail(f"looked for {self}"))
    for name in ("reference", "end image"):
        with pytest.raises(StoryboardError, match=f"{name} in clip 1 of the storyboard cannot be "
                                                  ".*Set it to an image on this computer"):
            parse(f"[1]\n{name} = {path}")


def test_a_path_may_have_quotes_blanks_and_a_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ü")
    monkeypatch.setenv("USERPROFILE", "/home/ü")
    for text, path in ((r'"C:\a  b=1: 5%.png"', r"C:\a  b=1: 5%.png"), ("'[b].png'", "[b].png"),
                       ("~/a.png", str(Path("/home/ü/a.png"))), ("a\xa0b.png", "a\xa0b.png"),
                       ("/a//b.png", "/a//b.png")):
        board = parse(f"[1]\nreference = {text}\nend image = {text}")
        assert board.row(0) == Row(reference=path, end_image=path) and parse(write(board)) == board
    assert parse("[1]\nend image = Loop").row(0).end_image == LOOP
    nobodys = "~nobody of that name/a.png"
    assert parse(f"[1]\nreference = {nobodys}").row(0).reference == nobodys


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_text_may_come_from_any_editor(end):
    text = f"\ufeff{TEXT}\n[7]\n\tprompt\t=\ta\tkite\n\tseed = 0007\n"
    board = parse(text.replace("\n", end))
    assert board.row(6) == Row(prompt="a kite", seed=7) and board.row(3) == parse(TEXT).row(3)
    assert parse("[ALL]\npause = yes\n[all ]\nseed step = 5\n[All]") == Storyboard({}, True, 5)


def test_a_long_line_does_not_take_long():
    parse("[1]\nprompt = a" + " " * 10**6 + "b" + "\n c" * 10**5)  # for hours, if not in one go
    with pytest.raises(StoryboardError, match="line 2"):
        parse("[1]\na" + " " * 10**6 + "b")


words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
rows = st.builds(
    Row, prompt=st.lists(words, max_size=4).map(" ".join),
    seed=st.none() | st.integers(0, 2**32 - 1), new_shot=st.booleans(),
    reference=st.sampled_from(["", "a b.png", "#x"]), end_image=st.sampled_from(["", LOOP, ";"]),
    svi_strength=st.none() | st.floats(0, 3), guidance=st.none() | st.floats(0, 20),
    steps=st.none() | st.integers(1, 100))
boards = st.builds(
    lambda rows, pause, step: Storyboard({at: row for at, row in sorted(rows.items())
                                          if row != Row()}, pause, step),
    st.dictionaries(st.integers(0, 30), rows, max_size=8), st.booleans(), st.integers(1, 1000))


@given(board=boards)
def test_a_storyboard_is_read_as_it_was_written(board):
    assert parse(write(board)) == board


@given(text=st.text(max_size=300) | st.lists(st.sampled_from(
    ["[1]", "[2-3]", "[all]", "prompt =", "=", "seed: 1", " x", "[", "]", "\n", "\r\n", "\x00"]
)).map("\n".join))
def test_any_text_is_a_storyboard_or_a_sentence(text):
    try:
        board = parse(text)
    except StoryboardError as error:
        assert str(error)
    else:
        assert parse(write(board)) == board


def test_rows_are_added_moved_copied_and_removed():
    board = of_prompts(["a", "b"], 5)
    assert [board.row(clip).prompt for clip in range(6)] == ["a", "a", "a", "b", "b", ""]
    board = edited(board, [0, 4], seed=9)
    assert [board.row(clip).seed for clip in range(5)] == [9, None, None, None, 9]
    more = inserted(board, 1, board.row(0))
    assert [more.row(clip).seed for clip in range(6)] == [9, 9, None, None, None, 9]
    assert removed(more, 1) == board and inserted(removed(board, 4), 4, board.row(4)) == board
    there = moved(board, 4, 1)
    assert [there.row(clip).prompt for clip in range(5)] == ["a", "b", "a", "a", "b"]
    assert moved(there, 1, 4) == board
    assert removed(inserted(Storyboard(), 3), 3) == Storyboard()


def test_a_whole_number_is_written_without_a_point():
    board = parse("[1]\nsvi strength = 2.0\nguidance = 1.50\nnew shot = yes")
    assert write(board) == "[1]\nnew shot = yes\nSVI strength = 2\nguidance = 1.5\n"


def test_a_storyboard_of_no_prompt_is_refused():
    with pytest.raises(StoryboardError, match="there is no prompt. Write one or more"):
        of_prompts([], 3)


def test_clips_are_the_same_up_to_the_first_that_is_asked_for_something_else():
    assert same_clips([], [], 3) == 3 and same_clips(["", "x"], ["", "x", "", "y"], 3) == 3
    assert same_clips(["", "x"], [""], 3) == 1 and same_clips([], ["", "", "y"], 3) == 2


# ------------------------------------------------------------------------------ what cannot be

def prepared(asked: dict, text: str) -> dict:
    """Settings with a storyboard as WanGP's loop gets them. Raises SettingsError."""
    asked = {**asked, "custom_settings": {**(asked["custom_settings"] or {}),
                                          "svi_storyboard": text}}
    architecture = {"svi_dance": "i2v"}.get(asked["model_type"], asked["model_type"])
    if error := prepare(architecture, {}, dict(asked)):
        raise SettingsError(error)
    return asked


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[str, int], str]:
    folder = tmp_path / "Meine Bilder ü"
    folder.mkdir()

    def picture(name: str, colour: int) -> str:
        path = folder / f"{name}.png"
        Image.new("RGB", (loop.SIDE, loop.SIDE), (colour, 255 - colour, colour)).save(path)
        return str(path)
    return picture


@pytest.mark.parametrize(("id", "text", "said"), [
    ("shot", "[3]\nseed = 1", "clip 3 is not in this video, which has 2 clips"),
    ("shot", "[3-12]\nseed = 1", "clips 3, 4, 5, 6, 7, ... and 12 are not in this video"),
    ("shot", "[1]\nend image = loop", "Close it in clip 2 instead"),
    ("film", "[2]\nreference = {a}", "SVI-Film pads with grey.*reference of clip 2"),
    ("2.0-pro", "[1]\nreference = {a}", "Remove the reference of clip 1"),
    ("shot", "[2]\nsvi strength = 0", "only clip 1 can be"),
    ("shot", "[1]\nsvi strength = 0\nreference = {a}", "from the start image alone"),
    ("dance", "[1]\nsvi strength = 0", "follows no poses"),
    ("2.0-wan22", "[2]\nreference = {a}\nend image = {a}", "before an end image, .*of clip 2"),
    ("shot", "[2]\nprompt = a kite [/duration=5s]", "WanGP's commands do not work in the prompt"),
    ("shot", "[1]\nprompt = a kite [/loras_mult=2]", "set .SVI strength. or"),
    ("shot", "[1]\nnew shot = yes", "clip 1 is a new shot already"),
    ("shot", "[2]\nreference = nowhere.png", "the image nowhere.png does not exist"),
    ("shot", "[2]\nend image = {text}", "cannot be read as an image"),
    ("shot", "[2]\nreference = {folder}", "does not exist"),
])
def test_what_cannot_be_done_is_said_before_anything_runs(pictures, tmp_path, id, text, said):
    text_file = tmp_path / "x.png"
    text_file.write_text("no image")
    given = text.format(a=pictures("a", 0), text=text_file, folder=tmp_path)
    with pytest.raises(SettingsError, match=said):
        prepared(settings(id, 2), given)


def test_a_loop_cannot_close_on_a_video_that_is_continued():
    asked = settings("shot", 2, image_prompt_type="V", video_source="boat.mp4")
    with pytest.raises(SettingsError, match="cannot be a loop"):
        prepared(asked, "[2]\nend image = loop")


def test_a_page_that_others_can_open_takes_no_image_from_elsewhere(pictures, wgp, monkeypatch):
    inside, outside = wgp.folder / desk.IMAGES / "ü.png", Path(pictures("a", 0))
    inside.parent.mkdir(parents=True)
    inside.write_bytes(outside.read_bytes())
    running = SimpleNamespace(server_config={}, save_path=str(wgp.folder), args=SimpleNamespace(
        listen=True, share=False, server_name=""))
    monkeypatch.setitem(sys.modules, "wgp", running)
    around = inside.parent / ".." / ".." / outside.parent.name / outside.name
    (inside.parent / "link.png").symlink_to(outside)
    for path in (outside, "nowhere.png", around, inside.parent / "link.png", "a\x00.png"):
        text = f"[2]\nreference = {path}"
        with pytest.raises(SettingsError, match="other computers can open this page.*Add .* in the "
                                                "tab SVI") as refused:
            prepared(settings("shot", 2), text)
        assert f"images from {wgp.folder.name} alone. Add" in str(refused.value), \
            "no folder above WanGP's"
        asked = settings("shot", 2)  # a job that nobody has checked
        assert not wgp.generate({**asked, "custom_settings": {"svi_storyboard": text}})
        assert "is no image of this page" in wgp.error and not list(wgp.store.runs())
    assert wgp.generate(prepared(settings("shot", 2), f"[2]\nreference = {inside}"))
    running.args.listen = False
    prepared(settings("shot", 2), f"[2]\nreference = {outside}")


def test_an_image_is_not_larger_than_8k(tmp_path):
    path = tmp_path / "large.png"
    Image.new("1", (8000, 4500)).save(path)
    with pytest.raises(SettingsError, match="is 8000x4500, larger than 8K"):
        prepared(settings("shot", 2), f"[2]\nreference = {path}")


# ---------------------------------------------------------------------------------- in a video

@pytest.fixture
def wgp(tmp_path: Path) -> WanGP:
    return WanGP(tmp_path / "Meine Videos ü")


def clips_of(wgp: WanGP) -> list[np.ndarray]:
    """The frames of each clip of the newest run, without those of its tail."""
    run = wgp.run
    return [loop.of_pieces(run, [clip]) for clip in run.done()]


def changed(before: list[np.ndarray], after: list[np.ndarray]) -> list[int]:
    return [clip + 1 for clip, (one, other) in enumerate(zip(before, after, strict=True))
            if one.shape != other.shape or not np.array_equal(one, other)]


@pytest.mark.parametrize("id", loop.KINDS)
@pytest.mark.parametrize("row", ["prompt = three", "seed = 99", "new shot = yes", "guidance = 2",
                                 "steps = 8", "motion = 1.2", "svi strength = 1.5",
                                 "end image = {b}", "reference = {a}"])
@pytest.mark.parametrize("at", [1, 3])
def test_a_row_changes_its_clip_and_those_that_follow_from_it(wgp, pictures, id, row, at):
    if id == "film" and row.startswith("reference"):
        pytest.skip("pads with grey")
    if at == 1 and (row.startswith("new shot") or id == "2.0-pro" and row.startswith("reference")):
        pytest.skip("begins so")
    plain = settings(id, 4)
    assert wgp.generate(plain)
    before = clips_of(wgp)
    row = row.format(a=pictures("a", 0), b=pictures("b", 200))
    assert wgp.generate(prepared(plain, f"[{at}]\n{row}"))
    made, seeds = clips_of(wgp), [7, 49, 91, 133]
    assert changed(before, made) == [*range(at, 5)]
    if row.startswith("seed"):
        seeds[at - 1] = 99
    assert [clip.seed for clip in wgp.run.done()] == seeds
    if row.startswith("prompt"):
        assert [clip.prompt for clip in wgp.run.done()][at - 1] == "three"


@pytest.mark.parametrize("id", ["shot", "2.0-pro"])
def test_it_is_resumed_with_the_same_frames_although_its_images_are_gone(wgp, pictures, id):
    asked = prepared(settings(id, 4), f"[all]\nseed step = 5\n[2]\nreference = {pictures('a', 0)}\n"
                                      f"[4]\nend image = {pictures('b', 200)}\nseed = 3")
    assert wgp.generate(asked)
    whole = loop.shown(wgp)
    wgp.store.remove(wgp.run)
    assert wgp.generate({**asked, "stop_after": 2})
    run = wgp.run
    for one in Path(pictures("a", 0)).parent.iterdir():
        one.unlink()
    again = resuming.resumed(run)
    assert prepare(again["model_type"], {}, dict(again)) == ""
    assert wgp.generate(again)
    assert wgp.made[-2:] == [3, 4] and np.array_equal(loop.shown(wgp), whole)


def test_an_image_may_go_once_the_run_has_its_copy(wgp, pictures):
    path = pictures("a", 255)
    clips = []
    wgp.at_window = lambda window: window == 2 and Path(path).unlink()
    wgp.pipe.before = lambda window: clips.append(wgp.pipe.svi.clip) or True
    assert wgp.generate(prepared(settings("shot", 3), f"[3]\nreference = {path}"))
    assert clips[2].reference[0].eq(1).all() and not Path(path).exists()


def test_a_clip_remembers_what_was_asked_of_it(wgp):
    assert wgp.generate(prepared(settings("shot", 3), "[2]\nguidance = 3"))
    assert [clip.asks for clip in wgp.run.done()] == ["", '{"guidance": 3.0}', ""]
    assert wgp.run.about.asks == ["", '{"guidance": 3.0}']


def test_the_same_settings_resume_and_others_do_not(wgp):
    asked = prepared(settings("shot", 3), "[3]\nguidance = 2")
    assert wgp.generate({**asked, "stop_after": 1})
    first = wgp.run.name
    assert wgp.generate(prepared(settings("shot", 3), "[3]\nguidance = 3"))
    assert wgp.run.name == first, "clip 3 was to come"
    assert wgp.generate({**prepared(settings("shot", 3), "[1]\nguidance = 3")})
    assert wgp.run.name != first


@pytest.mark.parametrize("id", loop.KINDS)
def test_another_row_of_a_finished_run_is_a_redo_from_its_clip(wgp, id):
    assert wgp.generate(prepared(settings(id, 4), "[4]\nseed = 5"))
    run, before = wgp.run, clips_of(wgp)
    now = parse("[3]\nguidance = 3\n[4]\nseed = 5")
    asked = resuming.restaged(run, now, 4)
    assert asked["custom_settings"]["svi_run"] == f"{run.name}@3"
    assert prepare(asked["model_type"], {}, dict(asked)) == "" and wgp.generate(asked)
    assert wgp.run.name != run.name and changed(before, clips_of(wgp)) == [3, 4]
    # by hand: the name alone is refused, with what to write
    asked["custom_settings"]["svi_run"] = run.name
    assert not wgp.generate(asked)
    assert f"From clip 3 on, run {run.name} was made with another storyboard" in wgp.error
    assert f"Write {run.name}@3 to redo it" in wgp.error


def test_a_run_is_restaged_only_if_something_changes(wgp):
    assert wgp.generate(prepared(settings("shot", 2), "[2]\nseed = 5"))
    run = wgp.run
    with pytest.raises(StoreError, match="changes none of the 2 finished clips"):
        resuming.restaged(run, parse("[2]\nseed = 5"), 2)
    with pytest.raises(StoreError, match="clip 1 of run .* would change"):
        resuming.restaged(run, parse("[1]\nseed = 5"), 2)
    longer = resuming.restaged(run, parse("[2-3]\nseed = 5"), 3)
    assert longer["custom_settings"]["svi_run"] == run.name and longer["video_length"] == 241


@pytest.mark.parametrize("id", loop.KINDS)
def test_a_redo_counts_although_the_storyboard_has_a_prompt_and_a_seed(wgp, id):
    assert wgp.generate(prepared(settings(id, 4), "[2-3]\nprompt = one\n[3]\nseed = 5"))
    run, before = wgp.run, clips_of(wgp)
    for word, prompt, seed, said in (("prompt", "two", None, ["two", "two"]),
                                     ("seed", "", 99, ["one", "one"])):
        again = resuming.redone(run, 2 if prompt else 3, prompt, seed)
        assert prepare(again["model_type"], {}, dict(again)) == "" and wgp.generate(again), word
        made = wgp.run.done()
        assert [clip.prompt for clip in made[1:3]] == said
        assert [clip.seed for clip in made] == [7, 49, seed or 5, 133]
        assert changed(before, clips_of(wgp)) == ([2, 3, 4] if prompt else [3, 4])
    for prompt, seed in (("one", None), ("", 5), ("one", 5)):
        with pytest.raises(StoreError, match="the clips would be the same"):
            resuming.redone(run, 3, prompt, seed)


def test_a_run_that_was_stopped_is_extended_although_rows_were_to_come(wgp):
    text = "[2]\nseed = 5\n[3-5]\nprompt = one\n[5]\nend image = loop"
    assert wgp.generate({**prepared(settings("shot", 5), text), "stop_after": 2})
    longer = resuming.extended(wgp.run, 2, ["two"])
    assert parse(longer["custom_settings"]["svi_storyboard"]) == parse(
        "[2]\nseed = 5\n[3-5]\nprompt = one\n[7]\nend image = loop"), "the rows to come stay"
    assert prepare(longer["model_type"], {}, dict(longer)) == "" and wgp.generate(longer)
    assert [clip.prompt for clip in wgp.run.done()][2:] == ["one"] * 3 + ["two"] * 2


def test_an_extension_that_is_aborted_in_its_first_clip_keeps_its_storyboard(wgp):
    assert wgp.generate(prepared(settings("shot", 2), "[2]\nseed = 5"))
    now = edited(resuming.storyboard_of(wgp.run), [3], seed=6)
    wgp.pipe.before = lambda window: window != 3
    assert wgp.generate(resuming.restaged(wgp.run, now, 4))
    assert wgp.run.about.ended == "stopped" and resuming.storyboard_of(wgp.run) == now
    wgp.pipe.before = lambda window: True
    assert wgp.generate(resuming.resumed(wgp.run)), wgp.error
    assert [clip.seed for clip in wgp.run.done()] == [7, 5, 91, 6]


@pytest.mark.parametrize("id", ["shot", "2.0-pro"])
def test_a_run_knows_the_storyboard_of_its_newest_clip(wgp, pictures, id):
    assert wgp.generate(prepared(settings(id, 2), f"[2]\nreference = {pictures('a', 0)}"))
    first = wgp.run
    now = edited(resuming.storyboard_of(first), [2], seed=5, end_image=pictures("b", 200))
    assert wgp.generate({**resuming.restaged(first, now, 4), "stop_after": 3})
    run = wgp.run
    assert run.name == first.name
    kept = resuming.storyboard_of(run)
    assert kept.row(2).seed == 5 and Path(kept.row(2).end_image).parent == run.folder
    assert Path(kept.row(1).reference).parent == run.folder
    again = resuming.resumed(run)
    assert prepare(again["model_type"], {}, dict(again)) == "" and wgp.generate(again), wgp.error
    assert len(wgp.run.done()) == 4 and wgp.run.name == run.name


def test_a_pause_that_is_taken_back_stays_so(wgp):
    assert wgp.generate(prepared(settings("shot", 3), "[all]\npause = yes"))
    again = resuming.resumed(wgp.run)
    again["custom_settings"]["svi_storyboard"] = "auto"
    assert wgp.generate({**again, "stop_after": 2}) and not resuming.storyboard_of(wgp.run)


def test_pause_stops_after_every_clip_and_goes_on_bit_for_bit(wgp):
    asked = settings("2.0", 3)
    assert wgp.generate(asked)
    whole = loop.shown(wgp)
    wgp.store.remove(wgp.run)
    assert wgp.generate(prepared(asked, "[all]\npause = yes"))
    run = wgp.run
    for clips in (1, 2):
        assert (len(run.done()), run.about.ended) == (clips, "stopped")
        assert len(loop.shown(wgp)) == chain.length(clips, 5)
        wgp.forget()
        assert wgp.generate(resuming.resumed(run))
        run = wgp.run
    assert len(run.done()) == 3 and run.about.ended == "finished"
    assert np.array_equal(loop.shown(wgp), whole)


def test_a_stop_in_a_run_that_pauses_is_one_stop(wgp):
    asked = prepared(settings("shot", 3), "[all]\npause = yes")
    wgp.pipe.before = lambda window: (wgp.run.folder / STOP).touch() or True
    for clips in (1, 2, 3):
        assert wgp.generate(asked), wgp.error
        run = wgp.run
        # in the last clip, nothing is left to stop
        assert len(run.done()) == clips and (run.folder / STOP).exists() == (clips == 3)
        wgp.forget()
        asked = resuming.resumed(run) if clips < 3 else asked
    assert run.about.ended == "finished" and len(loop.shown(wgp)) == chain.length(3, 1)


@pytest.mark.parametrize("pause", ["", "[all]\npause = yes\n"])
def test_several_outputs_are_a_run_each_by_the_same_storyboard(wgp, pictures, pause):
    text = f"{pause}[2]\nreference = {pictures('a', 255)}\nseed = 5\n[3]\nend image = loop"
    assert wgp.generate(prepared(settings("shot", 3, repeat_generation=2), text)), wgp.error
    runs = [*wgp.store.runs()]
    assert len(runs) == (1 if pause else 2), "a stop ends WanGP's job"
    assert len({run.about.seed for run in runs}) == len(runs)
    for run in runs:
        assert len(run.done()) == (1 if pause else 3)
        again = resuming.storyboard_of(run)
        assert again.row(1).seed == 5 and again.row(2).end_image == LOOP
        if pause:
            wgp.forget()
            assert wgp.generate(resuming.resumed(run)), wgp.error
            assert len(wgp.store.open(run.name).done()) == 2, "it was resumed twice"


@pytest.mark.parametrize("id", loop.KINDS)
def test_a_loop_ends_on_its_first_frame_which_is_not_shown_twice(wgp, id):
    plain = settings(id, 3)
    assert wgp.generate(plain)
    before, frames = clips_of(wgp), len(loop.shown(wgp))
    ends: list[torch.Tensor] = []
    wgp.at_window = lambda window: None
    wgp.pipe.before = lambda window: ends.append(wgp.pipe.svi.clip.end) or True
    asked = prepared(plain, "[3]\nend image = loop")
    assert wgp.generate(asked)
    assert ends[:2] == [None, None] and torch.equal(
        ends[2], wgp.pipe.svi.clip.video.start.mul(127.5).add(127.5).round().div(127.5).sub(1))
    assert len(loop.shown(wgp)) == frames - 1
    variant, last = VARIANTS[id], wgp.run.done()[-1]
    if variant.keep_new:  # what another clip would replace is apart
        assert (last.frames, last.tail) == (81 - variant.overlap, variant.overlap - 1)
    made = clips_of(wgp)
    assert changed(before[:2], made[:2]) == []
    # longer: the clip that closed the loop is made again, and the last one closes it
    wgp.pipe.before = lambda window: True
    longer = resuming.extended(wgp.run, 1)
    assert longer["custom_settings"]["svi_run"] == f"{wgp.run.name}@3"
    assert parse(longer["custom_settings"]["svi_storyboard"]) == parse("[4]\nend image = loop")
    assert wgp.generate(longer)
    assert len(loop.shown(wgp)) == chain.length(4, VARIANTS[id].overlap) - 1
    assert changed(made[:2], clips_of(wgp)[:2]) == []


@pytest.mark.parametrize("id", ["shot", "2.0-pro"])
def test_a_loop_closes_on_the_start_image_whatever_the_reference(wgp, pictures, id):
    clips, masks = [], []

    def look(window):
        clips.append(wgp.pipe.svi.clip)
        masks.append(hooks.call("mask", torch.zeros(4, 21, 2, 2), wgp.pipe))
        return True
    wgp.pipe.before = look
    assert wgp.generate(prepared(
        settings(id, 2), f"[2]\nreference = {pictures('a', 255)}\nend image = loop"))
    assert [mask[:, -1, 0, 0].tolist() for mask in masks] == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert clips[1].reference[0].eq(1).all()
    assert (clips[1].end - clips[0].reference).abs().max() < 0.02


def test_a_new_shot_starts_from_the_reference(wgp, pictures):
    clips = []
    wgp.pipe.before = lambda window: clips.append(wgp.pipe.svi.clip) or True
    assert wgp.generate(prepared(
        settings("2.0-pro", 4), f"[3]\nnew shot = yes\nreference = {pictures('a', 255)}"))
    third = clips[2]
    assert torch.equal(clips[3].reference, third.video.start), "the next clip has the run's again"
    assert third.previous_latents is None and clips[1].previous_latents is not None
    assert torch.equal(third.motion_frames[:, 0], third.reference)
    assert third.reference[0].eq(1).all() and third.reference[1].eq(-1).all()
    assert torch.equal(clips[1].reference, third.video.start)


@pytest.mark.parametrize(("id", "text"), [
    ("film", "[2]\nnew shot = yes\nreference = {a}"),
    ("2.0-wan22", "[2]\nnew shot = yes\nreference = {a}\nend image = loop")])
def test_a_cut_starts_from_its_reference_where_padding_is_grey(wgp, pictures, id, text):
    clips = []
    wgp.pipe.before = lambda window: clips.append(wgp.pipe.svi.clip) or True
    assert wgp.generate(prepared(settings(id, 2), text.format(a=pictures("a", 255)))), wgp.error
    assert clips[1].motion_frames[0].eq(1).all() and clips[1].motion_frames[1].eq(-1).all()


@pytest.mark.parametrize(("variant", "loras"), [("off", True), ("auto", False)])
def test_with_svi_off_a_storyboard_is_only_talked_about(capsys, variant, loras):
    for text in ("[1]\nseed = 1", "no storyboard", "[9]\nreference = //host/a.png"):
        asked = settings("shot", 2)
        asked["activated_loras"] = asked["activated_loras"] if loras else []
        asked["custom_settings"] = {"svi_variant": variant, "svi_storyboard": text}
        now = dict(asked)
        assert prepare("i2v", {}, now) == "" and now == asked
        assert make_plan("i2v", asked["activated_loras"], asked["custom_settings"]) is None
        assert "svi_storyboard is set, but SVI is off" in capsys.readouterr().out


def test_one_window_more_opens_the_loop_again_and_says_so(wgp):
    def one_more(window):
        wgp.gen["extra_windows"] = int(window == 2)
    wgp.at_window = one_more
    assert wgp.generate(prepared(settings("shot", 2), "[2]\nend image = loop"))
    assert wgp.made == [1, 2, 3] and len(loop.shown(wgp)) == chain.length(3, 1)
    assert "clip 2 closes the loop, but another one follows" in str(wgp.told)
    longer = resuming.extended(wgp.run, 1)
    assert prepare(longer["model_type"], {}, dict(longer)) == ""


def test_images_are_read_as_wangp_reads_the_start_image(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 200
    side = Image.Exif()
    side[0x112] = 6  # the camera lay on its side
    Image.fromarray(pixels).save(tmp_path / "side.png", exif=side)
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(pixels).save(tmp_path / "animated.gif", save_all=True,
                                 append_images=[Image.new("RGB", (16, 8))] * 2)
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "clear.png")

    def read(name: str) -> torch.Tensor:
        return picture(tmp_path / name).add(1).mul(127.5).round().to(torch.uint8).movedim(0, -1)

    turned = np.rot90(pixels, -1)
    assert np.array_equal(read("side.png").numpy(), turned)
    assert of_rows.cropped(str(tmp_path / "side.png"), (8, 16)) == 0
    assert view.opened(tmp_path / "side.png").size == (8, 16)
    for name in ("deep.png", "animated.gif", "clear.png"):
        assert np.array_equal(read(name).numpy(), pixels), name


@pytest.mark.parametrize(("size", "part"), [((32, 16), 0.5), ((16, 32), 0.5), ((16, 16), 0)])
def test_a_wide_image_is_cropped_as_much_as_a_tall_one(tmp_path, size, part):
    Image.new("RGB", size).save(tmp_path / "a.png")
    assert of_rows.cropped(str(tmp_path / "a.png"), (64, 64)) == part
    assert of_rows.cropped(str(tmp_path / "gone.png"), (64, 64)) == 0


def test_an_image_that_changes_in_its_place_is_looked_at_again(tmp_path):
    path = tmp_path / "a.bmp"  # of one size, whatever it shows
    board, found = parse(f"[2]\nreference = {path}"), []
    for at, content in enumerate(("red", None, "blue")):
        if content is None:
            path.write_bytes(bytes(path.stat().st_size))
        else:
            Image.new("RGB", (8, 8), content).save(path)
        os.utime(path, ns=(at, at))
        why = [str(one) for one in of_rows.obstacles(board, VARIANTS["shot"], 2, False)]
        assert ["cannot be read as an image" in one for one in why] == [True] * (content is None)
        found.append(of_rows.digest(str(path)))
    assert len(set(found)) == 3


def test_clip_1_without_the_lora_is_left_to_wangp(wgp):
    seen = []
    wgp.pipe.before = lambda window: seen.append(wgp.pipe.svi.clip) or True
    assert wgp.generate(prepared(settings("shot", 2, motion_amplitude=1.3),
                                 "[1]\nsvi strength = 0"))
    first, second = seen
    assert first.is_stock and not second.is_stock
    assert first.motion == 1 and second.motion == 1.3
    given = {"motion_amplitude": 1.3, "loras_slists": {"phase1": [1.0]}}
    assert first.keywords(given)["motion_amplitude"] == 1.3
    assert second.keywords(given)["motion_amplitude"] == 1, "SVI does it, and only once"
    first.plan = replace(first.plan, board=parse("[1]\nsvi strength = 0\nmotion = 1.1"))
    assert first.keywords(given)["motion_amplitude"] == 1.1


def test_strengths_are_multiplied_where_they_belong():
    slists = {"phase1": [1.0, [0.5, 1.0], 0.8], "phase2": [1.0, 1.0, 0.8],
              "shared": [True, False, True], "model_switch_step": 4}
    assert of_rows.scaled(slists, (2, 0.5, 1)) == {
        "phase1": [2.0, [0.25, 0.5], 0.8], "phase2": [2.0, 0.5, 0.8],
        "shared": [True, False, True], "model_switch_step": 4}
    assert of_rows.scaled({"high": slists}, (2, 1, 1))["high"]["phase1"][0] == 2.0
    for wrong in (None, [1.0], {"phase1": [1.0]}):
        with pytest.raises(LookupError):
            of_rows.scaled(wrong, (2, 1, 1))


def test_accelerators_and_svi_have_strengths_of_their_own(wgp):
    seen = []
    generate = wgp.pipe.generate
    wgp.pipe.generate = lambda **words: seen.append(words["loras_slists"]) or generate(**words)
    asked = settings("shot", 2)
    asked["activated_loras"] += ["lightx2v_4steps.safetensors", "style.safetensors"]
    assert wgp.generate(prepared(asked, "[2]\nsvi strength = 1.5\naccelerator strength = 0.5"))
    assert [one["phase1"] for one in seen] == [[1, 1, 1], [1.5, 0.5, 1]]


def test_a_strangers_record_of_images_leads_nowhere(wgp, pictures):
    assert wgp.generate(prepared(settings("shot", 2), f"[2]\nreference = {pictures('a', 0)}"))
    run = wgp.run
    for asks in ('{"reference": "../../secret"}', "[1]", "x", '{"reference": 7}', "{" * 100):
        odd = SimpleNamespace(about=SimpleNamespace(settings=run.about.settings, asks=["", asks]),
                              image=run.image)
        assert resuming.storyboard_of(odd).row(1).reference.endswith("a.png")
    kept = resuming.storyboard_of(run).row(1).reference
    assert Path(kept).parent == run.folder and Path(kept).is_file()


@pytest.mark.parametrize(("prompt", "names"), [
    ("a boat [/loras_mult=1;0.5,0.7]", {"loras_mult"}),
    ("[ / Duration = 5s ] a boat", {"duration"}),
    ("[/loras_mult=1, overlap=9]\n\n[/new_shot]", {"loras_mult", "overlap", "new_shot"}),
    ("[/loras_mult=1, duration]", {"loras_mult", "duration"}), ("a [boat] and/or [a ship]", set()),
    ("a boat [/] a ship [/, ]", set()),
])
def test_commands_in_a_prompt_are_found(prompt, names):
    assert of_rows.commands(prompt) == names


# --------------------------------------------------------------------------------- in the tab

def test_a_card_shows_what_a_clip_gets_and_nothing_of_it_is_markup(pictures):
    a = pictures("<b>", 0)
    staged = desk.Staged(f"[2]\nprompt = <i>kite\nseed = 7\nreference = {a}\nend image = loop\n"
                         "new shot = yes\n[4]\nsteps = 5", 3, prompts=("as the form",) * 3)
    found = [card for card, in desk.cards(staged, None, Path)]
    assert len(found) == 4 and "no such clip" in found[3] and "no such clip" not in found[2]
    assert "as the form" in found[0] and "<img" not in found[0]
    assert "opacity:.65'>as the form" in found[0] and "opacity:.65" not in found[1]
    for said in ("&lt;i&gt;kite", "seed 7", "end image: loop", "reference: &lt;b&gt;.png",
                 "new shot", "<img src='data:image/jpeg"):
        assert said in found[1]
    assert "<i>" not in found[1] and "<img" not in "".join(
        card for card, in desk.cards(staged, None, lambda path: None))
    assert len(desk.cards(desk.Staged("", 1500), None, Path)) == desk.MOST_CARDS
    assert len(desk.cards(desk.Staged("no text", 2), None, Path)) == 2


def test_a_page_that_others_can_open_shows_no_image_of_the_host(tmp_path, monkeypatch):
    monkeypatch.delenv(visitors.TRUST, raising=False)
    inside, outside = (str(tmp_path / name / "a.png") for name in ("outputs/svi_images", "home"))
    for options, shown in (({"listen": True}, None), ({"listen": False}, Path(outside))):
        wgp = {"args": SimpleNamespace(**options, share=False, server_name="localhost")}
        assert desk.seen(outside, tmp_path / "outputs", wgp) == shown
        assert desk.seen(inside, tmp_path / "outputs", wgp) == Path(inside)
        around = f"{inside}/../../../home/a.png"
        assert (desk.seen(around, tmp_path / "outputs", wgp) is None) == (shown is None)
        assert not desk.seen("", tmp_path, wgp) and not desk.seen(LOOP, tmp_path, wgp)


@pytest.mark.parametrize(("text", "clips", "cards"), [
    ("auto", 0, 0), ("[7]\nseed = 1", 7, 7), ("no storyboard", 5, 5), ("[2]\nseeds = 1", 5, 5)])
def test_a_text_that_cannot_be_read_can_be_corrected_in_the_desk(text, clips, cards):
    inputs = {"custom_settings": {"svi_storyboard": text}, "video_length": 400,
              "prompt": "one\n\ntwo"}
    line = SimpleNamespace(checked=lambda _: (Checked(None), inputs), said=lambda *_: ["what is"])
    staged = desk.of_form(line, ({},), 3)
    assert staged.starts
    assert (staged.clips, staged.cards, staged.notes) == (clips, cards, ("what is",))
    inputs["video_length"] = "many"
    assert desk.of_form(line, ({},), 3).clips == (0 if clips == 5 else clips)


@pytest.mark.parametrize(("id", "given", "said"), [
    ("talk", {}, "Add the sound in WanGP's form"), ("dance", {}, "Add the pose video in WanGP's"),
    ("talk", {"audio_prompt_type": "A", "audio_guide": "a.wav"}, ""),
    ("dance", {"video_prompt_type": "V", "video_guide": "a.mp4"}, ""), ("shot", {}, "")])
def test_the_desk_says_what_is_added_in_wangps_form(id, given, said):
    plan = Plan(VARIANTS[id], (), sound=id == "talk")
    inputs = {"custom_settings": {}, "video_length": 81, **given}
    line = SimpleNamespace(checked=lambda _: (Checked(plan), inputs), said=lambda *_: ["what is"])
    notes = desk.of_form(line, ({},), 0).notes
    assert len(notes) == 1 + bool(said) and said in notes[-1]


@pytest.mark.parametrize(("kind", "starts"), [("S", True), ("", True), ("V", False), ("L", False)])
def test_a_start_image_is_for_a_video_that_continues_no_other(kind, starts):
    inputs = {"custom_settings": {}, "video_length": 81, "image_prompt_type": kind}
    line = SimpleNamespace(checked=lambda _: (Checked(None), inputs), said=lambda *_: [])
    assert desk.of_form(line, ({},), 0).starts == starts


def test_the_desk_says_what_becomes_of_a_run_that_was_made_with_other_padding(wgp):
    asked = settings("shot", 3)
    asked["custom_settings"] = {"ref_pad_num": "0"}
    assert wgp.generate(prepared(asked, "[2]\nseed = 5"))
    staged = desk.of_run(wgp.run, 0)
    now = desk.noted(replace(staged, text="[3]\nreference = a.png"), wgp.run)
    assert now.action == "" and "pads with grey" in now.notes[1]
    about = wgp.run.about
    wgp.run.change(replace(about, settings={**about.settings, "image_prompt_type": "V"}))
    now = desk.noted(replace(staged, text="[3]\nend image = loop"), wgp.run)
    assert now.action == "" and "cannot be a loop" in now.notes[1]


def test_the_desk_says_what_becomes_of_a_run(wgp):
    assert wgp.generate(prepared(settings("shot", 3), "[2]\nseed = 5"))
    run = wgp.run
    staged = desk.of_run(run, 7)
    assert (staged.chosen, staged.action) == (2, "")
    # a row whose clip the video lacks has a card, from which it can be removed
    assert replace(staged, text="[5]\nseed = 1").at(9).chosen == 4 and staged.at(-1).chosen == 0
    assert replace(staged, text="no text").at(9).chosen == 2
    assert "Change a row, or add clips." in staged.notes[1]
    assert staged.idle == "Nothing to make"
    for text, clips, action, said in (
            ("[3]\nseed = 5", 3, "Redo from clip 2", f"Redo run {run.name} from clip 2 of 3."),
            ("[2]\nseed = 5", 5, "Make the clips to come",
             f"Extend run {run.name} to 5 clips, from clip 4 on."),
            ("[1]\nseed = 5", 3, "", "Clip 1 of run"),
            ("[4]\nseed = 5", 3, "", "not in this video"),
            ("[2]\nseeds = 5", 3, "", "is unknown")):
        now = desk.noted(replace(staged, text=text, clips=clips), run)
        assert now.action == action and said.lower() in now.notes[1].lower(), now.notes
        if not action:
            assert now.idle == "Cannot be made now" and "from clip" not in now.notes[1]
    assert "<img" in desk.cards(staged, run, Path)[0][0]
    run.path(3, ".mp4").write_bytes(run.path(0, ".mp4").read_bytes())  # not finished
    assert "<img" not in desk.cards(replace(staged, clips=4), run, lambda path: None)[3][0]
    assert "press <b>New storyboard</b> first" in desk.note(None)


def test_the_desk_follows_a_run_while_it_is_made(wgp, monkeypatch):
    skip = object()
    monkeypatch.setattr(desk, "gr", SimpleNamespace(
        skip=lambda: skip, update=lambda **values: values, Dataset=lambda samples: samples))
    names = ("state", "note", "cards", "remake")
    page = SimpleNamespace(
        tab=SimpleNamespace(store=wgp.store), **{name: name for name in names},
        _values=lambda staged, run: {"state": staged, "note": desk.note(staged),
                                     "cards": len(run.done()), "remake": staged.action, "text": 7})
    look = partial(desk.Desk.looked, page)
    assert wgp.generate({**prepared(settings("shot", 3), "[2]\nseed = 5"), "stop_after": 1})
    run = wgp.run
    staged = replace(desk.of_run(run, 1), text="[3]\nseed = 6")
    release = run.lock()
    busy = look(desk.noted(staged, run))
    assert busy is skip
    during = desk.noted(staged, run)
    assert during.action == "" and "is running" in during.notes[1]
    release()
    wgp.forget()
    assert wgp.generate(resuming.resumed(run))
    after = look(during)
    assert after.keys() == {*names} and after["cards"] == 3
    assert after["remake"] == "Redo from clip 2" and after["state"].stamp == during.stamp
    assert look(after["state"]) is skip is look(None) is look(desk.Staged("", 2))
    wgp.forget()
    assert wgp.generate(resuming.restaged(run, after["state"].board, 3))
    followed = look(after["state"])["state"]
    assert (followed.run, followed.action, followed.chosen) == (wgp.run.name, "", 1)
    assert followed.run != run.name
    assert look(replace(after["state"], text="[3]\nseed = 7"))["state"].run == run.name
    reseeded = Run(run.folder, replace(run.about, seed=run.about.seed + 1))
    assert desk.redo_of(after["state"], reseeded, wgp.store) is None, "other clips by the same rows"


def test_an_image_that_is_added_stays_although_gradios_copy_goes(tmp_path, pictures):
    given, folder = Path(pictures("a", 0)), tmp_path / "outputs" / desk.IMAGES
    kept = Path(desk.keep(given, folder))
    assert kept.parent.parent == folder.resolve() and kept.read_bytes() == given.read_bytes()
    assert desk.keep(given, folder) == str(kept) and len([*folder.rglob("*.*")]) == 1
    assert desk.keep(Path(pictures("b", 9)), folder) != str(kept)
    odd = given.rename(given.with_name("a.p'n g"))
    assert Path(desk.keep(odd, tmp_path / "other")).suffix == ".png"


def test_the_text_of_a_storyboard_names_no_folder_above_wangps(tmp_path, pictures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = Path(pictures("a", 0)).absolute()
    for outputs in (Path("outputs"), tmp_path / "outputs"):
        kept = desk.keep(given, outputs / desk.IMAGES)
        assert Path(kept).parent.parent == Path("outputs", desk.IMAGES) and Path(kept).is_file()
        assert desk.seen(kept, outputs, {}) == Path(kept), "a visitor sees it"


def test_an_image_that_is_added_has_the_users_own_name_also_in_its_run(wgp, pictures, tmp_path):
    folder = wgp.folder / desk.IMAGES
    kept = [desk.keep(Path(pictures(name, colour)), folder)
            for name, colour in (("Strand", 0), ("Strand", 9), ("ein Berg", 99))]
    assert [Path(path).name for path in kept] == ["Strand.png", "Strand.png", "ein Berg.png"]
    assert len({*kept}) == 3, "two images of one name"
    asked = prepared(settings("shot", 2), f"[1]\nreference = {kept[0]}\n[2]\nreference = {kept[1]}"
                                          f"\nend image = {kept[2]}")
    assert wgp.generate(asked)
    staged = desk.of_run(wgp.run, 0)
    assert "image-" in staged.text, "the run's own copies"
    first, second = (card for card, in desk.cards(staged, wgp.run, Path, folder))
    assert "reference: Strand.png" in first
    assert "end image: ein Berg.png · reference: Strand.png" in second
    copy = staged.board.row(0).reference
    assert desk.name_of(copy) == desk.name_of(copy, tmp_path / "none") == "image.png", "no hash"


# -------------------------------------------------------------------------- the desk, by its events

class Gradio:
    """Components that keep what their events do; `said` are the warnings."""

    def __init__(self):
        self.said: list[str] = []

    def __getattr__(self, name):
        return lambda *_, **__: MagicMock()

    def update(self, **values):
        return values

    def Warning(self, text, duration=0):
        self.said.append(text)

    def skip(self):
        return {}


class Sitting:
    """A desk about WanGP's form, which somebody uses."""

    def __init__(self, monkeypatch, folder: Path, text: str = "", clips: int = 5):
        self.gradio = Gradio()
        for module in (desk, helpers):
            monkeypatch.setattr(module, "gr", self.gradio)
        names = ("video_length", "generate_btn", "prompt", "image_start", "image_prompt_type_radio")
        self.line = SimpleNamespace(components={name: MagicMock() for name in names}, filled=[],
                                    inputs=[MagicMock(), MagicMock()], news=[],
                                    storyboard=MagicMock())
        self.desk = desk.Desk(SimpleNamespace(
            store=Store(folder / "svi"), wgp={}, timer=MagicMock(), plugin=MagicMock()), self.line)
        self.state = desk.Staged(text, clips, prompts=("",) * clips)
        self.typed = self.row(0)

    def row(self, clip: int) -> list:
        row = self.state.board.row(clip)
        texts = [in_text(getattr(row, name)) for name in self.desk.texts]
        return [row.prompt, *texts, row.new_shot]

    def type(self, name: str, value: str) -> None:
        self.typed[1 + [*self.desk.texts].index(name)] = value

    def do(self, event: MagicMock, *entered, alone: bool = False) -> dict:
        """What an event answers; `alone`: it gets nothing of the editor."""
        rest = () if alone else (self.state.stamp, *self.typed)
        values = event.call_args.args[0](self.state, *rest, *entered)
        self.state = values.get(self.desk.state, self.state)
        if self.desk.stamp in values:  # the editor is filled again
            self.typed = self.row(self.state.chosen)
        return values


@pytest.fixture
def sitting(monkeypatch, tmp_path):
    return partial(Sitting, monkeypatch, tmp_path)


def test_a_field_has_the_name_that_the_text_and_the_messages_have(monkeypatch, tmp_path):
    labels = []
    monkeypatch.setattr(Gradio, "Textbox", lambda self, label="", **_: labels.append(label)
                        or MagicMock(), raising=False)
    sitting = Sitting(monkeypatch, tmp_path)
    for name in sitting.desk.texts:
        row = replace(Row(), **{name: 2})
        known, = row.asked()
        assert known[:1].upper() + known[1:] in labels
        assert f"{known} = 2" in write(Storyboard({0: row})), "as in the text"
        sitting.type(name, "much")
        sitting.do(sitting.desk.generate.click)
        assert sitting.gradio.said[-1].startswith(
            f"{known[:1].upper()}{known[1:]} in clip 1 cannot be \"m")
        sitting.type(name, "")
    assert parse("[1]\nSVI strength = 2") == parse("[1]\nsvi strength = 2"), "as it was once"
    assert '"svi strength"' in parse("[1]\nSVI strength = 2").row(0).key(), "as runs have it"


def test_what_is_typed_stays_when_something_else_than_its_clip_changes(sitting, tmp_path):
    """The next words may be typed before the answer is there."""
    at = sitting("[5]\nseed = 1")
    at.do(at.desk.cards.click, 1)
    stamp, picture = at.state.stamp, tmp_path / "beach.png"
    picture.write_bytes(b"an image")
    boxes = at.desk.pictures
    for event, *entered in ((at.desk.count.blur, "4"), (at.desk.pause.input, True),
                            (at.desk.count.submit, "2"), (at.desk.loop.input, True),
                            (boxes["reference"].upload, picture), (boxes["end_image"].clear,)):
        at.typed[0] += "it dives "
        shown = at.do(event, *entered)
        entry = {at.desk.stamp, at.desk.new_shot, *at.desk.texts.values()}
        assert not entry & shown.keys() and at.state.stamp == stamp
        assert shown.get(at.desk.row_prompt, {}).keys() <= {"placeholder"}
        assert at.state.board.row(1).prompt == at.typed[0].strip()
    assert shown[at.desk.state].clips == 2 and at.state.board.pause
    kept = Path(at.state.board.row(1).reference)
    assert kept.name == "beach.png" and boxes["reference"] in shown and at.desk.loop in shown
    shown = at.do(at.desk.drop.click)
    assert at.desk.stamp not in shown and not {4} & at.state.board.rows.keys()
    shown = at.do(at.desk.count.blur, "1")
    assert at.desk.stamp not in shown, "the row of clip 2 is there as long as it has something"
    at.do(at.desk.cards.click, 0)
    shown = at.do(at.desk.count.blur, "3")
    at.do(at.desk.cards.click, 2)
    shown = at.do(at.desk.count.blur, "2")
    assert at.desk.stamp in shown and at.state.chosen == 1, "its card is gone"


def test_a_number_of_clips_may_follow_another_at_once(sitting):
    """The answer to the first one leaves the field alone, where the next may be typed by then."""
    at = sitting(clips=5)
    for event, fields in ((at.desk.count.submit, False), (at.desk.count.blur, True)):
        assert event.call_args.kwargs["trigger_mode"] == "multiple", "none is dropped"
        for number in ("6", "2", "2"):
            assert (at.desk.count in (shown := at.do(event, number))) is fields
        assert at.state.clips == 2 and shown in ({}, {at.desk.count: "2"})
        assert at.do(event, "0") == {at.desk.count: "2"} and "not 0" in at.gradio.said[-1]
    for event in (at.desk.pause.input, at.desk.loop.input):
        assert event.call_args.kwargs["trigger_mode"] == "multiple"


def test_a_value_that_cannot_be_keeps_no_tick_and_no_image_from_the_storyboard(sitting, tmp_path):
    """Their boxes show them, and would go on to."""
    at = sitting("[1]\nreference = a.png", clips=1)
    at.type("guidance", "abc")
    picture = tmp_path / "beach.png"
    picture.write_bytes(b"an image")
    for event, *entered in ((at.desk.pause.input, True), (at.desk.loop.input, True),
                            (at.desk.pictures["reference"].clear,),
                            (at.desk.pictures["end_image"].upload, picture)):
        shown = at.do(event, *entered)
        assert "Guidance in clip 1 cannot be" in shown[at.desk.fault]
        assert at.desk.stamp not in shown and not at.gradio.said
    row = at.state.board.row(0)
    assert at.state.board.pause and row.reference == "" and row.end_image.endswith("beach.png")
    added = at.desk.pictures["end_image"].upload.return_value.then.call_args_list[-1].args[0]
    assert added(at.state) == at.gradio.skip() and not at.gradio.said
    at.do(at.desk.count.blur, "3")
    assert "Guidance in clip 1 cannot be" in at.gradio.said[-1]
    at.type("guidance", "2")
    at.do(at.desk.add.click)
    assert at.state.board.row(0) == replace(row, guidance=2)


def test_a_form_with_fewer_clips_shows_another_one_in_the_editor(sitting, monkeypatch):
    """Else what is typed for the clip that has gone would be another one's."""
    at = sitting("[2]\nprompt = two", clips=5)
    at.do(at.desk.cards.click, 4)
    monkeypatch.setattr(desk, "of_form", lambda line, form, chosen: replace(
        at.state, clips=2).at(chosen))
    note = at.desk.up.click.return_value.then.call_args_list[1].args[0]
    shown = note(at.state, at.state.stamp, "the form")
    assert shown[at.desk.state].chosen == 1 and shown[at.desk.row_prompt]["value"] == "two"
    assert shown[at.desk.stamp] == shown[at.desk.state].stamp != at.state.stamp
    at.do(at.desk.cards.click, 1)
    shown = note(at.state, at.state.stamp, "the form")
    assert at.desk.stamp not in shown and shown[at.desk.title] == "### Clip 2 of 2"
    assert shown[at.desk.loop] == {"value": False, "interactive": True}


def test_an_answer_to_typing_that_comes_after_a_later_one_changes_nothing_of_its_clip(sitting):
    at = sitting("[2]\nprompt = two")
    at.do(at.desk.cards.click, 1)
    before = at.state
    types = at.desk.generate.click.call_args.args[0]  # as each key does
    typed = types(before, before.stamp, "two kites", *at.typed[1:])
    moved = at.do(at.desk.up.click)
    assert moved[at.desk.stamp] != before.stamp and at.desk.title in moved
    assert not {at.desk.stamp, at.desk.title, at.desk.row_prompt, at.desk.count} & typed.keys()
    form, = {at.line.storyboard} & typed.keys()
    late, stamp = typed[form], at.state.stamp
    assert late == "[2]\nprompt = two kites\n" and at.state.text == "[1]\nprompt = two\n"
    settled = at.desk.settled
    assert settled(at.state, stamp, late) == at.state.text.strip(), "the form gets the newer one"
    skip = at.gradio.skip()
    for state, seen, text in ((at.state, stamp, at.state.text), (at.state, "older", late),
                              (None, stamp, late), (replace(at.state, run="7f3a"), stamp, late),
                              (replace(at.state, text=""), stamp, "auto"),
                              (replace(at.state, text=""), stamp, "")):
        assert settled(state, seen, text) == skip
    assert settled(replace(at.state, text=""), stamp, late) == "auto"


def test_a_click_on_which_nothing_happens_says_what_to_correct(sitting):
    at = sitting("[2]\nprompt = two")
    at.type("seed", "-1")
    clicks = [(at.desk.cards.click, 1), (at.desk.generate.click,), (at.desk.copy.click,),
              (at.desk.add.click,), (at.desk.up.click,), (at.desk.count.blur, "4"),
              (at.desk.share.click, "a story")]
    for number, (event, *entered) in enumerate(clicks, 1):
        at.do(event, *entered)
        assert len(at.gradio.said) == number, event
        assert at.gradio.said[-1] == ("Seed in clip 1 cannot be \"-1\". Set it to a whole number "
                                      "from 0 to 4,294,967,295.")
    assert at.state.text == "[2]\nprompt = two" and at.state.clips == 5
    at.type("seed", "7")
    at.do(at.desk.cards.click, 1)
    assert at.state.chosen == 1 and at.state.board.row(0).seed == 7
    assert at.do(at.desk.generate.click)[at.desk.fault] == "" and len(at.gradio.said) == 7


def test_what_is_no_prompt_in_wangps_form_is_none_in_the_editor(sitting):
    at = sitting("[2]\nprompt = two")
    for number, mark in enumerate("!#", 1):
        at.typed[0] = f" {mark} a kite"
        at.do(at.desk.generate.click)
        assert at.gradio.said[-1].startswith(f"A prompt begins with {mark}, as ")
        assert len(at.gradio.said) == number and at.state.text == "[2]\nprompt = two"
    at.typed[0] = "a kite\n# of mine\nrises"
    at.do(at.desk.generate.click)
    assert at.state.board.row(0).prompt == "a kite rises"


def test_what_is_entered_while_the_form_is_being_filled_is_not_called_out_of_date(
        sitting, monkeypatch):
    at = sitting()
    now = at.state
    shown = at.desk.loading()
    assert shown[at.desk.body] == {"visible": False} and desk.LOADING in shown[at.desk.note]
    at.state = shown[at.desk.state]
    at.do(at.desk.count.blur, "3")
    assert at.gradio.said == ["The storyboard is still loading. Try again when you see its clips."]
    monkeypatch.setattr(desk, "of_form", lambda *_: now)
    filled = at.desk.form_filled(at.state, "a form")
    assert filled[at.desk.state] == now and filled[at.desk.body] == {"visible": True}


def test_the_editor_says_whose_values_a_clip_has(sitting, wgp):
    at = sitting("[2]\nprompt = two")
    shown = at.do(at.desk.cards.click, 1)
    hints = [shown[box]["placeholder"] for box in at.desk.texts.values()]
    assert hints == ["as the video", "1 = as the form", "1 = as the form", *["as the form"] * 3]
    assert wgp.generate(settings("shot", 2))
    at.desk.tab.run = wgp.store.open
    shown = at.desk.of_run(wgp.run.name)
    hints = [shown[box]["placeholder"] for box in at.desk.texts.values()]
    assert hints == ["as the video", "1 = as the run", "1 = as the run", *["as the run"] * 3]


def test_what_cannot_be_stays_in_the_editor_until_something_else_is_shown(sitting, monkeypatch):
    at = sitting("[2]\nprompt = two")
    now = replace(at.state, prompts=("sea",) * 5, stamp="another")
    monkeypatch.setattr(desk, "of_form", lambda *_: now)
    shown = at.desk.shown(at.state, "a form", "a prompt")
    kept = [at.desk.fault, *at.desk.texts.values(), at.desk.new_shot]
    assert not set(kept) & shown.keys() and shown[at.desk.row_prompt] == {"placeholder": "sea"}
    assert shown[at.desk.state] == now and shown[at.desk.state].stamp == at.state.stamp
    now = replace(now, text="[2]\nprompt = a kite")  # the form was filled meanwhile
    shown = at.desk.shown(at.state, "a form", "a prompt")
    assert {*kept} <= shown.keys() and shown[at.desk.state].stamp not in ("", at.state.stamp)


@pytest.mark.parametrize(("entered", "said"), [
    ("0", "A video has 1 to 1,500 clips, not 0."),
    ("1501", "A video has 1 to 1,500 clips, not 1,501."),
    ("abc", "The number of clips must be a whole number, not \"abc\"."),
    ("", "The number of clips must be a whole number.")])
def test_a_number_of_clips_that_cannot_be_does_not_stay_in_the_field(sitting, entered, said):
    at = sitting(clips=7)
    for event in (at.desk.count.blur, at.desk.count.submit):
        assert at.do(event, entered) == {at.desk.count: "7"} and at.gradio.said.pop() == said
    assert at.do(at.desk.count.blur, " 7.0 ") == {at.desk.count: "7"} and not at.gradio.said
    assert at.do(at.desk.count.blur, "3")[at.line.components["video_length"]] == 243


def test_rows_beyond_the_end_are_kept_until_one_click_removes_them_all(sitting):
    text = "[2]\nseed = 2\n\n[4-6]\nprompt = on\n\n[7]\nprompt = end\n"
    at = sitting(text, clips=7)
    shown = at.do(at.desk.count.blur, "3")
    assert shown[at.desk.drop] == {"visible": True, "value": "Remove 4 rows beyond clip 3"}
    assert at.state.text == text and at.state.clips == 3
    shown = at.do(at.desk.count.blur, "7")
    assert not shown[at.desk.drop]["visible"] and at.state.board.row(6).prompt == "end"
    at.do(at.desk.count.blur, "6")
    at.typed[0] = "one"  # what was typed is kept
    shown = at.do(at.desk.drop.click)
    assert not shown[at.desk.drop]["visible"]
    assert at.state.board == parse("[1]\nprompt = one\n" + text.partition("\n\n[7]")[0])
    at.do(at.desk.count.blur, "3")
    at.do(at.desk.cards.click, 4)
    at.type("steps", "many")  # goes with its row
    at.do(at.desk.drop.click)
    assert at.state.board.clips == 2 and at.state.chosen == 2 and not at.gradio.said


def lose(boards: Boards, text: str, frames: int = 405, model: str = "i2v", to: str = "i2v") -> None:
    boards.filled(text, model)
    boards.filling(text, frames)
    boards.filled("auto", to)


@pytest.mark.parametrize(("text", "clips", "fault"), [
    ("[7]\nseed = 1", 9, ""), ("[2]\nend image = loop", 2, ""), ("[2]\nseeds = 1", 5, "seeds")])
def test_the_last_storyboard_comes_back_with_its_clips(sitting, text, clips, fault):
    at, page = sitting(), {}
    lose(of_page(page), text, 81 * clips)
    at.state = replace(at.state, lost=of_page(page).last("").text)
    at.typed[0] = "a kite"
    shown = at.do(at.desk.cards.click, 1)
    assert shown[at.desk.back] == {"visible": True}, "also while another one is written"
    at.do(at.desk.cards.click, 0)
    at.typed[0] = "a kite dives"  # of which the form has the beginning
    bring_back = at.desk.back.click.call_args.args[0]
    shown = bring_back(at.state, at.state.stamp, *at.typed, page, at.state.text, 405)
    assert shown[at.line.storyboard] == text == shown[at.desk.state].text
    assert shown[at.desk.state].clips == clips
    assert shown.get(at.line.components["video_length"], 405) == 81 * clips
    assert fault in shown[at.desk.fault]
    assert shown[at.desk.back] == {"visible": True}
    now = shown[at.desk.state]
    other = bring_back(now, "of the editor before", *at.typed, page, text, 81 * clips)
    assert other[at.line.storyboard] == "[1]\nprompt = a kite dives", "what it replaced, too"
    assert other[at.desk.state].clips == 5


def test_a_storyboard_that_the_form_has_again_is_not_offered():
    """As that of a model that is chosen again."""
    page, inputs = {}, {"custom_settings": {"svi_storyboard": "auto"}, "video_length": 405}
    rows, boards = "[2]\nseed = 1", of_page(page)
    line = SimpleNamespace(checked=lambda _: (Checked(None), inputs), said=lambda *_: [])

    def offered() -> str:
        return desk.of_form(line, (page,), 0).lost

    lose(boards, rows)
    assert offered() == rows
    inputs["custom_settings"] = {"svi_storyboard": f"{rows}\n"}
    assert offered() == "", "before it is known that WanGP has filled the form"
    boards.filled(f"{rows}\n", "i2v")
    inputs["custom_settings"] = {"svi_storyboard": "[3]\nseed = 1"}
    assert offered() == "", "nor after a change"


def test_all_that_was_lost_comes_back_click_by_click():
    boards = Boards()
    lose(boards, "[1]\nprompt = all")
    lose(boards, "[1]\nprompt = x")  # and New storyboard once more, with another profile
    now, came = Board("[1]\nprompt = y", 405, "i2v"), []
    for _ in range(4):
        now = boards.bring_back(now)
        came.append(now.text[-3:])
    assert came == ["= x", "all", "= y", "= x"]
    typed = Board("[1]\nprompt = all", 162)  # by the user, who has it again
    assert boards.last(typed.text).text == "[1]\nprompt = y" == boards.bring_back(typed).text
    assert boards.lost == [typed] and boards.bring_back(typed) == Board()
    assert boards.lost == [typed]
    assert boards.tell() and not boards.tell()
    boards = Boards()
    lose(boards, "[1]\nprompt = a")
    assert boards.tell()
    lose(boards, "[1]\nprompt = b", model="t2v")  # which the form of that model still has
    assert not boards.tell() and boards.last("").text.endswith("a")
    for number in range(60):
        lose(boards, f"[1]\nseed = {number}")
    assert len(boards.lost) <= 21 and boards.last("").text.endswith("59")


def test_the_last_storyboard_comes_back_while_svi_is_off_and_once(sitting):
    at, page, text = sitting(), {}, "[2]\nseed = 1"
    lose(of_page(page), text, 162)
    off = desk.Staged("", 0, notes=("SVI is off",), lost=text)
    bring_back = at.desk.back.click.call_args.args[0]
    shown = bring_back(off, "", *at.typed, page, "auto", 405)
    assert shown[at.line.storyboard] == text and shown[at.desk.body] == {"visible": True}
    assert shown[at.line.components["video_length"]] == 162
    assert shown[at.desk.back] == {"visible": False}
    assert bring_back(off, "", *at.typed, page, text, 162) == {}, "a second click"
    bring_back(None, "", *at.typed, page, text, 162)
    assert at.gradio.said[-1].startswith("This page is out of date")


def test_the_prompt_that_a_clip_has_anyway_follows_the_form(sitting, monkeypatch):
    at = sitting(clips=2)
    now = replace(at.state, clips=3, prompts=("one", "two", "three"))
    monkeypatch.setattr(desk, "of_form", lambda *_: now)
    after = at.desk.drop.click.return_value.then.call_args_list[1]
    noted = after.args[0](at.state, at.state.stamp, "")
    assert noted.keys() <= {*after.args[2]}
    assert noted[at.desk.row_prompt] == {"placeholder": "one"}, "what was typed stays"


def test_a_copy_has_a_seed_of_its_own(sitting):
    at = sitting("[1]\nprompt = a kite\nseed = 7\nsteps = 5")
    at.do(at.desk.copy.click)
    assert at.state.board == parse("[1]\nprompt = a kite\nseed = 7\nsteps = 5\n"
                                   "[2]\nprompt = a kite\nsteps = 5") and at.state.chosen == 1


def test_a_video_keeps_a_clip_and_gets_no_more_than_can_be(sitting):
    at = sitting("[1]\nprompt = one", clips=1)
    at.do(at.desk.remove.click, alone=True)
    assert at.gradio.said == ["A video has at least one clip."]
    at = sitting("[1500]\nprompt = the last", clips=1500)
    for event in (at.desk.add.click, at.desk.copy.click):
        at.do(event)
        assert at.gradio.said.pop() == "A video has at most 1,500 clips. Remove one first."
    assert at.state.clips == 1500


def test_a_start_image_that_is_added_is_the_one_that_is_judged(sitting):
    at = sitting()
    _, images, _ = at.desk.start.upload.call_args.args[0]("black.png", {"image_end": False})
    assert images == {"image_start": "black.png", "image_end": False}


# ---------------------------------------------------------------------------------- the same seed

@pytest.mark.parametrize(("text", "base", "said"), [
    ("[1-3]\nseed = 5", -1, "clips 1, 2 and 3 have the same seed, 5, so they start from the same"),
    ("[1]\nseed = 5\n[5]\nseed = 5", None, "clips 1 and 5 have"), ("[1-9]\nprompt = one", 5, ""),
    ("[3]\nseed = 5", 5, "clips 1 and 3 have"), ("[3]\nseed = 5", -1, ""),
    ("[2]\nseed = 47", 5, ""), ("[3]\nseed = 47", 5, "clips 2 and 3 have"),
    ("[all]\nseed step = 1\n[3]\nseed = 6", 5, "clips 2 and 3 have"),
    ("[1]\nseed = 5\n[6]\nseed = 5", -1, ""), ("[3]\nseed = 5", "five", "")])
def test_clips_that_have_one_seed_are_named(text, base, said):
    found = of_rows.same_seed(parse(text), 5, base)
    assert found.startswith(said) and bool(found) == bool(said)


def test_the_desk_and_a_run_say_that_clips_have_one_seed(wgp):
    assert wgp.generate(prepared(settings("shot", 3, seed=5), ""))
    staged = replace(desk.of_run(wgp.run, 0), text="[3]\nseed = 5")
    assert "Clips 1 and 3 have the same seed, 5" in desk.noted(staged, wgp.run).notes[1]


# --------------------------------------------------------------------------- of the whole video

def test_pro_starts_from_more_latents_if_it_is_asked_to(wgp):
    clips = []
    wgp.pipe.before = lambda window: clips.append(wgp.pipe.svi.clip) or True
    asked = prepared(settings("2.0-pro", 3, sliding_window_overlap=9,
                              video_length=chain.length(3, 9)), "[all]\nmotion latents = 2")
    assert prepare(asked["model_type"], {}, dict(asked)) == "" and wgp.generate(asked)
    assert [None if clip.previous_latents is None else clip.previous_latents.shape[1]
            for clip in clips] == [None, 2, 2]
    assert len(loop.shown(wgp)) == chain.length(3, 9) == 225
    assert write(parse("[all]\nmotion latents = 2")) == "[all]\nmotion latents = 2\n"
    again = resuming.extended(wgp.run, 1)
    assert again["sliding_window_overlap"] == 9 and again["video_length"] == chain.length(4, 9)
    with pytest.raises(SettingsError, match="SVI-Shot chains frames"):
        prepared(settings("shot", 2), "[all]\nmotion latents = 2")
    with pytest.raises(SettingsError, match="from 1 to 5"):
        prepared(settings("2.0-pro", 2), "[all]\nmotion latents = 6")


def test_guidance_is_for_every_phase_and_what_wangp_lacks_is_said():
    plan = Plan(VARIANTS["2.0"], (), board=parse("[1]\nguidance = 2\n[2]\nsteps = 3"))
    image = torch.zeros(3, 16, 16)
    first, second = (Clip(plan, number, 2, 7, image, image[:, None]) for number in range(2))
    given = {"guide_scale": 5, "guide2_scale": 4, "guide3_scale": 3}
    assert first.keywords(given) == dict.fromkeys(given, 2)
    with pytest.raises(LookupError, match="this WanGP's generate has no sampling_steps"):
        second.keywords(given)


@pytest.mark.parametrize(("id", "number", "kept"), [
    ("shot", 0, 1), ("shot", 1, 1), ("film", 1, 2), ("2.0", 1, 2), ("2.0-wan22", 1, 1),
    ("2.0-pro", 0, 1), ("2.0-pro", 1, 2)])
def test_motion_changes_neither_what_is_kept_nor_the_end(monkeypatch, id, number, kept):
    dice, videos = torch.Generator(), []

    def encode(pipe, video, **_):
        videos.append(video.clone())
        return torch.randn(16, (video.shape[1] - 1) // 4 + 1, 2, 2,
                           generator=dice.manual_seed(video.shape[1]))
    monkeypatch.setattr(vae, "encode", encode)
    variant, image = VARIANTS[id], torch.ones(3, 16, 16)
    frames = torch.zeros(3, variant.overlap if number else 1, 16, 16)
    latents = torch.randn(16, 3, 2, 2) if number and variant.pro else None
    for end, last in ((None, 21), (image, 20)):
        clip = Clip(Plan(variant, ()), number, 2, 7, image, frames, latents, end=end)
        still, clip.motion = encoding.encode(None, clip, torch.zeros(3, 81, 16, 16), 0), 1.5
        moving = encoding.encode(None, clip, torch.zeros(3, 81, 16, 16), 0)
        differs = [at for at in range(21) if not torch.equal(still[:, at], moving[:, at])]
        assert differs == list(range(kept, last))
        if variant.pro:
            assert still[:, -1].any() == (end is not None)
        else:  # as the authors' code for Wan 2.2, grey up to an end image
            padding, shown = videos[-1][:, 10:-1], videos[-1][:, -1]
            grey = id == "film" or id == "2.0-wan22" and end is not None
            assert padding.eq(0).all() if grey else padding.eq(1).all()
            assert shown.eq(0 if end is None and grey else 1).all()
