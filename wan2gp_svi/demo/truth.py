"""How far a video of the demo model's world is from the truth, which is known for every frame.

A clip is [3, T, H, W] in [-1, 1]. Distances of colours are in RGB of [0, 1]: 0.3 is a third of the
way from black to red.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .world import COLOURS, FPS, Scene, background, render

ALIKE = 0.3  #: RGB distance within which a pixel has an object's colour
STEP = FPS // 2  #: frames over which motion is measured
LEAST = 9  #: pixels of an object that tell where it is


@dataclass(frozen=True)
class Truth:
    """What is measured of a clip.

    `colour`   mean RGB distance of the background to the true one
    `psnr`     of the background, dB
    `present`  pixels in the first object's colour; 1: as many as there should be
    `motion`   how far that object moves; 1: as far as it should; 0: it is gone
    `shape`    overlap of its pixels with the true ones, moved to the same middle: intersection over
               union, median over the frames; 0: it is gone
    """

    colour: float
    psnr: float
    present: float
    motion: float
    shape: float

    @property
    def there(self) -> bool:
        """Whether the first object is there, in its colour and about its size."""
        return 0.5 <= self.present <= 2


def measure(clip: Tensor, scene: Scene, turns: Tensor) -> Truth:
    """`turns` [T]: how far the objects should be along their orbits in each frame of the clip."""
    wanted = background([scene])[0]
    # objects move, so each pixel shows the background for most of a clip
    seen = clip.float().clamp(-1, 1).median(1).values
    error = (seen - wanted) / 2
    true = render([scene], turns[None])[0]
    found, should = (_pixels(video, scene, wanted) for video in (clip, true))
    moved, should_move = (_motion(pixels) for pixels in (found, should))
    return Truth(
        colour=error.norm(dim=0).mean().item(),
        psnr=-10 * math.log10(max(error.square().mean().item(), 1e-8)),
        present=(found.sum() / should.sum().clamp(1)).item(),
        motion=(moved / should_move).item() if should_move > 0 else 1.0,
        shape=_overlap(found, should),
    )


def jump(before: Tensor, clip: Tensor, scene: Scene) -> float:
    """The longest step of the first object from frame to frame, pixels, from the end of the clip
    before to `STEP` frames into this one; nan if it is gone from a frame. It should be 1 to 3.

    The last frame of one clip and the first of the next are the same instant.
    """
    seam = torch.cat([before[:, -1:], clip[:, 1:STEP]], 1)
    (x, y), count = _middles(_pixels(seam, scene, background([scene])[0]))
    return torch.hypot(x.diff(), y.diff()).max().item() if count.min() > LEAST else math.nan


def _pixels(video: Tensor, scene: Scene, behind: Tensor) -> Tensor:
    """Where a video shows the first object's colour rather than the background: bool [T, H, W]."""
    colour = torch.tensor(COLOURS[scene.objects[0].colour])[:, None, None, None]
    distance = ((video.float().clamp(-1, 1) + 1) / 2 - colour).square().sum(0).sqrt()
    return (distance < ALIKE) & (distance < ((video - behind[:, None]) / 2).square().sum(0).sqrt())


def _overlap(found: Tensor, should: Tensor) -> float:
    """Intersection over union, [T, H, W] each, moved to the same middle; median over the frames."""
    (x, y), count = _middles(found)
    (true_x, true_y), true_count = _middles(should)
    overlaps = torch.zeros(len(found))
    for at in ((count > LEAST) & (true_count > LEAST)).nonzero().flatten().tolist():
        shift = (round((true_y - y)[at].item()), round((true_x - x)[at].item()))
        moved = torch.roll(found[at], shift, (0, 1))
        overlaps[at] = (moved & should[at]).sum() / (moved | should[at]).sum()
    return overlaps.median().item()


def _motion(pixels: Tensor) -> Tensor:
    """How far the middle of these pixels moves in `STEP` frames: pixels, mean over the frames with
    enough of them."""
    (x, y), count = _middles(pixels)
    steps = torch.hypot(x[STEP:] - x[:-STEP], y[STEP:] - y[:-STEP])
    steps = steps[(count[STEP:] > LEAST) & (count[:-STEP] > LEAST)]
    return steps.mean() if len(steps) else torch.zeros(())


def _middles(pixels: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The middle (x, y) of the pixels of each frame, and their number."""
    weight = pixels.float()
    count = weight.sum((1, 2))
    x = (weight.sum(1) @ torch.arange(weight.shape[2]).float()) / count
    y = (weight.sum(2) @ torch.arange(weight.shape[1]).float()) / count
    return (x, y), count
