"""Runs other programs, such as git and nvidia-smi, for what they print."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

_GIT_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set while git runs a user's hook


@dataclass(frozen=True)
class Answer:
    """What a program printed, or `fault`: why it printed nothing."""

    output: bytes
    fault: str = ""

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")


def ask(
    program: str, *arguments: str, folder: Path | None = None, seconds: float | None = None
) -> Answer:
    """Runs a program of PATH in `folder`, for `seconds` at most. Never raises."""
    environment = {name: value for name, value in os.environ.items() if name not in _GIT_ELSEWHERE}
    try:
        done = subprocess.run([_found(program), *arguments], cwd=folder, env=environment,
                              capture_output=True, timeout=seconds)
    except OSError:
        return Answer(b"", f"{program} was not found")
    except subprocess.TimeoutExpired:
        return Answer(b"", f"{program} did not answer")
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())
        return Answer(b"", said or f"{program} failed")
    return Answer(done.stdout)


def _found(program: str) -> Path:
    """The place of a program. Windows would look in the current folder first, and the files in
    WanGP's folder may be a stranger's. Raises FileNotFoundError."""
    name = f"{program}.exe" if os.name == "nt" and not program.endswith(".exe") else program
    for folder in map(Path, os.get_exec_path()):
        if folder.is_absolute() and os.access(folder / name, os.X_OK):
            return folder / name
    raise FileNotFoundError(program)
