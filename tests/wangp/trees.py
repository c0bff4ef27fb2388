"""Throw-away copies of WanGP and the jobs that run in them. Needs only the standard library; never
imports WanGP."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# The last first-parent commit of each version that starts. Later ones of 9.91 and 12.00 import a
# module that was committed with the next version.
COMMITS = {
    "9.91": "fac2659756848fc680c79c369cb8fb833bf61a56",
    "10.12": "ef3dd17eb2831cc143d3604fe6ce0c61a3196d18",
    "10.80": "0eda02c45784c6e13a8da6906393ecd6b0255cd5",
    "11.30": "ecfe88b7760213e50f974abdc5374a2f028e1762",
    "12.00": "c2a1fdf9e95dc60776347282272c5525f3b8158a",
    "12.60": "8681e9f777f9f847f74a0bdefd13d5b9a6efe12d",
}

FOLDERS = {
    "configs", "defaults", "docs", "icons", "mmgp", "models", "plugins", "postprocessing",
    "preprocessing", "profiles", "shared",
}
BINARIES = {".gif", ".jpg", ".jpeg", ".mp3", ".mp4", ".png", ".safetensors", ".wav", ".whl", ".pyc",
            ".pth"}
LARGEST = 4 * 1024**2  # bytes; no source file of WanGP is larger


class NoTree(Exception):
    """A tree cannot be made. The message says why, and what would help."""


@dataclass(frozen=True)
class Outcome:
    """What a job leaves: its report (JSON), its log, and the folder with its tensors."""

    report: dict[str, Any]
    log: str
    work: Path

    @property
    def tensors(self) -> dict[str, Any]:
        """The recorded tensors, named `task0.window1.y` and so on (needs torch)."""
        from safetensors.torch import load_file

        return load_file(self.work / "tensors.safetensors")


def wanted(path: Path, size: int) -> bool:
    """Whether WanGP may need the file at `path`, relative to its root, in order to run."""
    top = path.parts[0]
    source = (path.suffix == ".py" or path.name == "plugins.json"
              if len(path.parts) == 1 else top in FOLDERS)
    return source and path.suffix.lower() not in BINARIES and size <= LARGEST


def copy(checkout: Path, target: Path) -> Path:
    """Copies what WanGP needs to run, but none of the user's models, outputs and settings."""
    for folder, folders, files in os.walk(checkout):
        here = Path(folder).relative_to(checkout)
        folders[:] = [name for name in folders if name != "__pycache__"
                      and (here.parts or name in FOLDERS)]
        for name in files:
            source = Path(folder, name)
            if source.is_file() and wanted(here / name, source.stat().st_size):
                (target / here).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target / here / name)
    return target


def export(checkout: Path, commit: str, target: Path) -> Path:
    """Writes what WanGP needs to run as of `commit`. Objects missing from the clone are skipped."""
    listing = _git(checkout, "ls-tree", "-r", "-l", "-z", commit)
    if listing is None:
        raise NoTree(f"{checkout} has no commit {commit[:10]}: its history is "
                     "needed (git fetch --unshallow)")
    paths: dict[str, list[Path]] = {}
    for line in filter(None, listing.decode("utf-8").split("\0")):
        details, _, name = line.partition("\t")
        mode, kind, blob, size = details.split()
        if kind == "blob" and mode != "120000" and size.isdigit() and wanted(Path(name), int(size)):
            paths.setdefault(blob, []).append(Path(name))
    stream = memoryview(_git(checkout, "cat-file", "--batch", given="\n".join(paths).encode())
                        or b"")
    for blob in paths:
        end = bytes(stream[:200]).index(b"\n")
        header, stream = bytes(stream[:end]).split(), stream[end + 1 :]
        if header[1:] == [b"missing"]:
            continue
        size = int(header[2])
        for path in paths[blob]:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(stream[:size])
        stream = stream[size + 1 :]
    if not (target / "wgp.py").is_file():
        raise NoTree(f"{checkout} lacks the files of commit {commit[:10]}: a full clone is needed")
    return target


def _git(checkout: Path, *arguments: str, given: bytes | None = None) -> bytes | None:
    """The output of git, or None if it fails."""
    # keeps a partial clone from downloading
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}
    done = subprocess.run(["git", "-C", checkout, *arguments], input=given, capture_output=True,
                          env=environment)
    return done.stdout if done.returncode == 0 else None


def lacks(python: str, *packages: str) -> str:
    """The last line of the error if `python` cannot import the packages, else empty."""
    done = subprocess.run([python, "-c", f"import {', '.join(packages)}"], capture_output=True,
                          encoding="utf-8")
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def run(python: str, tree: Path, work: Path, job: dict[str, Any], timeout: float = 300) -> Outcome:
    """Runs a job (see session.py). Raises RuntimeError with the end of its log if it fails."""
    process = start(python, tree, work, job)
    try:
        code: int | str = process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = f"no end after {timeout} s"
    log = (work / "log.txt").read_text(encoding="utf-8", errors="replace")
    if code:
        raise RuntimeError(f"WanGP job failed ({code}):\n{log[-4000:]}")
    return Outcome(json.loads((work / "report.json").read_text(encoding="utf-8")), log, work)


@contextlib.contextmanager
def serve(
    python: str, tree: Path, work: Path, job: dict[str, Any] | None = None, timeout: float = 180
) -> Iterator[str]:
    """Serves the real UI with the tiny models -> its address. The server ends with the block."""
    port = free_port()
    process = start(python, tree, work, {**(job or {}), "level": "ui", "port": port})
    with answering(process, port, work / "log.txt", timeout) as address:
        yield address


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def answering(process: subprocess.Popen[bytes], port: int, log: Path,
              timeout: float = 180) -> Iterator[str]:
    """The address of a launched server once it answers. The server ends with the block."""
    try:
        address, end = f"http://127.0.0.1:{port}/", time.monotonic() + timeout
        while not answers(address):
            if process.poll() is not None or time.monotonic() > end:
                text = log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"the UI did not start:\n{text[-4000:]}")
            time.sleep(0.5)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            # with all that it started; Windows has no process groups
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
        process.wait()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def start(python: str, tree: Path, work: Path, job: dict[str, Any]) -> subprocess.Popen[bytes]:
    work.mkdir(parents=True, exist_ok=True)
    file = work / "job.json"
    file.write_text(json.dumps({**job, "work": str(work)}), encoding="utf-8")
    return launch([python, str(HERE / "session.py"), str(file)], tree, work / "log.txt")


def launch(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts WanGP as a process in a group of its own."""
    environment = {
        # as fast for models this small, and the same frames on every machine
        "OMP_NUM_THREADS": "1",
        **os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONIOENCODING": "utf-8", "no_proxy": "127.0.0.1,localhost",
    }
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=out,
                                stderr=subprocess.STDOUT, start_new_session=True)
