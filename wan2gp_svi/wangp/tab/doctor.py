"""The doctor and the self-test."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__, location
from ...install import Refused, doctor
from ...install.shipped import Distribution
from .. import visitors
from . import lora_files
from .helpers import gr, on, tell_if_off, text_to_copy

_COMMAND = (sys.executable, "-B", "-m", "wan2gp_svi", "selftest")


def create(wgp: Mapping[str, Any]) -> None:
    """`wgp` are the variables of wgp.py."""
    with gr.Accordion("Doctor", open=False) as part:
        gr.Markdown("What is installed, and any problems. Include this in every bug report.")
        tell_if_off(wgp)
        with gr.Row():
            usable = not visitors.is_off(wgp)
            again = gr.Button("Refresh", size="sm", scale=0, interactive=usable,
                              elem_id="svi_examine")
            button = gr.Button("Self-test", size="sm", scale=0, interactive=usable,
                               elem_id="svi_selftest")
        report = text_to_copy(label="Doctor", max_lines=40, elem_id="svi_doctor")
        tested = text_to_copy(label="Self-test", max_lines=60, visible=False,
                              elem_id="svi_selftest_says")

    def examine() -> str:
        visitors.check(wgp)
        return diagnose(location.HOME, lora_files.folders(wgp))

    def test() -> Iterator[Any]:
        visitors.check(wgp)
        for said in self_test(location.HOME, bool(wgp.get("gen_in_progress"))):
            yield gr.update(value=said, visible=True)

    # the page says already what is off: opening this part must not say it again
    for event in (part.expand, again.click) if usable else (again.click,):
        on(event, examine, None, [report], progress="full")
    on(button.click, test, None, [tested])


def diagnose(wangp: Path, folders: Mapping[str, str | None]) -> str:
    """What `install.py --doctor` prints."""
    elsewhere = [place for wan, place in folders.items()
                 if place and Path(place) != location.lora_folder(wangp, wan).resolve()]
    lines = doctor.report(wangp, Distribution(wangp, __version__), next(iter(elsewhere), None),
                          sys.executable)
    return "\n".join(lines)


_running = threading.Lock()


def self_test(wangp: Path, generating: bool, command: Sequence[str] = _COMMAND) -> Iterator[str]:
    """Runs the self-test beside WanGP until the page is closed, and yields all that it has printed
    so far. Raises Refused."""
    if generating:
        raise Refused("WanGP is generating, and needs the memory itself: test when it is done")
    if not _running.acquire(blocking=False):
        raise Refused("a self-test is under way already: wait until it is done")
    said = ""
    try:
        with subprocess.Popen([*command, str(wangp)], cwd=wangp,
                              env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
                              ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    said += line
                    yield said
            finally:
                process.kill()
    finally:
        _running.release()
