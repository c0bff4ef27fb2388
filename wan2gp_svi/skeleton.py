"""Key points of a person -> the picture of a skeleton that SVI-Dance was trained with.

Body, two feet and two hands, no face. Points are in the order of OpenPose; a point that was not
seen is negative. Source: the pose video of Stable Video Infinity's data preparation.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_Points = np.ndarray[Any, Any]

SEEN = 0.3  #: the score from which on a point counts
_HALF_WIDTH, _RADIUS, _LINE = 4, 4, 2  # pixels, whatever the size of the picture
_DARKER = 0.6  # limbs, beside the joints on them

#: the joints that a limb joins, in the order of their colours: arms, legs, head, feet
_LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11),
          (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19))
#: a colour for each limb and each joint: 18 hues around the wheel, and two for toes
_COLOURS = [*([round(255 * part) for part in colorsys.hsv_to_rgb(hue / 18, 1, 1)]
              for hue in range(18)), [170, 255, 255], [255, 255, 0]]
_BONES = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
_KNUCKLE = (0, 0, 255)
_NECK, _HIPS = 1, [8, 11]


@dataclass(frozen=True)
class Person:
    """`joints` [20, 2] and `hands` [2, 21, 2] as parts of width and height; -1: not seen."""

    joints: _Points
    hands: _Points

    def moved(self, scale: _Points | float, shift: _Points) -> Person:
        """Each point p that was seen becomes p * scale + shift."""
        return Person(*(np.where(_seen_each(points), points * scale + shift, -1.0)
                        for points in (self.joints, self.hands)))


def fitted(one: Person, sides: tuple[int, int], others: tuple[int, int]) -> Person:
    """A person in a picture of these sides (height and width), as part of a picture with others,
    into whose middle the first one is fitted."""
    inside, outside = np.array(sides[::-1], float), np.array(others[::-1], float)
    part = inside * (outside / inside).min() / outside
    return one.moved(part, (1 - part) / 2)


@dataclass(frozen=True)
class Torso:
    """The middle of the hips [2], as parts of width and height, and how far the neck is from it, in
    pixels."""

    hips: _Points
    length: float


def torso(one: Person, height: int, width: int) -> Torso | None:
    """None unless neck and hips were seen."""
    seen = one.joints[[_NECK, *_HIPS]]
    hips = seen[1:].mean(0)
    length = float(np.hypot(*((seen[0] - hips) * [width, height])))
    return Torso(hips, length) if _seen(seen) and length else None


def placement(dancer: Torso, other: Torso) -> tuple[float, _Points]:
    """The scale and the shift for `moved` that make the dancer's torso as long as the other one and
    put its hips there. Both are in pictures of the same sides."""
    scale = other.length / dancer.length
    return scale, other.hips - dancer.hips * scale


def person(points: _Points, scores: _Points, height: int, width: int) -> Person:
    """A person of the detector's points [134, 2] in pixels and their scores [134]: body, feet,
    face, hands."""
    place = points / np.array([width, height])
    place[scores <= SEEN] = -1
    toes = [place[both].mean(0) if _seen(place[both]) else [-1, -1]
            for both in (slice(18, 20), slice(21, 23))]  # of each foot the big one and the small
    return Person(np.concatenate([place[:18], toes]), place[92:].reshape(2, 21, 2))


def draw(one: Person, height: int, width: int) -> _Points:
    """The picture, uint8 [height, width, 3], in the order of channels that the model sees."""
    import cv2

    picture = np.zeros((height, width, 3), np.uint8)
    size = np.array([width, height])
    for (start, end), colour in zip(_LIMBS, _COLOURS, strict=False):
        if _seen(one.joints[[start, end]]):
            x, y = (one.joints[[start, end]] * size).T
            angle = math.degrees(math.atan2(y[0] - y[1], x[0] - x[1]))
            half = int(math.hypot(y[0] - y[1], x[0] - x[1]) / 2)
            outline = cv2.ellipse2Poly((int(x.mean()), int(y.mean())), (half, _HALF_WIDTH),
                                       int(angle), 0, 360, 1)
            cv2.fillConvexPoly(picture, np.array(outline), colour)
    picture = (picture * _DARKER).astype(np.uint8)
    for joint, colour in zip(one.joints, _COLOURS, strict=True):
        if _seen(joint):
            cv2.circle(picture, _pixel(joint * size), _RADIUS, colour, -1)
    for hand in one.hands:
        pixels = [_pixel(point) for point in hand * size]
        for number, (start, end) in enumerate(_BONES):
            if min(pixels[start] + pixels[end]) > 0:
                hue = colorsys.hsv_to_rgb(number / len(_BONES), 1, 1)
                cv2.line(picture, pixels[start], pixels[end], [255 * part for part in hue], _LINE)
        for pixel in pixels:
            if min(pixel) > 0:
                cv2.circle(picture, pixel, _RADIUS, _KNUCKLE, -1)
    return picture[..., ::-1]


def _seen(points: _Points) -> bool:
    return bool(_seen_each(points).all())


def _seen_each(points: _Points) -> _Points:
    return np.asarray((points >= 0).all(-1, keepdims=True))


def _pixel(point: _Points) -> tuple[int, int]:
    return int(point[0]), int(point[1])
