"""tests/run.py, the command that runs the tests: which of them run with a Python for Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import run

HOME = Path(__file__).resolve().parents[1]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is started, on Linux. What begins with "fails" fails."""
    found: list[list[str]] = []

    def start(command: list[object], **_: object) -> SimpleNamespace:
        found.append([str(word) for word in command])
        return SimpleNamespace(returncode=3 if found[-1][0] == "fails" else 0)

    monkeypatch.setattr(subprocess, "run", start)
    monkeypatch.setattr(run, "prepare", lambda extra: "python")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "argv", ["run.py"])
    return found


def test_a_python_for_windows_runs_the_tests_of_files_and_the_installer_too(
        started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv("WINDOWS_PYTHON", "'a rig/python' -X dev")
    assert run.main() == 0
    *_, linux, windows = started
    assert linux == ["python", "-m", "pytest"] and "Not run" not in capsys.readouterr().out
    assert windows[:5] == ["a rig/python", "-X", "dev", "-m", "pytest"]
    assert windows[-len(run.WINDOWS) :] == run.WINDOWS
    assert all((HOME / name).is_file() for name in run.WINDOWS[: run.WINDOWS.index("-k")])


def test_what_fails_there_fails(started: list[list[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WINDOWS_PYTHON", "fails")
    assert run.main() == 3


def test_without_one_it_says_what_did_not_run(
        started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.delenv("WINDOWS_PYTHON", raising=False)
    assert run.main() == 0 and started[-1] == ["python", "-m", "pytest"]
    assert capsys.readouterr().out.startswith("Not run: install.bat and the locks of Windows.")
