"""How a run stands: running, finished, stopped or failed, and why it failed."""

from __future__ import annotations

from enum import Enum

from .record import About, StoreError
from .store import Run


class State(str, Enum):
    """How a run stands. These words are on disk too, in `About.ended`, except for "failed": the
    reason is there instead."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    __str__ = str.__str__  # the word itself, in every version of Python


def state(run: Run, done: int) -> State:
    """How a run with `done` finished clips stands. One that is to be extended is not finished."""
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
