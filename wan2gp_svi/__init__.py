"""Stable Video Infinity for WanGP: long Wan videos by LoRAs that are trained not to drift.

Importing this package costs nothing; torch is first needed by `conditioning` and `wangp`.
"""

__version__ = "1.1.0"
