"""Runs work in a process that is killed at one of its file operations."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def killed(work: Callable[[], object], at: int, under: Path) -> bool:
    """Runs `work` in a process of its own and kills it before file operation number `at`, counted
    from 1. Only changes in the folder `under` count. If the operation would overwrite a file, that
    file is left half written. -> False if `work` finished first."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), f"the process ended with {code}"
        return code == 9
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if seen >= at or not _changes(event, arguments):
            return
        # shutil.rmtree names files relative to a folder that it has opened
        inside = event in ("os.remove", "os.rmdir") and arguments[1] != -1
        if not inside and not str(arguments[0]).startswith(str(under)):
            return
        seen += 1
        if seen == at:
            if event == "open" and "w" in (arguments[1] or ""):
                with contextlib.suppress(OSError):
                    handle = os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                    os.write(handle, b"half")
            os._exit(9)

    code = 1
    try:
        with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
            sys.addaudithook(hook)
            work()
        code = 0
    finally:
        os._exit(code)


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        _, mode, flags = arguments
        return any(letter in mode for letter in "wax+") if mode else bool(flags & _WRITES)
    return event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir")
