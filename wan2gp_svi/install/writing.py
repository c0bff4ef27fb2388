"""Carries a plan out: all of it, or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from wan2gp_svi.install import Refused
from wan2gp_svi.install.plan import Change
from wan2gp_svi.install.shipped import UNFINISHED


def carry_out(wangp: Path, changes: Sequence[Change]) -> None:
    """Make the changes in their order. Whatever stops it, Ctrl+C too, all that was done is undone.

    A killed process undoes nothing: each file is then old or new, never half, and the next run goes on.
    """
    for change in changes:  # Linux would replace a write-protected file, but somebody meant something by it
        if change.before is not None and not (wangp / change.path).stat().st_mode & stat.S_IWRITE:
            raise Refused(
                f"{wangp / change.path} is write-protected, nothing was changed: allow writing to it"
            )
    done: list[tuple[Path, bytes | None, int | None]] = []
    folders: list[Path] = []
    try:
        for change in changes:
            path = wangp / change.path
            folders += [parent for parent in path.parents if not parent.exists()]
            mode = None if change.before is None else stat.S_IMODE(path.stat().st_mode)
            done.append((path, change.before, mode))
            _put(path, change.after, mode)
    except BaseException as error:
        for path, before, mode in reversed(done):
            with contextlib.suppress(OSError):  # the first error is the one to report
                _put(path, before, mode)
        remove_if_empty(sorted(folders, reverse=True))
        if isinstance(error, OSError):
            reason = f"{error.filename or wangp}: {error.strerror or error}"
            raise Refused(
                f"{reason}; nothing was changed. Close what uses it, allow writing, run again"
            ) from error
        raise


def _put(path: Path, data: bytes | None, mode: int | None) -> None:
    """Give `path` this content in one step, or delete it if `data` is None."""
    if data is None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return
    path = path.resolve()  # a link stays a link
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            unfinished.chmod(mode)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def remove_if_empty(folders: Iterable[Path]) -> None:
    """Remove Python's cache from each folder, and the folder itself if it then holds nothing."""
    for folder in folders:
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds files of the user's, or is gone already
            folder.rmdir()
