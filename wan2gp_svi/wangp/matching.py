"""Which run on disk a video belongs to: the newest that matches, the one that the user names, or a
new one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain, files
from ..runs import record
from ..runs.record import About, Clip, StoreError
from ..runs.state import State, is_empty, is_running, reason
from ..runs.store import FOLDER, Run, Store
from ..storyboard import same_clips
from ..text import count, cut, sentence
from ..variants import CLIP_FRAMES
from . import board, pose_video, sound, stop_button
from .form import AUTO, DECIDING, NEW, STORYBOARD, SettingsError
from .frames import to_uint8
from .media import MediaError
from .plan import Plan, clips_of, file_name, first_image, required
from .recorder import Recording
from .resuming import check_redo
from .source_video import continues

NEWEST = 20  #: runs that the form looks at
_START, _POSES, _OF_SERVER = "start image", "pose video", "server "

#: like DECIDING, in WanGP's configuration, with what WanGP assumes where it says nothing; None:
#: unknown
_SERVER = {
    "int8_kernels": None, "kernel_precision": None, "mixed_precision": "0",
    "text_encoder_quantization": "int8", "transformer_dtype_policy": "",
    "transformer_quantization": "int8", "vae_precision": "16", "video_container": "mp4",
    "video_output_codec": "libx264_8",
}

#: the same for a person who speaks; the sound itself is in `About.sound`
_DECIDING_SPEECH = ("audio_guidance_scale", "audio_prompt_type")

_Scope = Mapping[str, Any]

_recordings: weakref.WeakSet[Recording] = weakref.WeakSet()  # that this WanGP has begun
_told: set[str] = set()  # of runs that cannot be read


def begin(scope: _Scope, plan: Plan, reference: Tensor, motion_frames: Tensor,
          say: Callable[[str], None], source: Path | None = None, apart: bool = False
          ) -> Recording | None:
    """At the first window of a video: its run. Raises SettingsError.

    None if WanGP keeps its frames in another way (before v10.41). `reference` [3, H, W] and the
    first clip's `motion_frames` [3, N, H, W] are float32 in [-1, 1]. `source` is the video that is
    continued; if it is `apart`, the clips are joined to a copy of it.
    """
    if not isinstance(scope.get("frames_already_processed"), list) or "save_path" not in scope:
        if apart:
            raise SettingsError("This WanGP cannot continue a video that is so long. Update it to "
                                "10.41 or later.")
        return None
    wish, store = plan.requested_run, Store(Path(scope["save_path"]) / FOLDER)
    total = scope["total_windows"]
    about = _about(scope, plan, reference, motion_frames)
    random = scope["repeat_no"] > 1 or _asked_seed(scope) < 0
    in_memory = bool(scope.get("api_return_video_uint8"))  # the caller wants all frames
    try:
        record.check(about)
        run = None
        if wish not in (AUTO, NEW):
            if in_memory:
                raise StoreError("this job wants all frames in memory, so it cannot resume a run "
                                 "from disk. Set \"SVI run\" to auto")
            run = _named(store, wish, about, random)
        elif wish != NEW and scope["repeat_no"] == 1 and not in_memory:
            run = (_same(store, about, random, say)
                   or _begun_again(store, about, random, _images(scope, reference), say))
        run = run or store.new(about, _images(scope, reference))
        if plan.sound:
            run.take_sound(Path(_sound(scope)))
        if poses := _poses(scope, plan):
            run.take_poses(poses)
        if source is not None:
            (run.take_before if apart else run.take_source)(source)
        for path in board.images(plan.board):
            run.take_image(Path(path), board.digest(path))
        # the page knows its run before that is locked, which makes it one that is running
        (scope.get("gen") or {})[stop_button.RUN] = run
        own_sound = bool(scope.get("postprocess_audio") or scope.get("audio_source"))
        recording = Recording(run, total, reference.shape[1] * reference.shape[2], say,
                              plan.sound and not own_sound, plan.board.pause)
        recording.asked = replace(
            run.about, asked=about.asked, prompts=about.prompts, repeat=about.repeat,
            sound=about.sound, asks=about.asks,
            settings=_restaged(run.about.settings, scope) if run.about.settings else {})
    except StoreError as error:
        raise _in_words(error) from None  # WanGP prints where an error is raised, which is enough
    except OSError as error:
        raise SettingsError(
            f"SVI cannot keep clips in {store.folder} ({files.explain(error)}). Free some disk "
            "space, allow writing there, or choose another folder for videos in WanGP's "
            "configuration."
        ) from None
    recording.job, recording.by_itself = scope.get("gen") or {}, wish == AUTO and not random
    _recordings.add(recording)
    if recording.taken_over:
        say(_resuming(run, recording.taken_over, total))
    return recording


def others_after(run: Run) -> int:
    """The videos that WanGP makes after a run in the same job, which end with it; 0 if it is
    another WanGP's."""
    return next((one.others for one in _recordings
                 if one.holds_lock and one.run.folder == run.folder), 0)


def check_requested(outputs: Path, plan: Plan, inputs: _Scope, server: _Scope,
                    prompts: Sequence[str]) -> None:
    """Before the model is loaded: whether the run that the user names can be resumed or redone, as
    far as the settings tell; `begin` compares the rest. Raises SettingsError."""
    try:
        run = Store(outputs / FOLDER).find(plan.requested_run.partition("@")[0])
        inputs = {**inputs, **required(plan, inputs)}
        _check_begin(run, inputs)
        asked, seed = inputs.get("seed"), run.about.seed
        # a seed that the continued video has is replaced by the next
        if asked is not None and asked != "" and int(asked) >= 0 and not continues(inputs):
            seed = int(asked)
        heard = list(sound.find(sound.given(inputs)).heard) if plan.sound else []
        _check_settings(run, plan.requested_run, _changed(run, plan, inputs, server), seed)
        _check_made(run, plan.requested_run, heard, board.keys(plan.board))
        if any(one.run.folder == run.folder for one in _recordings if one.holds_lock):
            return  # its clips are not all made yet
        run.lock()()
        clips, name = clips_of(plan, inputs), plan.requested_run
        _check_clips(run, name, clips)
        if "@" in name and not inputs.get("prompt_enhancer"):
            keep, done = int(name.partition("@")[2]) - 1, run.done()
            alike, now = _in_lines(run), _as_now(run, plan, inputs, prompts, heard)
            if (len(done) >= max(clips, keep + 1)
                    and (now.asks, seed) == (run.about.asks, run.about.seed)
                    and _prompts_fit(alike, done[keep:], now)):
                raise _made_already(run)
    except MediaError:  # which has a finding of its own
        return
    except StoreError as error:
        raise _in_words(error) from None


def _check_begin(run: Run, inputs: _Scope) -> None:
    """Raises StoreError if one of the two starts with an image, and the other continues a video."""
    made = run.about.settings
    if made and continues(made) != continues(inputs):
        begins = ("continues a video. Choose to continue that video" if continues(made) else
                  "starts with an image. Choose to start with that image")
        raise StoreError(f"run {run.name} {begins}, or resume or extend it in the tab SVI")


def _changed(run: Run, plan: Plan, inputs: _Scope, server: _Scope) -> dict[str, Any]:
    """What decides the picture and is not as in the settings that the run was made with. WanGP's
    loop may hold other values than its settings, so these are compared with settings alone."""
    kept = run.about.settings
    changed = {name: inputs[name] for name in (*DECIDING, *_DECIDING_SPEECH * plan.sound)
               if name in inputs and name in kept and inputs[name] != kept[name]}
    if _is_another_start(run, inputs):
        changed[_START] = "another"
    return changed | _of_plan(plan) | _of_poses(inputs, plan) | (
        _of_server(server) if server else {})


def _is_another_start(run: Run, inputs: _Scope) -> bool:
    """Whether the start image is none that the run began with: as given, or as all clips got it.
    False if that is not known."""
    given = first_image(inputs.get("image_start"))
    kept = [_pixels(run.folder / name) for name in ("start.png", "reference.png")]
    if continues(inputs) or None in kept:
        return False
    return (now := _pixels(given)) is not None and now not in kept


def _pixels(image: Any) -> str | None:
    """The hash of an image, by its path or not; None if there is none, or it is too large."""
    with contextlib.suppress(Exception):  # no picture, no PIL
        if hasattr(image, "convert"):
            return _hash_of(image)
        seen = Path(image).stat()
        return _pixels_in(str(image), seen.st_mtime_ns, seen.st_size)
    return None


@lru_cache(maxsize=64)  # the form asks at every change
def _pixels_in(path: str, changed: int, size: int) -> str | None:
    from PIL import Image

    with Image.open(path) as opened:
        return _hash_of(opened)


def _hash_of(image: Any) -> str | None:
    from PIL import ImageOps

    if image.width * image.height > board.MOST_PIXELS:
        return None
    turned = ImageOps.exif_transpose(image.convert("RGB"))  # as WanGP does
    return f"{turned.size} {hashlib.sha256(turned.tobytes()).hexdigest()}"


def _in_words(error: StoreError) -> SettingsError:
    return SettingsError(f"{sentence(str(error))}.", "svi-run")


def _resuming(run: Run, done: int, total: int) -> str:
    about, at = run.about, f"from clip {done + 1}"
    if total > max(about.clips, done):
        what = f"extending run {run.name} to {total} clips, {at} on"
    elif about.base and about.base[1] == done:
        what = f"run {run.name} redoes run {about.base[0]}, {at} of {total}"
    else:
        left = f"{at} of {total}" if done < total else "all clips are done"
        what = f"resuming run {run.name}, {left}"
    failed, ended = reason(about), "" if about.ended == State.FINISHED else about.ended
    why = f"it failed: {failed}" if failed else ended
    return f"{what}{f' ({why})' if why else ''}. For a new video, set \"SVI run\" to new."


def _same(store: Store, about: About, random: bool, say: Callable[[str], None]) -> Run | None:
    """The newest run that is what `about` asks for and lacks clips.

    Says so if one would be that but for some settings. With a `random` seed, the user who stopped
    a run does not mean that run.
    """
    near: dict[int, str] = {}
    names = set()
    for run in store.runs():
        names.add(run.name)
        had = run.about
        if not _lacks_clips(run, about, random):
            continue
        different = _differences(had.decides, about.decides)
        if different:
            same_start = had.decides.get(_START) == about.decides[_START]
            if had.variant == about.variant and same_start:
                near[len(different)] = (
                    f"this is a new run: run {run.name} has the same start and seed, but was made "
                    f"with other settings: {'; '.join(different)}.")
            continue
        try:
            run.lock()()
        except StoreError as error:
            near[0] = f"{error}. This is a new run."
            continue
        return run
    for _, why in store.unreadable(names):
        if why not in _told:
            _told.add(why)
            say(f"{why}. This is a new run.")
    if near:
        say(near[min(near)])
    return None


def _begun_again(store: Store, about: About, random: bool, images: Mapping[str, bytes],
                 say: Callable[[str], None]) -> Run | None:
    """The newest run that is what `about` asks for and ended in its first clip, as a new one."""
    for run in store.runs():
        had = run.about
        if (not is_empty(run) or had.base is not None or had.variant != about.variant
                or not random and had.seed != about.seed
                or _differences(had.decides, about.decides)):
            continue
        with contextlib.suppress(StoreError):  # just begun by another WanGP
            run.begin_again(about, images)
            say(f"run {run.name} begins again: none of its clips was finished.")
            return run
    return None


def _lacks_clips(run: Run, about: About, random: bool) -> bool:
    """Whether a run is what `about` asks for and lacks clips, whatever else decides the picture."""
    had = run.about
    other_seed = had.ended == State.STOPPED if random else had.seed != about.seed
    if had.base is not None or other_seed:
        return False
    done = run.done()
    wanted = min(had.clips, about.clips) if random else about.clips
    unfinished = len(done) == wanted and had.ended != State.FINISHED
    return ((len(done) < wanted and run.begun() or unfinished)
            and not _made_otherwise(run, about.sound, about.asks)
            and _prompts_fit(run, done, about))


def unasked(outputs: Path, plan: Plan, inputs: _Scope, server: _Scope, prompts: Sequence[str]
            ) -> Run | None:
    """The run that Generate would resume or extend although "SVI run" does not name it, as far as
    the settings tell; of the newest runs. None if there is none."""
    # of a video that is continued, too little is known here
    if (plan.requested_run != AUTO or continues(inputs)
            or _pixels(first_image(inputs.get("image_start"))) is None):
        return None
    seed = int(inputs.get("seed") or 0)
    heard = list(sound.find(sound.given(inputs)).heard) if plan.sound else []
    for run in islice(Store(outputs / FOLDER).runs(), NEWEST):
        had, kept, alike = run.about, run.about.settings, _in_lines(run)
        about = replace(_as_now(run, plan, inputs, prompts, heard), seed=seed)
        if (not continues(kept)
                and all(inputs.get(name) == kept.get(name) for name in ("model_type", "resolution"))
                and _lora_names(inputs) == _lora_names(kept)
                and _lacks_clips(alike, about, seed < 0)
                and not _differences(had.decides, _changed(run, plan, inputs, server))
                and not is_running(run)):
            return run
    return None


def _as_now(run: Run, plan: Plan, inputs: _Scope, prompts: Sequence[str], heard: list[str]
            ) -> About:
    """A run's record with what is asked for now, as far as the settings tell, but for its seed."""
    clips, asked = clips_of(plan, inputs), list(map(_in_line, prompts)) or [""]
    repeat = max(1, min(plan.variant.prompt_repeat, clips // len(asked)))
    return replace(run.about, clips=clips, asked=asked, repeat=repeat, sound=heard,
                   asks=board.keys(plan.board))


def _in_lines(run: Run) -> Run:
    """A run whose prompts are in one line each, as `_as_now` has them."""
    return Run(run.folder, replace(run.about, asked=list(map(_in_line, run.about.asked))))


def _in_line(prompt: str) -> str:
    return " ".join(prompt.split())


def _lora_names(inputs: _Scope) -> list[str]:
    return [file_name(name) for name in inputs.get("activated_loras") or []]


def _named(store: Store, wish: str, about: About, random: bool) -> Run:
    """The run that the user names, or for `NAME@CLIP` a new one with the clips before that one.

    Raises StoreError.
    """
    name, _, clip = wish.partition("@")
    run = store.find(name)
    _check_settings(run, wish, about.decides, run.about.seed if random else about.seed)
    _check_made(run, wish, about.sound, about.asks)
    _check_clips(run, wish, about.clips)
    if clip:
        begun = _begun_redo(store, run, int(clip) - 1, about)
        if begun is not None:
            return begun
        keep = int(clip) - 1
        return store.fork(run, keep, replace(about, base=(run.name, keep), ended=""))
    if not _prompts_fit(run, run.done(), about):
        raise StoreError(
            f"the prompts differ from those that the clips of run {run.name} were made with. Set "
            f"them back, or write {run.name}@K to redo it from clip K")
    return run


def _check_settings(run: Run, wish: str, decides: Mapping[str, Any], seed: int) -> None:
    """Raises StoreError if the clips of `run` would not fit to others that are made so."""
    different = _differences(run.about.decides, decides)
    if "@" not in wish and run.about.seed != seed:
        different.append(f"seed {seed} (it has {run.about.seed})")
    if different:
        raise StoreError(
            f"run {run.name} was made with other settings, and the clips would not fit together: "
            f"{'; '.join(different)}. Set them back, or set \"SVI run\" to auto for a new video")


def _made_otherwise(run: Run, heard: Sequence[str], asks: Sequence[str]) -> tuple[int, str] | None:
    """The first finished clip of a run, counted from 1, that hears another sound or was asked for
    something else, and which of them."""
    about, done = run.about, len(run.done())
    found = [(same + 1, what) for what, same in (
        ("sound", same_clips(about.sound, heard, done)),
        ("storyboard", same_clips(about.asks, asks, done))) if same < done]
    return min(found, default=None)


def _check_made(run: Run, wish: str, heard: Sequence[str], asks: Sequence[str]) -> None:
    """Raises StoreError if the clips that are kept were made with another sound or storyboard."""
    found, clip = _made_otherwise(run, heard, asks), wish.partition("@")[2]
    if found is None or clip.isdecimal() and int(clip) <= found[0]:
        return
    other, what = found
    fix = (f"write {run.name}@{other} to redo it from there, or s" if other > 1 else "S")
    raise StoreError(f"from clip {other} on, run {run.name} was made with another {what}. "
                     f"{sentence(fix)}et \"SVI run\" to auto for a new video")


def _check_clips(run: Run, wish: str, clips: int) -> None:
    """Raises StoreError if there is nothing to resume, or no such clip to redo."""
    clip = wish.partition("@")[2]
    if "@" in wish:
        if not clip.isdecimal() or int(clip) < 2:
            raise StoreError(f"\"SVI run\" is {wish}, but a redo starts from clip 2 or later. "
                             f"Write {run.name}@2, or another clip")
        first, done = int(clip), len(run.done())
        check_redo(run, first, min(done + 1, max(run.about.clips, clips)))
        if first > clips:
            raise StoreError(f"\"SVI run\" is {wish}, but these settings have "
                             f"{count(clips, 'clip')}. Set {CLIP_FRAMES * first:,} frames or more")
        return
    done = len(run.done())
    if not done:
        raise StoreError(f"no clip of run {run.name} is finished. Set \"SVI run\" to auto, and "
                         "Generate begins it again")
    if done > clips or done == clips and run.about.ended == State.FINISHED:
        raise StoreError(
            f"run {run.name} has {count(done, 'finished clip')}. Ask for more frames to "
            f"extend it, write {run.name}@K to redo it from clip K, or set \"SVI run\" to auto for "
            "a new video")


def _made_already(run: Run) -> StoreError:
    return StoreError(f"run {run.name} has exactly these clips already. Enter another prompt or "
                      "seed, or set \"SVI run\" to auto for a new video")


def _begun_redo(store: Store, run: Run, keep: int, about: About) -> Run | None:
    """A run with the first `keep` clips of another that was begun and is not finished.

    Raises StoreError if a run has all these clips already: the form keeps what made them.
    """
    for other in store.runs():
        done, had = other.done(), other.about
        redone = tuple(had.base or ()) == (run.name, keep)
        if (not redone and other.name != run.name or had.seed != about.seed
                or _differences(had.decides, about.decides)
                or _made_otherwise(other, about.sound, about.asks)
                or not _prompts_fit(other, done[keep:], about)):
            continue
        if len(done) >= max(about.clips, keep + 1) and (had.prompts, had.asks) == (
                about.prompts, about.asks):
            raise _made_already(other)
        if redone and had.ended != State.FINISHED and len(done) <= about.clips:
            return other
    return None


def _prompts_fit(run: Run, done: Sequence[Clip], about: About) -> bool:
    """Whether the finished clips have the prompts that are asked for. Compares what the user wrote:
    a prompt enhancer writes something else each time."""
    had = run.about

    def prompt_of(one: About, clip: int) -> str:
        return one.asked[chain.prompt_index(clip, len(one.asked), one.repeat)]

    return had.asked == about.asked or all(
        prompt_of(had, clip.number) == prompt_of(about, clip.number) for clip in done)


def _differences(had: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What decides the picture and differs, in words.

    WanGP spells one value in several ways: None, "" or nothing at all; in its configuration, a
    missing key stands for its default. What one side does not know is no difference.
    """
    found = []
    for name, value in had.items():
        if name not in now:
            continue
        of_server = name.startswith(_OF_SERVER)
        default = _SERVER.get(name.removeprefix(_OF_SERVER)) if of_server else None
        before, after = (default if one is None else one for one in (value, now[name]))
        unknown = of_server and None in (before, after)
        if (before or None) != (after or None) and not unknown:
            hashed = name in (_START, _POSES)
            found.append(f"another {name}" if hashed else
                         f"{_words(name)} {_short(after)} (it has {_short(before)})")
    return found


def _words(name: str) -> str:
    """The name of a setting as a user reads it, not as WanGP's files have it."""
    where = "the configuration's " if name.startswith(_OF_SERVER) else ""
    name = name.removeprefix(_OF_SERVER).replace("_", " ")
    return where + name.replace("num inference", "inference").replace("loras", "LoRA")


def _about(scope: _Scope, plan: Plan, reference: Tensor, motion_frames: Tensor) -> About:
    """The run that WanGP's loop asks for."""
    variant = plan.variant
    asked = non_empty(scope.get("original_prompts") or scope["prompts"]) or [""]
    prompts = non_empty(scope["prompts"]) or [""]
    total = scope["total_windows"]
    start = to_uint8(torch.cat([reference[:, None], motion_frames], dim=1))
    decides = {name: scope[name] for name in (*DECIDING, *_DECIDING_SPEECH * plan.sound)
               if name in scope}
    decides |= {  # these names have a blank, which WanGP's have not
        "model type": scope["model_type"],
        "video size": f"{reference.shape[2]}x{reference.shape[1]}",
        **_of_plan(plan), **_of_poses(scope, plan), _START: _digest(start),
        "LoRA files": [_file(Path(path)) for path in scope.get("loras_selected") or []],
        **_of_server(scope.get("server_config") or {}),
    }
    return About(
        variant=variant.id, title=variant.title, clips=total,
        seed=int(scope["seed"]),
        fps=float(scope["fps"]), asked=asked, prompts=prompts,
        repeat=max(1, min(variant.prompt_repeat, total // len(prompts))),
        decides=json.loads(json.dumps(decides, default=str)),
        sound=list(sound.find(_sound(scope)).heard) if plan.sound else [],
        asks=board.keys(plan.board),
    )


def _restaged(settings: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the storyboard of others."""
    custom = {**(settings.get("custom_settings") or {})}
    custom.pop(STORYBOARD, None)
    if board := (now.get("custom_settings") or {}).get(STORYBOARD):
        custom[STORYBOARD] = board
    return {**settings, "custom_settings": custom or None}


def _sound(scope: _Scope) -> str:
    """The sound as the user gave it. WanGP may have taken the music out of its own copy."""
    return str(scope.get("original_audio_guide") or scope.get("audio_guide"))


def _poses(inputs: _Scope, plan: Plan) -> Path | None:
    given = pose_video.given(inputs) if plan.variant.poses else None
    return Path(given) if isinstance(given, (str, Path)) and Path(given).is_file() else None


def _of_poses(inputs: _Scope, plan: Plan) -> dict[str, Any]:
    found = _poses(inputs, plan)
    return {_POSES: files.sha256(found)[:16], "poses found": pose_video.of_person(inputs),
            "poses aligned": pose_video.is_aligned(inputs)} if found else {}


def _of_plan(plan: Plan) -> dict[str, Any]:
    variant = plan.variant
    return {"SVI variant": variant.id, "motion frames": variant.motion_frames,
            "motion latents": variant.motion_latents,
            "SVI padding": variant.ref_pad_num, "SVI mask": variant.ref_pad_cfg,
            "SVI seed step": plan.board.seed_step}


def _of_server(config: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{_OF_SERVER}{name}": config.get(name) for name in _SERVER}


def _images(scope: _Scope, reference: Tensor) -> dict[str, bytes]:
    images = {"reference.png": _png(reference)}
    start = scope.get("image_start")
    if isinstance(start, (list, tuple)):
        start = start[0] if start else None
    if start is not None and hasattr(start, "save"):
        buffer = io.BytesIO()
        start.save(buffer, format="PNG")
        images["start.png"] = buffer.getvalue()
    return images


def _png(image: Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = to_uint8(image).movedim(0, -1).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _asked_seed(scope: _Scope) -> int:
    """The seed in the user's settings; -1 asks for a random one."""
    task = scope.get("task")
    seed = task.get("params", {}).get("seed") if isinstance(task, Mapping) else None
    return -1 if seed in (None, "") else int(seed)


def non_empty(prompts: Sequence[str]) -> list[str]:
    """Without empty prompts, which older WanGPs keep."""
    return [text for text in prompts if text.strip()]


def _digest(frames: Tensor) -> str:
    return hashlib.sha256(frames.contiguous().numpy().tobytes()).hexdigest()[:16]


def _file(path: Path) -> str:
    """Name, size and a hash of both ends of a file: reading gigabytes would take too long."""
    try:
        with files.patiently(lambda: path.open("rb")) as file:
            head, size = file.read(2**20), file.seek(0, 2)
            file.seek(max(0, size - 2**20))
            digest = hashlib.sha256(head + file.read()).hexdigest()[:16]
        return f"{path.name} {size} {digest}"
    except OSError:
        return path.name


def _short(value: Any) -> str:
    return cut(json.dumps(value, ensure_ascii=False), 60)
