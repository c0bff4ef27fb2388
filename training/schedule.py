"""A stage of the training: so many seconds, a learning rate that falls to nothing, a log, and a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

EVERY = 20.0  #: seconds between two lines of the log


@dataclass
class Stage:
    """`seconds` of training in all, over all the calls that it takes; ends a call at `until` (of time.monotonic).

    `state` gives what a checkpoint holds, `load` takes it back.
    """

    name: str
    seconds: float
    folder: Path
    until: float
    state: Callable[[], object]
    load: Callable[[object], None]
    spent: float = 0.0
    steps: int = 0
    _kept: dict[str, float] = field(default_factory=dict)

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
        """What the learning rate is multiplied with now: up, level, and down over the last 60 %."""
        return min(1.0, self.part / warm + 1e-3) * min(1.0, (1 - self.part) / 0.6)

    def resume(self) -> None:
        if self.checkpoint.exists():
            found = torch.load(self.checkpoint, weights_only=True)
            self.spent, self.steps = found["spent"], found["steps"]
            self.load(found["state"])

    def run(self, log: Callable[[], str]) -> Iterator[None]:
        """Once for each step, until the stage's or the call's time is over; then the checkpoint is written."""
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
        self.say(log() + (" done" if self.done else " to be gone on with"))

    def save(self) -> None:
        partial = self.checkpoint.with_suffix(".partial")
        torch.save({"spent": self.spent, "steps": self.steps, "state": self.state()}, partial)
        partial.replace(self.checkpoint)

    def say(self, text: str) -> None:
        line = f"{self.name},{self.spent:.0f},{self.steps},{text}"
        print(line, flush=True)
        with (self.folder / "log.csv").open("a", encoding="utf-8") as log:
            print(line, file=log)
