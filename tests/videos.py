"""Small videos for tests, made and read by the ffmpeg that comes with imageio-ffmpeg."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()

#: codecs that WanGP offers, with what it gives ffmpeg for them
X264 = ("-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv420p")
X265 = ("-c:v", "libx265", "-crf", "8", "-pix_fmt", "yuv420p", "-x265-params", "log-level=none")
LOSSLESS = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")
PRORES = ("-c:v", "prores_ks", "-profile:v", "2", "-pix_fmt", "yuv422p10le")
#: what is read is what was written
EXACT = ("-c:v", "libx264rgb", "-crf", "0", "-preset", "superfast")


def ffmpeg(*arguments: object, given: bytes | None = None) -> bytes:
    command = [FFMPEG, "-v", "error", "-y", "-threads", "1", *map(str, arguments)]
    done = subprocess.run(command, input=given, stdin=None if given else subprocess.DEVNULL,
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def noise(frames: int, seed: int = 0, side: int = 64) -> np.ndarray:
    """Frames [n, side, side, 3] of 8 bit; the first pixels count them."""
    dice = np.random.default_rng([seed, frames])
    coarse = dice.integers(0, 256, (frames, side // 8, side // 8, 3), np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


@cache
def _encoded(data: bytes, size: tuple[int, int], fps: float, codec: tuple[str, ...], suffix: str
             ) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", fps,
               "-i", "-", *codec, path, given=data)
        return path.read_bytes()


def write(path: Path, frames: np.ndarray, codec: tuple[str, ...] = X264, fps: float = 16) -> Path:
    """Encodes frames [n, H, W, 3]; what was encoded once in these tests is not encoded again."""
    size = frames.shape[2], frames.shape[1]
    data = np.ascontiguousarray(frames).tobytes()
    path.write_bytes(_encoded(data, size, fps, codec, path.suffix))
    return path


def read(path: Path, *options: object) -> np.ndarray:
    """The frames [n, H, W, 3] of a video, as 8 bit."""
    return _decoded(path.read_bytes(), path.suffix, tuple(map(str, options)))


@cache
def _decoded(data: bytes, suffix: str, options: tuple[str, ...]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        path.write_bytes(data)
        raw = ffmpeg(*options, "-i", path, "-map", "0:V", "-fps_mode", "passthrough", "-c:v", "ppm",
                     "-pix_fmt", "rgb24", "-f", "image2pipe", "-")
    head = b"".join(raw[:32].split(b"\n", 3)[:3])  # P6, width and height, 255
    width, height = map(int, head[2:-3].split())
    start = len(head) + 3  # three line breaks
    images = np.frombuffer(raw, np.uint8).reshape(-1, start + height * width * 3)
    return images[:, start:].reshape(-1, height, width, 3)


def listed(path: Path) -> list[tuple[int, int, str]]:
    """(time, duration, hash) of each frame that is shown, in the stream's time base."""
    lines = ffmpeg("-i", path, "-map", "0:V", "-fps_mode", "passthrough", "-enc_time_base",
                   "demux", "-f", "framemd5", "-").decode().splitlines()
    rows = [line.split(",") for line in lines if line and not line.startswith("#")]
    return [(int(row[2]), int(row[3]), row[5].strip()) for row in rows]


def about(path: Path) -> str:
    """What ffmpeg says of a file."""
    return subprocess.run([FFMPEG, "-i", path], capture_output=True).stderr.decode(errors="replace")
