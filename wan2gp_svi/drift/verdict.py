"""The verdict: what a viewer sees change over the clips, the worst first, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import text
from ..variants import VARIANTS
from .metrics import REPEATED, Floats
from .trends import ends, trend

if TYPE_CHECKING:
    from .analysis import Report

CLEAR = 3.5  #: Lab units; anybody sees a difference this large (Mokrzycki and Tatol 2011)
NOTICED = 2.3  #: Lab units; just noticed side by side, as frames at a seam are (Mahy et al. 1994)
CONTRAST = 10.0  #: per cent; ours: clips of a demo model that holds differ by 1 %
HALVED, DOUBLED = -50.0, 100.0  #: per cent; ours: sharpness and motion change with the content
JUMP = 3.0  #: times the usual step; PySceneDetect's AdaptiveDetector calls that a cut
WHOLE, HALF = 0.9, 0.6  #: shares of a clip from which it counts as whole, up to which as half
LISTED = 3  #: clips that a sentence names one by one


@dataclass(frozen=True)
class Curve:
    """Something that a viewer can see change over the clips.

    `values`  the change since the first clip, or since the storyboard asks for another picture, one
              per clip; `at_seams`: one jump per seam, none at a cut that was asked for
    `limits`  the lowest and the highest value that goes unnoticed
    `below`, `above`  what a viewer sees beyond them; `detail` says how much of it
    `frozen`  which values are of clips that stand still, which is visible whatever the value
    """

    name: str
    unit: str
    limits: tuple[float, float]
    values: tuple[float, ...]
    below: str
    above: str
    detail: str = ""
    at_seams: bool = False
    frozen: tuple[int, ...] = ()

    @property
    def times(self) -> list[float]:
        """The values as multiples of their limit."""
        return [value / self.limits[value > 0] for value in self.values]

    @property
    def visible(self) -> list[int]:
        """Which values are beyond the limits or of a frozen clip, counted from 0."""
        return [at for at, times in enumerate(self.times) if times > 1 or at in self.frozen]

    @property
    def steady(self) -> bool:
        """Whether the values leave zero more regularly than by chance."""
        found = trend(self.values)
        return found is not None and found.word == ("rises" if self.values[-1] > 0 else "falls")


# --------------------------------------------------------------------------------------- curves


def curves(report: Report) -> list[Curve]:
    """What a viewer can see change, the worst first: frozen clips, or else what changes most."""
    lab = np.stack([_series(report, name) for name in ("lightness", "a", "b")], 1)
    since = _since(report, len(lab))
    change = lab - lab[since]
    shift = np.linalg.norm(change, axis=1)
    chroma = _series(report, "saturation")
    frozen = _frozen(report)
    if frozen and len(report.clips) == 1:
        frozen = [0, 1]  # the start and the end
    found = [
        Curve("Colour shift", "Lab units", (-CLEAR, CLEAR), tuple(shift.tolist()), "",
              "colours shift", f"the picture gets {_shade(change[np.argmax(shift)])}"),
        Curve("Saturation", "Lab units", (-CLEAR, CLEAR), tuple((chroma - chroma[since]).tolist()),
              "colours fade", "colours intensify"),
        _relative(report, "contrast", -CONTRAST, CONTRAST, "contrast falls", "contrast rises"),
        _relative(report, "sharpness", HALVED, DOUBLED, "the picture softens",
                  "the picture sharpens"),
        replace(_relative(report, "motion", HALVED, DOUBLED, "motion dies down",
                          "motion picks up"), frozen=tuple(frozen)),
    ]
    if report.seams:
        jumps = [0.0 if seam.number in report.layout.cuts else
                 max(seam.pixels.jump, min(seam.colour.jump, JUMP * seam.colour.across / NOTICED))
                 for seam in report.seams]
        found.append(Curve("Jumps where clips meet", "times the usual step", (-JUMP, JUMP),
                           tuple(jumps), "", "the picture jumps", at_seams=True))
    return sorted(found, key=lambda curve: (bool(curve.frozen), max(curve.times, default=0)),
                  reverse=True)


def _frozen(report: Report) -> list[int]:
    return [at for at, clip in enumerate(report.clips) if clip.frozen]


def _series(report: Report, name: str) -> Floats:
    """The medians of the clips; of a single clip its start and its end."""
    return np.array(report.medians(name) if len(report.clips) > 1 else ends(report.column(name)))


def _since(report: Report, many: int) -> list[int]:
    """Which value each of so many is compared with."""
    return [report.layout.first(at) if many == len(report.clips) else 0 for at in range(many)]


def _relative(report: Report, name: str, low: float, high: float, below: str, above: str) -> Curve:
    values = _series(report, name) + REPEATED  # so that next to nothing does not count as a change
    change = 100 * (values / values[_since(report, len(values))] - 1)
    found = Curve(name.capitalize(), "%", (low, high), tuple(change.tolist()), below, above)
    return replace(found, detail=_most(found)) if found.values else found


def _most(curve: Curve) -> str:
    """The worst value, with as many decimals as tell it from the limit that it is beyond."""
    most = curve.values[int(np.argmax(curve.times))]
    limit = abs(curve.limits[most > 0])
    decimals = next((n for n in range(6) if abs(round(most, n)) > limit), 0)
    return f"{most:+.{decimals}f} %"


def _shade(change: Floats) -> str:
    """The parts of a change of L*, a* and b* that are at least half as large as the largest."""
    large = np.abs(change) >= np.abs(change).max() / 2
    light, red, yellow = (int(way) for way in np.sign(change) * large)
    words = (["", "warmer", "cooler"][red], "") if red == yellow else (
        ["", "redder", "greener"][red], ["", "yellower", "bluer"][yellow])
    return " and ".join(filter(None, [*words, ["", "brighter", "darker"][light]]))


# ---------------------------------------------------------------------------------------- words


def parts(report: Report) -> list[str]:
    """The verdict in up to three sentences: the worst, what else is visible, what to do."""
    told = list(_told(report))
    if not told:
        length = (text.count(len(report.clips), "clip") if report.layout.seams else
                  text.count(len(report.frames), "frame"))
        seams = ", and no seam shows" if report.seams else ""
        return [f"No visible drift over {length}: colours, contrast, sharpness and motion hold"
                f"{seams}."]
    also = [f"Also: {'; '.join(brief for _, brief in told[1:])}."] if told[1:] else []
    advice = _advice(report)
    if asked := _asked(report):
        advice = [f"{asked}, which may be why. {advice[0]}"]
    return [f"{text.sentence(told[0][0])}.", *also, *advice]


def _told(report: Report) -> Iterator[tuple[str, str]]:
    """What is visible, the worst first: in full and in brief."""
    if _frozen(report):
        yield (_stands_still(report),) * 2
    for curve in report.curves:
        if curve.visible and not curve.frozen:
            what = curve.above if curve.values[np.argmax(curve.times)] > 0 else curve.below
            steady = curve.steady and not curve.at_seams and not report.layout.restarts
            how = "steadily, visibly" if steady else "visibly"
            detail = curve.detail and f": {curve.detail}"
            yield f"{what} {how} {where(report, curve)}{detail}", f"{what} {where(report, curve)}"
    twice = sum(seam.repeated and seam.pixels.usual >= REPEATED for seam in report.seams)
    if twice:
        yield (f"a frame is shown twice at {_of(twice, len(report.seams))}",) * 2


def _stands_still(report: Report) -> str:
    """What a viewer sees of frozen clips, and how much of them stands still."""
    frozen = _frozen(report)
    every = len(frozen) == len(report.clips)
    least, most = (pick(report.clips[at].still for at in frozen) for pick in (min, max))
    if least >= WHOLE:
        drifts = any(curve.visible and not curve.frozen for curve in report.curves)
        return (f"the picture freezes {_in(report, frozen)}" if not every else
                "nothing moves in the video" if drifts else
                "nothing moves in the video, so the lack of drift means nothing")
    share = "most" if least >= HALF else "half" if most < HALF else "half or more"
    there = "in the video" if every else _in(report, frozen)
    of = there[3:] if every or there.startswith("in clip") else f"the time {there}"
    return f"the picture stands still for {share} of {of}"


def seen(report: Report, curve: Curve) -> str:
    """Whether and where a curve is visible: `visible in clip 2`, `frozen in clip 2`."""
    if not curve.frozen:
        return f"visible {where(report, curve)}" if curve.visible else "not visible"
    whole = all(clip.still >= WHOLE for clip in report.clips if clip.frozen)
    how = ("still or changed" if len(curve.visible) > len(curve.frozen) else
           "frozen" if whole else "partly still")
    return how if len(report.clips) == 1 else f"{how} {where(report, curve)}"


def named(report: Report) -> list[int]:
    """The clips that the headline names, counted from 0."""
    curve = report.curves[0]
    clips = list(curve.frozen) or curve.visible
    if curve.at_seams:
        return [clips[0], clips[0] + 1] if len(clips) == 1 else []
    if len(report.clips) == 1 or len(curve.frozen) == len(report.clips):
        return []
    if not curve.frozen and _lasts(curve):
        return clips[:1]
    return clips if len(clips) <= LISTED else []


def _lasts(curve: Curve) -> bool:
    """Whether it is visible in several values up to the last one."""
    visible, many = curve.visible, len(curve.values)
    return len(visible) > 1 and visible == list(range(visible[0], many))


def where(report: Report, curve: Curve) -> str:
    """Where a curve is visible: `from clip 6 on`, `in clips 2 and 4`, `between clips 4 and 5`."""
    visible, many = curve.visible, len(curve.values)
    if curve.at_seams:
        return f"at {_of(len(visible), many)}" if len(visible) > 1 else (
            f"between clips {visible[0] + 1} and {visible[0] + 2}")
    if len(report.clips) == 1:
        return "by the end"
    if _lasts(curve):
        return f"from {name(report, visible[0])} on"
    return _in(report, visible)


def _in(report: Report, clips: Sequence[int]) -> str:
    if len(clips) > LISTED:
        return f"in {len(clips)} of {len(report.clips)} {report.layout.noun}s"
    *most, last = (name(report, clip).removeprefix("clip ") for clip in clips)
    listed = f"{', '.join(most)} and {last}" if most else last
    return f"in {text.plural(len(clips), 'clip')} {listed}" if report.layout.seams else (
        f"at {listed}")


def _of(number: int, seams: int) -> str:
    return f"all {seams} seams" if number == seams > 1 else (
        f"{number} of {text.count(seams, 'seam')}")


def name(report: Report, clip: int) -> str:
    """`clip 6`; where clips are not known, when it begins: `25 s`."""
    noun, number = place(report, clip)
    return f"{number} s" if noun == "second" else f"{noun} {number}"


def place(report: Report, clip: int) -> tuple[str, int]:
    """What this report counts, and where the clip is in it: clip 6, second 25, frame 405."""
    first = report.clips[clip].frames.start
    if report.layout.seams:
        return "clip", clip + 1
    return ("second", round(first / report.fps)) if report.fps else ("frame", first)


def _asked(report: Report) -> str:
    """What the user asked of the clip with which the worst begins: another prompt; else ""."""
    worst = report.curves[0]
    clip = worst.visible[0] + worst.at_seams if worst.visible else 0
    return f"Clip {clip + 1} has another prompt" if clip in report.layout.prompted else ""


def _advice(report: Report) -> list[str]:
    """What to do about the worst, as the guide's troubleshooting has it."""
    variant, worst = report.layout.variant, report.curves[0]
    if worst.visible and worst.name == "Motion":
        return ["Say in the prompt what moves. If you use an accelerator, halve its strength, or "
                "leave it out."]
    if variant is None:
        return ["If SVI did not make this video, try an SVI profile."]
    if not worst.visible:
        return []
    if worst.at_seams:
        return [f"Redo the run from clip {worst.visible[0] + 2} with another seed."]
    if not variant.ref_pad_num:
        return [f"{variant.title} sees your image in clip 1 alone; for one scene, choose "
                f"{VARIANTS['shot'].title}."]
    return ["Try the default seed step, 480p, 16-bit weights, no VAE tiles and 50 steps."]
