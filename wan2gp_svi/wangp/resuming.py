"""WanGP's settings to resume, extend or redo a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import chain
from ..runs.store import Run, StoreError


def resumed(run: Run) -> dict[str, Any]:
    """WanGP's settings to resume a run, for `--process` or for the form."""
    return _settings(run, run.about.clips, run.name, run.about.asked, run.about.seed)


def extended(run: Run, clips: int, prompts: Sequence[str] = ()) -> dict[str, Any]:
    """WanGP's settings to make a run `clips` clips longer; `prompts` are for these. Raises StoreError."""
    about, done = run.about, run.done()
    if clips < 1:
        raise StoreError(f"a run is extended by 1 clip or more, not {clips}")
    if not done:
        raise StoreError(f"run {run.name} has no finished clip to resume from")
    asked = list(about.asked)
    if prompts:
        asked = chain.stream(about.asked, len(done), about.repeat) + chain.stream(prompts, clips)
    return _settings(run, len(done) + clips, run.name, asked, about.seed)


def redone(run: Run, clip: int, prompt: str = "", seed: int | None = None) -> dict[str, Any]:
    """WanGP's settings to redo a run from clip `clip` (counted from 1), with another prompt for as long as the
    old one lasted, or another seed. Raises StoreError."""
    about, done = run.about, len(run.done())
    most = min(done + 1, about.clips)
    if not 2 <= clip <= most:
        raise StoreError(f"run {run.name} has {done} finished clips of {about.clips}, so it can be redone from clip "
                         f"2 to {most}")
    stream = chain.stream(about.asked, about.clips, about.repeat)
    if prompt:
        old, at = stream[clip - 1], clip - 1
        while at < len(stream) and stream[at] == old:
            stream[at] = prompt
            at += 1
    asked = stream if prompt else about.asked
    return _settings(run, about.clips, f"{run.name}@{clip}", asked, about.seed if seed is None else seed)


def _settings(run: Run, clips: int, wish: str, asked: Sequence[str], seed: int) -> dict[str, Any]:
    about = run.about
    if not about.settings:
        raise StoreError(f"run {run.name} failed before WanGP had written its settings: generate the video again")
    overlap = int(about.settings["sliding_window_overlap"])
    start = run.folder / "start.png"
    custom = {**(about.settings.get("custom_settings") or {}), "svi_run": wish}
    between = "\n\n" if about.settings.get("multi_prompts_gen_type") == "PW" else "\n"
    images = {"image_start": str(start)} if start.is_file() else {}
    return {**about.settings, **images, "seed": seed, "prompt": between.join(asked), "custom_settings": custom,
            "video_length": chain.length(clips, overlap)}
