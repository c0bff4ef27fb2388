"""How a series of numbers goes: the slope over clips and what chance leaves of it, and the change from start to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

ENDS = 0.15  #: share of the frames that are the start, and the end, of a video
TREND_CLIPS = 5  #: with fewer, no order of the clips is rarer than 5 %


@dataclass(frozen=True)
class Trend:
    """How a metric goes over the clips: Theil-Sen slope per clip, and the slopes that chance leaves (None: too few)."""

    slope: float
    low: float | None = None
    high: float | None = None

    @property
    def word(self) -> str:
        """`rises` or `falls` if all slopes within the 95 % interval do, else `no trend`; "" with too few clips."""
        if self.low is None or self.high is None:
            return ""
        return "rises" if self.low > 0 else "falls" if self.high < 0 else "no trend"


def trend(values: Sequence[float]) -> Trend | None:
    """The median of the slopes between all pairs of clips (Theil 1950, Sen 1968); None for a single clip.

    The interval is Sen's, with the exact distribution of Kendall's S: 0 lies outside of it where the Mann-Kendall test
    finds the order of the clips too good for chance, p <= 5 % (two-sided; Hollander, Wolfe and Chicken 2014, 9.3).
    It tells that clips go one way, not why: a camera that turns to the sun makes a trend too.
    """
    n = len(values)
    if n < 2:
        return None
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((np.asarray(values)[second] - np.asarray(values)[first]) / (second - first))
    critical = _critical(n)
    if critical is None:
        return Trend(float(np.median(slopes)))
    inside = critical - 2
    low, high = slopes[(len(slopes) - inside) // 2 - 1], slopes[(len(slopes) + inside) // 2]
    return Trend(float(np.median(slopes)), float(low), float(high))


@cache
def _critical(n: int) -> int | None:
    """The least S with P(Kendall's S >= S) <= 2.5 % among n values in random order; None where there is none."""
    chances = np.ones(1)  # of 0, 1, ... inversions
    for size in range(2, n + 1):
        total = np.concatenate([np.cumsum(chances), np.full(size - 1, chances.sum())])
        total[size:] -= total[: len(total) - size].copy()
        chances = total / size
    few = np.flatnonzero(np.cumsum(chances) <= 0.025)
    return n * (n - 1) // 2 - 2 * int(few[-1]) if len(few) else None


def start(values: Sequence[float]) -> float:
    """Mean of the first 15 %."""
    return float(np.mean(values[: _share(len(values))]))


def change(values: Sequence[float]) -> float:
    """Mean of the last 15 % of the frames minus mean of the first 15 %: FramePack's drift (Zhang and Agrawala
    2025, "start-end contrast"), which is the amount of it, with its sign."""
    return float(np.mean(values[-_share(len(values)) :])) - start(values)


def _share(frames: int) -> int:
    return max(1, round(frames * ENDS))
