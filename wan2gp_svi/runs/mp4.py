"""A video that grows: pieces are appended to an MP4 or QuickTime file in place, without being encoded again.

Only the piece and the file's index (`moov`, the last box) are written, so the cost does not depend on how long the
video is already. The new index is whole on the disk before one write of four bytes makes the old one void: killed at
any moment, the file plays up to the last piece that was appended whole. Source: ISO/IEC 14496-12.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

SUFFIXES = (".mp4", ".mov")

_NESTED = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"}


class VideoError(ValueError):
    """A file that cannot be grown, or appended; the message says why."""


@dataclass(frozen=True)
class _Movie:
    """The one picture track of a file. Arrays have a value for each frame, in the order in which they are stored.

    `boxes` is the index as a tree: [name, content], content being bytes or a list of such boxes. `delay`, in units of
    the track's `timescale`, is what its edit list takes off the presentation times.
    """

    boxes: list[Any]
    start: int
    end: int
    timescale: int
    delay: int
    codecs: list[bytes]
    codec: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray
    durations: np.ndarray
    shifts: np.ndarray
    keys: np.ndarray


def frames(video: Path) -> int:
    """The number of frames of an MP4 or QuickTime file. Raises VideoError for what is none, OSError as ever."""
    with video.open("rb") as file:
        return len(_read(file).sizes)


def append(video: Path, piece: Path) -> None:
    """Appends the frames of `piece` to `video`. Both hold one picture track and no sound.

    Raises VideoError, with `video` as it was, where the two do not go together.
    """
    with video.open("r+b") as file, piece.open("rb") as source:
        old, new = _read(file), _read(source)
        if new.timescale != old.timescale:
            raise VideoError(f"{piece.name} counts time in 1/{new.timescale} s and {video.name} in 1/{old.timescale} s")
        if len({(codec[4:8], codec[32:36]) for codec in old.codecs + new.codecs}) > 1:
            raise VideoError(f"{piece.name} has another codec or size than {video.name}")
        if (old.offsets + old.sizes).max() > old.start:
            raise VideoError(f"{video.name} has its index before its frames")
        size = int(new.sizes.sum())
        header = struct.pack(">I4sQ", 1, b"mdat", size + 16)
        file.truncate(old.end)  # what an append that was killed left behind
        file.seek(old.end)
        file.write(header)
        first = file.tell()
        for at, length in _runs(new):
            source.seek(at)
            _copy(source, file, length)
        file.write(_index(old, new, first))
        _flush(file)
        file.seek(old.start + 4)
        file.write(b"free")
        _flush(file)


# ------------------------------------------------------------------------------------------------------------- reading

def _read(file: BinaryIO) -> _Movie:
    """The first index of a file: one that follows it belongs to an append that was not finished."""
    length = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= length:
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        if size == 1:
            size, = struct.unpack(">Q", file.read(8))
        if size < 8 or at + size > length:
            break
        if name == b"moov":
            file.seek(at)
            movie = _movie(file.read(size), at)
            if (movie.offsets + movie.sizes).max() > length:
                break
            return movie
        at += size
    raise VideoError(f"{Path(file.name).name} is no whole video file")


def _movie(data: bytes, start: int) -> _Movie:
    try:
        (_, boxes), = _boxes(data)
        track, = (content for name, content in boxes if name == b"trak")
        if _inside(track, b"mdia", b"hdlr")[8:12] != b"vide":
            raise VideoError("the track is none of pictures")
        table = dict(_inside(track, b"mdia", b"minf", b"stbl"))
        sizes = _sizes(table[b"stsz"])
        codecs = [_codec(data) for _, data in _entries(table[b"stsd"][8:])]
        offsets, codec = _places(table, sizes)
        count = len(sizes)
        shifts = _spread(table[b"ctts"], ">i4") if b"ctts" in table else np.zeros(count, np.int64)
        keys = np.ones(count, bool)
        if b"stss" in table:
            keys[:] = False
            keys[np.frombuffer(table[b"stss"], ">u4")[2:].astype(np.int64) - 1] = True
        head = _inside(track, b"mdia", b"mdhd")
        durations = _spread(table[b"stts"], ">u4")
        if not 0 < count == len(durations) == len(shifts) == len(offsets):
            raise VideoError("the tables of frames are empty or differ in length")
        return _Movie(boxes, start, start + len(data), *struct.unpack_from(">I", head, 20 if head[0] else 12),
                      _delay(track), codecs, codec, sizes, offsets, durations, shifts, keys)
    except (KeyError, ValueError, IndexError, struct.error) as error:
        raise VideoError(f"no video with one picture track alone: {error}") from error


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if not 8 <= size <= len(data) - at:
            raise VideoError(f"a broken box {name!r}")
        yield name, data[at : at + size]
        at += size


def _codec(data: bytes) -> bytes:
    """A codec's description without its bit rate, the one thing in which pieces with the same settings differ."""
    before, found, after = data.partition(b"\0\0\0\x14btrt")
    return struct.pack(">I", len(data) - 20) + before[4:] + after[12:] if found else data


def _boxes(data: bytes) -> list[Any]:
    return [[name, _boxes(box[8:]) if name in _NESTED else box[8:]] for name, box in _entries(data)]


def _inside(boxes: list[Any], *path: bytes) -> Any:
    for name in path:
        boxes = next((content for found, content in boxes if found == name), [])
    return boxes


def _sizes(data: bytes) -> np.ndarray:
    _, same, count = struct.unpack_from(">III", data)
    return np.full(count, same, np.int64) if same else np.frombuffer(data, ">u4")[3 : 3 + count].astype(np.int64)


def _spread(data: bytes, kind: str) -> np.ndarray:
    """The values of a table of (count, value), each as often as it counts."""
    pairs = np.frombuffer(data, ">u4")[2:].reshape(-1, 2)
    return np.repeat(np.ascontiguousarray(pairs[:, 1]).view(kind).astype(np.int64), pairs[:, 0].astype(np.int64))


def _places(table: dict[bytes, bytes], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each frame lies in the file, and which of the codecs it has: frames lie in chunks without gaps."""
    wide = b"co64" in table
    chunks = np.frombuffer(table[b"co64"][8:], ">u8") if wide else np.frombuffer(table[b"stco"][8:], ">u4")
    rows = np.frombuffer(table[b"stsc"], ">u4")[2:].reshape(-1, 3).astype(np.int64)
    repeats = np.diff(np.append(rows[:, 0], len(chunks) + 1))
    held = np.repeat(rows[:, 1], repeats)
    before = np.concatenate([[0], np.cumsum(sizes)])
    first = np.concatenate([[0], np.cumsum(held)])[:-1]
    offsets = before[:-1] + np.repeat(chunks.astype(np.int64) - before[first], held)
    return offsets, np.repeat(np.repeat(rows[:, 2], repeats), held)


def _delay(track: list[Any]) -> int:
    edits = _inside(track, b"edts", b"elst")
    if not edits:
        return 0
    version, count = edits[0], struct.unpack_from(">I", edits, 4)[0]
    start = struct.unpack_from(">Qq" if version else ">Ii", edits, 8)[1]
    if count != 1 or start < 0:
        raise VideoError("an edit list of more than a start")
    return start


# ------------------------------------------------------------------------------------------------------------- writing

def _index(old: _Movie, new: _Movie, first: int) -> bytes:
    """The index of `old` with the frames of `new` after its own, which lie without gaps from byte `first` on."""
    codecs = old.codecs + [codec for codec in new.codecs if codec not in old.codecs]
    number = np.array([codecs.index(codec) + 1 for codec in new.codecs])
    sizes = np.concatenate([old.sizes, new.sizes])
    offsets = np.concatenate([old.offsets, first + np.cumsum(new.sizes) - new.sizes])
    codec = np.concatenate([old.codec, number[new.codec - 1]])
    # a piece shows its first frame when its own delay is over, and the video when the first piece's is
    shifts = np.concatenate([old.shifts, new.shifts + old.delay - new.delay])
    durations = np.concatenate([old.durations, new.durations])
    keys = np.concatenate([old.keys, new.keys])
    starts = np.flatnonzero(np.concatenate([[True], (offsets[1:] != offsets[:-1] + sizes[:-1])
                                            | (codec[1:] != codec[:-1])]))
    held = np.diff(np.append(starts, len(sizes)))
    fresh = np.concatenate([[True], (held[1:] != held[:-1]) | (codec[starts][1:] != codec[starts][:-1])])
    chunks = np.stack([np.flatnonzero(fresh) + 1, held[fresh], codec[starts][fresh]], axis=1)
    table = [
        [b"stsd", struct.pack(">II", 0, len(codecs)) + b"".join(codecs)],
        [b"stts", _folded(durations, 0)],
        *([[b"ctts", _folded(shifts, 1)]] if shifts.any() else []),
        *([] if keys.all() else [[b"stss", _table(np.flatnonzero(keys) + 1)]]),
        [b"stsc", struct.pack(">II", 0, len(chunks)) + chunks.astype(">u4").tobytes()],
        [b"stsz", struct.pack(">III", 0, 0, len(sizes)) + sizes.astype(">u4").tobytes()],
        [b"co64", struct.pack(">II", 0, len(starts)) + offsets[starts].astype(">u8").tobytes()],
    ]
    return _built([[b"moov", _with(old.boxes, table, int(durations.sum()), old)]])


def _with(boxes: list[Any], table: list[Any], duration: int, movie: _Movie) -> list[Any]:
    """The tree with another table of frames, and a duration that is given in the track's units."""
    scale, = struct.unpack_from(">I", head := _inside(movie.boxes, b"mvhd"), 20 if head[0] else 12)
    whole = -(-duration * scale // movie.timescale)
    places = {b"mvhd": (16, 24, whole), b"tkhd": (20, 28, whole), b"mdhd": (16, 24, duration), b"elst": (8, 8, whole)}

    def changed(name: bytes, content: Any) -> Any:
        if name == b"stbl":
            return table
        if isinstance(content, list):
            return [[inner, changed(inner, value)] for inner, value in content]
        if name not in places:
            return content
        narrow, wide, value = places[name]
        at, kind = (wide, ">Q") if content[0] else (narrow, ">I")
        return content[:at] + struct.pack(kind, value) + content[at + struct.calcsize(kind):]

    return changed(b"moov", boxes)


def _folded(values: np.ndarray, version: int) -> bytes:
    """A table of (count, value): the opposite of `_spread`."""
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    pairs = np.stack([np.diff(np.append(starts, len(values))), values[starts]], axis=1)
    return struct.pack(">BxxxI", version, len(pairs)) + pairs.astype(">i4").tobytes()


def _table(values: np.ndarray) -> bytes:
    return struct.pack(">II", 0, len(values)) + values.astype(">u4").tobytes()


def _built(boxes: list[Any]) -> bytes:
    parts = []
    for name, content in boxes:
        data = _built(content) if isinstance(content, list) else content
        parts += [struct.pack(">I4s", len(data) + 8, name), data]
    return b"".join(parts)


def _runs(movie: _Movie) -> Iterator[tuple[int, int]]:
    """Where the frames lie, as (offset, length) of stretches without gaps, in their order."""
    ends = np.flatnonzero(np.append(movie.offsets[1:] != (movie.offsets + movie.sizes)[:-1], True))
    start = 0
    for end in ends:
        yield int(movie.offsets[start]), int(movie.offsets[end] + movie.sizes[end] - movie.offsets[start])
        start = end + 1


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    before = target.tell()
    while length > 0 and (data := source.read(min(length, 2**22))):
        target.write(data)
        length -= len(data)
    if length:
        raise VideoError(f"{Path(source.name).name} ends too early, after {target.tell() - before} bytes")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())

