"""Metrics of a picture, and of two pictures in a row, that need no downloaded weights.

A metric takes `rgb` [N, h, w, 3] uint8, `y` [N, h, w] float32 (0 to 255) or `lab` [N, h, w, 3]
float32, and returns N float64 numbers, so it measures a chunk of a video at once. Pictures are
shrunk first (`small`): the numbers then hardly depend on the size of the video, and the noise of
its compression averages out. "Levels" are steps of 8 bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

SHORT_SIDE = 256  #: pixels of the short side of the copy that is measured
REPEATED = 0.5  #: levels; pictures that differ by less are the same (rounding to 8 bit alone)

Pictures = NDArray[np.uint8]
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class FrameMetrics:
    """The metrics of a frame, or the medians of a clip. The functions below explain them."""

    luma: float
    contrast: float
    saturation: float
    colourfulness: float
    cast: float
    sharpness: float
    tenengrad: float
    dark: float
    bright: float
    grain: float
    motion: float | None  # None: there is no frame before
    lightness: float  # L*; with a* and b* the mean Lab colour, for casts, shifts and jumps
    a: float
    b: float


def small(rgb: Pictures) -> Pictures:
    """Shrinks a picture [H, W, 3] to `SHORT_SIDE` pixels, by the mean over areas (INTER_AREA)."""
    height, width = rgb.shape[:2]
    scale = SHORT_SIDE / min(height, width)
    if scale >= 1:
        return rgb
    size = round(width * scale), round(height * scale)
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def luma_plane(rgb: Pictures) -> Floats:
    """[N, h, w, 3] -> [N, h, w]: Y = 0.299 R + 0.587 G + 0.114 B, not rounded (ITU-R BT.601)."""
    return _planes(rgb, ((0.299, 0.587, 0.114),))[..., 0]


def lab_planes(rgb: Pictures) -> Floats:
    """[N, h, w, 3] -> [N, h, w, 3]: CIE L* (0 to 100), a*, b* of sRGB under D65 (CIE 015; IEC
    61966-2-1)."""
    # from sRGB, OpenCV reads a coarse table and is wrong by up to 0.4; from linear light by 0.03
    linear = cv2.LUT(_tall(rgb), _linear_light())
    return np.asarray(cv2.cvtColor(linear, cv2.COLOR_LRGB2Lab), np.float32).reshape(rgb.shape)


def luma(y: Floats) -> Floats:
    """Brightness: the mean of Y. Levels. (ITU-R BT.601)"""
    return y.mean((1, 2), dtype=np.float64)


def contrast(y: Floats) -> Floats:
    """Contrast: the standard deviation of Y. Levels. (RMS contrast: Peli 1990)"""
    return y.std((1, 2), dtype=np.float64)


def saturation(lab: Floats) -> Floats:
    """Saturation: the mean chroma, sqrt(a*^2 + b*^2). Lab units. (CIE 1976)"""
    return np.hypot(lab[..., 1], lab[..., 2]).mean((1, 2), dtype=np.float64)


def colourfulness(rgb: Pictures) -> Floats:
    """Colourfulness: sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2) with means m and standard
    deviations s of rg = R - G and yb = (R + G) / 2 - B. Levels; about 15 is slightly, 109 extremely
    colourful. (Hasler and Suesstrunk 2003)"""
    opponents = _planes(rgb, ((1, -1, 0), (0.5, 0.5, -1)))
    means, spreads = np.array([cv2.meanStdDev(plane) for plane in opponents])[..., 0].swapaxes(0, 1)
    return np.hypot(*spreads.T) + 0.3 * np.hypot(*means.T)


def cast(mean_lab: Floats, reference: Floats) -> Floats:
    """Colour cast: the difference of the mean Lab colour [N, 3] to that of the reference [3],
    sqrt(dL*^2 + da*^2 + db*^2). Lab units; 2.3 is just noticed. (CIE76; Mahy et al. 1994)"""
    return np.linalg.norm(mean_lab - reference, axis=-1)


def sharpness(y: Floats) -> Floats:
    """Sharpness: the variance of the Laplacian (0 1 0, 1 -4 1, 0 1 0) of Y. Levels squared.
    (Pech-Pacheco et al. 2000)"""
    return np.array([cv2.Laplacian(plane, cv2.CV_32F).var(dtype=np.float64) for plane in y])


def tenengrad(y: Floats) -> Floats:
    """Sharpness by edges: the mean of Gx^2 + Gy^2, the 3x3 Sobel gradients of Y. Levels squared.
    (Tenenbaum 1970; Krotkov 1988)"""
    ways = ((1, 0), (0, 1))
    return np.array([sum(cv2.norm(cv2.Sobel(plane, cv2.CV_32F, *way), cv2.NORM_L2SQR)
                         for way in ways) / plane.size for plane in y])


def dark(y: Floats) -> Floats:
    """Clipped shadows: the share of pixels with Y <= 4. Per cent."""
    return 100 * (y <= 4).mean((1, 2))


def bright(y: Floats) -> Floats:
    """Clipped lights: the share of pixels with Y >= 251. Per cent."""
    return 100 * (y >= 251).mean((1, 2))


def grain(y: Floats) -> Floats:
    """Grain: the robust standard deviation of the noise, median |h| / (6 * 0.6745), h the high-pass
    (1 -2 1, -2 4 -2, 1 -2 1) of Y. Levels. (the filter: Immerkaer 1996; the median: Donoho and
    Johnstone 1994)"""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    high = np.abs([cv2.filter2D(plane, cv2.CV_32F, kernel)[1:-1, 1:-1] for plane in y])
    return np.median(high.reshape(len(y), -1), axis=1) / (6 * 0.6745)


def motion(rgb: Pictures, before: Pictures | None = None) -> Floats:
    """Motion: the mean absolute difference of R, G and B to the frame before. Levels. VBench (2023)
    calls the same number temporal flickering, with the score (255 - mean) / 255: it is flicker in a
    still scene and motion in one that moves, and no difference of pixels tells the two apart.

    `before` [h, w, 3] is the frame before the first one; without it the first number is nan.
    """
    earlier = [rgb[0] if before is None else before, *rgb[:-1]]
    steps = np.array([cv2.norm(picture, other, cv2.NORM_L1) / picture.size
                      for picture, other in zip(rgb, earlier, strict=True)])
    if before is None:
        steps[0] = np.nan
    return steps


def mean_lab(rgb: Pictures) -> Floats:
    """The mean Lab colour [N, 3]."""
    return lab_planes(rgb).mean((1, 2), dtype=np.float64)


def measure(rgb: Pictures, reference: Floats, before: Pictures | None = None) -> list[FrameMetrics]:
    """All metrics of a chunk of small pictures. `reference`: the mean Lab colour [3] that casts are
    measured against; `before`: the frame before the chunk."""
    y, lab = luma_plane(rgb), lab_planes(rgb)
    means = lab.mean((1, 2), dtype=np.float64)
    columns = dict(
        luma=luma(y), contrast=contrast(y), saturation=saturation(lab),
        colourfulness=colourfulness(rgb), cast=cast(means, reference), sharpness=sharpness(y),
        tenengrad=tenengrad(y), dark=dark(y), bright=bright(y), grain=grain(y),
        lightness=means[:, 0], a=means[:, 1], b=means[:, 2],
    )  # fmt: skip
    return [FrameMetrics(**{name: float(column[at]) for name, column in columns.items()},
                         motion=None if np.isnan(step) else float(step))
            for at, step in enumerate(motion(rgb, before))]


@dataclass(frozen=True)
class Metric:
    """How a metric is written. `relative`: its changes are in per cent."""

    unit: str
    function: Callable[..., Floats]
    relative: bool = False

    @property
    def about(self) -> str:
        """Formula, unit and source, as the function's docstring has them."""
        return " ".join((self.function.__doc__ or "").split("\n\n")[0].split())


NAMES = tuple(field.name for field in fields(FrameMetrics))
METRICS: dict[str, Metric] = {
    "luma": Metric("levels", luma, relative=True),
    "contrast": Metric("levels", contrast, relative=True),
    "saturation": Metric("Lab units", saturation),
    "colourfulness": Metric("levels", colourfulness),
    "cast": Metric("Lab units", cast),
    "sharpness": Metric("levels²", sharpness, relative=True),
    "tenengrad": Metric("levels²", tenengrad, relative=True),
    "dark": Metric("%", dark),
    "bright": Metric("%", bright),
    "grain": Metric("levels", grain),
    "motion": Metric("levels", motion),
}


def _tall(rgb: Pictures) -> Pictures:
    """[N, h, w, 3] -> [N h, w, 3]: OpenCV takes one picture at a time."""
    return np.ascontiguousarray(rgb).reshape(-1, *rgb.shape[2:])


def _planes(rgb: Pictures, weights: tuple[tuple[float, float, float], ...]) -> Floats:
    """Weighted sums of R, G and B: [N, h, w, 3] -> [N, h, w, len(weights)] float32."""
    sums = cv2.transform(_tall(rgb).astype(np.float32), np.array(weights, np.float32))
    return np.asarray(sums, np.float32).reshape(*rgb.shape[:3], len(weights))


@cache
def _linear_light() -> Floats:
    value = np.arange(256) / 255
    curve = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return curve.astype(np.float32)
