"""What the demo compares: one image, chained in several ways, and measures of the videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .. import chain
from ..drift import metrics
from ..variants import Variant
from .chaining import STOCK, SVI, Wan, Way, clips, joined
from .world import HEIGHT, WIDTH, Scene, background, render, turns

NOTICED = 2.3  #: Lab units that are just noticed: CIE76; Mahy et al. 1994


@dataclass(frozen=True)
class Task:
    """What to make. `scene`: the one that the image shows, unless it is the user's own."""

    image: Tensor
    prompts: tuple[str, ...]
    clips: int
    seed: int
    scene: Scene | None = None


@dataclass(frozen=True)
class Take:
    """A video of a task: its whole clips [3, 81, H, W], and the prompt of each."""

    name: str
    way: Way
    clips: tuple[Tensor, ...]
    prompts: tuple[str, ...]

    @property
    def variant(self) -> Variant:
        return self.way.variant

    @property
    def video(self) -> Tensor:
        return joined(self.clips, self.variant)


@dataclass(frozen=True)
class Drift:
    """How far the colours of each clip of each take are off, in Lab units; `what` is measured."""

    what: str
    values: tuple[tuple[float, ...], ...]


def ways(variant: str, compare: bool = False) -> dict[str, Way]:
    """The ways to compare. `compare`: also each half of SVI, its LoRA and its conditioning."""
    svi = SVI[variant]
    named = {"without SVI": STOCK, f"with {svi.variant.title}": svi}
    if compare:
        named |= {"with SVI's LoRA alone": replace(STOCK, adapter=svi.adapter),
                  "with SVI's conditioning alone": replace(svi, adapter="")}
    return named


def take(name: str, way: Way, wan: Wan, task: Task, done: Callable[[], None]) -> Take:
    """Makes a video and calls `done` after each clip."""
    made = []
    for clip in clips(wan, way, task.image[None], [task.prompts], [task.seed], task.clips):
        made.append(clip[0])
        done()
    prompts = chain.stream(task.prompts, task.clips, way.variant.prompt_repeat)
    return Take(name, way, tuple(made), tuple(prompts))


def read_image(path: Path) -> Tensor:
    """A picture of any size -> [3, 64, 96], cropped. Raises OSError and ValueError like Pillow."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    fitted = ImageOps.fit(upright, (WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).movedim(-1, 0).float().div(127.5).sub(1)


def truths(scene: Scene, like: Take) -> tuple[Tensor, ...] | None:
    """The clips of a take as the world draws them."""
    found = turns(like.prompts, like.variant.overlap)
    return None if found is None else tuple(render([scene], each[None])[0] for each in found)


def drift(task: Task, takes: Sequence[Take]) -> Drift:
    """From the true background, or from the image where there is no truth."""
    places = [turns(each.prompts, each.variant.overlap) for each in takes]
    if task.scene is None or None in places:
        anchor = metrics.mean_lab(pictures(task.image[:, None]))[0]
        return Drift("the picture", tuple(tuple(_cast(clip, anchor) for clip in each.clips)
                                          for each in takes))
    wanted = metrics.lab_planes(pictures(background([task.scene])[0][:, None]))
    # objects move, so each pixel shows the background for most of a clip
    seen = [[metrics.lab_planes(pictures(clip.median(1, keepdim=True).values))
             for clip in each.clips] for each in takes]
    return Drift("the background", tuple(tuple(float(np.linalg.norm(lab - wanted, axis=-1).mean())
                                               for lab in each) for each in seen))


def _cast(clip: Tensor, anchor: np.ndarray) -> float:
    """How far the mean colour is off, the median over the frames."""
    return float(np.median([row.cast for row in metrics.measure(pictures(clip), anchor)[1:]]))


def verdict(takes: Sequence[Take], found: Drift) -> str:
    """How far the colours of the last clips are off, in a sentence."""
    clips = len(takes[0].clips)
    first, *others = (f"{values[-1]:.1f}" for values in found.values[:len(takes)])
    rest = "".join(f", by {end} {each.name}"
                   for end, each in zip(others, takes[1:], strict=True))
    return (f"After {clips} clip{'s' if clips > 1 else ''} the colours are off by {first} Lab "
            f"units {takes[0].name}{rest}")


def pictures(video: Tensor) -> metrics.Pictures:
    """[3, T, H, W] in [-1, 1] -> [T, H, W, 3], 8 bit."""
    return video.movedim(0, -1).add(1).mul(127.5).round().clamp(0, 255).byte().numpy()
