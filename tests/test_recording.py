"""Clips on their way to the disk and the video that grows from them, in a stand-in
for WanGP's loop (loop.py)."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import videos
from held import held as held_files
from kills import killed, needs_fork
from loop import KINDS, SIDE, WanGP, in_one_go, of_pieces, settings, shown

from wan2gp_svi import chain
from wan2gp_svi.drift.layout import provenance
from wan2gp_svi.files import UNFINISHED
from wan2gp_svi.runs import video as video_module
from wan2gp_svi.runs.state import (
    State,
    in_words,
    is_running,
    is_stopping,
    keep_running,
    pauses,
    seconds_a_clip,
    state,
)
from wan2gp_svi.runs.store import STOP, room, room_beside
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import matching, resuming, stop_button
from wan2gp_svi.wangp.pipeline import current_clip
from wan2gp_svi.wangp.recorder import Recording

Whole = Callable[..., np.ndarray]


@pytest.fixture
def wgp(tmp_path: Path) -> WanGP:
    return WanGP(_made(tmp_path / "Meine Videos ü"))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture
def whole(tmp_path: Path) -> Whole:
    """The frames of the same settings in one go."""
    return lambda asked: in_one_go(_made(tmp_path / "in one go"), asked)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def fail_at(wgp: WanGP, window: int, how: str = "error") -> None:
    """From now on the pipeline runs out of memory, or the user aborts, at a window."""
    def before(at: int) -> bool:
        if at == window and how == "error":
            raise torch.OutOfMemoryError("VRAM")
        return at != window

    wgp.pipe.before = before


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many bytes are free."""
    return lambda free: monkeypatch.setattr(shutil, "disk_usage",
                                            lambda path: SimpleNamespace(free=free))


def after(wgp: WanGP, window: int, press: Callable[[], object]) -> None:
    """The user presses something just after a window was saved."""
    def tag(path: str, configs: dict) -> None:
        if configs.get("window_no") == window:
            press()

    wgp.tag = tag


def unfinished(wgp: WanGP) -> list[Path]:
    return list(wgp.folder.rglob(f"*{UNFINISHED}*"))


def recover(wgp: WanGP) -> None:
    wgp.pipe.before = lambda window: True


# -------------------------------------------------------------------------------------- a whole run

@pytest.mark.parametrize("id", KINDS)
def test_a_run_of_four_clips_is_its_pieces_and_every_frame_is_encoded_once(wgp: WanGP, id: str):
    assert wgp.generate(settings(id, 4))
    run, frames = wgp.run, chain.length(4, VARIANTS[id].overlap)
    assert len(run.done()) == 4 and wgp.made == [1, 2, 3, 4]
    assert np.array_equal(shown(wgp), of_pieces(run))
    assert len(shown(wgp)) == video_module.count_frames(wgp.video) == frames
    assert wgp.writer.frames == frames
    assert run.about.video == str(wgp.video) and wgp.gen["file_list"] == [str(wgp.video)]


@pytest.mark.parametrize("id", KINDS)
def test_the_video_is_what_it_was_before_there_were_pieces(
        wgp: WanGP, id: str, monkeypatch: pytest.MonkeyPatch):
    assert wgp.generate(settings(id, 3))
    # the frames stay in WanGP's list
    monkeypatch.setattr("wan2gp_svi.wangp.matching.begin", lambda *_: None)
    other = WanGP(_made(wgp.folder / "list"))
    assert other.generate(settings(id, 3))
    assert np.array_equal(shown(wgp), shown(other)) and other.most_in_memory > 81


def test_no_more_than_one_clip_is_in_memory(wgp: WanGP):
    assert wgp.generate(settings("film", 4))
    assert wgp.most_in_memory == 81


def test_with_svi_off_the_list_is_wangps_own(wgp: WanGP):
    assert wgp.generate(settings("shot", 3, activated_loras=["other.safetensors"]))
    assert all(type(frames) is list for frames in wgp.lists) and wgp.lists[-1] is wgp.lists[0]
    assert not wgp.store.folder.exists() and wgp.most_in_memory == 241
    assert [frames.shape[1] for _, frames in wgp.writer.given] == [81, 161, 241]
    assert (all(Path(path).exists() for path in wgp.gen["file_list"])
            and len(wgp.gen["file_list"]) == 3)


def test_a_list_of_wangps_own_passes_through_beside_a_run(wgp: WanGP):
    assert wgp.generate(settings("shot", 1))
    wgp.forget()
    path = wgp.folder / "other.mp4"
    frames = torch.zeros(3, 4, SIDE, SIDE, dtype=torch.uint8)
    wgp.save_video([frames, frames], str(path), 16, "libx264_10", nrow=1)
    assert ([frames.shape[1] for _, frames in wgp.writer.given] == [8]
            and len(videos.read(path)) == 8)


def test_a_caller_that_wants_the_frames_gets_them_all(wgp: WanGP):
    assert wgp.generate(settings("film", 3, api_return_video_uint8=True))
    frames = torch.cat(wgp.artifact or [], dim=1).movedim(0, -1).numpy()
    assert np.array_equal(frames, shown(wgp)) and wgp.writer.frames == len(frames)


def test_the_metadata_say_how_the_video_was_made_and_stay_in_it(wgp: WanGP):
    mutagen = pytest.importorskip("mutagen.mp4")
    assert wgp.generate(settings("shot", 3))
    configs, = wgp.gen["file_settings_list"]
    made = provenance(configs)
    assert made["run"] == wgp.run.name and made["seeds"] == [7, 49, 91]
    assert mutagen.MP4(wgp.video)["\xa9cmt"] == [str(configs)]


@pytest.mark.parametrize("floats", ["kept", "cut"])
@pytest.mark.parametrize("id", ["film", "2.0-wan22"])
def test_frames_that_are_floats_are_resumed_too(wgp: WanGP, tmp_path: Path, id: str, floats: str):
    other = WanGP(_made(tmp_path / "in one go"))
    wgp.pipe.floats = other.pipe.floats = floats
    assert other.generate(settings(id, 3))
    fail_at(wgp, 3)
    wgp.generate(settings(id, 3))
    recover(wgp)
    assert wgp.generate(settings(id, 3)) and wgp.made == [1, 2, 3, 3]
    assert np.array_equal(shown(wgp), shown(other))


@pytest.mark.parametrize("floats", ["kept", "cut"])
def test_frames_that_are_floats_and_were_not_saved_are_encoded_as_they_would_have_been(
        wgp: WanGP, tmp_path: Path, floats: str):
    other = WanGP(_made(tmp_path / "in one go"))
    wgp.pipe.floats = other.pipe.floats = floats
    assert other.generate(settings("2.0", 3))
    wgp.writer.before = lambda path: not path.name.startswith("0002")
    wgp.generate(settings("2.0", 3))
    made = len(wgp.made)
    wgp.writer.before = lambda path: True
    assert wgp.generate(settings("2.0", 3)) and wgp.made[made:] == [1, 2, 3][made:]
    assert np.array_equal(shown(wgp), shown(other))


# ------------------------------------------------------------------------------------------- resume

TWICE, GRAIN = {"temporal_upsampling": "rife2"}, {"film_grain_intensity": 0.1}


@pytest.mark.parametrize("id", KINDS)
@pytest.mark.parametrize(("how", "post"),
                         [("error", {}), ("error", TWICE | GRAIN), ("abort", TWICE)],
                         ids=["error", "error, twice the frames and grain",
                              "abort, twice the frames"])
def test_the_same_settings_again_resume_with_the_same_frames(
        wgp: WanGP, whole: Whole, id: str, how: str, post: dict):
    asked = settings(id, 4, **post)
    expected = whole(asked)
    for after in (1, 3):
        fail_at(wgp, after + 1, how)
        assert wgp.generate(asked) is (how == "abort")
        run, = wgp.store.runs()
        assert run.about.ended == ("stopped" if how == "abort" else "OutOfMemoryError: VRAM")
        assert len(run.done()) == after and np.array_equal(shown(wgp), expected[: len(shown(wgp))])
    recover(wgp)
    wgp.forget()
    assert wgp.generate(asked) and wgp.made == [4]
    run, = wgp.store.runs()
    assert np.array_equal(shown(wgp), expected) and np.array_equal(of_pieces(run), expected)
    assert run.about.ended == "finished" and len(wgp.gen["file_list"]) == 1


def test_the_log_says_what_an_abort_leaves(wgp: WanGP, capsys: pytest.CaptureFixture):
    for at, said in ((1, ""), (3, "aborted in clip 3: 2 clips are kept, and resuming makes clip")):
        fail_at(wgp, at, "abort")
        assert wgp.generate(settings("shot", 4))
        out = capsys.readouterr().out
        assert said in out and ("aborted" in out) is bool(said)
        wgp.forget()


@pytest.mark.parametrize(("how", "ended"), [("abort", "stopped"),
                                            ("error", "OutOfMemoryError: VRAM")])
def test_a_run_that_ends_in_its_first_clip_says_why(wgp: WanGP, how: str, ended: str):
    fail_at(wgp, 1, how)
    wgp.generate(settings("shot", 2))
    run, = wgp.store.runs()
    assert run.about.ended == ended and not run.done()
    recover(wgp)
    wgp.forget()
    assert wgp.generate(settings("shot", 2)) and wgp.made == [1, 2]


def test_an_early_stop_gives_a_whole_video_and_can_be_resumed(wgp: WanGP, whole: Whole):
    asked = settings("film", 4, **TWICE)
    expected = whole(asked)
    assert wgp.generate(asked | {"stop_after": 2})
    first = wgp.video
    assert len(shown(wgp)) == 2 * chain.length(2, 5) - 1 == len(of_pieces(wgp.run))
    wgp.forget()
    assert wgp.generate(asked) and wgp.made == [3, 4]
    assert np.array_equal(shown(wgp), expected) and wgp.video == first


@pytest.mark.parametrize("id", KINDS)
def test_a_stopped_run_grows_in_its_video_and_a_finished_video_stays(
        wgp: WanGP, whole: Whole, id: str):
    asked = settings(id, 3, prompt="one")
    for clips in (1, 2, 3):
        assert wgp.generate(asked | {"stop_after": clips})
    finished, frames = wgp.video, shown(wgp)
    assert [*wgp.folder.glob("*.mp4")] == [finished]
    for longer, clips in ((lambda run: resuming.extended(run, 2), 4), (resuming.resumed, 5)):
        assert wgp.generate(longer(wgp.run) | {"stop_after": clips}), wgp.error
    assert {*wgp.folder.glob("*.mp4")} == {finished, wgp.video}
    assert wgp.video == Path(wgp.run.about.video) != finished
    assert np.array_equal(videos.read(finished), frames)
    assert np.array_equal(shown(wgp), whole(settings(id, 5, prompt="one")))


@pytest.mark.parametrize("by_board", [False, True])
def test_a_stop_is_under_way_until_its_clip_is_saved(wgp: WanGP, monkeypatch, by_board: bool):
    asked, seen, real = settings("shot", 4), [], Recording.save
    if by_board:
        asked["custom_settings"] = {"svi_storyboard": "[all]\npause = yes"}
    told: list[str] = []
    wgp.at_window = lambda window: (
        not by_board and window == 2 and (wgp.run.folder / STOP).touch())
    wgp.pipe.before = lambda window: told.append(
        in_words(wgp.run, State.RUNNING, wgp.run.done())) or True

    def save(self: Recording, *arguments: Any, **options: Any) -> Any:
        if is_stopping(self.run):  # as the button does, while the clip is being saved
            seen.append(keep_running(self.run))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Recording, "save", save)
    wgp.generate(asked)
    assert wgp.made == [1, 2][:2 - by_board] and wgp.run.about.ended == State.STOPPED
    assert seen == [f"Run {wgp.run.name} stops now: its clip is made, and is being saved."]
    assert not is_stopping(wgp.run) and not (wgp.run.folder / STOP).exists()
    assert told[0] == "running: clip 1 of 4" + ", then it stops" * by_board
    assert not pauses(wgp.run)


@pytest.mark.parametrize(("at", "said"), [
    (1, "The 2 other videos of its job are not made either."),
    (2, "The 1 other video of its job is not made either."), (3, "resume it at any time.")])
def test_a_stop_ends_its_job_and_says_so(
        wgp: WanGP, capsys: pytest.CaptureFixture, at: int, said: str):
    presses: list[str] = []

    def press(window: int) -> None:
        if window == 2 and wgp.gen["repeat_no"] == at:
            presses.append(stop_button.press(wgp.run, stop_button.STOP))

    wgp.at_window = press
    wgp.generate(settings("shot", 3, repeat_generation=3))
    assert len(presses) == 1 and presses[0].endswith(said)
    assert len([*wgp.store.runs()]) == at and wgp.run.about.ended == State.STOPPED
    log = capsys.readouterr().out
    assert ("WanGP also leaves out the" in log) == (at < 3)
    assert matching.others_after(wgp.run) == 0, "it is over"


def test_a_stop_in_the_last_clip_says_that_the_job_goes_on(wgp: WanGP):
    said: set[str] = set()
    wgp.at_window = lambda window: window == 2 and said.add(
        stop_button.press(wgp.run, stop_button.STOP).partition("it. ")[2])
    assert wgp.generate(settings("shot", 2, repeat_generation=2))
    assert said == {"Then its job goes on, with 1 other video.", ""}


def test_a_redo_that_stops_among_the_clips_that_it_keeps_says_how_many_there_are(
        wgp: WanGP, capsys: pytest.CaptureFixture):
    assert wgp.generate(settings("shot", 4))
    again = resuming.redone(wgp.run, 4, "a boat")
    wgp.forget()
    wgp.at_window = lambda window: (wgp.run.folder / STOP).touch() if window == 2 else None
    wgp.generate(again)
    assert wgp.made == [] and len(wgp.run.done()) == 3 and wgp.run.about.ended == State.STOPPED
    assert "stopped after clip 3, as asked." in capsys.readouterr().out
    rest, wgp.at_window = resuming.resumed(wgp.run), lambda window: None
    wgp.forget()
    assert wgp.generate(rest) and wgp.made == [4]
    assert len(shown(wgp)) == chain.length(4, VARIANTS["shot"].overlap)


def test_a_run_that_is_asked_to_stop_makes_its_clip_and_can_be_resumed(
        wgp: WanGP, whole: Whole, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    running, begin = [], Recording.begin
    monkeypatch.setattr(Recording, "begin", lambda self, *given: (
        begin(self, *given), running.append(is_running(self.run)))[0])
    wgp.at_window = lambda window: (wgp.run.folder / STOP).touch() if window == 2 else None
    wgp.generate(settings("film", 4))
    assert wgp.made == [1, 2] and len(wgp.run.done()) == 2 and wgp.run.about.ended == State.STOPPED
    assert len(shown(wgp)) == chain.length(2, VARIANTS["film"].overlap)
    assert running == [True, True, False], "it has stopped when WanGP goes on to the next window"
    assert "stopped after clip 2, as asked. To resume, press Generate again.\n" in (
        capsys.readouterr().out)
    wgp.at_window = lambda window: None
    wgp.forget()
    assert wgp.generate(settings("film", 4)) and wgp.made == [3, 4]
    assert np.array_equal(shown(wgp), whole(settings("film", 4)))


@pytest.mark.parametrize("changes", [{"seed": -1}, {"custom_settings": {"svi_run": "new"}}])
def test_a_stop_says_how_to_resume_where_generate_alone_would_make_another_run(
        wgp: WanGP, capsys: pytest.CaptureFixture, changes: dict):
    wgp.pipe.before = lambda window: (wgp.run.folder / STOP).touch() or True
    assert wgp.generate(settings("shot", 2) | changes)
    assert (f"stopped after clip 1, as asked. To resume, press Resume in the tab SVI, or set \"SVI "
            f"run\" to {wgp.run.name} and press Generate.\n") in capsys.readouterr().out
    recover(wgp)
    assert wgp.generate(settings("shot", 2) | changes) and len([*wgp.store.runs()]) == 2


@pytest.mark.parametrize("id", KINDS)
def test_a_window_added_after_the_last_follows_without_a_gap(wgp: WanGP, whole: Whole, id: str):
    def more(at: int) -> None:
        wgp.gen["extra_windows"] = int(at == 3)

    wgp.at_window = more
    assert wgp.generate(settings(id, 3, prompt="one")) and wgp.made == [1, 2, 3, 4]
    assert np.array_equal(shown(wgp), whole(settings(id, 4, prompt="one")))
    assert wgp.run.about.clips == 4


@pytest.mark.parametrize("id", ["film", "shot", "2.0-pro"])
def test_a_window_added_after_the_last_was_saved_keeps_what_was_shown(wgp: WanGP, id: str):
    overlap, asked = VARIANTS[id].overlap, settings(id, 2)
    after(wgp, 2, lambda: wgp.gen.update(extra_windows=1))
    assert wgp.generate(asked) and wgp.made == [1, 2, 3]
    expected = shown(wgp)
    assert len(expected) == chain.length(3, overlap) and np.array_equal(expected,
                                                                        of_pieces(wgp.run))
    after(wgp, 99, lambda: None)
    wgp.forget()
    assert wgp.generate(asked | {"video_length": chain.length(4, overlap)}) and wgp.made == [4]
    assert np.array_equal(shown(wgp)[: len(expected) - overlap],
                          expected[: len(expected) - overlap])
    assert len(shown(wgp)) == chain.length(4, overlap)


@pytest.mark.parametrize("id", ["film", "shot", "2.0-pro"])
def test_an_added_window_that_failed_is_made_with_the_same_seam(
        wgp: WanGP, tmp_path: Path, id: str):
    other = WanGP(_made(tmp_path / "in one go"))
    for one in (wgp, other):
        after(one, 2, partial(one.gen.update, extra_windows=1))
    assert other.generate(settings(id, 2))
    fail_at(wgp, 3)
    wgp.generate(settings(id, 2))
    recover(wgp)
    after(wgp, 99, lambda: None)
    assert wgp.generate(settings(id, 3)) and wgp.made == [1, 2, 3, 3]
    assert np.array_equal(shown(wgp), shown(other))


def test_a_run_with_an_added_window_resumes_as_if_never_interrupted(wgp: WanGP, tmp_path: Path):
    other = WanGP(_made(tmp_path / "in one go"))
    for one in (wgp, other):
        after(one, 2, partial(one.gen.update, extra_windows=1))
    other.at_window = lambda at: other.gen.update(extra_windows=int(at == 3))
    assert other.generate(settings("film", 2)) and other.made == [1, 2, 3, 4]
    assert wgp.generate(settings("film", 2)) and wgp.made == [1, 2, 3]
    after(wgp, 99, lambda: None)
    assert wgp.generate(settings("film", 4)) and wgp.made == [1, 2, 3, 4]
    assert [clip.tail_stays for clip in wgp.run.done()] == [False, True, False, False]
    assert np.array_equal(shown(wgp), shown(other))


@pytest.mark.parametrize(("how", "ended"), [("abort", State.STOPPED), ("error", State.FAILED)])
def test_an_extension_that_ends_in_its_first_clip_can_be_resumed(
        wgp: WanGP, whole: Whole, how: str, ended: State):
    assert wgp.generate(settings("shot", 2, prompt="one"))
    fail_at(wgp, 3, how)
    longer = resuming.extended(wgp.run, 3, ["two"])
    assert wgp.generate(longer) is (how == "abort")
    about, done = wgp.run.about, wgp.run.done()
    assert (len(done), about.clips, state(wgp.run, 2)) == (2, 5, ended)
    assert about.asked == longer["prompt"].split("\n\n")
    recover(wgp)
    assert wgp.generate(resuming.resumed(wgp.run)) and wgp.run.about.ended == "finished"
    assert np.array_equal(shown(wgp), whole(settings("shot", 5, prompt="one\n\none\n\ntwo")))


def test_an_extension_that_ends_before_its_first_clip_can_be_resumed(wgp: WanGP):
    assert wgp.generate(settings("shot", 2, prompt="one"))

    def crash(at: int) -> None:
        if at == 2:
            raise RuntimeError("a clip that the run has is handed out")

    wgp.at_window = crash
    with pytest.raises(RuntimeError):
        wgp.generate(resuming.extended(wgp.run, 1))
    assert (wgp.run.about.clips, wgp.run.about.ended) == (3, "")


def test_a_window_added_to_a_finished_run_can_be_resumed_if_it_is_aborted(wgp: WanGP):
    after(wgp, 2, partial(wgp.gen.update, extra_windows=1))
    fail_at(wgp, 3, "abort")
    assert wgp.generate(settings("shot", 2))
    assert (len(wgp.run.done()), wgp.run.about.clips, wgp.run.about.ended) == (2, 3, "stopped")


def test_two_on_one_run_and_the_second_is_refused(wgp: WanGP, capsys: pytest.CaptureFixture):
    other = WanGP(wgp.folder)

    def second(at: int) -> None:
        if at != 2:
            return
        run, before = wgp.run, {path: path.read_bytes() for path in wgp.run.folder.iterdir()}
        named = settings("shot", 3, custom_settings={"svi_run": run.name},
                         prompt="one\n\ntwo\n\nthree")
        assert not other.generate(named)
        assert f"Run {run.name} is running in another WanGP" in other.error
        assert {path: path.read_bytes() for path in run.folder.iterdir()} == before

    wgp.at_window = second
    assert wgp.generate(settings("shot", 3)) and len(wgp.run.done()) == 3
    assert wgp.run.lock()() is None


def test_the_same_settings_in_a_second_wangp_are_a_new_run(
        wgp: WanGP, capsys: pytest.CaptureFixture):
    other = WanGP(wgp.folder)

    def second(at: int) -> None:
        if at == 2:
            other.generate(settings("shot", 2))

    wgp.at_window = second
    assert wgp.generate(settings("shot", 3)) and other.made == [1, 2]
    assert ("is running in another WanGP" in capsys.readouterr().out
            and len(list(wgp.store.runs())) == 2)


# ------------------------------------------------------------------------------------------- faults

def test_a_full_disk_is_said_before_the_clip_and_nothing_is_lost(
        wgp: WanGP, whole: Whole, disk: Callable):
    asked = settings("shot", 3)
    disk(2**40)
    expected = whole(asked)
    wgp.at_window = lambda at: disk(201 * 10**6 if at == 3 else 2**40)
    assert not wgp.generate(asked)
    assert ("The disk is nearly full: clip 3 needs about" in wgp.error
            and "to resume at clip 3." in wgp.error)
    run, = wgp.store.runs()
    assert run.about.ended == "the disk was nearly full"
    run.lock()()  # nobody has it any more
    wgp.at_window = lambda at: disk(2**40)
    assert wgp.generate(asked) and wgp.made == [1, 2, 3] and np.array_equal(shown(wgp), expected)
    assert not unfinished(wgp) and len(list(wgp.store.runs())) == 1


def test_a_disk_too_small_for_the_clips_to_come_is_said_at_the_first(wgp: WanGP, disk, capsys):
    spare = 200 * 2**20 + room_beside([], SIDE * SIDE)
    disk(spare + room([], SIDE * SIDE))
    assert wgp.generate(settings("shot", 1)) and "has room" not in capsys.readouterr().out
    disk(spare + 3 * room([], SIDE * SIDE))
    wgp.generate(settings("shot", 4, seed=8))
    assert "the disk has room for about 3 of the 4 clips to come" in capsys.readouterr().out


def test_a_disk_too_small_for_the_first_clip_makes_nothing(wgp: WanGP, disk):
    disk(10**6)
    assert not wgp.generate(settings("shot", 4))
    assert "clip 1 needs about" in wgp.error and wgp.made == []


@pytest.mark.parametrize("fault", ["raises", "nothing", "half"])
@pytest.mark.parametrize("clip", [
    1,
    2, 3])
def test_an_encoder_that_fails_ends_the_video_and_loses_no_clip(
        wgp: WanGP, whole: Whole, clip: int, fault: str, capsys: pytest.CaptureFixture):
    asked = settings("film", 3)
    expected = whole(asked)

    def before(path: Path) -> bool:
        if not path.name.startswith(f"000{clip}."):
            return True
        if fault == "raises":
            raise OSError(28, "No space left on device")
        if fault == "half":
            videos.write(path, videos.noise(40, side=16), videos.EXACT)
        return False

    wgp.writer.before = before
    wgp.generate(asked)
    assert "cannot be written" in wgp.error + capsys.readouterr().out
    assert [len(run.done()) for run in wgp.store.runs()] == [clip - 1]
    made = len(wgp.made)
    wgp.writer.before = lambda path: True
    wgp.forget()
    assert wgp.generate(asked), wgp.error
    assert wgp.made == [1, 2, 3][made:], "what was made is not made again"
    assert np.array_equal(shown(wgp), expected) and not unfinished(wgp)


def test_a_clip_says_how_long_it_took_to_make_and_no_break_counts(wgp: WanGP):
    def slowly(window: int) -> bool:
        time.sleep(0.2)
        return True

    asked, wgp.pipe.before = settings("shot", 3), slowly
    assert wgp.generate(asked | {"stop_after": 1})
    wgp.writer.before = lambda path: not path.name.startswith("0003.")
    wgp.generate(asked)
    wgp.writer.before = lambda path: True
    time.sleep(1)
    wgp.forget()
    assert wgp.generate(asked), wgp.error
    first, second, saved_later = (clip.seconds for clip in wgp.run.done())
    assert 0.2 <= first < 1 and 0.2 <= second < 1 and saved_later == 0
    assert seconds_a_clip(wgp.run.done()) == min(first, second)


def test_nothing_is_written_after_a_clip_that_could_not_be(
        wgp: WanGP, capsys: pytest.CaptureFixture):
    asked = settings("film", 4)
    wgp.pipe.patient = False

    def fail_late(path: Path) -> bool:
        second = path.name.startswith("0002")
        time.sleep(0.2 * second)
        return not second

    wgp.writer.before = fail_late
    wgp.generate(asked)
    assert "cannot be written" in wgp.error + capsys.readouterr().out
    current = current_clip(wgp.pipe)
    assert current and current.video.recording
    current.video.recording.wait()
    assert len(wgp.run.done()) == 1 and wgp.run.clip(2) is None and len(shown(wgp)) == 76


def test_a_slow_encoder_keeps_neither_clips_in_memory_nor_loses_one(wgp: WanGP, whole: Whole):
    asked = settings("shot", 4)
    expected = whole(asked)
    wgp.pipe.patient = False
    encoded: list[int] = []
    behind: list[int] = []

    def slowly(path: Path) -> bool:
        time.sleep(0.1)
        encoded.append(int(path.name[:4]))
        return True

    wgp.writer.before = slowly
    wgp.tag = lambda *_: behind.append(len(wgp.made) - len(encoded))
    assert wgp.generate(asked) and np.array_equal(shown(wgp), expected)
    assert max(behind) <= 1


def test_the_video_does_not_grow_while_wangp_writes_its_metadata(
        wgp: WanGP, monkeypatch: pytest.MonkeyPatch):
    growing, clashes = threading.Event(), []

    def slowly(*arguments: Any, **options: Any) -> None:
        growing.set()
        time.sleep(0.05)
        real(*arguments, **options)
        growing.clear()

    real = video_module.join
    monkeypatch.setattr(video_module, "join", slowly)
    wgp.tag = lambda *_: clashes.append(growing.wait(0.1))
    wgp.pipe.patient = False  # as when a clip is made faster than the one before it is encoded
    assert wgp.generate(settings("shot", 4)) and not any(clashes)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Files that a player keeps from being replaced; the video does not wait for it."""
    clock = SimpleNamespace(sleep=lambda seconds: None, monotonic=time.monotonic)
    monkeypatch.setattr(video_module, "time", clock)
    return held_files(monkeypatch)


def test_a_player_that_holds_the_video_delays_it_until_a_later_clip(
        wgp: WanGP, whole: Whole, held: set[Path], capsys: pytest.CaptureFixture):
    expected, lengths = whole(settings("shot", 5)), []

    def play(at: int) -> None:
        if at > 1:
            lengths.append(len(shown(wgp)))
            held.add(wgp.video)
        if at == 5:
            held.clear()

    wgp.at_window = play
    assert wgp.generate(settings("shot", 5)) and np.array_equal(shown(wgp), expected)
    assert lengths == [80] * 4 and capsys.readouterr().out.count("cannot be updated now") == 1
    assert len([*wgp.folder.glob("*.mp4")]) == 1 == len(wgp.gen["file_list"])


def test_a_player_that_holds_the_video_to_its_end_gets_a_second_file_beside_it(
        wgp: WanGP, whole: Whole, held: set[Path], capsys: pytest.CaptureFixture):
    asked = settings("film", 3)
    expected = whole(asked)
    wgp.at_window = lambda at: held.update(map(Path, wgp.gen["file_list"]))
    assert wgp.generate(asked) and not wgp.error
    first, second = map(Path, wgp.gen["file_list"])
    assert second == first.with_stem(f"{first.stem}-2")
    assert np.array_equal(videos.read(second), expected)
    assert np.array_equal(videos.read(first), expected[:76])
    assert wgp.run.about.video == str(second) and wgp.run.about.ended == State.FINISHED
    assert f"so the whole video is {second}" in capsys.readouterr().out


def test_a_run_that_fails_while_a_player_holds_the_video_resumes_in_the_second_file(
        wgp: WanGP, whole: Whole, held: set[Path]):
    asked = settings("shot", 4)
    expected = whole(asked)
    wgp.at_window = lambda at: held.update(map(Path, wgp.gen["file_list"]))
    fail_at(wgp, 4)
    assert not wgp.generate(asked) and len(wgp.run.done()) == 3
    second = Path(wgp.run.about.video)
    assert second.stem.endswith("-2") and np.array_equal(videos.read(second), expected[:240])
    wgp.at_window = lambda at: None
    recover(wgp)
    assert wgp.generate(asked) and wgp.video == second and np.array_equal(shown(wgp), expected)


def test_a_record_that_somebody_reads_delays_nothing_and_is_written_later(
        wgp: WanGP, whole: Whole, held: set[Path], capsys: pytest.CaptureFixture):
    expected = whole(settings("shot", 4))

    def read(at: int) -> bool:
        held.clear()
        if at < 3:
            held.add(wgp.run.folder / "run.json")
        return True

    wgp.pipe.before = read
    assert wgp.generate(settings("shot", 4)) and not wgp.error
    assert np.array_equal(shown(wgp), expected) and wgp.made == [1, 2, 3, 4]
    about = wgp.run.about
    assert about.ended == State.FINISHED and about.video == str(wgp.video) and about.settings
    assert capsys.readouterr().out.count("cannot be written now") == 1


def test_a_stop_that_somebody_reads_stops_the_run(wgp: WanGP, held: set[Path]):
    def ask(at: int) -> None:
        if at == 2:
            (wgp.run.folder / STOP).write_bytes(b"")
            held.add(wgp.run.folder / STOP)

    wgp.at_window = ask
    assert not wgp.generate(settings("shot", 4)) or len(wgp.run.done()) == 2
    assert not wgp.error and wgp.run.about.ended == State.STOPPED


def test_pieces_that_cannot_be_joined_now_end_nothing(
        wgp: WanGP, whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    expected, real, calls = whole(settings("shot", 4)), video_module.join, []

    def once_damaged(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise video_module.VideoError("0002.mp4 cannot be read: Permission denied")
        real(*arguments, **options)

    monkeypatch.setattr(video_module, "join", once_damaged)
    assert wgp.generate(settings("shot", 4)) and np.array_equal(shown(wgp), expected)
    assert "cannot be updated now (0002.mp4 cannot be read" in capsys.readouterr().out


def test_a_disk_that_is_full_while_the_video_grows_ends_neither_run_nor_video(
        wgp: WanGP, whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    asked = settings("shot", 4)
    expected, real, calls = whole(asked), video_module.join, []

    def full(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(*arguments, **options)

    monkeypatch.setattr(video_module, "join", full)
    assert wgp.generate(asked) and np.array_equal(shown(wgp), expected) and len(calls) == 4
    assert "cannot be updated now (No space left on device)" in capsys.readouterr().out


def test_damage_in_the_middle_is_fixed_and_what_follows_is_used_again(
        wgp: WanGP, capsys: pytest.CaptureFixture):
    asked = settings("film", 4)
    assert wgp.generate(asked)
    run, expected = wgp.run, shown(wgp)
    piece = run.path(1, ".mp4")
    piece.write_bytes(piece.read_bytes()[:-100])
    assert [clip.number for clip in run.done()] == [0]
    wgp.forget()
    assert wgp.generate(asked) and wgp.made == [2]
    assert f"clip 2 of run {run.name} is damaged: 0002.mp4 has" in capsys.readouterr().out
    assert np.array_equal(shown(wgp), expected) and np.array_equal(of_pieces(run), expected)


def test_a_state_with_a_flipped_bit_is_made_again(wgp: WanGP, capsys: pytest.CaptureFixture):
    asked = settings("2.0-pro", 3)
    fail_at(wgp, 3)
    wgp.generate(asked)
    state = wgp.run.path(1, ".safetensors")
    data = bytearray(state.read_bytes())
    data[-9] ^= 1
    state.write_bytes(data)
    recover(wgp)
    wgp.forget()
    assert wgp.generate(asked), wgp.error
    assert wgp.made == [2, 3]


@pytest.mark.parametrize("id", ["film", "2.0-pro"])
def test_other_containers_are_joined_without_encoding(wgp: WanGP, whole: Whole, id: str):
    asked = settings(id, 3)
    expected = whole(asked)
    wgp.server["video_container"] = "mkv"
    fail_at(wgp, 3)
    wgp.generate(asked)
    recover(wgp)
    assert wgp.generate(asked) and wgp.video.suffix == ".mkv" and wgp.made == [1, 2, 3, 3]
    assert np.array_equal(shown(wgp), expected) and wgp.writer.frames == len(expected)


def test_sound_is_laid_under_the_whole_video(wgp: WanGP, whole: Whole, tmp_path: Path):
    asked = settings("film", 3)
    expected = whole(asked)
    sound = tmp_path / "sound.wav"
    videos.ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000", "-t", 30, sound)
    fail_at(wgp, 3)
    wgp.generate(asked | {"audio_source": str(sound)})
    recover(wgp)
    assert wgp.generate(asked | {"audio_source": str(sound)}) and wgp.made == [1, 2, 3, 3]
    assert np.array_equal(shown(wgp), expected) and wgp.writer.frames == len(expected)
    assert "Audio: aac" in videos.about(wgp.video) and not list(wgp.folder.glob("*_tmp*"))


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, list[int]]]:
    """A run of three clips that is killed at any one of its operations: how many clips were done
    then, and which were made when the button was pressed again. Whatever was there was whole, and
    the frames are the same."""
    asked, folder, seen = settings("film", 3), tmp_path_factory.mktemp("kills"), []
    expected = in_one_go(_made(folder / "in one go"), asked)
    for at in range(1, 200):
        wgp = WanGP(_made(folder / str(at)))
        if not killed(partial(wgp.generate, asked), at, under=wgp.folder):
            break
        runs = list(wgp.store.runs())
        done = runs[0].done() if runs else []
        for clip in done:
            assert runs[0].state(clip)
        for video in wgp.folder.glob("*.mp4"):
            if UNFINISHED not in video.name:
                begun = videos.read(video)
                assert len(begun) and np.array_equal(begun,
                                                     expected[: len(begun)]), f"operation {at}"
        assert wgp.generate(asked) and np.array_equal(shown(wgp), expected), f"operation {at}"
        seen.append((len(done), wgp.made))
    return seen


@needs_fork
def test_killed_at_any_operation_the_frames_are_the_same(kills: list[tuple[int, list[int]]]):
    assert len(kills) > 40 and {done for done, _ in kills} == {0, 1, 2, 3}
    assert all(made == [1, 2, 3][3 - len(made):] and len(made) in (3 - done, 2 - done)
               for done, made in kills if done < 3)
    # made, and killed before it was encoded
    assert {(0, 2), (1, 1), (2, 0)} <= {(done, len(made)) for done, made in kills}


@needs_fork
def test_killed_right_after_the_first_clip_it_is_not_made_again(kills: list[tuple[int, list[int]]]):
    assert all(1 not in made for done, made in kills if done == 1)


@needs_fork
def test_killed_after_the_last_clip_the_video_is_put_together_without_making_any_again(
        kills: list[tuple[int, list[int]]]):
    assert [made for done, made in kills if done == 3][0] == []
