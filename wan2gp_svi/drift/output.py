"""A drift report as files: NAME.drift.png, .csv (a row per frame) and .json (everything else)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from .. import __version__, files
from . import plot
from .analysis import FIRST_FRAME, NEIGHBOURS, ClipMetrics, Report, Seam, Step
from .layout import DriftError
from .metrics import METRICS, NAMES, SHORT_SIDE
from .trends import ENDS, Trend, change, trend


def write(report: Report, folder: Path | None = None) -> tuple[Path, Path, Path]:
    """Writes the report into `folder`, or beside its video, and replaces an earlier one.

    All three are complete before the first one is put in its place. Raises DriftError, also where
    the earlier one knew the user's image, which is worth more than one that does not.
    """
    folder = report.video.parent if folder is None else folder
    earlier = files.read_json(folder / f"{report.video.stem}.drift.json")
    if (report.reference == FIRST_FRAME and isinstance(earlier, dict)
            and earlier.get("reference", FIRST_FRAME) != FIRST_FRAME):
        raise DriftError(
            f"{report.video.name} has a report that was measured against its start image, which is "
            "gone. Give the image with --reference, or another folder with --out.")
    writers: dict[str, Callable[[Report, Path], None]] = {"csv": write_csv, "json": write_json,
                                                          "png": plot.write_png}
    paths = [folder / f"{report.video.stem}.drift.{kind}" for kind in writers]
    unfinished = [folder / f".drift-{uuid4().hex}.tmp" for _ in paths]
    try:
        if folder.is_file():
            raise DriftError(f"{folder} is a file: give --out a folder.")
        folder.mkdir(parents=True, exist_ok=True)
        for writer, path in zip(writers.values(), unfinished, strict=True):
            writer(report, path)
        for path, final in zip(unfinished, paths, strict=True):
            files.replace(path, final)
    except OSError as error:
        raise DriftError(f"The report cannot be written ({files.explain(error)}). If one of its "
                         "files is open in another program, close it.") from error
    finally:
        for path in unfinished:
            with suppress(OSError):
                files.remove(path)
    csv_path, json_path, png_path = paths
    return csv_path, json_path, png_path


def write_csv(report: Report, path: Path) -> None:
    """Frames count from 0, clips from 1; `seam` is 1 where a new clip begins."""
    starts = {seam.frame for seam in report.seams}
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("frame", "second", report.layout.noun, "seam", *NAMES))
        for clip in report.clips:
            for at in clip.frames:
                second = f"{at / report.fps:.3f}" if report.fps else ""
                values = (getattr(report.frames[at], name) for name in NAMES)
                cells = ("" if value is None else f"{value:.6g}" for value in values)
                table.writerow((at, second, clip.number, int(at in starts), *cells))


def write_json(report: Report, path: Path) -> None:
    text = json.dumps(as_dict(report), ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def as_dict(report: Report) -> dict[str, Any]:
    """Everything but the frames, for JSON."""
    layout, motions = report.layout, report.column("motion")
    return {
        "verdict": report.verdict,
        "notes": list(report.notes),
        "version": __version__,
        "video": {"name": report.video.name, "frames": len(report.frames),
                  "fps": _rounded(report.fps), "width": report.width, "height": report.height},
        "clips_are": {"size": layout.size, "overlap": layout.overlap, "seams_known": layout.seams,
                      "shared_frames_of": "new" if layout.keep_new else "old",
                      "origin": layout.origin},
        "reference": report.reference,
        "metrics": {name: {"unit": metric.unit, "about": metric.about}
                    for name, metric in METRICS.items()},
        "measured_on": f"a copy of {SHORT_SIDE} pixels on the short side",
        "trends_about": " ".join((Trend.__doc__ or "").split()),
        "trends": {name: _trend(report, name) for name in METRICS},
        "vbench_temporal_flickering": _rounded((255 - float(np.mean(motions))) / 255),
        "jumps_about": f"the step across a seam / the median of the {NEIGHBOURS} steps on either "
                       f"side. {' '.join((Step.jump.__doc__ or '').split())}",
        "seams": [_seam(seam) for seam in report.seams],
        f"{layout.noun}s": [_clip(clip) for clip in report.clips],
    }  # fmt: skip


def _clip(clip: ClipMetrics) -> dict[str, Any]:
    median = {name: _rounded(value) for name, value in asdict(clip.median).items()}
    return {"number": clip.number, "first_frame": clip.frames.start,
            "last_frame": clip.frames.stop - 1, "repeated_frames": clip.repeated,
            "frozen": clip.frozen, "median": median}


def _seam(seam: Seam) -> dict[str, Any]:
    steps = {kind: _step(getattr(seam, kind)) for kind in ("pixels", "luma", "colour")}
    return {"seam": seam.name, "frame": seam.frame, "repeated": seam.repeated, **steps}


def _trend(report: Report, name: str) -> dict[str, Any]:
    found, amount = trend(report.medians(name)), _rounded(change(report.column(name)))
    values = {key: _rounded(getattr(found, key)) for key in ("slope", "low", "high") if found}
    return {f"last_minus_first_{ENDS:.0%}": amount, **values, "per_clip": per_clip(report, name),
            "word": found.word if found else ""}


def per_clip(report: Report, name: str) -> str:
    """The slope of a metric per clip, such as `+0.8 %` or `-0.10`; "" for a single clip."""
    found = trend(report.medians(name))
    if found is None:
        return ""
    usual = float(np.median(report.medians(name)))
    relative = METRICS[name].relative and usual != 0
    text = f"{100 * found.slope / usual:+.1f}" if relative else f"{found.slope:+.2f}"
    if not float(text):  # what rounds to nothing has no sign
        text = f"almost {text[1:]}" if found.word in ("rises", "falls") else text[1:]
    return f"{text} %" if relative else text


def _step(step: Step) -> dict[str, float | None]:
    return {"across": _rounded(step.across), "usual": _rounded(step.usual),
            "jump": _rounded(step.jump)}


def _rounded(value: float | None) -> float | None:
    """Six digits are more than was measured."""
    return None if value is None else float(f"{value:.6g}")
