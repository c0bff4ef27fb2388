"""What the SVI tab shows and what its buttons ask for, as plain values: no gradio here, and nothing of WanGP's but the
settings that it is handed."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import __version__, chain, files
from ..install import Refused, doctor, loras
from ..install.filter import clone
from ..install.filter import state as filter_state
from ..install.patches import read_series
from ..install.shipped import Distribution
from ..runs.state import State, is_running, reason, state
from ..runs.store import STOP, Clip, Run, Store, StoreError
from ..text import cut, duration, gigabytes, sentence, size
from ..variants import SEED_STEP, VARIANTS
from . import resuming
from .form import SettingsError

HEADERS = ["", "Run", "Made", "Variant", "Clips", "Length", "On disk", "State", "First prompt"]
_WORDS = {State.FINISHED: "finished", State.RUNNING: "being made", State.STOPPED: "stopped", State.FAILED: "broke off"}
_THUMBNAIL = (112, 72)


@dataclass(frozen=True)
class Shown:
    """A run as the tab shows it. `video` is there; `drift` is its report, if one is there that is not older."""

    run: Run
    done: list[Clip]
    state: State
    video: Path | None
    drift: Path | None

    @property
    def can_resume(self) -> bool:
        return bool(self.done) and len(self.done) < self.run.about.clips and self.state != State.RUNNING

    @property
    def can_extend(self) -> bool:
        return bool(self.done) and self.state != State.RUNNING

    @property
    def last_redo(self) -> int:
        """The last clip from which the run can be made anew; below 2 there is none."""
        return min(len(self.done) + 1, self.run.about.clips)


def look(run: Run) -> Shown:
    done = run.done()
    video = Path(run.about.video) if run.about.video and Path(run.about.video).is_file() else None
    return Shown(run, done, state(run, len(done)), video, drift_of(video))


def says(run: Run, state: State) -> str:
    """A state in words; where the run failed, with the reason as far as it is known."""
    why = reason(run.about) if state is State.FAILED else ""
    return f"{_WORDS[state]}: {why}" if why else _WORDS[state]


def seconds(run: Run, clips: int) -> float:
    """How long the video is that so many clips of the run make; of a video that they continue nothing is known."""
    overlap = run.about.settings.get("sliding_window_overlap", VARIANTS[run.about.variant].overlap)
    return chain.length(clips, int(overlap)) / run.about.fps if clips else 0.0


def rows(store: Store) -> tuple[list[list[str]], list[str]]:
    """The cells of the list of runs, under HEADERS, and the names of the runs."""
    cells, names = [], []
    for run in store.runs():
        try:
            cells.append(_row(run))
        except OSError:  # removed at this moment
            continue
        names.append(run.name)
    return cells, names


def _row(run: Run) -> list[str]:
    about, done = run.about, run.done()
    return [thumbnail(run), run.name, about.made.replace("T", " ")[:16], about.title, f"{len(done)} of {about.clips}",
            duration(seconds(run, len(done))), size(run.size), cut(says(run, state(run, len(done))), 50),
            cut(about.asked[0] if about.asked else "", 70)]


def summary(shown: Shown) -> str:
    """The chosen run, in Markdown."""
    run, about = shown.run, shown.run.about
    lines = [f"### Run {run.name}: {about.title}",
             f"**{sentence(_plain(says(run, shown.state)))}.** {len(shown.done)} of {about.clips} clips, "
             f"{duration(seconds(run, len(shown.done)))}, seed {about.seed}, {size(run.size)} on disk."]
    if about.base:
        lines.append(f"It begins with the first {about.base[1]} clips of run {about.base[0]}.")
    if shown.video is None:
        lines.append("Its video is not there any more; the clips are, and going on with the run makes it again."
                     if about.video else "It has no video yet.")
    return "\n\n".join(lines)


def clips_table(shown: Shown) -> str:
    """Every clip with its prompt and seed, those to come as well, in HTML."""
    about, cells = shown.run.about, []
    step = int(about.decides.get("SVI seed step", SEED_STEP))
    for number, prompt in enumerate(chain.stream(about.asked or [""], about.clips, about.repeat)):
        clip = shown.done[number] if number < len(shown.done) else None
        seed = clip.seed if clip else chain.seed(about.seed, number, step)
        cells.append([str(number + 1), "on disk" if clip else "to come", str(seed), clip.prompt if clip else prompt])
    return table(["Clip", "", "Seed", "Prompt"], cells)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML; scrolls where it is long."""
    head = "".join(f"<th style='text-align:left;padding:4px 8px'>{escape(text)}</th>" for text in headers)
    body = "".join("<tr>" + "".join(f"<td style='padding:4px 8px;vertical-align:top'>{escape(text)}</td>"
                                    for text in row) + "</tr>" for row in rows)
    return (f"<div style='max-height:320px;overflow:auto'><table style='width:100%'><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>")


# -------------------------------------------------------------------------------------------------- pictures and videos

def thumbnail(run: Run) -> str:
    """The reference, or the first frame, as HTML that needs no file to be served; "" where there is neither."""
    for path in (run.folder / "reference.png", run.path(0, ".mp4")):
        try:
            return _thumbnail(path, path.stat().st_mtime)
        except Exception:  # whatever is wrong with a picture, the run is listed
            continue
    return ""


@functools.lru_cache(maxsize=512)
def _thumbnail(path: Path, changed: float) -> str:
    from PIL import Image

    image = Image.open(path) if path.suffix == ".png" else Image.fromarray(_first_frame(path))
    image = image.convert("RGB")
    image.thumbnail(_THUMBNAIL)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (f"<img src='data:image/jpeg;base64,{data}' alt='' style='height:{_THUMBNAIL[1]}px;width:{_THUMBNAIL[0]}px;"
            "object-fit:cover;border-radius:4px;margin:0'>")


def _first_frame(path: Path) -> Any:
    import cv2

    found, frame = cv2.VideoCapture(str(path)).read()
    if not found:
        raise OSError(f"{path} shows nothing")
    return frame[:, :, ::-1].copy()


def served(path: Path) -> str:
    """Where gradio serves a file of WanGP's folder for videos. Straight from the disk: a component for videos would
    copy ten minutes of video first. The time makes a video that has grown a new one to the browser."""
    return f"/gradio_api/file={quote(path.resolve().as_posix())}?{path.stat().st_mtime_ns}"


def video(shown: Shown) -> str:
    if shown.video is None:
        return ""
    path = escape(str(shown.video), quote=True)
    return (f"<video src='{served(shown.video)}' controls preload='metadata' style='width:100%;max-height:420px'>"
            f"</video><div style='opacity:.7;font-size:.85em;overflow-wrap:anywhere' title='{path}'>"
            f"{escape(shown.video.name)}</div>")


def drift_of(video: Path | None) -> Path | None:
    """The picture of a video's drift report, if it is there and not of an earlier, shorter state of the video."""
    if video is None:
        return None
    path = video.with_name(f"{video.stem}.drift.png")
    try:
        return path if path.stat().st_mtime >= video.stat().st_mtime else None
    except OSError:
        return None


def drift(path: Path | None) -> str:
    """A drift report: what it says and its picture, which opens in full on a click."""
    if path is None:
        return ""
    try:
        verdict = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["verdict"]
    except (OSError, ValueError, KeyError, TypeError):
        verdict = ""
    return (f"<p><b>{escape(str(verdict))}</b></p><a href='{served(path)}' target='_blank'>"
            f"<img src='{served(path)}' alt='drift report' style='width:100%'></a>")


def make_drift(shown: Shown) -> Path:
    """Raises DriftError, StoreError."""
    from .. import drift

    if shown.video is None:
        raise StoreError(f"run {shown.run.name} has no video to look at")
    reference = shown.run.folder / "reference.png"
    return drift.write(drift.report(shown.video, reference if reference.is_file() else None))[2]


# ------------------------------------------------------------------------------------------------------------- going on

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
        raise StoreError(f"run {run.name} broke off before its first clip was done, so there is nothing to go on from")
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
    not go on with another one, though WanGP may call it compatible and keep it.

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
    what = (f"a copy of run {run.name} is made anew from clip {clip} on (the old one stays)" if "@" in wish else
            f"run {run.name} goes on with clip {clip}")
    return (f"The settings are in the form. Press Generate there: {what}, up to clip {clips}. Before you make "
            "something else, set \"SVI run\" back to auto.")


def _target(settings: Mapping[str, Any], done: int) -> tuple[int, int]:
    wish = settings["custom_settings"]["svi_run"].partition("@")[2]
    overlap = int(settings["sliding_window_overlap"])
    return int(wish) if wish else done + 1, chain.clips_of(int(settings["video_length"]), overlap)


def stop(run: Run) -> str:
    if not is_running(run):
        raise StoreError(f"run {run.name} is not being made at this moment")
    files.write(run.folder / STOP, b"")
    return f"Run {run.name} ends when the clip that is being made is done. Resume goes on from there."


def removing(shown: Shown) -> str:
    return (f"Remove the clips of run {shown.run.name} for good? That frees {size(shown.run.size)}; the run can then "
            f"not be resumed, made longer or redone. {'Its video stays.' if shown.video else 'It has no video.'}")


def remove(store: Store, run: Run) -> str:
    return f"Run {run.name} is removed, {size(store.remove(run))} are free."


# -------------------------------------------------------------------------------------------- LoRA files and the doctor

def lora_folders(wgp: Mapping[str, Any]) -> dict[str, str | None]:
    """Generation of Wan -> where this WanGP looks for its LoRA files, as it says itself; None where it does not."""
    found: dict[str, str | None] = {}
    for wan, model in (("2.1", "i2v"), ("2.2", "i2v_2_2")):
        try:
            found[wan] = str(Path(wgp["get_lora_dir"](model)).resolve())
        except Exception:  # a WanGP that has no such function, or not these models
            found[wan] = None
    return found


def lora_rows(wangp: Path, folders: Mapping[str, str | None]) -> list[list[str]]:
    cells = []
    for variant in VARIANTS.values():
        for file in loras.downloads(wangp, [variant.id], folders.get(variant.wan)):
            there = (gigabytes(file.target.stat().st_size) if file.target.is_file() else
                     f"{gigabytes(part)} of it, download it to go on" if (part := arrived(file)) else "-")
            cells.append([variant.title, f"Wan {variant.wan}", file.target.name,
                          "there" if file.target.is_file() else "not there", there])
    return cells


def arrived(file: loras.Download) -> int:
    """Bytes of a download that was broken off or is under way."""
    parts = file.target.parent.glob(f".{file.target.name}.*.part")
    return max((part.stat().st_size for part in parts if part.is_file()), default=0)


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


def bar(share: float, line: str) -> str:
    return f"<progress value='{share:.3f}' max='1' style='width:100%'></progress><div>{escape(line)}</div>"


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


# ---------------------------------------------------------------------------------------------------------------- words


def told(error: BaseException) -> str:
    """An error as a sentence; one that nobody foresaw asks to be reported."""
    from ..drift import DriftError

    text = str(error).strip() or type(error).__name__
    if isinstance(error, (StoreError, SettingsError, Refused, DriftError)):
        text = sentence(text) if text.split()[0].isalpha() else text  # the name of a file stays as it is
        return text if text.endswith(".") else f"{text}."
    if isinstance(error, OSError):
        return f"A file could not be read or written: {text}."
    return (f"Something went wrong that should not have ({type(error).__name__}: {error}). Please report it together "
            "with what the doctor says.")


def _plain(text: str) -> str:
    """For Markdown: nothing in a reason is markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split())).rstrip(".")
