"""WanGP's settings in files: settings, queues and videos, and the models that they name.

Needs no WanGP, and writes nothing. Standard library only.
"""

import json
import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import location
from ...files import explain, read_json
from ..plan import ARCHITECTURES, first_image

_KEY = b'"model_type"'  # in all settings that WanGP writes
_REACH = 2**18  # bytes of settings before and after that key
_MEDIA = ("image_start", "video_source")


class SavedError(Exception):
    """A file without settings, or an unknown model. The message lacks its full stop."""


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The requests in a file, each with a name. Raises SavedError.

    None for media that a settings file does not name; no key for those that a queue or a video
    carries inside.
    """
    inside: set[str] | None = set()
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                found = json.loads(archive.read("queue.json"))
                inside = set(archive.namelist())
        elif path.suffix.lower() == ".json":
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        else:
            found, inside = _in_video(path), None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SavedError(f"cannot read {path}: {explain(error, path)}") from error
    tasks = [one.get("params", one) for one in (found if isinstance(found, list) else [found])
             if isinstance(one, dict)]
    if not tasks:
        raise SavedError(f"there are no WanGP settings in {path}")
    return [(path.name if len(tasks) == 1 else f"{path.name}, {number}", _media(task, inside))
            for number, task in enumerate(tasks, 1)]


def _media(settings: dict[str, Any], inside: set[str] | None) -> dict[str, Any]:
    """The settings, without media that are in the same file: its names `inside`, or None for a
    video, which may hold its images."""
    named = {name: first_image(settings.get(name)) for name in _MEDIA}
    others = {name: value for name, value in settings.items() if name not in _MEDIA}
    return others | {name: value for name, value in named.items()
                     if inside is not None and value not in inside}


def _in_video(path: Path) -> dict[str, Any]:
    """WanGP writes settings as plain JSON into the comment of mp4 and mkv; this finds it there."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_KEY)
        while at >= 0:
            start = at
            while (start := data.rfind(b"{", max(0, at - _REACH), start)) >= 0:
                text = data[start : at + _REACH].decode("utf-8", "ignore")
                try:
                    found, _ = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    continue
                if "model_type" in found:
                    return found
            at = data.find(_KEY, at + 1)
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
    inputs = {name: value for name, value in found.items() if name != "model"} | dict(settings)
    for name in inputs.keys() & set(_MEDIA):
        path = Path(inputs[name] or "")
        if inputs[name] and wangp is not None:
            inputs[name] = str(wangp / path)  # as WanGP reads it
        elif inputs[name] and not path.is_absolute():
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
