"""How a run stands: running, finished, stopped or failed, and why it failed."""

from __future__ import annotations

from enum import Enum

from .. import files
from .record import About, StoreError
from .store import STOP, Run


class State(str, Enum):
    """How a run stands, in the words of `About.ended`; that has the reason instead of "failed"."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    __str__ = str.__str__  # the word itself, in every version of Python


def state(run: Run, done: int) -> State:
    """How a run with `done` finished clips stands. An extended one is not finished."""
    if run.about.ended == State.FINISHED and done >= run.about.clips:
        return State.FINISHED
    if is_running(run):
        return State.RUNNING
    return State.STOPPED if run.about.ended == State.STOPPED else State.FAILED


def is_running(run: Run) -> bool:
    """Whether this WanGP or another one is making the run."""
    try:
        run.lock()()
    except StoreError:
        return True
    return False


def reason(about: About) -> str:
    """Why a run failed; "" if it did not fail or the reason is unknown."""
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
