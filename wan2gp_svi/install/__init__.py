"""The installer: adds hooks to WanGP, and the package and profiles beside them.

Standard library only. Of the package, it imports only modules that need nothing more.
"""


class Refused(Exception):
    """The installer cannot do what was asked. The message is one line: what, why, and the fix."""
