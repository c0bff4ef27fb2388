"""The drift report as one picture: the verdict, the frames, a curve per metric, a bar per seam."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from .analysis import Report, Seam, ends, shown
from .metrics import METRICS, Pictures
from .verdict import per_clip

INK, FAINT, SEAM, FRAMES, CLIPS, SLOPE = "#222222", "#666666", "#b0b0b0", "#a9cbe8", "#1f6fb2", "#d9822b"
PANELS = ("luma", "contrast", "saturation", "cast", "sharpness", "grain", "bright", "motion")
KINDS = (("pixels", "pixels", CLIPS), ("luma", "brightness", SLOPE), ("colour", "mean colour", "#7b9e3f"))
HIGHEST = 10  #: times; bars of more are cut and say how high they are
LABELLED = 16  #: clips up to which every one has its number on the axis
WIDTH, GAP = 14.0, 0.25  #: inches; the gap sets the user's image apart


def write_png(report: Report, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a file's name may be in any script
        draw(report).savefig(path, format="png", dpi=110)


def draw(report: Report) -> Figure:
    columns, rows = _grid(report)  # of the strip
    picture = next(iter(report.pictures.values()))
    one = min((WIDTH - 0.6 - GAP) / columns, 2.6)  # inches that a frame is wide
    one = min(one, (2.2 if rows == 1 else 1.5) * picture.shape[1] / picture.shape[0])
    strip = rows * (one * picture.shape[0] / picture.shape[1] + 0.08) + 0.45
    looks, _, rest = report.verdict.partition("; ")  # motion begins a line, so that nobody misses it
    title = [line for part in (f"{looks};", rest) for line in textwrap.wrap(part, 122)]
    heights = [0.5 + 0.27 * len(title), strip, 5.2, 2.3 if report.seams else 0.01, 0.75]
    figure = Figure(figsize=(WIDTH, sum(heights)), facecolor="white")
    head, pictures, curves, seams, foot = figure.subfigures(5, 1, height_ratios=heights, hspace=0)
    name = f"Drift of {_short(report.video.name)}"
    head.text(0.02, 1 - 0.12 / heights[0], name, fontsize=11, color=FAINT, va="top", parse_math=False)
    head.text(0.02, 1 - 0.40 / heights[0], "\n".join(title), fontsize=13.5, weight="bold", color=INK, va="top",
              linespacing=1.25)
    _strip(report, pictures, columns, rows, one, strip)
    _curves(report, curves)
    if report.seams:
        _jumps(report, seams)
    foot.text(0.02, 0.92, "\n".join(_footer(report)), fontsize=8.5, color=FAINT, va="top", linespacing=1.4)
    return figure


# ------------------------------------------------------------------------------------------------------------- pictures


def _grid(report: Report) -> tuple[int, int]:
    """Columns and rows of the strip. Few clips lie in a row, more get three rows: first, middle, last."""
    clips = len(shown([clip.frames for clip in report.clips]))
    columns, rows = (3 * clips, 1) if clips <= 3 else (clips, 3)
    return columns + (report.reference_picture is not None), rows


def _strip(report: Report, figure: SubFigure, columns: int, rows: int, one: float, height: float) -> None:
    spans = [clip.frames for clip in report.clips]
    aside = report.reference_picture is not None
    tall = (height - 0.45) / rows
    left = 0.4

    def place(column: int, row: int, image: Pictures, label: str, edge: str | None = None) -> None:
        x = (left + column * one + (GAP if aside and column else 0)) / WIDTH
        axes = figure.add_axes((x, 1 - (0.3 + (row + 1) * tall) / height, (one - 0.06) / WIDTH, (tall - 0.08) / height))
        axes.imshow(image, aspect="auto", interpolation="antialiased")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(edge is not None)
        if edge:
            axes.spines[:].set(color=edge, linewidth=2)
        if label:
            axes.set_title(label, fontsize=9, color=INK, pad=3)

    if aside:
        place(0, 0, report.reference_picture, "the image", SLOPE)
    for column, clip in enumerate(shown(spans)):
        for row, (what, frame) in enumerate(zip(("first", "middle", "last"), ends(spans[clip]), strict=True)):
            image = report.pictures[min(report.pictures, key=lambda at, frame=frame: abs(at - frame))]
            if rows == 3:
                label = f"{report.layout.noun} {clip + 1}" if row == 0 else ""
                place(column + aside, row, image, label)
                if column == 0:
                    y = 1 - (0.3 + (row + 0.5) * tall) / height
                    x = (left + aside * (one + GAP) - 0.06) / WIDTH
                    figure.text(x, y, what, fontsize=9, color=INK, ha="right", va="center", rotation=90)
            else:
                label = f"{report.layout.noun} {clip + 1}, {what}" if len(spans) > 1 else f"{what}: frame {frame}"
                place(3 * column + row + aside, 0, image, label)


# --------------------------------------------------------------------------------------------------------------- curves


def _curves(report: Report, figure: SubFigure) -> None:
    edges = dict(left=0.045, right=0.985, top=0.9, bottom=0.1, hspace=0.55, wspace=0.2)
    grid = figure.subplots(2, 4, gridspec_kw=edges)
    for at, (axes, name) in enumerate(zip(grid.flat, PANELS, strict=True)):
        _panel(report, axes, name)
        if at >= 4:
            axes.set_xlabel(report.layout.noun, fontsize=9)


def _panel(report: Report, axes: Axes, name: str) -> None:
    title, names = f"{METRICS[name].title}, {METRICS[name].unit}", {name: CLIPS}
    if name == "bright":  # the one panel of two metrics
        title, names = "Clipped pixels, %", {"bright": CLIPS, "dark": INK}
    elif name == "cast":
        title = f"Colour cast to {report.reference}, Lab units"
    values: list[float] = []
    for each, colour in names.items():
        rows = np.array([np.nan if (value := getattr(row, each)) is None else value for row in report.frames])
        for seam in report.seams:  # what happens at a seam has a chart of its own
            if each == "motion":
                rows[seam.frame] = np.nan
        axes.plot(rows, color=FRAMES if colour == CLIPS else SEAM, linewidth=0.8)
        centres = [(clip.frames[0] + clip.frames[-1]) / 2 for clip in report.clips]
        medians = [np.nan if (value := getattr(clip.median, each)) is None else value for clip in report.clips]
        size = 5 if len(centres) <= LABELLED else 3
        label = {"bright": "light", "dark": "dark"}.get(each)
        axes.plot(centres, medians, "o", color=colour, markersize=size, label=label)
        trend = report.trend(each)
        if trend is not None and len(names) == 1:
            at = np.arange(len(medians)) - (len(medians) - 1) / 2
            middle = np.nanmedian(np.array(medians) - trend.slope * at)
            axes.plot(centres, middle + trend.slope * at, "--", color=SLOPE, linewidth=1.4)
        values += [*rows, *medians]
    _limits(axes, np.array(values))
    _clip_axis(report, axes)
    axes.set_title(title, fontsize=10, loc="left", color=INK, pad=17)
    if len(names) > 1:
        axes.legend(fontsize=8, frameon=False, loc="upper left", handletextpad=0.1)
    elif trend is not None:
        caption = f"{per_clip(report, name)} per {report.layout.noun}" + (f", {trend.word}" if trend.word else "")
        axes.text(0, 1.03, caption, transform=axes.transAxes, fontsize=9, color=SLOPE, va="bottom")


def _limits(axes: Axes, values: np.ndarray) -> None:
    """Nearly all values, and a tenth of the middle up and down at least, or noise would look like a slope."""
    low, high = np.nanpercentile(values, (0.5, 99.5))
    middle = (low + high) / 2
    half = max((high - low) / 2 * 1.15, 0.1 * abs(middle), 0.5)
    bottom = middle - half
    if low >= 0 and bottom < 0:
        bottom, half = -0.04 * half, half + (half - middle) / 2
    axes.set_ylim(bottom, max(middle + half, high * 1.02))


def _clip_axis(report: Report, axes: Axes) -> None:
    """Clips on the x axis, which counts frames, and a line at every seam."""
    n, many = len(report.frames), len(report.clips)
    for clip in report.clips[1:]:
        axes.axvline(clip.frames.start - 0.5, color=SEAM, linewidth=0.7 if many <= 25 else 0.35, zorder=0,
                     linestyle="-" if report.layout.seams else ":")
    every = 1 if many <= LABELLED else 5 if many <= 50 else 10 if many <= 100 else 20
    numbered = [clip for clip in report.clips if clip.number == 1 or clip.number % every == 0]
    axes.set_xticks([(clip.frames[0] + clip.frames[-1]) / 2 for clip in numbered], [clip.number for clip in numbered])
    axes.set_xlim(-0.5, n - 0.5)
    axes.tick_params(labelsize=8, length=2, color=SEAM)
    axes.spines[["top", "right"]].set_visible(False)


# ---------------------------------------------------------------------------------------------------------------- seams


def _jumps(report: Report, figure: SubFigure) -> None:
    axes = figure.subplots(gridspec_kw=dict(left=0.045, right=0.985, top=0.8, bottom=0.22))
    seams = report.seams
    highest = max(getattr(seam, kind).jump for seam in seams for kind, _, _ in KINDS)
    top = max(2.0, min(highest, HIGHEST) * 1.18)
    for at, (kind, name, colour) in enumerate(KINDS):
        jumps = [getattr(seam, kind).jump for seam in seams]
        x = np.arange(len(seams)) + (at - 1) * 0.26
        axes.bar(x, np.minimum(jumps, HIGHEST), 0.24, color=colour, label=name)
        for where, jump, seam in zip(x, jumps, seams, strict=True):
            if len(seams) <= 12 or jump > HIGHEST and jump == max(getattr(seam, other).jump for other, _, _ in KINDS):
                axes.text(where, min(jump, HIGHEST) + 0.02 * top, f"{jump:.1f}" if jump < 9.95 else f"{jump:.0f}",
                          fontsize=7.5, color=colour, ha="center", va="bottom")
    axes.axhline(1, color=INK, linewidth=1)
    axes.set(ylim=(0, top), xlim=(-0.6, max(len(seams), 4) - 0.4))
    every = 1 if len(seams) <= 20 else 5
    named = [at for at, seam in enumerate(seams) if seam.number == 1 or seam.number % every == 0]
    axes.set_xticks(named, [_seam_label(seams[at]) for at in named], fontsize=8)
    axes.tick_params(labelsize=8, length=2, color=SEAM)
    axes.spines[["top", "right"]].set_visible(False)
    usual = f"times what is usual in the 8 frames on either side (line: 1, as usual; bars end at {HIGHEST})"
    axes.set_title(f"Jump at each seam, {usual}", fontsize=10, loc="left", color=INK)
    axes.legend(fontsize=8.5, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98))


def _seam_label(seam: Seam) -> str:
    return f"{seam.name}\nframe twice" if seam.repeated else seam.name


# ----------------------------------------------------------------------------------------------------------------- text


def _footer(report: Report) -> Sequence[str]:
    seconds = f", {len(report.frames) / report.fps:.1f} s" if report.fps else ""
    origin = f"{report.layout.noun}s: {report.layout.origin}"
    if not report.layout.seams:
        origin = f"Sections of {report.layout.size} frames: {report.layout.origin}"
    line = f"{report.width}x{report.height}, {len(report.frames)} frames{seconds}. {_sentence(origin)}."
    notes = "".join(f" {_sentence(note)}." for note in report.notes)
    return [
        *textwrap.wrap(line + notes, 190),
        f"Thin curve: frames. Dots: median of each {report.layout.noun}. Dashed: Theil-Sen slope. Rises or falls: more "
        "regularly than chance does in 19 of 20 cases (Mann-Kendall). Axes span a tenth up and down at least.",
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _short(name: str, most: int = 110) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"
