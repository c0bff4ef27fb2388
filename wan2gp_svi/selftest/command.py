"""python -m wan2gp_svi selftest: checks SVI in the user's own WanGP.

Everything runs in a throw-away copy of WanGP, in a process of its own. Standard library only: this may be any Python.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__, location
from ..install import Refused, locate
from ..install.doctor import ENVIRONMENTS, short
from ..install.patches import PatchError, present, read_series
from ..install.shipped import PACKAGE, Distribution
from . import checks, copying, facts, passed, plan

HOME = location.HOME  #: the distribution's folder, or WanGP's where this is installed
PREFIX = "svi-selftest-"  #: of the copy's folder, beside other temporary ones
_SILENCE = 300  # seconds without a sign of life, after which the self-test gives up
_OLD = 6 * 3600  # seconds, after which a copy is one that was left behind
_ROOM = 300 * 10**6  # bytes beside the copy, most of which SVI leaves free as in any run
_LOG_LINES = 40
_NEEDED = ("torch", "gradio", "safetensors")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a self-test. `log` is the end of WanGP's, without names of the user's folders."""

    results: list[checks.Result]
    facts: facts.Facts
    seconds: float
    log: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[checks.Result]:
        return [result for result in self.results if not result.passed]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wangp", nargs="?", metavar="WANGP_FOLDER", help="where wgp.py is (default: look around)")
    parser.add_argument("--python", metavar="PATH", help="WanGP's Python (default: this one if it has WanGP's "
                        "packages, or else one that lies in WanGP's folder)")
    parser.add_argument("--only", metavar="CHECK", nargs="+", default=[], choices=checks.IDS,
                        help=f"only these of the checks: {', '.join(checks.IDS)}")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m wan2gp_svi selftest", description="Checks SVI in your own WanGP, in two minutes or less, with a "
        "tiny model that comes along. It works on a copy of WanGP's program files in a temporary folder, and leaves "
        "nothing behind.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def run(options: argparse.Namespace) -> int:
    """0: all checks passed; 1: one failed, or the self-test could not begin."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")
    try:
        wangp = locate.find(options.wangp, HOME, Path.cwd())
        check_installed(wangp)
        outcome = test(wangp, find_python(wangp, options.python), options.only, lambda line: print(line, flush=True))
    except (Refused, OSError) as error:
        print(f"Self-test: {' '.join(str(error).split())}.".replace("..", "."), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Self-test: stopped, and nothing is left behind.", file=sys.stderr)
        return 1
    print("", *table(outcome.results, _marks(sys.stdout.encoding)), "", verdict(outcome), sep="\n")
    if outcome.failed:
        print("", *report(outcome, wangp), sep="\n")
        return 1
    if not options.only:
        with contextlib.suppress(OSError):  # a folder that may not be written to: it passed all the same
            passed.remember(wangp, verdict(outcome))
    return 0


# -------------------------------------------------------------------------------------------------- before it can begin

def check_installed(wangp: Path) -> None:
    """Raises Refused unless this release of SVI is installed in WanGP, and whole."""
    how = f"python install.py \"{wangp}\""
    package = wangp / PACKAGE
    if not (package / "selftest/session.py").is_file():
        raise Refused(f"SVI for WanGP is not installed in {wangp}, or an older release of it is: {how}")
    source = (package / "__init__.py").read_text(encoding="utf-8")
    release = re.search(r'__version__ = "([^"]+)"', source)
    if release is None or release[1] != __version__:
        raise Refused(f"release {release[1] if release else '?'} is installed in {wangp}, and this is {__version__}: "
                      f"{how}")
    try:
        for patch in read_series(Distribution(wangp, "").patches):
            file = wangp / patch.path
            count = present(file.read_bytes(), patch) if file.is_file() else 0
            if count < len(patch.hunks):
                raise Refused(f"SVI is off in {wangp}, because {patch.path} has {count} of {len(patch.hunks)} hooks: "
                              f"{how}")
    except PatchError as error:
        raise Refused(f"{error}: {how}") from None


def find_python(wangp: Path, given: str | None) -> str:
    """WanGP's Python. Raises Refused where none has its packages."""
    if given:
        if shutil.which(given) is None:
            raise Refused(f"there is no Python {given}")
        if lacks := _lacks(given):
            raise Refused(f"{given} lacks {lacks}: name WanGP's own Python, --python PATH")
        return given
    if all(importlib.util.find_spec(name) for name in _NEEDED):
        return sys.executable
    for name in ENVIRONMENTS:
        for program in ("Scripts/python.exe", "python.exe", "bin/python"):
            python = wangp / name / program
            if python.is_file() and not _lacks(str(python)):
                return str(python)
    raise Refused(f"{sys.executable} does not have WanGP's packages, and no Python in {wangp} does: run this with "
                  "WanGP's Python, or name it, --python PATH")


def _lacks(python: str) -> str:
    """Which of WanGP's packages a Python has not; they are looked for, not imported."""
    code = f"import importlib.util as u; print(*[m for m in {_NEEDED!r} if u.find_spec(m) is None])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, encoding="utf-8", errors="replace", timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.strip() if done.returncode == 0 else "Python"


# ------------------------------------------------------------------------------------------------------- the run itself

def test(wangp: Path, python: str, only: Sequence[str], say: Say) -> Outcome:
    """Makes the videos of the checks in a copy of WanGP, and checks them. Raises OSError where it cannot be copied."""
    begin = time.monotonic()
    _remove_old()
    work = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    try:
        say(f"Self-test of SVI {__version__} in WanGP {locate.version(wangp)}. It works on a copy, and takes a "
            "minute or two.")
        copying.copy(wangp, work / "WanGP")
        if (free := shutil.disk_usage(work).free) < _ROOM:
            variable = "TEMP" if os.name == "nt" else "TMPDIR"
            raise Refused(f"{work.parent} has {free // 10**6} MB left, and the self-test needs {_ROOM // 10**6}: make "
                          f"room there, or name another folder in the variable {variable}")
        config = wangp / location.CONFIG
        if config.is_file():
            shutil.copyfile(config, work / "WanGP" / location.CONFIG)
        (work / "tmp").mkdir()
        videos = [video.id for video in plan.needed(checks.videos(only))]
        (work / "job.json").write_text(json.dumps({"svi": __version__, "videos": videos}), encoding="utf-8")
        ended = _session(python, wangp, work, videos, say)
        found = _found(work)
        log = (work / "log.txt").read_text(encoding="utf-8", errors="replace")
        if ended and not found.error:
            found.error = ended
    finally:
        _remove(work)
    lines = [short(line.replace(str(work), "COPY"), wangp) for line in telling(log)]
    return Outcome(checks.results(found, only), found, time.monotonic() - begin, lines[-_LOG_LINES:])


def telling(log: str) -> list[str]:
    """The lines of WanGP's log without its bars of progress."""
    lines = (re.sub(r"^.*(?=\[SVI\])", "", line.split("\r")[-1]).rstrip() for line in log.split("\n"))
    return [line for line in lines if line.strip(" =") and not re.match(r"\s*(\[\d+/\d+\]|\d+%\|)", line)]


def _session(python: str, wangp: Path, work: Path, videos: list[str], say: Say) -> str:
    """Runs the session to its end, and tells how far it is; why it did not come to its end, or ""."""
    command = [python, "-m", f"{PACKAGE}.selftest.session", str(work / "job.json")]
    group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
    with (work / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=work / "WanGP", env=_environment(wangp, work), stdin=subprocess.PIPE,
                                   stdout=log, stderr=subprocess.STDOUT, **group)
    progress, heard = Progress(videos), time.monotonic()
    try:
        while True:
            ended = process.poll() is not None  # asked before the last lines are read
            for line in progress.news(work / "progress.jsonl"):
                heard = time.monotonic()
                say(line)
            if ended:
                return "" if process.returncode in (0, 1) else f"WanGP's process ended with code {process.returncode}"
            if time.monotonic() - heard > _SILENCE:
                return f"nothing happened for {_SILENCE} s"
            time.sleep(0.1)
    finally:
        _end(process)


def _environment(wangp: Path, work: Path) -> dict[str, str]:
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "GRADIO_TEMP_DIR"), str(work / "tmp"))
    tools = wangp / "ffmpeg_bins"  # WanGP's own, which the copy does without
    path = os.pathsep.join([str(tools), *filter(None, [os.environ.get("PATH")])])
    return {
        "OMP_NUM_THREADS": "1",  # as fast for a model this small
        **os.environ, **temporary, **({"PATH": path} if tools.is_dir() else {}),
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }


class Progress:
    """What the session says of itself -> lines for the user."""

    def __init__(self, videos: list[str]):
        self._clips = {id: plan.VIDEOS[id].made for id in videos}
        self._done, self._read = 0, 0
        self._first = self._begun = time.monotonic()

    def news(self, path: Path) -> Iterator[str]:
        """The lines that have come since the last call."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be half written
        except OSError:
            return
        for line in lines[self._read:]:
            self._read += 1
            event, what = json.loads(line)
            yield from self._told(event, what, time.monotonic())

    def _told(self, event: str, what: str, now: float) -> Iterator[str]:
        total = sum(self._clips.values())
        if event == "boot":
            self._begun = now
            yield self._line(total, "starting WanGP")
        elif event == "video":
            if not self._done:
                self._first = now
            self._begun = now
        elif event == "made":
            self._done += self._clips[what]
            left = (now - self._first) / self._done * (total - self._done)
            yield self._line(total, f"{plan.VIDEOS[what].title}, {now - self._begun:.0f} s"
                             + (f"; about {left:.0f} s left" if self._done < total else ""))

    def _line(self, total: int, text: str) -> str:
        return f"[{self._done:2}/{total} clips] {text}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and, where the system knows groups of them, those that it has started."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.wait()
    with contextlib.suppress(OSError):
        process.stdin.close()


def _found(work: Path) -> facts.Facts:
    try:
        return facts.read((work / "facts.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return facts.Facts(svi=__version__, error="it ended before it had written what it saw")


def _remove(folder: Path) -> None:
    for _ in range(20):  # on Windows a file stays in use for a moment after its process has ended
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.25)


def _remove_old() -> None:
    """Copies of a self-test that was killed together with its session."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _OLD:
                shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------ what is printed

def _marks(encoding: str | None) -> tuple[str, str]:
    try:
        "✓✗".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "ok    ", "FAILED"
    return "✓", "✗"


def table(results: Sequence[checks.Result], marks: tuple[str, str] = ("✓", "✗")) -> list[str]:
    width = max((len(result.title) for result in results), default=0)
    return [f"{marks[0] if result.passed else marks[1]} {result.title:{width}}  {result.seen}" for result in results]


def verdict(outcome: Outcome) -> str:
    found, count = outcome.facts, len(outcome.results)
    where = f"WanGP {found.wangp or '?'} ({found.device or 'unknown device'}) in {outcome.seconds:.0f} s"
    if not outcome.failed:
        all_of = "The check passed" if count == 1 else f"All {count} checks passed"
        return f"{all_of} on {where}: SVI works here."
    names = ", ".join(result.title for result in outcome.failed[:3])
    more = f" and {len(outcome.failed) - 3} more" if len(outcome.failed) > 3 else ""
    to_do = " ".join(dict.fromkeys(result.to_do for result in outcome.failed))
    return f"{len(outcome.failed)} of {count} checks failed on {where}: {names}{more}. {to_do}"


def report(outcome: Outcome, wangp: Path) -> list[str]:
    """The text for a bug report: versions, the settings that matter, what failed, the end of the log."""
    found = outcome.facts
    lines = [
        "----- copy from here into a bug report -----",
        f"SVI for WanGP {__version__}, self-test: {len(outcome.failed)} of {len(outcome.results)} checks failed",
        f"WanGP {found.wangp or locate.version(wangp)}, {platform.platform()}, {found.device or 'unknown device'}",
        ", ".join(f"{name} {version}" for name, version in found.versions.items()),
        "Settings: " + ", ".join(f"{name} {value}" for name, value in found.settings.items()),
        *(f"{result.id}: {result.seen}" for result in outcome.failed),
        *([f"WanGP ended early: {found.error}"] if found.error else []),
        "Log:",
        *(f"  {line}" for line in outcome.log),
        "----- to here -----",
    ]
    return [short(line, wangp) for line in lines]
