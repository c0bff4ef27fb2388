"""Statistics of a metric over a video: its slope per clip, and its change from start to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

ENDS = 0.15  #: share of the frames that is the start, and the end (Zhang and Agrawala 2025)
CHANCE = 0.05  #: the usual level of a test: chance makes such a trend more rarely
TREND_CLIPS = 5  #: fewest clips whose order can be that rare: 2 / 5! is 1.7 %, 2 / 4! is 8.3 %


@dataclass(frozen=True)
class Trend:
    """How a metric develops over the clips: the Theil-Sen slope per clip, its 95 % confidence
    interval (Sen 1968), and `rises`, `falls` or `no trend` by the Mann-Kendall test. With fewer
    than 5 clips, only the slope is known."""

    slope: float
    low: float | None = None
    high: float | None = None
    word: str = ""


def trend(values: Sequence[float]) -> Trend | None:
    """The trend of one value per clip; None for a single clip. It does not say why they change: a
    camera that turns to the sun makes a trend, too."""
    if len(values) < 2:
        return None
    slope, _, low, high = map(float, stats.theilslopes(values))
    if len(values) < TREND_CLIPS:
        return Trend(slope)
    tau, chance = stats.kendalltau(range(len(values)), values)  # nan where all values are equal
    word = ("rises" if tau > 0 else "falls") if chance <= CHANCE else "no trend"
    return Trend(slope, low, high, word)


def ends(values: Sequence[float]) -> tuple[float, float]:
    """The mean of the first 15 % of the values, and of the last 15 %."""
    few = max(1, round(len(values) * ENDS))
    return float(np.mean(values[:few])), float(np.mean(values[-few:]))


def change(values: Sequence[float]) -> float:
    """End minus start: FramePack's start-end contrast (Zhang and Agrawala 2025), with its sign."""
    start, end = ends(values)
    return end - start
