"""SVI's lines in WanGP's log."""

import subprocess
import sys
from pathlib import Path

SAID = r"""
import sys
from wan2gp_svi.wangp.log import say, watch

watch()
say("one")
print("\r  [1/2] Denoising", end="", flush=True)  # as `wgp.py --process` does
say("two")
say("three")
print("\r 50%|##", end="", file=sys.stderr, flush=True)  # as tqdm does
say("four")
print("WanGP's own line")
say("five")
"""


def _log(together: bool) -> str:
    done = subprocess.run([sys.executable, "-c", SAID], cwd=Path(__file__).parents[1],
                          stdout=subprocess.PIPE, check=True,
                          stderr=subprocess.STDOUT if together else subprocess.DEVNULL)
    return done.stdout.replace(b"\r\n", b"\n").decode()


def test_each_line_begins_below_a_progress_bar_and_none_is_empty():
    assert _log(together=True) == (
        "[SVI] one\n\r  [1/2] Denoising\n[SVI] two\n[SVI] three\n\r 50%|##\n[SVI] four\n"
        "WanGP's own line\n[SVI] five\n")


def test_a_progress_bar_on_another_screen_does_not_matter():
    assert _log(together=False) == (
        "[SVI] one\n\r  [1/2] Denoising\n[SVI] two\n[SVI] three\n[SVI] four\n"
        "WanGP's own line\n[SVI] five\n")
