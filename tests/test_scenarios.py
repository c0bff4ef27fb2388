"""What SVI and WanGP's window loop do together, in the stand-in for the loop."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import loop
import pytest
from scenarios import SCENARIOS, Scenario, check, play

from wan2gp_svi.wangp import handler


class StandIn:
    """The stand-in as a host of scenarios."""

    def __init__(self, outputs: Path):
        self.outputs, self.wgp = outputs, loop.WanGP(outputs)

    def settings(self, id: str, clips: int, prompt: str, seed: int) -> dict[str, Any]:
        return loop.settings(id, clips, prompt=prompt, seed=seed, video_length=81 * clips)

    def generate(self, settings: dict[str, Any]) -> bool:
        assert handler.prepare(settings["model_type"], {}, settings, lambda findings: None) == ""
        return self.wgp.generate(settings)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_scenario_in_the_stand_in(scenario: Scenario, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch):
    host = StandIn(tmp_path)
    monkeypatch.setitem(sys.modules, "shared.utils.video_metadata",
                        SimpleNamespace(read_metadata_from_video=host.wgp.metadata))
    check(scenario, play(scenario, host))
