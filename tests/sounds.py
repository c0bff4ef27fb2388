"""Sounds for tests, written with the standard library and numpy."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

FPS = 25


def write(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    """Samples [n] or [n, channels] from -1 to 1 -> a WAV file of 16 bits."""
    grid = np.atleast_2d((np.clip(samples, -1, 1) * 32767).astype("<i2").T).T
    with wave.open(str(path), "wb") as file:
        file.setnchannels(grid.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(grid.tobytes())
    return path


def speech(frames: int, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes from one video frame to the next."""
    loud = np.random.default_rng(seed).uniform(0.05, 0.5, frames).repeat(rate // FPS)
    tone = np.random.default_rng(seed + 1).standard_normal(len(loud))
    return loud * np.clip(tone / 3, -1, 1)


def clicks(frames: list[int], length: int, rate: int = 16_000) -> np.ndarray:
    """A short click at the beginning of each of these video frames, of `length` frames in all."""
    made = np.zeros(length * rate // FPS)
    for frame in frames:
        at = frame * rate // FPS
        made[at : at + rate // 500] = 0.9
    return made


def heard(audio_proj: Any) -> Any:
    """The loudness that each frame of a clip hears, out of what WanGP's model is given: embeddings
    [1, 1, 5, layers, size] of the first frame, and [1, t, 8, layers, size] of the later ones."""
    import torch

    first, later = (part[0].abs().flatten(2).sum(-1) for part in audio_proj)
    return torch.cat([first[0, 2:3], later[:, 2:6].flatten()])
