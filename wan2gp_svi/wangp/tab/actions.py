"""What the buttons of a run do: settings to extend or redo it, WanGP's form, the drift report."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ... import chain, drift, files
from ...runs.record import StoreError
from ...runs.store import Run
from ...text import cut, one_line, paragraphs
from .. import resuming
from ..form import AUTO, NEW
from .view import Shown

SAVED_WITHIN = 10  # seconds
_BEGINS_WITHIN = 60  # seconds: WanGP, with a job that it was asked for
_EXPECTED = "svi_expected"  # in the state of a page: until when


def make_drift(shown: Shown) -> Path:
    """Writes the drift report of a run's video -> its picture. Raises DriftError, StoreError."""
    if shown.video is None:
        raise StoreError(f"run {shown.run.name} has no video")
    reference = shown.run.folder / "reference.png"
    return drift.write(drift.report(shown.video, reference if reference.is_file() else None))[2]


def open_folder(folder: Path) -> None:
    """Shows a folder in the file manager of the computer that WanGP runs on. Raises StoreError."""
    try:
        if sys.platform == "win32":
            os.startfile(folder)
            return
        opener = "open" if sys.platform == "darwin" else "xdg-open"
        process = subprocess.Popen([opener, str(folder)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        code = process.wait(2)
    except subprocess.TimeoutExpired:  # it is a file manager, and open
        return
    except OSError:
        code = 1
    if code:
        raise StoreError(f"this computer has no file manager that opens {folder}")


def extend(run: Run, clips: Any, prompts: str, sound: str | None = None) -> dict[str, Any]:
    """Settings from what the user entered; a run of SVI-Talk is as long as its sound. Raises
    StoreError."""
    if run.about.sound:
        if not sound:
            raise StoreError(f"run {run.name} is as long as its sound. To extend it, add a longer "
                             "one first")
        return resuming.spoken_on(run, Path(sound))
    return resuming.extended(run, whole("the number of clips", clips), paragraphs(prompts or ""))


def redo(run: Run, clip: Any, prompt: str, seed: str) -> dict[str, Any]:
    """Settings from what the user entered; an empty seed is the run's. Raises StoreError."""
    text, prompt = (seed or "").strip(), one_line(prompt or "")
    number = whole("the seed", text) if text else None
    return resuming.redone(run, whole("the clip", clip), prompt, number)


def whole(what: str, value: Any) -> int:
    """A number that the user entered. Raises StoreError."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if (number := int(float(value))) == float(value):
            return number
    entered = "" if value in (None, "") else f", not \"{cut(str(value), 40)}\""
    raise StoreError(f"{what} must be a whole number{entered}")


def clips_asked(settings: Mapping[str, Any]) -> int:
    """The clips of a request, as far as its settings tell; 0 if they do not."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return min(chain.num_clips(int(settings.get("video_length") or 0)), chain.MAX_CLIPS)
    return 0


def into_queue(wgp: Mapping[str, Any], state: dict[str, Any], settings: Mapping[str, Any]) -> str:
    """Hands a job to WanGP as its own assistant does, past the form, which stays as it is.

    Returns a new text for the page's hidden box that makes WanGP take the job and start.
    Raises StoreError.
    """
    check_model(wgp, settings.get("model_type"))
    gen = wgp["get_gen_info"](state)
    if gen.get("inline_queue") is not None:
        raise StoreError("WanGP has not taken the last job yet. Try again in a few seconds")
    queued = [task.get("params") or {} for task in gen.get("queue") or []]
    if any(_done_by(params, settings) for params in queued):
        run = settings["custom_settings"]["svi_run"].partition("@")[0]
        raise StoreError(f"WanGP's queue already has this job for run {run}. Wait until it is "
                         "done, or remove it from the queue")
    gen["inline_queue"] = dict(settings)
    return str(time.time())


def waiting(wgp: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """The runs that jobs in this page's queue resume or extend."""
    queue = wgp["get_gen_info"](state).get("queue") or []
    custom = [(task.get("params") or {}).get("custom_settings") or {} for task in queue]
    return {str(one["svi_run"]) for one in custom if one.get("svi_run") not in (None, AUTO, NEW)}


def _done_by(queued: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a job in the queue leaves nothing to do for one with these settings, which would then
    fail: WanGP drops all further jobs after one that fails.

    A run grows by one job at a time; from one clip on, it can be redone in several ways.
    """
    wish = settings["custom_settings"]["svi_run"]
    if (queued.get("custom_settings") or {}).get("svi_run") != wish:
        return False
    same = ("prompt", "seed", "custom_settings")
    return "@" not in wish or all(queued.get(name) == settings.get(name) for name in same)


def expect_run(state: dict[str, Any]) -> None:
    """Notes that WanGP was asked for a video."""
    state[_EXPECTED] = time.monotonic() + _BEGINS_WITHIN


def has_begun(state: dict[str, Any]) -> None:
    """Notes that a run has begun: the one that was expected, as far as this page can see."""
    state.pop(_EXPECTED, None)


def is_expected(wgp: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether a run may be about to begin: WanGP loads its model first."""
    return (bool(wgp["get_gen_info"](state).get("in_progress"))
            or time.monotonic() < state.get(_EXPECTED, 0))


def form_saved(state: dict[str, Any]) -> Iterator[Any]:
    """Yields a new text for the page's hidden box that makes WanGP save its form; then, once it
    has, all that is entered in it."""
    def entered() -> Any:
        """Another object each time that WanGP saves its form."""
        return (state.get("all_settings") or {}).get(state["model_type"])

    state["active_form"], before = "add", entered()
    yield str(time.time())
    end = time.monotonic() + SAVED_WITHIN
    while entered() is before and time.monotonic() < end:
        time.sleep(0.05)
    yield entered() or {}


def into_form(wgp: Mapping[str, Any], state: dict[str, Any], run: Run, settings: Mapping[str, Any]
              ) -> tuple[str | None, str | None]:
    """Puts settings into WanGP's form, as its "Load Settings" does, but always for their own model.

    WanGP may keep a model that it calls compatible; a run cannot resume with it.

    wgp, state: the variables of wgp.py, and the state of the user's page

    Returns what `fill` does. Raises StoreError.
    """
    model = settings.get("model_type")
    check_model(wgp, model)
    clip = resuming.redo_from(settings)
    if clip and "get_model_custom_settings" not in wgp:
        raise StoreError("this WanGP cannot redo a run from a clip. Update it to 10.80 or later")
    images = settings.get("image_start")
    whole = {**wgp["get_default_settings"](model), **settings,
             **({"image_start": [images]} if images else {})}
    path = run.folder / (f"redo-{clip}.json" if clip else "resume.json")
    files.write(path, json.dumps(whole, ensure_ascii=False, indent=1).encode("utf-8"))
    return fill(wgp, state, path, model)


def fill(wgp: Mapping[str, Any], state: dict[str, Any], path: Path, model: Any, **more: Any
         ) -> tuple[str | None, str | None]:
    """Lays a file of settings, and `more`, over those that WanGP's form has for a model.

    Returns a new text for the page's hidden box that fills the form, or for the one that switches
    the model. Raises StoreError.
    """
    state.setdefault("all_settings", {})
    state["active_form"] = "add"
    load, chosen = wgp["get_settings_from_file"], {**state, "model_type": model}
    found = load(chosen, str(path), True, True, True)[0]
    if found is None:
        raise StoreError(f"WanGP does not accept the settings in {path}")
    wgp["set_model_settings"](state, model, {**found, **more})
    now = str(time.time())
    if state["model_type"] == model:
        return now, None
    state["skip_resolution_transfer_on_model_switch"] = model  # the resolution is the run's
    return None, f"{model}|{now}" if "_model_choice_target_model_type" in wgp else model


def check_model(wgp: Mapping[str, Any], model: Any) -> None:
    """Raises StoreError if this WanGP does not have a model."""
    if wgp["get_base_model_type"](model) is None:
        raise StoreError(f"this WanGP does not have the model {model}: add it, or update WanGP")
