"""The video of a run: its pieces joined into one file, which is replaced as a whole.

Packets are copied; no frame is decoded or encoded.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from .. import files
from .record import Piece

# Joined after each of 500 clips, a video would be written 250 times over. Joined when a sixteenth
# of it is new, it is written 15 times over, and once more every 20 minutes to show the progress.
_STEP = 16
_WAIT = 20 * 60.0  # seconds
_TRIES = 5  # more, a second apart, to replace a file that is in use by the finished video

_END = 12  # bytes of a packet that tell one frame from another

# What a video may be for FFmpeg: a list of other files or of addresses is one, too, if it is asked.
_OPTIONS = {"format_whitelist": "mov,matroska", "protocol_whitelist": "file",
            "skip_frame": "all"}  # reads no frame to learn about the track

# These codecs' parameters go into the stream itself. Pieces from two releases of an encoder may
# differ in them, and a file has room for one set only.
_FILTERS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


class VideoError(ValueError):
    """A file is not a video, or the pieces of a video do not fit together. Says which, and why."""


def count_frames(video: Path) -> int:
    """The number of frames in a file with one video track. Raises VideoError.

    Reads every packet, so it also notices a file that was cut off.
    """
    with _open(video) as container:
        count = sum(1 for _ in _packets(container, _track(container, video), video))
    if not count:
        raise VideoError(f"{video.name} has no frames")
    return count


def holds(video: Path, pieces: Sequence[Piece], tails: Mapping[Path, int] | None = None
          ) -> int | None:
    """How many of `pieces`, from the first on, make up `video`; None if it is something else, such
    as another video of as many frames. `tails`: frames that may follow a piece that is the last.
    """
    try:
        left = count_frames(video)
        if not pieces or not begins_with(video, pieces[0][0]):
            return None
    except VideoError:
        return None
    for number, (piece, length) in enumerate(pieces, 1):
        left -= length
        if left in (0, (tails or {}).get(piece, 0)):
            return number
    return None


def begins_with(video: Path, piece: Path) -> bool:
    """Whether a video begins with the frames of a piece. Raises VideoError.

    Compares the ends of packets: their beginnings may be parameters that `join` put there.
    """
    with _open(video) as whole, _open(piece) as part:
        shown = _packets(whole, _track(whole, video), video)
        return all(bytes(one)[-_END:] == bytes(next(shown, b""))[-_END:]
                   for one in _packets(part, _track(part, piece), piece))


def join(pieces: Sequence[Path], video: Path, like: Path | None = None,
         track: Path | None = None) -> None:
    """Writes the frames of all pieces to `video`, at the frame rate of the pieces.

    `pieces`  at least one; the same codec, size and frame rate
    `video`   ends in .mp4, .mov or .mkv, as the pieces do
    `like`    a video whose metadata is kept, as WanGP wrote it into the last version of this one
    `track`   an AAC file with the video's sound, which is cut to its length

    Raises VideoError if the pieces do not fit together, and OSError.
    """
    tags = _mkv_tags(like) if like and video.suffix == ".mkv" else {}
    delay = 0
    try:
        while (needed := _mux(pieces, video, delay, tags, track)) > delay:
            delay = needed
        if like and video.suffix != ".mkv" and not _copied_mp4_tags(like, video):
            _mux(pieces, video, delay, tags, track)
    except (VideoError, OSError):
        raise
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"PyAV cannot write {video.name}: {error}") from error


class GrowingVideo:
    """The video that the user sees while a run is made. It has the first `held` pieces already.
    `track`: the file with its sound, if it has one."""

    def __init__(self, path: Path, held: int, say: Callable[[str], None],
                 track: Path | None = None):
        self.path, self.held, self.track = path, held, track
        self._say, self._told = say, False
        self._joined = -_WAIT  # in time.monotonic(): the first new piece is shown at once

    def grow(self, pieces: Sequence[Piece], final: bool = False) -> bool:
        """Joins `pieces` if enough of them are new, or if this is `final`.

        Returns whether the video changed. While another program keeps the file from being replaced,
        as players do on Windows, the video waits for the next call. A final video goes into a
        second file then, and `path` changes. Raises VideoError and OSError.
        """
        new = len(pieces) - self.held
        waited = time.monotonic() - self._joined >= _WAIT
        if new <= 0 or not (final or waited or new * _STEP >= len(pieces)):
            return False
        make = partial(join, [piece for piece, _ in pieces], like=self.path, track=self.track)
        try:
            files.write(self.path, make)
        except (OSError, VideoError) as error:
            if final and isinstance(error, PermissionError):
                self._write_beside(make)
            elif final or not self.held:
                raise
            else:
                self._tell(files.explain(error, self.path))
                return False
        self.held, self._joined = len(pieces), time.monotonic()
        return True

    def _tell(self, why: str) -> None:
        if not self._told:
            self._say(f"{self.path.name} cannot be updated now ({why}). SVI tries again after "
                      "each clip. All clips are safe.")
        self._told = True

    def _write_beside(self, make: Callable[[Path], object]) -> None:
        names = (self.path.with_stem(f"{self.path.stem}-{n}") for n in itertools.count(2))
        beside = next(name for name in names if not name.exists())
        files.write(beside, make)
        for _ in range(_TRIES):
            time.sleep(1)
            with contextlib.suppress(PermissionError):
                files.replace(beside, self.path)
                return
        self._say(f"{self.path.name} is in use by another program, so the whole video is {beside}.")
        self.path = beside


# ------------------------------------------------------------------------------------------ packets

def _mux(pieces: Sequence[Path], video: Path, delay: int, tags: dict[str, str],
         sound: Path | None) -> int:
    """Writes one file, in which frames are decoded `delay` frames before they are shown.

    Returns the delay that the pieces need; if that is larger, the file is incomplete.
    """
    done = 0
    with (av.open(str(video), "w", options=_options(pieces[-1])) as target,
          contextlib.ExitStack() as opened):
        target.metadata.update(tags)
        heard = None
        for piece in pieces:
            order = _order(piece)
            with _open(piece) as source:
                given = _track(source, piece)
                packets = _packets(source, given, piece)
                if (needed := max(number - at for number, at in enumerate(order))) > delay:
                    return needed
                if not done:
                    track, kind = target.add_stream_from_template(given, opaque=True), _kind(given)
                    if sound is not None:
                        heard = _Heard(opened.enter_context(av.open(str(sound), options=_OPTIONS)),
                                       target)
                if _kind(given) != kind:
                    raise VideoError(f"{piece.name} has another codec, size or frame rate than "
                                     f"{pieces[0].name}")
                into_stream = BitStreamFilterContext(_FILTERS.get(given.codec_context.name, "null"),
                                                     given, None if done else track)
                for number, (at, read) in enumerate(zip(order, packets, strict=True)):
                    packet, = into_stream.filter(read)
                    packet.stream, packet.time_base, packet.duration = track, 1 / kind[-1], 1
                    packet.pts, packet.dts = done + at, done + number - delay
                    target.mux(packet)
                done += len(order)
                if heard is not None:
                    heard.up_to(done / kind[-1])
    return delay


class _Heard:
    """A track of sound on its way into a video, packet by packet."""

    def __init__(self, source: InputContainer, target: OutputContainer):
        self._target, given = target, source.streams.audio[0]
        self._track = target.add_stream_from_template(given, opaque=True)
        self._left = (packet for packet in source.demux(given) if packet.size)
        self._next = next(self._left, None)

    def up_to(self, seconds: Fraction) -> None:
        """Writes what begins before that time."""
        while self._next is not None and (self._next.pts or 0) * self._next.time_base < seconds:
            self._next.stream = self._track
            self._target.mux(self._next)
            self._next = next(self._left, None)


def _options(piece: Path) -> dict[str, str]:
    """Makes the times of frames exact: whole numbers in the time base of a piece."""
    with _open(piece) as source:
        base = _track(source, piece).time_base
    if piece.suffix == ".mkv" or base is None:  # Matroska counts milliseconds
        return {}
    return {"video_track_timescale": str(base.denominator)}


def _open(path: Path) -> InputContainer:
    try:
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        # WanGP's images in the metadata are no text
        return files.patiently(lambda: av.open(str(path), options=_OPTIONS,
                                               metadata_errors="replace"))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _track(container: InputContainer, path: Path) -> VideoStream:
    """The one track of a video, aside from its sound and from images that WanGP attached."""
    tracks = [stream for stream in container.streams
              if not _is_attached(stream) and stream.type != "audio"]
    track = tracks[0] if len(tracks) == 1 else None
    if not isinstance(track, VideoStream) or not track.codec_context:
        raise VideoError(f"{path.name} does not hold one video track alone")
    return track


def _is_attached(stream: Stream) -> bool:
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    return (stream.type == "attachment" or bool(stream.disposition & Disposition.attached_pic)
            or tags.get("mimetype", "").startswith("image/"))


def _packets(container: InputContainer, track: VideoStream, path: Path) -> Iterator[Packet[Any]]:
    """A packet for each frame. Stops even where a broken index repeats packets without end."""
    left = container.size
    try:
        for packet in container.demux(track):
            left -= max(1, packet.size)
            if left < 0 or packet.is_corrupt:
                raise VideoError(f"{path.name} is damaged")
            if packet.size:
                yield packet
    except (av.FFmpegError, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> VideoError:
    return VideoError(f"{path.name} cannot be read: {getattr(error, 'strerror', error)}")


def _order(path: Path) -> list[int]:
    """The position of each packet's frame in the order in which frames are shown. No packet is
    kept: a video that somebody continues may be hours long."""
    with _open(path) as container:
        found = [packet.pts for packet in _packets(container, _track(container, path), path)]
    times = [time for time in found if time is not None]
    if not times or len(times) < len(found):
        raise VideoError(f"{path.name} has no frames, or frames without a time")
    shown = sorted(range(len(times)), key=lambda number: times[number])
    places = {number: place for place, number in enumerate(shown)}
    return [places[number] for number in range(len(times))]


def _kind(track: VideoStream) -> tuple[str, int, int, Fraction]:
    return track.codec_context.name, track.width, track.height, track.average_rate or Fraction(1)


# ----------------------------------------------------------------------------------------- metadata

def _mkv_tags(video: Path) -> dict[str, str]:
    """The tags of a Matroska file, without images: WanGP attaches them again to each version."""
    with contextlib.suppress(VideoError), _open(video) as container:
        return dict(container.metadata)
    return {}


def _copied_mp4_tags(old: Path, new: Path) -> bool:
    """Copies WanGP's settings and start image, with the library that WanGP wrote them with. False
    if that failed halfway: the video counts, and WanGP writes its settings after each clip."""
    try:
        from mutagen.mp4 import MP4

        tags = MP4(old).tags
    except Exception:  # mutagen has many for a file with wrong bytes
        return True
    try:
        if tags:
            tags.save(new)
    except Exception:
        return False
    return True
