"""Installs SVI for WanGP: python install.py [WANGP_FOLDER]. See python install.py --help.

Standard library only.
"""
import os
import sys

sys.dont_write_bytecode = True  # leave no __pycache__ in the distribution folder
# Embedded Pythons do not search the script's own folder.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

import wan2gp_svi.old_python  # noqa: E402, F401  # ends if Python is too old
from wan2gp_svi.install.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
