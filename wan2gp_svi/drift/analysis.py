"""The drift report of a video: what its frames measure, clip by clip and seam by seam, and a sentence on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .layout import DriftError, Layout, of_settings
from .metrics import NAMES, REPEATED, FrameMetrics, Pictures, mean_lab, measure
from .trends import Trend, change, trend
from .verdict import sentence
from .video import probe, read, read_image

NEIGHBOURS = 8  #: frames on either side of a seam that say what is usual there
STRIP = 10  #: clips that are shown in pictures


# ------------------------------------------------------------------------------------------------------ clips and seams


@dataclass(frozen=True)
class ClipMetrics:
    """A clip: its frames, the medians of their metrics, and how many of them repeat the frame before. Its first frame's
    motion is the seam's and not counted here. Frozen: more than half of the frames are repeats."""

    number: int  # from 1, as people count
    frames: range
    median: FrameMetrics
    repeated: int

    @property
    def frozen(self) -> bool:
        return self.repeated > (len(self.frames) - 1) / 2


@dataclass(frozen=True)
class Step:
    """A step across a seam beside the usual one: the median of the 8 steps on either side."""

    across: float
    usual: float
    least: float

    @property
    def jump(self) -> float:
        """across / usual. What is usual counts as half a level at least (Lab: as much of 100 as that is of 255), the
        size of a repeated frame, for a step that no 8-bit picture shows is no jump, however still the scene."""
        return self.across / max(self.usual, self.least)


@dataclass(frozen=True)
class Seam:
    """A seam between clip `number` and the next; `frame` is the first of the new clip.

    `pixels` mean absolute difference of the frames, `luma` difference of the mean Y (levels), `colour` CIE76 difference
    of the mean Lab colours.
    """

    number: int
    frame: int
    pixels: Step
    luma: Step
    colour: Step

    @property
    def name(self) -> str:
        return f"{self.number}->{self.number + 1}"

    @property
    def repeated(self) -> bool:
        return self.pixels.across < REPEATED


def clip_metrics(number: int, span: range, rows: Sequence[FrameMetrics]) -> ClipMetrics:
    """`rows` are those of the whole video."""
    inside = rows[span.start : span.stop]
    steps = [row.motion for row in inside[1:] if row.motion is not None]
    values = {name: [getattr(row, name) for row in inside] for name in NAMES if name != "motion"}
    median = FrameMetrics(**{name: float(np.median(column)) for name, column in values.items()},
                          motion=float(np.median(steps)) if steps else None)
    return ClipMetrics(number, span, median, sum(step < REPEATED for step in steps))


def seam(number: int, frame: int, rows: Sequence[FrameMetrics]) -> Seam:
    """The seam before `frame`; `rows` are those of the whole video."""
    near = range(max(1, frame - NEIGHBOURS), min(len(rows), frame + NEIGHBOURS + 1))
    colours = np.array([(row.lightness, row.a, row.b) for row in rows[near.start - 1 : near.stop]])
    lumas = np.array([row.luma for row in rows[near.start - 1 : near.stop]])
    steps = {
        "pixels": (np.array([rows[at].motion for at in near], dtype=float), REPEATED),
        "luma": (np.abs(np.diff(lumas)), REPEATED),
        "colour": (np.linalg.norm(np.diff(colours, axis=0), axis=1), REPEATED / 255 * 100),
    }
    at = frame - near.start
    return Seam(number, frame, **{
        kind: Step(float(values[at]), float(np.median(np.delete(values, at))) if len(values) > 1 else 0.0, least)
        for kind, (values, least) in steps.items()
    })


# --------------------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Report:
    """All that was measured. `pictures` are small frames by number, for the plot; `reference` names what `cast` is a
    difference to."""

    video: Path
    width: int
    height: int
    fps: float
    layout: Layout
    reference: str
    frames: tuple[FrameMetrics, ...]
    clips: tuple[ClipMetrics, ...]
    seams: tuple[Seam, ...]
    notes: tuple[str, ...] = ()
    pictures: dict[int, Pictures] = field(default_factory=dict, repr=False, compare=False)
    reference_picture: Pictures | None = field(default=None, repr=False, compare=False)

    def column(self, name: str) -> list[float]:
        """A metric of all frames; the first has no motion and is left out there."""
        return [value for row in self.frames if (value := getattr(row, name)) is not None]

    def medians(self, name: str) -> list[float]:
        """A metric of all clips; a clip of a single frame has no motion and is left out there."""
        return [value for clip in self.clips if (value := getattr(clip.median, name)) is not None]

    def trend(self, name: str) -> Trend | None:
        return trend(self.medians(name))

    def change(self, name: str) -> float:
        return change(self.column(name))

    @property
    def verdict(self) -> str:
        """What the numbers say, in a sentence."""
        return sentence(self)


def report(
    video: Path | str, reference: Path | str | Pictures | None = None, clips: Layout | str | None = None
) -> Report:
    """Measures a video, 16 frames at a time.

    `reference`  the user's image, a file or uint8 [H, W, 3]; without one the first frame of the video
    `clips`      a Layout or what `Layout.parse` reads; without one, what WanGP wrote into the video

    Raises DriftError for what the user can fix.
    """
    given = Layout.parse(clips) if isinstance(clips, str) else clips
    source = probe(Path(video))
    picture = None if reference is None else read_image(reference, source)
    layout = given or of_settings(source.settings, source.frames)
    spans = layout.spans(source.frames)
    wanted = {frame for clip in shown(spans) for frame in ends(spans[clip])} if source.frames else set()
    rows: list[FrameMetrics] = []
    pictures: dict[int, Pictures] = {}
    anchor = None if picture is None else mean_lab(picture[None])[0]
    before: Pictures | None = None
    for chunk in read(source.path):
        anchor = mean_lab(chunk[:1])[0] if anchor is None else anchor
        pictures |= {len(rows) + at: one.copy() for at, one in enumerate(chunk) if len(rows) + at in wanted}
        rows += measure(chunk, anchor, before)
        before = chunk[-1].copy()  # a copy, which lets go of the chunk
    if len(rows) < 2:
        raise DriftError(f"{source.path} is no video: it has {len(rows)} frame{'' if rows else 's'}.")
    if given and len(rows) < given.size - given.overlap * given.keep_new:
        raise DriftError(f"{source.path.name} has {len(rows)} frames and is shorter than a clip of {given.size}.")
    notes = []
    if len(rows) != source.frames:  # a broken file
        notes.append(f"the file announces {source.frames} frames, and {len(rows)} could be read")
        layout = given or of_settings(source.settings, len(rows))
        pictures[len(rows) - 1] = before
    spans = layout.spans(len(rows))
    if given and len(rows) not in (whole := layout.length(len(spans)), whole - layout.overlap * layout.keep_new):
        notes.append(f"{len(rows)} frames are no whole clips of {layout.size}: the last one has {len(spans[-1])}")
    clips_ = tuple(clip_metrics(number, span, rows) for number, span in enumerate(spans, 1))
    seams = tuple(seam(number, span.start, rows) for number, span in enumerate(spans[1:], 1) if layout.seams)
    called = "the first frame" if picture is None else "the image"
    return Report(source.path, source.width, source.height, source.fps, layout, called, tuple(rows), clips_, seams,
                  tuple(notes), pictures, picture)


def shown(spans: Sequence[range]) -> list[int]:
    """The clips, counted from 0, whose pictures are shown: all, or `STRIP` of them evenly with the first and last."""
    return sorted({round(at) for at in np.linspace(0, len(spans) - 1, min(STRIP, len(spans)))})


def ends(span: range) -> tuple[int, int, int]:
    """The first, middle and last frame of a clip."""
    return span[0], span[len(span) // 2], span[-1]
