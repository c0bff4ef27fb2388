"""The drift report: what a viewer sees change over the clips of a finished video.

    from wan2gp_svi.drift import report, write
    found = report(Path("video.mp4"), reference=Path("image.png"))
    write(found)
    print(found.verdict)

Importing this loads no other package; `report` and `write` need PyAV, OpenCV, Pillow, matplotlib
and SciPy, which WanGP has.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .layout import DriftError, Layout

if TYPE_CHECKING:
    from .analysis import Report
    from .metrics import Pictures

__all__ = ["DriftError", "Layout", "add_arguments", "report", "run", "write"]


def report(video: Path | str, reference: Path | str | Pictures | None = None,
           clips: Layout | str | None = None) -> Report:
    """Measures a video: see `analysis.report`. Raises DriftError."""
    try:
        from .analysis import report
    except ImportError as error:
        raise _missing(error) from error
    return report(video, reference, clips)


def write(report: Report, folder: Path | None = None) -> tuple[Path, Path, Path]:
    """Writes a report's CSV, JSON and PNG beside its video or into `folder`. Raises DriftError."""
    try:
        from .output import write
    except ImportError as error:
        raise _missing(error) from error
    return write(report, folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, help="a finished video, such as WanGP's mp4")
    parser.add_argument("--reference", type=Path, metavar="IMAGE", help="the start image, which "
                        "colour casts are measured against (default: that of the run that made "
                        "the video, or else the first frame)")
    parser.add_argument("--clips", metavar="FRAMES/SHARED", help="frames of a clip, and frames "
                        "that two clips share, such as 81/1; 81/5/old if the video shows the "
                        "shared frames of the old clip (default: what WanGP wrote into the video)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where to write the report "
                        "(default: beside the video)")


def run(options: argparse.Namespace) -> int:
    """Writes the report and prints its verdict -> exit code."""
    try:
        found = report(options.video, options.reference, options.clips)
        paths = write(found, options.out)
    except DriftError as error:
        print(error, file=sys.stderr)
        return 1
    for note in found.notes:
        print(f"Note: {note}.")
    if not found.layout.seams:
        print(f"Note: {found.layout.origin}.")
    print(*paths, sep="\n")
    print(found.verdict)
    return 0


def _missing(error: ImportError) -> DriftError:
    return DriftError(f"This Python lacks a package that the drift report needs ({error}): use "
                      "WanGP's Python.")
