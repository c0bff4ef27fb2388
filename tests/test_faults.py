"""A fault planted in every hook and everything that stands in for something of WanGP's, before its work and after it,
in a stand-in for WanGP's loop (loop.py): WanGP's queue goes on, no clip is lost, and the video is resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop import WanGP, in_one_go, of_pieces, settings, shown

from wan2gp_svi.runs import store
from wan2gp_svi.runs.state import State
from wan2gp_svi.wangp import clip, hooks, matching, page, recorder


class Planted(Exception):
    pass


PLACES: dict[str, tuple[Any, str]] = {
    **{name: (hooks.HOOKS, name) for name in ("before_generate", "seed", "after_join", "after_save")},
    "Generate.made": (clip.Clip, "made"), "receive": (recorder.Recording, "receive"),
    "from_disk": (recorder.Recording, "from_disk"), "begin": (recorder.Recording, "begin"),
    "joined": (recorder.Recording, "joined"), "save": (recorder.Recording, "save"),
    "saved": (recorder.Recording, "saved"), "encode": (recorder.Recording, "_encode"),
    "grow": (recorder.Recording, "_grow"), "add": (store.Run, "add"), "to_uint8": (recorder, "to_uint8"),
    "gallery": (page, "only_once"), "progress": (page, "tell_progress"), "matching.begin": (matching, "begin"),
}
#: a fault here ends the making of a clip, or keeps it from the run: WanGP then writes it into a file of its own
MADE_AGAIN = ("seed", "Generate.made", "receive", "to_uint8")


def plant(monkeypatch: pytest.MonkeyPatch, place: str, at: int, when: str) -> list[int]:
    """From its call number `at` on the place fails once, before its work or after it -> the calls so far."""
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
    said = [line for line in capsys.readouterr().out.splitlines() if "Please report this line" in line]
    assert [line for line in said if "Planted: a fault" in line and "SVI 1." in line], "the user is told"
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
