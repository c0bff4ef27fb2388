"""The takes that the demo compares, one image chained in several ways, and what is measured of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .. import chain
from ..drift import metrics
from ..drift.analysis import seam
from ..drift.layout import Layout
from ..variants import Variant
from . import truth
from .chaining import STOCK, SVI, Wan, Way, clips, joined
from .world import HEIGHT, WIDTH, Scene, background, render, turns

NOTICED = "Lab units (2.3 are just noticed)"  #: CIE76; Mahy et al. 1994


@dataclass(frozen=True)
class Task:
    """What is to be made. `scene`: of the little world, where the image is one of it."""

    image: Tensor
    prompts: tuple[str, ...]
    clips: int
    seed: int
    scene: Scene | None = None


@dataclass(frozen=True)
class Take:
    """A video that was made of a task: its clips [3, 81, H, W], each whole, and the prompt of each."""

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
class Curve:
    """A number for each clip of each take, and what it should be, where that is known."""

    title: str
    best: float | None
    values: tuple[tuple[float, ...], ...]


def ways(variant: str, compare: bool = False) -> dict[str, Way]:
    """The ways that are compared. `compare`: also those with one half of SVI, its LoRA or its conditioning."""
    svi = SVI[variant]
    named = {STOCK.variant.title: STOCK, svi.variant.title: svi}
    if compare:
        named |= {"only SVI's LoRA": replace(STOCK, adapter=svi.adapter),
                  "only SVI's conditioning": replace(svi, adapter="")}
    return named


def take(name: str, way: Way, wan: Wan, task: Task, done: Callable[[], None]) -> Take:
    """Makes a video; `done` is called after each clip."""
    made = []
    for clip in clips(wan, way, task.image[None], [task.prompts], [task.seed], task.clips):
        made.append(clip[0])
        done()
    return Take(name, way, tuple(made), tuple(chain.stream(task.prompts, task.clips, way.variant.prompt_repeat)))


def read_image(path: Path) -> Tensor:
    """A picture of any size -> [3, 64, 96], cut to the shape. Raises OSError and ValueError as Pillow does."""
    with Image.open(path) as image:
        fitted = ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), (WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).movedim(-1, 0).float().div(127.5).sub(1)


def truths(scene: Scene, like: Take) -> tuple[Tensor, ...] | None:
    """The clips as the world has them, beside those of a take."""
    found = turns(like.prompts, like.variant.overlap)
    return None if found is None else tuple(render([scene], each[None])[0] for each in found)


def curves(task: Task, takes: Sequence[Take]) -> list[Curve]:
    """How far the colours go from what they should be; how much moves, for a video that stands still is perfectly
    steady; and whether clips go on where the one before ended."""
    return [*_drift(task, takes), *([_seams(takes)] if task.clips > 1 else [])]


def _drift(task: Task, takes: Sequence[Take]) -> tuple[Curve, Curve]:
    found = [turns(each.prompts, each.variant.overlap) for each in takes]
    if task.scene is None or None in found:
        return _looks(task.image, takes)
    wanted = metrics.lab_planes(pictures(background([task.scene])[0][:, None]))
    # things move on, so that each pixel shows the landscape for most of a clip
    seen = [[metrics.lab_planes(pictures(clip.median(1, keepdim=True).values)) for clip in each.clips]
            for each in takes]
    motion = [[100 * truth.measure(clip, task.scene, at).motion for clip, at in zip(each.clips, where, strict=True)]
              for each, where in zip(takes, found, strict=True)]
    return (Curve(f"How far the landscape's colours are off, {NOTICED}", 0,
                  tuple(tuple(float(np.linalg.norm(lab - wanted, axis=-1).mean()) for lab in each) for each in seen)),
            Curve("How far the first thing moves, % of the way that it should", 100, tuple(map(tuple, motion))))


def verdict(takes: Sequence[Take], colours: Curve) -> str:
    """What these takes, the first ones or all, end with, in a sentence."""
    clips = len(takes[0].clips)
    first, *others = (f"{values[-1]:.1f}" for values in colours.values[:len(takes)])
    rest = "".join(f", by {end} with {each.name}" for end, each in zip(others, takes[1:], strict=True))
    return (f"After {clips} clip{'s' if clips > 1 else ''} the colours are off by {first} Lab units with "
            f"{takes[0].name}{rest}")


def _looks(image: Tensor, takes: Sequence[Take]) -> tuple[Curve, Curve]:
    """The same by the product's metrics, for which no truth is needed."""
    anchor = metrics.mean_lab(pictures(image[:, None]))[0]
    measured = [[metrics.measure(pictures(clip), anchor) for clip in each.clips] for each in takes]

    def medians(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(np.median([getattr(row, name) for row in clip[1:]])) for clip in each)
                     for each in measured)

    return (Curve(f"How far the mean colour is off the image's, {NOTICED}", 0, medians("cast")),
            Curve("Motion, levels from frame to frame", None, medians("motion")))


def _seams(takes: Sequence[Take]) -> Curve:
    found = []
    for each in takes:
        rows = metrics.measure(pictures(each.video), np.zeros(3))
        starts = map(Layout.of(each.variant).start, range(1, len(each.clips)))
        found.append((math.nan, *(seam(number, start, rows).pixels.jump for number, start in enumerate(starts, 1))))
    return Curve("Jump from the clip before, times the step from frame to frame that is usual there", 1, tuple(found))


def pictures(video: Tensor) -> metrics.Pictures:
    """[3, T, H, W] in [-1, 1] -> [T, H, W, 3], 8 bit."""
    return video.movedim(0, -1).add(1).mul(127.5).round().clamp(0, 255).byte().numpy()
