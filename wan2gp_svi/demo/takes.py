"""What the demo compares: one image, chained in several ways, and measures of the videos."""

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

NOTICED = "Lab units (2.3 is just noticed)"  #: CIE76; Mahy et al. 1994


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
class Curve:
    """A number for each clip of each take, and what it should be, if that is known."""

    title: str
    best: float | None
    values: tuple[tuple[float, ...], ...]


def ways(variant: str, compare: bool = False) -> dict[str, Way]:
    """The ways to compare. `compare`: also each half of SVI, its LoRA and its conditioning."""
    svi = SVI[variant]
    named = {STOCK.variant.title: STOCK, svi.variant.title: svi}
    if compare:
        named |= {"only SVI's LoRA": replace(STOCK, adapter=svi.adapter),
                  "only SVI's conditioning": replace(svi, adapter="")}
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


def curves(task: Task, takes: Sequence[Take]) -> list[Curve]:
    """How far the colours are off; how much moves, since a frozen video is perfectly steady; and
    whether clips continue where the one before ended."""
    return [*_drift(task, takes), *([_jumps(takes)] if task.clips > 1 else [])]


def _drift(task: Task, takes: Sequence[Take]) -> tuple[Curve, Curve]:
    places = [found for each in takes if (found := turns(each.prompts, each.variant.overlap))]
    if task.scene is None or len(places) < len(takes):
        return _looks(task.image, takes)
    wanted = metrics.lab_planes(pictures(background([task.scene])[0][:, None]))
    # objects move, so each pixel shows the background for most of a clip
    seen = [[metrics.lab_planes(pictures(clip.median(1, keepdim=True).values))
             for clip in each.clips] for each in takes]
    off = tuple(tuple(float(np.linalg.norm(lab - wanted, axis=-1).mean()) for lab in each)
                for each in seen)
    motion = tuple(tuple(100 * truth.measure(clip, task.scene, at).motion
                         for clip, at in zip(each.clips, where, strict=True))
                   for each, where in zip(takes, places, strict=True))
    return (Curve(f"How far the colours of the background are off, {NOTICED}", 0, off),
            Curve("How far the object moves, % of how far it should", 100, motion))


def verdict(takes: Sequence[Take], colours: Curve) -> str:
    """How far the colours of the last clips are off, in a sentence."""
    clips = len(takes[0].clips)
    first, *others = (f"{values[-1]:.1f}" for values in colours.values[:len(takes)])
    rest = "".join(f", by {end} with {each.name}"
                   for end, each in zip(others, takes[1:], strict=True))
    return (f"After {clips} clip{'s' if clips > 1 else ''} the colours are off by {first} Lab "
            f"units with {takes[0].name}{rest}")


def _looks(image: Tensor, takes: Sequence[Take]) -> tuple[Curve, Curve]:
    """The same without a truth, by the metrics of the drift report."""
    anchor = metrics.mean_lab(pictures(image[:, None]))[0]
    measured = [[metrics.measure(pictures(clip), anchor) for clip in each.clips] for each in takes]

    def medians(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(np.median([getattr(row, name) for row in clip[1:]]))
                           for clip in each) for each in measured)

    return (Curve(f"How far the mean colour is off the image's, {NOTICED}", 0, medians("cast")),
            Curve("Motion, levels from frame to frame", None, medians("motion")))


def _jumps(takes: Sequence[Take]) -> Curve:
    found = []
    for each in takes:
        rows = metrics.measure(pictures(each.video), np.zeros(3))
        starts = map(Layout.of(each.variant).start, range(1, len(each.clips)))
        found.append((math.nan, *(seam(number, start, rows).pixels.jump
                                  for number, start in enumerate(starts, 1))))
    return Curve("Jump from the previous clip, times the usual step from frame to frame", 1,
                 tuple(found))


def pictures(video: Tensor) -> metrics.Pictures:
    """[3, T, H, W] in [-1, 1] -> [T, H, W, 3], 8 bit."""
    return video.movedim(0, -1).add(1).mul(127.5).round().clamp(0, 255).byte().numpy()
