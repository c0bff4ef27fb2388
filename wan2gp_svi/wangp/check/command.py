"""python -m wan2gp_svi check FILE: checks settings in a file."""

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import location
from ...text import one_line, sentence
from ..form import AUTO, NEW
from ..plan import ARCHITECTURES, awaits_sound, clips_of, rate_of
from ..source_video import continues, is_last, last
from . import settings_file
from .findings import Checked, Finding, check
from .request import AUTO_ATTENTION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="settings (.json), a queue (.zip), "
                        "or a video made by WanGP (.mp4, .mkv)")
    parser.add_argument("--wangp", type=Path, metavar="FOLDER",
                        help="use this WanGP's models and configuration (default: those of the "
                             "WanGP that contains this package, or of the current folder)")
    parser.add_argument("--lora-dir", metavar="FOLDER",
                        help="look for LoRA files in this folder, if you start WanGP with another "
                             "one than its own")


def run(options: argparse.Namespace) -> int:
    """Prints what `check` finds. Returns the exit code: 1 if there is an error."""
    failed = False
    try:
        wangp = settings_file.find_wangp(options.wangp)
        config = location.config(wangp) if wangp is not None else None
        outputs = wangp / ((config or {}).get("save_path") or "outputs") if wangp else None
        addresses = location.lora_addresses(wangp) if wangp is not None else set()
        if config is not None:
            sage = importlib.util.find_spec("sageattention")
            config[AUTO_ATTENTION] = "sage" if sage else "sdpa"
        for at, (name, settings) in enumerate(settings_file.read(options.file)):
            architecture, model_def, inputs = settings_file.complete(settings, wangp)
            if is_last(inputs):
                inputs["video_source"] = outputs and last([], outputs)
            wan = ARCHITECTURES.get(architecture)
            loras = (location.lora_folder(wangp, wan, options.lora_dir)
                     if wangp is not None and wan else None)
            checked = check(architecture, model_def, inputs, config, outputs, loras, addresses,
                            first=at == 0)
            if checked.plan is not None and not one_line(str(inputs.get("prompt") or "")):
                checked.findings.insert(0, Finding("error", "settings", (
                    "the prompt is empty, and WanGP refuses that. Write one.")))
            failed |= bool(checked.errors)
            print(f"{name}: {_outline(checked, inputs)}")
            for finding in checked.findings:
                print(f"  {finding}")
            if not checked.findings:
                print("  No problems found.")
    except settings_file.SavedError as error:
        print(f"{sentence(str(error))}.", file=sys.stderr)
        return 1
    if config is None:
        why = f"no {location.CONFIG} in {wangp}" if wangp else "name WanGP's folder with --wangp"
        print(f"Attention and quantisation were not checked: {why}.")
    return int(failed)


def _outline(checked: Checked, inputs: Mapping[str, Any]) -> str:
    if checked.plan is None:
        return "cannot run." if checked.errors else "SVI is off."
    plan, seed = checked.plan, inputs.get("seed")
    if awaits_sound(plan, inputs):
        return f"{plan.variant.title}: as long as its sound."
    clips, fps = clips_of(plan, inputs), float(rate_of(plan, inputs))
    made = (inputs.get("custom_settings") or {}).get("svi")  # written into a video
    seeds = made.get("seeds") if isinstance(made, dict) else None
    if not isinstance(seeds, list) or len(seeds) != clips:
        # new ones each time, or those of the run that it resumes
        if (seed in (None, "") or int(seed) < 0 or plan.requested_run not in (AUTO, NEW)
                or continues(inputs)):  # or other ones than those of the video
            return plan.outline(clips, fps, continues(inputs))
        seeds = [plan.seed(int(seed), clip) for clip in range(clips)]
    return plan.describe(seeds, fps, continues(inputs))
