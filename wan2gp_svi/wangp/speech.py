"""What SVI-Talk's model hears: WanGP's own embeddings of a sound, cut for each clip.

WanGP embeds the first two minutes of a sound, all at once. Here each clip of a longer sound gets
those of its own seconds and some around them, so that time and memory per clip stay the same. WanGP
names used here: functions of `models/wan/multitalk/multitalk.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

from .. import chain
from ..variants import CLIP_FRAMES
from .sound import FPS

_RATE = 16_000  # samples a second, as WanGP reads a sound
_PER_FRAME = _RATE // FPS
WHOLE = 3000  #: frames that are embedded at once, as WanGP does
AROUND = 250  #: frames before and after a clip of a longer sound: ten seconds


class Speech:
    """The sound that a video's clips are made with."""

    def __init__(self, path: str):
        self._path = path
        self._samples: Any = None  # at WanGP's loudness
        self._whole: Any = None

    def window(self, clip: int) -> Any:
        """What clip `clip` hears, as `generate` takes it: for its first frame [1, 1, 5, 12, 768],
        and for each later latent [1, 20, 8, 12, 768]."""
        start = clip * (CLIP_FRAMES - 1)
        embeddings, first = self._around(start)
        return _wangp().get_window_audio_embeddings(
            [embeddings], audio_start_idx=start - first, clip_length=CLIP_FRAMES)

    def _around(self, start: int) -> tuple[Any, int]:
        """Embeddings of all frames that a clip hears, and the number of the first of them."""
        if self._whole is not None:
            return self._whole, 0
        # WanGP has embedded up to two minutes by now, but not beyond the end of the sound. The last
        # clip needs silence after that, and the encoder hears a sound as a whole. A key of the
        # model's definition makes WanGP embed a whole video, but videos without SVI share it.
        if self._samples is None:
            self._samples = _until_the_video_ends(
                _wangp().audio_prepare_single(self._path, duration=None))
        frames = len(self._samples) // _PER_FRAME
        if frames <= WHOLE:
            self._whole, self._samples = _embed(self._samples), None
            return self._whole, 0
        first = max(0, min(start, frames) - AROUND)
        end = start + CLIP_FRAMES + AROUND
        return _embed(self._samples[first * _PER_FRAME : end * _PER_FRAME]), first


def _until_the_video_ends(samples: Any) -> Any:
    """Samples with silence after them, as WanGP adds it, so that the mouth closes."""
    import numpy as np

    clips = chain.clips_of_sound(len(samples) // _PER_FRAME, 1)
    return np.pad(samples, (0, max(0, chain.length(clips, 1) * _PER_FRAME - len(samples))))


def _embed(samples: Any) -> Any:
    """Samples -> embeddings [frames, 12, 768]."""
    wangp = _wangp()
    extractor, encoder = wangp.custom_init("cpu", wangp.fl.locate_folder("chinese-wav2vec2-base"))
    found = wangp.get_embedding(samples, extractor, encoder, sr=_RATE, device="cpu", fps=FPS)
    if found is None:
        raise LookupError("WanGP could not embed the sound")
    return found


def _wangp() -> Any:
    return importlib.import_module("models.wan.multitalk.multitalk")
