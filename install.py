"""Installs SVI for WanGP: python install.py [WANGP_FOLDER]. See python install.py --help.

Standard library only. Every Python can read the syntax up to the version check.
"""
import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit("SVI for WanGP needs Python 3.10 or newer, and %s is Python %d.%d. "  # noqa: UP031
             "Run install.py with WanGP's Python." % ((sys.executable,) + sys.version_info[:2]))

sys.dont_write_bytecode = True  # leave no __pycache__ in the distribution folder
# Embedded Pythons do not search the script's own folder.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

from wan2gp_svi.install.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
