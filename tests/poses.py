"""Pose videos for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import videos


def dancer(poses: int, side: int = 64, first: int = 1) -> np.ndarray:
    """Pose frames [n, side, side, 3]: a square on black, whose brightness counts them, and another
    that moves."""
    frames = np.zeros((poses, side, side, 3), np.uint8)
    frames[:, : side // 4, : side // 4] = np.arange(first, first + poses)[:, None, None, None] % 256
    for number, frame in enumerate(frames, first):
        at = side // 4 + 5 * number % (side // 2)
        frame[at : at + side // 4, at : at + side // 8] = 60, 250, 130
    return frames


def write(path: Path, number: int, fps: float = 25, **shape: int) -> Path:
    return videos.write(path, dancer(number, **shape), videos.EXACT, fps)
