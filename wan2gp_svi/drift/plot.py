"""The drift report as one picture: the verdict, frames of three clips, a curve per change."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .. import text
from .analysis import Report, shown
from .metrics import Pictures
from .verdict import Curve, name, named, parts, place, seen

INK, FAINT, LINE, PAPER = "#222222", "#666666", "#b0b0b0", "#edf1f5"
BLUE, ORANGE = "#1f6fb2", "#bf5f00"  #: of what goes unnoticed, and of what is visible
WIDTH, MARGIN, GAP = 1200, 40, 16  #: pixels of the page, around everything, between frames
TALLEST = 250  #: pixels that a frame may be high
COLUMNS, CURVE, HEAD, FOOT = 3, 150, 98, 46  #: curves in a row; pixels of a curve, above, below
TICKS = 66  #: pixels for the numbers at the left of a curve
NUMBERED = 12  #: clips up to which each has its number on the axis


class Page:
    """A figure that is laid out in pixels from its upper left corner."""

    DPI = 100

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / self.DPI, height / self.DPI), facecolor="white")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        return self.figure.add_axes((x / self.width, 1 - (y + height) / self.height,
                                     width / self.width, height / self.height))

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, words, parse_math=False, **style)

    def picture(self, x: float, y: float, width: float, height: float, picture: Pictures) -> None:
        axes = self.axes(x, y, width, height)
        axes.imshow(picture, aspect="auto", interpolation="bicubic")
        axes.set_axis_off()

    def save(self, path: Path) -> None:
        with warnings.catch_warnings():
            # a name or a prompt may be in any script
            warnings.filterwarnings("ignore", "Glyph .* missing")
            self.figure.savefig(path, format="png", dpi=self.DPI)


def write_png(report: Report, path: Path) -> None:
    draw(report).save(path)


def draw(report: Report) -> Page:
    headline, *others = parts(report)
    title = textwrap.fill(headline, 76)
    notes = [f"Note: {note}." for note in report.notes]
    rest = "\n".join(textwrap.fill(line, 116) for line in [*others, *notes])
    shape, pictures = report.width / report.height, chosen_pictures(report)
    column = (WIDTH - 2 * MARGIN + GAP) / max(COLUMNS, len(pictures))
    tall = min((column - GAP) / shape, TALLEST)
    under = 90 + 30 * title.count("\n")
    top = under + (25 * rest.count("\n") + 38 if rest else 0)
    below, rows = top + 32 + tall, -(-len(report.curves) // COLUMNS)
    page = Page(WIDTH, below + rows * (HEAD + CURVE + FOOT) + GAP)
    page.text(MARGIN, 20, _about(report), fontsize=11, color=FAINT, va="top")
    page.text(MARGIN, 48, title, fontsize=18, weight="bold", color=INK, va="top")
    page.text(MARGIN, under, rest, fontsize=13, color=INK, va="top", linespacing=1.3)
    for at, (label, picture) in enumerate(pictures):
        x = MARGIN + at * column
        page.text(x, top + 14, label, fontsize=13, weight="bold", color=INK, va="center")
        page.picture(x, top + 32, tall * shape, tall, picture)
    column = (WIDTH - 2 * MARGIN + GAP) / COLUMNS
    for at, curve in enumerate(report.curves):
        x, y = MARGIN + at % COLUMNS * column, below + at // COLUMNS * (HEAD + CURVE + FOOT)
        title = f"Worst: {curve.name.lower()}" if curve.visible and not at else curve.name
        strong, weak = (ORANGE, ORANGE) if curve.visible else (INK, FAINT)
        page.text(x, y + 32, title, fontsize=14, weight="bold", color=strong, va="center")
        page.text(x, y + 57, seen(report, curve), fontsize=12, color=weak, va="center")
        grey = "no visible change" if curve.frozen else "not visible"
        page.text(x, y + 79, f"grey: {grey}, {_limits(curve)}", fontsize=10, color=FAINT,
                  va="center")
        _curve(report, page.axes(x + TICKS, y + HEAD, column - GAP - TICKS, CURVE), curve)
    return page


def _about(report: Report) -> str:
    seconds = f", {text.duration(len(report.frames) / report.fps)}" if report.fps else ""
    clips = f", {text.count(len(report.clips), 'clip')}" if report.layout.seams else ""
    return (f"Drift report of {text.cut(report.video.name, 90)}: {report.width}x{report.height}, "
            f"{len(report.frames)} frames{seconds}{clips}")


def chosen_pictures(report: Report) -> list[tuple[str, Pictures]]:
    """The user's image, and the middle frame of the first, the middle and the last clip, or of
    those that the headline names."""
    image = report.reference_picture
    whose = "your" if report.layout.seams else "the"  # that of a video which continues another one
    found = [] if image is None else [(f"{whose} image", image)]
    for clip, frame in shown([clip.frames for clip in report.clips], named(report)):
        _, nearest = min((abs(at - frame), at) for at in report.pictures)  # if the file is broken
        found.append((name(report, clip), report.pictures[nearest]))
    return found


def _curve(report: Report, axes: Axes, curve: Curve) -> None:
    visible, values = set(curve.visible), np.array(curve.values)
    low, high = curve.limits
    axes.axhspan(low, high, color=PAPER, zorder=0)
    axes.axhline(0, color=LINE, linewidth=1, zorder=1)
    colours = [ORANGE if at in visible else BLUE for at in range(len(values))]
    x = np.arange(1, len(values) + 1)
    if curve.at_seams:
        axes.bar(x + 0.5, values, 0.5, color=colours, zorder=2)
    else:
        axes.plot(x, values, color=LINE, linewidth=1.5, zorder=2)
        axes.scatter(x, values, 30 if len(values) <= 30 else 10, colours, zorder=3)
    axes.set_ylim(min(1.4 * low, 1.15 * min(values, default=0)) if curve.below else 0,
                  max(1.4 * high, 1.15 * max(values, default=0)))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda value, _: _number(curve, value))
    clips = range(0, len(report.clips), -(-len(report.clips) // NUMBERED))
    if len(report.clips) > 1:
        places = [place(report, clip) for clip in clips]
        axes.set_xticks([clip + 1 for clip in clips], [str(number) for _, number in places])
        axes.set_xlabel(places[0][0], fontsize=11, color=FAINT)
        axes.set_xlim(0.5, len(report.clips) + 0.5)
    else:
        axes.set_xticks([1, 2], ["start", "end"])
    axes.tick_params(labelsize=11, length=3, color=LINE, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)


def _limits(curve: Curve) -> str:
    low, high = (_number(curve, limit) for limit in curve.limits)
    unit = "" if curve.unit == "%" else f" {curve.unit}"
    return f"{low} to {high}{unit}" if curve.below else f"up to {high}{unit}"


def _number(curve: Curve, value: float) -> str:
    return f"{value:+g} %" if curve.unit == "%" and value else f"{value:g}"
