"""Reads a video as a stream of small pictures, and the settings that WanGP wrote into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageOps

from .. import untrusted
from .layout import DriftError
from .metrics import Pictures, small

CHUNK = 16  #: frames in memory at once

# What a video may be for FFmpeg: a list of other files or of addresses is one, too, if it is asked.
_OPTIONS = {"format_whitelist": "mov,matroska,avi,mpegts,ogg,flv,gif,png_pipe,jpeg_pipe",
            "protocol_whitelist": "file", "max_pixels": str(4096 * 4096)}
_LEAST = 3  # pixels of a side, as the filters have


@dataclass(frozen=True)
class Source:
    """A video file. `frames` is what it announces; `settings` are WanGP's, {} if it wrote none."""

    path: Path
    width: int
    height: int
    fps: float
    frames: int
    settings: dict[str, Any]


def probe(path: Path) -> Source:
    """Reads everything but the pictures. Raises DriftError."""
    with _open(path) as (container, stream):
        tags = {key.lower(): value for key, value in (stream.metadata | container.metadata).items()}
        texts = [tags[name] for name in ("comment", "description") if name in tags]
        beside = path.with_suffix(".json")  # where WanGP can be set to write its settings
        if beside.is_file():
            with suppress(OSError, ValueError):
                texts.append(untrusted.content(beside).decode("utf-8", "replace"))
        settings = next((found for text in texts if (found := _settings(text))), {})
        # counted, since the headers of some containers do not say
        packets = sum(packet.size > 0 for packet in _packets(path, container, stream))
        rate = float(stream.average_rate or stream.guessed_rate or Fraction(0))
        return Source(path, stream.width, stream.height, rate, packets, settings)


def read(path: Path, chunk: int = CHUNK) -> Iterator[Pictures]:
    """The frames as `small` pictures, up to [`chunk`, h, w, 3] at a time. Raises DriftError."""
    with _open(path) as (container, stream):
        stream.thread_type = "AUTO"
        held: list[Pictures] = []
        size = stream.width, stream.height
        frames = (frame for packet in _packets(path, container, stream)
                  for frame in packet.decode())
        for frame in frames:
            if (frame.width, frame.height) != size:
                raise DriftError(f"The frame size of {path.name} changes partway through.")
            held.append(small(frame.to_ndarray(format="rgb24")))
            if len(held) == chunk:
                yield np.stack(held)
                held = []
        if held:
            yield np.stack(held)


def read_image(image: Path | str | Pictures, like: Source) -> Pictures:
    """An image, a file or uint8 [H, W, 3], as a `small` frame of a video. Raises DriftError."""
    opened = Image.fromarray(image) if isinstance(image, np.ndarray) else _image(Path(image))
    resized = opened.resize((like.width, like.height), Image.Resampling.LANCZOS)
    return small(np.asarray(resized))


def _image(path: Path) -> Image.Image:
    _find(path, "image")
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # Pillow has many for a file with wrong bytes
        raise DriftError(f"{path} is not an image that can be read.") from error


def _find(path: Path, kind: str) -> None:
    if path.is_dir():
        raise DriftError(f"There is no {kind} {path.resolve()}: it is a folder.")
    if not path.is_file():
        raise DriftError(f"There is no {kind} {path}.")


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    _find(path, "video")
    try:
        with av.open(path, options=_OPTIONS, metadata_errors="replace") as container:
            stream = next(iter(container.streams.video), None)
            if (stream is None or not stream.codec_context
                    or min(stream.width, stream.height) < _LEAST):
                raise DriftError(f"{path} has no pictures, or none of {_LEAST}x{_LEAST} to "
                                 "4096x4096 pixels.")
            yield container, stream
    except (av.FFmpegError, OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DriftError(f"{path} is not a video that can be read ({reason}).") from error


def _packets(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream, as far as the file has bytes: a broken index repeats them without
    end."""
    left = container.size + 1  # the last packet is empty
    for packet in container.demux(stream):
        left -= max(1, packet.size)
        if left < 0:
            raise DriftError(f"{path} is damaged: its index repeats frames.")
        yield packet


def _settings(text: str) -> dict[str, Any]:
    try:
        found = untrusted.parse_json(text.strip("\0 \r\n\ufeff").encode("utf-8", "replace"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
