"""Linter and tests, with all their set-up: `python tests/run.py [PYTEST_ARGUMENTS]`.

Makes .venv beside this folder when it is not there yet. Standard library only.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
VENV = HOME / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def main() -> int:
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    steps = (
        ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ".[test]"),
        ("-m", "ruff", "check", "."),
        ("-m", "pytest", *sys.argv[1:]),
    )
    for step in steps:
        code = subprocess.run([PYTHON, *step], cwd=HOME).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
