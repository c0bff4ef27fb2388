"""How a run stands: running, finished, stopped or failed, why it failed, and how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from statistics import median_low

from .. import files
from ..text import count, cut, roughly
from .record import About, Clip, StoreError
from .store import PAUSES, STOP, STOPPING, Run

_ANYWAY = " anyway, as its storyboard says"
_LONGEST_LABEL = 60  # characters: it is a cell of a table


class State(str, Enum):
    """How a run stands, in the words of `About.ended`; that has the reason instead of "failed"."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    __str__ = str.__str__  # the word itself, in every version of Python


def state(run: Run, done: int) -> State:
    """How a run with `done` finished clips stands. An extended one is not finished."""
    if is_running(run):
        return State.RUNNING
    if run.about.ended == State.FINISHED and done >= run.about.clips:
        return State.FINISHED
    return State.STOPPED if run.about.ended == State.STOPPED else State.FAILED


def is_running(run: Run) -> bool:
    """Whether this WanGP or another one is making the run."""
    return files.is_locked(run.folder)


def is_empty(run: Run) -> bool:
    """Whether the run ended before it had a clip, so that nothing is lost when it is removed."""
    return not run.begun() and not is_running(run)


def reason(about: About) -> str:
    """Why a run failed; "" if it did not fail or nobody could write the reason down."""
    return "" if about.ended in (State.FINISHED, State.STOPPED) else about.ended


def _why(about: About) -> str:
    """Why a failed run did."""
    if about.ended == State.FINISHED:
        return "a clip is damaged or gone"
    return reason(about) or "WanGP was closed, or its log says why"


def in_words(run: Run, state: State, done: Sequence[Clip]) -> str:
    """A state, with why the run failed, or how far it is, if that is known."""
    if state is State.RUNNING:
        return f"{state}: {_progress(run, done)}"
    return f"{state}: {_why(run.about)}" if state is State.FAILED else str(state)


def clips_in_words(run: Run, state: State, done: Sequence[Clip]) -> str:
    """How many clips a run has: "2 of 5"."""
    if not done:
        return "no clip finished"
    return f"{len(done)} of {max(run.about.clips, len(done))}"


def _progress(run: Run, done: Sequence[Clip]) -> str:
    number, clips = len(done) + 1, run.about.clips
    # a run in its last clip is not asked to stop: then it is over for a moment longer
    if is_stopping(run) or stop_is_asked(run) and number == clips:
        return "its last clip for now is made, and is being saved"
    if number > clips:  # an extension that is just about to begin
        return f"clip {number}"
    left, stops = seconds_left(run, done), number < clips and _stops(run)
    return (f"clip {number} of {clips}" + (", then it stops" if stops else "")
            + (f", about {roughly(left)} left" if left else ""))


def seconds_left(run: Run, done: Sequence[Clip]) -> float | None:
    """How long the clips to come take, by those that are `done`; None if these do not say. One that
    is to stop has the current clip left."""
    each = seconds_a_clip(done)
    if each is None:
        return None
    begun = (run.folder / "run.json").stat().st_mtime  # written as each clip begins
    passed = min(time.time() - begun, each)  # a clip that takes longer than usual
    clips = 1 if _stops(run) else run.about.clips - len(done)
    return max(0.0, each * clips - passed)


def seconds_a_clip(done: Sequence[Clip]) -> float | None:
    """How long the newest of these clips took; None if no record says so."""
    took = [clip.seconds for clip in done[-6:] if clip.seconds]
    return median_low(took) if took else None


def rename(run: Run, label: str) -> None:
    """Gives a run the user's own name; an empty one removes it. Raises StoreError."""
    if is_running(run):  # the program that makes it writes the record, too
        raise StoreError(f"run {run.name} is running. Name it when it is finished")
    if len(label := " ".join(label.split())) > _LONGEST_LABEL:
        raise StoreError(f"a name has up to {_LONGEST_LABEL} characters, and this one "
                         f"{len(label):,}. Shorten it")
    if label.lower() in ("auto", "new") or "@" in label:
        raise StoreError("choose another name: auto, new and names with @ mean something else in "
                         "\"SVI run\"")
    others = [one.name for one in run.folder.parent.iterdir() if one != run.folder]
    if label and (meant := [one for one in others if one.lower().endswith(label.lower())]):
        raise StoreError(f"choose another name: {label} is the end of {meant[0]}, another run")
    record = run.folder / "run.json"
    seen = record.stat()
    run.change(replace(run.about, label=cut(label, _LONGEST_LABEL)))
    os.utime(record, ns=(seen.st_atime_ns, seen.st_mtime_ns))  # lists have the newest first


def ask_to_stop(run: Run, others: int = 0) -> str:
    """Has a running run stop after its current clip -> what happens now. Raises StoreError if it is
    not running. `others`: videos of its job that are to come, as far as is known."""
    if not is_running(run):
        raise StoreError(f"run {run.name} is not running")
    if is_stopping(run):
        return _stops_now(run)
    left = run.about.clips - len(run.done())  # none: an extension, as in `_progress`
    if left == 1:
        more = f" Then its job goes on, with {count(others, 'other video')}." if others else ""
        return f"Run {run.name} is in its last clip and will be finished with it.{more}"
    later = " You can resume it at any time." if left > 1 else ""
    also = (f" The {count(others, 'other video')} of its job {'is' if others == 1 else 'are'} not "
            "made either." if others else "")
    if left > 1 and pauses(run):
        return f"Run {run.name} stops after the current clip{_ANYWAY}.{later}{also}"
    files.write(run.folder / STOP, b"")
    return f"Run {run.name} stops after the current clip.{later}{also}"


def pauses(run: Run) -> bool:
    """Whether the run stops after every clip, as its storyboard asks."""
    return (run.folder / PAUSES).exists()


def _stops(run: Run) -> bool:
    return stop_is_asked(run) or pauses(run)


def stop_is_asked(run: Run) -> bool:
    return (run.folder / STOP).exists()


def is_stopping(run: Run) -> bool:
    """Whether the clip after which the run stops is made, and is being saved."""
    return (run.folder / STOPPING).exists()


def _stops_now(run: Run) -> str:
    return f"Run {run.name} stops now: its clip is made, and is being saved."


def keep_running(run: Run) -> str:
    """Takes `ask_to_stop` back while the current clip is being made -> what happens now."""
    files.remove(run.folder / STOP)
    if is_stopping(run):
        return _stops_now(run)
    if run.about.clips - len(run.done()) > 1 and pauses(run):
        return f"Run {run.name} stops after the current clip{_ANYWAY}."
    return f"Run {run.name} will not stop after the current clip."
