"""Other programs that are asked something: git, and nvidia-smi."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_GIT_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set while git runs somebody's hook


@dataclass(frozen=True)
class Answer:
    """What a program printed; `fault`: why it did not, "" if it did."""

    output: bytes
    fault: str = ""

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")


def ask(program: str, *arguments: str, folder: Path | None = None, seconds: float | None = None) -> Answer:
    """Runs a program in a folder, for so many seconds at most. Never raises; with a fault there is no output."""
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_ELSEWHERE}
    try:
        done = subprocess.run([program, *arguments], cwd=folder, env=environment, capture_output=True, timeout=seconds)
    except OSError:
        return Answer(b"", f"{program} was not found")
    except subprocess.TimeoutExpired:
        return Answer(b"", f"{program} did not answer")
    if done.returncode:
        return Answer(b"", " ".join(done.stderr.decode("utf-8", "replace").split()) or f"{program} failed")
    return Answer(done.stdout)
