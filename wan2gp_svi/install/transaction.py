"""Carries a plan out: all of it, or nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wan2gp_svi.files import UNFINISHED, Busy, lock
from wan2gp_svi.install import Refused
from wan2gp_svi.install.plan import Change


def carry_out(wangp: Path, changes: Sequence[Change]) -> None:
    """Make the changes in their order. Whatever stops it, Ctrl+C too, all that was done is undone.

    A killed process undoes nothing: each file is then old or new, never half, and the next run goes on.
    """
    for change in changes:  # Linux would replace a write-protected file, but somebody meant something by it
        if change.before is not None and not (wangp / change.path).stat().st_mode & stat.S_IWRITE:
            raise Refused(
                f"{wangp / change.path} is write-protected, nothing was changed: allow writing to it"
            )
    litter = [change for change in changes if change.path.endswith(UNFINISHED)]
    changes = [change for change in changes if change not in litter]
    staged: list[tuple[Path, Path]] = []
    done: list[tuple[Path, bytes | None, int | None]] = []
    folders: list[Path] = []
    try:
        for change in litter:
            (wangp / change.path).unlink(missing_ok=True)
        for change in changes:  # first all that needs room on the disk: it changes nothing yet
            if change.after is not None:
                path = (wangp / change.path).resolve()  # a link stays a link
                folders += [parent for parent in path.parents if not parent.exists()]
                staged.append((path, _staged(path, change.after, _mode(path))))
        ready = dict(staged)
        for change in changes:
            path = (wangp / change.path).resolve()
            done.append((path, change.before, _mode(path)))
            if change.after is None:
                (wangp / change.path).unlink(missing_ok=True)
            else:
                ready[path].replace(path)
    except BaseException as error:
        lost = [path.name for path, before, mode in reversed(done) if not _restored(path, before, mode)]
        for path, _ in staged:
            with contextlib.suppress(OSError):
                _unfinished(path).unlink(missing_ok=True)
        remove_if_empty(sorted(folders, reverse=True))
        if isinstance(error, OSError):
            reason = f"{error.filename or wangp}: {error.strerror or error}"
            what = f"and {', '.join(lost)} could not be put back" if lost else "nothing was changed"
            raise Refused(f"{reason}; {what}. Close what uses it, make room, allow writing, run again") from error
        raise


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + UNFINISHED)


def _mode(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def _staged(path: Path, data: bytes, mode: int | None) -> Path:
    """A file beside `path` with this content, on the disk for good, to take its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path)
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            unfinished.chmod(mode)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    return unfinished


def _restored(path: Path, before: bytes | None, mode: int | None) -> bool:
    """Whether `path` has, or has again, the content that it had before."""
    try:
        if before is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != before:
            _staged(path, before, mode).replace(path)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone(wangp: Path) -> Iterator[None]:
    """Keeps other runs of the installer out of this WanGP."""
    try:
        release = lock(wangp)
    except Busy:
        raise Refused(f"another installer is at work in {wangp}: wait until it is done") from None
    try:
        yield
    finally:
        release()


def remove_if_empty(folders: Iterable[Path]) -> None:
    """Remove Python's cache from each folder, and the folder itself if it then holds nothing."""
    for folder in folders:
        with contextlib.suppress(OSError):
            if any(path.name != "__pycache__" for path in folder.iterdir()):
                continue
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds files of the user's, or is gone already
            folder.rmdir()
