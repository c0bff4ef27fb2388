"""Which run on disk WanGP's loop goes on with: the newest that is just what is asked for, the one that the user names,
or a new one."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import chain
from ..runs.state import State, reason
from ..runs.store import FOLDER, About, Clip, Run, Store, StoreError
from .clip import to_uint8
from .form import SettingsError
from .plan import Plan
from .recorder import Recording

# settings that do not decide what a clip shows, or that stand in `About` under a name of their own
_FREE = {"activated_loras", "alt_prompt", "base_model_type", "client_id", "custom_settings", "image_end",
         "image_start", "keep_frames_video_source", "mode", "model_filename", "model_type", "output_filename",
         "prompt", "prompt_enhancer", "repeat_generation", "seed", "settings_version", "type", "video_length",
         "video_source", "window_no"}
_START = "start image"
_FREE_BEGINNINGS = ("audio", "creation_", "generation_", "MMAudio", "postprocess_audio", "remux", "replace_voice")
_SERVER = ("transformer_quantization", "transformer_dtype_policy", "text_encoder_quantization", "vae_precision",
           "video_output_codec", "video_container")

_Scope = Mapping[str, Any]


def begin(scope: _Scope, plan: Plan, reference: Tensor, motion: Tensor, say: Callable[[str], None]) -> Recording | None:
    """At the first window of a video: the run that it goes on with, or a new one. None where this WanGP keeps its
    frames in another way (before 19 January 2026, v10.41). Raises SettingsError.

    `reference` [3, H, W] and the `motion` frames [3, N, H, W] of the first clip are float32 in [-1, 1].
    """
    if not isinstance(scope.get("frames_already_processed"), list) or "save_path" not in scope:
        return None
    wish, store = plan.requested_run, Store(Path(scope["save_path"]) / FOLDER)
    total = scope["total_windows"]
    about = _about(scope, plan, reference, motion)
    random = scope["repeat_no"] > 1 or _asked_seed(scope) < 0
    in_memory = bool(scope.get("api_return_video_uint8"))  # its caller wants all frames, which a run no longer has
    try:
        run = None
        if wish not in ("", "auto", "new"):
            if in_memory:
                raise StoreError("a caller that wants all frames in memory cannot have those of a run on disk. Clear "
                                 "\"SVI run\"")
            run = _named(store, wish, about, random)
        elif wish != "new" and scope["repeat_no"] == 1 and not in_memory:
            run = _same(store, about, random, say)
        recording = Recording(run or store.new(about, _images(scope, reference)), total,
                              reference.shape[1] * reference.shape[2], say)
        had = recording.run.about
        prompts = {} if had.asked == about.asked else {"asked": about.asked, "prompts": about.prompts,
                                                       "repeat": about.repeat}
        if replace(had, clips=total, **prompts) != had:
            recording.run.change(replace(had, clips=total, **prompts))
    except StoreError as error:
        raise SettingsError(f"{error}.") from error
    except OSError as error:
        raise SettingsError(f"the clips cannot be kept in {store.folder} ({error}). Make room or allow writing there, "
                            "or choose another folder for videos in WanGP's configuration.") from error
    if recording.taken_over:
        done = recording.taken_over
        why = f"it failed: {failed}" if (failed := reason(recording.run.about)) else recording.run.about.ended
        what = f" from clip {done + 1} of {total}" if done < total else f", all of its {total} clips are on disk"
        say(f"resuming run {recording.run.name}{what}{f' ({why})' if why else ''}. To start over, set "
            "\"SVI run\" to new.")
    return recording


def _same(store: Store, about: About, random: bool, say: Callable[[str], None]) -> Run | None:
    """The newest run that is what `about` asks for, as far as it has come, and that lacks clips. Where one would be
    but for some settings, the user is told; with a seed drawn at random, one that was stopped is not meant."""
    near: dict[int, str] = {}
    for run in store.runs():
        had = run.about
        if had.base is not None or (had.ended == State.STOPPED if random else had.seed != about.seed):
            continue
        done, different = run.done(), _differences(had, about)
        wanted = min(had.clips, about.clips) if random else about.clips
        lacks = len(done) < wanted and run.begun() or len(done) == wanted and had.ended != State.FINISHED
        if not lacks or not _prompts_fit(run, done, about):
            continue
        if different:
            if had.variant == about.variant and had.decides.get(_START) == about.decides[_START]:
                near[len(different)] = (f"this is a new run: run {run.name} has the same start and seed, but was made "
                                        f"with other settings: {'; '.join(different)}.")
            continue
        try:
            run.lock()()
        except StoreError as error:
            near[0] = f"{error}. This is a new run."
            continue
        return run
    if near:
        say(near[min(near)])
    return None


def _named(store: Store, wish: str, about: About, random: bool) -> Run:
    """The run that the user names, or (`NAME@CLIP`) a new one with the clips before that one. Raises StoreError."""
    name, _, clip = wish.partition("@")
    run = store.find(name)
    different = _differences(run.about, about)
    if not clip and not random and run.about.seed != about.seed:
        different.append(f"seed {about.seed} (it has {run.about.seed})")
    if different:
        raise StoreError(f"run {run.name} was made with other settings, and the clips would not fit together: "
                         f"{'; '.join(different)}. Set them back, or clear \"SVI run\" to start over")
    if clip:
        if not clip.isdecimal() or int(clip) < 2:
            raise StoreError(f"\"SVI run\" is {wish}; the clip to redo from is a number from 2 on")
        keep, base = int(clip) - 1, [run.name, int(clip) - 1]
        for other in store.runs():
            done = other.done()
            if (list(other.about.base or []) == base and other.about.ended != State.FINISHED
                    and len(done) <= about.clips and other.about.seed == about.seed
                    and not _differences(other.about, about) and _prompts_fit(other, done[keep:], about)):
                return other
        return store.fork(run, keep, replace(about, base=(run.name, keep), ended=""))
    done = run.done()
    if not done:
        raise StoreError(f"run {run.name} has no finished clip to resume from")
    if len(done) > about.clips or len(done) == about.clips and run.about.ended == State.FINISHED:
        raise StoreError(f"run {run.name} has all of its {len(done)} clips. Ask for more frames to make it longer, "
                         f"write {run.name}@K to redo it from clip K, or clear \"SVI run\" to start over")
    if not _prompts_fit(run, done, about):
        raise StoreError(f"the prompts of the clips that run {run.name} has are others now. Set them back, or write "
                         f"{run.name}@K to redo it from clip K")
    return run


def _prompts_fit(run: Run, done: Sequence[Clip], about: About) -> bool:
    """Whether the clips that there are have the prompts that are asked for. Compared as the user wrote them, so that
    what an enhancer once made of them stays."""
    had = run.about

    def at(one: About, clip: int) -> str:
        return one.asked[chain.prompt_index(clip, len(one.asked), one.repeat)]

    return had.asked == about.asked or all(at(had, clip.number) == at(about, clip.number) for clip in done)


def _differences(had: About, now: About) -> list[str]:
    """What decides the picture and is another now, in words. WanGP's form and its files spell "nothing" differently."""
    return [f"{name} {_short(now.decides.get(name))} (it has {_short(value)})"
            for name, value in had.decides.items() if (now.decides.get(name) or None) != (value or None)]


def _about(scope: _Scope, plan: Plan, reference: Tensor, motion: Tensor) -> About:
    """The run that the loop asks for. WanGP's settings are what its function takes."""
    variant, server = plan.variant, scope.get("server_config") or {}
    asked = said(scope.get("original_prompts") or scope["prompts"]) or [""]
    prompts = said(scope["prompts"]) or [""]
    total = scope["total_windows"]
    loop = scope.get("generate_media") or scope.get("generate_video")  # its name before v12.21
    decides = {name: scope[name] for name in signature(loop).parameters
               if name in scope and name not in _FREE and _plain(scope[name]) and not name.startswith(_FREE_BEGINNINGS)}
    decides |= {  # names with a blank are ours
        "model type": scope["model_type"], "video size": f"{reference.shape[2]}x{reference.shape[1]}",
        "SVI variant": variant.id, "motion frames": variant.motion_frames, "SVI padding": variant.ref_pad_num,
        "SVI mask": variant.ref_pad_cfg, "SVI seed step": plan.seed_step,
        _START: _digest(to_uint8(torch.cat([reference[:, None], motion], dim=1))),
        "LoRA files": [_file(Path(path)) for path in scope.get("loras_selected") or []],
        **{f"server {name}": server.get(name) for name in _SERVER},
    }
    return About(
        variant=variant.id, title=variant.title, clips=total, seed=scope["seed"], fps=float(scope["fps"]),
        asked=asked, prompts=prompts, repeat=max(1, min(variant.prompt_repeat, total // len(prompts))),
        decides=json.loads(json.dumps(decides)),
    )


def _images(scope: _Scope, reference: Tensor) -> dict[str, bytes]:
    images = {"reference.png": _png(reference)}
    given = scope.get("image_start")
    given = given[0] if isinstance(given, (list, tuple)) and given else given
    if hasattr(given, "save"):
        buffer = io.BytesIO()
        given.save(buffer, format="PNG")
        images["start.png"] = buffer.getvalue()
    return images


def _png(image: Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image).movedim(0, -1).contiguous().numpy()).save(buffer, format="PNG")
    return buffer.getvalue()


def _asked_seed(scope: _Scope) -> int:
    """The seed in the user's settings; -1 is a new one each time."""
    task = scope.get("task")
    seed = task.get("params", {}).get("seed") if isinstance(task, Mapping) else None
    return -1 if seed in (None, "") else int(seed)


def said(prompts: Sequence[str]) -> list[str]:
    """Without empty prompts, which older WanGPs keep."""
    return [text for text in prompts if text.strip()]


def _digest(frames: Tensor) -> str:
    return hashlib.sha256(frames.contiguous().numpy().tobytes()).hexdigest()[:16]


def _file(path: Path) -> str:
    """Name, size and a hash of both ends of a file of gigabytes, which take no time to read."""
    try:
        with path.open("rb") as file:
            head, size = file.read(2**20), file.seek(0, 2)
            file.seek(max(0, size - 2**20))
            return f"{path.name} {size} {hashlib.sha256(head + file.read()).hexdigest()[:16]}"
    except OSError:
        return path.name


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
