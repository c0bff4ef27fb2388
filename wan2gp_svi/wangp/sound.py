"""The sound that a person speaks: how long it is, what keeps SVI-Talk from it, and the track of the
video.

`find` reads a file once and remembers it. WanGP names used here: the keys of its settings.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import chain
from ..chain import MAX_CLIPS
from ..text import count, duration
from ..variants import CLIP_FRAMES
from .form import SettingsError
from .media import MediaError, opened, remembered
from .source_video import continues

FPS = 25  #: of a talking person's video
_RATE = 16_000  # of what the model hears
_PER_FRAME = _RATE // FPS
_SHORTEST = 0.4  # seconds: WanGP cannot measure the loudness of less
_SILENT = 0.001  # a peak of -60 dB
_TELEPHONE = 16_000  # below this rate, the sound lacks what tells consonants apart
_TRACK_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000)  # that AAC knows
_TRACK_BITS = 128_000  # a second

_FORMATS = "wav,w64,aiff,au,caf,flac,mp3,ogg,aac,ac3,amr,asf,mov,matroska,avi,mpegts"


@dataclass(frozen=True)
class Sound:
    """What a file holds.

    `frames`  of video that it lasts, the last one whole
    `rate`    samples a second
    `peak`    from 0 to 1
    `heard`   what each clip hears, as hashes: equal for a longer sound that begins with this one
    """

    frames: int
    rate: int
    peak: float
    heard: tuple[str, ...]

    @property
    def clips(self) -> int:
        return len(self.heard)


@remembered("sound", "sound")
def find(path: str) -> Sound:
    """The sound in a file. Raises MediaError."""
    import av
    import numpy as np

    samples, peak = [], 0
    most = length(MAX_CLIPS) * _PER_FRAME
    with opened(path, _FORMATS) as container:
        if not container.streams.audio:
            raise MediaError(f"the file {Path(path).name} holds no sound")
        track = container.streams.audio[0]
        rate = track.rate
        if container.duration is not None and container.duration / 1e6 * _RATE > most:
            return Sound(math.ceil(container.duration / 1e6 * FPS), rate, 1.0, ())
        resampler, read = av.AudioResampler("s16", "mono", _RATE), 0
        for frame in _with_end(container.decode(track)):
            for part in resampler.resample(frame):
                found = part.to_ndarray().reshape(-1)
                read += len(found)
                peak = max(peak, int(np.abs(found.astype(np.int32)).max(initial=0)))
                samples.append(found)
            if read > most:
                return Sound(math.ceil(read / _PER_FRAME), rate, 1.0, ())
    whole = np.concatenate(samples) if samples else np.zeros(0, np.int16)
    frames = len(whole) // _PER_FRAME
    heard = tuple(_digest(whole[start * _PER_FRAME : (start + CLIP_FRAMES) * _PER_FRAME])
                  for start in (clip * (CLIP_FRAMES - 1)
                                for clip in range(chain.clips_of_sound(frames, 1))))
    return Sound(frames, rate, peak / 2**15, heard)


def _with_end(frames: Iterator[Any]) -> Iterator[Any]:
    """The frames of a track, and the None that makes a resampler give its last samples."""
    yield from frames
    yield None


def _digest(samples: Any) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()[:8]


def length(clips: int) -> int:
    return chain.length(clips, 1)


def given(inputs: Mapping[str, Any]) -> Any:
    """The file with the sound that a request uses; None if there is none."""
    return (inputs.get("audio_guide") or None) if "A" in _kind(inputs) else None


def _kind(inputs: Mapping[str, Any]) -> str:
    """WanGP's letters for the sounds in use: A for one speaker, as long as nothing else is said."""
    kind = inputs.get("audio_prompt_type")
    return "A" if kind is None else str(kind)


def obstacles(inputs: Mapping[str, Any]) -> Iterator[SettingsError]:
    """What keeps SVI-Talk from these settings."""
    kind, path = _kind(inputs), given(inputs)
    if set(kind) & set("BX"):
        yield SettingsError(
            "SVI-Talk was trained with one speaker. Choose one speaker and one sound, or remove "
            "the SVI LoRA for a conversation without SVI.", "two-speakers")
    if continues(inputs):
        yield SettingsError(
            "SVI-Talk cannot continue a video. Start with an image; to make a run of SVI-Talk "
            "longer, give it a longer sound.", "continued-talk")
    if path is None:
        if "audio_guide" in inputs or "A" not in kind:
            yield SettingsError("SVI-Talk needs a sound (audio_guide). Choose one speaker, and add "
                                "a file with speech.", "sound")
        return
    try:
        sound = find(path)
    except MediaError as error:
        yield SettingsError(f"{error}. Add another file, such as a WAV or MP3.", "sound")
    except ImportError:  # the check of a file, with a Python that cannot read sound
        return
    else:
        if fault := _fault(sound):
            yield SettingsError(f"the sound {Path(path).name} {fault}", "sound")


def _fault(sound: Sound) -> str:
    if sound.frames > length(MAX_CLIPS):
        return (f"lasts {duration(sound.frames / FPS)}, and a video lasts at most "
                f"{duration(length(MAX_CLIPS) / FPS)} ({count(MAX_CLIPS, 'clip')}). Cut it into "
                "several files.")
    if sound.frames < _SHORTEST * FPS:
        return f"lasts less than {_SHORTEST} s. Add a longer sound."
    if sound.peak < _SILENT:
        return "is silent. Add a sound with speech."
    return ""


def advice(inputs: Mapping[str, Any]) -> str:
    """What the user should know about a sound that can be used; "" if nothing."""
    try:
        sound = find(given(inputs))
    except (MediaError, ImportError):
        return ""
    if sound.rate < _TELEPHONE and not _fault(sound):
        return (f"the sound has {sound.rate:,} samples a second, as on a telephone, and lacks what "
                "tells many consonants apart: lips follow it less. Use a recording with "
                f"{_TELEPHONE:,} or more.")
    return ""


def clips(inputs: Mapping[str, Any]) -> int:
    """The clips that a request's sound takes; 0 if that is unknown."""
    try:
        return find(given(inputs)).clips
    except (MediaError, ImportError):
        return 0


def is_heard(path: Path) -> bool:
    """Whether a file has a sound."""
    import av

    try:
        with opened(path, _FORMATS) as given:
            return bool(given.streams.audio)
    except (av.FFmpegError, OSError, ValueError):
        return False


def write_track(source: Path, target: Path) -> None:
    """Writes a sound as the track of a video: AAC in MP4, of one channel or two. Raises
    MediaError and OSError."""
    import av

    try:
        with (opened(source, _FORMATS) as given,
              av.open(str(target), "w", format="mp4") as made):
            track = given.streams.audio[0]
            rate = track.rate if track.rate in _TRACK_RATES else _TRACK_RATES[0]
            layout = "mono" if track.channels == 1 else "stereo"
            encoder = made.add_stream("aac", rate=rate, layout=layout, bit_rate=_TRACK_BITS)
            resampler, at = av.AudioResampler("fltp", layout, rate, encoder.frame_size or 1024), 0
            for frame in _with_end(given.decode(track)):
                for part in resampler.resample(frame):
                    part.pts, at = at, at + part.samples
                    made.mux(encoder.encode(part))
            made.mux(encoder.encode(None))
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise MediaError(f"the sound {source.name} cannot be written as a track "
                         f"({getattr(error, 'strerror', '') or error})") from error
