"""Plays scenarios inside WanGP's process (see session.py): `play` "scenario_jobs:play"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MODELS = {"2.1": "tiny_i2v", "2.2": "tiny_i2v22"}


class Real:
    """WanGP as a host of scenarios."""

    def __init__(self, generate: Callable[[dict[str, Any]], Any], outputs: Path):
        self.outputs, self._generate = outputs, generate

    def settings(self, id: str, clips: int, prompt: str, seed: int) -> dict[str, Any]:
        from wan2gp_svi.variants import VARIANTS

        variant = VARIANTS[id]
        loras = [lora.name for lora in variant.loras]
        return {"model_type": MODELS[variant.wan], "prompt": prompt, "seed": seed,
                "video_length": 81 * clips, "activated_loras": loras,
                "loras_multipliers": " ".join("1" for _ in loras), "guidance_scale": 1.0}

    def generate(self, settings: dict[str, Any]) -> bool:
        result = self._generate(settings)
        print(*(error.message for error in result.errors), sep="\n")
        return result.success


def play(generate: Callable[[dict[str, Any]], Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """The name of each scenario, and what its presses came to."""
    import scenarios

    from wan2gp_svi.wangp.recorder import Recording

    Recording.report = lambda self, video: None  # it takes seconds; test_svi.py looks at it
    host = Real(generate, Path(job["work"]) / "outputs")
    return {one.name: scenarios.play(one, host) for one in scenarios.SCENARIOS}
