"""What SVI-Dance adds to WanGP's transformer: the poses of each clip, read from the pose video, or
found in the video of a person.

WanGP names used here: the pipeline's `model` and its `patch_embedding`, and the detector of poses
in `preprocessing/dwpose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain, skeleton
from ..poses import fit
from ..skeleton import Person
from . import pose_video
from .clip import Clip
from .form import SettingsError
from .log import say
from .media import opened
from .pipeline import on

Detect = Callable[[Tensor], list[Person]]

_DETECTOR = ("pose/yolox_l.onnx", "pose/dw-ll_ucoco_384.onnx")  # of people, and of their joints
_BODY = 18  # joints


class Poses:
    """The poses that a video's clips follow, in the size of the video. The file is read once from
    its start to its end, and again where the poses go round.

    load_detector: gives what finds the people in a picture; without it, the file shows skeletons
    image: uint8 [height, width, 3]; the skeleton is moved to where the person stands in it
    tell: gets the first sentence about people who were not found; the log gets the others
    """

    def __init__(self, path: str, height: int, width: int, overlap: int,
                 load_detector: Callable[[], Detect] | None = None, image: Tensor | None = None,
                 tell: Callable[[str], None] = say):
        self._load_detector, self._image, self._tell = load_detector, image, tell
        self._detect: Detect | None = None
        self._placement: tuple[float, Any] | None = None
        self._path, self._size, self._overlap = path, (height, width), overlap
        self._found = pose_video.find(path)
        self._frames: Iterator[Any] = iter(())
        self._at, self._raw, self._shown = -1, None, (torch.empty(0, device="cpu"), 0)

    def clip(self, number: int) -> Tensor:
        """The pose frames of a clip, counted from 0: uint8 [81, H, W, 3]. Raises SettingsError."""
        poses = chain.pose_indices(number, self._found.poses, self._overlap)
        pictures, people = zip(*self.pictures(poses), strict=True)
        if self._load_detector is not None:
            if not number and not any(people):
                raise SettingsError(
                    f"No person was found in the first clip of {Path(self._path).name}. Use a "
                    "video that shows one person, whole, from its first frame on.")
            for line in pose_video.about_people(people):
                self._tell(f"clip {number + 1}: {line}.")
                self._tell = say
        return torch.stack(pictures)

    def pictures(self, poses: Iterable[int]) -> Iterator[tuple[Tensor, int]]:
        """The picture of each pose, uint8 [H, W, 3], and how many people the video shows there, if
        they are looked for. Raises SettingsError."""
        if self._load_detector is not None:
            self._detect = self._load_detector()
        try:
            if self._image is not None and self._placement is None:
                self._placement = self._aligned(self._image)
            for pose in poses:
                yield self._pose(self._found.frame(pose))
        finally:
            self._detect = None  # it takes memory of the card

    def _pose(self, frame: int) -> tuple[Tensor, int]:
        if frame < self._at or self._at < 0:
            self._frames, self._at = _decoded(self._path), -1
        if self._at == frame:
            return self._shown
        while self._at < frame:
            self._raw = self._next()
            self._at += 1
        picture = _pixels(self._raw)
        people = [] if self._detect is None else self._detect(picture)
        if self._detect is not None:
            picture = self._drawn(people[0], picture) if people else torch.zeros_like(picture)
        self._shown = fit(picture, *self._size), len(people)
        return self._shown

    def _next(self) -> Any:
        """The next frame of the file. At its end, files often lack frames that they count."""
        left = self._found.frames - self._at - 1
        frame = next(self._frames, self._raw if self._at >= 0 and left < self._found.rate else None)
        if frame is None:
            raise SettingsError(
                f"The pose video {Path(self._path).name} is damaged: it cannot be read after "
                f"frame {self._at + 1} of {self._found.frames}.")
        return frame

    def _drawn(self, person: Person, picture: Tensor) -> Tensor:
        """The skeleton of a person in a picture, in one of the same size, or if it is moved, of the
        video's shape."""
        height, width, _ = picture.shape
        if self._placement is not None:
            person = skeleton.fitted(person, (height, width), self._size).moved(*self._placement)
            times = max(height / self._size[0], width / self._size[1])
            height, width = (round(side * times) for side in self._size)
        return torch.from_numpy(skeleton.draw(person, height, width).copy())

    def _aligned(self, image: Tensor) -> tuple[float, Any]:
        """What moves the dancer, as first seen in the video, to the person in the image."""
        assert self._detect is not None
        wanted = self._torso(image)
        for frame in _decoded(self._path) if wanted else ():
            if wanted and (found := self._torso(_pixels(frame))):
                return skeleton.placement(found, wanted)
        raise SettingsError(
            "The skeleton cannot be moved to the person in the start image, because neck and hips "
            f"are not seen in the {'image' if wanted is None else 'pose video'}. Use another one, "
            "or choose \"Find the poses\".")

    def _torso(self, picture: Tensor) -> skeleton.Torso | None:
        assert self._detect is not None
        for person in self._detect(picture)[:1]:
            height, width, _ = picture.shape
            person = skeleton.fitted(person, (height, width), self._size)
            return skeleton.torso(person, *self._size)
        return None


def detector(device: str = "") -> Detect:
    """WanGP's own detector of poses, on the card if there is one, or on the named device. It finds
    the people in a picture uint8 [H, W, 3]. Raises SettingsError."""
    device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        from preprocessing.dwpose.wholebody import Wholebody
        from shared.utils import files_locator

        find = Wholebody(*_downloaded(files_locator.locate_file), device)
    except SettingsError:
        raise
    except Exception as error:  # whatever ONNX raises
        raise SettingsError(
            f"WanGP's detector of poses cannot be loaded ({type(error).__name__}: {error}). Use a "
            "pose video with skeletons on black.") from error

    def detect(frame: Tensor) -> list[Person]:
        height, width, _ = frame.shape
        points, scores = find(frame.numpy())[:2]
        return [skeleton.person(one, score, height, width)
                for one, score in zip(points, scores, strict=True)
                if score[:_BODY].max() > skeleton.SEEN]

    return detect


def _downloaded(locate: Callable[[str], str]) -> list[str]:
    try:
        return [locate(name) for name in _DETECTOR]
    except Exception as error:
        raise SettingsError(
            f"WanGP has not downloaded its detector of poses yet ({', '.join(_DETECTOR)}). It does "
            "so before it makes its first video, with any model. Or use a pose video with "
            "skeletons on black.") from error


def _decoded(path: str) -> Iterator[Any]:
    """The frames of a video, as PyAV has them: most are passed over."""
    import av

    with opened(path, pose_video.FORMATS) as container:
        frames = container.decode(video=0)
        while True:
            try:
                frame = next(frames)
            except (StopIteration, av.FFmpegError):
                return
            yield frame


def _pixels(frame: Any) -> Tensor:
    """uint8 [H, W, 3]."""
    return torch.from_numpy(frame.to_ndarray(format="rgb24"))


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
