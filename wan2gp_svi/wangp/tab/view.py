"""What the SVI tab shows, as plain values: texts, HTML, the cells of tables. No gradio here."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import chain
from ...install import Refused, loras
from ...runs.state import State, reason, state
from ...runs.store import Clip, Run, Store, StoreError
from ...text import cut, duration, gigabytes, sentence, size
from ...variants import SEED_STEP, VARIANTS
from ..form import SettingsError

HEADERS = ["", "Run", "Made", "Variant", "Clips", "Length", "On disk", "State", "First prompt"]
_WORDS = {State.FINISHED: "finished", State.RUNNING: "running", State.STOPPED: "stopped", State.FAILED: "failed"}
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
        """The last clip from which the run can be redone; below 2 there is none."""
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
        lines.append("Its video is gone; the clips are there, and resuming the run makes it again."
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


def removing(shown: Shown) -> str:
    return (f"Remove the clips of run {shown.run.name} for good? That frees {size(shown.run.size)}; the run can then "
            f"not be resumed, extended or redone. {'Its video stays.' if shown.video else 'It has no video.'}")


# ----------------------------------------------------------------------------------------------------------- LoRA files

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


def bar(share: float, line: str) -> str:
    return f"<progress value='{share:.3f}' max='1' style='width:100%'></progress><div>{escape(line)}</div>"


def told(error: BaseException) -> str:
    """An error as a sentence; one that nobody foresaw asks to be reported."""
    from ...drift import DriftError

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
