"""Makes all changes of a plan, or none."""

import contextlib
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wan2gp_svi import files
from wan2gp_svi.install import Refused
from wan2gp_svi.install.plan import Change


def carry_out(wangp: Path, changes: Sequence[Change]) -> None:
    """Makes the changes in their order. If anything stops it, even Ctrl+C, it undoes them all.

    If the process is killed, each file is old or new, never half, and the next run finishes.
    """
    for change in changes:  # Linux would replace a write-protected file, but it is so for a reason
        path = wangp / change.path
        if files.is_protected(path):
            raise Refused(f"{path} is write-protected, so nothing was changed: allow writing to it")
    litter = [change for change in changes if change.path.endswith(files.UNFINISHED)]
    # resolved, so that a link stays a link
    places = [((wangp / change.path).resolve(), change) for change in changes
              if change not in litter]
    done: list[tuple[Path, bytes | None, int | None]] = []
    folders: list[Path] = []
    try:
        for change in litter:
            files.remove(wangp / change.path)
        for path, change in places:  # first all that needs room on disk: it changes nothing yet
            if change.after is not None:
                folders += [parent for parent in path.parents if not parent.exists()]
                _stage(path, change.after, _mode(path))
        for path, change in places:
            done.append((path, change.before, _mode(path)))
            if change.after is None:
                files.remove(wangp / change.path)
            else:
                files.replace(_part(path), path)
    except BaseException as error:
        lost = [path.name for path, before, mode in reversed(done)
                if not _restored(path, before, mode)]
        for path, _ in places:
            with contextlib.suppress(OSError):
                files.remove(_part(path))
        remove_if_empty(sorted(folders, reverse=True))
        if isinstance(error, OSError):
            what = f"{', '.join(lost)} could not be restored" if lost else "nothing was changed"
            raise Refused(f"{files.explain(error)}; {what}. {remedy(error)}") from error
        raise


def remedy(error: OSError) -> str:
    """What the user can do about it."""
    how = ("Close WanGP and any program that uses it, or allow writing"
           if isinstance(error, PermissionError) else files.remedy(error))
    return f"{how}, then run this again"


def _part(path: Path) -> Path:
    """Where a file is staged: unlike `files.unfinished`, WanGP takes it for no profile."""
    return path.with_name(path.name + files.UNFINISHED)


def _mode(path: Path) -> int | None:
    return stat.S_IMODE(path.stat().st_mode) if path.exists() else None


def _stage(path: Path, data: bytes, mode: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.stage(_part(path), data)
    except OSError as error:
        error.filename = str(path)
        raise
    if mode is not None:
        _part(path).chmod(mode)


def _restored(path: Path, before: bytes | None, mode: int | None) -> bool:
    """Restores the content of `path`; whether that worked."""
    try:
        if before is None:
            files.remove(path)
        elif files.read(path) != before:
            _stage(path, before, mode)
            files.replace(_part(path), path)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone(wangp: Path) -> Iterator[None]:
    """Keeps other installers out of this WanGP."""
    try:
        release = files.lock(wangp)
    except files.Busy:
        raise Refused(f"another installer is working in {wangp}: wait for it to finish") from None
    try:
        yield
    finally:
        release()


def remove_if_empty(folders: Iterable[Path]) -> None:
    """Removes each folder that holds nothing but Python's cache."""
    for folder in folders:
        with contextlib.suppress(OSError):
            if any(path.name != "__pycache__" for path in folder.iterdir()):
                continue
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        with contextlib.suppress(OSError):  # it is gone already, or was just filled
            folder.rmdir()
