"""Stable Video Infinity for WanGP: long Wan videos that do not drift.

Importing this package costs nothing; torch is first needed by `conditioning` and `wangp`.
"""

__version__ = "1.1.0"
