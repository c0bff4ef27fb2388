"""What the buttons of the SVI tab do: runs into WanGP's form, stop and remove; downloads, the doctor, the self-test."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__, chain, files
from ...install import Refused, doctor, loras
from ...install.git_clone import clone
from ...install.git_clone import state as filter_state
from ...install.patches import read_series
from ...install.shipped import Distribution
from ...runs.state import is_running
from ...runs.store import STOP, Run, Store, StoreError
from ...text import gigabytes, size
from .. import resuming
from .view import Shown, arrived


def make_drift(shown: Shown) -> Path:
    """Raises DriftError, StoreError."""
    from ... import drift

    if shown.video is None:
        raise StoreError(f"run {shown.run.name} has no video to look at")
    reference = shown.run.folder / "reference.png"
    return drift.write(drift.report(shown.video, reference if reference.is_file() else None))[2]


def resume(run: Run) -> dict[str, Any]:
    return resuming.resumed(_with_settings(run))


def extend(run: Run, clips: Any, prompts: str) -> dict[str, Any]:
    return resuming.extended(_with_settings(run), _whole("the number of clips", clips), paragraphs(prompts))


def redo(run: Run, clip: Any, prompt: str, seed: str) -> dict[str, Any]:
    """`seed` is as written: nothing is the seed that the run has."""
    text = (seed or "").strip()
    number = _whole("the seed", text) if text else None
    if number is not None and not 0 <= number < 2**32:
        raise StoreError(f"the seed is a number from 0 to {2**32 - 1}, not {text}")
    if not (prompt or "").strip() and number is None:
        raise StoreError("give a new prompt or a new seed, or both: with the old ones the clips would be the same")
    return resuming.redone(_with_settings(run), _whole("the clip", clip), " ".join((prompt or "").split()), number)


def _with_settings(run: Run) -> Run:
    if not run.about.settings:
        raise StoreError(f"run {run.name} failed before its first clip was done, so there is nothing to resume")
    return run


def _whole(what: str, value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.5
    if number != int(number):
        raise StoreError(f"{what} is a whole number, not {value!r}")
    return int(number)


def paragraphs(text: str) -> list[str]:
    """Prompts, with an empty line between them; the lines of one are joined."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text or "") if part.strip()]


def into_form(wgp: Mapping[str, Any], state: dict[str, Any], run: Run, settings: Mapping[str, Any], name: str
              ) -> tuple[str | None, str | None]:
    """Puts settings into WanGP's form, as its "Load Settings" does, but for the very model that they are of: a run does
    not continue with another one, though WanGP may call it compatible and keep it.

    `wgp` are the variables of wgp.py, `state` is that of the user's page. Returns what makes the page follow: a new
    text for its hidden box that fills the form, or one for the box that switches the model. Raises StoreError.
    """
    model = settings.get("model_type")
    if wgp["get_base_model_type"](model) is None:
        raise StoreError(f"run {run.name} was made with the model {model}, which this WanGP does not have")
    if "@" in settings["custom_settings"]["svi_run"] and "get_model_custom_settings" not in wgp:
        raise StoreError("this WanGP cannot be told from which clip on. Update it to 10.80 or newer")
    images = settings.get("image_start")
    whole = {**wgp["get_default_settings"](model), **settings, **({"image_start": [images]} if images else {})}
    path = run.folder / f"{name}.json"
    files.write(path, json.dumps(whole, ensure_ascii=False, indent=1).encode("utf-8"))
    state.setdefault("all_settings", {})
    state["active_form"] = "add"
    found = wgp["get_settings_from_file"]({**state, "model_type": model}, str(path), True, True, False)[0]
    if found is None:
        raise StoreError(f"WanGP does not take the settings of run {run.name} ({path})")
    wgp["set_model_settings"](state, model, found)
    now = str(time.time())
    if state["model_type"] == model:
        return now, None
    state["skip_resolution_transfer_on_model_switch"] = model  # the resolution is the run's
    return None, f"{model}|{now}" if "_model_choice_target_model_type" in wgp else model


def next_step(run: Run, settings: Mapping[str, Any], done: int) -> str:
    """What happens when the user presses Generate."""
    wish = settings["custom_settings"]["svi_run"]
    clip, clips = _target(settings, done)
    what = (f"a copy of run {run.name} is redone from clip {clip} (the old one stays)" if "@" in wish else
            f"run {run.name} resumes at clip {clip}")
    return (f"The settings are in the form. Press Generate there: {what}, up to clip {clips}. Before you make "
            "something else, set \"SVI run\" back to auto.")


def _target(settings: Mapping[str, Any], done: int) -> tuple[int, int]:
    wish = settings["custom_settings"]["svi_run"].partition("@")[2]
    overlap = int(settings["sliding_window_overlap"])
    return int(wish) if wish else done + 1, chain.clips_of(int(settings["video_length"]), overlap)


def stop(run: Run) -> str:
    if not is_running(run):
        raise StoreError(f"run {run.name} is not running")
    files.write(run.folder / STOP, b"")
    return f"Run {run.name} ends after the current clip. Resume it any time."


def remove(store: Store, run: Run) -> str:
    return f"Run {run.name} is removed, {size(store.remove(run))} are free."


def lora_folders(wgp: Mapping[str, Any]) -> dict[str, str | None]:
    """Generation of Wan -> where this WanGP looks for its LoRA files, as it says itself; None where it does not."""
    found: dict[str, str | None] = {}
    for wan, model in (("2.1", "i2v"), ("2.2", "i2v_2_2")):
        try:
            found[wan] = str(Path(wgp["get_lora_dir"](model)).resolve())
        except Exception:  # a WanGP that has no such function, or not these models
            found[wan] = None
    return found


_loading = threading.Lock()  # two downloads of one file would write into one another


def download(chosen: Sequence[loras.Download], fetch: Callable[..., None] = loras.fetch, every: float = 0.5
             ) -> Iterator[tuple[float, str]]:
    """Downloads what is missing; yields how far it is, from 0 to 1, and a line about it. Raises Refused."""
    if not _loading.acquire(blocking=False):
        raise Refused("a download is under way already: wait until it is done")
    said: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            fetch(list(chosen), said.put)
            said.put(None)
        except BaseException as error:
            said.put(error)
        finally:
            _loading.release()

    threading.Thread(target=work, daemon=True).start()
    line, file, total = "asking the server", None, 0.0
    while True:
        try:
            news = said.get(timeout=every)
        except queue.Empty:
            news = ""
        if news is None:
            yield 1.0, line
            return
        if isinstance(news, BaseException):
            raise news
        if news:
            line = news.removeprefix("LoRA: ")
            file = next((one for one in chosen if news.startswith(f"LoRA: {one.source},")), None)
            total = _bytes(news)
        if file and total:
            here = arrived(file)
            line = f"{file.target.name}: {gigabytes(here)} of {gigabytes(int(total))}"
            yield min(1.0, here / total), line
        else:
            yield 0.0, line


def _bytes(line: str) -> float:
    """The size of a file in the line with which its download begins."""
    found = re.search(r" of ([\d.]+) (GB|MB) here", line)
    return float(found[1]) * {"GB": 1e9, "MB": 1e6}[found[2]] if found else 0.0


def doctor_says(wangp: Path, folders: Mapping[str, str | None]) -> str:
    """What `install.py --doctor` prints."""
    elsewhere = [place for wan, place in folders.items() if place and Path(place) != loras.folder(wangp, wan).resolve()]
    lora_dir = elsewhere[0] if elsewhere else None
    shipped = Distribution(wangp, __version__)
    git = clone(wangp)
    hooked = [patch.path for patch in read_series(shipped.patches)]
    updates = filter_state(wangp, git.wanted(hooked, shipped.files()) if git else {})
    return "\n".join(doctor.report(wangp, shipped, lora_dir, sys.executable, updates))


_testing = threading.Lock()


def self_test(wangp: Path, generating: bool, command: Sequence[str] = (sys.executable, "-B", "-m", "wan2gp_svi",
                                                                       "selftest")) -> Iterator[str]:
    """Runs the self-test beside WanGP; yields all that it has said so far. Raises Refused."""
    if generating:
        raise Refused("WanGP is generating, and the self-test would take memory and time from it: press the button "
                      "again when that is done")
    if not _testing.acquire(blocking=False):
        raise Refused("a self-test is under way already: wait until it is done")
    said, process = "", None
    try:
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        process = subprocess.Popen([*command, str(wangp), "--python", sys.executable], cwd=wangp, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   encoding="utf-8", errors="replace")
        for line in process.stdout:
            said += line
            yield said
    finally:
        if process is not None:
            process.kill()  # the page may have been closed; what it has started ends with it
            process.wait()
            process.stdout.close()
        _testing.release()
