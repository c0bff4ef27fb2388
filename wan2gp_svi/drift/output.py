"""A drift report as files: NAME.drift.csv (a row per frame), NAME.drift.json (all the rest), NAME.drift.png."""

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

from .. import __version__
from . import plot
from .analysis import NEIGHBOURS, ClipMetrics, Report, Seam, Step
from .layout import DriftError
from .metrics import METRICS, NAMES, SHORT_SIDE
from .trends import ENDS, Trend
from .verdict import KINDS, per_clip


def write(report: Report, folder: Path | None = None) -> tuple[Path, Path, Path]:
    """Writes the report into `folder`, or beside its video; the files of an earlier report are replaced.

    All three are complete before the first one is put in its place. Raises DriftError.
    """
    folder = report.video.parent if folder is None else folder
    writers: dict[str, Callable[[Report, Path], None]] = {"csv": write_csv, "json": write_json, "png": plot.write_png}
    paths = [folder / f"{report.video.stem}.drift.{kind}" for kind in writers]
    unfinished = [folder / f".drift-{uuid4().hex}.tmp" for _ in paths]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for writer, path in zip(writers.values(), unfinished, strict=True):
            writer(report, path)
        for path, final in zip(unfinished, paths, strict=True):
            path.replace(final)
    except OSError as error:
        raise DriftError(f"The report cannot be written to {folder} ({error.strerror or error}); if one of its files "
                         "is open in another program, close it.") from error
    finally:
        for path in unfinished:
            with suppress(OSError):
                path.unlink()
    csv_path, json_path, png_path = paths
    return csv_path, json_path, png_path


def write_csv(report: Report, path: Path) -> None:
    """A row per frame; frames and clips count from 0 and from 1, `seam` is 1 where a new clip begins."""
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
    path.write_text(json.dumps(as_dict(report), ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def as_dict(report: Report) -> dict[str, Any]:
    """All but the frames, as JSON has it."""
    layout, motions = report.layout, report.column("motion")
    return {
        "verdict": report.verdict,
        "notes": list(report.notes),
        "version": __version__,
        "video": {"name": report.video.name, "frames": len(report.frames), "fps": _rounded(report.fps),
                  "width": report.width, "height": report.height},
        "clips_are": {"size": layout.size, "overlap": layout.overlap, "seams_known": layout.seams,
                      "shared_frames_of": "new" if layout.keep_new else "old", "origin": layout.origin},
        "reference": report.reference,
        "metrics": {name: {"unit": metric.unit, "about": metric.about} for name, metric in METRICS.items()},
        "measured_on": f"a copy of {SHORT_SIDE} pixels on the short side",
        "trends_about": " ".join((Trend.__doc__ or "").split()),
        "trends": {name: _trend(report, name) for name in METRICS},
        "vbench_temporal_flickering": _rounded((255 - float(np.mean(motions))) / 255),
        "jumps_about": f"the step across a seam / the median of the {NEIGHBOURS} steps on either side. "
                       + " ".join((Step.jump.__doc__ or "").split()),
        "seams": [_seam(seam) for seam in report.seams],
        f"{layout.noun}s": [_clip(clip) for clip in report.clips],
    }  # fmt: skip


def _clip(clip: ClipMetrics) -> dict[str, Any]:
    median = {name: _rounded(value) for name, value in asdict(clip.median).items()}
    return {"number": clip.number, "first_frame": clip.frames.start, "last_frame": clip.frames.stop - 1,
            "repeated_frames": clip.repeated, "frozen": clip.frozen, "median": median}  # fmt: skip


def _seam(seam: Seam) -> dict[str, Any]:
    steps = {kind: _step(getattr(seam, kind)) for kind in KINDS}
    return {"seam": f"{seam.number}->{seam.number + 1}", "frame": seam.frame, "repeated": seam.repeated, **steps}


def _trend(report: Report, name: str) -> dict[str, Any]:
    found = report.trend(name)
    values = {} if found is None else {key: _rounded(value) for key, value in asdict(found).items()}
    return {f"last_minus_first_{ENDS:.0%}": _rounded(report.change(name)), **values,
            "per_clip": per_clip(report, name), "word": "" if found is None else found.word}


def _step(step: Step) -> dict[str, float | None]:
    return {"across": _rounded(step.across), "usual": _rounded(step.usual), "jump": _rounded(step.jump)}


def _rounded(value: float | None) -> float | None:
    """Six digits are more than was measured."""
    return None if value is None else float(f"{value:.6g}")
