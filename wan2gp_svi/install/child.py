"""Runs the installer of a plugin's folder as a program, so that it mixes with no other release.

WanGP may have another release of this package loaded, or none: `plugin.py` runs this file by its
path. So it imports nothing of the package.
"""

import os
import subprocess
import sys
from pathlib import Path

_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # on Windows


def install(folder: Path, wangp: Path) -> tuple[bool, list[str]]:
    """Runs install.py of the plugin in `folder` -> whether it worked, and what it said."""
    command = [sys.executable, str(folder / "install.py"), str(wangp), "--plugin", folder.name]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True,
                              encoding="utf-8", errors="replace", creationflags=_NO_WINDOW)
    except OSError as error:
        return False, [f"{sys.executable} could not be started ({error})"]
    said = (done.stdout if done.returncode == 0 else done.stderr).splitlines()
    return done.returncode == 0, [line for line in said if line.strip()]
