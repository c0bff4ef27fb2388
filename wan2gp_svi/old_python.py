"""Ends a program that a Python started which is too old, with a sentence. Programs import it first,
and every Python can read it.
"""
import sys

if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit("SVI for WanGP needs Python 3.10 or newer, and %s is Python %d.%d. "  # noqa: UP031
             "Use WanGP's Python." % ((sys.executable,) + sys.version_info[:2]))
