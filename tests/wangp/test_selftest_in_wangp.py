"""The self-test in the real WanGP: it passes if all is well, leaves no trace, and finds each
planted fault."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trees
from conftest import PYTHON

from wan2gp_svi.install.shipped import SELFTEST
from wan2gp_svi.selftest import checks, command, passed

HOME = Path(__file__).parents[2]
COMMAND = [PYTHON, "-B", "-m", "wan2gp_svi", "selftest"]

#: fault -> the module of the installed package, what is added at its end, the checks that must
#: fail, and one that must not
FAULTS = {
    "the seed step is 41": ("chain.py", """
def seed(base, clip, step=42):
    return base + (step - 1) * clip
""", {"seeds"}, "chain-1"),
    "grey instead of the reference": ("conditioning.py", """
_pad = pad_
def pad_(video, start, reference, ref_pad_num=-1):
    return _pad(video, start, reference, 0)
""", {"chain-1"}, "chain-grey"),
    "CLIP is shown the last motion frame": ("wangp/hooks.py", """
def _last(image, pipe, _first=clip_vision_frame):
    shown, clip = _first(image, pipe), current_clip(pipe)
    return shown if clip is None else clip.motion_frames[:, -1].to(image)
HOOKS["clip_vision_frame"] = _last
""", {"clip-image"}, "chain-5"),
    "the mask keeps all motion frames": ("conditioning.py", """
_mask = mask
def mask(num_frames, like, kept=1, last=False):
    return _mask(num_frames, like, 5, last)
""", {"mask"}, "chain-5"),
    "a frame too many at a seam": ("wangp/clip.py", """
Seam.given_up = property(lambda self: max(self.overlap - 1, 0) if self.keep_new else 0)
""", {"seam-new", "length"}, "seam-old"),
    "a run is resumed from other motion frames": ("runs/store.py", """
_state = Run.state
def _turned(self, clip):
    found = dict(_state(self, clip))
    return {**found, "motion_frames": found["motion_frames"].flip(1)}
Run.state = _turned
""", {"resume"}, "chain-5"),
    "some keys of a LoRA get lost": ("lora.py", """
_clean = clean
def clean(tensors, blocks=None):
    found = _clean(tensors, blocks)
    kept = {key: value for key, value in found.lora.items() if ".self_attn." not in key}
    return Cleaned(kept, found.pose, found.layers, found.wanted)
""", {"lora"}, "chain-1"),
    "a clip is encoded twice": ("wangp/vae.py", """
_once = encode
def encode(pipe, video, **options):
    _once(pipe, video, **options)
    return _once(pipe, video, **options)
""", {"encode"}, "chain-1"),
}


@pytest.fixture(scope="module")
def tree(wangp, tmp_path_factory) -> Path:
    """As a user has it: blanks and an umlaut in the path, models, LoRA files, outputs, settings."""
    tree = Path(shutil.copytree(wangp, tmp_path_factory.mktemp("selftest") / "Wän GP (1)"))
    install(tree)
    for name in ("ckpts/big.safetensors", "loras/wan_i2v/mine.safetensors", "outputs/mine.mp4",
                 "settings/i2v.json"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"mine")
    settings = {"save_path": "outputs", "loras_root": "loras", "attention_mode": "auto",
                "profile": 4, "transformer_quantization": "int8",
                "video_output_codec": "libx264_8", "enabled_plugins": ["mine"]}
    (tree / "wgp_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return tree


def install(tree: Path) -> None:
    subprocess.run([sys.executable, HOME / "install.py", tree], check=True, capture_output=True)


def chosen(*ids: str) -> list[checks.Check]:
    return [check for check in checks.CHECKS if check.id in ids]


def listing(tree: Path) -> dict[str, str]:
    return {path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in tree.rglob("*") if path.is_file() and path.parent.name != "__pycache__"}


def temporary() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob(f"{command.PREFIX}*")}


def selftest(tree: Path) -> subprocess.CompletedProcess[str]:
    """As a user runs it, in the folder of WanGP."""
    return subprocess.run(COMMAND, cwd=tree, capture_output=True, encoding="utf-8", timeout=600,
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})


def test_it_passes_leaves_no_trace_and_is_remembered_until_wangp_changes(tree):
    before, left = listing(tree), temporary()
    begin = time.monotonic()
    done = selftest(tree)
    print(done.stdout, f"{time.monotonic() - begin:.0f} s in all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"All {len(checks.CHECKS)} checks passed on WanGP" in done.stdout
    assert "SVI works here." in done.stdout
    assert done.stdout.count("✓") == len(checks.CHECKS) and "left" in done.stdout
    after = listing(tree)
    remembered = json.loads((tree / SELFTEST).read_text(encoding="utf-8"))
    assert after.pop(SELFTEST) and after == before and temporary() == left
    assert remembered["verdict"] in done.stdout
    begin = time.process_time()
    assert passed.changed_since(tree) == "" and time.process_time() - begin < 0.1
    source = tree / "models/wan/any2video.py"
    source.write_bytes(source.read_bytes() + b"\n# changed\n")
    assert passed.changed_since(tree).startswith("WanGP changed since the self-test passed on ")
    source.write_bytes(source.read_bytes().removesuffix(b"\n# changed\n"))


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_named(fault, tree, tmp_path, capsys):
    name, code, wanted, whole = FAULTS[fault]
    spoiled = Path(shutil.copytree(tree, tmp_path / "WanGP"))
    module = spoiled / "wan2gp_svi" / name
    module.write_text(module.read_text(encoding="utf-8") + code, encoding="utf-8")
    outcome = command.test(spoiled, PYTHON, chosen(*wanted, whole), print)
    print(*command.table(outcome), command.verdict(outcome), sep="\n")
    found = {result.id: result.seen for result in outcome.failed}
    assert found.keys() == wanted, found
    assert command.verdict(outcome).startswith(
        f"{len(wanted)} of {len(wanted) + 1} checks failed on WanGP")


def test_a_wangp_that_does_not_start_is_a_failed_check_and_no_traceback(tree, tmp_path):
    spoiled = Path(shutil.copytree(tree, tmp_path / "WanGP"))
    source = (spoiled / "wgp.py").read_text(encoding="utf-8")
    (spoiled / "wgp.py").write_text("raise RuntimeError('spoiled')\n" + source, encoding="utf-8")
    done = selftest(spoiled)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "No check ran on WanGP 12.60 (CPU)" in done.stdout
    assert "WanGP ended early: RuntimeError: spoiled. Start WanGP and" in done.stdout
    assert "----- copy from here into a bug report -----" in done.stdout
    assert str(Path.home()) not in done.stdout
    assert listing(spoiled).get(SELFTEST) == listing(tree).get(SELFTEST), "it stays remembered"


def test_killed_it_leaves_nothing_behind(tree):
    left = temporary()
    process = subprocess.Popen(COMMAND, cwd=tree, stdout=subprocess.PIPE, encoding="utf-8")
    while "starting WanGP" not in process.stdout.readline():
        assert process.poll() is None
    assert temporary() - left
    time.sleep(3)
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 30
    while temporary() - left:
        assert time.monotonic() < end, temporary() - left
        time.sleep(0.2)


def test_the_installer_runs_it_and_takes_what_it_remembers_away(tree):
    program = subprocess.run([PYTHON, HOME / "install.py", tree, "--self-test"], timeout=600,
                             capture_output=True, encoding="utf-8",
                             env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert program.returncode == 0, program.stdout + program.stderr
    assert "checks passed" in program.stdout and (tree / SELFTEST).is_file()
    subprocess.run([sys.executable, HOME / "install.py", tree, "--uninstall"], check=True,
                   capture_output=True)
    assert not (tree / "wan2gp_svi").exists()
    install(tree)


@pytest.mark.parametrize("version", ["10.80", "11.30"])
def test_it_runs_in_older_versions(version, wangp_at, wangp_copy):
    place = wangp_copy(wangp_at(version))
    install(place)
    source = (place / "wgp.py").read_text(encoding="utf-8")
    mmgp = trees.lacks(PYTHON, "mmgp") or subprocess.run(
        [PYTHON, "-c", "import importlib.metadata as m; print(m.version('mmgp'))"],
        capture_output=True, encoding="utf-8").stdout.strip()
    # it ends at once unless mmgp has exactly its version; the one that is there will do
    lines = [f'target_mmgp_version = "{mmgp}"' if line.startswith("target_mmgp_version") else line
             for line in source.split("\n")]
    (place / "wgp.py").write_text("\n".join(lines), encoding="utf-8")
    # they read the video to continue with decord, which is a stub if it is missing
    wanted = [check for check in checks.CHECKS
              if check.id != "continue" or not trees.lacks(PYTHON, "decord")]
    outcome = command.test(place, PYTHON, wanted, print)
    print(*command.table(outcome), command.verdict(outcome), *outcome.log, sep="\n")
    assert not outcome.failed
