"""The earlier distribution is known by its lines, and is removed from WanGP.

The real one, from a checkout of its repository in EARLIER_DIR, on the WanGP in WANGP_DIR (both git
clones with their history); and an imitation of it, which needs neither.
"""

import difflib
import json
import os
import subprocess
from pathlib import Path

import pytest

from wan2gp_svi.install import Refused, legacy
from wan2gp_svi.install.legacy import (
    cleaned,
    digest,
    is_old_profile,
    is_unedited_profile,
    taken_out,
    traces,
)

EARLIER_DIR, WANGP_DIR = os.environ.get("EARLIER_DIR"), os.environ.get("WANGP_DIR")
WANGP_OF_THEN = ("2f5319e9", "3b652cf5", "18f165e0")  # 19, 22 and 30 December 2025
NAMES = {"wgp": "wgp.py", "any2video": "models/wan/any2video.py",
         "model": "models/wan/modules/model.py"}

WANGP = """import torch

def validate(inputs):
    size = inputs["size"]
    return size

def generate(a, b,
    plugin=None,
):
    frames = min(a, b) \n
    for window in range(a):
        latents = None \n        sample = run(
            frames,
            window = window,
        )
        if frames == 0:
            guide = sample
        else:
            guide = sample[-frames:]
    return guide
"""
#: As the earlier distribution does: adds lines, replaces lines, removes blanks at ends of lines.
BLOCKS = (
    ("    return size\n", '    svi_ref_pad_cfg = inputs.get("svi_ref_pad_cfg")\n    return size\n'),
    ("    plugin=None,\n", "    plugin=None,\n    svi_mode=False,\n"),
    ("    frames = min(a, b) \n", "    frames = min(a, b)\n"),
    ("        latents = None \n",
     "\n        if svi_mode:\n            print('[SVI Mode]')\n        latents = None\n"),
    ("        if frames == 0:\n",
     "        if svi_mode:\n            guide = None\n        elif frames == 0:\n"),
)


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)
    return done.stdout


def make_clone(root, files):
    root.mkdir(parents=True)
    git(root, "init", "-q")
    git(root, "config", "core.autocrlf", "false")
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    git(root, "add", "-A")
    git(root, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "t")
    return root


def patched(text=WANGP):
    for old, new in BLOCKS:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


@pytest.fixture(autouse=True)
def imitation(monkeypatch):
    """The hashes of the imitation beside the real ones."""
    blocks = set()
    before, after = ([line.encode() for line in text.splitlines()] for text in (WANGP, patched()))
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, before, after).get_opcodes():
        blocks |= {digest([*before[i:i_end], legacy._ARROW,
                           *after[j:j_end]])} if tag != "equal" else set()
    assert len(blocks) == len(BLOCKS)
    monkeypatch.setattr(legacy, "_BLOCKS", legacy._BLOCKS | blocks)


def clean(text, original=WANGP):
    return cleaned(text.encode(), "wgp.py", original.encode()).decode()


def test_traces_name_what_was_found_and_where():
    assert traces(patched().encode()) == [
        "svi_ref_pad_cfg is in 1 line, first in line 5",
        "[SVI Mode] is in 1 line, first in line 17",
    ]


def test_what_wangp_has_of_its_own_is_no_trace_and_is_not_touched():
    own = WANGP + ("svi_mode = 2 if svi_pro else 0\nsvi_ref_pad_num = 0\n"
                   "if svi_mode and svi_ref_pad_num != 0: x()\n")
    assert traces(own.encode()) == []
    assert clean(own) == own
    at = "    return size\n"
    both = own.replace(at, BLOCKS[0][1])
    assert clean(both, own) == own


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("edit", [
    lambda text: text,
    lambda text: "# mine\n" + text,
    lambda text: text + "# mine, without an end",
    lambda text: text.replace("import torch", "import torch, mine"),
    lambda text: text.replace("            frames,\n            window = window,\n",
                              "            mine,\n"),
    lambda text: text.replace("def generate", "def mine(): ...\n\ndef generate"),
    lambda text: text.replace("    for window", "    mine = 1\n    for window"),
    lambda text: text.replace("    size = inputs", "    # mine\n    size = inputs"),
])  # fmt: skip
def test_the_users_edits_stay_and_nothing_else(edit, ending):
    wanted, dirty = (edit(text).replace("\n", ending) for text in (WANGP, patched()))
    assert clean(dirty) == wanted
    assert clean(wanted) == wanted


@pytest.mark.parametrize("edit", [
    lambda text: text.replace("print('[SVI Mode]')", "print('[SVI Mode] mine')"),
    lambda text: text.replace("            print('[SVI",
                              "            mine()\n            print('[SVI"),
    lambda text: text.replace("    svi_mode=False,\n", "    svi_mode=False,\n    mine=1,\n"),
    lambda text: text.replace("    svi_mode=False,\n", "    mine=1,\n    svi_mode=False,\n"),
    lambda text: text.replace("        else:\n",
                              "        elif mine:\n").replace("            guide = sample\n", ""),
    lambda text: text + "print(svi_mode)\n",
    lambda text: text + "# [SVI Mode] was here\n",
])  # fmt: skip
def test_an_edit_in_or_at_its_lines_is_refused_with_the_line(edit):
    with pytest.raises(Refused, match=r"wgp.py, from line \d+ on: .*git checkout -- wgp.py"):
        clean(edit(patched()))


def test_its_changes_committed_are_refused():
    with pytest.raises(Refused, match="committed"):
        clean(patched(), patched())


def test_hooks_of_ours_come_out_and_count_in_line_numbers():
    hook = "import svi  # wan2gp_svi\n"
    assert clean(hook + patched()) == WANGP
    with pytest.raises(Refused, match="from line 31 on"):
        clean(hook + patched() + "print(svi_mode)\n")


def profile(**more):
    return json.dumps({"num_inference_steps": 4, "svi_mode": True, **more}).encode()


@pytest.mark.parametrize(("content", "old"), [
    (profile(), True),
    (b"\xef\xbb\xbf" + profile(), True),
    (profile(type="WanGP v9.92", settings_version=2.4), False),
    (profile(prompt="mine"), False),
    (b'{"custom_settings": {"svi_variant": "auto"}}', False),
    (b'["svi_mode"]', False),
    (b"svi_mode", False),
    (b"\xff\xfe", False),
    (b"", False),
])  # fmt: skip
def test_an_old_profile_is_known_by_its_key(content, old):
    assert is_old_profile(content) is old
    assert not is_unedited_profile(content)


def test_no_profile_of_ours_is_an_old_one():
    profiles = list((Path(__file__).parents[1] / "profiles").rglob("*.json"))
    assert profiles and not any(is_old_profile(path.read_bytes()) for path in profiles)


def test_taken_out_gives_files_and_profiles_and_writes_nothing(tmp_path, monkeypatch):
    theirs, changed, own = profile(), profile(flow_shift=3), profile(type="WanGP")
    monkeypatch.setattr(legacy, "_PROFILES", legacy._PROFILES | {digest(theirs.splitlines())})
    files = {name: WANGP.encode() for name in NAMES.values()}
    files["profiles/wan_2_2/SVI.json"] = theirs
    files["loras/wan_i2v/SVI.json"] = theirs
    files["loras/wan_i2v/changed.json"] = changed
    files["loras/wan_i2v/own.json"] = own
    root = make_clone(tmp_path / "Wan GP \u00fc", files)
    profiles = {"loras/wan_i2v/SVI.json": None, "profiles/wan_2_2/SVI.json": None}
    assert taken_out(root) == (profiles, ["loras/wan_i2v/changed.json"])
    (root / "wgp.py").write_bytes(patched().encode())
    before = git(root, "status", "--porcelain")
    out, edited = taken_out(root)
    assert out["wgp.py"] == WANGP.encode() and len(out) == 3
    assert git(root, "status", "--porcelain") == before
    # WanGP as a folder of a larger clone, and with git's own variables set, as in a git hook
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert legacy.original(root, "wgp.py") == WANGP.encode()


def test_outside_a_clone_or_without_git_one_line_says_what_to_do(tmp_path, monkeypatch):
    needs_clone = "only be removed from a git clone: unpack WanGP's own wgp.py, models/wan"
    with pytest.raises(Refused, match=needs_clone):
        legacy.original(tmp_path, "wgp.py")
    root = make_clone(tmp_path / "clone", {"a.py": b""})
    with pytest.raises(Refused, match=r"git cannot give WanGP's own wgp.py \(fatal: .*\): unpack"):
        legacy.original(root, "wgp.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="git was not found"):
        legacy.original(root, "a.py")


def their_patches():
    """Each patch of each of its releases once: (name, text)."""
    found = {}
    for commit in git(EARLIER_DIR, "log", "--format=%h").decode().split():
        for name in NAMES:
            found.setdefault((name, git(EARLIER_DIR, "show", f"{commit}:{name}.patch")))
    return list(found)


real = pytest.mark.skipif(not (EARLIER_DIR and WANGP_DIR),
                          reason="set EARLIER_DIR and WANGP_DIR to the two clones")


@real
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("version", WANGP_OF_THEN)
def test_all_that_it_ever_put_into_wangp_comes_out_to_the_byte(tmp_path, version, ending):
    fitted = set()
    for number, (name, patch) in enumerate(their_patches()):
        path = NAMES[name]
        pristine = git(WANGP_DIR, "show", f"{version}:{path}")
        root = tmp_path / str(number)
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(pristine)
        git_apply = ["git", "apply", "-"]
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
        done = subprocess.run(git_apply, cwd=root, input=patch, capture_output=True,
                              env=environment)
        if done.returncode:
            continue
        fitted.add(name)
        dirty = (root / path).read_bytes()
        assert traces(dirty) and not traces(pristine)

        def edited(text):
            """An edit of the user's at the front, one in the middle and one at the end."""
            lines = text.splitlines(keepends=True)
            at = lines.index(b"import torch\n") + 1
            return b"".join([b"# mine\n", *lines[:at], b"import mine\n", *lines[at:], b"mine()"])

        for change in (bytes, edited):
            wanted, source = (change(text).replace(b"\n", ending) for text in (pristine, dirty))
            assert cleaned(source, path, pristine) == wanted
            assert cleaned(wanted, path, pristine) == wanted
        lines = dirty.splitlines(keepends=True)
        at = next(k for k, line in enumerate(lines) if traces(line))
        with pytest.raises(Refused, match="cannot be told apart"):
            cleaned(b"".join([*lines[: at + 1], b"# mine\n", *lines[at + 1 :]]), path, pristine)
    assert fitted == set(NAMES)


@real
def test_no_version_of_wangp_has_traces():
    for path in NAMES.values():
        for commit in git(WANGP_DIR, "log", "--format=%h", "-20", "--", path).decode().split():
            assert traces(git(WANGP_DIR, "show", f"{commit}:{path}")) == []


@real
def test_its_profiles_are_known_whatever_their_line_endings():
    for commit in git(EARLIER_DIR, "log", "--format=%h").decode().split():
        for entry in git(EARLIER_DIR, "ls-tree", "-r", "-z", commit).decode().split("\0"):
            if entry.endswith(".json"):
                content = git(EARLIER_DIR, "cat-file", "blob", entry.split()[2])
                for version in (content, content.replace(b"\n", b"\r\n")):
                    assert is_old_profile(version) and is_unedited_profile(version)
                assert not is_unedited_profile(content.replace(b": 5,", b": 4,") + b"\n ")
