"""Faults planted in every hook and every stand-in for WanGP's functions, before and after
their work, in the stand-in for WanGP's loop: WanGP's queue moves on, no clip is lost, and
the video can be resumed."""

from __future__ import annotations

import concurrent.futures.thread
import gc
import io
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import videos
from loop import WanGP, in_one_go, of_pieces, settings, shown

from wan2gp_svi.runs import store
from wan2gp_svi.runs.state import State
from wan2gp_svi.wangp import clip, hooks, matching, page, recorder, stop_button, visitors
from wan2gp_svi.wangp.pipeline import current_clip


class Planted(Exception):
    pass


PLACES: dict[str, tuple[Any, str]] = {
    **{name: (hooks.HOOKS, name) for name in ("before_generate", "seed", "after_join",
                                              "after_save")},
    "finish": (clip.Clip, "finish"), "receive": (recorder.Recording, "receive"),
    "from_disk": (recorder.Recording, "from_disk"), "begin": (recorder.Recording, "begin"),
    "joined": (recorder.Recording, "joined"), "save": (recorder.Recording, "save"),
    "saved": (recorder.Recording, "saved"), "encode": (recorder.Recording, "_encode"),
    "grow": (recorder.Recording, "grow"), "add": (store.Run, "add"),
    "to_uint8": (recorder, "to_uint8"), "gallery": (page, "only_once"),
    "progress": (page, "tell_progress"), "matching.begin": (matching, "begin"),
}
#: a fault here loses a clip on its way to the run, so that it is made again
MADE_AGAIN = ("seed", "finish", "receive", "to_uint8")


def plant(monkeypatch: pytest.MonkeyPatch, place: str, at: int, when: str) -> list[int]:
    """Lets call number `at` of a place fail, before or after its work -> the calls so far."""
    owner, name = PLACES[place]
    real: Callable[..., Any] = owner[name] if isinstance(owner, dict) else getattr(owner, name)
    calls: list[int] = []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(len(calls) + 1)
        if when == "before" and calls[-1] == at:
            raise Planted("a fault")
        result = real(*arguments, **options)
        if when == "after" and calls[-1] == at:
            raise Planted("a fault")
        return result

    if isinstance(owner, dict):
        monkeypatch.setitem(owner, name, failing)
    else:
        monkeypatch.setattr(owner, name, failing)
    return calls


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return {id: in_one_go(tmp_path_factory.mktemp(id), settings(id, 3)) for id in ("film", "2.0")}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("place", PLACES)
def test_a_fault_ends_the_video_with_a_sentence_and_loses_nothing(
        place: str, at: int, when: str, tmp_path: Path, expected: dict[str, np.ndarray],
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    id = "2.0" if at == 2 else "film"
    (tmp_path / "Meine Videos ü").mkdir()
    wgp, asked = WanGP(tmp_path / "Meine Videos ü"), settings(id, 3)
    with monkeypatch.context() as planted:
        calls = plant(planted, place, at, when)
        assert wgp.generate(asked) and not wgp.error, "the queue goes on"
    if len(calls) < at:
        pytest.skip(f"{place} is called {len(calls)} times")
    said = [line for line in capsys.readouterr().out.splitlines()
            if "Please report this line" in line]
    assert [line for line in said if "Planted: a fault" in line
            and "SVI 1." in line], "the user is told"
    assert all(Path(path).is_file() for path in wgp.gen["file_list"]), "what WanGP shows is there"
    assert wgp.generate(settings("shot", 1)) and not wgp.error, "the next job is made"
    first = wgp.made[:-1]
    run, = [run for run in wgp.store.runs() if run.about.variant == id][:1] or [None]
    if run is not None and run.about.ended == State.FINISHED:
        assert len(run.done()) == 3 and np.array_equal(of_pieces(run), expected[id])
        return
    wgp.forget()
    assert wgp.generate(asked) and not wgp.error
    again = set(wgp.made) & set(first)
    assert not again or place in MADE_AGAIN and again == {first[-1]}
    assert np.array_equal(shown(wgp), expected[id])
    assert sum(run.about.variant == id and run.begun() for run in wgp.store.runs()) == 1


@pytest.mark.parametrize("id", ["shot", "2.0", "2.0-pro"])
def test_a_wangp_that_joins_clips_in_another_way_is_noticed_before_the_video_is_wrong(
        id: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "videos").mkdir()
    wgp, asked = WanGP(tmp_path / "videos"), settings(id, 3)
    wgp.drops = lambda shared: shared - 1
    assert wgp.generate(asked) and wgp.made == [1, 2]
    assert "this WanGP joins clips in another way" in capsys.readouterr().out
    wgp.drops = lambda shared: shared
    assert wgp.generate(asked) and wgp.made == [1, 2, 3]
    (tmp_path / "one go").mkdir()
    assert np.array_equal(shown(wgp), in_one_go(tmp_path / "one go", asked))


OFF = {"activated_loras": ["other.safetensors"]}
FULL = OSError(28, "No space left on device")


def fails(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, error: Exception,
          times: int = 1) -> None:
    """Lets a function fail so many times, from call number `at` on."""
    real, calls = getattr(owner, name), []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if at <= len(calls) < at + times:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, failing)


def is_free(run: store.Run, seconds: float = 5) -> bool:
    """Whether nobody holds the run, or lets go of it within `seconds`."""
    until = time.monotonic() + seconds
    while True:
        try:
            run.lock()()
        except store.StoreError:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        else:
            return True


@pytest.mark.parametrize("place", ["receive", "joined", "save", "_encode"])
def test_where_intermediate_videos_are_not_kept_a_fault_does_not_remove_the_video_so_far(
        place: str, tmp_path: Path, expected: dict[str, np.ndarray],
        monkeypatch: pytest.MonkeyPatch):
    wgp = WanGP(tmp_path)
    wgp.server["keep_intermediate_sliding_windows"] = 0
    fails(monkeypatch, recorder.Recording, place, 3, Planted("a fault"))
    assert wgp.generate(settings("film", 3))
    first, own = map(Path, wgp.gen["file_list"])
    assert len(wgp.gen["file_settings_list"]) == 2 and own.is_file()
    assert np.array_equal(videos.read(first),
                          expected["film"][: 2 * 76]), "two clips, as before the fault"


def test_a_disk_that_is_full_as_a_clip_is_kept_is_said_in_a_sentence(
        tmp_path: Path, expected: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture):
    wgp = WanGP(tmp_path)
    with monkeypatch.context() as planted:
        fails(planted, store.Run, "keep", 2, FULL)
        assert wgp.generate(settings("film", 3))
    said = capsys.readouterr().out
    assert ("Clip 2 cannot be written to run" in said and "Free some disk space" in said
            and "bug in SVI" not in said)
    assert "WanGP may put that clip alone into a file of its own" in said
    assert len(videos.read(wgp.video)) == 76, "so it has"
    ended, = {run.about.ended for run in wgp.store.runs()}
    assert ended == "clip 2 could not be written: No space left on device"
    assert wgp.generate(settings("film", 3)) and np.array_equal(shown(wgp), expected["film"])


@pytest.mark.parametrize(("error", "how"), [
    (OSError(30, "Read-only file system"), "Check the disk"),
    (PermissionError(13, "Permission denied"), "Close the program that uses the file, or allow "
                                               "writing")])
@pytest.mark.parametrize("name", ["keep", "add"])
def test_what_to_do_about_a_clip_that_cannot_be_written_goes_by_the_reason(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
        error: OSError, how: str, name: str):
    wgp = WanGP(tmp_path)
    fails(monkeypatch, store.Run, name, 2, error)
    wgp.generate(settings("film", 3))
    said = capsys.readouterr().out + wgp.error  # as the work beside has failed sooner or later
    assert f". {how}, then press Generate again" in said and "disk space" not in said


def test_a_page_knows_its_run_from_the_moment_when_others_see_it_run(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wgp, known, lock = WanGP(tmp_path), [], store.Run.lock
    with monkeypatch.context() as planted:
        fails(planted, store.Run, "keep", 2, FULL)
        wgp.generate(settings("film", 3))
    wgp.gen.pop(stop_button.RUN)
    monkeypatch.setattr(store.Run, "lock", lambda run: (
        known.append(getattr(wgp.gen.get(stop_button.RUN), "name", "") == run.name), lock(run))[1])
    assert wgp.generate(settings("film", 3))
    assert known[-1], "those before are let go at once"


def test_of_a_first_clip_that_cannot_be_kept_nothing_is_called_safe(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    wgp = WanGP(tmp_path)
    fails(monkeypatch, store.Run, "keep", 1, FULL)
    assert wgp.generate(settings("film", 3))
    said = capsys.readouterr().out
    assert "which makes clip 1 again." in said and "are safe" not in said


@pytest.mark.parametrize("listen", [True, False])
def test_what_goes_wrong_in_a_video_names_no_folder_above_wangps_on_a_page_that_others_can_open(
        listen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture):
    monkeypatch.delenv(visitors.TRUST, raising=False)
    wgp, above = WanGP(tmp_path / "outputs"), str(tmp_path)
    wgp.folder.mkdir()
    monkeypatch.setitem(sys.modules, "wgp", SimpleNamespace(
        server_config={}, save_path=str(wgp.folder),
        args=SimpleNamespace(listen=listen, share=False, server_name="")))
    with monkeypatch.context() as planted:
        fails(planted, store.Run, "keep", 2, FULL)
        wgp.generate(settings("film", 3))
    (_, told), = [one for one in wgp.told if "cannot be written" in str(one)]
    assert (above not in told) == listen and above in capsys.readouterr().out, "the log has all"
    with monkeypatch.context() as planted:
        usage = SimpleNamespace(free=2**20)
        planted.setattr(recorder.shutil, "disk_usage", lambda folder: usage)
        assert not wgp.generate(settings("film", 3))
    assert "nearly full" in wgp.error and (above not in wgp.error) == listen


def test_where_wangp_cannot_write_the_clip_either_the_page_says_why_and_no_empty_video_is_left(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def before(path: Path) -> bool:
        if own := path.parent == wgp.folder:
            path.touch()  # as FFmpeg leaves it on a full disk
        return not own

    wgp = WanGP(tmp_path)
    wgp.writer.before = before
    fails(monkeypatch, store.Run, "keep", 2, FULL)
    with pytest.raises(store.StoreError, match="Clip 2 cannot be written to run .* Free some"):
        wgp.generate(settings("film", 3))
    assert all(path.stat().st_size for path in wgp.folder.glob("*.mp4"))
    run, = wgp.store.runs()
    assert len(run.done()) == 1 and run.video


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
@pytest.mark.parametrize("place", ["receive", "save"])
def test_a_run_whose_folder_is_removed_while_it_is_made_is_not_called_safe(
        place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    wgp, real, calls = WanGP(tmp_path), getattr(recorder.Recording, place), []

    def removed(recording, *arguments, **options):
        calls.append(place)
        if len(calls) == 2:
            shutil.rmtree(recording.run.folder)
        return real(recording, *arguments, **options)

    monkeypatch.setattr(recorder.Recording, place, removed)
    wgp.generate(settings("film", 3))
    said = capsys.readouterr().out + wgp.error
    assert "is gone, with all clips of run" in said and "are safe" not in said, said


@pytest.mark.parametrize("aborted", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_loop_that_ends_between_join_and_save_lets_go_of_the_run(
        at: int, aborted: bool, tmp_path: Path, expected: dict[str, np.ndarray]):
    wgp = WanGP(tmp_path)
    wgp.gen["abort"] = aborted
    wgp.aborts_upsampling = lambda window: window == at
    assert wgp.generate(settings("film", 3))
    wgp.lists.clear()  # the tests' own
    run = wgp.run
    assert is_free(run)
    current_clip(wgp.pipe).video.recording.wait()
    assert wgp.run.about.ended == (State.STOPPED if aborted else "")
    wgp.aborts_upsampling = lambda window: False
    wgp.forget()
    assert wgp.generate(settings("film", 3)) and wgp.made == [1, 2, 3][at:]
    assert np.array_equal(shown(wgp), expected["film"]) and len(list(wgp.store.runs())) == 1


def test_the_garbage_collector_may_end_a_loop_while_a_lock_is_held(tmp_path: Path):
    """It may interrupt any code, even an executor that is being given work."""
    wgp = WanGP(tmp_path)
    wgp.aborts_upsampling = lambda window: window == 2
    assert wgp.generate(settings("film", 3))
    run, ended = wgp.run, threading.Event()

    def interrupted() -> None:
        with concurrent.futures.thread._global_shutdown_lock:
            wgp.lists.clear()
            gc.collect()
        ended.set()

    threading.Thread(target=interrupted, daemon=True).start()
    assert ended.wait(20), "the collector waits for the lock that it interrupted"
    assert is_free(run)


def test_a_fault_that_stays_keeps_neither_the_run_nor_the_next_job(
        tmp_path: Path, expected: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch):
    wgp = WanGP(tmp_path)
    with monkeypatch.context() as planted:
        fails(planted, recorder.Recording, "grow", 2, Planted("a fault"), times=99)
        assert wgp.generate(settings("film", 3))
        run = wgp.run
        assert is_free(run, 0)
        fails(planted, recorder.Recording, "close", 1, Planted("a fault"), times=99)
        wgp.forget()
        assert wgp.generate(settings("shot", 2, **OFF)) and wgp.made == [1, 2]
    assert wgp.generate(settings("film", 3)) and np.array_equal(shown(wgp), expected["film"])


def test_a_fault_of_a_hook_does_not_touch_a_video_without_svi(tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch):
    for name in ("seed", "after_join", "after_save"):
        monkeypatch.setitem(hooks.HOOKS, name, lambda *_: 1 / 0)
    wgp = WanGP(tmp_path)
    assert wgp.generate(settings("shot", 2, **OFF)) and not wgp.error and wgp.made == [1, 2]
    assert len(shown(wgp)) == 161


@pytest.mark.parametrize("place", ["after_join", "after_save"])
def test_out_of_memory_where_wangp_does_not_catch_it_ends_the_video_alone(
        place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(hooks.HOOKS, place,
                        lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("VRAM")))
    assert WanGP(tmp_path).generate(settings("film", 2))


def test_after_a_fault_in_the_last_step_before_generate_the_pipeline_has_its_own(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wgp = WanGP(tmp_path)
    fails(monkeypatch, page, "tell_progress", 2, Planted("a fault"))
    assert wgp.generate(settings("film", 3)) and "generate" not in vars(wgp.pipe)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_neither_a_log_without_letters_nor_an_error_without_words_ends_the_queue(
        tmp_path: Path, expected: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "Видео"
    folder.mkdir()
    wgp, log = WanGP(folder), io.BytesIO()
    with monkeypatch.context() as planted:
        planted.setattr("sys.stdout", io.TextIOWrapper(log, encoding="cp1252"))
        assert wgp.generate(settings("film", 3)) and np.array_equal(shown(wgp), expected["film"])
        assert b"clip 3/3 done" in log.getvalue()
        fails(planted, recorder.Recording, "save", 2, Unspeakable())
        assert wgp.generate(settings("film", 3, seed=8))
        assert b"Unspeakable" in log.getvalue()
