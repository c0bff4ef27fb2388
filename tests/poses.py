"""Pose videos for tests, and a stand-in for WanGP's detector of poses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import videos

#: the brightness of frames that show so many people, or hands alone
ONE, TWO, HANDS, NOBODY = 200, 250, 150, 60
GOLDEN = Path(__file__).parent / "golden/24_dance_draw_tall.safetensors"


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


class Wholebody:
    """WanGP's detector: a person in the golden picture's pose, as large as the bright part of the
    picture, and in some pictures another."""

    def __init__(self, onnx_det: str, onnx_pose: str, device: str = "cuda:0"):
        from safetensors.torch import load_file

        assert onnx_det == "ckpts/pose/yolox_l.onnx"
        assert onnx_pose == "ckpts/pose/dw-ll_ucoco_384.onnx"
        self.golden = {name: one.numpy() for name, one in load_file(GOLDEN).items()}

    def __call__(self, ori_img: np.ndarray) -> tuple[np.ndarray, np.ndarray, list]:
        points, scores = self.golden["keypoints_134"], self.golden["scores_134"]
        bright = np.argwhere(ori_img.max(-1) > 100)
        seen, several, hands = len(bright) > 0, ori_img.max() > 225, ori_img.max() == HANDS
        if seen:
            corner, end = bright.min(0)[::-1], bright.max(0)[::-1] + 1
            points = points * (end - corner) / self.golden["seen"].shape[1::-1] + corner
        people = [points, points + 9] if several else [points]
        scores = np.concatenate([scores] * len(people)) * (1 if seen else 0.1)
        scores[:, :92] *= 0.1 if hands else 1
        return np.concatenate(people), scores, []


def stand_ins(state: SimpleNamespace) -> dict[str, SimpleNamespace]:
    """WanGP's modules with the detector and with where its files are, except `state.missing`."""
    def locate_file(name: str) -> str:
        if name in state.missing:
            raise Exception(f"Unable to locate file '{name}'")
        return f"ckpts/{name}"

    return {"preprocessing.dwpose.wholebody": SimpleNamespace(Wholebody=Wholebody),
            "shared.utils": SimpleNamespace(files_locator=SimpleNamespace(locate_file=locate_file))}
