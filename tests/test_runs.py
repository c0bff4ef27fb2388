"""Which run on disk the loop goes on with, and runs that are resumed,
extended, or redone from a clip."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import videos
from loop import KINDS, SIDE, WanGP, in_one_go, settings, shown

from wan2gp_svi import chain
from wan2gp_svi.runs.record import StoreError
from wan2gp_svi.runs.state import rename
from wan2gp_svi.runs.store import Run
from wan2gp_svi.storyboard import Storyboard
from wan2gp_svi.variants import VARIANTS
from wan2gp_svi.wangp import matching, resuming
from wan2gp_svi.wangp.form import SettingsError
from wan2gp_svi.wangp.handler import prepare

Whole = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def wgp(tmp_path: Path) -> WanGP:
    (tmp_path / "out puts").mkdir()
    return WanGP(tmp_path / "out puts")


@pytest.fixture
def whole(tmp_path: Path) -> Whole:
    """The frames of the same settings in one go."""
    (tmp_path / "in one go").mkdir()
    return lambda asked: in_one_go(tmp_path / "in one go", asked)


def broken_off(wgp: WanGP, asked: dict, window: int, how: str = "error") -> Run:
    """A run that failed at a window, or was stopped there."""
    def before(at: int) -> bool:
        if at == window and how == "error":
            raise torch.OutOfMemoryError("VRAM")
        return at != window

    wgp.pipe.before = before
    assert wgp.generate(asked) is (how == "stop")
    wgp.pipe.before = lambda at: True
    wgp.forget()
    return wgp.run


def content(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.iterdir()}


def named(asked: dict, name: str) -> dict:
    return asked | {"custom_settings": {"svi_run": name}}


# ------------------------------------------------------------------------------------ `auto`, `new`

def test_a_finished_run_is_not_gone_on_with(wgp: WanGP):
    assert wgp.generate(settings("shot", 2)) and wgp.generate(settings("shot", 2))
    assert wgp.made == [1, 2, 1, 2] and len(list(wgp.store.runs())) == 2


def test_new_is_a_new_run(wgp: WanGP):
    broken_off(wgp, settings("shot", 2), 2)
    assert wgp.generate(named(settings("shot", 2), "new")) and wgp.made == [1, 2]


def test_another_seed_is_a_new_run_and_nothing_is_said(wgp: WanGP, capsys: pytest.CaptureFixture):
    broken_off(wgp, settings("shot", 2), 2)
    assert wgp.generate(settings("shot", 2, seed=8)) and wgp.made == [1, 2]
    assert "this is a new run" not in capsys.readouterr().out


@pytest.mark.parametrize(("change", "said"), [
    ({"num_inference_steps": 8}, "inference steps 8 (it has 4)"),
    ({"guidance_scale": 5.0}, "guidance scale 5.0 (it has 1.0)"),
    ({"temporal_upsampling": "rife2"}, 'temporal upsampling "rife2" (it has "")'),
    ({"custom_settings": {"ref_pad_num": "3"}}, "SVI padding 3 (it has -1)"),
])
def test_a_changed_setting_is_a_new_run_and_a_line_says_which(wgp: WanGP,
                                                              capsys: pytest.CaptureFixture,
                                                              change: dict, said: str):
    run = broken_off(wgp, settings("shot", 3), 3)
    before = content(run)
    assert wgp.generate(settings("shot", 3) | change) and wgp.made == [1, 2, 3]
    out = capsys.readouterr().out
    assert f"this is a new run: run {run.name} has" in out and said in out
    assert content(run) == before


def test_a_changed_lora_file_is_a_new_run(wgp: WanGP, capsys: pytest.CaptureFixture):
    lora = wgp.folder / "svi-shot.safetensors"
    lora.write_bytes(b"one")
    run = broken_off(wgp, settings("shot", 3), 3)
    lora.write_bytes(b"two")
    assert wgp.generate(settings("shot", 3)) and wgp.made == [1, 2, 3]
    assert "LoRA files" in capsys.readouterr().out and len(run.done()) == 2


def test_another_start_image_is_a_new_run_and_nothing_is_said(wgp: WanGP,
                                                              capsys: pytest.CaptureFixture):
    broken_off(wgp, settings("shot", 2), 2)
    other = settings("shot", 2)
    other["image_start"] = other["image_start"].rotate(90)
    assert (wgp.generate(other) and wgp.made == [1, 2]
            and "this is a new run" not in capsys.readouterr().out)


def test_a_changed_prompt_of_a_clip_that_is_there_is_a_new_run_and_of_one_to_come_is_not(
        wgp: WanGP):
    broken_off(wgp, settings("shot", 3, prompt="one\n\ntwo\n\nthree"), 3)
    assert wgp.generate(settings("shot", 3, prompt="one\n\ntwo\n\nfour")) and wgp.made == [3]
    assert wgp.run.clip(2).prompt == "four"
    wgp.forget()
    broken_off(wgp, settings("shot", 3, prompt="one\n\ntwo\n\nthree"), 3)
    assert (wgp.generate(settings("shot", 3, prompt="one\n\nelse\n\nthree"))
            and wgp.made == [1, 2, 3])


@pytest.mark.parametrize(("how", "made"), [("error", [2, 3]), ("stop", [1, 2, 3])])
def test_with_a_random_seed_a_run_that_broke_off_is_gone_on_with_and_one_that_was_stopped_is_not(
        wgp: WanGP, whole: Whole, how: str, made: list[int]):
    run = broken_off(wgp, settings("film", 3, seed=-1), 2, how)
    assert wgp.generate(settings("film", 3, seed=-1)) and wgp.made == made
    seed = wgp.run.about.seed
    assert (seed == run.about.seed) == (how == "error")
    assert np.array_equal(shown(wgp), whole(settings("film", 3, seed=seed)))


@pytest.mark.parametrize("seed", [7, -1])
@pytest.mark.parametrize("how", ["error", "stop"])
def test_a_run_that_ended_in_its_first_clip_begins_again(
        wgp: WanGP, capsys: pytest.CaptureFixture, seed: int, how: str):
    asked = settings("shot", 2, seed=seed)
    run = broken_off(wgp, asked, 1, how)
    rename(run, "the storm")
    (run.folder / "sound.wav").write_bytes(b"of the run that it was")
    assert wgp.generate(asked | {"prompt": "a boat"}) and wgp.made == [1, 2]
    again, = wgp.store.runs()
    assert again.name == run.name and again.about.label == "the storm" and again.sound is None
    assert [clip.prompt for clip in again.done()] == ["a boat"] * 2
    assert (again.about.seed == run.about.seed) == (seed == 7), "nobody has seen the seed"
    assert f"run {run.name} begins again: none of its clips" in capsys.readouterr().out
    assert {"start.png", "reference.png"} <= content(again).keys()


@pytest.mark.parametrize("change", [{"seed": 8}, {"num_inference_steps": 8},
                                    {"custom_settings": {"svi_run": "new"}}])
def test_a_run_that_ended_in_its_first_clip_stays_where_another_video_is_asked_for(
        wgp: WanGP, change: dict):
    run = broken_off(wgp, settings("shot", 2), 1)
    before = content(run)
    assert wgp.generate(settings("shot", 2) | change)
    assert len([*wgp.store.runs()]) == 2 and content(run) == before


def test_a_run_that_has_a_clip_goes_before_a_newer_one_that_has_none(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 2), 2)
    newer = broken_off(wgp, named(settings("shot", 2), "new"), 1)
    assert wgp.generate(settings("shot", 2)) and wgp.made == [2] and wgp.run.name == run.name
    newer.path(0, "-frames.safetensors").write_bytes(b"made, not saved")
    with pytest.raises(StoreError, match="has a clip"):
        newer.begin_again(newer.about, {})


def test_each_repetition_is_a_run_of_its_own(wgp: WanGP):
    assert wgp.generate(settings("shot", 2, repeat_generation=2)) and wgp.made == [1, 2, 1, 2]
    one, two = wgp.store.runs()
    assert one.about.seed != two.about.seed and len(set(wgp.gen["file_list"])) == 2


# -------------------------------------------------------------------------------- a run by its name

@pytest.mark.parametrize("id", KINDS)
def test_a_run_is_resumed_from_its_own_settings(wgp: WanGP, whole: Whole, id: str):
    run = broken_off(wgp, settings(id, 3), 3)
    broken_off(wgp, settings(id, 3, seed=8), 2)
    assert wgp.generate(resuming.resumed(run)), wgp.error
    assert wgp.made == [3] and np.array_equal(shown(wgp), whole(settings(id, 3)))


def test_a_run_is_known_by_the_end_of_its_name(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 2), 2)
    assert wgp.generate(named(settings("shot", 2), run.name[-4:].upper())) and wgp.made == [2]


@pytest.mark.parametrize(("change", "said"), [
    ({"num_inference_steps": 8}, "inference steps 8 (it has 4)"),
    ({"seed": 8}, "seed 8 (it has 7)")])
def test_a_run_by_its_name_is_refused_with_what_differs(wgp: WanGP, change: dict, said: str):
    run = broken_off(wgp, settings("shot", 2), 2)
    before = content(run)
    assert not wgp.generate(named(settings("shot", 2), run.name) | change) and wgp.made == []
    assert f"Run {run.name} was made with other settings" in wgp.error and said in wgp.error
    assert content(run) == before and len(list(wgp.store.runs())) == 1


def test_another_start_image_is_refused_in_words_and_without_a_chain_of_tracebacks(
        wgp: WanGP, monkeypatch: pytest.MonkeyPatch):
    run = broken_off(wgp, settings("shot", 2), 2)
    other, seen, real = settings("shot", 2), [], matching.begin
    other["image_start"] = other["image_start"].rotate(90)

    def begin(*arguments: Any, **options: Any) -> Any:
        try:
            return real(*arguments, **options)
        except SettingsError as error:  # WanGP prints it
            seen.extend(traceback.format_exception(error))
            raise

    monkeypatch.setattr(matching, "begin", begin)
    assert not wgp.generate(named(other, run.name))
    assert "not fit together: another start image. Set them back" in wgp.error
    assert "".join(seen).count("Traceback") == 1


def test_nothing_is_nothing_however_it_is_written(wgp: WanGP):
    """WanGP's form gives None where its files have an empty text."""
    run = broken_off(wgp, settings("shot", 2), 2)
    assert run.about.decides["temporal_upsampling"] == ""
    run.change(replace(run.about, decides={**run.about.decides, "temporal_upsampling": None}))
    assert wgp.generate(named(settings("shot", 2), run.name)) and wgp.made == [2]


def test_a_run_by_its_name_is_refused_where_prompts_of_clips_that_are_there_changed(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 2), 2)
    assert not wgp.generate(named(settings("shot", 2, prompt="other"), run.name))
    assert "The prompts differ from those that the clips of run" in wgp.error


@pytest.mark.parametrize(("wish", "said"), [
    ("nobody", "There is no run"), ("{}@1", "a redo starts from clip 2 or later"),
    ("{}@x", "a redo starts from clip 2 or later"),
    ("{}@9", "so it can be redone only from clip 2"), ("{}", "has 2 finished clips")])
def test_what_cannot_be_is_said(wgp: WanGP, wish: str, said: str):
    wgp.generate(settings("shot", 2))
    assert (not wgp.generate(named(settings("shot", 2), wish.format(wgp.run.name)))
            and said in wgp.error)


@pytest.fixture
def before_loading(wgp: WanGP, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict], str]:
    """What WanGP is told when it asks whether a request is possible; no model is loaded then."""
    running = SimpleNamespace(save_path=str(wgp.folder), server_config=wgp.server)
    monkeypatch.setitem(sys.modules, "wgp", running)
    return lambda asked: prepare("i2v", {}, dict(asked))


@pytest.mark.parametrize(("change", "wish", "said"), [
    ({}, "nobody", "SVI: There is no run 'nobody'"),
    ({}, "{}@1", "a redo starts from clip 2 or later"),
    ({}, "{}@x", "a redo starts from clip 2 or later"),
    ({}, "{}@9", "has 2 finished clips of 2, so it can be redone only from clip 2"),
    ({}, "{}@2", "has exactly these clips already. Enter another prompt or seed"),
    ({"video_length": 81}, "{}@2", "these settings have 1 clip. Set 162 frames or more"),
    ({}, "{}", "has 2 finished clips. Ask for more frames"),
    ({"seed": 8, "video_length": 243}, "{}", "seed 8 (it has 7)"),
    ({"num_inference_steps": 8, "video_length": 243}, "{}", "inference steps 8 (it has 4)"),
    ({"custom_settings": {"ref_pad_num": "3"}}, "{}@2", "SVI padding 3 (it has -1)"),
])
def test_what_cannot_be_is_said_before_the_model_is_loaded(
        wgp: WanGP, before_loading: Callable[[dict], str], change: dict, wish: str, said: str):
    assert wgp.generate(settings("shot", 2))
    wish = wish.format(wgp.run.name[-4:])
    custom = {**change.get("custom_settings", {}), "svi_run": wish}
    asked = settings("shot", 2) | change | {"custom_settings": custom}
    message = before_loading(asked)
    assert said in message
    wgp.forget()
    assert not wgp.generate(asked) and message == f"SVI: {wgp.error}", "the same words later on"


def test_a_run_that_begins_in_another_way_is_refused_before_the_model_is_loaded(
        wgp: WanGP, before_loading: Callable[[dict], str], tmp_path: Path):
    assert wgp.generate(settings("shot", 2))
    run, about = wgp.run, wgp.run.about
    video = tmp_path / "a.mp4"
    video.write_bytes(b"a video")
    continued = {"image_prompt_type": "V", "video_source": str(video)}
    asked = named(settings("shot", 3), run.name)
    assert "starts with an image. Choose to start" in before_loading(asked | continued)
    run.change(replace(about, settings=about.settings | continued))
    assert "continues a video. Choose to continue" in before_loading(asked)


def test_what_can_be_is_let_through_before_the_model_is_loaded(
        wgp: WanGP, before_loading: Callable[[dict], str]):
    assert wgp.generate(settings("shot", 2))
    run, about = wgp.run, wgp.run.about
    discards = {"sliding_window_discard_last_frames": 4}
    run.change(replace(about, settings={**about.settings, **dict.fromkeys(discards, 0)}))
    adjusted = named(settings("shot", 3, **discards), run.name)  # to 0, for SVI
    for asked in (adjusted, resuming.extended(wgp.run, 1), resuming.redone(wgp.run, 2, seed=5),
                  named(settings("shot", 3), wgp.run.name), settings("shot", 2)):
        assert before_loading(asked) == ""
    run = broken_off(wgp, settings("shot", 3, seed=-1), 3)
    assert before_loading(named(settings("shot", 3, seed=-1), run.name)) == ""
    wgp.server |= {"vae_precision": "32"}
    refused = before_loading(resuming.resumed(run))
    assert "the configuration's vae precision \"32\" (it has \"16\")" in refused


def test_another_start_image_is_said_before_the_model_is_loaded(
        wgp: WanGP, before_loading: Callable[[dict], str], tmp_path: Path):
    run = broken_off(wgp, settings("shot", 3), 3)
    picture, path = settings("shot", 3)["image_start"], tmp_path / "given.webp"
    other, wide = picture.rotate(90), picture.resize((2 * SIDE, SIDE))
    for wish in (run.name, f"{run.name}@2"):
        for image in (other, [(other, "a caption")], wide):
            said = before_loading(named({**settings("shot", 3), "image_start": image}, wish))
            assert "not fit together: another start image. Set them back" in said
    for image, same in ((picture, True), (other, False), (wide, False)):
        image.save(path, lossless=True)  # as WanGP's form keeps it
        for given in (str(path), [str(path)]):
            asked = named({**settings("shot", 3), "image_start": given}, run.name)
            assert ("another start image" in before_loading(asked)) != same
    for name in ("start.png", "reference.png"):
        asked = named({**settings("shot", 3), "image_start": str(run.folder / name)}, run.name)
        assert before_loading(asked) == ""
    (run.folder / "start.png").unlink()
    assert before_loading(named({**settings("shot", 3), "image_start": other}, run.name)) == ""


def test_a_run_that_is_running_is_refused_elsewhere_and_can_be_queued_here(
        wgp: WanGP, before_loading: Callable[[dict], str]):
    said: list[str] = []

    def queue(at: int) -> None:
        if at == 2:
            said.append(before_loading(named(settings("shot", 2), wgp.run.name)))

    wgp.at_window = queue
    assert wgp.generate(settings("shot", 2)) and said == [""]
    release = wgp.run.lock()  # as another WanGP would
    assert "is running in another WanGP" in before_loading(named(settings("shot", 3),
                                                                 wgp.run.name))
    release()


def test_a_run_that_has_no_clip_cannot_be_gone_on_with_and_says_so(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 2), 1)
    for make in (lambda: resuming.resumed(run), lambda: resuming.extended(run, 1),
                 lambda: resuming.redone(run, 2)):
        with pytest.raises(StoreError):
            make()


def test_a_caller_that_wants_all_frames_does_not_get_the_ends_of_clips_alone(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 2), 2)
    asked = resuming.resumed(run) | {"api_return_video_uint8": True}
    assert not wgp.generate(asked) or sum(part.shape[1] for part in wgp.artifact) == 161


# -------------------------------------------------------------------------------- continued videos

@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video that no run made, and that says nothing about itself."""
    def none(*_: str) -> None:
        return None

    metadata = SimpleNamespace(read_metadata_from_video=none, extract_source_images=none)
    monkeypatch.setitem(sys.modules, "shared.utils.video_metadata", metadata)
    frames = np.random.default_rng(2).integers(0, 256, (81, SIDE, SIDE, 3), np.uint8)
    return videos.write(tmp_path / "foreign.mp4", frames)


def test_that_the_last_frame_is_the_reference_is_said_on_the_page(wgp: WanGP, foreign: Path):
    asked = {"image_prompt_type": "V", "image_start": None, "video_source": str(foreign)}
    assert wgp.generate(settings("shot", 1, **asked)), wgp.error
    (kind, text), = [message for message in wgp.told if message[0] == "info"]
    assert text.startswith("SVI: the reference is the LAST FRAME of the video")
    assert wgp.run.about.seed == 7, "the user's, since the video names no seeds"


@pytest.mark.parametrize("kind", ["V", "L"])
def test_a_run_keeps_the_video_that_it_continues(wgp: WanGP, foreign: Path, whole: Whole,
                                                 kind: str):
    """The tab resumes, extends and redoes it when that video is long gone; "L": the last of the
    page's gallery."""
    given = settings("shot", 3, image_start=None, video_source=str(foreign))
    made = whole(given | {"image_prompt_type": "V"})
    run = broken_off(wgp, given | {"image_prompt_type": kind}, 2)
    foreign.unlink()
    wgp.forget()
    asked = {"image_start": None} | resuming.resumed(run)
    assert asked["image_prompt_type"] == "V" and Path(asked["video_source"]).parent == run.folder
    assert wgp.generate(asked), wgp.error
    assert wgp.made == [2, 3] and np.array_equal(shown(wgp), made)
    wgp.forget()
    assert wgp.generate({"image_start": None} | resuming.redone(wgp.run, 3, seed=9)), wgp.error
    assert wgp.made == [3]


# -------------------------------------------------------------------------------------- made longer

@pytest.mark.parametrize("id", KINDS)
def test_a_longer_run_is_what_it_would_have_been_at_once(wgp: WanGP, whole: Whole, id: str):
    assert wgp.generate(settings(id, 2, prompt="one"))
    wgp.forget()
    assert wgp.generate(resuming.extended(wgp.run, 2)), wgp.error
    assert wgp.made == [3, 4] and np.array_equal(shown(wgp), whole(settings(id, 4, prompt="one")))
    assert wgp.run.about.clips == 4


@pytest.mark.parametrize("id", [
    *(id for id in KINDS if id != "2.0"),
    "2.0",
])
def test_a_longer_run_has_prompts_of_its_own(wgp: WanGP, id: str):
    assert wgp.generate(settings(id, 4, prompt="one\n\ntwo"))
    before = [clip.prompt for clip in wgp.run.done()]
    wgp.forget()
    assert wgp.generate(resuming.extended(wgp.run, 2, ["three", "four"])), wgp.error
    assert ([clip.prompt for clip in wgp.run.done()] == [*before, "three", "four"]
            and wgp.made == [5, 6])


def test_an_unfinished_run_keeps_what_was_planned_and_gets_more_after_it(
        wgp: WanGP, capsys: pytest.CaptureFixture):
    run = broken_off(wgp, settings("shot", 3, prompt="one\n\ntwo\n\nthree"), 2, "stop")
    capsys.readouterr()
    assert wgp.generate(resuming.extended(run, 1, ["four"])), wgp.error
    assert f"extending run {run.name} to 4 clips, from clip 2 on (stopped)" in (
        capsys.readouterr().out)
    assert wgp.run.name == run.name and wgp.run.about.clips == 4 and wgp.made == [2, 3, 4]
    assert [clip.prompt for clip in wgp.run.done()] == ["one", "two", "three", "four"]


def test_a_finished_run_is_extended_and_a_redo_says_what_it_redoes(
        wgp: WanGP, capsys: pytest.CaptureFixture):
    assert wgp.generate(settings("shot", 2, prompt="one"))
    first = wgp.run
    assert wgp.generate(resuming.extended(first, 1))
    assert f"extending run {first.name} to 3 clips, from clip 3 on. For a new video" in (
        capsys.readouterr().out)
    assert wgp.generate(resuming.redone(wgp.run, 2, "two"))
    assert f"run {wgp.run.name} redoes run {first.name}, from clip 2 of 3. For a new video" in (
        capsys.readouterr().out)


@pytest.mark.parametrize(("longer", "clips"), [
    (lambda run: resuming.extended(run, 1), 4), (lambda run: resuming.extended(run, 3), 6),
    (lambda run: resuming.extended(run, 1, ["three"]), 4),
    (lambda run: resuming.restaged(run, Storyboard(), 4), 4)])
def test_clips_to_come_keep_their_prompts_although_a_longer_run_has_each_for_more_clips(
        wgp: WanGP, longer: Callable, clips: int):
    assert wgp.generate(settings("2.0", 3, prompt="one\n\ntwo") | {"stop_after": 1})
    asked = longer(wgp.run)
    assert wgp.generate(asked), wgp.error
    prompts = [clip.prompt for clip in wgp.run.done()]
    assert prompts[:3] == ["one", "two", "two"] and len(prompts) == clips
    assert {*prompts[3:]} == {"three" if "three" in asked["prompt"] else "two"}


def test_more_frames_with_the_same_settings_make_a_run_longer(wgp: WanGP, whole: Whole):
    assert wgp.generate(settings("film", 2, prompt="one"))
    wgp.forget()
    assert wgp.generate(settings("film", 3, prompt="one")) and wgp.made == [3]
    assert np.array_equal(shown(wgp), whole(settings("film", 3, prompt="one")))


# ------------------------------------------------------------------------------------------- redone

@pytest.mark.parametrize("id", KINDS)
def test_a_clip_is_redone_with_another_prompt_and_the_old_run_stays(wgp: WanGP, whole: Whole,
                                                                    id: str):
    assert wgp.generate(settings(id, 4, prompt="one\n\ntwo"))
    old, video = wgp.run, wgp.video
    before, frames = content(old), shown(wgp)
    stream = [clip.prompt for clip in old.done()]
    wgp.forget()
    assert wgp.generate(resuming.redone(old, 3, prompt="else")), wgp.error
    assert wgp.made == [3, 4] and wgp.run.name != old.name
    until = [prompt if number < 2 or prompt != stream[2] else "else"
             for number, prompt in enumerate(stream)]
    assert [clip.prompt for clip in wgp.run.done()] == until
    assert (content(old) == before and np.array_equal(videos.read(video), frames)
            and wgp.video != video)
    assert np.array_equal(shown(wgp), whole(settings(id, 4, prompt="\n\n".join(until))))


@pytest.mark.parametrize("id", ["film", "2.0-pro"])
def test_a_clip_is_redone_with_another_seed(wgp: WanGP, id: str):
    overlap = VARIANTS[id].overlap
    assert wgp.generate(settings(id, 3))
    old, frames = wgp.run, shown(wgp)
    wgp.forget()
    assert wgp.generate(resuming.redone(old, 2, seed=99)), wgp.error
    assert wgp.made == [2, 3] and [clip.seed for clip in wgp.run.done()] == [7, 141, 183]
    same = 81 - overlap if VARIANTS[id].keep_new else 81
    assert (np.array_equal(shown(wgp)[:same], frames[:same])
            and not np.array_equal(shown(wgp)[same], frames[same]))
    assert len(shown(wgp)) == chain.length(3, overlap)


def test_the_same_redo_again_is_refused_and_so_is_one_that_changes_nothing(wgp: WanGP):
    """The name of the run stays in WanGP's form, where the user presses Generate again."""
    assert wgp.generate(settings("film", 3))
    old, again = wgp.run, resuming.redone(wgp.run, 2, prompt="else")
    assert wgp.generate(again)
    new = wgp.run
    wgp.forget()
    assert not wgp.generate(again) and wgp.made == []
    assert f"Run {new.name} has exactly these clips already" in wgp.error
    assert not wgp.generate(named(settings("film", 3), f"{old.name}@2")) and wgp.made == []
    assert f"Run {old.name} has exactly these clips already" in wgp.error
    assert len(list(wgp.store.runs())) == 2


def test_a_redone_run_that_failed_is_resumed(wgp: WanGP):
    assert wgp.generate(settings("film", 4))
    again = resuming.redone(wgp.run, 2, prompt="else")
    run = broken_off(wgp, again, 4)
    assert len(run.done()) == 3 and wgp.generate(again) and wgp.made == [4]
    assert len(list(wgp.store.runs())) == 2
    run = broken_off(wgp, resuming.redone(run, 3, seed=5), 4)
    assert wgp.generate(resuming.resumed(run)) and wgp.made == [4]


def test_from_which_clip_a_run_can_be_redone(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 4), 3)
    for clip in (0, 1, 4):
        with pytest.raises(StoreError, match="clip 2 to 3"):
            resuming.redone(run, clip)
    assert wgp.generate(resuming.redone(run, 3, prompt="else")), wgp.error
    assert wgp.made == [3, 4]


def test_a_window_that_was_added_is_redone_too(wgp: WanGP):
    wgp.at_window = lambda at: wgp.gen.update(extra_windows=int(at == 2))
    assert wgp.generate(settings("film", 2))
    wgp.at_window = lambda at: None
    wgp.forget()
    assert wgp.generate(resuming.redone(wgp.run, 2, seed=3)), wgp.error
    assert wgp.made == [2, 3]


def test_a_configuration_that_says_nothing_means_wangps_default(wgp: WanGP):
    """WanGP writes its defaults into the file when the configuration is
    saved for the first time."""
    run = broken_off(wgp, settings("shot", 2), 2)
    assert run.about.decides["server vae_precision"] is None
    wgp.server |= {"vae_precision": "16", "int8_kernels": "auto",
                   "transformer_quantization": "int8"}
    assert wgp.generate(named(settings("shot", 2), run.name)) and wgp.made == [2]


def test_a_configuration_that_changes_the_picture_is_a_difference(wgp: WanGP):
    run = broken_off(wgp, settings("shot", 2), 2)
    wgp.server |= {"vae_precision": "32"}
    assert not wgp.generate(named(settings("shot", 2), run.name))
    assert "the configuration's vae precision \"32\" (it has \"16\")" in wgp.error


def test_a_setting_that_decides_nothing_may_change(wgp: WanGP, monkeypatch: pytest.MonkeyPatch):
    """A WanGP of tomorrow has settings that nobody knows today."""
    run = broken_off(wgp, settings("shot", 2), 2)
    assert not {"model_type", "resolution", "repeat_generation",
                "audio_source"} & set(run.about.decides)
    run.change(replace(run.about, decides={**run.about.decides, "audio_quality": "high"}))
    assert wgp.generate(settings("shot", 2)) and wgp.made == [2]
