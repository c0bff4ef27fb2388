"""A stage of the training: its time, a learning rate that falls to zero, a log, a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

EVERY = 20.0  #: seconds between two lines of the log


class Kept(Protocol):
    """What a checkpoint holds."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


@dataclass
class Stage:
    """`seconds` of training over all calls; this call ends at `until` (of time.monotonic).

    `peak`  highest factor of the learning rate
    """

    name: str
    seconds: float
    folder: Path
    until: float
    kept: Kept
    peak: float = 1.0
    spent: float = 0.0
    steps: int = 0

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.pt"

    @property
    def done(self) -> bool:
        return self.spent >= self.seconds

    @property
    def part(self) -> float:
        return min(1.0, self.spent / self.seconds)

    def rate(self, warm: float = 0.02) -> float:
        """The factor of the learning rate: up, level, and down over the last 60 %."""
        return self.peak * min(1.0, self.part / warm + 1e-3) * min(1.0, (1 - self.part) / 0.6)

    def resume(self) -> None:
        if self.checkpoint.exists():
            found = torch.load(self.checkpoint, weights_only=True)
            self.spent, self.steps = found["spent"], found["steps"]
            self.kept.load_state_dict(found["state"])

    def run(self, log: Callable[[], str]) -> Iterator[None]:
        """Once per step, until the time of the stage or of the call is over; then a checkpoint."""
        before = said = time.monotonic()
        while not self.done and before < self.until:
            yield
            self.steps += 1
            now = time.monotonic()
            self.spent += now - before
            before = now
            if now - said > EVERY:
                said = now
                self.say(log())
        self.save()
        self.say(log() + (" done" if self.done else " to be continued"))

    def save(self) -> None:
        partial = self.checkpoint.with_suffix(".partial")
        state = self.kept.state_dict()
        torch.save({"spent": self.spent, "steps": self.steps, "state": state}, partial)
        partial.replace(self.checkpoint)

    def say(self, text: str) -> None:
        line = f"{self.name},{self.spent:.0f},{self.steps},{text}"
        print(line, flush=True)
        with (self.folder / "log.csv").open("a", encoding="utf-8") as log:
            print(line, file=log)
