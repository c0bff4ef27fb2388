"""WanGP's settings as they lie in files: settings, queues and videos, and the model definitions that they name.

WanGP itself is not needed, and nothing is written. Standard library only.
"""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import location
from ..plan import ARCHITECTURES

_KEY = b'"model_type"'  # in all settings that WanGP writes
_REACH = 2**18  # bytes that settings can hold before that key, and after


class SavedError(Exception):
    """A file that holds no settings, or a model that is not known. The message can go before a full stop."""


def read(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The requests in a file and what to call them. Raises SavedError."""
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                found = json.loads(archive.read("queue.json"))
        elif path.suffix.lower() == ".json":
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        else:
            found = _in_video(path)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SavedError(f"cannot read {path}: {error}") from error
    tasks = [one.get("params", one) for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]
    if not tasks:
        raise SavedError(f"there are no settings of WanGP in {path}")
    return [(path.name if len(tasks) == 1 else f"{path.name}, {number}", task) for number, task in enumerate(tasks, 1)]


def _in_video(path: Path) -> dict[str, Any]:
    """WanGP writes the settings into the comment of mp4 and mkv, as plain JSON: it is found wherever it stands."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_KEY)
        while at >= 0:
            start = at
            while (start := data.rfind(b"{", max(0, at - _REACH), start)) >= 0:
                try:
                    found, _ = json.JSONDecoder().raw_decode(data[start : at + _REACH].decode("utf-8", "ignore"))
                except ValueError:
                    continue
                if "model_type" in found:
                    return found
            at = data.find(_KEY, at + 1)
    raise ValueError("there are no settings of WanGP in it")


def find_wangp(folder: Path | None) -> Path | None:
    """The WanGP that is meant: `folder`, or the one that this package or the current folder is in."""
    if folder is not None and not location.is_wangp(folder):
        raise SavedError(f"there is no WanGP in {folder}, since there is no wgp.py")
    return folder or location.wangp_here()


def complete(settings: Mapping[str, Any], wangp: Path | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Settings -> the architecture, the model definition, and the settings with what the model's own leave open."""
    model_type = str(settings.get("model_type") or "")
    if not model_type:
        raise SavedError("the settings name no model (model_type)")
    found = _definition(model_type, wangp)
    if found is None:
        if model_type not in ARCHITECTURES:
            where = f"in {wangp}" if wangp else "here; say where WanGP is, with --wangp FOLDER"
            raise SavedError(f"the model {model_type} is not known {where}")
        found = {"model": {"architecture": model_type}}
    model = dict(found["model"])
    for _ in range(10):  # a name of another model stands for its files
        if not isinstance(model.get("URLs"), str):
            break
        model["URLs"] = ((_definition(model["URLs"], wangp) or {}).get("model") or {}).get("URLs")
    inputs = {name: value for name, value in found.items() if name != "model"} | dict(settings)
    if wangp is not None and isinstance(inputs.get("image_start"), str):
        inputs["image_start"] = str(wangp / inputs["image_start"])  # as WanGP reads it
    return str(model.get("architecture") or model_type), model, inputs


def _definition(model_type: str, wangp: Path | None) -> dict[str, Any] | None:
    """A finetune of a model's own name is laid over its definition."""
    found: dict[str, Any] = {}
    for folder in ("defaults", "finetunes") if wangp is not None else ():
        part = _json(wangp / folder / f"{model_type}.json")
        if isinstance(part, dict):
            found = {**found, **part, "model": {**found.get("model", {}), **(part.get("model") or {})}}
    return found or None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
