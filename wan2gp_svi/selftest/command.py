"""python -m wan2gp_svi selftest: checks SVI in the user's own WanGP.

Everything runs in a throw-away copy of WanGP, in its own process. Standard library only, because
this may be any Python.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import __version__, location
from ..files import explain
from ..install import Refused, locate
from ..install.doctor import ENVIRONMENTS, short
from ..install.shipped import PACKAGE
from ..text import examples, is_closed_pipe
from ..wangp import contract, why_off
from . import checks, copying, facts, passed, plan

PREFIX = "svi-selftest-"  #: of the copy's folder, beside other temporary ones
_SILENCE = 300  # seconds without progress, after which the self-test gives up
_OLD = 6 * 3600  # seconds, after which a copy counts as left behind
_ROOM = 300 * 10**6  # bytes beside the copy; SVI wants most of them free, as in any run
_LOG_LINES = 40
_NEEDED = ("torch", "gradio", "safetensors")
_IF_IT_FAILS = "Run install.py again. If it still fails, send the text below with a bug report."
_IF_WANGP_ENDED = ("Start WanGP and make a video without SVI. If that works, run install.py again, "
                   "and if it still fails, send the text below with a bug report.")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a self-test; `log` is the end of WanGP's."""

    results: list[checks.Result]
    facts: facts.Facts
    seconds: float
    log: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[checks.Result]:
        return [result for result in self.results if not result.passed]


def main(argv: Sequence[str]) -> int:
    """Returns 0 if all checks passed; 1 if one failed, or if the self-test could not start."""
    parser = argparse.ArgumentParser(
        "python -m wan2gp_svi selftest", description="Check SVI in your own WanGP with a tiny "
        "random model, in about two\nminutes. It works in a copy of WanGP's source in a temporary "
        "folder, and leaves\nnothing behind.",
        epilog=examples("in WanGP's folder or in that of this add-on",
                        "python -m wan2gp_svi selftest",
                        "python -m wan2gp_svi selftest PATH/TO/Wan2GP"),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wangp", nargs="?", metavar="WANGP_FOLDER",
                        help="the folder with wgp.py (default: search around this one)")
    options = parser.parse_args(argv)
    try:
        wangp = locate.find(options.wangp, location.HOME, Path.cwd())
        check_installed(wangp)
        outcome = test(wangp, find_python(wangp), checks.CHECKS,
                       lambda line: print(line, flush=True))
    except (Refused, OSError) as error:
        if is_closed_pipe(error):  # `main` knows what to do
            raise
        print(f"Self-test: {' '.join(explain(error).split()).rstrip('.')}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Self-test: stopped; nothing is left behind.", file=sys.stderr)
        return 1
    print("", *table(outcome), "", verdict(outcome), sep="\n")
    if outcome.failed:
        print("", *report(outcome, wangp), sep="\n")
        return 1
    with contextlib.suppress(OSError):  # WanGP's folder may be write-protected
        passed.remember(wangp, verdict(outcome))
    return 0


# --------------------------------------------------------------------------------------- beforehand

def check_installed(wangp: Path) -> None:
    """Raises Refused unless this release of SVI is installed in WanGP and works with it."""
    how = f'{locate.COMMAND} "{wangp}"'
    package = wangp / PACKAGE
    if not (package / "selftest/session.py").is_file():
        raise Refused(f"SVI for WanGP is not installed in {wangp}, or only an older release: {how}")
    source = (package / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([^"]+)"', source)
    release = found[1] if found else "?"
    if release != __version__:
        raise Refused(f"release {release} is installed in {wangp}, but this is {__version__}: "
                      f"{how}")
    if why := why_off(wangp):
        raise Refused(f"SVI is off in {wangp}: {why}")
    for use, why in contract.missing_beside(contract.read(wangp, ())):
        if use == contract.SELFTEST:
            raise Refused(f"the self-test cannot run in this WanGP: {why}. {contract.ADVICE}; SVI "
                          "itself is not affected")


def find_python(wangp: Path) -> str:
    """WanGP's Python: this one, or one in its folder. Raises Refused if none has its packages."""
    programs = ("Scripts/python.exe", "python.exe", "bin/python")
    inside = (wangp / name / program for name in ENVIRONMENTS for program in programs)
    for python in (sys.executable, *(str(path) for path in inside if path.is_file())):
        if has_packages(python):
            return python
    raise Refused(f"{sys.executable} lacks WanGP's packages, and no Python in {wangp} has them: "
                  "run this with WanGP's Python")


def has_packages(python: str) -> bool:
    """Whether a Python has WanGP's packages. They are looked for, not imported."""
    code = f"from importlib.util import find_spec\nassert all(map(find_spec, {_NEEDED!r}))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


# ------------------------------------------------------------------------------------------ the run

def test(wangp: Path, python: str, wanted: Sequence[checks.Check], say: Say) -> Outcome:
    """Makes the videos of the checks in a copy of WanGP. Raises OSError and Refused."""
    begin = time.monotonic()
    _remove_old()
    work = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    try:
        say(f"Self-test of SVI {__version__} in WanGP {locate.version(wangp)}. It works in a copy "
            "and takes a minute or two.")
        copying.copy(wangp, work / "WanGP")
        if (free := shutil.disk_usage(work).free) < _ROOM:
            raise Refused(
                f"{work.parent} has {free // 10**6} MB left, and the self-test needs "
                f"{_ROOM // 10**6}: make room there, or name another folder in the variable "
                f"{'TEMP' if os.name == 'nt' else 'TMPDIR'}")
        config = wangp / location.CONFIG
        if config.is_file():
            shutil.copyfile(config, work / "WanGP" / location.CONFIG)
        (work / "tmp").mkdir()
        videos = plan.needed(id for check in wanted for id in check.videos)
        ended = _run_session(python, wangp, work, [video.id for video in videos], say)
        log = telling((work / "log.txt").read_text(encoding="utf-8", errors="replace"))
        seen = facts.read(work / "facts.json") or facts.Facts(error=ended or log[-1])
        seen.wangp = locate.version(wangp)
    finally:
        _remove(work)
    lines = [short(line.replace(str(work), "COPY"), wangp) for line in log[-_LOG_LINES:]]
    results = [checks.result(check, seen) for check in wanted]
    return Outcome(results, seen, time.monotonic() - begin, lines)


def telling(log: str) -> list[str]:
    """The lines of WanGP's log without progress bars, at least one."""
    lines = (re.sub(r"^.*(?=\[SVI\])", "", line.split("\r")[-1]).rstrip()
             for line in log.split("\n"))
    return [line for line in lines if line.strip(" =")
            and not re.match(r"\s*(\[\d+/\d+\]|\d+%\|)", line)] or ["it said nothing"]


def _run_session(python: str, wangp: Path, work: Path, videos: Sequence[str], say: Say) -> str:
    """Runs the session and passes on its progress. Returns why it did not end by itself, or ""."""
    command = [python, "-m", f"{PACKAGE}.selftest.session", str(work), *videos]
    with (work / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=work / "WanGP", env=_environment(wangp, work), stdin=subprocess.PIPE,
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    told, heard = 0, time.monotonic()
    try:
        while True:
            ended = process.poll() is not None  # before the last lines are read
            lines = whole_lines(work / "progress.txt")
            for line in lines[told:]:
                say(line)
            if len(lines) > told:
                told, heard = len(lines), time.monotonic()
            if ended:
                code = process.returncode
                return "" if code in (0, 1) else f"WanGP's process ended with code {code}"
            if time.monotonic() - heard > _SILENCE:
                return f"nothing happened for {_SILENCE} s"
            time.sleep(0.1)
    finally:
        process.kill()
        process.communicate()


def whole_lines(path: Path) -> list[str]:
    """Those of a file that may not exist yet, and whose last line may be half written."""
    try:
        return path.read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return []


def _environment(wangp: Path, work: Path) -> dict[str, str]:
    temporary = dict.fromkeys(("TMPDIR", "TEMP", "TMP", "GRADIO_TEMP_DIR"), str(work / "tmp"))
    tools = str(wangp / "ffmpeg_bins")  # WanGP's own, which are not in the copy
    return {
        "OMP_NUM_THREADS": "1",  # as fast for a model this small
        **os.environ, **temporary,
        "PATH": os.pathsep.join([tools, os.environ.get("PATH", os.defpath)]),
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }


def _remove(folder: Path) -> None:
    for _ in range(20):  # on Windows, files stay in use for a moment after their process
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.25)


def _remove_old() -> None:
    """Copies of a self-test that was killed together with its session."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _OLD:
                shutil.rmtree(folder, ignore_errors=True)


# ---------------------------------------------------------------------------------- what is printed

def table(outcome: Outcome) -> list[str]:
    """A line for each check; none if WanGP ended before its first video."""
    results = outcome.results if outcome.facts.videos else []
    width = max((len(result.title) for result in results), default=0)
    return [f"{'✓' if result.passed else 'FAILED'} {result.title:{width}}  {result.seen}"
            for result in results]


def verdict(outcome: Outcome) -> str:
    """One line: what passed or failed, where, and what to do."""
    seen, failed, count = outcome.facts, outcome.failed, len(outcome.results)
    where = f"WanGP {seen.wangp} ({seen.device or 'unknown device'}) in {outcome.seconds:.0f} s"
    if not seen.videos:
        error = " ".join(seen.error.split()).rstrip(".")
        return f"No check ran on {where}. WanGP ended early: {error}. {_IF_WANGP_ENDED}"
    if not failed:
        return f"All {count} checks passed on {where}: SVI works here."
    names = ", ".join(result.title for result in failed[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return (f"{len(failed)} of {count} checks failed on {where}: {names}{more}. "
            f"{_IF_WANGP_ENDED if seen.error else _IF_IT_FAILS}")


def report(outcome: Outcome, wangp: Path) -> list[str]:
    """The text for a bug report: versions, settings, what failed, and the end of the log."""
    seen = outcome.facts
    lines = [
        "----- copy from here into a bug report -----",
        f"SVI for WanGP {__version__}, self-test: {len(outcome.failed)} of "
        f"{len(outcome.results)} checks failed",
        f"WanGP {seen.wangp}, {platform.platform()}, {seen.device or 'unknown device'}",
        ", ".join(f"{name} {version}" for name, version in seen.versions.items()),
        "Settings: " + ", ".join(f"{name} {value}" for name, value in seen.settings.items()),
        *(f"{result.id}: {result.seen}" for result in outcome.failed if seen.videos),
        *([f"WanGP ended early: {seen.error}"] if seen.error else []),
        "Log:",
        *(f"  {line}" for line in outcome.log),
        "----- to here -----",
    ]
    return [short(line, wangp) for line in lines]
