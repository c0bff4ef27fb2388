"""WanGP's settings that resume, extend or redo a run. The tab and the command line share them."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import chain
from ..chain import MAX_CLIPS
from ..runs.record import About, StoreError
from ..runs.state import State, is_running, state
from ..runs.store import Run, is_busy
from ..storyboard import (
    LOOP,
    Row,
    Storyboard,
    edited,
    in_text,
    row_of,
    same_clips,
    write,
)
from ..text import count, sentence
from ..untrusted import parse_json
from ..variants import SEED_STEP, VARIANTS
from . import board, sound
from .form import STORYBOARD, Custom, SettingsError
from .media import MediaError
from .plan import SMALL
from .source_video import continues

SEEDS = range(2**32)
_MOST_PROMPTS = 2_000_000  # characters, of all clips: 1,000 for each of 2,000


class Unchanged(StoreError):
    """A storyboard by which there is nothing to make."""


def resumed(run: Run) -> dict[str, Any]:
    """Settings that resume a run, for `--process` or WanGP's queue. Raises StoreError."""
    done = len(run.done())
    if state(run, done) is State.FINISHED:
        all_done = "its clip is done" if done == 1 else f"all {done} clips are done"
        raise StoreError(f"run {run.name} is finished: {all_done}. Extend it"
                         + (", or redo it from a clip" if done > 1 else ""))
    return _settings(run, run.about.clips, run.name, run.about.asked, run.about.seed)


def extended(run: Run, clips: int, prompts: Sequence[str] = ()) -> dict[str, Any]:
    """Settings that extend a run by `clips` clips with these prompts, after all that it was to
    have, made or not. A loop closes with the last of them, so the clip that closed it is redone.
    Raises StoreError."""
    about, planned = run.about, max(run.about.clips, _begun(run))
    if about.sound:
        raise StoreError(f"run {run.name} is as long as its sound. To extend it, give it a longer "
                         f"one: python -m wan2gp_svi extend {run.name} --sound FILE")
    if planned >= MAX_CLIPS:
        raise StoreError(f"run {run.name} has {planned:,} clips, the most that a video can have. "
                         "To go on, continue its video in a new run")
    if not 1 <= clips <= MAX_CLIPS - planned:
        raise StoreError(f"add 1 clip or more, and at most {MAX_CLIPS - planned:,}: a video has "
                         f"up to {MAX_CLIPS:,} clips, and run {run.name} has {planned:,}")
    if len(prompts) > clips:
        raise StoreError(f"add {len(prompts)} clips, or remove "
                         f"{count(len(prompts) - clips, 'prompt')}: there are {len(prompts)} "
                         f"prompts for {count(clips, 'clip')}")
    total = planned + clips
    now, asked = _closed(storyboard_of(run), total), _prompts(about, total)
    if prompts:
        now = edited(now, range(planned, total), prompt="")
        asked = _each(about, planned) + chain.stream(prompts, clips)
    return _settings(run, total, _wish(run, now), asked, about.seed, now)


def _begun(run: Run) -> int:
    """The finished clips of a run that can be extended. Raises StoreError."""
    if is_running(run):
        raise is_busy(run.name)
    done = len(run.done())
    if not done or not run.about.settings:
        raise StoreError(f"press Generate again with the settings of run {run.name}: none of its "
                         "clips is finished")
    return done


def _each(about: About, clips: int) -> list[str]:
    """The prompt of each of so many clips, as the run has them."""
    return [about.asked[chain.prompt_index(clip, len(about.asked), about.repeat)]
            for clip in range(clips)]


def _prompts(about: About, clips: int) -> list[str]:
    """The prompts of a run for another number of clips, so that each clip keeps its own: where each
    prompt is for several clips, that number alone could move them."""
    repeat, each = VARIANTS[about.variant].prompt_repeat, _each(about, clips)
    kept = chain.stream(about.asked, clips, repeat) == each
    return list(about.asked) if kept else each


def _closed(board: Storyboard, clips: int) -> Storyboard:
    """The storyboard for so many clips: without rows for more, and if it is a loop, the last of
    them closes it."""
    last = board.clips - 1
    rows = {clip: row for clip, row in board.rows.items() if clip < clips}
    if board.row(last).end_image != LOOP or last == clips - 1:
        return replace(board, rows=rows)
    opened = edited(replace(board, rows=rows), [last] if last in rows else [], end_image="")
    return edited(opened, [clips - 1], end_image=LOOP)


def storyboard_of(run: Run) -> Storyboard:
    """A run's storyboard, with the run's own copies of its images. Raises StoreError."""
    try:
        found = (Custom(run.about.settings.get("custom_settings") or {}).storyboard
                 if run.about.settings else _asked_of(run))
    except ValueError as error:  # also a record that is no JSON
        raise StoreError(str(error).rstrip(".")) from error
    for clip, asked in zip(range(found.clips), run.about.asks, strict=False):
        with contextlib.suppress(ValueError, AttributeError):  # whatever the record says
            hashes = parse_json(asked.encode("utf-8"))
            for name in ("reference", "end image"):
                if path := run.image(str(hashes.get(name))):
                    found = edited(found, [clip], **{name.replace(" ", "_"): str(path)})
    return found


def _asked_of(run: Run) -> Storyboard:
    """The rows of a run that has no settings yet, because its first clip is still to come."""
    rows = {}
    for clip, asked in enumerate(run.about.asks):
        given = parse_json(asked.encode("utf-8")) if asked else {}
        if isinstance(given, dict):
            rows[clip] = row_of(f"{clip + 1}", {
                name: in_text(value) for name, value in given.items()})
    return Storyboard({clip: row for clip, row in rows.items() if row != Row()})


def gist(run: Run) -> str:
    """A run in a line: the prompt of its first clip, or of the first clip that a redo makes again.
    A prompt in the clip's row goes before the form's."""
    about, clip = run.about, run.about.base[1] if run.about.base else 0
    asked = about.asked or [""]
    prompt = asked[chain.prompt_index(clip, len(asked), about.repeat)]
    with contextlib.suppress(StoreError):
        prompt = storyboard_of(run).row(clip).prompt or prompt
    return f"From clip {clip + 1}: {prompt}" if clip else prompt


def restaged(run: Run, now: Storyboard, clips: int) -> dict[str, Any]:
    """Settings that make a run of `clips` clips by another storyboard: a redo from the first
    finished clip that changes, or else what is left to do. Raises StoreError."""
    done = len(run.done())
    wish = _wish(run, now)
    if wish == run.name and clips <= done:
        raise Unchanged(f"the storyboard changes none of the {done} finished clips of run "
                         f"{run.name}. Change a row, or add clips")
    if not 1 <= clips <= MAX_CLIPS:
        raise StoreError(f"a video has 1 to {MAX_CLIPS:,} clips, not {clips:,}")
    return _settings(run, clips, wish, _prompts(run.about, clips), run.about.seed, now)


def faults(run: Run | None, now: Storyboard, clips: int) -> list[str]:
    """What of a storyboard a run of so many clips cannot do, or without a run, what no video can;
    a sentence each."""
    variant, longer = None, False
    if run is not None:
        made = run.about.settings
        with contextlib.suppress(SettingsError):
            custom = Custom(made.get("custom_settings") or {})
            variant = custom.override(VARIANTS[run.about.variant])
        longer = continues(made)
    return [sentence(str(one)) for one in board.obstacles(now, variant, clips, longer)]


def _wish(run: Run, now: Storyboard, same: int = MAX_CLIPS) -> str:
    """What "SVI run" must be to make a run by this storyboard; `same`: so many clips stay at
    most."""
    try:
        done = len(run.done())
        same = min(same, same_clips(run.about.asks, board.keys(now), done))
    except SettingsError as error:
        raise StoreError(str(error).rstrip(".")) from error
    if same >= done:
        return run.name
    if not same:
        raise StoreError(f"clip 1 of run {run.name} would change, and with it all others: make a "
                         "new video")
    return f"{run.name}@{same + 1}"


def spoken_on(run: Run, longer: Path) -> dict[str, Any]:
    """Settings that extend a run by a longer sound, which begins as the run's own. The clip that
    the old sound ended in is redone. Raises StoreError."""
    about, done = run.about, _begun(run)
    try:
        heard = sound.find(longer).heard
    except MediaError as error:
        raise StoreError(str(error)) from error
    if not about.sound:
        raise StoreError(f"run {run.name} has no sound: extend it by --clips")
    same = same_clips(about.sound, heard, done)
    if not same:
        raise StoreError(f"the sound {longer.name} does not begin as that of run {run.name} does. "
                         "Copy that from the run's folder, and add to it in a format without loss, "
                         "such as WAV")
    if len(heard) <= same:
        raise StoreError(f"the sound {longer.name} is not longer than that of run {run.name}")
    now = _closed(storyboard_of(run), len(heard))
    settings = _settings(run, len(heard), _wish(run, now, same), _prompts(about, len(heard)),
                         about.seed, now)
    return {**settings, "audio_guide": str(longer.resolve())}


def redone(run: Run, clip: int, prompt: str = "", seed: int | None = None) -> dict[str, Any]:
    """Settings that redo a run from clip `clip`, counted from 1, with another seed, or with another
    prompt for as many clips as the old one was used. Raises StoreError."""
    about, _ = run.about, _begun(run)
    check_redo(run, clip, min(len(run.done()) + 1, about.clips))
    if seed is not None and seed not in SEEDS:
        raise StoreError(f"the seed must be from 0 to {SEEDS[-1]:,}, not {seed:,}")
    asked = chain.stream(about.asked, about.clips, about.repeat)
    now, at = storyboard_of(run), clip - 1
    old, own_seed = now.row(at).prompt or asked[at], now.row(at).seed
    if prompt in ("", old) and seed in (None, about.seed if own_seed is None else own_seed):
        raise StoreError("enter a new prompt or a new seed, or both: with the old ones, the clips "
                         "would be the same")
    if seed is not None and own_seed is not None:  # the storyboard's would go first
        now, seed = edited(now, [at], seed=seed), about.seed
    if prompt:
        while at < len(asked) and (now.row(at).prompt or asked[at]) == old:
            if now.row(at).prompt:
                now = edited(now, [at], prompt=prompt)
            else:
                asked[at] = prompt
            at += 1
    else:
        asked = list(about.asked)
    seed = about.seed if seed is None else seed
    return _settings(run, about.clips, f"{run.name}@{clip}", asked, seed, now)


def seed_of(run: Run, clip: int, new: int | None = None) -> int:
    """The seed that clip `clip`, counted from 1, gets in a redo from there with a `new` seed or the
    run's. Raises StoreError."""
    about, own = run.about, storyboard_of(run).row(clip - 1).seed
    if own is not None:  # the storyboard's goes first
        return own if new is None else new
    step = int(about.decides.get("SVI seed step", SEED_STEP))
    return chain.seed(about.seed if new is None else new, clip - 1, step)


def what_happens(run: Run, settings: Mapping[str, Any], done: int) -> str:
    """What these settings do with a run of so many finished clips, as the end of a sentence."""
    clip = redo_from(settings)
    clips = chain.clips_of(int(settings["video_length"]), int(settings["sliding_window_overlap"]))
    if clips > max(run.about.clips, done):
        return f"extend run {run.name} to {clips} clips" + (
            f", redoing it from clip {clip}" if clip else f", from clip {done + 1} on")
    what = (f"redo run {run.name} from clip {clip}" if clip else
            f"resume run {run.name} at clip {min(done + 1, clips)}")
    return f"{what} of {clips}"


def check_redo(run: Run, clip: int, last: int) -> None:
    """Raises StoreError unless a run can be redone from `clip`, which is 2 to `last`."""
    if not 2 <= clip <= last:
        can = ("it cannot be redone" if last < 2 else "it can be redone only from clip 2"
               if last == 2 else f"it can be redone from clip 2 to {last}")
        new = ". To change clip 1, make a new video" if clip == 1 else ""
        raise StoreError(f"run {run.name} has {count(len(run.done()), 'finished clip')} of "
                         f"{run.about.clips}, so {can}{new}")


def command(settings: Mapping[str, Any], path: Path) -> str:
    """The command that runs a file with these settings. The demo model needs no GPU, but WanGP's
    own start does."""
    small = settings.get("model_type") == SMALL
    start = "-m wan2gp_svi demo-model . --start" if small else "wgp.py"
    return f'python {start} --process "{path}"'


def redo_from(settings: Mapping[str, Any]) -> int | None:
    """The clip from which these settings redo a run; None if they resume or extend it."""
    clip = settings["custom_settings"]["svi_run"].partition("@")[2]
    return int(clip) if clip else None


def _settings(run: Run, clips: int, wish: str, asked: Sequence[str], seed: int,
              now: Storyboard | None = None) -> dict[str, Any]:
    about, _ = run.about, _begun(run)
    if (length := sum(map(len, asked))) > _MOST_PROMPTS:
        raise StoreError(f"the prompts of all clips have {length:,} characters together, and at "
                         f"most {_MOST_PROMPTS:,} are possible: shorten them")
    own = VARIANTS[about.variant].overlap
    overlap = about.settings.get("sliding_window_overlap", own)
    start = run.folder / "start.png"
    custom = {**(about.settings.get("custom_settings") or {}), "svi_run": wish}
    if (staged := storyboard_of(run) if now is None else now):
        custom[STORYBOARD] = write(staged)
    between = "\n\n" if about.settings.get("multi_prompts_gen_type") == "PW" else "\n"
    media = {"image_start": str(start)} if start.is_file() else {}
    if run.sound is not None:
        media["audio_guide"] = str(run.sound)
    if run.poses is not None:
        media["video_guide"] = str(run.poses)
    if run.source is not None:  # which may have been the last one in WanGP's gallery
        kind = str(about.settings.get("image_prompt_type") or "").replace("L", "V")
        media |= {"video_source": str(run.source), "image_prompt_type": kind}
    return {**about.settings, **media, "seed": seed, "prompt": between.join(asked),
            "custom_settings": custom, "video_length": chain.length(clips, overlap),
            "sliding_window_overlap": overlap, "repeat_generation": 1}
