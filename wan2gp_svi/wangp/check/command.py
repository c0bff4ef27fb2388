"""python -m wan2gp_svi check FILE: what the check finds about settings in a file."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import chain, location
from ...text import sentence
from ..form import SettingsError
from ..plan import active_loras, clips_of, plan
from . import settings_file
from .findings import GUIDE, check
from .request import AUTO_ATTENTION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE",
                        help="settings (.json), a queue (.zip), or a video that WanGP made (.mp4, .mkv)")
    parser.add_argument("--wangp", type=Path, metavar="FOLDER", help="the WanGP whose models and configuration count "
                        "(default: the one that this package is in, or the current folder)")


def run(options: argparse.Namespace) -> int:
    """Says what `check` finds about settings in a file -> exit code, 1 if anything is refused."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console with an old code page
            stream.reconfigure(errors="backslashreplace")
    refused = False
    try:
        wangp = settings_file.find_wangp(options.wangp)
        config = location.config(wangp) if wangp is not None else None
        if config is not None:
            config[AUTO_ATTENTION] = "sage" if importlib.util.find_spec("sageattention") else "sdpa"
        for name, settings in settings_file.read(options.file):
            architecture, model_def, inputs = settings_file.complete(settings, wangp)
            findings = check(architecture, model_def, inputs, config)
            refused |= any(finding.kind == "refused" for finding in findings)
            print(f"{name}: {_outline(architecture, model_def, inputs)}")
            for finding in findings:
                print(f"  {finding.kind}: {finding.text} ({GUIDE}#{finding.id})")
            if not findings:
                print("  No problems found.")
    except settings_file.SavedError as error:
        print(f"{sentence(str(error))}.", file=sys.stderr)
        return 1
    if config is None:
        print(f"Attention, quantisation and VAE tiling were not checked, for want of {location.CONFIG}"
              f"{'.' if wangp else ': --wangp FOLDER'}")
    return int(refused)


def _outline(architecture: str, model_def: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    loras = active_loras(inputs.get("activated_loras"), model_def)
    try:
        found = plan(architecture, loras, inputs.get("custom_settings"))
    except SettingsError:
        return "cannot be run."
    if found is None:
        return "SVI is off."
    clips, seed = clips_of(found, inputs), inputs.get("seed")
    if seed in (None, "") or int(seed) < 0:  # a new one each time
        return found.outline(clips, 16)
    return found.describe([chain.seed(int(seed), clip, found.seed_step) for clip in range(clips)], 16)
