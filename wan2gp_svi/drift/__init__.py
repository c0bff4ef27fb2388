"""What a finished video does over its clips: metrics, seams, and a report that a person understands at a glance.

    from wan2gp_svi.drift import report, write
    found = report(Path("video.mp4"), reference=Path("image.png"))
    write(found)
    print(found.verdict)

Importing this costs nothing; the packages that it needs (PyAV, OpenCV, Pillow, matplotlib: WanGP has them) are first
needed by `report` and `write`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .layout import DriftError, Layout

if TYPE_CHECKING:
    from .analysis import Report
    from .metrics import Pictures

__all__ = ["DriftError", "Layout", "add_arguments", "main", "report", "run", "write"]


def report(
    video: Path | str, reference: Path | str | Pictures | None = None, clips: Layout | str | None = None
) -> Report:
    """Measures a video: see `analysis.report`. Raises DriftError for what the user can fix."""
    try:
        from .analysis import report
    except ImportError as error:
        raise _missing(error) from error
    return report(video, reference, clips)


def write(report: Report, folder: Path | None = None) -> tuple[Path, Path, Path]:
    """Writes the CSV, JSON and PNG of a report beside its video or into `folder`. Raises DriftError."""
    try:
        from .output import write
    except ImportError as error:
        raise _missing(error) from error
    return write(report, folder)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("video", type=Path, help="a finished video, such as WanGP's mp4")
    parser.add_argument("--reference", type=Path, metavar="IMAGE",
                        help="the start image, of any size, that colour casts are told against (without: the first "
                             "frame)")  # fmt: skip
    parser.add_argument("--clips", metavar="FRAMES/SHARED",
                        help="frames of a clip and frames that two clips share, such as 81/1; 81/5/old where the video "
                             "shows the old clip's (without: what WanGP wrote into the video)")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the report (without: beside the video)")


def run(options: argparse.Namespace) -> int:
    """Makes the report and says what it found -> exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console with an old code page must not stop the report
            stream.reconfigure(errors="backslashreplace")
    try:
        found = report(options.video, options.reference, options.clips)
        paths = write(found, options.out)
    except DriftError as error:
        print(error, file=sys.stderr)
        return 1
    for note in found.notes:
        print(f"Note: {note}.")
    if not found.layout.seams:
        print(f"Note: {found.layout.origin}. The report is for sections of {found.layout.size} frames.")
    print(*paths, sep="\n")
    print(found.verdict)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m wan2gp_svi.drift", description="Measures how a video drifts and "
                                     "writes VIDEO.drift.csv, .json and .png.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def _missing(error: ImportError) -> DriftError:
    return DriftError(f"The drift report needs packages that WanGP's Python has and this one lacks ({error}).")
