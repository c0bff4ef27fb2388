"""install.bat, started as Explorer, PowerShell and a console start it. On Windows only."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="install.bat is for Windows")
REPO = Path(__file__).resolve().parents[1]
#: names that a folder may have: what cmd takes for its own
NAMES = ["WanGP", "Wan 2GP (new)!", "Wan^GP", "Wan & GP = 'so'", "Wän", "100% Wan"]
#: in place of the installer: says with which Python and which arguments it was started
SAYS = ("import os, sys\n"
        "print('python', sys.executable)\nprint('arguments', sys.argv[1:])\n"
        "print('told', os.environ['SVI_INSTALL'])\nsys.exit(3)\n")
MACHINE = r"C:\Program Files\WindowsPowerShell\Modules;C:\Windows\system32\WindowsPowerShell\v1.0"
COMSPEC = os.environ.get("COMSPEC", "cmd.exe")
PAUSED = "ress any key"
USER = r"C:\Users\me\Documents\WindowsPowerShell\Modules"


class Started:
    """install.bat in a folder of its own, beside a WanGP with an environment."""

    def __init__(self, folder: Path):
        self.home, self.wangp = folder / "svi", folder / "Wan2GP"
        self.bat = self.home / "install.bat"
        self.python = self.wangp / "env_venv" / "Scripts" / "python.exe"
        self.home.mkdir(parents=True)
        shutil.copyfile(REPO / "install.bat", self.bat)
        (self.home / "install.py").write_text(SAYS, encoding="utf-8")
        venv.create(self.wangp / "env_venv")
        (self.wangp / "wgp.py").write_bytes(b"")

    def by(self, line: str, called: str = "", **variables: str) -> tuple[int, str]:
        """Runs a command line -> exit code, what it prints. `called` is what cmd says that it was
        started with; wine's does not say it."""
        given = {"CMDCMDLINE": called or line, "PSModulePath": MACHINE, "PYTHONUTF8": "1",
                 **variables}
        own = {name: text for name, text in os.environ.items()
               if name.upper() not in ("CONDA_PREFIX", "SVI_INSTALL")}
        done = subprocess.run(line, cwd=self.home.parent, env={**own, **given}, input=b"\r\n",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def typed(self, arguments: str, **variables: str) -> tuple[int, str]:
        """At a prompt, whose cmd was not started for this file."""
        return self.by(f'{COMSPEC} /d /s /c ""{self.bat}" {arguments}"', COMSPEC, **variables)


@pytest.fixture
def started(tmp_path: Path) -> Started:
    return Started(tmp_path / "AI")


WINDOW = {
    "a double click": '{cmd} /c ""{bat}" "', "as administrator": '"{cmd}" /C "{bat}" ',
    "a folder dropped on it": '{cmd} /c ""{bat}" {wangp}"',
    "a folder with a blank dropped on it": '{cmd} /c ""{bat}" "{wangp}""',
}


@pytest.mark.parametrize("how", WINDOW)
def test_a_window_that_explorer_opens_stays_open(started: Started, how: str):
    line = WINDOW[how].format(cmd=COMSPEC, bat=started.bat, wangp=started.wangp)
    code, said = started.by(line)
    assert f"python {started.python}" in said and code == 3 and PAUSED in said
    dropped = [str(started.wangp)] if "dropped" in how else []
    assert f"arguments {dropped}" in said


@pytest.mark.parametrize("how", ["typed", "PowerShell", "another batch file"])
def test_a_console_gets_its_prompt_back_at_once(started: Started, how: str):
    if how == "PowerShell":
        code, said = started.by(f'{COMSPEC} /c ""{started.bat}" --status"',
                                PSModulePath=f"{USER};{MACHINE}")
    elif how == "typed":
        code, said = started.typed("--status")
    else:
        other = started.home / "mine.bat"
        other.write_text('@call "%~dp0install.bat" --status\r\n', encoding="ascii")
        code, said = started.by(f'{COMSPEC} /c ""{other}" "')
    assert code == 3 and "arguments ['--status']" in said and PAUSED not in said


@pytest.mark.parametrize("name", NAMES)
def test_folders_may_have_any_name(tmp_path: Path, name: str):
    if "%" in name and hasattr(ctypes.CDLL("ntdll"), "wine_get_version"):
        pytest.skip("wine reads on after a % in the name of a batch file")
    started = Started(tmp_path / name)
    for line in ("", "--status", f'"{started.wangp}" --status'):
        code, said = started.typed(line)
        assert code == 3 and f"python {started.python}" in said, said
        assert line not in ("", "--status") or f"arguments {line.split()}" in said


def test_the_wangp_that_is_given_comes_first(started: Started, tmp_path: Path):
    other = Started(tmp_path / "other place")
    for given in (f'"{other.wangp}"', f'"{other.wangp}\\" --status'):
        assert f"python {other.python}" in started.typed(given)[1]


def test_a_file_copied_alone_says_what_it_lacks(started: Started):
    (started.home / "install.py").unlink()
    code, said = started.typed("")
    assert code == 1 and "Unpack the whole zip file" in said and "python " not in said


def test_without_any_python_it_says_so_and_the_window_stays(started: Started):
    shutil.rmtree(started.wangp / "env_venv")
    code, said = started.by(f'{COMSPEC} /c ""{started.bat}" "', PATH=r"C:\Windows\system32",
                            USERPROFILE=r"C:\nobody")
    assert code == 1 and "No Python found" in said and PAUSED in said


def test_the_installer_itself_runs_and_names_the_file_that_was_started(started: Started):
    for name in ("install.py", "wan2gp_svi", "patches", "profiles"):
        source, target = REPO / name, started.home / name
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    (started.wangp / "wgp.py").unlink()
    code, said = started.typed("")
    assert code == 1 and "drop WanGP's folder on install.bat" in said
    code, said = started.typed("/?")
    assert code == 0 and "--uninstall" in said
    code, said = started.typed(f'"{started.wangp}\\" --status')
    assert code == 1 and f"{started.wangp} is not a WanGP folder" in said
