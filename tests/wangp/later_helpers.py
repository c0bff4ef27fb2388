"""What later WanGPs have and 12.60 lacks, in our own code; later.py puts it into a tree as
shared/later.py."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# what WanGP writes into its videos, besides the names in models/_settings.json and the arguments
# of generate_media
NO_SETTINGS = {
    "base_model_type", "creation_date", "creation_timestamp", "frame_scheduler", "generation_time",
    "help", "image_quality", "is_image", "loras_choices", "lset_name", "model_filename", "modules",
    "priority", "profile_priority", "settings_version", "transformer_loras_filenames",
    "transformer_loras_multipliers", "type", "video_quality", "window_no",
}
GALLERIES = ("file_list", "file_settings_list", "audio_file_list", "audio_file_settings_list")


def unknown_settings(settings: Mapping[str, Any], generate: Callable[..., Any]) -> str:
    """The error of a WanGP that refuses unknown settings; empty if it knows them all."""
    catalog = json.loads(Path(__file__).parents[1].joinpath("models/_settings.json").read_text(
        encoding="utf-8"))
    known = {*catalog, *inspect.signature(generate).parameters, *NO_SETTINGS}
    unknown = [name for name in settings if name not in known]
    return (f"Unknown setting: {', '.join(unknown)}. What one model needs goes into "
            "custom_settings." if unknown else "")


def lora_folder(ask: Callable[..., str], model: str, arguments: Any, root: str) -> str:
    """The folder of a model's LoRAs. A handler gives its name or, in older versions, its path."""
    named = len(inspect.signature(ask).parameters) == 1
    return str(Path(root, ask(model))) if named else ask(model, arguments, root)


def call_with_default_device(definition: Mapping[str, Any], label: str,
                             function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function, without torch's default device if the model names every tensor's device."""
    import torch

    if not definition.get("device_explicit"):
        return function(*args, **kwargs)
    before = torch.get_default_device()
    torch.set_default_device(None)
    try:
        return function(*args, **kwargs)
    finally:
        torch.set_default_device(before)


class Gallery(list):
    """What all browsers see. Threads read it under WanGP's lock; the log
    reports a change without it."""

    lock: Any = None
    shared: dict[str, Gallery] = {}  # noqa: RUF012

    def __deepcopy__(self, memo: Any) -> Gallery:
        return self


def _guarded(name: str) -> Callable[..., Any]:
    change = getattr(list, name)

    def guarded(self: Gallery, *args: Any) -> Any:
        if not self.lock.locked():
            print(f"[later] a gallery was changed without WanGP's lock: {name}")
        return change(self, *args)

    return guarded


for _name in ("append", "clear", "extend", "insert", "pop", "remove", "__delitem__", "__iadd__",
              "__setitem__"):
    setattr(Gallery, _name, _guarded(_name))


def share_galleries(gen: dict[str, Any] | None, lock: Any) -> dict[str, Any]:
    """A browser's state, with the galleries of all."""
    Gallery.lock, gen = lock, {} if gen is None else gen
    for name in GALLERIES:
        gen[name] = Gallery.shared.setdefault(name, Gallery())
    return gen
