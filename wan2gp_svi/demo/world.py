"""The demo model's world: objects circle in front of a background, and a prompt says how.

The world is drawn, so the truth is known for every frame of a video of any length. Pixels are
float32 in [-1, 1], [..., 3, T, H, W]. A seed gives the same scene on every machine.
"""

from __future__ import annotations

import colorsys
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor

from ..variants import CLIP_FRAMES

WIDTH, HEIGHT, FPS = 96, 64, 16
CENTRE = (48.0, 30.0)  #: of every orbit, in pixels
RADII = (28.0, 14.0)  #: of the orbit of size 1

Colour = tuple[float, float, float]

COLOURS: dict[str, Colour] = {
    "red": (0.88, 0.14, 0.12), "orange": (0.97, 0.55, 0.10), "yellow": (0.97, 0.88, 0.20),
    "green": (0.12, 0.62, 0.22), "blue": (0.12, 0.30, 0.88), "purple": (0.55, 0.18, 0.75),
    "white": (0.97, 0.97, 0.97), "black": (0.07, 0.07, 0.09),
}  # fmt: skip
SHAPES = ("ball", "box", "kite")
MARKS = ("plain", "banded", "dotted")
TURNS = {  #: turns that an object makes in a clip
    "circles clockwise slowly": 0.55,
    "circles clockwise quickly": 0.95,
    "circles backwards slowly": -0.55,
    "circles backwards quickly": -0.95,
    "waits": 0.0,
}
MOVING = tuple(action for action, turns in TURNS.items() if turns)


@dataclass(frozen=True)
class Object:
    """How an object looks, and where on the orbit it is (in turns) when the scene begins."""

    colour: str
    shape: str
    mark: str
    size: float
    phase: float

    @property
    def name(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.mark} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """A background and its objects. `ridges`: height, two amplitudes, two phases of the far hills
    and of the near ones."""

    sky: tuple[Colour, Colour]
    hills: tuple[Colour, Colour]
    ridges: tuple[tuple[float, float, float, float, float], ...]
    stripes: tuple[float, float]  # of the near hills: pixels, phase
    sun: tuple[float, float, float]  # x, y, radius
    orbit: float
    objects: tuple[Object, ...]
    action: str

    def prompt(self, action: str = "") -> str:
        return f"{' and '.join(each.name for each in self.objects)} {action or self.action}"


def scene(seed: int, objects: int = 0) -> Scene:
    """The scene of a seed. `objects`: 1 or 2; 0 lets the seed choose (1 in three of four)."""
    draw = random.Random(f"scene {seed}")
    pastel = [colorsys.hsv_to_rgb(draw.random(), draw.uniform(0.2, 0.6), draw.uniform(0.7, 0.95))
              for _ in range(2)]
    earth = [colorsys.hsv_to_rgb(draw.random(), draw.uniform(0.3, 0.65), value) for value in
             (draw.uniform(0.5, 0.7), draw.uniform(0.3, 0.5))]
    ridges = tuple((height + draw.uniform(-3, 3), draw.uniform(1.5, 5), draw.uniform(0.5, 2),
                    draw.random(), draw.random()) for height in (40, 52))
    stripes = (draw.uniform(7, 14), draw.random())
    sun = (draw.uniform(10, WIDTH - 10), draw.uniform(7, 14), draw.uniform(4, 6))
    orbit = draw.uniform(0.85, 1.1)
    phase = draw.random()
    count = objects or 1 + (draw.random() < 0.25)
    visible = [name for name, colour in COLOURS.items()
               if all(math.dist(colour, other) > 0.4 for other in (*pastel, *earth))]
    names = draw.sample(visible if len(visible) >= count else list(COLOURS), count)
    found = tuple(Object(name, draw.choice(SHAPES), draw.choice(MARKS), draw.uniform(9.5, 11.5),
                         (phase + number / 2) % 1) for number, name in enumerate(names))
    return Scene((pastel[0], pastel[1]), (earth[0], earth[1]), ridges, stripes, sun, orbit, found,
                 draw.choice(MOVING))


def phases(action: str, start: float | Tensor = 0.0, frames: int = CLIP_FRAMES) -> Tensor:
    """Turns in each frame of an action that begins at `start` (a number, or [B, 1])."""
    return start + torch.arange(frames) * (TURNS[action] / CLIP_FRAMES)


def turns(prompts: Sequence[str], overlap: int) -> list[Tensor] | None:
    """How far objects are along their orbits in each clip; None if a prompt names no action."""
    start, found = 0.0, []
    for prompt in prompts:
        action = next((action for action in TURNS if prompt.endswith(action)), None)
        if action is None:
            return None
        found.append(phases(action, start))
        start += TURNS[action] * (1 - overlap / CLIP_FRAMES)
    return found


def background(scenes: Sequence[Scene], device: torch.device | str = "cpu") -> Tensor:
    """The backgrounds of scenes, without objects: [B, 3, H, W]."""
    return drawn(numbers(scenes).to(device))


def numbers(scenes: Sequence[Scene]) -> Tensor:
    """What the backgrounds are drawn from, [B, 27]: sky, hills, ridges, stripes, sun."""
    return torch.tensor([[*chain(*s.sky, *s.hills, *s.ridges, s.stripes, s.sun)] for s in scenes])


def with_background(scene: Scene, values: Sequence[float]) -> Scene:
    """A scene's objects in front of the background of 27 numbers."""
    parts: Any = (tuple(values[first:last])
                  for first, last in pairwise((0, 3, 6, 9, 12, 17, 22, 24, 27)))
    top, low, far, near, *ridges, stripes, sun = parts
    return replace(scene, sky=(top, low), hills=(far, near), ridges=tuple(ridges),
                   stripes=stripes, sun=sun)


def drawn(values: Tensor) -> Tensor:
    """`numbers` [B, 27] -> backgrounds [B, 3, H, W]; differentiable."""
    colours, ridges, (width, offset), (sun_x, sun_y, radius) = (
        part[..., None, None].unbind(1) for part in (
            values[:, :12].unflatten(1, (4, 3)), values[:, 12:22].unflatten(1, (2, 5)),
            values[:, 22:24], values[:, 24:]))
    x = torch.arange(WIDTH, dtype=torch.float32, device=values.device)
    y = torch.arange(HEIGHT, dtype=torch.float32, device=values.device)[:, None]
    top, low, *hills = colours
    picture = torch.lerp(top, low, (y / 48).clamp(0, 1)).expand(-1, -1, -1, WIDTH)
    shine = (radius + 0.5 - torch.hypot(x - sun_x, y - sun_y)).clamp(0, 1)[:, None]
    picture = torch.lerp(picture, torch.ones_like(picture), 0.75 * shine)
    stripes = 0.12 * torch.sin(2 * math.pi * (x / width + offset))[:, None]
    for layer, (ridge, colour) in enumerate(zip(ridges, hills, strict=True)):
        height, long, short, first, second = ridge.unbind(1)
        ridge = (height + long * torch.sin(2 * math.pi * (x / WIDTH * (1 + layer) + first))
                 + short * torch.sin(2 * math.pi * (x / WIDTH * (4 - layer) + second)))
        shade = 1 - 0.25 * ((y - ridge) / 24).clamp(0, 1)[:, None] + (stripes if layer else 0)
        covered = (y - ridge + 0.5).clamp(0, 1)[:, None]
        picture = torch.lerp(picture, (colour * shade).clamp(0, 1), covered)
    return picture * 2 - 1


def render(scenes: Sequence[Scene], turns: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Videos [B, 3, T, H, W] of scenes, their objects moved on by `turns` [B, T]."""
    turns = turns.to(device, torch.float32)
    video = background(scenes, device)[:, :, None].repeat(1, 1, turns.shape[1], 1, 1)
    for number in range(max(len(s.objects) for s in scenes)):
        alpha, mark = _shape(scenes, number, turns, device)
        # a scene with fewer objects gets an invisible one
        colours = torch.tensor([COLOURS[s.objects[number].colour] if number < len(s.objects) else
                                (0, 0, 0) for s in scenes], device=device)
        light = (colours.mean(1, keepdim=True) > 0.6).float()
        paint, ink = ((2 * c - 1)[:, :, None, None, None]
                      for c in (colours, 0.95 - 0.85 * light.expand(-1, 3)))
        video.lerp_(torch.lerp(paint, ink, mark[:, None]), alpha[:, None])
    return video


def centres(scene: Scene, turns: Tensor) -> Tensor:
    """Where the objects are: [T] -> [objects, T, 2], pixels (x, y)."""
    angle = 2 * math.pi * (turns + torch.tensor([[each.phase] for each in scene.objects]))
    return torch.stack([CENTRE[0] + scene.orbit * RADII[0] * angle.cos(),
                        CENTRE[1] + scene.orbit * RADII[1] * angle.sin()], -1)


def covered(scene: Scene, turns: Tensor, margin: float = 2.0) -> Tensor:
    """Where objects hide the background, with `margin` pixels for soft edges: bool [T, H, W]."""
    x, y = torch.meshgrid(torch.arange(WIDTH), torch.arange(HEIGHT), indexing="xy")
    size = torch.tensor([each.size for each in scene.objects])[:, None, None, None]
    middle = centres(scene, turns)[:, :, None, None]
    away = torch.maximum((x - middle[..., 0]).abs(), (y - middle[..., 1]).abs())
    return (away < 1.2 * size + margin).any(0)


def _shape(scenes: Sequence[Scene], number: int, turns: Tensor,
           device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Opacity of object `number` and of the mark on it: each [B, T, H, W]."""
    objects = [s.objects[number] if number < len(s.objects) else None for s in scenes]

    def each(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None, None]

    phase = each([o.phase if o else 0 for o in objects])
    angle = 2 * math.pi * (turns[:, :, None, None] + phase)
    orbit, size = each([s.orbit for s in scenes]), each([o.size if o else -9 for o in objects])
    x = torch.arange(WIDTH, device=device) - CENTRE[0] - orbit * RADII[0] * angle.cos()
    y = torch.arange(HEIGHT, device=device)[:, None] - CENTRE[1] - orbit * RADII[1] * angle.sin()
    kind = each([SHAPES.index(o.shape) if o else 0 for o in objects])
    ball = torch.hypot(x, y) - size
    box = torch.maximum(x.abs(), y.abs()) - 0.85 * size
    kite = (1.2 * x.abs() + y.abs() - 1.2 * size) / 1.56
    distance = torch.where(kind == 0, ball, torch.where(kind == 1, box, kite))
    mark = each([MARKS.index(o.mark) if o else 0 for o in objects])
    inside = torch.where(mark == 1, y.abs() - 0.27 * size, torch.hypot(x, y) - 0.42 * size)
    return (0.5 - distance).clamp(0, 1), (0.5 - inside).clamp(0, 1) * (mark > 0)
