"""The drift report of a video: what its frames measure, clip by clip and seam by seam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import text
from .layout import DriftError, Layout, of_settings, reference_of
from .metrics import NAMES, REPEATED, FrameMetrics, Pictures, mean_lab, measure
from .verdict import Curve, curves, named, parts
from .video import Source, probe, read, read_image

FIRST_FRAME = "the first frame"  #: a report's reference, where there is no image
NEIGHBOURS = 8  #: steps on either side of a seam that say what is usual there: half a second


# ------------------------------------------------------------------------------ clips and seams


@dataclass(frozen=True)
class ClipMetrics:
    """The medians of a clip's frames, and how many frames repeat the one before.

    The motion of its first frame belongs to the seam and is left out.
    """

    number: int  # from 1, as people count
    frames: range
    median: FrameMetrics
    repeated: int

    @property
    def still(self) -> float:
        """The share of the frames that are repeats."""
        return self.repeated / max(1, len(self.frames) - 1)

    @property
    def frozen(self) -> bool:
        """Whether more than half of the frames are repeats."""
        return self.still > 0.5


@dataclass(frozen=True)
class Step:
    """A step across a seam, and the usual one: the median of the 8 steps on either side."""

    across: float
    usual: float
    least: float

    @property
    def jump(self) -> float:
        """across / usual. The usual step counts as half a level at least (in Lab, as that share of
        100): an 8-bit picture cannot show a smaller one, however still the scene."""
        return self.across / max(self.usual, self.least)


@dataclass(frozen=True)
class Seam:
    """The seam between clip `number` and the next; `frame` is the first of the new clip.

    `pixels` mean absolute difference of the frames, `luma` difference of the mean Y (levels),
    `colour` CIE76 difference of the mean Lab colours.
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
    around = rows[near.start - 1 : near.stop]
    colours = np.array([(row.lightness, row.a, row.b) for row in around])
    at = frame - near.start

    def step(steps: np.ndarray, least: float = REPEATED) -> Step:
        usual = float(np.median(np.delete(steps, at))) if len(steps) > 1 else 0.0
        return Step(float(steps[at]), usual, least)

    return Seam(number, frame, pixels=step(np.array([row.motion for row in around[1:]], float)),
                luma=step(np.abs(np.diff([row.luma for row in around]))),
                colour=step(np.linalg.norm(np.diff(colours, axis=0), axis=1), REPEATED / 255 * 100))


# --------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Report:
    """All that was measured. `reference` names what `cast` is a difference to; `pictures` are
    small frames by number, for the plot."""

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
        """A metric of all frames; the first frame has no motion and is left out there."""
        return [value for row in self.frames if (value := getattr(row, name)) is not None]

    def medians(self, name: str) -> list[float]:
        """A metric of all clips; a clip of a single frame has no motion and is left out there."""
        return [value for clip in self.clips if (value := getattr(clip.median, name)) is not None]

    @property
    def curves(self) -> list[Curve]:
        """What a viewer sees change, the worst first."""
        return curves(self)

    @property
    def verdict(self) -> str:
        """What a viewer sees, the worst first, and what to do about it."""
        return " ".join(parts(self))


def report(video: Path | str, reference: Path | str | Pictures | None = None,
           clips: Layout | str | None = None) -> Report:
    """Measures a video, 16 frames at a time.

    `reference`  the user's image, a file or uint8 [H, W, 3]; default: that of the run that made
                 the video, or else the first frame
    `clips`      a Layout or what `Layout.parse` reads; default: what WanGP wrote into the video

    Raises DriftError for what the user can fix.
    """
    given = Layout.parse(clips) if isinstance(clips, str) else clips
    source = probe(Path(video))
    if reference is None:
        reference = reference_of(source.path, source.settings)
    picture = None if reference is None else read_image(reference, source)
    layout = given or of_settings(source.settings, source.frames)
    wanted = {frame for _, frame in shown(layout.spans(max(1, source.frames)))}
    rows, pictures = _measured(source, picture, wanted)
    if len(rows) < 2:
        raise DriftError(f"{source.path} is no video: it has {text.count(len(rows), 'frame')}.")
    notes = []
    if len(rows) != source.frames:  # a broken file
        notes.append(f"the file announces {source.frames} frames, but only {len(rows)} can be read")
        layout = given or of_settings(source.settings, len(rows))
    if given:
        notes += _misfit(given, len(rows), source)
    notes += _wishes(layout)
    spans = layout.spans(len(rows))
    clips_ = tuple(clip_metrics(number, span, rows) for number, span in enumerate(spans, 1))
    seams = tuple(seam(number, span.start, rows) for number, span in enumerate(spans[1:], 1))
    found = Report(source.path, source.width, source.height, source.fps, layout,
                   FIRST_FRAME if picture is None else "the image", tuple(rows), clips_,
                   seams if layout.seams else (), tuple(notes), pictures, picture)
    late = {frame for _, frame in shown(spans, named(found))} - {*pictures}
    if late:  # which clips a headline names is known only now
        pictures |= _again(source, late)
    return found


def shown(spans: Sequence[range], named: Sequence[int] = ()) -> list[tuple[int, int]]:
    """The first, the middle and the last clip, counted from 0, each with its middle frame. Clips
    that the headline names take the place of the middle one, and of the last one if need be."""
    last = len(spans) - 1
    chosen = {0, len(spans) // 2, last}
    if not chosen.issuperset(named):
        chosen = {0, *named}
        chosen |= {last} if len(chosen) < 3 else set()
    return [(clip, spans[clip][len(spans[clip]) // 2]) for clip in sorted(chosen)]


def _again(source: Source, wanted: set[int]) -> dict[int, Pictures]:
    """Pictures of a video that was measured already."""
    pictures: dict[int, Pictures] = {}
    start = 0
    for chunk in read(source.path):
        pictures |= {at: one.copy() for at, one in enumerate(chunk, start) if at in wanted}
        start += len(chunk)
        if start > max(wanted):
            break
    return pictures


def _measured(source: Source, reference: Pictures | None, wanted: set[int]
              ) -> tuple[list[FrameMetrics], dict[int, Pictures]]:
    """The metrics of all frames, and pictures of those `wanted`; of a broken file also its last."""
    rows: list[FrameMetrics] = []
    pictures: dict[int, Pictures] = {}
    anchor = None if reference is None else mean_lab(reference[None])[0]
    before: Pictures | None = None
    for chunk in read(source.path):
        anchor = mean_lab(chunk[:1])[0] if anchor is None else anchor
        pictures |= {at: one.copy() for at, one in enumerate(chunk, len(rows)) if at in wanted}
        rows += measure(chunk, anchor, before)
        before = chunk[-1].copy()  # a copy, which lets go of the chunk
    if before is not None and len(rows) != source.frames:
        pictures[len(rows) - 1] = before
    return rows, pictures


def _wishes(layout: Layout) -> list[str]:
    """A note where the storyboard asked for another picture."""
    if not layout.restarts:
        return []
    clips = text.named(sorted(layout.restarts))
    return [f"the storyboard asks for another picture in {clips}, so the curves start again there"]


def _misfit(given: Layout, frames: int, source: Source) -> list[str]:
    """A note where the user's layout does not fit. DriftError where not even one clip does."""
    lost = given.overlap * given.keep_new  # frames that a clip gives up to the one after it
    if frames < given.size - lost:
        raise DriftError(f"{source.path.name} has {frames} frames and is shorter than a clip of "
                         f"{given.size}.")
    spans = given.spans(frames)
    whole = given.length(len(spans))
    return [] if frames in (whole, whole - lost) else [
        f"{frames} frames are not whole clips of {given.size}: the last clip has {len(spans[-1])}"]
