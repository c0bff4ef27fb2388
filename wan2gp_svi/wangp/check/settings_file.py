"""WanGP's settings in files: settings, queues and videos, and the models that they name.

Needs no WanGP, and writes nothing. Standard library only.
"""

import contextlib
import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import location
from ...files import explain, read_json
from ...untrusted import (
    DECODER,
    MOST_JSON,
    NAME,
    Kind,
    content,
    either,
    has,
    line,
    many,
    misfit,
    number,
    parse_json,
    text,
)
from ..plan import ARCHITECTURES, first_image

_KEY = b'"model_type"'  # in all settings that WanGP writes
_REACH = 2**18  # bytes of settings before and after that key
_TRIED, _TRY = 2**24, 2**13  # characters to look for them in: in all, and at least for each try
_MEDIA = ("image_start", "video_source", "video_guide", "audio_guide")
_MOST_TASKS = 1000
_MOST_NAMES = 4 * 2**20  # bytes of a zip's list of files, about 40,000
_BROKEN = (OSError, ValueError, LookupError, RuntimeError, EOFError, struct.error, zlib.error,
           zipfile.BadZipFile)

_LINE, _COUNT = line(), number(0, 100)
_NUMBER = Kind("a number", number(-1e15, 1e15, float).fits)
_PATH = Kind("a path or a list of paths", lambda one: all(
    isinstance(path, (str, type(None))) for path in (one if isinstance(one, list) else [one])))
_NUMBERS = (
    "audio_guidance_scale", "guidance_scale", "motion_amplitude", "num_inference_steps",
    "sliding_window_color_correction_strength", "sliding_window_discard_last_frames",
    "sliding_window_overlap", "sliding_window_size", "sliding_window_trim_first_frames",
    "video_length")
_EMPTY = (None, False)  # which WanGP's settings may be, too
_KINDS: dict[str, Kind] = {  # of what SVI reads in them
    "model_type": NAME, "prompt": text(2_000_000), "custom_settings": has({}),
    "activated_loras": many(_LINE, 1000),
    "loras_multipliers": either(text(20_000), many(_LINE, 1000)),
    "frame_scheduler": has({}), "audio_guide": _PATH, "image_end": _PATH, "image_start": _PATH,
    "video_guide": _PATH, "video_source": _PATH,
    "image_mode": _COUNT, "guidance_phases": _COUNT, "model_switch_phase": _COUNT,
    "multi_prompts_gen_type": either(_LINE, _COUNT), "resolution": line(100),
    "seed": either(Kind("a whole number up to 4,294,967,295", number(-10**15, 2**32 - 1).fits),
                   Kind("nothing", lambda one: one == "")),
    **dict.fromkeys(("audio_prompt_type", "image_prompt_type", "override_attention",
                     "sample_solver", "skip_steps_cache_type", "video_prompt_type"), _LINE),
    **dict.fromkeys(_NUMBERS, _NUMBER),
}


class SavedError(Exception):
    """A file without settings, or an unknown model. The message lacks its full stop."""


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The requests in a file, each with a name. Raises SavedError.

    None for media that a settings file does not name; no key for those that a queue or a video
    carries inside.
    """
    inside: set[str] | None = set()
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        if not path.stat().st_size:
            raise ValueError("it is empty")
        if path.suffix.lower() == ".zip":
            found, inside = _in_zip(path)
        elif path.suffix.lower() == ".json":
            found = parse_json(content(path))
        else:
            found, inside = _in_video(path), None
    except _BROKEN as error:
        raise SavedError(f"cannot read {path}: {explain(error, path)}") from error
    tasks = [one.get("params", one) for one in (found if isinstance(found, list) else [found])
             if isinstance(one, dict)]
    tasks = [task for task in tasks if isinstance(task, dict)]
    if not tasks:
        raise SavedError(f"there are no WanGP settings in {path}")
    if len(tasks) > _MOST_TASKS:
        raise SavedError(f"{path} holds {len(tasks):,} videos, and at most {_MOST_TASKS:,} are "
                         "checked at a time")
    for task in tasks:
        task.update((name, _parsed(task[name])) for name in _NUMBERS
                    if isinstance(task.get(name), str))
        given = {name: task[name] for name in _KINDS.keys() & task if task[name] not in _EMPTY}
        if wrong := misfit(given, _KINDS):
            raise SavedError(f"the settings in {path} cannot be used: {wrong}")
    return [(path.name if len(tasks) == 1 else f"{path.name}, {number}", _media(task, inside))
            for number, task in enumerate(tasks, 1)]


def _parsed(text: str) -> Any:
    """A number that was written as text, which WanGP takes, too."""
    with contextlib.suppress(ValueError):
        return int(text)
    with contextlib.suppress(ValueError):
        return float(text)
    return text


class _Zip(io.BufferedReader):
    """A file for ZipFile, which reads a list of files of any length at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if (size or 0) > _MOST_NAMES:
            raise ValueError("its list of files is too long")
        return super().read(size)


def _in_zip(path: Path) -> tuple[Any, set[str]]:
    """The queue in a zip, and the names of all its files. Unpacks no more than a queue can have."""
    with _Zip(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        if "queue.json" not in (names := set(archive.namelist())):
            raise ValueError("it holds no queue.json")
        queue = archive.getinfo("queue.json")
        if queue.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("its compression is not that of WanGP's queues")
        if queue.file_size > MOST_JSON:
            raise ValueError(f"its queue.json is longer than {MOST_JSON / 1e6:.1f} MB")
        with archive.open(queue) as packed:
            return parse_json(b"".join(iter(lambda: packed.read(2**16), b""))), names


def _media(settings: dict[str, Any], inside: set[str] | None) -> dict[str, Any]:
    """The settings, without media that are in the same file: its names `inside`, or None for a
    video, which may hold its images."""
    named = {name: first_image(settings.get(name)) for name in _MEDIA}
    several = settings.get("image_start")
    if isinstance(several, list) and len(several) > 1:  # WanGP refuses them
        named["image_start"] = several
    others = {name: value for name, value in settings.items() if name not in _MEDIA}
    return others | {name: value for name, value in named.items()
                     if inside is not None and first_image(value) not in inside}


def _in_video(path: Path) -> dict[str, Any]:
    """WanGP writes settings as plain JSON into the comment of mp4 and mkv; this finds it there."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, left = data.find(_KEY), _TRIED
        while at >= 0:
            start = at
            while (start := data.rfind(b"{", max(0, at - _REACH), start)) >= 0 and left > 0:
                text = data[start : at + _REACH].decode("utf-8", "ignore")
                try:
                    found, end = DECODER.raw_decode(text)
                    found = parse_json(text[:end].encode("utf-8"))
                except (ValueError, RecursionError) as error:
                    left -= _TRY + getattr(error, "pos", len(text))
                    continue
                if "model_type" in found:
                    return found
                left -= _TRY + end
            at = data.find(_KEY, at + 1) if left > 0 else -1
    raise ValueError("it holds no WanGP settings")


def find_wangp(folder: Path | None) -> Path | None:
    """The WanGP in `folder`, or else the one with this package or the current folder."""
    if folder is not None and not location.is_wangp(folder):
        raise SavedError(f"there is no WanGP in {folder}, because it has no wgp.py")
    return folder or location.wangp_here()


def complete(settings: Mapping[str, Any], wangp: Path | None
             ) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The architecture and model definition that settings name, and the settings with the model's
    own as defaults."""
    model_type = str(settings.get("model_type") or "")
    if not model_type:
        raise SavedError("the settings name no model (model_type)")
    found = _definition(model_type, wangp)
    if found is None:
        if model_type not in ARCHITECTURES:
            raise SavedError(f"there is no model {model_type} in {wangp}" if wangp else
                             f"the model {model_type} is unknown: name WanGP's folder with --wangp")
        found = {"model": {"architecture": model_type}}
    model = dict(found["model"])
    for _ in range(10):  # the name of another model stands for its files
        if not isinstance(model.get("URLs"), str):
            break
        other = _definition(model["URLs"], wangp) or {}
        model["URLs"] = (other.get("model") or {}).get("URLs")
    # what a file leaves empty is the model's own, too, and so are media unless it carries them
    given = {name: value for name, value in settings.items()
             if not (value is None and found.get(name) is not None)}
    inputs = {name: value for name, value in found.items()
              if name != "model" and (name not in _MEDIA or name in settings)} | given
    for name in inputs.keys() & set(_MEDIA):
        named = inputs[name] if isinstance(inputs[name], list) else [inputs[name]]
        paths = [Path(path) for path in named if path]
        if paths and wangp is not None:  # as WanGP reads them
            placed = [str(wangp / path) for path in paths]
            inputs[name] = placed if len(placed) > 1 else placed[0]
        elif not all(path.is_absolute() for path in paths):
            del inputs[name]  # it is in a WanGP that nobody named
    return str(model.get("architecture") or model_type), model, inputs


def _definition(model_type: str, wangp: Path | None) -> dict[str, Any] | None:
    """A model's definition, with that of a finetune of the same name on top."""
    found: dict[str, Any] = {}
    for folder in [wangp / name for name in ("defaults", "finetunes")] if wangp is not None else []:
        part = read_json(folder / f"{model_type}.json")
        if isinstance(part, dict):
            model = {**found.get("model", {}), **(part.get("model") or {})}
            found = {**found, **part, "model": model}
    return found or None
