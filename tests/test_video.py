"""The video that pieces make: what FFmpeg, OpenCV and WanGP see of it, and when it is joined."""

from __future__ import annotations

import errno
import itertools
import os
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import videos
from held import held as held_files
from hypothesis import given
from hypothesis import strategies as st
from kills import needs_fork
from PIL import Image
from videos import LOSSLESS, PRORES, X264, X265, ffmpeg, listed, noise, read, write

from wan2gp_svi import files
from wan2gp_svi.files import UNFINISHED
from wan2gp_svi.runs import video
from wan2gp_svi.runs.record import Piece
from wan2gp_svi.runs.video import GrowingVideo, VideoError, count_frames, holds, join

LENGTHS = (76, 1, 5, 81, 2)
TEN_BIT = ("-pix_fmt", "yuv420p10le")
CODECS = {  # all that WanGP offers, and 10 bits
    "x264": (X264, ".mp4"), "x265": (X265, ".mp4"), "lossless": (LOSSLESS, ".mp4"),
    "x264 of 10 bits": ((*X264, *TEN_BIT), ".mp4"), "x265 of 10 bits": ((*X265, *TEN_BIT), ".mp4"),
    "x264 in mov": (X264, ".mov"), "ProRes": (PRORES, ".mov"),
    "x264 in mkv": (X264, ".mkv"), "x265 in mkv": (X265, ".mkv"), "ProRes in mkv": (PRORES, ".mkv"),
    "FFV1 in mkv": (("-c:v", "ffv1", "-pix_fmt", "rgb24"), ".mkv"),
}
DNXHR = ("-c:v", "dnxhd", "-profile:v", "dnxhr_hq", "-pix_fmt", "yuv422p")


def pieces(folder: Path, codec: tuple[str, ...] = X264, suffix: str = ".mp4",
           lengths: tuple[int, ...] = LENGTHS, fps: float = 16) -> list[Path]:
    return [write(folder / f"{number}{suffix}", noise(length, number), codec, fps)
            for number, length in enumerate(lengths)]


def joined(parts: list[Path]) -> Path:
    target = parts[0].with_name(f"a video ü{parts[0].suffix}")
    join(parts, target)
    return target


def pictures(*parts: Path) -> list[str]:
    return [picture for part in parts for _, _, picture in listed(part)]


# ------------------------------------------------------------------------------------ what it shows

@pytest.mark.parametrize("kind", CODECS)
def test_a_video_shows_the_frames_of_its_pieces_at_even_times(tmp_path: Path, kind: str):
    codec, suffix = CODECS[kind]
    parts = pieces(tmp_path, codec, suffix)
    seen = listed(joined(parts))
    assert [picture for *_, picture in seen] == pictures(*parts)
    times = [time for time, *_ in seen]
    if suffix == ".mkv":  # which counts milliseconds
        assert times == [int(62.5 * number + 0.5) for number in range(sum(LENGTHS))]
    else:
        unit = times[1]
        assert [(time, length) for time, length, _ in seen] == [
            (unit * number, unit) for number in range(sum(LENGTHS))]
    assert count_frames(joined(parts)) == sum(LENGTHS)


@pytest.mark.parametrize("fps", [15, 16, 24, 25, 30, 32, 23.976, 50, 60])
def test_times_are_even_at_every_frame_rate(tmp_path: Path, fps: float):
    parts = pieces(tmp_path, lengths=(9, 1, 7), fps=fps)
    with av.open(str(joined(parts))) as container:
        track = container.streams.video[0]
        rate, base = track.average_rate, track.time_base
        shown = [frame.pts for frame in container.decode(track)]
    assert rate == Fraction(fps).limit_denominator(1001) and base is not None
    assert [at * base * rate for at in shown if at is not None] == list(range(17))


@pytest.mark.parametrize("kind", CODECS)
def test_its_head_says_what_those_of_its_pieces_say(tmp_path: Path, kind: str):
    def head(path: Path) -> list[Any]:
        with av.open(str(path)) as container:
            track = container.streams.video[0]
            context = track.codec_context
            tag = context.codec_tag if path.suffix != ".mkv" else ""
            return [context.name, context.profile, tag, context.pix_fmt, track.width, track.height,
                    context.color_range, context.colorspace, track.guessed_rate,
                    container.start_time]

    parts = pieces(tmp_path, *CODECS[kind])
    target = joined(parts)
    assert head(target) == head(parts[0])
    assert f"Duration: 00:00:{sum(LENGTHS) / 16:05.2f}" in videos.about(target)


def test_opencv_reads_and_seeks_it(tmp_path: Path):
    cv2 = pytest.importorskip("cv2")
    parts = pieces(tmp_path)
    capture = cv2.VideoCapture(str(joined(parts)))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == sum(LENGTHS)
    assert capture.get(cv2.CAP_PROP_FPS) == 16
    capture.set(cv2.CAP_PROP_POS_FRAMES, 100)
    single = cv2.VideoCapture(str(parts[3]))
    single.set(cv2.CAP_PROP_POS_FRAMES, 100 - 82)
    assert np.array_equal(capture.read()[1], single.read()[1])


@pytest.mark.parametrize("kind", [kind for kind, (_, suffix) in CODECS.items() if suffix != ".mkv"])
def test_seeking_into_a_later_piece_shows_the_right_frame(tmp_path: Path, kind: str):
    parts = pieces(tmp_path, *CODECS[kind])
    target, frames = joined(parts), np.concatenate([read(part) for part in parts])
    for at in (0, 75, 76, 77, 81, 82, 120, 164):
        assert np.array_equal(read(target, "-ss", at / 16)[0], frames[at]), f"frame {at}"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("other", [
    ("-c:v", "libx264", "-crf", "30", "-profile:v", "baseline", "-pix_fmt", "yuv420p"),
    (*X264, "-bf", "0"), (*X264, "-g", "1"), (*X264, "-x264-params", "cqm=jvt:ref=1")])
def test_pieces_of_another_release_of_the_encoder_play_too(
        tmp_path: Path, suffix: str, other: tuple[str, ...]):
    parts = [write(tmp_path / f"a{suffix}", noise(20, 1)),
             write(tmp_path / f"b{suffix}", noise(9, 2), other),
             write(tmp_path / f"c{suffix}", noise(20, 3)),
             write(tmp_path / f"d{suffix}", noise(3, 2), other)]
    for order in (parts, parts[::-1]):
        assert pictures(joined(order)) == pictures(*order)


def test_frames_that_are_reordered_more_than_before_are_shown_in_their_order(tmp_path: Path):
    one = write(tmp_path / "one.mp4", noise(20, 1), (*X264, "-bf", "0"))
    smooth = np.stack([np.roll(noise(1, 3)[0], 2 * number, 1) for number in range(40)])
    two = write(tmp_path / "two.mp4", smooth, (*X264, "-bf", "8", "-x264-params", "b-adapt=0"))
    assert pictures(joined([one, two, one])) == pictures(one, two, one)


def test_dnxhr_is_joined_in_mov_and_refused_in_mkv(tmp_path: Path):
    for suffix in (".mov", ".mkv"):
        parts = [write(tmp_path / f"{number}{suffix}", noise(3, number, side=256), DNXHR)
                 for number in range(2)]
        if suffix == ".mov":
            assert pictures(joined(parts)) == pictures(*parts)
        else:
            with pytest.raises(VideoError, match="PyAV cannot write .*mkv: .*does not support"):
                joined(parts)


def test_a_video_can_be_a_piece_itself(tmp_path: Path):
    parts = pieces(tmp_path, lengths=(20, 9))
    assert pictures(joined([joined(parts), *parts])) == pictures(*parts, *parts)


def test_a_video_is_as_large_as_its_pieces(tmp_path: Path):
    piece = write(tmp_path / "piece.mp4", noise(81))
    target = joined([piece] * 40)
    assert target.stat().st_size < 40 * piece.stat().st_size


# ----------------------------------------------------------------------------------------- metadata

@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_what_wangp_writes_into_an_mp4_or_mov_stays(tmp_path: Path, suffix: str):
    mutagen = pytest.importorskip("mutagen.mp4")
    parts = pieces(tmp_path, suffix=suffix, lengths=(5, 5, 9))
    old, new = joined(parts[:2]), tmp_path / f"new{suffix}"
    image = mutagen.MP4Cover(bytes(range(256)) * 9, mutagen.MP4Cover.FORMAT_PNG)
    written = {"\xa9cmt": ['{"prompt": "ä „x“"}' * 500],
               "----:com.apple.iTunes:EMBEDDED_IMAGES": [image],
               "----:com.apple.iTunes:IMAGE_METADATA": [b'{"image_start": []}']}
    file = mutagen.MP4(old)
    if file.tags is None:
        file.add_tags()
    file.tags.update(written)
    file.save()
    join(parts, new, like=old)
    found = mutagen.MP4(new)
    assert {name: found.tags[name] for name in written} == written
    assert found.info.length == pytest.approx(19 / 16, abs=1e-3)
    assert pictures(new) == pictures(*parts)


def _mkv_with_images(folder: Path, parts: list[Path]) -> Path:
    """WanGP writes its settings and an image after two clips: the first image is a track then."""
    Image.fromarray(noise(1)[0]).save(folder / "start.png")
    old = joined(parts)
    for number in range(2):
        new = folder / f"with {number + 1} images.mkv"
        ffmpeg("-i", old, "-map", 0, "-c", "copy", "-metadata", 'comment={"prompt": "ä „x“"}',
               "-attach", folder / "start.png", "-metadata:s:t:0", "mimetype=image/png", new)
        old = new
    return old


def test_what_wangp_writes_into_an_mkv_stays_except_for_its_images(tmp_path: Path):
    parts = pieces(tmp_path, suffix=".mkv", lengths=(5, 5, 9))
    old, new = _mkv_with_images(tmp_path, parts[:2]), tmp_path / "new.mkv"
    with av.open(str(old)) as container:
        assert len(container.streams) == 3
    assert count_frames(old) == 10
    join(parts, new, like=old)
    with av.open(str(new)) as container:
        assert container.metadata["COMMENT"] == '{"prompt": "ä „x“"}'
        assert len(container.streams) == 1
    assert pictures(new) == pictures(*parts)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("content", [None, b"", b"no video", b"\0\0\0\x10ftypmp42\0\0\0\0"])
def test_a_last_version_that_is_gone_or_broken_does_no_harm(
        tmp_path: Path, suffix: str, content: bytes | None):
    parts, old, new = pieces(tmp_path, suffix=suffix, lengths=(5,)), *(
        tmp_path / f"{name}{suffix}" for name in ("old", "new"))
    if content is not None:
        old.write_bytes(content)
    join(parts, new, like=old)
    assert pictures(new) == pictures(*parts)


def test_a_video_gets_a_track_of_sound_cut_to_its_length(tmp_path: Path):
    parts = [write(tmp_path / f"{n}.mp4", noise(25, n), fps=25) for n in range(3)]
    track, whole = tmp_path / "track.m4a", tmp_path / "whole.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=r=44100", "-t", 9, track)
    join(parts[:1], whole, track=track)
    join(parts, whole, like=whole, track=track)
    assert count_frames(whole) == 75 and "Audio: aac" in videos.about(whole)
    assert holds(whole, [(part, 25) for part in parts]) == 3
    heard = ffmpeg("-i", whole, "-map", "0:a", "-ac", 1, "-ar", 16_000, "-f", "s16le", "-")
    assert abs(len(heard) / 2 / 16_000 - 3) < 0.05


# ----------------------------------------------------------------------------------- what it is not

def _cut(path: Path, *options: str, keep: float) -> None:
    ffmpeg("-i", write(path.with_name("all.mp4"), noise(40)), "-c", "copy", *options, path)
    os.truncate(path, int(path.stat().st_size * keep))


INDEX_FIRST = ("-movflags", "+faststart")
NO_VIDEO: dict[str, tuple[Callable[[Path], Any], str]] = {
    "sound alone": (lambda path: ffmpeg("-f", "lavfi", "-i", "anullsrc=r=16384", "-t", 1, path),
                    "does not hold one video track alone"),
    "cut off": (lambda path: _cut(path, keep=0.7), "cannot be read"),
    "cut off, index first": (lambda path: _cut(path, *INDEX_FIRST, keep=0.7), "is damaged"),
    "cut off at the end": (lambda path: _cut(path, *INDEX_FIRST, keep=0.999), "is damaged"),
    "no video": (lambda path: path.write_bytes(b"no video at all"), "cannot be read"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "missing": (lambda path: None, "cannot be read"),
    "a folder": (lambda path: path.mkdir(), "cannot be read"),
    "an unknown codec": (lambda path: path.write_bytes(
        write(path.with_name("all.mp4"), noise(5)).read_bytes().replace(b"avc1", b"xyz1")),
        "does not hold one video track alone"),
}
OTHERS: dict[str, Callable[[Path], Any]] = {
    "rate": lambda path: write(path, noise(5), fps=24),
    "codec": lambda path: write(path, noise(5), X265),
    "size": lambda path: write(path, noise(5, side=32)),
}


@pytest.mark.parametrize("what", NO_VIDEO)
def test_what_is_no_video_is_refused(tmp_path: Path, what: str):
    make, said = NO_VIDEO[what]
    good, bad = write(tmp_path / "good.mp4", noise(5)), tmp_path / "bad.mp4"
    make(bad)
    with pytest.raises(VideoError, match=f"bad.mp4 {said}"):
        count_frames(bad)
    for parts in ([good, bad], [bad, good]):
        with pytest.raises(VideoError, match=f"bad.mp4 {said}"):
            join(parts, tmp_path / "new.mp4")
    assert holds(bad, [(good, 5)]) is None


@pytest.mark.parametrize("what", OTHERS)
def test_pieces_that_do_not_fit_together_are_refused(tmp_path: Path, what: str):
    good, bad = write(tmp_path / "good.mp4", noise(5)), tmp_path / "bad.mp4"
    OTHERS[what](bad)
    said = "bad.mp4 has another codec, size or frame rate than good.mp4"
    with pytest.raises(VideoError, match=said):
        join([good, bad], tmp_path / "new.mp4")


@pytest.mark.parametrize("kind", ["x264", "x265", "ProRes", "x264 in mkv"])
def test_a_file_with_wrong_bits_is_read_or_refused(tmp_path: Path, kind: str):
    good, = pieces(tmp_path, *CODECS[kind], lengths=(9,))
    bad, dice = good.with_name(f"bad{good.suffix}"), random.Random(kind)
    whole, new = good.read_bytes(), tmp_path / f"new{good.suffix}"
    index = max(0, whole.rfind(b"moov"))
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 2, 9))):
            at = dice.randrange(index, len(data) - 4)
            extreme = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff")
            data[at : at + 4] = dice.choice((*extreme, dice.randbytes(4)))
        bad.write_bytes(data)
        for work in (lambda: count_frames(bad), lambda: join([good, bad], new, like=bad)):
            try:
                work()
            except VideoError as error:
                assert error.args[0].startswith(("bad", "PyAV"))


class Endless:
    """A container whose index repeats the first frame without end."""

    def __init__(self, real: Any, size: int):
        self.streams, self.size = real.streams, real.size
        self.packet = SimpleNamespace(size=size, is_corrupt=False)

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def demux(self, track: Any) -> Iterator[Any]:
        return itertools.repeat(self.packet)


@pytest.mark.parametrize("size", [0, 7])
def test_an_index_that_repeats_a_frame_without_end_is_given_up(
        tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch):
    path, real = write(tmp_path / "bad.mp4", noise(5)), av.open
    monkeypatch.setattr(av, "open", lambda *name, **options: Endless(real(*name, **options), size))
    with pytest.raises(VideoError, match="bad.mp4 is damaged"):
        count_frames(path)


def test_a_disk_that_is_full_is_an_error_of_the_disk(tmp_path: Path):
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    parts = pieces(tmp_path, lengths=(5, 5))
    size = joined(parts).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    action = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (100, size // 2, size - 1):  # in the head, in the frames, in the index
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(OSError) as found:
                join(parts, tmp_path / "new.mp4")
            assert found.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, action)


@given(counts=st.lists(st.integers(1, 90), min_size=1, max_size=6), more=st.integers(0, 90),
       upto=st.integers(1, 6))
def test_a_video_holds_pieces_from_the_first_one_on_or_something_else(
        counts: list[int], more: int, upto: int):
    frames = sum(counts[:upto]) + more
    numbers = range(1, len(counts) + 1)
    expected = next((number for number in numbers if sum(counts[:number]) == frames), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "count_frames", lambda path: frames)
        patch.setattr(video, "begins_with", lambda *paths: True)
        assert holds(Path("video.mp4"), [(Path(), count) for count in counts]) == expected


def test_what_is_no_video_holds_nothing(tmp_path: Path):
    piece = write(tmp_path / "piece.mp4", noise(3, side=16))
    (tmp_path / "broken.mp4").write_bytes(piece.read_bytes()[:-99])
    assert holds(piece, [(piece, 3)]) == 1 and holds(piece, [(piece, 4)]) is None
    for path in (tmp_path / "broken.mp4", tmp_path / "missing.mp4", tmp_path):
        assert holds(path, [(piece, 3)]) is None


@pytest.mark.parametrize("kind", ["x264", "x265", "ProRes", "x264 in mkv"])
def test_a_file_that_was_cut_off_anywhere_is_refused_or_has_fewer_frames_or_shows_them_all(
        tmp_path: Path, kind: str):
    whole, = pieces(tmp_path, *CODECS[kind], lengths=(9,))
    cut, data, shown = whole.with_name(f"cut{whole.suffix}"), whole.read_bytes(), pictures(whole)
    for length in {*range(0, len(data), 97), *range(len(data) - 400, len(data), 13)}:
        cut.write_bytes(data[:length])
        try:
            count = count_frames(cut)
        except VideoError:
            continue
        assert count < 9 or pictures(cut) == shown, f"{length} of {len(data)} bytes"


# ----------------------------------------------------------------------------------- while it grows

class Clock:
    """A time that passes only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(video, "time", clock)
    return clock


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    return held_files(monkeypatch)


def growing(folder: Path, lengths: tuple[int, ...] = (5, 4, 3)
            ) -> tuple[GrowingVideo, list[Piece], list[str]]:
    parts = [*zip(pieces(folder, lengths=lengths), lengths, strict=True)]
    said: list[str] = []
    return GrowingVideo(folder / "video.mp4", 0, said.append), parts, said


@pytest.mark.parametrize("minutes", [0, 3, 30])
def test_a_long_video_is_joined_in_steps_and_shown_every_twenty_minutes(
        tmp_path: Path, clock: Clock, minutes: int, monkeypatch: pytest.MonkeyPatch):
    written: list[int] = []

    def joining(parts: list[Path], target: Path, like: Path, track: None) -> None:
        written.append(len(parts))
        target.write_bytes(b"video")

    monkeypatch.setattr(video, "join", joining)
    grown, parts, times = GrowingVideo(tmp_path / "v.mp4", 0, print), [(Path(), 1)] * 500, []
    for number in range(1, 501):
        clock.now += 60 * minutes
        if grown.grow(parts[:number], final=number == 500):
            times.append(clock.now)
    assert written[:16] == list(range(1, 17)) and written[-1] == grown.held == 500
    waits = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert max(waits, default=0) <= max(20 + minutes, minutes) * 60
    joins = 500 * minutes / 20
    assert sum(written) <= 17 * 500 + 500 * joins and (minutes < 20 or len(written) == 500)


def test_a_video_never_gets_shorter(tmp_path: Path, clock: Clock):
    grown, parts, _ = growing(tmp_path)
    assert grown.grow(parts, final=True)
    clock.now += 10**6
    assert not grown.grow(parts[:2], final=True) and count_frames(grown.path) == 12


def test_while_a_player_holds_the_file_it_stays_and_then_it_grows(
        tmp_path: Path, clock: Clock, held: set[Path]):
    grown, parts, said = growing(tmp_path)
    assert grown.grow(parts[:1])
    before = grown.path.read_bytes()
    held.add(grown.path)
    assert not grown.grow(parts[:2]) and not grown.grow(parts)
    assert grown.path.read_bytes() == before and not [*tmp_path.glob(f"*{UNFINISHED}*")]
    line, = said
    assert line.startswith("video.mp4 cannot be updated now (")
    held.clear()
    assert grown.grow(parts) and pictures(grown.path) == pictures(*(part for part, _ in parts))
    assert len(said) == 1


def test_a_piece_that_a_virus_scanner_has_is_tried_again(tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch):
    piece, = pieces(tmp_path, lengths=(5,))
    real, tries = video.av.open, []

    def scanned(*given: Any, **options: Any) -> Any:
        tries.append(given)
        if len(tries) < 3:
            raise PermissionError(errno.EACCES, "Permission denied", str(piece))
        return real(*given, **options)

    monkeypatch.setattr(video.av, "open", scanned)
    monkeypatch.setattr(files, "PATIENCE", 5.0)  # as on Windows, and slowly
    assert count_frames(piece) == 5 and len(tries) == 3


def test_a_final_video_waits_a_moment_for_a_player(tmp_path: Path, clock: Clock, held: set[Path],
                                                    monkeypatch: pytest.MonkeyPatch):
    grown, parts, said = growing(tmp_path)
    grown.grow(parts[:1])
    held.add(grown.path)
    monkeypatch.setattr(clock, "sleep", lambda seconds: held.clear())
    assert grown.grow(parts, final=True)
    assert grown.path == tmp_path / "video.mp4" and count_frames(grown.path) == 12
    assert not said and len([*tmp_path.glob("video*")]) == 1


def test_a_final_video_that_a_player_holds_is_a_second_file(
        tmp_path: Path, clock: Clock, held: set[Path]):
    grown, parts, said = growing(tmp_path)
    first = grown.path
    grown.grow(parts[:1])
    held.add(first)
    (tmp_path / "video-2.mp4").write_bytes(b"somebody else's")
    began = clock.now
    assert grown.grow(parts, final=True)
    assert 3 <= clock.now - began <= 10, "seconds"
    assert grown.path == tmp_path / "video-3.mp4" and grown.held == 3
    assert pictures(grown.path) == pictures(*(part for part, _ in parts))
    assert count_frames(first) == 5
    assert said == [f"video.mp4 is in use by another program, so the whole video is {grown.path}."]


def test_a_disk_that_is_full_leaves_the_video_and_is_an_error_at_its_end(
        tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    grown, parts, said = growing(tmp_path)
    grown.grow(parts[:1])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(video, "join", full)
        assert not grown.grow(parts[:2]) and "No space left" in said[0]
        with pytest.raises(OSError, match="No space"):
            grown.grow(parts, final=True)
        with pytest.raises(OSError, match="No space"):
            GrowingVideo(tmp_path / "new.mp4", 0, print).grow(parts)
    assert count_frames(grown.path) == 5 and not [*tmp_path.glob(f"*{UNFINISHED}*")]
    assert grown.grow(parts) and count_frames(grown.path) == 12


@needs_fork
@pytest.mark.parametrize("owner, name, at", [(video, "BitStreamFilterContext", 3),
                                             (Path, "replace", 1)])
def test_killed_while_it_is_joined_the_video_is_as_before(
        tmp_path: Path, owner: Any, name: str, at: int):
    grown, parts, _ = growing(tmp_path)
    grown.grow(parts[:1])
    before = grown.path.read_bytes()
    child = os.fork()
    if not child:
        real, calls = getattr(owner, name), []

        def killed(*given: Any) -> Any:
            calls.append(name)
            if len(calls) == at:
                os._exit(9)
            return real(*given)

        setattr(owner, name, killed)
        try:
            grown.grow(parts)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert grown.path.read_bytes() == before and [*tmp_path.glob(f"*{UNFINISHED}*")]
    assert grown.grow(parts) and not [*tmp_path.glob(f"*{UNFINISHED}*")]
    assert pictures(grown.path) == pictures(*(part for part, _ in parts))
