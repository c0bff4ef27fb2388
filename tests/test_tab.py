"""What the SVI tab shows and does; tests/wangp/test_tab_in_wangp.py tests it in WanGP's page."""

from __future__ import annotations

import contextlib
import html
import io
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock
from urllib.parse import quote

import numpy as np
import pytest
import sounds
import torch
from PIL import Image

from wan2gp_svi import text
from wan2gp_svi import wangp as package
from wan2gp_svi.demo.in_wangp import finetune
from wan2gp_svi.drift import DriftError
from wan2gp_svi.install import Refused, loras
from wan2gp_svi.runs.record import About, Clip, StoreError
from wan2gp_svi.runs.state import (
    State,
    ask_to_stop,
    in_words,
    is_empty,
    keep_running,
    rename,
    seconds_left,
    state,
    stop_is_asked,
)
from wan2gp_svi.runs.store import PAUSES, STOP, STOPPING, Run, Store
from wan2gp_svi.storyboard import parse
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import own_tab, resuming, sound, stop_button, visitors
from wan2gp_svi.wangp.check import telling
from wan2gp_svi.wangp.form import SettingsError
from wan2gp_svi.wangp.plan import SMALL
from wan2gp_svi.wangp.tab import (
    actions,
    desk,
    doctor,
    helpers,
    lora_files,
    new_video,
    run_panel,
    tab,
    view,
)

HOME = Path(__file__).parents[1]
SETTINGS = {"model_type": "i2v", "sliding_window_overlap": 1, "multi_prompts_gen_type": "PW",
            "prompt": "one\n\ntwo",
            "video_length": 321, "seed": 7, "custom_settings": {"ref_pad_num": "3"}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "out puts").mkdir()
    return Store(tmp_path / "out puts/svi")


def make(store: Store, done: int = 2, **changes) -> Run:
    """A run of 4 clips, of which `done` are on disk."""
    about = About("shot", "SVI-Shot", 4, 7, 16.0, ["one", "two"], ["one", "two"], 1,
                  {"SVI seed step": 42}, SETTINGS)
    picture = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(picture, format="PNG")
    images = {"reference.png": picture.getvalue(), "start.png": picture.getvalue()}
    run = store.new(replace(about, **changes), images)
    for number in range(done):
        piece = run.path(number, ".mp4")
        piece.write_bytes(b"a video")
        run.add(Clip(number, ["one", "two"][min(number, 1)], 7 + 42 * number, 80, 1), [piece],
                {"m": torch.zeros(1)})
    return run


def finish(run: Run, name: str = "a boat.mp4") -> Path:
    video = run.folder.parents[1] / name
    video.write_bytes(b"a video")
    run.change(replace(run.about, video=str(video)))
    return video


# ----------------------------------------------------------------------------------------- the list

def test_a_row_says_what_a_run_is(store: Store):
    run = make(store)
    ((card,),), names = view.rows(store)
    assert names == [run.name]
    for said in ("<img src='data:image/jpeg;base64,", f"<b>{run.name}</b> SVI-Shot", "2 of 4 clips",
                 "10.1 s", "<b>failed: WanGP was closed, or its log says why</b>", "one",
                 text.size(run.size)):
        assert said in card
    assert view.length_of_next(view.look(run)) == "5.0 s"
    rename(run, " <my> storm ")
    assert f"<b>&lt;my&gt; storm ({run.name})</b>" in view.rows(store)[0][0][0]
    assert "### &#60;my&#62; storm: run" in view.summary(view.look(store.find(run.name)))
    rename(run, "")
    assert f"<b>{run.name}</b>" in view.card(view.look(run))


def test_an_aborted_run_has_given_up_the_last_frames_of_its_last_clip(store: Store):
    """A clip has them only if it was to be the last one."""
    for variant, tail, seconds in (("2.0", 0, "9.5 s"), ("2.0", 5, "9.8 s"),
                                   ("2.0-wan22", 0, "10.1 s")):
        run = make(store, 0, variant=variant, settings={
            **SETTINGS, "sliding_window_overlap": VARIANTS[variant].overlap})
        for number in range(2):
            piece, last = run.path(number, ".mp4"), number == 1
            piece.write_bytes(b"a video")
            (end := run.path(number, "-tail.mp4")).write_bytes(b"its end")
            run.add(Clip(number, "one", 7, 76, tail * last), [piece, end] if tail * last else
                    [piece], {"m": torch.zeros(1)})
        assert f"2 of 4 clips, {seconds}" in view.card(view.look(run)), (variant, tail)


def test_a_run_that_is_to_stop_announces_no_later_clip(store: Store):
    run = make(store, 2)
    for number in range(2):
        run.record(replace(run.done()[number], seconds=30.0))
    told = partial(in_words, run, State.RUNNING, run.done())
    assert re.fullmatch(r"running: clip 3 of 4, about [56]\d s left", told())
    (run.folder / STOP).touch()
    assert re.fullmatch(r"running: clip 3 of 4, then it stops, about (2\d|30) s left", told())
    (run.folder / STOP).replace(run.folder / STOPPING)
    stopping = "running: its last clip for now is made, and is being saved"
    assert told() == stopping
    (run.folder / STOPPING).replace(run.folder / STOP)  # asked for in the third clip of four
    run.change(replace(run.about, clips=3))
    assert told() == stopping


def test_what_continues_a_video_is_counted_without_it(store: Store):
    run = make(store)
    run.change(replace(run.about, settings={**run.about.settings, "image_prompt_type": "V"}))
    assert "2 of 4 clips, 10.0 s more" in view.card(view.look(run))


def test_while_the_first_clip_is_made_the_list_has_the_prompts_of_the_storyboard(store: Store):
    asks = ['{"prompt": "a kite rises", "seed": 5, "steps": 4}', "", '{"end image": "loop"}']
    run = make(store, 0, settings={}, asks=asks)
    assert resuming.gist(run) == "a kite rises"
    assert "a kite rises" in view.card(view.look(run))
    table = view.clips_table(view.look(run))
    assert "a kite rises" in table and ">5<" in table and "two" in table
    assert desk.of_run(run, 0).board == parse(
        "[1]\nprompt = a kite rises\nseed = 5\nsteps = 4\n[3]\nend image = loop")
    for odd in ("no JSON", '{"seed": "many"}', "[1]"):
        assert resuming.gist(make(store, 0, settings={}, asks=[odd])) == "one"


def test_a_redo_is_told_by_the_first_clip_that_it_makes_anew(store: Store):
    run = make(store)
    redo = store.fork(run, 1, replace(run.about, base=(run.name, 1)))
    assert resuming.gist(redo) == "From clip 2: two"
    assert "From clip 2: two" in view.card(view.look(redo))
    assert resuming.gist(make(store, base=["x", 2], repeat=2)) == "From clip 3: two"


def test_a_loop_is_as_long_as_its_video(store: Store):
    board = "[4]\nend image = loop"
    run = make(store, 4, settings={**SETTINGS, "custom_settings": {"svi_storyboard": board}})
    assert "4 of 4 clips, 20.0 s" in view.card(view.look(run))
    assert "20.0 s" in view.summary(view.look(run))
    assert view.length_of_next(view.look(run)) == "5.0 s"
    assert "4 clips, 20.0 s" in desk.of_run(run, 0).notes[0]
    longer = replace(desk.of_run(run, 0), clips=5)
    assert "5 clips, 25.1 s" in desk.noted(longer, run).notes[0]
    assert view.seconds(run, 3) == 241 / 16, "its last clip is not there"
    run = make(store, 3, settings=run.about.settings)
    run.path(3, ".mp4").write_bytes(b"a video")
    run.add(Clip(3, "two", 7, 80, tail=0), [run.path(3, ".mp4")], {"m": torch.zeros(1)})
    assert "4 of 4 clips, 20.0 s" in view.card(view.look(run)), "one frame goes, not two"


def test_a_run_that_stops_after_every_clip_says_so_before_it_goes_on(store: Store):
    for board, stops in (("[all]\npause = yes", True), ("[1]\nseed = 5", False)):
        run = make(store, settings={**SETTINGS, "custom_settings": {"svi_storyboard": board}})
        assert ("redo it from a clip. It stops after every clip." in view.look(run).next_step
                ) is stops
        assert ("Resume run" in (note := desk.of_run(run, 0).notes[1]) and
                "It stops after every clip, so you can look at it." in note) is stops


def test_a_name_makes_a_run_no_newer(store: Store):
    old, new = make(store), make(store)
    os.utime(old.folder / "run.json", (9, 9))
    rename(old, "storm")
    assert [(run.name, run.about.label) for run in store.runs()] == [
        (new.name, ""), (old.name, "storm")]


@pytest.mark.parametrize(("done", "ended", "said"), [
    (4, "finished", "finished"), (2, "finished", "failed: a clip is damaged or gone"),
    (2, "stopped", "stopped"), (2, "OutOfMemoryError: VRAM", "failed: OutOfMemoryError: VRAM"),
    (4, "", "failed: WanGP was closed, or its log says why"),
    (0, "", "failed: WanGP was closed, or its log says why")])
def test_the_state_of_a_run(store: Store, done: int, ended: str, said: str):
    run = make(store, done, ended=ended)
    clips = run.done()
    assert in_words(run, state(run, done), clips) == said
    release = run.lock()
    clip = "clip 5" if done == 4 else f"clip {done + 1} of 4"  # an extension begins
    assert in_words(run, state(run, done), clips).startswith(f"running: {clip}")
    with pytest.raises(StoreError, match="Name it when it is finished"):
        rename(run, "a name")
    release()


def test_the_time_left_is_that_of_clips_and_no_break_between_them_counts(store: Store):
    run = make(store, 3)
    assert seconds_left(run, run.done()) is None, "records of an earlier version"
    now = time.time()
    for clip, (seconds, age) in zip(run.done(), ((500, 9e4), (100.0, 6e4), (99.5, 3e4)),
                                    strict=True):
        run.record(replace(clip, seconds=seconds))
        os.utime(run.path(clip.number, ".json"), (now - age, now - age))
    os.utime(run.folder / "run.json", (now - 30, now - 30))  # the next clip began
    assert seconds_left(run, run.done()) == pytest.approx(70, abs=2)
    assert seconds_left(run, run.done()[:1]) == pytest.approx(1470, abs=2)
    assert seconds_left(run, []) is None, "the first clip is damaged, so the others do not count"


def test_a_run_without_a_clip_says_so_and_all_of_them_are_found_together(store: Store):
    run, other, begun = make(store, 0), make(store, 1), make(store, 0)
    begun.path(0, "-frames.safetensors").write_bytes(b"made, not saved")
    assert "no clip finished" in view.card(view.look(run)) and "0 of" not in view.card(
        view.look(run))
    assert "says why.** No clip finished, seed 7" in view.summary(view.look(run))
    assert [is_empty(one) for one in (run, other, begun)] == [True, False, False]
    release = run.lock()
    assert not is_empty(run)
    release()


def test_an_empty_list_names_the_folder_it_looked_in(store: Store):
    assert f"There are no runs in `{store.folder}`" in view.empty(store.folder)


def test_of_a_long_run_the_clips_around_the_next_one_are_listed(store: Store):
    html = view.clips_table(view.look(make(store, 2, clips=100_003)))
    assert html.count("<tr>") == 201 and "Clips 1 to 200 of 100,003." in html
    shown = replace(view.look(make(store, 2, clips=500)))
    middle = view.clips_table(replace(shown, done=shown.done * 125))
    assert "Clips 151 to 350 of 500." in middle


def test_a_stop_can_be_taken_back(store: Store):
    run = make(store)
    release = run.lock()
    assert stop_button.label(run, True) == "Stop after this clip"
    for _ in range(2):  # on two pages, of which one has not looked since
        asked = stop_button.press(run, stop_button.STOP)
        assert "stops after the current clip" in asked and stop_is_asked(run)
    assert stop_button.label(run, True) == "Cancel the stop" == stop_button.CANCEL
    for _ in range(2):
        assert "will not stop" in stop_button.press(run, stop_button.CANCEL)
        assert not stop_is_asked(run)
    release()
    assert stop_button.label(run, False) == stop_button.label(None, False) == "Stop after this clip"
    for said in (stop_button.STOP, stop_button.CANCEL):
        with pytest.raises(StoreError, match="is not running"):
            stop_button.press(run, said)


def test_a_stop_that_is_under_way_says_so_and_cannot_be_taken_back(store: Store):
    run = make(store)
    release = run.lock()
    ask_to_stop(run)
    (run.folder / STOP).replace(run.folder / STOPPING)  # the clip is made, and is being saved
    assert stop_button.label(run, True) == "Stopping"
    presses = [partial(stop_button.press, said=said)
               for said in ("Stopping", stop_button.STOP, stop_button.CANCEL)]
    for press in (*presses, ask_to_stop, keep_running):
        assert press(run) == f"Run {run.name} stops now: its clip is made, and is being saved."
    assert not stop_is_asked(run)
    release()


def test_a_run_that_stops_after_every_clip_promises_nothing_else(store: Store):
    run, last = make(store), make(store, 3)
    for one, done in ((run, 2), (last, 3)):
        (one.folder / PAUSES).touch()
        for number in range(done):
            one.record(replace(one.done()[number], seconds=30.0))
    release = run.lock()
    for press in (ask_to_stop, keep_running, partial(stop_button.press, said=stop_button.STOP)):
        assert press(run).startswith(
            f"Run {run.name} stops after the current clip anyway, as its storyboard says.")
        assert not stop_is_asked(run), "or the button would offer to cancel it"
    told = in_words(run, State.RUNNING, run.done())
    assert re.fullmatch(r"running: clip 3 of 4, then it stops, about (2\d|30) s left", told)
    other = last.lock()
    told = in_words(last, State.RUNNING, last.done())
    assert "clip 4 of 4, about" in told and "in its last clip" in ask_to_stop(last)
    release()
    other()


@pytest.mark.parametrize("done, said", [
    (2, "Run {} stops after the current clip. You can resume it at any time."),
    (3, "Run {} is in its last clip and will be finished with it."),  # nothing to cancel
    (4, "Run {} stops after the current clip."),  # an extension begins
])
def test_a_stop_promises_to_resume_only_what_can_be_resumed(store: Store, done: int, said: str):
    run = make(store, done)
    release = run.lock()
    assert stop_button.press(run, stop_button.STOP) == said.format(run.name)
    assert stop_is_asked(run) == (stop_button.label(run, True) == "Cancel the stop") == (done != 3)
    release()


def test_the_button_beside_abort_is_there_while_a_run_of_this_page_is_made(
        store: Store, monkeypatch: pytest.MonkeyPatch):
    gradio, said = MagicMock(update=lambda **changes: changes), []
    gradio.Timer = lambda *_, active, **__: SimpleNamespace(active=active, tick=MagicMock())
    gradio.Info = said.append
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    abort = MagicMock()
    abort.parent.children = [abort, gradio.Button()]
    run, gen = make(store), {"status_display": True}
    wgp = {"get_gen_info": lambda state: gen}
    stop_button.create({"abort_btn": abort, "state": MagicMock(), "status_trigger": MagicMock()},
                       wgp)
    assert abort.parent.children == [abort, gradio.Button()]
    look, click = gradio.on.call_args.args[1], gradio.Button().click.call_args.args[0]
    shown = {"visible": True, "value": "Stop after this clip"}
    hidden = {**shown, "visible": False}
    assert look({}, "")[0] == hidden and look({}, "")[1].active, "WanGP generates something else"
    gen[stop_button.RUN] = run
    assert look({}, "")[0] == hidden, "the run has ended"
    release = run.lock()
    assert look({}, "")[0] == shown
    assert click({}, "", stop_button.STOP)[0] == {**shown, "value": "Cancel the stop"}
    assert len(said) == 1
    release()
    del gen["status_display"]
    assert click({}, "", stop_button.CANCEL)[0] == hidden and len(said) == 1
    assert not look({}, "")[1].active
    assert stop_button.create({}, wgp) == [], "a WanGP without an Abort button"


def test_a_page_that_did_not_start_the_run_says_so_and_can_stop_it(
        store: Store, monkeypatch: pytest.MonkeyPatch):
    gradio, said = MagicMock(update=lambda **changes: changes), []
    gradio.Timer = lambda every=0, *, active: SimpleNamespace(every=every, active=active,
                                                              tick=MagicMock())
    gradio.Info, gradio.Button = said.append, lambda *_, **options: buttons[options["elem_id"]]
    buttons = {"svi_stop_here": MagicMock(), "svi_stop_elsewhere": MagicMock()}
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    abort, generate = MagicMock(), MagicMock()
    abort.parent.children = [abort, buttons["svi_stop_here"]]
    row = gradio.Row().__enter__()
    generate.parent.children = [generate, row]
    wgp = {"get_gen_info": lambda state: state, "save_path": str(store.folder.parent)}
    stop_button.create({"abort_btn": abort, "state": MagicMock(), "status_trigger": MagicMock(),
                        "main": MagicMock(load="load"), "generate_btn": generate}, wgp)
    assert generate.parent.children == [row, generate], "the line is above the button Generate"
    events, look, _ = gradio.on.call_args.args
    assert "load" in events, "a page that was loaded again"
    click = buttons["svi_stop_elsewhere"].click.call_args.args[0]
    run = make(store)
    assert look({}, "")[4:6] == ({"visible": False}, "")
    assert look({}, "")[1].active, "or a page would never see a run that begins later"
    assert look({}, "")[1].every == stop_button.IDLE
    release = run.lock()
    here, timer, _, _, line, told, other = look({}, "")
    assert here["visible"] is False and line == {"visible": True} and timer.active
    assert timer.every == stop_button.EVERY
    assert f"Run {run.name} is running: clip 3 of 4" in told and other == "Stop after this clip"
    own = look({stop_button.RUN: run}, "")
    assert own[4] == {"visible": False}, "it has the button beside Abort"
    assert click({}, "", stop_button.STOP)[6] == "Cancel the stop" and stop_is_asked(run)
    assert len(said) == 1
    release()
    assert click({}, "", stop_button.CANCEL)[4] == {"visible": False} and len(said) == 1


def test_a_timer_ticks_once_when_a_run_begins_or_ends(
        store: Store, monkeypatch: pytest.MonkeyPatch):
    gradio = MagicMock(update=lambda **changes: changes, skip=lambda: "as before")
    gradio.Timer = lambda *_, active, **__: SimpleNamespace(active=active, tick=MagicMock())
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    abort = MagicMock()
    abort.parent.children = [abort, gradio.Button()]
    run, wgp = make(store), {"get_gen_info": lambda state: state}
    news, = stop_button.create({"abort_btn": abort, "state": MagicMock(),
                                "status_trigger": MagicMock()}, wgp)
    look, page = gradio.on.call_args.args[1], {stop_button.RUN: run}
    assert look(page, "")[2:] == ("", "as before")
    release = run.lock()
    timer, seen, ticks = look(page, "")[1:]
    assert timer.active and seen == run.name and ticks.active
    assert look(page, seen)[2:] == (run.name, "as before")
    release()
    timer, seen, ticks = look(page, seen)[1:]
    assert not timer.active and seen == "" and ticks.active
    once, _, outputs = news.tick.call_args.args
    assert not once().active and outputs == [news]


@pytest.mark.parametrize(("changes", "can", "last", "said"), [
    ({}, "resume, extend, redo", 3, "Resume it at clip 3 of 4, extend it, or redo it from a clip."),
    # its last clip is on disk, but not in its video
    ({"done": 4}, "resume, extend, redo", 4,
     "Resume it to put all clips together, extend it, or redo it from a clip."),
    ({"done": 4, "ended": "finished"}, "extend, redo", 4,
     "Extend it, or redo it from a clip: nothing is left to resume."),
    ({"done": 1, "clips": 1, "ended": "finished"}, "extend", 1,
     "Extend it: nothing is left to resume, and there is no second clip to redo."),
    ({"done": 1, "clips": 1}, "resume, extend", 1,
     "Resume it to put all clips together, or extend it."),
    ({"done": 0, "settings": {}}, "", 1,
     "Press **Generate** again with its settings, and it begins again: it has no finished clip to "
     "resume, extend or redo."),
    ({"done": 1, "settings": {}}, "", 2,  # killed before it was recorded
     "Press **Generate** again with its settings, and it begins again"),
])
def test_what_can_be_done_with_a_run_is_possible_and_said(
        store: Store, changes: dict, can: str, last: int, said: str):
    run = make(store, **changes)
    shown = view.look(run)
    possible = {"resume": shown.can_resume, "extend": shown.can_extend, "redo": shown.can_redo}
    assert ", ".join(what for what, this in possible.items() if this) == can
    assert shown.last_redo == last and said in view.summary(shown)
    for what, make_it in (("resume", resuming.resumed),
                          ("extend", lambda run: resuming.extended(run, 1)),
                          ("redo", lambda run: resuming.redone(run, 2, seed=5))):
        with contextlib.nullcontext() if possible[what] else pytest.raises(StoreError):
            make_it(run)
    release = run.lock()
    assert "Wait until it is finished, or stop it: then it can be extended and redone." in (
        view.summary(view.look(run)))
    release()


def test_a_run_of_one_clip_is_counted_so(store: Store):
    run = make(store, 1, clips=1, base=("20261120-7f3a", 1))
    assert "1 of 1 clip, " in view.card(view.look(run))
    assert "begins with the first clip of run 20261120-7f3a." in view.summary(view.look(run))
    two = view.look(make(store, 2, base=("20261120-7f3a", 2)))
    assert "the first 2 clips of" in view.summary(two)


def test_a_row_has_the_time_by_which_the_list_is_sorted(store: Store):
    old, new = make(store, 0), make(store, 0)
    for run, at in ((old, 1_700_000_000), (new, 1_700_090_000)):
        run.change(replace(run.about, made="2020-01-01T00:00:00"))
        os.utime(run.folder / "run.json", (at, at))
    (first,), (second,) = view.rows(store)[0]
    times = [re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", card)[0] for card in (first, second)]
    assert times == [new.changed, old.changed] == sorted(times, reverse=True)
    assert times[0].startswith("2023-11-1")


@pytest.mark.parametrize(("clip", "entered", "said"), [
    (2, "", "Clip 2 gets the seed 49."), (2.0, None, "Clip 2 gets the seed 49."),
    (2, " 99 ", "Clip 2 gets the seed 141: 99, and 42 more for each clip before it."),
    (3, "99", "Clip 3 gets the seed 183: 99, and 42 more for each clip before it."),
    (4, "99", "Clip 4 gets the seed 99."),  # the storyboard's
    (4, "", "Clip 4 gets the seed 5."),
    (5, "", ""), (99, "7", ""),  # it cannot be redone from there
    (2, "abc", ""), (2, "1.5", ""), (2, "-1", ""), (2, str(2**32), ""), (1, "9", ""),
    (None, "9", ""), (2.5, "9", ""), (float("nan"), "9", ""), (2, "inf", "")])
def test_the_tab_says_which_seed_a_redone_clip_gets(store: Store, clip, entered, said: str):
    run = make(store, 3, settings={
        **SETTINGS, "custom_settings": {"svi_storyboard": "[4]\nseed = 5"}})
    assert view.seed_said(run, clip, entered) == said


class Gradio:
    """Components are mocks of their own; an update is what it changes."""

    skip = staticmethod(lambda: "skip")
    update = staticmethod(lambda **changes: changes)

    def __getattr__(self, name: str) -> MagicMock:
        return lambda *_, **options: MagicMock(**{"__enter__.return_value": MagicMock()})


@pytest.fixture
def panel(store: Store, monkeypatch: pytest.MonkeyPatch) -> run_panel.RunPanel:
    for module in (run_panel, helpers, tab):
        monkeypatch.setattr(module, "gr", Gradio())
    monkeypatch.setattr(run_panel, "text_to_copy", lambda *_, **__: MagicMock())
    gen: dict = {}
    wgp = {"save_path": str(store.folder.parent), "get_gen_info": lambda state: gen}
    made = tab.Tab(MagicMock(), wgp, MagicMock())
    made.desk = None
    for name in ("about", "runs", "names", "shown", "news", "empty", "timer"):
        setattr(made, name, name)
    made.panel = run_panel.RunPanel(made)
    return made.panel


def test_a_click_on_a_run_empties_what_was_entered_for_another(
        store: Store, panel: run_panel.RunPanel):
    run = make(store)
    shown = panel.show(run.name)
    assert shown.keys() <= {*panel.outputs}, "or gradio refuses them all"
    assert (shown[panel.seed], shown[panel.prompt]) == ("", "")
    assert shown[panel.prompts]["value"] == "" and shown[panel.more]["value"] == 1
    assert shown[panel.clip]["value"] == 3 and shown[panel.sound]["value"] is None
    assert shown[panel.seed_said] == "Clip 3 gets the seed 91."
    fields = {panel.seed, panel.prompt, panel.prompts, panel.more, panel.seed_said, panel.sound}
    assert not fields & panel.show(run.name, clicked=False).keys(), "the user may be entering them"
    other = make(store, 0)
    panel.tab.wgp["args"] = SimpleNamespace(listen=False, share=False, server_name="localhost")
    panel.tab.wgp["get_gen_info"] = lambda state: {}
    removed = panel.yes.click.call_args.args[0](run.name, {}, [other.name])
    assert not other.folder.exists() and not fields & removed.keys()
    assert removed[panel.victims]["value"] == [run.name]


def test_a_click_opens_the_run_that_the_page_shows(store: Store, panel: run_panel.RunPanel):
    """By the names that come with the click: another run may have moved the list on meanwhile."""
    old, new = make(store), make(store)
    panel.tab.wgp["get_gen_info"] = lambda state: {}
    shown = panel.tab.refreshed("")
    rows = shown[panel.tab.names].split("\n")
    assert sorted(rows) == sorted([old.name, new.name])
    at = rows.index(old.name)
    os.utime(make(store).folder / "run.json", (2e9, 2e9))
    assert panel.tab.clicked(at, shown[panel.tab.names], {})[panel.chosen] == old.name
    with pytest.raises(StoreError, match="this page is out of date"):
        panel.tab.clicked(at, None, {})  # a page without a list


def test_the_list_says_that_wangp_is_at_work_until_it_ends(
        store: Store, panel: run_panel.RunPanel):
    run = make(store)
    gen, shown = panel.tab.wgp["get_gen_info"]({}), panel.tab
    gen["in_progress"] = True  # WanGP ends later than the run does
    values = shown.refreshed("", [], {})
    assert values[shown.empty]["visible"]
    assert shown.looked("", [], {}, values[shown.news]) != "skip"
    gen.clear()
    page: dict = {}
    actions.expect_run(page)  # by a click on Generate
    assert shown.refreshed("", [], page)[shown.empty]["visible"]
    release = store.open(run.name).lock()
    assert not shown.refreshed("", [], page)[shown.empty]["visible"]
    release()
    assert not shown.refreshed("", [], page)[shown.empty]["visible"], "it has begun, and ended"
    ended = shown.looked("", [], {}, values[shown.news])
    assert not ended[shown.empty]["visible"]
    assert shown.looked("", [], {}, ended[shown.news]) == "skip"


def test_the_list_marks_the_run_that_is_open(store: Store, panel: run_panel.RunPanel):
    run, other = make(store), make(store)
    mark, = re.findall(r"class='(svi-\w+)'", view.card(view.look(run)))
    shown = panel.show(run.name, clicked=False)["about"]
    assert f"#svi_runs .{mark} {{" in shown
    assert mark not in view.card(view.look(other)) and mark not in panel.show(other.name)["about"]
    assert panel.show("gone")["about"] == view.about("")


def test_runs_without_a_clip_are_offered_while_some_are_not_chosen(
        store: Store, panel: run_panel.RunPanel):
    run, empty = make(store), make(store, 0)
    assert panel.show(empty.name)[panel.no_clip]["visible"] is False, "it is chosen already"
    offered = panel.show(run.name)[panel.no_clip]
    assert offered == {"value": "Add 1 run without a clip", "visible": True}
    add = panel.no_clip.click.call_args.args[0]
    chosen = add([run.name])
    assert chosen == [run.name, empty.name] and add(None) == [empty.name]
    update, inputs, outputs = panel.victims.change.call_args.args
    assert (inputs, outputs) == ([panel.victims], [panel.no_clip])
    assert update(chosen)["visible"] is False and update(None)["visible"] is True


@pytest.mark.parametrize(("board", "ended", "looks"), [
    ("[all]\npause = yes", "stopped", True), ("[all]\npause = yes", "OutOfMemoryError", False),
    ("", "stopped", False)])
def test_a_run_that_stops_for_a_look_is_shown_unless_another_was_clicked(
        store: Store, panel: run_panel.RunPanel, board: str, ended: str, looks: bool):
    settings = {**SETTINGS, "custom_settings": {"svi_storyboard": board} if board else {}}
    other, run = make(store), make(store, settings=settings, ended=ended)
    gen, refreshed = panel.tab.wgp["get_gen_info"]({}), panel.tab.refreshed

    def shown() -> str:
        return refreshed(other.name, [], {})[panel.chosen]

    assert shown() == other.name
    for clicked in (False, True):
        gen[stop_button.RUN] = store.open(run.name)  # it begins, or begins again
        release = run.lock()
        assert shown() == other.name, "it is being made"
        if clicked:
            panel.tab.clicked(0, other.name, {})
        release()
        values = refreshed(other.name, [], {})
        look = looks and not clicked
        assert values[panel.chosen] == (run.name if look else other.name)
        assert (panel.label in values) == look, "as if it had been clicked"
        assert shown() == other.name, "once"
    gen[stop_button.RUN] = store.open(run.name)
    store.remove(run)
    assert shown() == other.name


def test_a_run_without_a_picture_is_listed(store: Store):
    run = make(store)
    (run.folder / "reference.png").unlink()
    assert view.thumbnail(run) == "" and view.rows(store)[1] == [run.name]
    assert "<img" not in view.rows(store)[0][0][0]


def test_the_clips_that_are_done_and_those_to_come(store: Store):
    html = view.clips_table(view.look(make(store, asked=["one", "<b>two</b>"])))
    assert html.count("on disk") == 2 and html.count("to come") == 2
    assert all(f">{seed}<" in html for seed in (7, 49, 91, 133)) and "&lt;b&gt;two" in html
    assert "<b>" not in html


def test_the_summary_has_no_markup_of_a_reason(store: Store):
    said = view.summary(view.look(make(store, ended="Error: *a* <b>[x](y)")))
    shown = html.unescape(said)
    assert "Failed: Error: *a* <b>[x](y)." in shown and "2 of 4 clips" in shown
    assert "Error: &#42;a&#42; &#60;b&#62;&#91;x&#93;(y)." in said


# --------------------------------------------------------------------------------- video and report

def test_a_video_is_served_from_where_it_lies(store: Store):
    run = make(store)
    assert view.video(view.look(run)) == ""
    mark, quoted = ("", "") if os.name == "nt" else ("?", "%3F")  # Windows has no such names
    video = finish(run, f"a boat's & #1{mark}.mp4")
    shown = view.video(view.look(run))
    assert f"out%20puts/a%20boat%27s%20%26%20%231{quoted}.mp4?" in shown
    assert "/gradio_api/file=" in shown
    assert "boat&#x27;s &amp;" in shown
    video.unlink()
    assert "Its video is gone" in view.summary(view.look(run))


def test_a_drift_report_is_shown_unless_the_video_has_grown_since(store: Store):
    run = make(store)
    video = finish(run)
    picture = video.with_name("a boat.drift.png")
    picture.write_bytes(b"png")
    picture.with_suffix(".json").write_text(json.dumps({"verdict": "holds <up>"}), encoding="utf-8")
    shown = view.look(run)
    assert shown.drift == picture and "holds &lt;up&gt;" in view.drift(shown.drift)
    picture.with_suffix(".json").write_text("[", encoding="utf-8")
    assert "<img" in view.drift(shown.drift)
    later = time.time() + 10
    os.utime(video, (later, later))
    assert view.look(run).drift is None and view.drift(None) == ""


def test_a_run_without_a_video_has_no_report(store: Store):
    with pytest.raises(StoreError, match="has no video"):
        actions.make_drift(view.look(make(store)))


# ----------------------------------------------------------------------------------------- going on

def test_settings_to_go_on(store: Store):
    run = make(store)
    asked = resuming.resumed(run)
    assert asked["custom_settings"] == {"ref_pad_num": "3", "svi_run": run.name}
    assert asked["video_length"] == 321
    assert asked["image_start"] == str(run.folder / "start.png")
    longer = actions.extend(run, 2, "a storm\nat sea\n\n\n calm ")
    assert longer["prompt"] == "one\n\ntwo\n\ntwo\n\ntwo\n\na storm at sea\n\ncalm"
    assert longer["video_length"] == 481, "2 more than the 4 that it was to have"
    again = actions.redo(run, 3.0, " at\n# of WanGP's\nnight ", "")
    assert again["custom_settings"]["svi_run"] == f"{run.name}@3" and again["seed"] == 7
    assert again["prompt"] == "one\n\ntwo\n\nat night\n\nat night"
    assert actions.redo(run, 2, "", " 9 ")["seed"] == 9


@pytest.mark.parametrize(("what", "said"), [
    (lambda run: actions.redo(run, 2, " ", ""), "enter a new prompt or a new seed"),
    (lambda run: actions.redo(run, 2, "# a note", ""), "enter a new prompt or a new seed"),
    (lambda run: actions.redo(run, 2, "", "abc"), "the seed must be a whole number"),
    (lambda run: actions.redo(run, 2, "", "-1"), "the seed must be from 0"),
    (lambda run: actions.redo(run, None, "x", ""), "the clip must be a whole number$"),
    (lambda run: actions.redo(run, 4, "x", ""),
     "has 2 finished clips of 4, so it can be redone from clip 2 to 3$"),
    (lambda run: actions.redo(run, 1, "x", ""), "to 3. To change clip 1, make a new video$"),
    (lambda run: actions.extend(run, 0, ""), "add 1 clip or more, and at most 1,496"),
    (lambda run: actions.extend(run, 100_000, ""), "a video has up to 1,500 clips, and run"),
    (lambda run: run.change(replace(run.about, clips=1500)) or actions.extend(run, 1, ""),
     "has 1,500 clips, the most that a video can have. To go on, continue its video"),
    (lambda run: actions.redo(run, 2, "", str(2**32)), "the seed must be from 0 to 4,294,967,295"),
    (lambda run: resuming.redone(run, 2, "two", 7), "the clips would be the same"),
    (lambda run: resuming.redone(run, 2, seed=-5), "the seed must be from 0"),
    (lambda run: actions.extend(run, 1.5, ""), "the number of clips must be a whole number"),
    (lambda run: resuming.resumed(Run(run.folder, replace(run.about, settings={}))),
     "press Generate again with the settings of run .*: none of its clips is finished"),
    (lambda run: actions.extend(run, 1, "a storm\n\ncalm\n\nrain"),
     "add 3 clips, or remove 2 prompts: there are 3 prompts for 1 clip$"),
    (ask_to_stop, "is not running"),
])
def test_what_cannot_be_done_is_said(store: Store, what, said: str):
    with pytest.raises(StoreError, match=said):
        what(make(store))


def test_a_run_that_speaks_is_extended_by_a_longer_sound(store: Store, tmp_path: Path):
    short = sounds.write(tmp_path / "a.wav", sounds.speech(300))
    longer = sounds.write(tmp_path / "b.wav", np.concatenate(
        [sounds.speech(300), sounds.speech(200, seed=3)]))
    run = make(store, 4, sound=list(sound.find(short).heard), ended="finished")
    with pytest.raises(StoreError, match="is as long as its sound. To extend it, add a longer"):
        actions.extend(run, 3, "")
    with pytest.raises(StoreError, match="is not longer"):
        actions.extend(run, 3, "", str(short))
    settings = actions.extend(run, 3, "ignored", str(longer))
    assert settings["audio_guide"] == str(longer) and settings["video_length"] == 80 * 7 + 1
    assert settings["custom_settings"]["svi_run"] == f"{run.name}@4", "the sound ended in it"
    assert resuming.what_happens(run, settings, 4) == (
        f"extend run {run.name} to 7 clips, redoing it from clip 4")
    with pytest.raises(StoreError, match="has no sound: extend it by"):
        resuming.spoken_on(make(store), longer)


def test_stop_reaches_the_run_that_is_being_made(store: Store):
    run = make(store)
    release = run.lock()
    ask_to_stop(run)
    assert (run.folder / STOP).is_file()
    release()


def test_a_run_is_removed_and_its_video_stays(store: Store):
    run = make(store)
    video = finish(run)
    other = make(store)
    asked = view.removing([run, other])
    assert f"2 runs for good ({run.name}, {other.name})? This frees" in asked
    assert text.size(run.size + other.size) in asked
    assert f"of run {run.name} for good" in view.removing([run])
    assert view.choice(run) == (f"{run.name}, SVI-Shot, {text.size(run.size)}", run.name)
    store.remove(run)
    assert not run.folder.exists() and video.is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="the file manager is a command elsewhere")
@pytest.mark.parametrize(("script", "said"), [
    ("exit 0", ""), ("sleep 60", ""), ("exit 3", "has no file manager"),
    (None, "has no file manager")])
def test_a_folder_is_opened_in_the_file_manager(tmp_path: Path, monkeypatch, script, said: str):
    opener = tmp_path / ("open" if sys.platform == "darwin" else "xdg-open")
    if script:
        opener.write_text(f'#!/bin/sh\necho "$1" > {tmp_path / "asked"}\nexec {script}\n'.replace(
            "exec exit", "exit"), encoding="utf-8")
        opener.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if script else str(tmp_path))
    with pytest.raises(StoreError, match=said) if said else contextlib.nullcontext():
        actions.open_folder(tmp_path / "a run")
    if script:
        assert (tmp_path / "asked").read_text("utf-8").strip() == str(tmp_path / "a run")


# ----------------------------------------------------------------------------------------- visitors

@pytest.mark.parametrize("listen", [True, False])
def test_opening_the_doctor_tells_a_visitor_nothing_that_the_page_says_already(
        monkeypatch: pytest.MonkeyPatch, listen: bool):
    monkeypatch.delenv(visitors.TRUST, raising=False)
    gradio = MagicMock()
    for module in (doctor, helpers):
        monkeypatch.setattr(module, "gr", gradio)
    monkeypatch.setattr(doctor, "text_to_copy", MagicMock())
    args = SimpleNamespace(listen=listen, share=False, server_name="localhost")
    doctor.create({"args": args})
    part = gradio.Accordion().__enter__()
    assert part.expand.called is not listen
    assert gradio.Button().click.called, "the server refuses it whatever a page sends"


@pytest.mark.parametrize(("options", "variables", "shared"), [
    ({}, {}, False),
    ({"server_name": "127.0.0.1"}, {}, False), ({"server_name": "::1"}, {}, False),
    ({"server_name": "localhost"}, {"SERVER_NAME": "0.0.0.0"}, False),
    ({}, {"SERVER_NAME": ""}, False),
    ({"listen": True}, {}, True), ({"share": True}, {}, True),
    ({"listen": True, "server_name": "localhost"}, {}, True),
    ({"server_name": "0.0.0.0"}, {}, True), ({"server_name": "192.168.0.7"}, {}, True),
    ({"server_name": "my-computer"}, {}, True), ({}, {"SERVER_NAME": "0.0.0.0"}, True),
    ({}, {"SERVER_NAME": "", "GRADIO_SERVER_NAME": "0.0.0.0"}, True),
])
def test_who_can_open_the_page(monkeypatch: pytest.MonkeyPatch, options: dict, variables: dict,
                               shared: bool):
    for name in ("SERVER_NAME", "GRADIO_SERVER_NAME", visitors.TRUST):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    args = SimpleNamespace(**{"listen": False, "share": False, "server_name": "", **options})
    wgp = {"args": args}
    assert visitors.is_shared(wgp) == visitors.is_off(wgp) == shared
    monkeypatch.setenv(visitors.TRUST, "1")
    assert visitors.is_shared(wgp) == shared and not visitors.is_off(wgp)
    visitors.check(wgp)


def test_a_page_of_which_nobody_knows_who_can_open_it_is_taken_for_shared(
        monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(visitors.TRUST, raising=False)
    for wgp in ({}, {"args": SimpleNamespace(listen=False)}):
        with pytest.raises(SettingsError, match=f"set the environment variable {visitors.TRUST}=1"):
            visitors.check(wgp)


@pytest.mark.parametrize("listen", [True, False])
def test_what_is_off_for_visitors_says_why_beside_it(monkeypatch: pytest.MonkeyPatch, listen: bool):
    monkeypatch.delenv(visitors.TRUST, raising=False)
    gradio = MagicMock()
    for part in (helpers, doctor, lora_files, run_panel):
        monkeypatch.setattr(part, "gr", gradio)
    wgp = {"args": SimpleNamespace(listen=listen, share=False, server_name="localhost")}
    for create in (lambda: doctor.create(wgp), lambda: lora_files.create(wgp),
                   lambda: run_panel.RunPanel(MagicMock(wgp=wgp))):
        gradio.Markdown.reset_mock()
        create()
        said = [call.args[:1] for call in gradio.Markdown.call_args_list]
        assert said.count((visitors.HERE,)) == listen


@pytest.mark.parametrize("listen", [True, False])
def test_a_page_that_others_can_open_names_files_without_the_folders_above_them(
        store: Store, monkeypatch: pytest.MonkeyPatch, shown: list[str], listen: bool):
    monkeypatch.delenv(visitors.TRUST, raising=False)
    outputs = store.folder.parent
    args = SimpleNamespace(listen=listen, share=False, server_name="localhost")
    monkeypatch.setitem(sys.modules, "wgp", SimpleNamespace(
        server_config={}, save_path=str(outputs), args=args))
    run = make(store)
    video = finish(run)
    (store.folder / "broken").mkdir()
    (store.folder / "broken/run.json").write_text("no run", "utf-8")
    rows, _ = view.rows(store)
    helpers.guarded(lambda: store.open("none"))()
    said = [rows[1][0], view.empty(store.folder), view.video(view.look(run)), *shown,
            telling.for_page(str(outputs)), desk.note(desk.Staged(notes=(str(store.folder),)))]
    address, = re.findall("src='([^']*)'", said[2])
    said[2] = said[2].replace(address, "")
    for words in said:
        assert (str(outputs.parent) in words) != listen, words
    assert view.served(video).startswith(f"/gradio_api/file={quote(video.as_posix())}?")
    monkeypatch.chdir(outputs.parent)  # as WanGP's own, in which its outputs are
    assert view.served(video).startswith("/gradio_api/file=out%20puts/a%20boat.mp4?")


def test_what_a_page_sends_that_is_older_than_wangps_start_is_refused_with_what_to_do(
        store: Store, shown: list[str]):
    names = [make(store).name]
    panel = SimpleNamespace(tab=tab.Tab(None, {"save_path": str(store.folder.parent)}, MagicMock()))
    for stale in (lambda: helpers.picked([], 0), lambda: helpers.picked(names, 1),
                  lambda: helpers.picked(names, -1), lambda: helpers.picked(names, None),
                  lambda: panel.tab.run(""), lambda: run_panel.job(panel.tab, MagicMock())({}, "")):
        helpers.guarded(stale)()
    assert {*shown} == {helpers.in_words(StoreError(helpers.STALE))} and len(shown) == 6
    assert helpers.picked(names, 0) == panel.tab.run(names[0]).name


def test_a_name_is_saved_and_that_of_a_running_run_is_refused_in_a_toast(
        store: Store, shown: list[str], monkeypatch: pytest.MonkeyPatch):
    gradio = MagicMock(Button=lambda *_, **__: MagicMock())
    monkeypatch.setattr(run_panel, "gr", gradio)
    monkeypatch.setenv(visitors.TRUST, "1")
    made = SimpleNamespace(wgp={}, plugin=MagicMock(), desk=None, store=store, about=None,
                           run=store.open, refreshed=lambda name, state: {},
                           all_outputs=lambda panel: [MagicMock()])
    monkeypatch.setattr(helpers.gr, "Textbox", lambda lines=1, buttons=(), **_: None, raising=False)
    save = run_panel.RunPanel(made).rename.click.call_args.args[0]
    run = make(store)
    assert save(run.name, {}, "x" * 61) == "skip"
    assert shown.pop() == "A name has up to 60 characters, and this one 61. Shorten it."
    save(run.name, {}, "the storm")
    assert store.open(run.name).about.label == "the storm" and not shown
    release = run.lock()
    assert save(run.name, {}, "calm") == "skip"
    assert shown == [f"Run {run.name} is running. Name it when it is finished."]
    release()
    assert store.open(run.name).about.label == "the storm"


# ------------------------------------------------------------------------------------- WanGP's form

class WanGP(dict):
    """wgp.py's variables, as far as the form needs them."""

    def __init__(self):
        super().__init__(get_base_model_type=lambda model: model if model in ("i2v", "i2v_2_2")
                         else None,
                         get_default_settings=lambda model: {"flow_shift": 5, "seed": -1},
                         get_settings_from_file=self.load, set_model_settings=self.keep,
                         get_model_custom_settings=None, _model_choice_target_model_type=None)

    def load(self, state, path, allow_json, merge, switch_to_compatible):
        assert allow_json and merge and switch_to_compatible
        self.chosen = state["model_type"]
        return json.loads(Path(path).read_text(encoding="utf-8")), False, False

    def keep(self, state, model, settings):
        state["all_settings"][model] = settings


def test_settings_go_into_the_form_of_the_model_that_is_chosen(store: Store):
    run, wgp, state = make(store), WanGP(), {"model_type": "i2v"}
    fill, switch = actions.into_form(wgp, state, run, resuming.resumed(run))
    assert fill and switch is None
    asked = state["all_settings"]["i2v"]
    assert asked["seed"] == 7 and asked["flow_shift"] == 5
    assert asked["custom_settings"]["svi_run"] == run.name
    assert asked["image_start"] == [str(run.folder / "start.png")]
    assert (run.folder / "resume.json").is_file()


@pytest.mark.parametrize(("profile", "current", "model"), [
    ("i2v", "my_i2v", "my_i2v"), ("i2v", "t2v", "i2v"), ("i2v", "svi_small", "i2v"),
    ("svi_small", "i2v", "svi_small"), ("svi_small", "svi_small", "svi_small"),
    ("svi_dance", "i2v", "svi_dance"), ("i2v", "svi_dance", "i2v")])
def test_a_new_video_keeps_a_model_that_fits_and_else_has_its_profiles(
        tmp_path: Path, profile: str, current: str, model: str):
    wgp, state = WanGP(), {"model_type": current}
    wgp["get_base_model_type"] = {"i2v": "i2v", "my_i2v": "i2v", "svi_small": "i2v",
                                  "svi_dance": "i2v", "t2v": "t2v"}.get
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"model_type": profile, "seed": 3, "loras_multipliers": "1 0.5"}),
                    encoding="utf-8")
    fill, switch = new_video.apply(wgp, state, path)
    assert state["all_settings"][model]["seed"] == 3
    assert state["all_settings"][model]["loras_multipliers"] == "1 0.5|", "Apply replaces them"
    assert bool(fill) == (model == current) and bool(switch) == (model != current)


@pytest.mark.parametrize(("filled", "said"), [
    ({"prompt": "mammoths"}, "Add a start image, write a prompt, and press Generate."),
    ({"prompt": "a boat", "image_start": None}, "Add a start image, and press Generate."),
    ({"prompt": "", "image_start": [(Image.new("RGB", (8, 8), "red"), None)]},
     "Write a prompt, and press Generate."),
    ({"prompt": "a boat", "image_start": [Image.new("RGB", (8, 8), "red")]}, "Press Generate."),
    ({"prompt": "a boat", "image_start": [Image.new("RGB", (8, 8), "red")] * 2},
     "Remove all start images but one, and press Generate."),
    ({"prompt": "a boat", "activated_loras": ["svi-talk.safetensors"]},
     "Add a start image, add a sound, and press Generate."),
    ({"activated_loras": ["svi-dance.safetensors"]},
     "Add a start image, add a pose video, write a prompt, and press Generate."),
    ({"prompt": "a boat", "activated_loras": ["svi-talk.safetensors"], "audio_guide": "a.wav",
      "image_start": [Image.new("RGB", (8, 8), "red")]}, "Press Generate.")])
def test_a_new_video_asks_only_for_what_is_missing(filled: dict, said: str):
    wgp = {"get_default_settings": lambda model: {"prompt": "mammoths"}}  # WanGP's example
    assert new_video.next_steps(wgp, {"all_settings": {"i2v": filled}}, "i2v") == said


def test_the_demo_model_has_a_prompt_of_its_own():
    wgp = {"get_default_settings": lambda model: {"prompt": "a kite"}}
    filled = {"prompt": "a kite", "image_start": [Image.new("RGB", (8, 8), "red")]}
    state = {"all_settings": {SMALL: filled}}
    assert new_video.next_steps(wgp, state, SMALL) == "Press Generate."


def test_a_new_video_for_which_a_model_or_a_profile_is_missing_is_refused(tmp_path: Path):
    path = tmp_path / "profile.json"
    with pytest.raises(StoreError, match="is missing or damaged: run install.py again"):
        new_video.apply(WanGP(), {"model_type": "i2v"}, path)
    path.write_text('{"model_type": "gone"}', encoding="utf-8")
    with pytest.raises(StoreError, match="does not have the model gone: add it, or update"):
        new_video.apply(WanGP(), {"model_type": "i2v"}, path)


def test_the_profiles_for_a_new_video_are_those_of_wangps_folder(tmp_path: Path):
    for name in ("wan_i2v/Fast", "wan_i2v/SVI-Film - 50 Steps", "svi_small/SVI-Shot demo"):
        (tmp_path / "profiles" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "profiles" / f"{name}.json").write_text("{}", encoding="utf-8")
    assert [*new_video.profiles(tmp_path)] == ["SVI-Film - 50 Steps", "SVI-Shot demo"]
    assert [*new_video.profiles(tmp_path, demo_only=True)] == ["SVI-Shot demo"]
    assert new_video.FIRST in new_video.profiles(HOME)


def test_a_profile_that_turns_svi_off_has_no_storyboard(tmp_path: Path):
    path = tmp_path / "profile.json"
    for content, off in ((json.dumps(finetune.profile("")), True),
                         (json.dumps(finetune.profile("shot")), False),
                         ('{"custom_settings": []}', False), ("{", False), ("[]", False)):
        path.write_text(content, encoding="utf-8")
        assert new_video.is_off(path) == off


@pytest.mark.parametrize(("model", "offered", "name"), [
    ("i2v", finetune.PROFILES.keys() | {new_video.FIRST}, new_video.FIRST),
    (SMALL, finetune.PROFILES.keys() | {new_video.FIRST}, "SVI-2.0 demo"),
    ("i2v", finetune.PROFILES.keys(), "SVI-2.0 demo"),  # started for the demo model
    (SMALL, {new_video.FIRST}, new_video.FIRST), ("i2v", set(), None)])
def test_the_profile_to_begin_with_is_one_for_the_forms_model(model: str, offered, name):
    assert new_video.first(offered, model) == name


@pytest.mark.parametrize(("there", "then"), [
    ("mammoths", "a kite waits"), ("an octopus", "a kite waits"), ("", "a kite waits"),
    ("a box waits", "a box waits")])
def test_the_demo_model_gets_no_prompt_that_is_wangps_example(
        tmp_path: Path, monkeypatch, there: str, then: str):
    monkeypatch.setattr(new_video.location, "HOME", tmp_path)
    path, own = tmp_path / "profile.json", tmp_path / f"finetunes/{SMALL}.json"
    own.parent.mkdir()
    path.write_text(json.dumps({"model_type": SMALL, "prompt": there}), encoding="utf-8")
    own.write_text('{"prompt": "a kite waits"}', encoding="utf-8")
    wgp, state = WanGP(), {"model_type": "i2v"}
    wgp["get_base_model_type"] = {"i2v": "i2v", SMALL: "i2v"}.get
    wgp["get_default_prompt"] = lambda i2v: "mammoths" if i2v else "an octopus"
    new_video.apply(wgp, state, path)
    assert state["all_settings"][SMALL]["prompt"] == then


def test_a_job_goes_past_the_form_which_stays_as_it_is(store: Store):
    run, wgp = make(store), WanGP()
    gen: dict = {}
    state = {"model_type": "i2v_2_2", "all_settings": {"i2v": {"seed": 5}}}
    before = json.dumps(state)
    wgp["get_gen_info"] = lambda state: gen
    settings = resuming.resumed(run)
    assert actions.into_queue(wgp, state, settings)
    assert gen["inline_queue"] == settings and json.dumps(state) == before
    with pytest.raises(StoreError, match="has not taken the last job yet"):
        actions.into_queue(wgp, state, settings)


def test_what_wangps_queue_has_already_is_not_added_again(store: Store):
    run, wgp = make(store), WanGP()
    gen: dict = {"queue": [{"params": resuming.extended(run, 1)}]}  # a second press adds the same
    wgp["get_gen_info"] = lambda state: gen
    for settings in (resuming.extended(run, 1), resuming.extended(run, 2), resuming.resumed(run)):
        with pytest.raises(StoreError, match=f"queue already has this job for run {run.name}"):
            actions.into_queue(wgp, {}, settings)
    assert "inline_queue" not in gen
    other, redo = make(store), resuming.redone(run, 2, seed=5)
    for settings in (resuming.extended(other, 1), redo):
        assert actions.into_queue(wgp, {}, settings)
        gen["queue"].append({"params": gen.pop("inline_queue")})
    with pytest.raises(StoreError, match="already has this job"):
        actions.into_queue(wgp, {}, redo)
    assert actions.into_queue(wgp, {}, resuming.redone(run, 2, seed=6))  # another take of it


def test_the_list_waits_for_a_run_that_was_asked_for(store: Store, monkeypatch):
    gen, now = {}, [100.0]
    wgp, state = {"get_gen_info": lambda state: gen}, {}
    monkeypatch.setattr(actions.time, "monotonic", lambda: now[0])
    assert not actions.is_expected(wgp, state)
    actions.expect_run(state)
    now[0] = 130.0
    assert actions.is_expected(wgp, state)
    now[0] = 170.0
    assert not actions.is_expected(wgp, state)
    gen["in_progress"] = True  # WanGP loads its model, however long that takes
    assert actions.is_expected(wgp, state)


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("starts", [True, False])
def test_a_job_leaves_the_tab_unless_the_user_stays_in_it(
        store: Store, monkeypatch, stays: bool, starts: bool):
    run, wgp = make(store), WanGP()
    wgp["get_gen_info"] = lambda state: state.setdefault("gen", {})
    monkeypatch.setattr(run_panel, "gr", SimpleNamespace(Info=lambda *_, **__: None,
                                                         skip=lambda: "as it is"))
    monkeypatch.setattr(run_panel, "to_form", lambda plugin: "the form")
    plugin = SimpleNamespace(load_queue_trigger=object() if starts else None)
    tab = SimpleNamespace(plugin=plugin, run=store.open, wgp=wgp, line=MagicMock())
    work = run_panel.job(tab, resuming.resumed, stays=stays)
    shown = work({"model_type": "i2v"}, run.name)[0]
    # WanGP before 11 has to be asked in its form
    assert shown == ("as it is" if stays and starts else "the form")
    run = make(store, settings={**SETTINGS, "custom_settings": {
        "svi_storyboard": "[all]\npause = yes"}})
    shown = work({"model_type": "i2v"}, run.name)[0]  # its next clip is looked at here
    assert shown == ("as it is" if starts else "the form")


@pytest.mark.parametrize(("waiting", "said"), [
    (0, "WanGP's next job is to resume run {} at clip 3 of 4."),
    (1, "WanGP will resume run {} at clip 3 of 4, after 1 job in its queue."),
    (2, "WanGP will resume run {} at clip 3 of 4, after 2 jobs in its queue.")])
def test_a_job_that_waits_for_others_is_not_called_the_next(
        store: Store, monkeypatch, waiting: int, said: str):
    run, told, wgp = make(store), [], WanGP()
    wgp["get_gen_info"] = lambda state: state
    monkeypatch.setattr(run_panel, "gr", SimpleNamespace(
        Info=lambda text, **_: told.append(text), skip=lambda: None))
    plugin = SimpleNamespace(load_queue_trigger=object())
    tab = SimpleNamespace(plugin=plugin, run=store.open, wgp=wgp)
    state = {"model_type": "i2v", "queue": [{"params": {}}] * waiting}
    run_panel.job(tab, resuming.resumed, stays=True)(state, run.name)
    assert told == [said.format(run.name)]


def test_a_finished_run_is_not_resumed_and_a_running_one_is_left_alone(store: Store):
    run = make(store, 4, ended="finished")
    with pytest.raises(StoreError, match="is finished: all 4 clips are done. Extend it, or redo"):
        resuming.resumed(run)
    assert actions.extend(run, 1, "")["video_length"] == 401
    release = run.lock()
    for settings in (resuming.resumed, lambda run: resuming.extended(run, 1),
                     lambda run: resuming.redone(run, 2, "x")):
        with pytest.raises(StoreError, match="is running. Stop it, or wait"):
            settings(run)
    release()


def test_another_model_is_switched_to_and_its_resolution_is_the_runs(store: Store):
    run, wgp, state = make(store), WanGP(), {"model_type": "i2v_2_2", "active_form": "edit"}
    fill, switch = actions.into_form(wgp, state, run, resuming.resumed(run))
    assert fill is None and switch.startswith("i2v|") and wgp.chosen == "i2v"
    assert state["model_type"] == "i2v_2_2" and state["active_form"] == "add"
    assert state["skip_resolution_transfer_on_model_switch"] == "i2v"
    del wgp["_model_choice_target_model_type"]  # before v12.0
    assert actions.into_form(wgp, state, run, resuming.resumed(run)) == (None, "i2v")


def test_a_form_that_cannot_take_the_settings_says_why(store: Store):
    run, wgp = make(store, settings={**SETTINGS, "model_type": "gone"}), WanGP()
    for put in (lambda run: actions.into_queue(wgp, {}, run.about.settings),
                lambda run: actions.into_form(wgp, {}, run, run.about.settings)):
        with pytest.raises(StoreError, match="does not have the model gone"):
            put(run)
    run = make(store)
    del wgp["get_model_custom_settings"]
    with pytest.raises(StoreError, match="Update it to 10.80"):
        actions.into_form(wgp, {"model_type": "i2v"}, run, actions.redo(run, 2, "x", ""))
    wgp["get_settings_from_file"] = lambda *arguments: (None, False, False)
    with pytest.raises(StoreError, match="does not accept the settings"):
        actions.into_form(wgp, {"model_type": "i2v"}, run, resuming.resumed(run))


def test_what_happens_next_is_said(store: Store):
    run = make(store)
    said = resuming.what_happens(run, resuming.resumed(run), 2)
    assert said == f"resume run {run.name} at clip 3 of 4"
    assert resuming.what_happens(run, actions.extend(run, 5, ""), 2) == (
        f"extend run {run.name} to 9 clips, from clip 3 on")
    whole = make(store, 4, ended="finished")
    assert resuming.what_happens(whole, actions.extend(whole, 1, ""), 4) == (
        f"extend run {whole.name} to 5 clips, from clip 5 on")
    said = resuming.what_happens(run, actions.redo(run, 2, "x", ""), 2)
    assert said == f"redo run {run.name} from clip 2 of 4"


# --------------------------------------------------------------------------------------- LoRA files

def test_lora_files_there_missing_and_half_way(tmp_path: Path):
    folders = {"2.1": str(tmp_path / "a"), "2.2": None}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/svi-shot.safetensors").write_bytes(b"x" * 2_000_000)
    (tmp_path / "a/.svi-tom.safetensors.abc.part").write_bytes(b"x" * 1_000_000)
    rows = {row[2]: row for row in lora_files.rows(tmp_path, folders)}
    assert rows["svi-shot.safetensors"] == ["SVI-Shot", "Wan 2.1", "svi-shot.safetensors",
                                            "downloaded", "2 MB"]
    assert rows["svi-tom.safetensors"][3:] == ["incomplete", "1 MB"]
    assert rows["svi-film.safetensors"][3:] == ["not downloaded", "-"]
    assert sum("Wan22" in name or "Wan2.2" in name for name in rows) == 4


def test_where_wangp_looks_for_loras(tmp_path: Path):
    def get_lora_dir(model: str) -> str:
        if model != "i2v":
            raise KeyError(model)
        return str(tmp_path)

    assert lora_files.folders({"get_lora_dir": get_lora_dir}) == {"2.1": str(tmp_path.resolve()),
                                                                  "2.2": None}
    assert lora_files.folders({}) == {"2.1": None, "2.2": None}


@pytest.fixture
def one(tmp_path: Path) -> loras.Download:
    return loras.Download("version-1.0/svi-shot.safetensors", tmp_path / "svi-shot.safetensors")


def test_a_download_tells_how_far_it_is(one: loras.Download):
    seen = threading.Event()

    def fetch(files: list, report, cancelled) -> None:
        part = one.target.with_name(".svi-shot.safetensors.abc.part")
        report(loras.Progress(one, 0, 4_000_000))
        part.write_bytes(b"x" * 1_000_000)
        assert seen.wait(10)
        part.write_bytes(b"x" * 4_000_000)
        part.replace(one.target)
        report(loras.Progress(one, 4_000_000, 4_000_000))

    told = []
    for progress in lora_files.download([one], fetch, every=0.01):
        told.append(lora_files.bar(progress))
        if progress and progress.here == 1_000_000:
            seen.set()
    assert any("value='0.250'" in bar and "svi-shot.safetensors: 1 MB of 4 MB" in bar
               for bar in told)
    assert "value='1.000'" in told[-1] and f"{one.target} is complete (4 MB)" in told[-1]


def test_a_bar_escapes_names_and_shows_a_download_that_has_not_begun(one: loras.Download):
    assert "value='0.000'" in lora_files.bar(None) and "asking the server" in lora_files.bar(None)
    nearly = lora_files.bar(loras.Progress(one, 3_999_999, 4_000_000))
    assert "svi-shot.safetensors: 4 MB of 4 MB" in nearly and "complete" not in nearly
    odd = loras.Download("a", one.target.with_name("<x>"))
    assert "&lt;x&gt;: 1 MB of 4 MB" in lora_files.bar(loras.Progress(odd, 1_000_000, 4_000_000))


def test_a_download_that_fails_is_told_and_the_next_one_can_begin(one: loras.Download):
    def fetch(*arguments) -> None:
        raise Refused("no network")

    for _ in range(2):
        with pytest.raises(Refused, match="no network"):
            list(lora_files.download([one], fetch, every=0.01))


def test_a_download_that_fails_leaves_no_bar(one: loras.Download, monkeypatch):
    monkeypatch.setattr(lora_files, "gr", SimpleNamespace(skip=lambda: "as it was",
                                                          update=lambda **how: how))

    def steps(fails: bool) -> Iterator:
        yield None
        yield loras.Progress(one, 4_000_000, 4_000_000)
        if fails:
            raise Refused("no network")

    def show() -> tuple[str, str]:
        return "table", "nothing to cancel"

    shown = lora_files.told(steps(True), show)
    assert [next(shown)[1:] for _ in range(2)] == [("as it was", {"interactive": True})] * 2
    assert next(shown) == ("", "table", "nothing to cancel")
    with pytest.raises(Refused, match="no network"):
        next(shown)
    *_, (bar, *rest) = lora_files.told(steps(False), show)
    assert "is complete" in bar and rest == [*show()]


def test_there_must_be_a_download_to_cancel():
    with pytest.raises(Refused, match="no download is under way"):
        lora_files.cancel()


def test_a_cancelled_download_ends_and_the_next_one_can_begin(one: loras.Download):
    def fetch(files: list, report, cancelled) -> None:
        while not cancelled():
            time.sleep(0.01)
        raise Refused("it was cancelled")

    for _ in range(2):
        running = lora_files.download([one], fetch, every=0.01)
        next(running)
        lora_files.cancel()
        with pytest.raises(Refused, match="was cancelled"):
            list(running)


def test_two_downloads_at_a_time_are_refused(one: loras.Download):
    end = threading.Event()
    first: Iterator = lora_files.download([one], lambda *_: end.wait(10), every=0.01)
    next(first)
    with pytest.raises(Refused, match="under way"):
        next(lora_files.download([one], lambda *_: None))
    end.set()
    list(first)


# -------------------------------------------------------------------------------------------- words

@pytest.mark.parametrize(("error", "said"), [
    (StoreError("run x is damaged"), "Run x is damaged."),
    (SettingsError("two LoRAs."), "Two LoRAs."),
    (Refused("version-1.0/a.safetensors is not there"), "version-1.0/a.safetensors is not there."),
    (DriftError("The video is empty."), "The video is empty."),
    (OSError("disk full"), "A file could not be read or written: disk full."),
    (KeyError("x"), "This is a bug in SVI (KeyError: 'x'). Please report it, together with what "
                    "the doctor says."),
])
def test_errors_are_sentences(error: Exception, said: str):
    assert helpers.in_words(error) == said


@pytest.mark.parametrize(("textbox", "button"), [
    (lambda *, show_copy_button, **others: show_copy_button, True),
    (lambda *, buttons, **others: buttons, ["copy"]),
], ids=["gradio 5", "gradio 6"])
def test_text_has_a_button_that_copies_it(monkeypatch: pytest.MonkeyPatch, textbox, button):
    monkeypatch.setattr(helpers, "gr", SimpleNamespace(Textbox=textbox))
    assert helpers.text_to_copy(label="Doctor") == button


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings on the page."""
    warnings: list[str] = []
    gradio = SimpleNamespace(skip=lambda: "skip",
                             Warning=lambda text, duration: warnings.append(text))
    monkeypatch.setattr(helpers, "gr", gradio)
    return warnings


@pytest.mark.parametrize(("error", "traced"),
                         [(StoreError("no run"), False), (OSError("full"), False),
                                               (KeyError("a bug"), True)])
def test_an_error_is_shown_and_changes_nothing_and_one_that_nobody_expects_is_traced(
        shown: list[str], capsys: pytest.CaptureFixture, error: Exception, traced: bool):
    def fail(*arguments):
        raise error

    def fail_later(*arguments):
        yield "begun"
        raise error

    assert helpers.guarded(fail)(1, 2) == "skip"
    assert helpers.guarded(fail, False)(1) is None, "gradio warns of a value that has no component"
    shown.pop()
    assert list(helpers.guarded(fail_later)(1)) == ["begun", "skip"]
    assert shown == [helpers.in_words(error)] * 2
    helpers.warn(StoreError("there is no <b>&amp;"))
    assert shown[2] == "There is no &lt;b&gt;&amp;amp;."
    assert ("Traceback" in capsys.readouterr().err) == traced


def test_work_without_an_error_is_as_it_is(shown: list[str]):
    def count(upto: int):
        yield from range(upto)

    assert helpers.guarded(lambda a, b: a + b)(1, 2) == 3
    assert list(helpers.guarded(count)(3)) == [0, 1, 2] and shown == []


def test_words_for_lengths():
    assert [text.duration(value) for value in (0.0, 10.06, 59.94, 600.5)] == [
        "0.0 s", "10.1 s", "59.9 s", "10 min 00 s"]
    assert text.size(1_500_000) == "1.5 MB" and text.size(2_500_000_000) == "2.5 GB"
    assert text.cut("a  b\nc", 20) == "a b c" and text.cut("x" * 30, 10) == "x" * 7 + "..."


# --------------------------------------------------------------------------- WanGP's plugin manager

class Plugin:
    """WanGP's WAN2GPPlugin, as far as the tab needs it."""

    def __init__(self):
        self.requested, self.tabs = [], {}

    def request_component(self, name: str) -> None:
        self.requested.append(name)

    def add_tab(self, id: str, label: str, create) -> None:
        self.tabs[id] = (label, create)


def plugins() -> SimpleNamespace:
    class WAN2GPApplication:
        def __init__(self):
            self.plugin_manager, self.enabled_plugins = SimpleNamespace(plugins={}), []

        def initialize_plugins(self, wgp_globals):
            self.enabled_plugins = wgp_globals["server_config"]["enabled_plugins"]
            return "done"

    return SimpleNamespace(WAN2GPApplication=WAN2GPApplication, WAN2GPPlugin=Plugin,
                           PluginManager=SimpleNamespace(set_server_config=print))


def test_the_tab_is_among_wangps_plugins_and_not_in_its_configuration():
    module, config = plugins(), {"enabled_plugins": ["motion_designer"]}
    own_tab.offer(module, print, tab.add)
    own_tab.offer(module, print, tab.add)  # wgp.py is loaded twice where another program imports it
    application = module.WAN2GPApplication()
    wgp = {"server_config": config, **dict.fromkeys(tab.FUNCTIONS, print)}
    assert application.initialize_plugins(wgp) == "done"
    assert application.enabled_plugins == ["motion_designer", tab.ID]
    assert config == {"enabled_plugins": ["motion_designer"]}
    plugin = application.plugin_manager.plugins[tab.ID]
    assert isinstance(plugin, Plugin) and plugin.tabs[tab.ID][0] == "SVI"
    assert set(plugin.requested) >= set(tab.COMPONENTS)


def test_the_list_follows_runs_that_another_page_begins_or_ends(store: Store, monkeypatch):
    gradio = MagicMock()
    gradio.skip.return_value = "as it is"
    monkeypatch.setattr(tab, "gr", gradio)
    wgp = {"save_path": str(store.folder.parent), "get_gen_info": lambda state: {}}
    shown = tab.Tab(None, wgp, None)
    monkeypatch.setattr(shown, "refreshed", lambda *_: "refreshed")

    def look(news: list) -> str:
        return shown.looked("", [], {}, news)

    run = make(store)
    news = store.news()
    assert look(news) == "as it is", "nothing is read where there is no news"
    other = make(store, 0)
    assert look(news) == "refreshed"
    release, idle = run.lock(), store.news()
    news = store.news()
    assert look(news) == look(idle) == "refreshed", "a clip may have been added"
    release()
    assert look(news) == "refreshed" and look(store.news()) == "as it is"
    store.remove(other)
    assert look(news) == "refreshed"
    wgp["get_gen_info"] = lambda state: {"queue": [{"params": resuming.resumed(run)}]}
    assert look(store.news()) == "refreshed", "a job for it waits"


def test_a_run_with_a_job_in_the_queue_says_so_until_the_job_begins(store: Store):
    run, other, wgp = make(store), make(store), WanGP()
    jobs = [resuming.resumed(run), resuming.redone(other, 2, "x"), {"custom_settings": None},
            {"custom_settings": {"svi_run": "auto"}}, {}]
    wgp["get_gen_info"] = lambda state: {"queue": [{"params": job} for job in jobs]}
    waiting = actions.waiting(wgp, {})
    assert run.name in waiting and other.name not in waiting, "a redo is another run"
    shown = view.look(run, waiting)
    assert "<b>in WanGP&#x27;s queue, failed" in view.card(shown)
    assert "It goes on when its job in WanGP's queue begins." in view.summary(shown)
    assert "queue" not in view.card(view.look(other, waiting))
    release = run.lock()
    assert "queue" not in view.card(view.look(run, waiting))
    release()


def test_what_svis_own_plugin_has_to_say_is_at_the_top_of_the_tab(monkeypatch):
    module, said = plugins(), []
    own_tab.offer(module, print, tab.add)
    application = module.WAN2GPApplication()
    other = Plugin()
    other.tabs[tab.ID] = SimpleNamespace(component_constructor=lambda: said.append("refused"))
    application.plugin_manager.plugins["wan2gp-svi"] = other
    application.initialize_plugins({"server_config": {"enabled_plugins": []},
                                    **dict.fromkeys(tab.FUNCTIONS, print)})
    _, create = application.plugin_manager.plugins[tab.ID].tabs[tab.ID]
    assert not other.tabs and not said  # or there would be two tabs of one name
    monkeypatch.setattr(tab, "gr", MagicMock())  # as far as it gets without gradio
    create()
    assert said == ["refused"]


def test_a_wangp_that_the_tab_does_not_fit_starts_and_a_line_says_so():
    module, said = plugins(), []
    own_tab.offer(module, said.append, tab.add)
    application = module.WAN2GPApplication()
    assert application.initialize_plugins({"server_config": {"enabled_plugins": []}}) == "done"
    assert application.plugin_manager.plugins == {} and application.enabled_plugins == []
    assert len(said) == 1 and "it has no get_settings_from_file" in said[0]
    assert said[0].endswith("everything else works.")


@pytest.mark.parametrize("as_plugin", [False, True])
def test_the_page_says_why_svi_is_off(monkeypatch, as_plugin):
    module, gradio = plugins(), MagicMock()
    monkeypatch.setitem(sys.modules, "shared", MagicMock())
    monkeypatch.setitem(sys.modules, "shared.utils", SimpleNamespace(plugins=module))
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    home = package.__path__[0].rpartition("wan2gp_svi")[0].rstrip("/\\")
    monkeypatch.setattr(package, "off", lambda: f"the file in {home} has 3 of 4 hooks")
    assert package.svi("start", "save_video") == "save_video"
    application = module.WAN2GPApplication()
    own = Plugin()
    own.tabs = {own_tab.ID: "refused"} if as_plugin else {}
    application.plugin_manager.plugins["wan2gp-svi"] = own
    application.initialize_plugins({"server_config": {"enabled_plugins": ["wan2gp-svi"]}})
    if as_plugin:
        assert list(application.plugin_manager.plugins) == ["wan2gp-svi"], "it says it itself"
        return
    assert application.enabled_plugins == ["wan2gp-svi", own_tab.ID]
    _, create = application.plugin_manager.plugins[own_tab.ID].tabs[own_tab.ID]
    create()
    said, = gradio.Markdown.call_args.args
    assert "### SVI is off" in said and "\n\nThe file in " in said and home not in said


def test_a_broken_package_leaves_the_page_alone(monkeypatch):
    monkeypatch.setattr(package, "off", lambda: "broken")
    monkeypatch.setitem(sys.modules, "shared.utils", None)
    assert package.svi("start", 1) == 1 == package.svi("after_save", 1)


def test_wangps_safe_mode_has_no_tab():
    module, said = plugins(), []
    own_tab.offer(module, said.append, tab.add)
    application = module.WAN2GPApplication()
    application.initialize_plugins({"SAFE_MODE": True, "server_config": {"enabled_plugins": []}})
    assert application.plugin_manager.plugins == {} and not said


def test_a_wangp_with_an_older_plugin_manager_has_no_tab_and_a_line_says_so():
    module, said = plugins(), []
    del module.PluginManager.set_server_config
    before = module.WAN2GPApplication.initialize_plugins
    own_tab.offer(module, said.append, tab.add)
    assert module.WAN2GPApplication.initialize_plugins is before and "before 10.52" in said[0]
