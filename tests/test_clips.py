"""Finished clips on disk: they come back as written, and damage is noticed."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import videos
from held import held
from kills import killed, needs_fork

from wan2gp_svi import files
from wan2gp_svi.runs import store as store_module
from wan2gp_svi.runs.record import About, Clip, StoreError
from wan2gp_svi.runs.store import REMOVED, Run, Store, room, room_beside

BYTES = torch.arange(3 * 5 * 8 * 8).remainder(256).to(torch.uint8)
STATES = {
    "frames": {"motion_frames": BYTES.view(3, 5, 8, 8)},
    "frames that are no block": {"motion_frames": BYTES.view(5, 3, 8, 8).movedim(0, 1)},
    "latents of 16 bit": {"latents": torch.randn(1, 16, 1, 4, 4).bfloat16()},
    "latents of 32 bit": {"latents": torch.randn(1, 16, 1, 4, 4), "float": torch.ones(1)},
    "what is no number": {"latents": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])},
}
ABOUT = About(variant="shot", title="SVI-Shot", clips=4, seed=7, fps=16.0, asked=["Über „alles“"],
              prompts=["a\nb"], repeat=1, settings={"prompt": "ü"},
              decides={"steps": 4, "scale": 1.5, "none": None, "list": [1, "x"]})


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "Meine Videos ü" / "svi")


@pytest.fixture
def run(store: Store) -> Run:
    return store.new(ABOUT, {"start.png": b"a picture", "reference.png": b"another"})


def add(run: Run, number: int, tail: int = 0, **changes: Any) -> Clip:
    """A clip of 3 frames, and of a tail."""
    pieces = [run.path(number, ".mp4")]
    videos.write(pieces[0], videos.noise(3, number, side=16))
    if tail:
        pieces.append(run.path(number, "-tail.mp4"))
        videos.write(pieces[1], videos.noise(tail, number, side=16))
    state = {"motion_frames": torch.full((3, 1, 16, 16), number, dtype=torch.uint8)}
    return run.add(Clip(number, "a prompt", 7 + 42 * number, 3, tail, **changes), pieces, state)


def clip(run: Run, number: int) -> Clip:
    found = run.clip(number)
    assert found is not None
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ----------------------------------------------------------------------------------- there and back

@pytest.mark.parametrize("what", STATES)
def test_a_state_comes_back_bit_for_bit(run: Run, what: str):
    written = run.add(Clip(0, "", 0, 1), [], STATES[what])
    read = clip(Store(run.folder.parent).open(run.name), 0)
    found = run.state(read)
    assert found.keys() == STATES[what].keys() and run.seal(read) == run.seal(written)
    for name, tensor in STATES[what].items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        bits = tensor.contiguous().view(torch.uint8)
        assert found[name].contiguous().view(torch.uint8).equal(bits)


def test_the_same_state_has_the_same_seal_and_another_has_another(run: Run):
    states = [{"a": torch.tensor(values)} for values in ([1.0, 2.0], [1.0, 2.0], [1.0, 2.1])]
    seals = [run.seal(run.add(Clip(number, "", 0, 1), [], state))
             for number, state in enumerate(states)]
    assert seals[0] == seals[1] != seals[2]


def test_a_run_and_its_clips_come_back(store: Store, run: Run):
    written = [add(run, 0, after=""), add(run, 1, tail=2, tail_stays=True, after="x")]
    found = store.open(run.name)
    assert found.about == run.about == replace(ABOUT, made=run.about.made) and run.about.made
    assert found.done() == written
    assert found.clip(2) is None and (run.folder / "start.png").read_bytes() == b"a picture"


def test_a_run_changes_as_a_whole(store: Store, run: Run):
    run.change(replace(run.about, ended="stopped", base=("other", 2)))
    found = store.open(run.name).about
    assert found.ended == "stopped" and found.base == ("other", 2)


@pytest.mark.parametrize(("tail", "stays", "last", "frames"), [
    (0, False, False, [3]), (0, False, True, [3]), (2, False, False, [3]), (2, False, True, [3, 2]),
    (2, True, False, [3, 2]), (2, True, True, [3, 2])])
def test_what_a_clip_gives_to_the_video(
        run: Run, tail: int, stays: bool, last: bool, frames: list[int]):
    add(run, 0, tail=tail, tail_stays=stays)
    pieces = run.pieces(clip(run, 0), last=last)
    assert [count for _, count in pieces] == frames
    assert [len(videos.read(path)) for path, _ in pieces] == frames


EARLIER = {  # a run that SVI for WanGP 1.1.0 wrote: one clip, and one that is not encoded yet
    "run.json": b'''{"format": 1, "variant": "shot", "title": "SVI-Shot", "clips": 3, "seed": 7,
        "fps": 16.0, "asked": ["ein Schiff"], "prompts": ["a ship"], "repeat": 1,
        "decides": {"steps": 4}, "settings": {"prompt": "ein Schiff"},
        "base": ["20261119-aaaa", 1], "ended": "stopped", "video": "v.mp4",
        "made": "2026-11-26T06:45:02", "version": "1.1.0"}''',
    "0001.json": b'''{"format": 1, "number": 0, "prompt": "a ship", "seed": 7, "frames": 80,
        "tail": 1, "tail_stays": false, "after": "", "holds": {
        "0001.mp4": ["34235a2c502e3919d3f00af5dabb87cb58aef4566b10631f2a5db94950ebffbd", 5],
        "0001.safetensors":
            ["957b848dcfecbd04351ec02dca50c0255cda052deb4442dcf8511fce76e0641a", 92]}}''',
    "0001.mp4": b"piece",
    "0001.safetensors": base64.b85decode(
        b"NB{r;00000dm?RbbZKvHUuJS)ZDn&JI(s5yba`-PB03^fI3g?}b7*03Wg<FTGb}MIGAuG(EFxrKbYWj_W@d9`ba"
        b"Ns)TQDp!GF^Rr0RaI40RaI40RaI4"),
    "0002-frames.safetensors": base64.b85decode(
        b"_y7O^00000dm>+7ZDn*}WMOn+Utc0Rdm?RNWMv?4W+FNwdt4%8Z*F91bZKvHWn^D(Zd@WdAY3A0Vq79DAY3A2a$"
        b"{T~Iv_JOG&DFfH8?RaEFfGWaB^>LaCBTEIv`vkVIXs8X>eR3EFfGWb7f^@Tp~IkTp~0%Tq1oUeJmnuVRU6~baN"
        b"s)dm?0Xd2nSSIwC?wF*YJBB6DbAaAhJoTQMv$T`VGGVRT_%Z)Rq5Wpr~QI$JO-G+lixB4%=7ZDn&JI(s5yba`-"
        b"PB03^fI3g?}b7*03Wg<FTGb}PJGAuG(EFxrKbYWj_W@d9`baNs)TQn>(I9+{xfIomg1qB5K1qB5K1qB5K1qB5K"
        b"1qB5K1qB5K"),
}


def test_a_run_of_an_earlier_release_is_read(store: Store):
    (store.folder / "earlier").mkdir(parents=True)
    for name, data in EARLIER.items():
        (store.folder / "earlier" / name).write_bytes(data)
    run, = store.runs()
    assert run.about == About("shot", "SVI-Shot", 3, 7, 16.0, ["ein Schiff"], ["a ship"], 1,
                              {"steps": 4}, {"prompt": "ein Schiff"}, ("20261119-aaaa", 1),
                              "stopped", "v.mp4", "2026-11-26T06:45:02", "1.1.0")
    done, = run.done()
    assert replace(done, holds={}) == Clip(0, "a ship", 7, 80, 1)
    assert run.state(done)["motion_frames"].equal(torch.ones(3, 1, 2, 2, dtype=torch.uint8))
    assert run.pieces(done, last=False) == [(run.folder / "0001.mp4", 80)]
    made_of = {"prompt": "a ship", "seed": "49", "conditioned_on": "ab"}
    unsaved = run.unsaved(1, made_of)
    assert unsaved is not None and unsaved["latents"].equal(torch.ones(1, 2).bfloat16())
    assert unsaved["frames"].equal(torch.full((3, 2, 2, 2), 5, dtype=torch.uint8))


# ------------------------------------------------------------------------------------------- damage

def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def _file(run: Run, ending: str) -> Path:
    """A file of the second clip."""
    return run.path(1, ending)


DAMAGE: dict[str, tuple[Callable[[Run], Any], str]] = {
    "a piece is gone": (lambda run: _file(run, ".mp4").unlink(),
                        "clip 2 of run .* is damaged: 0002.mp4 has 0 of"),
    "a tail is gone": (lambda run: _file(run, "-tail.mp4").unlink(), "0002-tail.mp4 has 0 of"),
    "a piece is cut off": (lambda run: os.truncate(_file(run, ".mp4"), 9), "0002.mp4 has 9 of"),
    "the state is gone": (lambda run: _file(run, ".safetensors").unlink(),
                          "0002.safetensors has 0 of"),
    "the state is cut off": (lambda run: os.truncate(_file(run, ".safetensors"), 9),
                             "0002.safetensors has 9 of"),
    "the record is cut off": (lambda run: os.truncate(_file(run, ".json"), 40),
                              "0002.json cannot be read"),
    "the record is empty": (lambda run: os.truncate(_file(run, ".json"), 0),
                            "0002.json cannot be read"),
    "the record is no text": (lambda run: _file(run, ".json").write_bytes(b"\xff\x00"),
                              "0002.json cannot be read"),
    "the record is a list": (lambda run: _file(run, ".json").write_text("[]"),
                             "0002.json cannot be read"),
    "the record is of another version": (lambda run: _json(_file(run, ".json"), format=2),
                                         "by another version"),
    "the record says more than is known": (lambda run: _json(_file(run, ".json"), news=1),
                                           "0002.json cannot be read"),
    "the record lists a file without its size": (
        lambda run: _json(_file(run, ".json"), holds={"0002.mp4": ["ab"]}),
        "0002.json cannot be read"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_clip_is_said_and_those_before_it_are_there(run: Run, what: str):
    for number in range(3):
        add(run, number, tail=2 if number == 1 else 0)
    damage, said = DAMAGE[what]
    damage(run)
    with pytest.raises(StoreError, match=said):
        run.clip(1)
    assert [clip.number for clip in run.done()] == [0] and clip(run, 2).number == 2


def test_a_state_with_another_bit_is_not_handed_out(run: Run):
    added = add(run, 0)
    _flip(run.path(0, ".safetensors"))
    with pytest.raises(StoreError, match="0001.safetensors is not as it was written"):
        run.state(added)


def test_a_missing_clip_ends_what_is_done(run: Run):
    for number in (0, 1, 3):
        add(run, number)
    assert [clip.number for clip in run.done()] == [0, 1]


@pytest.mark.parametrize(("damage", "said"), [
    (lambda path: os.truncate(path, 30), "cannot be read"),
    (lambda path: path.write_bytes(b""), "cannot be read"),
    (lambda path: _json(path, format=99), "was written by another version"),
    (lambda path: _json(path, news=1), "cannot be read")])
def test_a_run_that_cannot_be_read_is_listed_apart_and_left_alone(
        store: Store, run: Run, damage: Callable[[Path], Any], said: str):
    other = store.new(ABOUT, {})
    damage(run.folder / "run.json")
    before = content(run.folder)
    assert [one.name for one in store.runs()] == [other.name]
    (folder, why), = store.unreadable()
    assert folder == run.folder and said in why
    with pytest.raises(StoreError, match=said):
        store.find(run.name)
    assert content(run.folder) == before


# ------------------------------------------------------------------------------------------- killed

@needs_fork
@pytest.mark.parametrize("before", ["none", "another"])
def test_killed_at_any_operation_the_clip_is_there_or_there_is_none(tmp_path: Path, before: str):
    seen = set()
    for at in range(1, 20):
        run = Store(tmp_path / str(at)).new(ABOUT, {})
        add(run, 0)
        if before == "another":
            run.add(Clip(1, "another", 0, 3), [], {"motion_frames": torch.ones(3, 1, 16, 16)})
        piece = videos.write(run.path(1, ".mp4"), videos.noise(3, 1, side=16))
        state = {"motion_frames": torch.zeros(3, 1, 16, 16)}
        new = Clip(1, "new", 0, 3)
        if not killed(partial(run.add, new, [piece], state), at, run.folder):
            break
        left = run.clip(1)
        seen.add(left and left.prompt)
        assert len(run.done()) == 1 + (left is not None)
        if left:
            assert run.state(left)["motion_frames"].any() == (left.prompt == "another")
            assert left.prompt == "new" or None not in seen, "once it is gone it stays so"
        assert run.add(new, [piece], state) and clip(run, 1).prompt == "new"
    assert at > 5 and seen == {None, "new", *(["another"] if before == "another" else [])}


def test_a_clip_that_was_made_is_there_until_it_is_added_if_it_was_made_of_the_same(run: Run):
    made_of = {"prompt": "ein Schiff", "seed": "49", "conditioned_on": "ab"}
    state = {"motion_frames": torch.ones(3, 1, 16, 16),
             "frames": torch.ones(3, 81, 16, 16, dtype=torch.uint8)}
    assert not run.begun()
    run.keep(0, made_of, state)
    assert run.begun() and not run.done()
    unsaved = run.unsaved(0, made_of)
    assert unsaved is not None and unsaved.keys() == state.keys()
    assert all(unsaved[name].equal(tensor) for name, tensor in state.items())
    assert all(run.unsaved(0, {**made_of, name: "other"}) is None for name in made_of)
    assert run.unsaved(1, made_of) is None
    add(run, 0)
    assert run.unsaved(0, made_of) is None and run.begun()


def test_a_clip_that_was_made_and_is_damaged_is_none(run: Run):
    run.keep(0, {"seed": "1"}, {"frames": torch.ones(3, 81, 16, 16, dtype=torch.uint8)})
    path, = run.folder.glob("*-frames.safetensors")
    whole = path.read_bytes()
    assert run.unsaved(0, {"seed": "1"})
    for data in (whole[:-9], b"", b"{" * 100, whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
        path.write_bytes(data)
        assert run.unsaved(0, {"seed": "1"}) is None


@needs_fork
def test_killed_at_any_operation_a_run_made_from_another_has_all_its_clips_or_is_none(
        tmp_path: Path):
    for at in range(1, 60):
        store = Store(tmp_path / str(at))
        run = store.new(ABOUT, {"start.png": b"picture"})
        add(run, 0)
        add(run, 1)
        before = content(run.folder)
        if not killed(partial(store.fork, run, 2, replace(ABOUT, seed=8)), at, store.folder):
            break
        for other in store.runs():
            assert len(other.done()) == 2 and (other.folder / "start.png").exists()
        assert content(run.folder) == before
        assert {folder for folder, _ in store.unreadable()} == {
            folder for folder in store.folder.iterdir() if not (folder / "run.json").exists()}
    assert at > 20


@needs_fork
def test_killed_at_any_operation_a_run_that_is_removed_is_there_or_no_run(tmp_path: Path):
    for at in range(1, 20):
        store = Store(tmp_path / str(at))
        run = store.new(ABOUT, {"start.png": b"picture"})
        add(run, 0)
        if not killed(partial(store.remove, run), at, store.folder):
            break
        assert all(len(one.done()) == 1 for one in store.runs())
    assert at > 4 and not list(store.runs()) and not list(store.unreadable())


# ------------------------------------------------------------------------------ the runs of a store

def _named(store: Store, *names: str) -> None:
    for name in names:
        store.new(ABOUT, {}).folder.rename(store.folder / name)


@pytest.mark.parametrize(("name", "found"), [
    ("20261120-7f3a", "20261120-7f3a"), ("7f3a", "20261120-7f3a"), (" 7F3A ", "20261120-7f3a"),
    ("a", None), ("-ab3a", "20261121-ab3a"), ("3a", None), ("nothing", None), ("", None),
    ("  ", None), ("2026", None), ("mine", "Mine"), ("..", None), ("*", None)])
def test_a_run_is_found_by_the_end_of_its_name_alone(store: Store, name: str, found: str | None):
    _named(store, "20261120-7f3a", "20261121-ab3a", "Mine")
    if found is not None:
        assert store.find(name).name == found
        return
    with pytest.raises(StoreError, match="there is no run|2 runs .* have names that end") as error:
        store.find(name)
    assert "20261121-ab3a" in str(error.value)


def test_a_name_that_is_not_found_says_which_there_are(store: Store):
    _named(store, *(f"20261120-00{number}a" for number in range(7)), "20261120-111b")
    with pytest.raises(StoreError, match=r"are there: (20261120-\w{4}, ){4}\S+ and 3 more$"):
        store.find("nothing")
    with pytest.raises(StoreError, match="7 runs in .* have names that end in 'a': .* and "
                                         "2 more$") as error:
        store.find("a")
    assert "111b" not in str(error.value)


def test_runs_are_told_in_the_order_of_the_list(store: Store):
    _named(store, "b-a", "c-a", "a-a")
    for age, name in enumerate(("c-a", "a-a", "b-a")):
        os.utime(store.folder / name / "run.json", (9 - age, 9 - age))
    for find in (store.find, store.folder_of):
        for name, said in (("nothing", "are there: c-a, a-a, b-a$"), ("a", "'a': c-a, a-a, b-a$")):
            with pytest.raises(StoreError, match=said):
                find(name)


def test_the_name_of_one_that_ends_another_is_its_own(store: Store):
    _named(store, "one", "another-one")
    assert store.find("one").name == "one"


def test_there_may_be_no_store_at_all(store: Store):
    assert not list(store.runs()) and not list(store.unreadable())
    with pytest.raises(StoreError, match="Runs that are there: none"):
        store.find("7f3a")


def test_the_newest_run_is_the_first(store: Store):
    made = [store.new(ABOUT, {}) for _ in range(3)]
    for age, run in zip((2, 3, 1), made, strict=True):
        os.utime(run.folder / "run.json", (1e9 - age, 1e9 - age))
    assert [run.name for run in store.runs()] == [made[index].name for index in (2, 0, 1)]


def test_two_runs_that_begin_at_once_have_folders_of_their_own(
        store: Store, monkeypatch: pytest.MonkeyPatch):
    names = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr(store_module.secrets, "token_hex", lambda size: next(names))
    assert [store.new(ABOUT, {}).name[-4:] for _ in range(2)] == ["aaaa", "bbbb"]


def test_a_run_made_from_another_begins_as_that_one_which_stays_as_it_is(store: Store, run: Run):
    for number in range(3):
        add(run, number, tail=2)
    before = content(run.folder)
    new = store.fork(run, 2, replace(ABOUT, seed=8, base=(run.name, 2)))
    assert content(run.folder) == before and new.about.seed == 8 and len(new.done()) == 2
    for name in ("start.png", "reference.png", "0001.mp4", "0002.mp4", "0002-tail.mp4",
                 "0002.safetensors"):
        assert (new.folder / name).read_bytes() == before[name]
    frames = run.state(clip(run, 1))["motion_frames"]
    assert new.state(clip(new, 1))["motion_frames"].equal(frames)
    new.record(replace(clip(new, 0), prompt="else"))
    (new.folder / "0001.mp4").write_bytes(b"")
    assert content(run.folder) == before


@pytest.mark.parametrize("count", [0, 3])
def test_a_run_is_not_made_from_clips_that_are_not_there(store: Store, run: Run, count: int):
    add(run, 0)
    add(run, 1)
    said = f"has 2 finished clips, so clip {count + 1} cannot be redone"
    with pytest.raises(StoreError, match=said):
        store.fork(run, count, ABOUT)
    assert len(list(store.runs())) == 1


def test_a_run_that_cannot_be_begun_leaves_nothing(
        store: Store, run: Run, monkeypatch: pytest.MonkeyPatch):
    add(run, 0)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space"):
        store.fork(run, 1, ABOUT)
    assert [path.name for path in store.folder.iterdir()] == [run.name]


def test_a_run_is_removed_with_all_that_it_takes(store: Store, run: Run):
    other = store.new(ABOUT, {"start.png": b"x"})
    add(run, 0, tail=2)
    size = sum(len(data) for data in content(run.folder).values())
    assert run.size == size
    assert store.remove(run) == size and not run.folder.exists()
    assert [one.name for one in store.runs()] == [other.name]


def test_a_run_with_an_open_file_stays_whole(store: Store, run: Run, monkeypatch):
    add(run, 0)
    before, files_in_use = content(run.folder), held(monkeypatch)
    files_in_use.add(run.path(0, ".mp4"))
    with pytest.raises(StoreError, match="was not removed: another program has it or one of its"):
        store.remove(run)
    assert content(run.folder) == before and [one.name for one in store.runs()] == [run.name]
    files_in_use.clear()
    assert store.remove(run) and not [*store.folder.iterdir()]


def test_the_rest_of_a_removed_run_is_no_run_and_goes_with_the_next_one(store: Store, run: Run):
    add(run, 0)
    rest = run.folder.rename(run.folder.with_name(f"{run.name}{REMOVED}"))  # killed right then
    assert not [*store.runs()] and [folder for folder, _ in store.unreadable()] == [rest]
    other = store.new(ABOUT, {})
    store.remove(other)
    assert not [*store.folder.iterdir()]


def test_what_is_no_run_any_more_can_be_removed_by_its_name(store: Store, run: Run):
    add(run, 0)
    (run.folder / "run.json").unlink()
    (_, why), = store.unreadable()
    assert "has no run.json, so it is no run. Delete the folder if you need nothing in it" in why
    with pytest.raises(StoreError):
        store.find(run.name[-4:])
    assert store.remove_folder(store.folder_of(run.name[-4:])) and not [*store.folder.iterdir()]


def test_a_run_that_is_being_made_cannot_be_removed(store: Store):
    def look(new: Run) -> None:
        (folder, why), = store.unreadable()
        assert folder == new.folder and why == f"run {new.name} is only just being made"
        with pytest.raises(StoreError, match="is running"):
            store.remove_folder(new.folder)

    assert store.new(ABOUT, {}, look).folder.is_dir()


def test_a_run_that_another_wangp_is_making_is_neither_removed_nor_taken(store: Store, run: Run):
    release, before = Store(store.folder).open(run.name).lock(), content(run.folder)
    with pytest.raises(StoreError, match=f"run {run.name} is running. Stop it, or wait until"):
        store.remove(run)
    with pytest.raises(StoreError, match=f"run {run.name} is running in another WanGP"):
        run.lock()
    assert content(run.folder) == before
    release()
    run.lock()()
    assert store.remove(run)


# ----------------------------------------------------------------------------------- video and disk

def test_the_next_clip_takes_what_the_largest_of_the_newest_took(run: Run):
    assert room([], 480 * 832) > 81 * 480 * 832 // 3
    small, large = add(run, 0), add(run, 1, tail=2)
    sizes = {name: size for name, (_, size) in large.holds.items()}
    pieces = sizes["0002.mp4"] + sizes["0002-tail.mp4"]
    wanted = 3 * pieces + sizes["0002.safetensors"]  # a piece, and a share of two videos
    assert room([small, large], 100) == room([small, large, small], 1) == wanted
    assert room([large] + [small] * 8, 1) < wanted
    assert room_beside([large], 100) == room_beside([], 100) + pieces == 3 * 81 * 100 + pieces


def test_files_of_a_run_are_written_whole(run: Run, monkeypatch: pytest.MonkeyPatch):
    written: list[str] = []
    real = files.write

    def write(path: Path, make: Any) -> None:
        written.append(path.name)
        real(path, make)

    monkeypatch.setattr(files, "write", write)
    add(run, 0)
    assert written == ["0001.safetensors", "0001.json"]  # the record is the last
