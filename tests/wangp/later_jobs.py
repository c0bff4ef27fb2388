"""Hooks for the jobs of test_later.py (see session.py). They run inside WanGP's process."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any


def watch(wgp: Any, job: dict[str, Any]) -> None:
    """Lets windows of image-to-video overlap by 5 frames, and writes what it sees to
    later.json after every file."""
    wgp.get_model_def("tiny_i2v")["sliding_window_defaults"]["overlap_max"] = 5
    seen: dict[str, Any] = {"helper": [], "gallery": [], "mmgp": sys.modules["mmgp"].__file__,
                            "package": True}
    try:
        importlib.metadata.version("mmgp")
    except importlib.metadata.PackageNotFoundError:
        seen["package"] = False
    record, call = wgp.record_file_metadata, getattr(wgp, "call_with_default_device", None)

    def record_file_metadata(path: Any, configs: Any, image: bool, audio: bool, gen: Any,
                             **keywords: Any) -> None:
        record(path, configs, image, audio, gen, **keywords)
        seen["gallery"], seen["settings"] = (list(gen["file_list"]),
                                             type(gen["file_settings_list"]).__name__)
        seen["shared"] = wgp.get_gen_info({}).get("file_list") is gen["file_list"]
        Path(job["work"], "later.json").write_text(json.dumps(seen), encoding="utf-8")

    def call_with_default_device(definition: Any, label: str, function: Any, *args: Any,
                                 **keywords: Any) -> Any:
        seen["helper"].append([label, function.__name__, definition.get("device_explicit")])
        return call(definition, label, function, *args, **keywords)

    wgp.record_file_metadata, wgp.call_with_default_device = (record_file_metadata,
                                                              call_with_default_device)
