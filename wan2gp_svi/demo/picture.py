"""The demo's picture: frames of each take, and under them how far their colours drift."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..drift.plot import BLUE, FAINT, INK, LINE, ORANGE, Page
from .chaining import joined
from .takes import NOTICED, Drift, Take, pictures, verdict
from .world import FPS, HEIGHT, WIDTH

COLOURS = (ORANGE, BLUE, "#a58b5f", "#7b9e3f")  #: of the takes, in their order
LEFT, RIGHT, TOP, FOOT = 218, 64, 132, 44  #: pixels around everything
PAGE, NARROW, GAP = 1600, 860, 8  #: pixels of the page's width, at least, and between pictures
LARGEST = 5  #: pixels for one of a take, as in the video: few clips are not blown up
CURVE, ABOVE = 170, 56  #: pixels of the height of two takes' curve, and from the pictures to it
MORE = 40  #: pixels for each further take
NAME = 25.5  #: pixels of a line of a name beside the curve
COLUMNS = 6
SVI = 1  #: the take that is drawn over the others


def write(path: Path, truth: Sequence[Tensor] | None, takes: Sequence[Take],
          drift: Drift) -> None:
    draw(truth, takes, drift).save(path)


def draw(truth: Sequence[Tensor] | None, takes: Sequence[Take], drift: Drift) -> Page:
    """`truth`: the clips as they should be, if that is known."""
    rows = [("as it should be", INK, joined(truth, takes[SVI].variant))] if truth else []
    rows += [(take.name, colour, take.video) for take, colour in zip(takes, COLOURS, strict=False)]
    clips = len(takes[0].clips)
    chosen = columns(clips)
    # of the videos, not of their clips: these share one frame or five, so the same frame of a clip
    # is at another time in each
    shortest = min(video.shape[1] for _, _, video in rows)
    # backwards: a single one is the last, for all begin with the same image
    shown = np.linspace(shortest - 1, 0, len(chosen)).round().astype(int).tolist()[::-1]
    wide = min((PAGE - LEFT - RIGHT) / len(chosen), LARGEST * WIDTH + GAP)
    tall = (wide - GAP) * HEIGHT / WIDTH + GAP
    width = max(LEFT + wide * len(chosen) + RIGHT, NARROW)
    title = textwrap.fill(verdict(takes[:2], drift), int(width / 16))
    down, curve = 32 * title.count("\n"), CURVE + MORE * (len(takes) - 2)
    top = TOP + down
    page = Page(width, top + tall * len(rows) + ABOVE + curve + 2 * FOOT)
    page.text(24, 22, title, fontsize=19, weight="bold", color=INK, va="top")
    made = f", {clips} clips, each from the end of the one before" if clips > 1 else ""
    prompts = textwrap.shorten(f"One image{made}: {_quoted(takes[-1].prompts)}",
                               int(150 * width / PAGE), placeholder=" …")
    page.text(24, 62 + down, prompts, fontsize=14, color=FAINT, va="top")
    page.text(24, page.height - 20, "Made by the demo model.", fontsize=12.5, color=FAINT,
              va="bottom")
    for column, at in enumerate(shown):
        page.text(LEFT + column * wide + (wide - GAP) / 2, top - 8, f"after {at / FPS:.0f} s",
                  fontsize=12.5, color=FAINT, ha="center", va="bottom")
    for row, (name, colour, video) in enumerate(rows):
        y = top + row * tall
        page.text(LEFT - 18, y + (tall - GAP) / 2, textwrap.fill(name, 16), fontsize=15,
                  weight="bold", color=colour, ha="right", va="center")
        for column, picture in enumerate(pictures(video[:, shown])):
            page.picture(LEFT + column * wide, y, wide - GAP, tall - GAP, picture)
    y = top + tall * len(rows) + ABOVE
    names = [textwrap.fill(take.name, int((wide / 2 + RIGHT) / 14)) for take in takes]
    _curve(page.axes(LEFT, y, wide * len(chosen) - GAP, curve), curve, drift, names, chosen)
    return page


def columns(clips: int) -> list[int]:
    """The clips, counted from 0, to show: all, or some evenly with the first and the last."""
    return sorted({round(at) for at in np.linspace(0, clips - 1, min(COLUMNS, clips))})


def _curve(axes: Axes, height: float, drift: Drift, names: Sequence[str], chosen: Sequence[int]
           ) -> None:
    """Each clip is under its picture: the first and the last are half a picture from the edges.
    `names`: of the takes, at the ends of their curves; `height` of the axes in pixels."""
    clips = len(drift.values[0])
    margin = 0.5 * (clips - 1) / (len(chosen) - 1) if len(chosen) > 1 else 0.5
    highest = max(1.08 * np.max(drift.values), 2 * NOTICED)
    axes.axhline(NOTICED, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate("just noticeable", (1 - margin, NOTICED), xytext=(6, 5), color=FAINT,
                  textcoords="offset points", fontsize=12.5)
    for number, (values, colour) in enumerate(zip(drift.values, COLOURS, strict=False)):
        axes.plot(range(1, clips + 1), values, "o-", color=colour, markersize=6, linewidth=2,
                  clip_on=False, zorder=4 if number == SVI else 3)
    ends = sorted(zip((values[-1] for values in drift.values), names, COLOURS, strict=False))
    # the highest may have two lines, and the title of a narrow curve is above it
    line = NAME / height * highest
    places = _apart([max(end, line / 2) for end, _, _ in ends],
                    [line * max(2, name.count("\n") + 1) for _, name, _ in ends], 0.87 * highest)
    for place, (_, name, colour) in zip(places, ends, strict=True):
        axes.annotate(name, (clips, place), xytext=(12, 0), textcoords="offset points",
                      fontsize=13, weight="bold", color=colour, va="center", annotation_clip=False,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set(xlim=(1 - margin, clips + margin), ylim=(0, highest))
    axes.set_xticks([clip + 1 for clip in chosen], [f"clip {clip + 1}" for clip in chosen])
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelsize=12.5, length=3, color=LINE, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.set_title(f"How far the colours of {drift.what} are off, Lab units", fontsize=15,
                   loc="left", color=INK, pad=12)


def _apart(wanted: Sequence[float], tall: Sequence[float], highest: float) -> list[float]:
    """Rising numbers near the wanted ones and at most `highest`. Things around them that are so
    `tall` do not overlap."""
    least = [0.0, *((one + other) / 2 for one, other in zip(tall, tall[1:], strict=False))]
    places: list[float] = []
    for value, apart in zip(wanted, least, strict=True):
        places.append(max(value, places[-1] + apart) if places else value)
    most = highest
    for at in reversed(range(len(places))):
        places[at] = min(places[at], most)
        most = places[at] - least[at]
    return places


def _quoted(prompts: Sequence[str]) -> str:
    return ", then ".join(f"“{prompt}”" for prompt, _ in groupby(prompts))
