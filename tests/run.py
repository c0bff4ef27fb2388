"""Lints, checks types and tests: `python tests/run.py [PYTEST_ARGUMENTS]`.

The first time it puts what that needs into .venv. Standard library only.

On Linux, WINDOWS_PYTHON may be a command that starts a Python for Windows with the tests' packages,
such as one under Wine. Then the tests of what Windows does in another way run there too: those in
WINDOWS, or those that the arguments choose.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from wan2gp_svi.demo.environment import SetUpError, prepare  # noqa: E402

WINDOWS = [*(f"tests/test_{name}.py" for name in
             ("install_bat", "files", "clips", "runs", "install", "recording")),
           "-k", "test_install_bat or test_files or test_clips or test_runs or uninstall or in_use"
                 " or protected or player or somebody"]


def main() -> int:
    try:
        python = prepare("test")
    except SetUpError as error:
        print(f"The tests cannot run: {error}", file=sys.stderr)
        return 1
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin slow down the others
    other = "linux" if sys.platform == "win32" else "win32"  # has other code in files.py
    for step in (("ruff", "check", "."), ("mypy",), ("mypy", "--platform", other, "--cache-dir",
                 f".mypy_cache/{other}", "wan2gp_svi/files.py"), ("pytest", *sys.argv[1:])):
        code = subprocess.run([python, "-m", *step], cwd=HOME).returncode
        if code:
            return code
    if sys.platform == "win32":
        return 0
    if command := shlex.split(os.environ.get("WINDOWS_PYTHON", "")):
        return subprocess.run([*command, "-m", "pytest", "-p", "no:cacheprovider",
                               *(sys.argv[1:] or WINDOWS)], cwd=HOME).returncode
    print("Not run: install.bat and the locks of Windows. They need Windows, such as "
          ".github/workflows/tests.yml has, or a WINDOWS_PYTHON (docs/windows.md).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
