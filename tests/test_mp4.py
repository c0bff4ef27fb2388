"""Videos that grow in place: what ffmpeg, OpenCV and mutagen see of them, and what is left when growing is killed."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import videos
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import LOSSLESS, PRORES, X264, X265, ffmpeg, listed, noise, read, write

from wan2gp_svi.runs import mp4

LENGTHS = (76, 1, 5, 81, 2)
CODECS = {"x264": (X264, ".mp4"), "x265": (X265, ".mp4"), "lossless": (LOSSLESS, ".mp4"), "ProRes": (PRORES, ".mov")}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def pieces(folder: Path, codec: tuple[str, ...] = X264, suffix: str = ".mp4", lengths: tuple[int, ...] = LENGTHS
           ) -> list[Path]:
    return [write(folder / f"{number}{suffix}", noise(frames, number), codec) for number, frames in enumerate(lengths)]


def grown(parts: list[Path]) -> Path:
    video = parts[0].with_name(f"grown video ü{parts[0].suffix}")
    shutil.copyfile(parts[0], video)
    for part in parts[1:]:
        mp4.append(video, part)
    return video


def pictures(*parts: Path) -> list[str]:
    return [picture for part in parts for _, _, picture in listed(part)]


# -------------------------------------------------------------------------------------------------------- what one sees

@pytest.mark.parametrize("kind", CODECS)
def test_a_video_shows_the_frames_of_its_pieces_at_even_times(tmp_path: Path, kind: str):
    parts = pieces(tmp_path, *CODECS[kind])
    video = grown(parts)
    seen = listed(video)
    assert [picture for *_, picture in seen] == pictures(*parts)
    unit = seen[1][0]
    assert [(time, length) for time, length, _ in seen] == [(number * unit, unit) for number in range(sum(LENGTHS))]
    assert mp4.frames(video) == sum(LENGTHS)


@pytest.mark.parametrize("kind", CODECS)
def test_its_length_is_told_by_its_header(tmp_path: Path, kind: str):
    video = grown(pieces(tmp_path, *CODECS[kind]))
    about = videos.about(video)
    seconds = sum(LENGTHS) / 16
    assert f"Duration: 00:00:{seconds:05.2f}" in about and "16 fps" in about


def test_opencv_reads_and_seeks_it(tmp_path: Path):
    cv2 = pytest.importorskip("cv2")
    parts = pieces(tmp_path)
    capture = cv2.VideoCapture(str(grown(parts)))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == sum(LENGTHS) and capture.get(cv2.CAP_PROP_FPS) == 16
    capture.set(cv2.CAP_PROP_POS_FRAMES, 100)
    single = cv2.VideoCapture(str(parts[3]))
    single.set(cv2.CAP_PROP_POS_FRAMES, 100 - 82)
    assert np.array_equal(capture.read()[1], single.read()[1])


@pytest.mark.parametrize("kind", CODECS)
def test_seeking_into_a_later_piece_shows_the_right_frame(tmp_path: Path, kind: str):
    parts = pieces(tmp_path, *CODECS[kind])
    video, frames = grown(parts), np.concatenate([read(part) for part in parts])
    for at in (75, 76, 77, 81, 82, 120, 164):
        assert np.array_equal(read(video, "-ss", at / 16)[0], frames[at]), f"frame {at}"


@pytest.mark.parametrize("kind", CODECS)
def test_pieces_with_the_same_settings_share_one_codec(tmp_path: Path, kind: str):
    with grown(pieces(tmp_path, *CODECS[kind])).open("rb") as file:
        assert len(mp4._read(file).codecs) == 1


@pytest.mark.parametrize("other", [("-c:v", "libx264", "-crf", "30", "-profile:v", "baseline", "-pix_fmt", "yuv420p"),
                                   (*X264, "-bf", "0"), (*X264, "-g", "1"), LOSSLESS])
def test_pieces_with_other_settings_play_too(tmp_path: Path, other: tuple[str, ...]):
    parts = [write(tmp_path / "a.mp4", noise(20, 1)), write(tmp_path / "b.mp4", noise(9, 2), other),
             write(tmp_path / "c.mp4", noise(20, 3)), write(tmp_path / "d.mp4", noise(3, 2), other)]
    if other != LOSSLESS:  # another format of pixels: not in one stream of frames
        assert pictures(grown(parts)) == pictures(*parts)
    times = [time for time, *_ in listed(grown(parts))]
    assert times == [1024 * number for number in range(len(times))]


def test_dnxhr_grows_too(tmp_path: Path):
    codec = ("-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p")
    parts = [write(tmp_path / f"{number}.mov", noise(3, number, side=256), codec) for number in range(2)]
    assert pictures(grown(parts)) == pictures(*parts)


def test_a_grown_video_can_be_a_piece_itself(tmp_path: Path):
    parts = [write(tmp_path / "a.mp4", noise(20, 1)), write(tmp_path / "b.mp4", noise(9, 2), (*X264, "-bf", "0")),
             write(tmp_path / "c.mp4", noise(20, 3))]
    piece, video = grown(parts), tmp_path / "video.mp4"
    shutil.copyfile(parts[1], video)
    mp4.append(video, piece)
    assert pictures(video) == pictures(parts[1], *parts)


def test_metadata_written_before_an_append_survive_it(tmp_path: Path):
    mutagen = pytest.importorskip("mutagen.mp4")
    parts = pieces(tmp_path, lengths=(5, 5, 9))
    video = grown(parts[:2])
    for comment in ("one", "x" * 5000, "two"):
        file = mutagen.MP4(video)
        file["\xa9cmt"], file["covr"] = comment, [mutagen.MP4Cover(bytes(2000), mutagen.MP4Cover.FORMAT_PNG)]
        file.save()
        mp4.append(video, parts[2])
        assert mutagen.MP4(video)["\xa9cmt"] == [comment]
        assert mutagen.MP4(video).info.length == pytest.approx(mp4.frames(video) / 16, abs=1e-3)
    assert pictures(video) == pictures(*parts, parts[2], parts[2])


# -------------------------------------------------------------------------------------------------------- what it costs

def test_what_an_append_writes_does_not_depend_on_the_length_of_the_video(tmp_path: Path, monkeypatch):
    piece = write(tmp_path / "piece.mp4", noise(8))
    video = tmp_path / "video.mp4"
    shutil.copyfile(piece, video)
    indexes: list[int] = []
    real = mp4._movie
    monkeypatch.setattr(mp4, "_movie", lambda data, start: indexes.append(len(data)) or real(data, start))
    for number in range(1, 41):
        before = video.stat().st_size
        mp4.append(video, piece)
        assert video.stat().st_size - before < piece.stat().st_size + number * 8 * 16  # 16 bytes of index for a frame
    assert max(indexes) < piece.stat().st_size + 40 * 8 * 16 and mp4.frames(video) == 41 * 8


# ------------------------------------------------------------------------------------------------------ what is refused

def _with_sound(path: Path) -> None:
    write(path.with_name("silent.mp4"), noise(5))
    ffmpeg("-i", path.with_name("silent.mp4"), "-f", "lavfi", "-i", "anullsrc=r=8000", "-c:v", "copy",
           "-shortest", path)


def _cut(path: Path, *options: str, keep: float) -> None:
    ffmpeg("-i", write(path.with_name("all.mp4"), noise(40)), "-c", "copy", *options, path)
    os.truncate(path, int(path.stat().st_size * keep))


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another rate": (lambda path: write(path, noise(5), fps=24), "counts time in 1/"),
    "another codec": (lambda path: write(path, noise(5), X265), "another codec or size"),
    "another size": (lambda path: write(path, noise(5, side=32)), "another codec or size"),
    "with sound": (_with_sound, "one picture track alone"),
    "sound alone": (lambda path: ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16384", "-t", 1, path), "none of pictures"),
    "cut off": (lambda path: _cut(path, keep=0.7), "is no whole video file"),
    "cut off, index first": (lambda path: _cut(path, "-movflags", "+faststart", keep=0.7), "is no whole video file"),
    "cut off in the index": (lambda path: _cut(path, keep=0.999), "is no whole video file"),
    "in fragments": (lambda path: ffmpeg("-i", write(path.with_name("all.mp4"), noise(9)), "-c", "copy", "-movflags",
                                         "frag_keyframe+empty_moov", path), "empty"),
    "no video": (lambda path: path.write_bytes(b"no video at all"), "is no whole video file"),
    "empty": (lambda path: path.write_bytes(b""), "is no whole video file"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_go_together_is_refused_and_nothing_is_changed(tmp_path: Path, what: str):
    make, said = WRONG[what]
    good, bad = write(tmp_path / "good.mp4", noise(5)), tmp_path / "bad.mp4"
    make(bad)
    before = good.read_bytes(), bad.read_bytes()
    for video, piece in ((good, bad), (bad, good)):
        with pytest.raises(mp4.VideoError, match=said):
            mp4.append(video, piece)
        assert (good.read_bytes(), bad.read_bytes()) == before
    if "another" not in what:
        with pytest.raises(mp4.VideoError):
            mp4.frames(bad)


def test_a_video_with_its_index_first_does_not_grow_but_can_be_a_piece(tmp_path: Path):
    good, first = write(tmp_path / "good.mp4", noise(5)), tmp_path / "first.mp4"
    ffmpeg("-i", write(tmp_path / "other.mp4", noise(6, 1)), "-c", "copy", "-movflags", "+faststart", first)
    before = first.read_bytes()
    with pytest.raises(mp4.VideoError, match="has its index before its frames"):
        mp4.append(first, good)
    assert first.read_bytes() == before
    expected = pictures(good, first)
    mp4.append(good, first)
    assert pictures(good) == expected


# ------------------------------------------------------------------------------------------------------- what is killed

class Killed(BaseException):
    pass


class Leaky:
    """A file whose process is killed after so many bytes were written or cut off; writes arrive in their order."""

    def __init__(self, file: Any, budget: int):
        self.file, self.budget = file, budget

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Leaky:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.file.write(data[: self.budget])
        self.budget -= len(data)
        if self.budget < 0:
            self.file.flush()
            raise Killed
        return len(data)


@pytest.mark.parametrize("kind", ["x264", "ProRes"])
def test_killed_at_any_byte_it_plays_as_before_or_grown_and_the_next_append_goes_through(
        tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    codec, suffix = CODECS[kind]
    parts = [write(tmp_path / f"{number}{suffix}", noise(frames, number, side=16), codec)
             for number, frames in enumerate((6, 4, 3))]
    old = grown(parts[:2])
    start, new = old.read_bytes(), tmp_path / f"new{suffix}"
    shutil.copyfile(old, new)
    mp4.append(new, parts[2])
    shown = {pictures_of(start, suffix): "old", pictures_of(new.read_bytes(), suffix): "new"}
    total = new.stat().st_size - len(start) + 4
    index = total - 4 - (new.stat().st_size - _last_box(new.read_bytes()))
    real, found = Path.open, []
    stages = {0, 1, 8, 15, 16, 17, index // 2, index - 1, index, index + 1, index + 7, index + 8, index + 40,
              (index + total) // 2, total - 5, total - 4, total - 3, total - 2, total - 1}
    for budget in sorted(stages):
        old.write_bytes(start)
        monkeypatch.setattr(Path, "open", lambda path, mode="r", budget=budget, **options:
                            Leaky(real(path, mode, **options), budget) if "+" in mode else real(path, mode, **options))
        with pytest.raises(Killed):
            mp4.append(old, parts[2])
        monkeypatch.setattr(Path, "open", real)
        left = old.read_bytes()
        if total - 4 < budget < total:  # the four bytes that count are in one sector of the disk: all of them or none
            continue
        found.append(shown[pictures_of(left, suffix)])
        assert mp4.frames(old) == 10
        mp4.append(old, parts[2])
        assert shown[pictures_of(old.read_bytes(), suffix)] == "new"
    assert set(found) == {"old"}


def test_nothing_of_an_append_that_was_killed_stays(tmp_path: Path):
    long, short = pieces(tmp_path, lengths=(30, 2))
    for video in (one := tmp_path / "one.mp4", other := tmp_path / "other.mp4"):
        shutil.copyfile(short, video)
    with one.open("ab") as file:
        file.write(struct.pack(">I4s", long.stat().st_size, b"mdat") + long.read_bytes())
    mp4.append(one, short)
    mp4.append(other, short)
    assert one.read_bytes() == other.read_bytes()


def pictures_of(data: bytes, suffix: str) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        path.write_bytes(data)
        return tuple(pictures(path))


def _last_box(data: bytes) -> int:
    at = last = 0
    while at < len(data):
        size, = struct.unpack_from(">I", data, at)
        last, at = at, at + (size if size != 1 else struct.unpack_from(">Q", data, at + 8)[0])
    return last


def test_the_new_index_is_on_the_disk_before_the_old_one_is_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parts = pieces(tmp_path, lengths=(5, 5))
    video = tmp_path / "video.mp4"
    shutil.copyfile(parts[0], video)
    on_disk: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda handle: on_disk.append(video.read_bytes()))
    mp4.append(video, parts[1])
    first, second = on_disk
    assert first[: parts[0].stat().st_size] == parts[0].read_bytes() and len(first) == len(second)
    changed = [at for at in range(len(first)) if first[at] != second[at]]
    assert 0 < len(changed) <= 4 and changed[-1] - changed[0] < 4 and second == video.read_bytes()


def test_a_disk_that_is_full_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parts = pieces(tmp_path, lengths=(5, 5))
    video = grown(parts[:1])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mp4, "_copy", full)
    with pytest.raises(OSError, match="No space"):
        mp4.append(video, parts[1])
    monkeypatch.undo()
    assert pictures(video) == pictures(parts[0])
    mp4.append(video, parts[1])
    assert pictures(video) == pictures(*parts)


# --------------------------------------------------------------------------------------------------------------- tables

@settings(deadline=None)
@given(st.lists(st.integers(-3, 3) | st.integers(-2**31, 2**31 - 1), min_size=1, max_size=60))
def test_tables_are_folded_and_spread(values: list[int]):
    folded = mp4._folded(np.array(values), 1)
    assert mp4._spread(folded, ">i4").tolist() == values
    assert len(folded) <= 8 + 8 * len(values)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.data())
def test_places_are_what_an_index_says(sizes: list[int], data: st.DataObject):
    held = []
    while sum(held) < len(sizes):
        held.append(data.draw(st.integers(1, len(sizes) - sum(held))))
    starts, offsets, first = [], [], 0
    for count in held:
        start = 1000 * len(starts)
        starts.append(start)
        offsets += [start + sum(sizes[first:at]) for at in range(first, first + count)]
        first += count
    rows = [(number, count, 1) for number, count in enumerate(held, 1)
            if number == 1 or count != held[number - 2]]
    table = {b"stco": struct.pack(f">II{len(starts)}I", 0, len(starts), *starts),
             b"stsc": struct.pack(">II", 0, len(rows)) + b"".join(struct.pack(">III", *row) for row in rows)}
    found, codec = mp4._places(table, np.array(sizes))
    assert found.tolist() == offsets and codec.tolist() == [1] * len(sizes)
