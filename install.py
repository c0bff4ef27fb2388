"""Installs SVI for WanGP:  python install.py [WANGP_FOLDER]   (python install.py --help says the rest)

Standard library only. Up to the version check the syntax is one that every Python can read.
"""
import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit("SVI for WanGP needs Python 3.10 or newer, and %s is Python %d.%d. "  # noqa: UP031
             "Run install.py with the Python of WanGP." % ((sys.executable,) + sys.version_info[:2]))

sys.dont_write_bytecode = True  # leave no __pycache__ in the distribution folder
# Embedded Pythons do not look beside the script by themselves.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

from wan2gp_svi.install.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
