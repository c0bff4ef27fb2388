"""Files of strangers: runs, videos, settings, queues and LoRA files that were made to do harm."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import videos
from loop import SIDE, WanGP, in_one_go, settings, shown
from PIL import Image

from benchmarks import fuzz
from wan2gp_svi import __main__ as main
from wan2gp_svi import drift, lora, untrusted
from wan2gp_svi.drift import layout
from wan2gp_svi.drift.layout import DriftError
from wan2gp_svi.runs import video
from wan2gp_svi.runs.record import FIELDS, About, Clip, StoreError
from wan2gp_svi.runs.store import Run, Store
from wan2gp_svi.runs.video import VideoError, begins_with, count_frames, join
from wan2gp_svi.wangp import continuing, plan, resuming
from wan2gp_svi.wangp.check import command
from wan2gp_svi.wangp.form import Custom, SettingsError
from wan2gp_svi.wangp.tab import actions, view

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
DEEP = "[" * 100_000


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def place(tmp_path: Path) -> fuzz.Place:
    """A good run, one to break, and videos that are nobody's."""
    return fuzz.Place(tmp_path)


@pytest.fixture
def wgp(tmp_path: Path) -> WanGP:
    (tmp_path / "videos").mkdir()
    return WanGP(tmp_path / "videos")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


def broken_off(wgp: WanGP, clips: int = 3) -> Run:
    """A run of which the last clip is missing."""
    wgp.pipe.before = lambda window: window < clips
    wgp.generate(settings("shot", clips))
    wgp.pipe.before = lambda window: True
    wgp.forget()
    return wgp.run


# ---------------------------------------------------------------------------------- records of runs

def raw(text: str | bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode())


def replaced(old: str, new: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")


RECORDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a variant of a newer release": (lambda path: change(path, variant="talk-2"), "variant is 't"),
    "no frames per second": (lambda path: change(path, fps=0), "fps is 0, not a number from 0.1"),
    "nested": (raw('{"format": 1, "settings": ' + DEEP), "it is nested too deep"),
    "nested, but not too deep for Python": (
        lambda path: change(path, settings=json.loads("[" * 200 + "]" * 200)), "it is nested too"),
    "not a number": (replaced('"fps": 16.0', '"fps": NaN'), "it has a number that"),
    "infinity": (replaced('"fps": 16.0', '"fps": 1e999'), "it has a number that"),
    "thousands of digits": (replaced('"seed": 7', '"seed": ' + "7" * 5000), "it has a number that"),
    "a huge number": (replaced('"clips": 3', '"clips": 3000000000'), "clips is 3000000000, not a"),
    "no prompts": (lambda path: change(path, asked=[]), "asked is [], not prompts"),
    "a prompt that is a list": (lambda path: change(path, asked=[["x"]]), "asked is [['x']]"),
    "a seed step of text": (lambda path: change(path, decides={"SVI seed step": "x"}), "decides"),
    "an overlap of text": (lambda path: change(path, settings={"sliding_window_overlap": "1"}),
                           "settings is"),
    "a base that is a path": (lambda path: change(path, base=["../x", 1]), "base is ['../x', 1]"),
    "a title that controls a terminal": (lambda path: change(path, title="\x1b]0;x\a"), "title is"),
    "half a character": (replaced("my run", "\\ud800"), "its text is not UTF-8"),
    "no text": (raw(b"\xff\xfe\0"), "its text is not UTF-8"),
    "a list": (raw("[1]"), "it is not a record of a run"),
    "nothing": (raw(""), "it is not valid JSON (line 1, column 1)"),
    "millions of values": (raw("[" + "0," * 400_000 + "0]"), "it holds too much"),
    "13 MB": (lambda path: os.truncate(path, 13 * 2**20), "it is longer than 12.6 MB"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "it is not a file"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_bad_run_is_listed_beside_the_others_with_why(
        place: fuzz.Place, what: str, capsys: pytest.CaptureFixture):
    damage, why = RECORDS[what]
    damage(place.bad.folder / "run.json")
    before = content(place.bad.folder)
    assert [run.name for run in place.store.runs()] == [place.good.name]
    (folder, said), = place.store.unreadable()
    assert folder == place.bad.folder and f"run.json cannot be read: {why}" in said
    assert main.main(["runs", "--outputs", str(place.folder / "outputs")]) == 0
    out = capsys.readouterr().out
    assert f"\n{place.good.name}" in out and f"\n{place.bad.name}: " in out and why[:12] in out
    cells, names = view.rows(place.store)
    assert names == [place.good.name, ""] and place.bad.name in cells[1][0]
    assert main.main(["resume", "bad0", "--outputs", str(place.folder / "outputs")]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert content(place.bad.folder) == before
    place.check()


@pytest.mark.parametrize("what", ["a variant of a newer release", "nested", "13 MB"])
def test_a_bad_run_does_not_keep_wangp_from_making_videos(
        wgp: WanGP, what: str, capsys: pytest.CaptureFixture):
    run = broken_off(wgp)
    RECORDS[what][0](run.folder / "run.json")
    before = content(run.folder)
    for _ in range(2):
        assert wgp.generate(settings("shot", 1)), wgp.error
    assert capsys.readouterr().out.count("cannot be read") == 1, "it is said once"
    assert content(run.folder) == before and len([*wgp.store.runs()]) == 2


WRONG = (None, [], {}, "x" * 5000, -1.5, 10**40, True, [None], {"": []})


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in (Clip, About)
                                            for name in FIELDS[kind]])
def test_every_field_of_a_record_is_what_it_may_be_or_the_record_cannot_be_read(
        place: fuzz.Place, kind: type, name: str):
    path = place.bad.folder / "run.json" if kind is About else place.bad.path(0, ".json")
    good, refused = path.read_bytes(), 0
    for value in WRONG:
        path.write_bytes(good)
        change(path, **{name: value})
        try:
            place.look()
            refused += len(place.store.open(place.bad.name).done()) < fuzz.DONE
        except StoreError as error:
            assert f"{name} is " in str(error)
            refused += 1
    assert refused >= 3


@pytest.mark.parametrize("part", [b'{"":1},', b"[[]],", b"{},", b'"",', b"1.5,"])
def test_the_longest_json_that_is_read_takes_little_memory_and_time(part: bytes):
    number = 290_000 // (part.count(b",") + part.count(b"[") + part.count(b"{"))
    text = "😀".encode() + b"x" * (untrusted.MOST_JSON - number * len(part) - 20)
    data = b"[" + part * number + b'"' + text + b'"]'
    before, began = fuzz.peak(reset=True), time.process_time()
    assert len(untrusted.parse_json(data)) == number + 1
    assert fuzz.peak() - before < 200e6 and time.process_time() - began < 2
    with pytest.raises(ValueError, match="it holds too much"):
        untrusted.parse_json(data.replace(b"x", b"[", 20_000))


CLIPS: dict[str, Callable[[dict[str, Any]], object]] = {
    "an absolute path": lambda holds: holds.update({"/etc/hostname": holds.pop("0002.mp4")}),
    "a way up": lambda holds: holds.update({"../../private.mp4": holds.pop("0002.mp4")}),
    "a way up on Windows": lambda holds: holds.update({"..\\private.mp4": holds.pop("0002.mp4")}),
    "a drive": lambda holds: holds.update({"C:0002.mp4": holds.pop("0002.mp4")}),
    "NUL": lambda holds: holds.update({"0002.mp4\0": holds.pop("0002.mp4")}),
    "a piece of another clip": lambda holds: holds.update({"0001.mp4": holds.pop("0002.mp4")}),
    "the record itself": lambda holds: holds.update({"0002.json": holds.pop("0002.mp4")}),
    "no state": lambda holds: holds.pop("0002.safetensors"),
    "a state of a terabyte": lambda holds: holds["0002.safetensors"].__setitem__(1, 2**40),
    "no hash": lambda holds: holds["0002.mp4"].__setitem__(0, "x"),
    "many files": lambda holds: holds.update({f"0002.mp{n}": holds["0002.mp4"] for n in range(9)}),
}


@pytest.mark.parametrize("what", CLIPS)
def test_a_record_names_no_file_but_those_of_its_clip(place: fuzz.Place, what: str):
    path = place.bad.path(1, ".json")
    holds = json.loads(path.read_text("utf-8"))["holds"]
    CLIPS[what](holds)
    change(path, holds=holds)
    with pytest.raises(StoreError, match="0002.json cannot be read"):
        place.bad.clip(1)
    assert len(place.bad.done()) == 1
    place.look()


def test_a_record_of_another_clip_is_none_of_this_one(place: fuzz.Place):
    place.bad.path(1, ".json").write_bytes(place.bad.path(0, ".json").read_bytes())
    with pytest.raises(StoreError, match="it is about another clip"):
        place.bad.clip(1)


@needs_links
@pytest.mark.parametrize("name", ["run.json", "0001.json", "0001.mp4", "0001.safetensors",
                                  "reference.png", "secret.png", "run.svi-unfinished.json"])
def test_links_in_a_run_are_not_followed(place: fuzz.Place, name: str):
    path, target = place.bad.folder / name, place.folder / "elsewhere/target"
    if path.exists():
        path.rename(target)
    else:
        target.write_bytes(b"a secret")
    path.symlink_to(target)
    place.before = place.others()
    (folder, why), = place.store.unreadable()
    assert folder == place.bad.folder and f"{name} is not a file but a link or a device" in why
    for use in (place.store.find, place.store.open):
        with pytest.raises(StoreError, match="follows none in a run"):
            use(place.bad.name)
    place.check()


@needs_links
def test_a_pipe_in_a_run_and_a_run_that_is_a_link_are_not_opened(place: fuzz.Place):
    (place.bad.folder / "run.json").unlink()
    os.mkfifo(place.bad.folder / "run.json")
    (place.store.folder / "linked").symlink_to(place.good.folder)
    before = content(place.good.folder)
    assert [run.name for run in place.store.runs()] == [place.good.name]
    assert {folder.name for folder, why in place.store.unreadable()
            if "link or a device" in why} == {place.bad.name, "linked"}
    with pytest.raises(StoreError):
        place.store.open("linked")
    assert content(place.good.folder) == before


@pytest.mark.parametrize(("name", "fits"), [
    ("20261120-7f3a", True), ("Mein Lauf ü", True), ("0001-tail.mp4", True),
    ("a boat's & #1?", True), ("console", True), ("com10", True), (".hidden", True), ("", False),
    (".", False), ("..", False),
    ("a/b", False), ("a\\b", False), ("C:x", False), ("x\0.mp4", False), ("a\nb", False),
    ("nul", False), ("COM1.mp4", False), ("con .txt", False), ("lpt²", False), ("conin$", False),
    ("trailing.", False), ("trailing ", False), ("a" * 256, False), (None, False), (7, False)])
def test_a_name_is_one_on_windows_and_on_linux(name: Any, fits: bool, tmp_path: Path):
    assert untrusted.is_name(name) is fits
    if isinstance(name, str) and not fits:
        with pytest.raises(StoreError, match="is not a name of a run|cannot be read"):
            Store(tmp_path).open(name)


@pytest.mark.parametrize("where", ["elsewhere/private.mp4", "outputs/private.mp4"])
def test_the_video_of_a_run_is_in_wangps_folder_and_begins_as_the_run_does(
        place: fuzz.Place, where: str):
    private = place.folder / where
    change(place.bad.folder / "run.json", video=str(private))
    run = place.store.open(place.bad.name)
    pieces = [piece for clip in run.done() for piece in run.pieces(clip, last=False)]
    if where.startswith("elsewhere"):
        private = private.rename(private.with_name("only.mp4"))
        change(place.bad.folder / "run.json", video=str(private))
        run = place.store.open(place.bad.name)
        assert run.video is None and view.video(view.look(run)) == ""
        with pytest.raises(StoreError, match="has no video"):
            actions.make_drift(view.look(run))
        return
    assert run.video == private and count_frames(private) == pieces[0][1]
    assert video.holds(private, pieces) is None, "its frames are others"
    assert video.holds(place.folder / "outputs/video.mp4", pieces) == 1


@pytest.mark.parametrize("name", [
    "a" * 5000 + ".mp4", "/" * 99 + "ü" * 200 + ".mp4", "nul.mp4", "C:..\\x\0.mp4", "..",
    "file:stream.mp4", "\\\\server\\share\\", ".mp4", "\ud800"])
def test_a_run_whose_video_is_no_path_is_listed(place: fuzz.Place, name: str):
    change(place.bad.folder / "run.json", video=name)
    if name == "file:stream.mp4" and sys.platform != "win32":  # there it is a part of another file
        (place.folder / "outputs" / name).write_bytes(b"a video")
        place.before = place.others()
    if "\ud800" not in name:
        place.look()
        assert place.store.open(place.bad.name).video is None
    assert len(view.rows(place.store)[0]) == 2


@pytest.mark.parametrize("inside", [True, False])
def test_a_run_that_names_your_video_does_not_overwrite_it(
        wgp: WanGP, tmp_path: Path, inside: bool):
    run, whole = broken_off(wgp), in_one_go(_new(tmp_path / "whole"), settings("shot", 3))
    frames = np.random.default_rng(5).integers(0, 256, (len(shown(wgp)), SIDE, SIDE, 3), np.uint8)
    mine = videos.write((wgp.folder if inside else tmp_path) / "mine.mp4", frames, videos.EXACT)
    before = mine.read_bytes()
    change(run.folder / "run.json", video=str(mine))
    assert wgp.generate(settings("shot", 3)), wgp.error
    assert mine.read_bytes() == before and np.array_equal(shown(wgp), whole)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


STATES: dict[str, dict[str, torch.Tensor]] = {
    "nothing": {},
    "other tensors": {"x": torch.zeros(2)},
    "frames of another size": {"motion_frames": torch.zeros(3, 1, 8, 8, dtype=torch.uint8),
                               "last_frame": torch.zeros(3, 1, 8, 8, dtype=torch.uint8)},
    "frames that are numbers": {"motion_frames": torch.zeros(3, 1, SIDE, SIDE),
                                "last_frame": torch.zeros(3, 1, SIDE, SIDE)},
    "latents that are not wanted": {
        "motion_frames": torch.zeros(3, 1, SIDE, SIDE, dtype=torch.uint8),
        "last_frame": torch.zeros(3, 1, SIDE, SIDE, dtype=torch.uint8), "latents": torch.zeros(1)},
}


@pytest.mark.parametrize("what", [*STATES, "a piece that is no video", "fewer frames than it says"])
def test_a_clip_that_svi_did_not_write_is_made_again(wgp: WanGP, tmp_path: Path, what: str):
    run, whole = broken_off(wgp), in_one_go(_new(tmp_path / "whole"), settings("shot", 3))
    clip = run.done()[1]
    if what in STATES:
        run.add(clip, [run.path(1, ".mp4")], STATES[what])
    elif what == "a piece that is no video":
        run.path(1, ".mp4").write_bytes(b"#EXTM3U\nfile:///etc/hostname\n")
        run.add(clip, [run.path(1, ".mp4")], run.state(clip))
    else:
        change(run.path(1, ".json"), frames=79)
    assert wgp.generate(settings("shot", 3)), wgp.error
    assert 2 in wgp.made and 1 not in wgp.made and np.array_equal(shown(wgp), whole)


def test_a_record_that_could_not_be_read_again_is_not_begun(wgp: WanGP):
    assert not wgp.generate(settings("shot", 1, prompt="a boat, " * 10**6))
    assert "cannot be kept as a run: " in wgp.error and not wgp.store.folder.exists()


# ------------------------------------------------------------------------------- typed on the page

@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "1e400", "9" * 400 + ".5", "0x10", "²"])
def test_what_is_no_whole_number_is_said(place: fuzz.Place, text: str):
    with pytest.raises(StoreError, match="the seed must be"):
        actions.redo(place.good, 2, "", text)
    with pytest.raises(StoreError, match="the number of clips must be"):
        actions.extend(place.good, text, "")


def test_prompts_that_fill_the_memory_are_refused_before_they_are_joined(place: fuzz.Place):
    with pytest.raises(StoreError, match="10,000,020 characters together"):
        resuming.extended(place.good, 1000, ["x" * 10_000])
    change(place.bad.folder / "run.json", clips=100_000, asked=["x" * 10**6])
    run = place.store.open(place.bad.name)
    with pytest.raises(StoreError, match="3,099,997 characters together"):
        resuming.redone(run, 4, "x")
    assert len(view.clips_table(view.look(run))) < 2 * 10**6


@pytest.mark.parametrize("wish", ["x" * 400, "7f3a@" + "9" * 5000, str({"a": ["b"] * 200})])
def test_a_wish_that_is_no_name_is_a_setting_that_is_not_possible(wish: str):
    with pytest.raises(SettingsError, match="SVI run is \".{50,70}\"\\. Set it to auto, new,"):
        Custom({"svi_run": wish})


# --------------------------------------------------------------------------------- continued videos

@pytest.fixture
def upload(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """WanGP's reader of metadata: `made` is what an uploaded video says of itself."""
    module = SimpleNamespace(made={}, images=[])
    module.read_metadata_from_video = lambda path: {"custom_settings": {"svi": module.made}}
    module.extract_source_images = lambda *given: module.images.append(given)
    monkeypatch.setitem(sys.modules, "shared.utils.video_metadata", module)
    return module


def source(place: fuzz.Place, video: str = "upload.mkv") -> tuple[torch.Tensor, str]:
    """The reference for a continued video, and what is said about it."""
    said: list[str] = []
    frames = torch.zeros(3, 5, fuzz.SIDE, fuzz.SIDE, dtype=torch.uint8)
    scope = {"prefix_video": frames, "video_source": video, "seed": 7,
             "save_path": str(place.folder / "outputs"), "source_video_frames_count": 5}
    reference, motion, _ = continuing.source(scope, 1, said.append, said.append)
    assert motion.shape == (3, 1, fuzz.SIDE, fuzz.SIDE)
    assert continuing.first_seed(scope, 42) in range(2**32)
    return reference, said[0]


@pytest.mark.parametrize("name", ["7f3a", "a", "20261120-7F3A ", "../svi/20261120-7f3a", "", "*",
                                  None, 7, ["20261120-7f3a"], "..", "/etc", "nul", "x" * 10**6])
def test_the_run_that_an_uploaded_video_names_is_exact(
        place: fuzz.Place, upload: SimpleNamespace, name: Any):
    upload.made = {"run": place.good.name, "seeds": [7, 49]}
    reference, said = source(place)
    assert f"that of run {place.good.name}" in said and not reference.eq(-1).all()
    upload.made = {"run": name, "seeds": [7, 49]}
    reference, said = source(place)
    assert "LAST FRAME" in said and reference.eq(-1).all()
    assert layout.reference_of(place.folder / "outputs/x.mp4", {"svi": upload.made}) is None


@pytest.mark.parametrize("seeds", [7, "7", [], [7, "x"], [7, None], [7, {}], [7, 1e300], [7, 2**70],
                                   [7, True], {"7": 1}])
def test_seeds_that_are_none_are_not_used(place: fuzz.Place, upload: SimpleNamespace, seeds: Any):
    upload.made = {"seeds": seeds, "variant": ["shot"], "run": place.good.name}
    assert "seeds" not in layout.provenance({"svi": upload.made})
    assert layout.of_settings({"svi": upload.made, "custom_settings": {"num_motion_frames": "²"}},
                              241).seams is False
    source(place)


def test_a_reader_of_wangps_that_fails_ends_no_video(
        place: fuzz.Place, upload: SimpleNamespace):
    def fail(path: str) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    upload.read_metadata_from_video = fail
    assert "LAST FRAME" in source(place)[1]


@pytest.mark.parametrize(("name", "taken"), [("start.png", True), ("../evil.py", False),
                                             ("/tmp/evil.py", False), ("C:\\evil.py", False)])
def test_an_image_in_a_video_is_written_nowhere_but_where_it_belongs(
        place: fuzz.Place, upload: SimpleNamespace, name: str, taken: bool):
    mp4 = pytest.importorskip("mutagen.mp4")
    path = videos.write(place.folder / "upload.mp4", videos.noise(5))
    file = mp4.MP4(path)
    named = json.dumps({"image_start": [{"index": 0, "filename": name}]})
    file["----:com.apple.iTunes:IMAGE_METADATA"] = [named.encode()]
    file.save()
    assert "LAST FRAME" in source(place, str(path))[1]
    assert bool(upload.images) is taken, "WanGP would write it to that name"


# --------------------------------------------------------------------------------- files to check

def check(path: Path, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    code = command.run(argparse.Namespace(file=path, wangp=None))
    return code, "".join(capsys.readouterr())


def zipped(queue: bytes = b"[{}]", method: int = zipfile.ZIP_DEFLATED, name: str = "queue.json",
           more: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(name, queue)
        for number in range(more):
            file.writestr(f"{number:0100}", b"")
    return out.getvalue()


def at(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    start = data.rindex(mark) + offset
    return data[:start] + value + data[start + len(value) :]


WHOLE = json.dumps(fuzz.SETTINGS).encode()
FILES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "encrypted": ("a.zip", lambda: at(zipped(WHOLE), b"PK\1\2", 8, b"\1"), "encrypted"),
    "corrupt": ("a.zip", lambda: at(zipped(WHOLE), b"PK\3\4", 50, b"\xff" * 20), "Cannot read"),
    "a head that is cut": ("a.zip", lambda: zipped(WHOLE)[:-30], "not a zip file"),
    "a name of another length": (
        "a.zip", lambda: at(zipped(WHOLE), b"PK\3\4", 26, b"\xff\xff"), "Cannot read"),
    "an unknown method": (
        "a.zip", lambda: at(zipped(WHOLE), b"PK\1\2", 10, b"\x63\0"), "its compression is not"),
    "another method": ("a.zip", lambda: zipped(WHOLE, zipfile.ZIP_LZMA), "its compression is not"),
    "a bomb": ("a.zip", lambda: zipped(b" " * 10**8), "its queue.json is longer than 12.6 MB"),
    "a bomb that lies": ("a.zip", lambda: at(zipped(b" " * 10**8), b"PK\1\2", 24, b"\x10\0\0\0"),
                         "Cannot read"),
    "a bomb of names": ("a.zip", lambda: zipped(more=40_000), "its list of files is too long"),
    **{f"an empty {ending}": (f"a.{ending}", bytes, "it is empty")
       for ending in ("zip", "json", "mp4", "mkv")},
    "no queue": ("a.zip", lambda: zipped(name="other.json"), "it holds no queue.json"),
    "nested in a zip": ("a.zip", lambda: zipped(DEEP.encode()), "it is nested too deep"),
    "nested": ("a.json", lambda: DEEP.encode(), "it is nested too deep"),
    "nested in a video": (
        "a.mp4", lambda: b'{"a":' * 50_000 + b'{"model_type"' * 9, "holds no WanGP settings"),
    "many braces in a video": (
        "a.mp4", lambda: (b"{" * 2**18 + b'"model_type"') * 9, "holds no WanGP settings"),
    "many objects in a video": (
        "a.mp4", lambda: (b'{"a":[' + b"1," * 30_000) * 40 + b'"model_type"', "holds no WanGP"),
    "not UTF-8": ("a.json", lambda: b'{"model_type": "\xff"}', "its text is not UTF-8"),
    "empty": ("a.json", lambda: b"", "Cannot read"),
    "an empty video": ("a.mp4", lambda: b"", "Cannot read"),
    "a list of lists": ("a.json", lambda: b"[[[]], 1, null]", "There are no WanGP settings"),
    "a task without settings": ("a.json", lambda: b'[{"params": "x"}]', "no WanGP settings"),
    "many tasks": ("a.json", lambda: b"[" + b"{}," * 100_000 + b"{}]", "100,001 videos, and at"),
    "a model that is a path": (
        "a.json", lambda: b'{"model_type": "../../secret"}', "model_type is '../../secret', not"),
    "not a number": ("a.json", lambda: b'{"seed": NaN}', "cannot be used: NaN"),
    "thousands of digits": ("a.json", lambda: b'{"seed": ' + b"9" * 9999 + b"}", "used: 9999"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_cannot_be_checked_is_said_in_a_sentence(
        what: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    name, make, said = FILES[what]
    (tmp_path / name).write_bytes(make())
    before, began = fuzz.peak(reset=True), time.process_time()
    code, out = check(tmp_path / name, capsys)
    assert code == 1 and said in out and out.count("\n") == 1 and out.endswith(".\n"), out
    assert fuzz.peak() - before < 200e6 and time.process_time() - began < 2


@needs_links
def test_a_folder_and_a_pipe_are_no_files_to_check(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "folder.json").mkdir()
    for name in ("a.json", "a.zip", "a.mp4"):
        os.mkfifo(tmp_path / name)
        assert "it is not a file.\n" in check(tmp_path / name, capsys)[1]
    assert "it is not a file.\n" in check(tmp_path / "folder.json", capsys)[1]
    (tmp_path / "settings.json").write_text(json.dumps(
        {**fuzz.SETTINGS, "image_start": str(tmp_path / "a.json")}))
    assert "there is no start image" in check(tmp_path / "settings.json", capsys)[1]


ODD = ([], {}, "x", -1, 1e300, [[["x"]]], {"x": 1}, True, ["x", 1], 10**60, "9" * 5000)


@pytest.mark.parametrize("name", [*fuzz.SETTINGS, *fuzz.SETTINGS["custom_settings"]])
def test_a_setting_of_another_type_is_said_or_does_not_matter(
        name: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    path, said = tmp_path / "a.json", []
    for value in ODD:
        custom = fuzz.SETTINGS["custom_settings"]
        given = ({"custom_settings": {**custom, name: value}} if name in custom else {name: value})
        path.write_text(json.dumps({**fuzz.SETTINGS, **given}))
        code, out = check(path, capsys)
        assert code in (0, 1) and "one check failed" not in out and len(out) < 10_000, (value, out)
        assert code == 0 or "error:" in out or "cannot be used" in out or "model" in out, out
        said.append(out)
    assert name in ("self_refiner_setting", "image_mode") or len(set(said)) > 1


@pytest.mark.parametrize("path", ["/" + "a" * 5000, "/a\0b", "/" + "ü" * 200 + ".png"])
def test_a_path_that_no_system_takes_is_one_of_no_file(
        path: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    path = tmp_path.anchor + path[1:]  # where it is relative, WanGP's folder decides
    for given in ({"image_start": path}, {"image_prompt_type": "V", "video_source": path}):
        (tmp_path / "a.json").write_text(json.dumps({**fuzz.SETTINGS, **given}))
        code, out = check(tmp_path / "a.json", capsys)
        assert code == 1 and "error: there is no " in out and "check failed" not in out, out


@pytest.mark.parametrize("frames", [1e11, 10**30, -5, 0.2, 1e300])
def test_a_video_of_1e11_frames_is_not_counted_out(
        frames: float, tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "a.json").write_text(json.dumps({**fuzz.SETTINGS, "video_length": frames}))
    code, out = check(tmp_path / "a.json", capsys)
    assert code == 1 and ("frames are not possible" in out or "not a number" in out)


# ------------------------------------------------------------------------------------------- videos

PLAYLISTS = {"a playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
             "a list of files": "ffconcat version 1.0\nfile '{}'\n"}


@pytest.mark.parametrize("what", PLAYLISTS)
@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.m3u8"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, what: str, name: str):
    videos.write(tmp_path / "secret.mp4", videos.noise(5))
    (tmp_path / name).write_text(PLAYLISTS[what].format("secret.mp4"))
    with pytest.raises(VideoError, match=f"{name} cannot be read"):
        count_frames(tmp_path / name)
    with pytest.raises(DriftError, match="is not a video that can be read"):
        drift.report(tmp_path / name)


@needs_links
def test_a_pipe_is_no_video(tmp_path: Path):
    os.mkfifo(tmp_path / "x.mp4")
    with pytest.raises(VideoError, match="there is no such file"):
        count_frames(tmp_path / "x.mp4")
    with pytest.raises(DriftError, match="There is no video"):
        drift.report(tmp_path / "x.mp4")


@pytest.mark.parametrize(("suffix", "codec"), [
    (".mp4", videos.X264), (".mkv", videos.X264), (".mp4", videos.X265), (".mkv", videos.X265),
    (".mp4", videos.LOSSLESS), (".mov", videos.PRORES), (".mp4", videos.EXACT)])
def test_a_video_that_was_joined_begins_with_its_first_piece(
        tmp_path: Path, suffix: str, codec: tuple[str, ...]):
    first, second, video = (tmp_path / f"{name}{suffix}" for name in ("1", "2", "video"))
    for number, path in enumerate((first, second)):
        videos.write(path, videos.noise(9, number), codec)
    join([first, second], video)
    assert begins_with(video, first) and not begins_with(video, second)
    assert not begins_with(first, video), "it is shorter"


def test_tags_that_cannot_be_written_leave_a_video_that_plays(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mp4 = pytest.importorskip("mutagen.mp4")
    piece = videos.write(tmp_path / "piece.mp4", videos.noise(9))
    old = videos.write(tmp_path / "old.mp4", videos.noise(9))
    file = mp4.MP4(old)
    file["\xa9cmt"] = "settings"
    file.save()

    def half(tags: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise RecursionError

    monkeypatch.setattr(mp4.MP4Tags, "save", half)
    join([piece], tmp_path / "new.mp4", like=old)
    assert count_frames(tmp_path / "new.mp4") == 9


@pytest.mark.parametrize("kind", ["moov", "mdat", "stsz", "stco", "stts", "avcC", "ftyp"])
def test_after_a_bad_piece_the_video_is_as_it_was_byte_for_byte(place: fuzz.Place, kind: str):
    good, dice, refused = fuzz.encoded(".mp4"), random.Random(kind), 0
    at = good.index(kind.encode())
    for _ in range(40):
        data = bytearray(good)
        start = at - 4 + dice.randrange(24)
        data[start : start + 4] = dice.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"))
        try:
            fuzz.read_piece(bytes(data), place)  # raises Fault where the video has changed
        except VideoError:
            refused += 1
    assert refused


def test_a_video_of_huge_frames_is_not_measured(tmp_path: Path):
    path = tmp_path / "huge.png"
    Image.new("1", (20_000, 2_000)).save(path)
    before = fuzz.peak(reset=True)
    with pytest.raises(DriftError, match="has no pictures, or none of 3x3 to 4096x4096"):
        drift.report(path)
    assert fuzz.peak() - before < 200e6


def test_a_picture_of_a_run_that_is_huge_is_not_shown(place: fuzz.Place):
    Image.new("1", (9_000, 9_000)).save(place.bad.folder / "reference.png")
    before = fuzz.peak(reset=True)
    assert "data:image/jpeg" in view.thumbnail(place.bad), "that of its first clip is"
    assert fuzz.peak() - before < 200e6


def test_a_start_image_that_is_huge_is_not_searched_for_black(tmp_path: Path):
    Image.new("1", (9_000, 9_000)).save(tmp_path / "huge.png")
    before = fuzz.peak(reset=True)
    asked = {"image_prompt_type": "S", "image_start": str(tmp_path / "huge.png")}
    assert plan.obstacles(asked) == []
    assert fuzz.peak() - before < 50e6


# ------------------------------------------------------------------------------------------- LoRAs

def headed(head: bytes, length: int | None = None, data: bytes = bytes(8)) -> bytes:
    return (len(head) if length is None else length).to_bytes(8, "little") + head + data


ONE = b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
HEADERS: dict[str, bytes] = {
    "empty": b"", "short": b"\1\0", "no header": headed(b""),
    "a length of terabytes": headed(b"{%s}" % ONE, 2**45),
    "the longest length": headed(b"{%s}" % ONE, 2**64 - 1),
    "a length too short": headed(b"{%s}" % ONE, 10), "nested": headed(DEEP.encode()),
    "a list": headed(b"[1]"), "a number": headed(b"5"),
    "metadata alone": headed(b'{"__metadata__":{}}'),
    "an offset of text": headed(b'{"a":{"data_offsets":[0,"8"]}}'),
    "an offset of thousands of digits": headed(b'{"a":{"data_offsets":[0,%s]}}' % (b"9" * 9999)),
    "not a number": headed(b'{"a":{"data_offsets":[0,NaN]}}'),
    "a tensor that is text": headed(b'{"a":"x"}'), "no offsets": headed(b'{"a":{}}'),
    "a huge shape": headed(b'{"a":{"shape":[99999999,99999999],"data_offsets":[0,9]}}'),
    "millions of tensors": headed(b"{" + b'"a":{},' * 400_000 + b"%s}" % ONE),
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_lora_file_with_a_header_that_lies_is_not_complete(what: str, tmp_path: Path):
    path = tmp_path / "svi-shot.safetensors"
    path.write_bytes(HEADERS[what])
    before = fuzz.peak(reset=True)
    assert not untrusted.is_complete(path) and fuzz.peak() - before < 200e6


def test_what_a_lora_file_says_of_itself_beside_its_tensors_does_not_matter(tmp_path: Path):
    path = tmp_path / "svi-shot.safetensors"
    for more in (b"", b'"__metadata__":{"x":"\\u0000<script>"},', b'"__metadata__":[[[]]],',
                 b'"a":{"data_offsets":[0,9999]},', b'"__metadata__":{"__metadata__":{}},'):
        path.write_bytes(headed(b"{%s%s}" % (more, ONE)))
        assert untrusted.is_complete(path)


@pytest.mark.parametrize("key", [
    f"pipe.dit.blocks.{'9' * 5000}.ffn.0.lora_A.default.weight",
    "pipe.dit.blocks.٣.ffn.0.lora_A.weight", "pipe.dit." + "x" * 10**6], ids=len)
def test_a_key_of_a_lora_that_is_none_is_named_in_a_sentence(key: str):
    with pytest.raises(ValueError, match="This is not an SVI LoRA for this model") as error:
        lora.clean({key: None, key.replace("lora_A", "lora_B"): None})
    assert len(str(error.value)) < 500


def test_a_clip_that_was_not_encoded_and_that_svi_did_not_write_is_made_again(wgp: WanGP):
    run = broken_off(wgp, 2)
    asked: list[dict[str, str]] = []
    real = Run.unsaved

    def seen(self: Run, number: int, made_of: dict[str, str]) -> Any:
        asked.append(dict(made_of))
        return real(self, number, made_of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "unsaved", seen)
        wgp.pipe.before = lambda window: False
        wgp.generate(settings("shot", 2))
    wgp.pipe.before = lambda window: True
    wgp.forget()
    for tensors in ({}, {"frames": torch.zeros(3, 81, 4, 4)},
                    {"frames": torch.zeros(5), **STATES["frames that are numbers"]}):
        run.keep(1, asked[-1], tensors)
        assert run.unsaved(1, asked[-1]) is not None
    path, = run.folder.glob("*-frames.safetensors")
    path.write_bytes(headed(DEEP.encode()) if not asked else path.read_bytes())
    assert wgp.generate(settings("shot", 2)), wgp.error
    assert wgp.made == [2] and len(run.done()) == 2


# -------------------------------------------------------------------------------------------- fuzz

@pytest.mark.parametrize("name", fuzz.READERS)
def test_broken_files_are_read_or_refused_as_documented(name: str):
    """A short form of benchmarks/fuzz.py."""
    numbers = range(10**6, 10**6 + 5 * fuzz.READERS[name].share)
    assert fuzz.fuzz(fuzz.READERS[name], 2, numbers).faults == []


def test_the_fuzz_finds_a_fault(monkeypatch: pytest.MonkeyPatch):
    def fail(data: bytes, place: fuzz.Place) -> None:
        if place.folder.name == "place":  # not the one that warms up
            (place.folder / "elsewhere/private.mp4").write_bytes(b"")
            place.check()

    reader = fuzz.READERS["picture"]
    found = fuzz.fuzz(fuzz.replace(reader, read=fail), 2, range(2)).faults
    assert len(found) == 2 and "a file outside the run has changed" in found[0]


def test_the_docs_count_what_was_tried():
    """docs/faults.md has the numbers of the tables above, and those of benchmarks/fuzz."""
    home = Path(__file__).parents[1]
    rows = csv.DictReader((home / "benchmarks/fuzz/fuzz.csv").open(encoding="utf-8"))
    inputs = {row["reader"]: int(row["inputs"]) for row in rows if row["faults"] == "0"}
    assert sum(inputs.values()) >= 100_000 and inputs.keys() == fuzz.READERS.keys()
    text = (home / "docs/faults.md").read_text(encoding="utf-8")
    for made, names in (
            (len(RECORDS) + len(WRONG) * sum(map(len, FIELDS.values())), ["run.json"]),
            (len(CLIPS), ["clip record"]), (len(ODD) * 28 + 5, ["settings (.json)"]),
            (len(STATES) + 2, ["clip state"]), (len(HEADERS) + 5 + 3, ["LoRA header"]),
            (len(FILES) + 4 + 6, ["queue (.zip)", "settings in a video"])):
        assert f"| {made} + {sum(inputs[name] for name in names):,} |" in text
