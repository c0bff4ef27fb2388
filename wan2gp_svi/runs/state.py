"""How a run stands: running, finished, stopped or failed, and why it failed."""

from __future__ import annotations

from enum import Enum

from .. import files
from .store import STOP, About, Run, StoreError


class State(str, Enum):
    """How a run stands. The words are those on disk, in `About.ended`, which has the reason instead of "failed"."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    __str__ = str.__str__  # the word itself, whatever the version of Python


def state(run: Run, done: int) -> State:
    """How a run with so many finished clips stands. A finished one that is to be longer now is not finished."""
    if run.about.ended == State.FINISHED and done >= run.about.clips:
        return State.FINISHED
    if is_running(run):
        return State.RUNNING
    return State.STOPPED if run.about.ended == State.STOPPED else State.FAILED


def is_running(run: Run) -> bool:
    """Whether a WanGP is making the run, this one or another."""
    try:
        run.lock()()
    except StoreError:
        return True
    return False


def reason(about: About) -> str:
    """Why a run failed; "" where that is not known, or where it did not fail."""
    return "" if about.ended in (State.FINISHED, State.STOPPED) else about.ended


def in_words(run: Run, state: State) -> str:
    """A state, and why the run failed if that is known."""
    why = reason(run.about) if state is State.FAILED else ""
    return f"{state}: {why}" if why else str(state)


def ask_to_stop(run: Run) -> None:
    """Has a running run stop after its current clip. Raises StoreError if it is not running."""
    if not is_running(run):
        raise StoreError(f"run {run.name} is not running")
    files.write(run.folder / STOP, b"")
