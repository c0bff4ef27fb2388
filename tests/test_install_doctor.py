"""What `install.py --doctor` says, on a small WanGP with one fault after the other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wan2gp_svi.install import doctor, git_clone, programs
from wan2gp_svi.install.doctor import NOTHING, report
from wan2gp_svi.install.patches import hooked, read_series
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.install.state import State, sha256

PATCH = """Description: t
--- a/{path}
+++ b/{path}
@@ -1 +1,2 @@
 {anchor}
+pass  # wan2gp_svi
"""
HOOKS = {"wgp.py": "window_no = 1", "models/wan/any2video.py": "msk = 1"}
PROFILE = "profiles/wan_i2v/SVI-Shot.json"
LORA = "loras/wan_i2v/svi-shot.safetensors"
DEMO_LORA = Path(doctor.__file__).parents[1] / "demo/weights/small-svi-film.safetensors"


def lora(size):
    """A whole file of this many bytes, with one tensor."""
    length = 128
    entry = {"t": {"dtype": "U8", "shape": [], "data_offsets": [0, size - length - 8]}}
    header = json.dumps(entry).encode().ljust(length)
    return length.to_bytes(8, "little") + header + bytes(size - length - 8)


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's home directory, with WanGP and the distribution in it."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(doctor, "QUERY", ("no such program",))
    has(monkeypatch, "1.2")
    return tmp_path


def has(monkeypatch, version, missing=""):
    """This Python has every package, but for one."""
    def of(name):
        if name == missing:
            raise doctor.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(doctor.metadata, "version", of)


@pytest.fixture
def distribution(home):
    root = home / "svi"
    patches = {f"patches/{n}.patch": PATCH.format(path=p, anchor=a) for n,
               (p, a) in enumerate(HOOKS.items())}
    files = {"patches/series": "0.patch\n1.patch\n", "wan2gp_svi/__init__.py": "",
             "wan2gp_svi/a.py": "", PROFILE: "{}"}
    write(root, {**patches, **files})
    return Distribution(root, "2")


@pytest.fixture
def wangp(home, distribution):
    """A WanGP with everything installed."""
    root = home / "Wan GP"
    write(root, {path: f"{anchor}\n" for path, anchor in HOOKS.items()})
    (root / "wgp.py").write_bytes(b'WanGP_version = "12.60"\nwindow_no = 1\n')
    write(root, {"models/wan/wan_handler.py": "def get_lora_dir(): ...",
                 "profiles/wan_2_2/Own.json": "{}"})
    for patch in read_series(distribution.patches):
        (root / patch.path).write_bytes(hooked((root / patch.path).read_bytes(), patch))
    for name, path in distribution.files().items():
        write(root, {name: path.read_bytes()})
    hashes = {name: sha256(path.read_bytes()) for name, path in distribution.files().items()}
    write(root, {"wan2gp_svi/state.json": State("2", hashes, tuple(HOOKS)).text()})
    write(root, {LORA: lora(3_000_000)})
    return root


@pytest.fixture
def say(wangp, distribution):
    """The lines, and apart from them the numbered ones of what is wrong."""

    def ask(python=sys.executable, lora_dir=None, **options):
        lines = report(wangp, distribution, lora_dir, python, **options)
        if NOTHING in lines:
            return lines, []
        at = lines.index("Problems:")
        return lines[:at], lines[at + 1 :]

    return ask


def git(root, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_a_whole_installation(say, home):
    lines, wrong = say()
    assert wrong == [] and lines[-1] == NOTHING
    text = "\n".join(lines)
    for part in (
        "SVI for WanGP: 2 installed (this folder: 2)\n"
        f"WanGP: ~{os.sep}Wan GP (version 12.60)\nGit: not a clone",
        "torch 1.2, mmgp 1.2, gradio 1.2, huggingface_hub 1.2",
        "GPU: none",
        "Hooks: wgp.py 1 of 1\nHooks: models/wan/any2video.py 1 of 1\n"
        "Updates: not a git clone, run install.py again after every update of WanGP",
        "Package: 5 present, 0 edited, 0 missing\nProfiles: 1 present, 0 edited, 0 missing",
        "(SVI-Shot, 3 MB)",
    ):
        assert part in text
    assert str(home) not in text


def test_home_is_a_tilde_everywhere_but_a_longer_name_is_another_folder(say, home, tmp_path):
    write(home, {"LoRAs/svi-shot.safetensors": lora(3_000_000)})
    python = str(home / "python")
    lines, _ = say(python=python, lora_dir=str(home / "LoRAs"))
    assert str(home) not in "\n".join(lines)
    assert f"LoRA: ~{os.sep}LoRAs{os.sep}svi-shot.safetensors (SVI-Shot, 3 MB)" in lines
    assert doctor.short(f"{home}2 {home}", home / "Wan GP") == f"{home}2 ~"


def test_a_folder_for_loras_that_is_not_there_is_a_problem(say, home):
    for brief in (True, False):
        _, problems = say(lora_dir=str(home / "no LoRAs"), brief=brief)
        said = f"There is no folder ~{os.sep}no LoRAs for LoRA files: correct --lora-dir"
        assert said in "\n".join(problems)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_git_clone_with_commit_branch_and_edits_beside_the_hooks(say, wangp, distribution):
    bare = (wangp / "wgp.py").read_bytes().replace(b"pass  # wan2gp_svi\n", b"")
    hooked_source = (wangp / "wgp.py").read_bytes()
    write(wangp, {"wgp.py": bare})
    git(wangp, "init", "-q", "-b", "main")
    others = {f"models/ü{number}.py": b"1" for number in range(doctor.EDITED + 2)}
    write(wangp, others)
    git(wangp, "add", "wgp.py", *others)
    git(wangp, "commit", "-q", "-m", "t")
    write(wangp, {"wgp.py": hooked_source.replace(b"\n", b"\r\n")})
    assert say()[1][0].startswith("  1. git has no filter that keeps the hooks")
    write(wangp, git_clone.clone(wangp).wanted(distribution.patches, distribution.files()))
    lines, wrong = say()
    line = next(line for line in lines if line.startswith("Git: "))
    assert line.startswith("Git: commit ") and wrong == []
    assert ", branch main; edited besides the hooks: models/wan/any2video.py (not in git)" in line
    write(wangp, {"wgp.py": b"# mine\n" + hooked_source})
    assert "edited besides the hooks: wgp.py, models" in "\n".join(say()[0])
    write(wangp, dict.fromkeys(list(others)[1:], b"2"))
    (wangp / list(others)[0]).unlink()
    assert "(not in git), models/ü0.py, models/ü1.py, " in "\n".join(say()[0])
    assert ", models/ü7.py, 2 more" in "\n".join(say()[0])
    (wangp / ".git/HEAD").write_text("broken")
    assert "Git: a clone that git cannot read" in say()[0]


def test_environments_in_wangp_are_read_and_not_started(say, wangp, monkeypatch):
    site = wangp / "env_uv/lib/python3.11/site-packages"
    for name in ("torch-2.7.0+cu128", "mmgp-3.6.10", "huggingface_hub-0.30.1", "other-1"):
        (site / f"{name}.dist-info").mkdir(parents=True)
    write(wangp, {"venv/Lib/site-packages/gradio-5.2.dist-info/x": "",
                  "venv/pyvenv.cfg": "version = 3.10.9\n"})
    lines, wrong = say()
    assert ("Python in env_uv: 3.11: torch 2.7.0+cu128, mmgp 3.6.10, gradio missing, "
            "huggingface_hub 0.30.1") in lines
    assert ("Python in venv: 3.10.9: torch missing, mmgp missing, gradio 5.2, "
            "huggingface_hub missing") in lines
    assert wrong == []
    has(monkeypatch, "1", missing="mmgp")
    lines, wrong = say(python=str(wangp / "env_uv/bin/python"))
    assert not any(line.startswith("Python in env_uv") for line in lines)
    assert "WanGP's Python has no mmgp" in wrong[0]


def test_an_mmgp_that_is_a_folder_of_wangp_is_not_missing(say, wangp, monkeypatch):
    (wangp / "env_uv/lib/python3.11/site-packages/torch-2.7.0.dist-info").mkdir(parents=True)
    has(monkeypatch, "1", missing="mmgp")
    python = str(wangp / "env_uv/bin/python")
    assert "WanGP's Python has no mmgp" in say(python=python)[1][0]
    for source, told in (("", "(WanGP's own)"), ("VERSION = '3.8.1'\n", "3.8.1 (WanGP's own)")):
        write(wangp, {"mmgp/__init__.py": source})
        lines, wrong = say(python=python)
        assert wrong == [] and any(f"torch 1, mmgp {told}, gradio 1" in line for line in lines)
        assert any(f"Python in env_uv: 3.11: torch 2.7.0, mmgp {told}" in line for line in say()[0])


def test_gpus_come_from_nvidia_smi(say, monkeypatch):
    monkeypatch.setattr(doctor, "QUERY", (sys.executable, "-c",
                                          "print('NVIDIA RTX 4090, 24564, 570.1\\nweird')"))
    lines, _ = say()
    assert "GPU: NVIDIA RTX 4090, 24564 MiB, driver 570.1" in lines
    monkeypatch.setattr(doctor, "QUERY", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(doctor, "WAIT", 0.2)
    assert "GPU: none found by nvidia-smi" in say()[0]


def unhook(wangp):
    write(wangp, {"wgp.py": (wangp / "wgp.py").read_bytes().replace(b"pass  # wan2gp_svi\n", b"")})


def move_hook(wangp):
    write(wangp, {"wgp.py": b"pass  # wan2gp_svi\nwindow_no = 1\n"})


FAULTS = {
    "not installed": (
        lambda wangp: (wangp / "wan2gp_svi/state.json").unlink(),
        ["SVI for WanGP is not installed here, or its state is lost: run install.py."],
    ),
    "other release": (
        lambda wangp: write(wangp, {"wan2gp_svi/state.json": State("1").text()}),
        ["Release 1 is installed, and this is 2: run install.py."],
    ),
    "hooks missing": (unhook,
                      ["Hooks in wgp.py are missing or misplaced, so SVI is off: run install.py."]),
    "hook moved": (move_hook, ["Hooks in wgp.py are misplaced, so SVI is off: run install.py."]),
    "does not fit": (
        lambda wangp: write(wangp, {"wgp.py": "nothing\n"}),
        ["WanGP ? is not compatible with SVI: wgp.py: the line 'window_no = 1' was found 0 times, "
         "not once. Get a newer release of SVI for WanGP, unless you edited that file: then undo "
         "the edit."],
    ),
    "package missing": (
        lambda wangp: (wangp / "wan2gp_svi/a.py").unlink(),
        ["Package: wan2gp_svi/a.py is missing: run install.py."],
    ),
    "package edited": (
        lambda wangp: write(wangp, {"wan2gp_svi/a.py": "mine"}),
        ["Package: wan2gp_svi/a.py is edited: to undo the edit, rename or delete"],
    ),
    "profile edited": (lambda wangp: write(wangp, {PROFILE: '{"mine": 1}'}), []),
    "profile broken": (
        lambda wangp: write(wangp, {PROFILE: '{"mine": 1'}),
        [f"Profiles: {PROFILE} is not valid JSON: correct it, or delete it and run install.py."]),
    "profile missing": (lambda wangp: (wangp / PROFILE).unlink(),
                        [f"Profiles: {PROFILE} is missing: run install.py."]),
    "lora short": (
        lambda wangp: write(wangp, {LORA: lora(3_000_000)[:1_000_000]}),
        ["svi-shot.safetensors is incomplete (only 1 MB): delete it, and run install.py "
         "--download."],
    ),
    "lora of the demo model short": (
        lambda wangp: write(wangp, {"loras/wan_i2v/small-svi-film.safetensors": lora(9000)[:-1]}),
        ["small-svi-film.safetensors is incomplete (only 0 MB): delete it, and run demo-model."],
    ),
    "lora without its last byte": (
        lambda wangp: write(wangp, {LORA: lora(3_000_000)[:-1]}),
        ["svi-shot.safetensors is incomplete (only 3 MB): delete it"],
    ),
    "no lora at all": (
        lambda wangp: write(wangp, {LORA: b"\xff" * 3_000_000}),
        ["svi-shot.safetensors is incomplete (only 3 MB): delete it"],
    ),
    "lora whose header is nested": (
        lambda wangp: write(wangp, {LORA: (1 << 20).to_bytes(8, "little") + b"[" * (1 << 20)}),
        ["svi-shot.safetensors is incomplete (only 1 MB): delete it"],
    ),
    "small loras": (  # of the demo model, and Kijai's of a small rank
        lambda wangp: write(wangp, {
            "loras/wan_i2v/small-svi-film.safetensors": DEMO_LORA.read_bytes(),
            "loras/wan/SVI_v2_PRO_Wan2.2-I2V-A14B_HIGH_lora_rank_16_fp16.safetensors": lora(9000)}),
        [],
    ),
    "download broken off": (
        lambda wangp: write(wangp, {"loras/wan_i2v/.svi-shot.safetensors.abc123.part": b""}),
        ["The download of svi-shot.safetensors was interrupted: run install.py --download again"],
    ),
    "earlier distribution": (
        lambda wangp: write(wangp, {"models/wan/modules/model.py": "print('[SVI Mode]')\n"}),
        ["models/wan/modules/model.py has changes of an earlier SVI distribution "
         "([SVI Mode] is in 1 line,"],
    ),
    "old profile": (
        lambda wangp: write(wangp, {"profiles/wan_2_2/old.json": '{"svi_mode": true}'}),
        ["Profiles of an earlier SVI distribution no longer work: profiles/wan_2_2/old.json: run"],
    ),
    "write-protected": (
        lambda wangp: (wangp / "wgp.py").chmod(0o444),
        ["wgp.py is write-protected: allow writing to it."],
    ),
    "files of ours write-protected": (
        lambda wangp: [(wangp / name).chmod(0o444) for name in (PROFILE, "wan2gp_svi/a.py")],
        [f"{PROFILE} and 1 more are write-protected: allow writing to them."],
    ),
    "run broken off": (
        lambda wangp: write(wangp, {"models/wan/any2video.py.svi-unfinished": "x"}),
        ["install.py was interrupted (any2video.py.svi-unfinished is left): run it again."],
    ),
    "too old": (
        lambda wangp: shutil.rmtree(wangp / "profiles"),
        ["WanGP 12.60 is too old (it has no profiles folder): update WanGP.",
         f"Profiles: {PROFILE} is missing"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_said_with_what_to_do(say, wangp, fault):
    make, expected = FAULTS[fault]
    make(wangp)
    lines, wrong = say()
    assert len(wrong) == len(expected), wrong
    for number, (line, sentence) in enumerate(zip(wrong, expected, strict=True), 1):
        assert line.startswith(f"  {number}. {sentence}")
    if fault == "profile edited":
        assert f"  edited: {PROFILE}" in lines
    if fault == "lora short":
        assert any(line.endswith("(SVI-Shot, 1 MB, incomplete)") for line in lines)


def test_without_huggingface_hub(say, monkeypatch):
    has(monkeypatch, "1", missing="huggingface_hub")
    _, wrong = say()
    assert len(wrong) == 1 and "pip install huggingface_hub" in wrong[0]


@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_no_program_of_the_current_folder_runs(tmp_path, monkeypatch):
    write(tmp_path, {"git": "#!/bin/sh\necho a stranger's\n"})
    (tmp_path / "git").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", os.pathsep + os.environ["PATH"]):
        monkeypatch.setenv("PATH", path)
        assert "stranger" not in programs.ask("git", "--version").text


def test_it_writes_nothing(say, wangp):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in wangp.rglob("*")}
    say()
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size)
                      for path in wangp.rglob("*")}
