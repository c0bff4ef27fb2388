"""The verdict: one sentence of numbers. Nothing in it is called good or bad, and motion always stands beside the looks,
for a frozen video is perfectly consistent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .metrics import METRICS, REPEATED
from .trends import TREND_CLIPS, start

if TYPE_CHECKING:
    from .analysis import Report

KINDS = ("pixels", "luma", "colour")  #: of jumps
LOOKS = ("luma", "contrast", "saturation", "sharpness")


def sentence(report: Report) -> str:
    """Such as `Over 10 clips: luma +0.8 % per clip (rises), ..., colour cast to the image from 1.4 to 3.1 (no trend);
    motion 4.9 (no trend); largest jump 1.4x (pixels) at the seam 3->4.`"""
    looks, moves = ", ".join([*_looks(report), _cast(report)]), "; ".join([_motion(report), *_seams(report)])
    return f"{_head(report)}: {looks}; {moves}."


def per_clip(report: Report, name: str) -> str:
    """The slope of a metric per clip, such as `+0.8 %` or `-0.10`; "" for a single clip."""
    trend = report.trend(name)
    if trend is None:
        return ""
    text = _signed(trend.slope, float(np.median(report.medians(name))), name)
    return f"almost {text}" if text.startswith("0") and trend.word in ("rises", "falls") else text


def _head(report: Report) -> str:
    n, noun = len(report.clips), report.layout.noun
    if n == 1:
        return f"In 1 {noun}"
    few = f" (too few to tell a trend from chance, that takes {TREND_CLIPS})" if n < TREND_CLIPS else ""
    return f"Over {n} {noun}s{few}"


def _looks(report: Report) -> Iterable[str]:
    for name in LOOKS:
        if len(report.clips) > 1:
            value, over = per_clip(report, name), f" per {report.layout.noun}"
        else:
            value, over = _signed(report.change(name), start(report.column(name)), name), " from start to end"
        yield f"{name} {value}{over if name == LOOKS[0] else ''}{_word(report, name)}"


def _word(report: Report, name: str) -> str:
    word = getattr(report.trend(name), "word", "")
    return f" ({word})" if word else ""


def _cast(report: Report) -> str:
    casts = report.medians("cast")
    first, most, last = (f"{cast:.1f}" for cast in (casts[0], max(casts), casts[-1]))
    if len(casts) == 1:
        return f"colour cast {first} to {report.reference}"
    between = "" if most in (first, last) else f", {most} in {report.layout.noun} {casts.index(max(casts)) + 1}"
    return f"colour cast to {report.reference} from {first} to {last}{between}{_word(report, 'cast')}"


def _motion(report: Report) -> str:
    motions = report.medians("motion")
    middle = float(np.median(motions)) if motions else 0.0
    told = f"motion {middle:.1f}" if middle >= REPEATED else f"motion {middle:.2f}"
    frozen = [str(clip.number) for clip in report.clips if clip.frozen]
    if len(frozen) == len(report.clips):
        return f"FROZEN, {told}: most frames repeat the one before, so a steady look means nothing"
    told += _word(report, "motion")
    if frozen:
        few = ", ".join(frozen) if len(frozen) <= 6 else f"{len(frozen)} of {len(report.clips)}"
        told += f", FROZEN in {report.layout.noun}{'s' if len(frozen) > 1 else ''} {few}"
    return told


def _seams(report: Report) -> Iterable[str]:
    seams = report.seams
    jumps = {kind: [getattr(seam, kind).jump for seam in seams] for kind in KINDS}
    if seams:
        kind = max(KINDS, key=lambda kind: max(jumps[kind]))
        largest = max(jumps[kind])
        told = f"largest jump {largest:.1f}x ({kind}) at the seam {seams[jumps[kind].index(largest)].name}"
        if len(seams) > 2 and largest > 1:  # the largest of many is large by chance, the median is not
            usual = (f"{np.median(jumps[kind]):.1f}x in {kind}" for kind in KINDS)
            told += f" (median {', '.join(usual)})"
        yield told
    twice = sum(seam.repeated and seam.pixels.usual >= REPEATED for seam in seams)
    if twice:
        yield f"a frame shown twice at {twice} of {len(seams)} seams"
    if not report.layout.seams:
        yield "seams not known"


def _signed(value: float, usual: float, name: str) -> str:
    """With its sign, for a relative metric in per cent of what is usual; what rounds to nothing has no sign."""
    relative = METRICS[name].relative and usual != 0
    text = f"{100 * value / usual:+.1f}" if relative else f"{value:+.2f}"
    return (text if float(text) else text[1:]) + (" %" if relative else "")
