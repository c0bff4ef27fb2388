"""What the tab shows of runs, as plain values: text, HTML, the cells of tables."""

import base64
import contextlib
import functools
import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ... import chain
from ...files import read_json
from ...runs.record import Clip, StoreError
from ...runs.state import State, clips_in_words, in_words, state
from ...runs.store import Run, Store
from ...storyboard import LOOP, Storyboard
from ...text import cut, duration, plural, sentence, size
from ...variants import CLIP_FRAMES, SEED_STEP, VARIANTS
from ..check.telling import for_page
from ..resuming import SEEDS, gist, seed_of, storyboard_of
from ..source_video import continues
from .helpers import table

_THUMBNAIL = (112, 72)
_MOST_ROWS = 200  # of the table of clips; a browser takes seconds for thousands
_LONGEST_PROMPT = 5000  # characters of a prompt in it
_VIDEOS = (".mp4", ".mkv", ".mov")
# gradio greys text while it waits for news, which would flicker every few seconds; and a list that
# has pages turns to its first with each change, so ours scroll
_ABOUT = ("<style>#svi_run .pending, #svi_runs .pending, #svi_about .pending "
          "{opacity: 1 !important} #svi_runs .table-wrap, #svi_cards .table-wrap "
          "{max-height: min(720px, 70vh); overflow-y: auto}</style>"
          "Each clip is saved as soon as it is done. So you can resume a run that failed or was "
          "stopped, extend it, or redo it from any clip.")
_MOST_PIXELS = 2**24  # of a run's picture, which is as large as its video: 4K has half as many


@dataclass(frozen=True)
class Shown:
    """A run as the tab shows it, with the paths of its video and its drift report's picture.
    `waits`: a job for it is in WanGP's queue."""

    run: Run
    done: list[Clip]
    state: State
    video: Path | None
    drift: Path | None
    waits: bool = False

    @property
    def can_resume(self) -> bool:
        return self.can_extend and self.state != State.FINISHED

    @property
    def can_extend(self) -> bool:
        return bool(self.done and self.run.about.settings) and self.state != State.RUNNING

    @property
    def can_redo(self) -> bool:
        return self.can_extend and self.last_redo > 1

    @property
    def next_step(self) -> str:
        """What the user can do with it, and else why not, in Markdown."""
        if self.state is State.RUNNING:
            return "Wait until it is finished, or stop it: then it can be extended and redone."
        if self.waits:
            return "It goes on when its job in WanGP's queue begins."
        if not self.can_extend:
            return ("Press **Generate** again with its settings, and it begins again: it has no "
                    "finished clip to resume, extend or redo.")
        redo = "redo it from a clip" if self.can_redo else ""
        if not self.can_resume:
            return (f"Extend it, or {redo}: nothing is left to resume." if redo else
                    "Extend it: nothing is left to resume, and there is no second clip to redo.")
        done, clips = len(self.done), self.run.about.clips
        resume = f"at clip {done + 1} of {clips}" if done < clips else "to put all clips together"
        stops = " It stops after every clip." * _board(self.run).pause
        return f"Resume it {resume}{', extend it, or ' if redo else ', or extend it'}{redo}.{stops}"

    @property
    def last_redo(self) -> int:
        """The last clip from which it can be redone; below 2 if there is none."""
        return min(len(self.done) + 1, self.run.about.clips)


def look(run: Run, waiting: Collection[str] = ()) -> Shown:
    """`waiting`: the names of runs with a job in WanGP's queue."""
    done, video = run.done(), run.video
    now = state(run, len(done))
    return Shown(run, done, now, video, drift_of(video),
                 now is not State.RUNNING and run.name in waiting)


def seconds(run: Run, clips: int, board: Storyboard | None = None, short: bool = False) -> float:
    """The length of the video that so many clips make, by the run's own storyboard or another one;
    of one that they continue, how much longer it gets. `short`: it lacks the frames that the last
    clip shares with the next."""
    if not clips:
        return 0.0
    board = _board(run) if board is None else board
    loops = not short and board.row(clips - 1).end_image == LOOP  # the clip that closes it is last
    shared = _overlap(run) * (continues(run.about.settings) + short)
    return (chain.length(clips, _overlap(run)) - loops - shared) / run.about.fps


def length(run: Run, clips: int, board: Storyboard | None = None, short: bool = False) -> str:
    """The same in words: "10.1 s", or "10 s more" of a video that is continued."""
    more = " more" if continues(run.about.settings) else ""
    return f"{duration(seconds(run, clips, board, short))}{more}"


def _overlap(run: Run) -> int:
    own = VARIANTS[run.about.variant].overlap
    return int(run.about.settings.get("sliding_window_overlap", own))


def _board(run: Run) -> Storyboard:
    """The run's storyboard, as far as it can be read."""
    with contextlib.suppress(StoreError):
        return storyboard_of(run)
    return Storyboard()


def length_of_next(shown: Shown) -> str:
    """How much longer a clip makes the video."""
    return duration((CLIP_FRAMES - _overlap(shown.run)) / shown.run.about.fps)


def rows(store: Store, waiting: Collection[str] = ()) -> tuple[list[list[str]], list[str]]:
    """The cells of the list of runs, one in each row, and the names of the runs; "" for a run that
    cannot be read."""
    cells, names = [], []
    for run in store.runs():
        try:
            cells.append([card(look(run, waiting))])
        except OSError:  # just being removed
            continue
        names.append(run.name)
    for folder, why in store.unreadable(names):
        cells.append([f"<b>{escape(cut(folder.name, 60))}</b>"
                      f"<div>{escape(cut(for_page(why), 400))}</div>"])
        names.append("")
    return cells, names


def card(shown: Shown) -> str:
    """A run in the list, in HTML: its picture, and beside it all that tells it from others."""
    run, about = shown.run, shown.run.about
    title = f"{about.label} ({run.name})" if about.label else run.name
    facts = [*_amount(shown), size(run.size), run.changed]
    lines = (f"<b>{escape(title)}</b> {escape(about.title)}",
             f"<b>{escape(cut(_state(shown), 70))}</b>",
             escape(", ".join(facts)), escape(cut(gist(run), 70)))
    text = "".join(f"<div>{line}</div>" for line in lines)
    return pressable(f"<div style='flex:0 0 {_THUMBNAIL[0]}px'>{thumbnail(run)}</div>"
                     f"<div style='overflow-wrap:anywhere;line-height:1.4'>{text}</div>",
                     mark=_mark(run.name))


def _mark(run: str) -> str:
    return f"svi-{run.encode().hex()}"  # a class has fewer characters than a name


def about(run: str, click: bool = True) -> str:
    """What stands above the list, in HTML. Its style shows which run is open, so that the rows need
    not be sent again. `click`: there is one to click."""
    return _ABOUT + " <b>Click a run.</b>" * click + (f"<style>#svi_runs .{_mark(run)} "
                     "{border-left-color: var(--color-accent) !important}</style>" if run else "")


def pressable(content: str, chosen: bool = False, mark: str = "") -> str:
    """A row of a list of gradio's, which listens to clicks alone: a button takes the keys as well,
    and its click is the row's. `mark`: its class."""
    colour = "var(--color-accent)" if chosen else "transparent"
    current = "aria-current='true'" if chosen else ""
    return (f"<button type='button' class='{mark}' {current} style='display:flex;gap:12px;"
            f"width:100%;padding:2px 2px 2px 6px;border:0;border-left:4px solid {colour};"
            "background:none;color:inherit;font:inherit;text-align:left;white-space:normal'>"
            f"{content}</button>")


def _state(shown: Shown) -> str:
    """With what comes first where it is cut."""
    words = for_page(in_words(shown.run, shown.state, shown.done))
    return f"in WanGP's queue, {words}" if shown.waits else words


def _amount(shown: Shown) -> list[str]:
    """How many clips there are, and the length of the video that they make."""
    clips = clips_in_words(shown.run, shown.state, shown.done)
    noun = plural(max(shown.run.about.clips, len(shown.done)), "clip")
    if not shown.done:
        return [clips]
    # one that another was to follow has given up its last frames
    short = VARIANTS[shown.run.about.variant].keep_new and not shown.done[-1].tail
    return [f"{clips} {noun}", length(shown.run, len(shown.done), short=short)]


def empty(folder: Path, begins: bool = False) -> str:
    """What stands in place of an empty list, in Markdown. `begins`: a run may be about to."""
    if begins:
        return "WanGP is at work. A new run appears here when its first clip begins."
    return (f"There are no runs in `{for_page(str(folder))}`. Choose a profile and press **New "
            "video** or **New storyboard**: once you generate it, its clips are saved one by one, "
            "and the run appears here.")


def summary(shown: Shown) -> str:
    """The chosen run, in Markdown."""
    run, about = shown.run, shown.run.about
    name = f"{_plain(about.label)}: run {run.name}" if about.label else f"Run {run.name}"
    lines = [f"### {name}, {about.title}",
             f"**{sentence(_plain(_state(shown)))}.** "
             f"{sentence(', '.join(_amount(shown)))}, seed {about.seed}, {size(run.size)} on "
             "disk."]
    if about.base:
        first = "clip" if about.base[1] == 1 else f"{about.base[1]} clips"
        lines.append(f"It begins with the first {first} of run {about.base[0]}.")
    if shown.video is None:
        lines.append("Its video is gone, but its clips are on disk: the video comes back when you "
                     "resume the run." if about.video else "It has no video yet.")
    lines.append(shown.next_step)
    return "\n\n".join(lines)


def clips_table(shown: Shown) -> str:
    """The clips with their prompts and seeds, finished or to come, in HTML. Of a long run, those
    around the first that is to come."""
    about, cells = shown.run.about, []
    step = int(about.decides.get("SVI seed step", SEED_STEP))
    prompts = chain.stream(about.asked or [""], about.clips, about.repeat)
    board = _board(shown.run)
    first = max(0, min(len(shown.done) - _MOST_ROWS // 2, len(prompts) - _MOST_ROWS))
    last = min(first + _MOST_ROWS, len(prompts))
    for number, prompt in enumerate(prompts[first:last], first):
        clip = shown.done[number] if number < len(shown.done) else None
        row = board.row(number)
        seed = clip.seed if clip else chain.seed(about.seed, number, step) if (
            row.seed is None) else row.seed
        made = shown.state is State.RUNNING and number == len(shown.done)
        now = "on disk" if clip else "being made" if made else "to come"
        cells.append([str(number + 1), now, str(seed),
                      cut(clip.prompt if clip else row.prompt or prompt, _LONGEST_PROMPT)])
    left_out = "" if len(cells) == len(prompts) else (
        f"<p>Clips {first + 1:,} to {last:,} of {len(prompts):,}.</p>")
    return left_out + table(["Clip", "State", "Seed", "Prompt"], cells)


def seed_said(run: Run, clip: Any, entered: Any) -> str:
    """Which seed a redo from a clip gives it, with what is entered as the new seed; "" if that
    cannot be."""
    text = str(entered or "").strip()
    with contextlib.suppress(StoreError, TypeError, ValueError, OverflowError):
        number, new = int(float(clip)), int(float(text)) if text else None
        possible = number == float(clip) and 1 < number <= look(run).last_redo
        if possible and (new is None or new in SEEDS and new == float(text)):
            seed = seed_of(run, number, new)
            step = int(run.about.decides.get("SVI seed step", SEED_STEP))
            why = "" if new in (None, seed) else f": {new}, and {step} more for each clip before it"
            return f"Clip {number} gets the seed {seed}{why}."
    return ""


def removing(runs: list[Run]) -> str:
    """The question before runs are removed."""
    names, freed = ", ".join(run.name for run in runs), size(sum(run.size for run in runs))
    which, them = ((f"run {names} for good", "it") if len(runs) == 1 else
                   (f"{len(runs)} runs for good ({names})", "them"))
    return (f"Remove the clips of {which}? This frees {freed}, but you can then "
            f"no longer resume, extend or redo {them}. Videos stay.")


def choice(run: Run) -> tuple[str, str]:
    """A run in a drop-down list, and its name."""
    about = run.about
    words = (run.name, about.label or about.title, size(run.size))
    return ", ".join(words), run.name


def thumbnail(run: Run) -> str:
    """The reference, or else the first frame, as HTML that contains it; "" if there is neither."""
    return picture(run.folder / "reference.png") or picture(run.path(0, ".mp4"))


def picture(path: Path | None) -> str:
    """A small image, or the first frame of a video, as HTML that contains it; "" if there is
    none."""
    try:
        return "" if path is None else _thumbnail(path, path.stat().st_mtime)
    except Exception:  # what it belongs to is shown, whatever is wrong with its picture
        return ""


def opened(path: Path | None) -> Any:
    """An image, no larger than it is shown; None if there is none."""
    try:
        return None if path is None else _small(path, (640, 360))
    except Exception:  # the check of the form says why
        return None


@functools.lru_cache(maxsize=512)
def _thumbnail(path: Path, modified: float) -> str:
    image = _small(path, _THUMBNAIL)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = _THUMBNAIL
    return (f"<img src='data:image/jpeg;base64,{data}' alt='' style='height:{height}px;"
            f"width:{width}px;object-fit:cover;border-radius:4px;margin:0'>")


def _small(path: Path, size: tuple[int, int]) -> Any:
    from PIL import Image, ImageOps

    video = path.suffix in _VIDEOS
    image = Image.fromarray(_first_frame(path)) if video else Image.open(path)
    if image.width * image.height > _MOST_PIXELS:
        raise OSError(f"{path} is too large for a picture of a run")
    image = ImageOps.exif_transpose(image).convert("RGB")
    image.thumbnail(size)
    return image


def _first_frame(path: Path) -> Any:
    from ...drift.video import read

    return next(read(path, 1))[0]


def served(path: Path) -> str:
    """The address of a file in WanGP's folder for videos. Unlike a component, it needs no copy; the
    time in it makes browsers load a video again when it has grown."""
    path, here = path.resolve(), Path.cwd()
    name = path.relative_to(here) if path.is_relative_to(here) else path  # as gradio looks for it
    return f"/gradio_api/file={quote(name.as_posix())}?{path.stat().st_mtime_ns}"


def video(shown: Shown) -> str:
    if shown.video is None:
        return ""
    path = escape(for_page(str(shown.video)), quote=True)
    return (f"<video src='{served(shown.video)}' controls preload='metadata' "
            "style='width:100%;max-height:420px'></video>"
            f"<div style='opacity:.7;font-size:.85em;overflow-wrap:anywhere' title='{path}'>"
            f"{escape(shown.video.name)}</div>")


def drift_of(video: Path | None) -> Path | None:
    """The picture of a video's drift report, if there is one and the video has not grown since."""
    if video is None:
        return None
    path = video.with_name(f"{video.stem}.drift.png")
    try:
        return path if path.stat().st_mtime >= video.stat().st_mtime else None
    except OSError:
        return None


def drift(path: Path | None) -> str:
    """A drift report: its verdict, and its picture, which opens in full on a click."""
    if path is None:
        return ""
    report = read_json(path.with_suffix(".json"))
    verdict = report.get("verdict", "") if isinstance(report, dict) else ""
    verdict = escape(cut(str(verdict), 2000))
    return (f"<p><b>{verdict}</b></p><a href='{served(path)}' target='_blank'>"
            f"<img src='{served(path)}' alt='drift report' style='width:100%'></a>")


def _plain(text: str) -> str:
    """Text for Markdown, with what has a meaning there or in HTML as numbers of characters."""
    return re.sub(r"[&\\`*_{}\[\]<>#|~]", lambda found: f"&#{ord(found[0])};",
                  " ".join(text.split())).rstrip(".")
