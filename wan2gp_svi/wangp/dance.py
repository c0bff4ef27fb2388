"""What SVI-Dance adds to WanGP's transformer: the poses of each clip, read from the pose video.

WanGP names used here: the pipeline's `model` and its `patch_embedding`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain
from ..poses import fit
from . import pose_video
from .clip import Clip
from .form import SettingsError
from .pipeline import on


class Poses:
    """The poses that a video's clips follow, in the size of the video. The file is read once from
    its start to its end, and again where the poses go round."""

    def __init__(self, path: str, height: int, width: int, overlap: int):
        self._path, self._size, self._overlap = path, (height, width), overlap
        self._found = pose_video.find(path)
        self._frames: Iterator[Tensor] = iter(())
        self._at, self._frame = -1, torch.empty(0)

    def clip(self, number: int) -> Tensor:
        """The pose frames of a clip, counted from 0: uint8 [81, H, W, 3]."""
        poses = chain.pose_indices(number, self._found.poses, self._overlap)
        return torch.stack([self._pose(self._found.frame(pose)) for pose in poses])

    def _pose(self, frame: int) -> Tensor:
        if frame < self._at or self._at < 0:
            self._frames, self._at = _decoded(self._path), -1
        while self._at < frame:
            try:
                self._frame = next(self._frames)
            except StopIteration:
                raise SettingsError(
                    f"The pose video {Path(self._path).name} is damaged: it cannot be read after "
                    f"frame {self._at + 1} of {self._found.frames}.") from None
            self._at += 1
        return fit(self._frame, *self._size)


def _decoded(path: str) -> Iterator[Tensor]:
    """The frames of a video, uint8 [H, W, 3]."""
    import av

    with closing(av.open(path, options=pose_video.OPTIONS, metadata_errors="replace")) as container:
        frames = container.decode(video=0)
        while True:
            try:
                frame = next(frames)
            except (StopIteration, av.FFmpegError):
                return
            yield torch.from_numpy(frame.to_ndarray(format="rgb24"))


def expect_tokens(pipe: Any, clip: Clip, device: torch.device) -> None:
    """Adds the clip's poses to the patch tokens of every step that follows, in every branch. The
    transformer is not on the card yet, so there is room for the network."""
    if clip.video.poses is None:
        return
    network, layer = getattr(pipe.model, "svi_pose_network", None), pipe.model.patch_embedding
    if network is None:
        raise SettingsError("The SVI-Dance LoRA lacks its pose network. Use the authors' file "
                            "svi-dance.safetensors.")
    read = network.read(clip.video.poses.clip(clip.number), device)

    def add(module: Any, given: Any, tokens: Tensor) -> Tensor:
        return network.add(tokens, read)

    on(pipe).dancing = layer.register_forward_hook(add)
