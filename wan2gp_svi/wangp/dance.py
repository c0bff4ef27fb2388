"""What SVI-Dance adds to WanGP's transformer: the poses of each clip, read from the pose video, or
found in the video of a person.

WanGP names used here: the pipeline's `model` and its `patch_embedding`, and the detector of poses
in `preprocessing/dwpose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain, skeleton
from ..poses import fit
from ..text import count
from . import pose_video
from .clip import Clip
from .form import SettingsError
from .log import say
from .pipeline import on

Detect = Callable[[Tensor], "Tensor | None"]

_DETECTOR = ("pose/yolox_l.onnx", "pose/dw-ll_ucoco_384.onnx")  # of people, and of their joints
_BODY = 18  # joints


class Poses:
    """The poses that a video's clips follow, in the size of the video. The file is read once from
    its start to its end, and again where the poses go round. `load_detector` gives what turns the
    picture of a person into that of a skeleton, None if there is no person; without it, the file
    shows skeletons."""

    def __init__(self, path: str, height: int, width: int, overlap: int,
                 load_detector: Callable[[], Detect] | None = None):
        self._load_detector, self._empty = load_detector, 0
        self._detect: Detect | None = None
        self._path, self._size, self._overlap = path, (height, width), overlap
        self._found = pose_video.find(path)
        self._frames: Iterator[Tensor] = iter(())
        self._at, self._raw, self._frame = -1, torch.empty(0), torch.empty(0)

    def clip(self, number: int) -> Tensor:
        """The pose frames of a clip, counted from 0: uint8 [81, H, W, 3]."""
        indices = chain.pose_indices(number, self._found.poses, self._overlap)
        self._empty = 0
        if self._load_detector is not None:  # for one clip: it takes memory of the card
            self._detect = self._load_detector()
        poses = torch.stack([self._pose(self._found.frame(pose)) for pose in indices])
        self._detect = None
        if self._empty:
            say(f"clip {number + 1}: no person was found in {count(self._empty, 'frame')} of the "
                "video, and the pose is empty there.")
        return poses

    def _pose(self, frame: int) -> Tensor:
        if frame < self._at or self._at < 0:
            self._frames, self._at = _decoded(self._path), -1
        if self._at == frame:
            return self._frame
        while self._at < frame:
            self._raw = self._next()
            self._at += 1
        self._frame = fit(self._skeleton(self._raw), *self._size)
        return self._frame

    def _next(self) -> Tensor:
        """The next frame of the file. At its end, files often lack frames that they count."""
        left = self._found.frames - self._at - 1
        frame = next(self._frames, self._raw if self._at >= 0 and left < self._found.rate else None)
        if frame is None:
            raise SettingsError(
                f"The pose video {Path(self._path).name} is damaged: it cannot be read after "
                f"frame {self._at + 1} of {self._found.frames}.")
        return frame

    def _skeleton(self, frame: Tensor) -> Tensor:
        if self._detect is None:
            return frame
        found = self._detect(frame)
        self._empty += found is None
        return torch.zeros_like(frame) if found is None else found


def detector() -> Detect:
    """WanGP's own detector of poses, and SVI's drawing of the first person that it finds."""
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        from preprocessing.dwpose.wholebody import Wholebody
        from shared.utils import files_locator

        find = Wholebody(*map(files_locator.locate_file, _DETECTOR), device)
    except Exception as error:  # whatever ONNX raises
        raise SettingsError(
            f"WanGP's detector of poses cannot be loaded ({type(error).__name__}: {error}). Use a "
            "pose video with skeletons on black.") from error

    def detect(frame: Tensor) -> Tensor | None:
        height, width, _ = frame.shape
        points, scores = find(frame.numpy())[:2]
        if not len(points) or scores[0][:_BODY].max() <= skeleton.SEEN:
            return None
        one = skeleton.person(points[0], scores[0], height, width)
        return torch.from_numpy(skeleton.draw(one, height, width).copy())

    return detect


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
