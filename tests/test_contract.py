"""What SVI needs of WanGP, and that the check finds it gone: wan2gp_svi.wangp.contract.

    WANGP_DIR=DIR pytest tests/test_contract.py        (ten changes planted in a real WanGP 12.60)
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import hosts
import pytest

from wan2gp_svi.install import Refused, cli, locate
from wan2gp_svi.install.plan import install_plan
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.wangp import contract, why_off

REPO = Path(__file__).resolve().parents[1]
WANGP_DIR = os.environ.get("WANGP_DIR")
JOIN = "                num_frames_generated = guide_start_frame - ("
GENERATE = "samples = wan_model.generate("


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return hosts.write(tmp_path / "Wan GP")


def real_files() -> tuple[str, ...]:
    return tuple(dict.fromkeys([*contract.HOOKED, *(other.file for other in contract.OTHERS)]))


@pytest.fixture
def real(tmp_path: Path) -> Path:
    if not WANGP_DIR:
        pytest.skip("set WANGP_DIR to a WanGP checkout")
    for name in real_files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(WANGP_DIR) / name, tmp_path / name)
    return tmp_path


def change(root: Path, name: str, old: str, new: str, count: int = 1) -> None:
    path = root / name
    text = path.read_bytes().decode()
    assert old in text, old
    path.write_bytes(text.replace(old, new, count).encode())


def swap_join_and_save(root: Path) -> None:
    """The line that after_join hangs on goes behind the last save_video."""
    text = (root / contract.WGP).read_text(encoding="utf-8")
    at = text.index(JOIN)
    line = text[at : text.index("\n", at) + 1]
    text = text.replace(line, "")
    end = text.index("                end_time = time.time()\n", at)
    (root / contract.WGP).write_text(text[:end] + line + text[end:], encoding="utf-8")


def move_out_of_the_loop(root: Path) -> None:
    text = (root / contract.WGP).read_text(encoding="utf-8")
    found = re.search(r'^ +configs\["generation_time"\] = .*\n', text, re.MULTILINE)
    text = text.replace(found[0], "")
    end = text.rindex("\n    gen_state = plugin_data = None\n") + 1
    line = "    configs = {}\n    " + found[0].strip() + "\n    print(configs, video_path)\n"
    (root / contract.WGP).write_text(text[:end] + line + text[end:], encoding="utf-8")


W, A, M = contract.HOOKED
PLANTED = {
    "a renamed loop variable": (
        lambda root: change(root, W, "repeat_no", "generation_no", -1),
        "the hook before_generate needs repeat_no (the number of the video), which is not set "
        "there"),
    "a variable that is None by then": (
        lambda root: change(root, W, JOIN, f"                sample = None\n{JOIN}"),
        "the hook after_join needs sample (its argument), which is None there"),
    "a hook's anchor out of the loop": (
        move_out_of_the_loop, "the hook after_save is not in its place"),
    "join and save in another order": (
        swap_join_and_save, "the hook after_join is not in its place"),
    "a save before the join": (
        lambda root: change(root, W, JOIN, "                save_video(tensor=sample, "
                            f"save_file=file_name, fps=fps)\n{JOIN}"),
        "the loop over clips has before_generate, the join, save_video, after_join, save_video, "
        "after_save, and it must have before_generate, the join, after_join, save_video, "
        "after_save"),
    "generate referred to twice": (
        lambda root: change(root, W, GENERATE,
                            f"print(wan_model.generate)\n                {GENERATE}"),
        "2 statements refer to wan_model.generate in generate_media (line 7762 and line 7763)"),
    "generate gone": (
        lambda root: change(root, W, GENERATE, "samples = pipeline.generate("),
        "no statement refers to wan_model.generate in generate_media"),
    "another signature of save_video": (
        lambda root: change(root, contract.VIDEO, "save_video(tensor,", "save_video(frames,"),
        "save_video takes (frames, save_file, fps) instead of (tensor, save_file, fps)"),
    "another signature of query_model_def": (
        lambda root: change(root, contract.HANDLER, "def query_model_def(base_model_type, ",
                            "def query_model_def(context, base_model_type, "),
        "family_handler.query_model_def takes (context, base_model_type) instead of"),
    "another signature of WanVAE.encode": (
        lambda root: change(root, contract.VAE, "def encode(self, videos, tile_size",
                            "def encode(self, videos, plan"),
        "WanVAE.encode takes (self, videos, plan) instead of"),
    "a variable that is None from the second window on": (
        lambda root: (
            change(root, W, "            window_no += 1\n",
                   "            if window_no: window_no += 1\n"),
            change(root, W, '                send_cmd("output")\n\n        seed = set_seed(-1)',
                   '                send_cmd("output")\n            current_video_length = None\n\n'
                   "        seed = set_seed(-1)")),
        ""),  # it is set again at the beginning of each turn: no fault
}
#: what SVI works without
PLANTED_BESIDE = {
    "a plugins class gone": (
        lambda root: change(root, contract.PLUGINS, "class WAN2GPApplication",
                            "class WanGPApplication"),
        "the SVI tab, which does not work in this WanGP (shared/utils/plugins.py has no "
        "WAN2GPApplication.initialize_plugins)"),
    "a renamed name of any2video": (
        lambda root: change(root, A, "files_locator as fl", "files_locator as locator"),
        "the demo model, which does not work in this WanGP (models/wan/any2video.py has no fl)"),
    "sound handed to the model in another way": (
        lambda root: change(root, A, "        audio_proj=", "        audio_embeddings="),
        "SVI-Talk, which does not work in this WanGP (models/wan/any2video.py: WanAny2V.generate "
        "does not take audio_proj)"),
    "another cut of a sound": (
        lambda root: change(root, contract.MULTITALK, "(full_audio_embs, audio_start_idx=0",
                            "(full_audio_embs, start=0"),
        "get_window_audio_embeddings takes (full_audio_embs, start, clip_length) instead of"),
    "another way to work off a queue": (
        lambda root: change(root, W, "process_tasks_cli(queue,", "process_tasks_cli(tasks,"),
        "the self-test, which does not work in this WanGP (wgp.py: process_tasks_cli takes (tasks, "
        "state) instead of (queue, state))"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_change_of_the_host_is_found_and_named(real, what):
    plant, words = PLANTED[what]
    plant(real)
    found = contract.check(real)
    assert bool(found) == bool(words)
    assert all(one.startswith("WanGP 12.60 is not compatible with SVI: ") for one in found)
    assert all(one.endswith(f". {contract.ADVICE}") for one in found)
    assert not words or any(words in one for one in found), found


@pytest.mark.parametrize("what", PLANTED_BESIDE)
def test_a_change_of_what_stands_beside_the_clips_is_told(real, what):
    plant, words = PLANTED_BESIDE[what]
    plant(real)
    assert contract.check(real) == []
    patches = contract.own_patches()
    left_out = contract.missing_optional(contract.read(real, patches), patches)
    assert any(words in one for one in left_out), left_out


def test_an_unchanged_wangp_passes_in_less_than_a_second(real):
    spent = []
    for _ in range(3):
        start = time.process_time()
        assert contract.check(real) == []
        spent.append(time.process_time() - start)
    assert min(spent) < 1, spent
    sources = contract.read(real, contract.own_patches())
    assert contract.missing_optional(sources, contract.own_patches()) == []


def test_the_call_through_a_helper_of_wangp_17_is_found(real, small):
    helper = "samples = call_with_default_device(model_def, model_type, wan_model.generate,"
    change(small, W, GENERATE, helper)
    change(real, W, GENERATE, helper)
    assert contract.check(small) == contract.check(real) == []


@pytest.mark.parametrize("version", ["13.0", "13.141", "17.10"])
def test_imitations_of_later_wangps_pass(real, version, monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / "tests/wangp"))
    later = pytest.importorskip("later")
    for edit in later.EDITS:
        path = real / edit.file
        if path.is_file() and later.LATER.index(edit.since) <= later.LATER.index(version):
            path.write_text(edit.apply(path.read_text(encoding="utf-8"), version), encoding="utf-8")
    assert contract.check(real) == []
    assert contract.version((real / W).read_bytes()) == version


def test_a_value_that_is_none_in_the_next_turn_of_the_loop_is_found(small):
    record = "            record(configs, video_path)\n"
    assert contract.check(small) == []
    change(small, W, record, f"{record}            fps = None\n")
    found = contract.check(small)[0]
    assert "before_generate needs fps (the length in seconds), which is None there" in found


@pytest.mark.parametrize(("code", "fault"), [
    ("fps = None", True), ("fps = image_mode = None", True), ("fps, other = None, 1", True),
    ("del fps", True), ("fps = None; fps = 3", False), ("fps += 1", False),
    ("fps = None\n            if image_mode: fps = 3", False), ("with lock: fps = None", True),
    ("if image_mode: fps = None", False), ("prefix_video = None", False),
    ("if image_mode: fps = None\n            else: fps = None", True),
    ("try: fps = None\n            except OSError: pass", True), ("for fps in [None]: pass", False),
])
def test_the_last_value_before_a_hook_on_the_straight_path(small, code, fault):
    change(small, W, "            try:\n", f"            {code}\n            try:\n")
    assert bool(contract.check(small)) == fault


def test_every_name_that_the_code_reads_of_the_loop_stands_in_the_table():
    needed, asked = set(), set()
    for path in (REPO / "wan2gp_svi/wangp").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        needed |= set(re.findall(r'\bscope\["(\w+)"\]', text))
        asked |= set(re.findall(r'\bscope\.get\("(\w+)"', text))
    rows = {row.name: row for row in contract.NAMES
            if row.hook in ("before_generate", "after_join")}
    assert needed | asked <= rows.keys()
    assert not {name for name in needed - asked if rows[name].optional}
    assert {row.hook for row in contract.NAMES} <= contract.RULES.keys()
    assert contract.RULES.keys() <= contract.hooks_of(contract.own_patches())


def test_versions_are_ordered_by_their_first_number_alone():
    known = "newest WanGP that SVI was run with: 12.60; newest whose source was read: 17.10"
    assert {contract.tried(of) for of in ("12.3456", "12.61", "11.771<", "?")} == {known}
    assert contract.tried("17.20") == f"{known}. WanGP 17.20 is newer than what was run"
    assert contract.tried("18.0") == f"{known}. WanGP 18.0 is newer than both"


def test_the_readme_names_the_versions_that_were_run_and_read():
    readme = " ".join((REPO / "README.md").read_text(encoding="utf-8").split())
    said = f"run with WanGP 9.91 to {contract.RUN}; {contract.READ} was only read, and only in"
    assert said in readme
    assert "eleven hooks of one to three lines each in three files" in readme
    assert sum(len(patch.hunks) for patch in contract.own_patches()) == 11
    assert len(contract.HOOKED) == 3


# ---------------------------------------------------------------------------------------- bad input

def install(root: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    code = cli.main([str(root), *options], home=REPO)
    return code, "".join(capsys.readouterr())


def test_a_folder_that_is_no_wangp_is_refused_in_a_sentence(tmp_path, capsys):
    (tmp_path / "wgp.py").write_text("", encoding="utf-8")
    code, said = install(tmp_path, capsys)
    assert code == 1 and said.endswith("is not a WanGP folder: it has no models/wan/any2video.py\n")
    assert why_off(tmp_path / "nowhere") == ""


@pytest.mark.parametrize("name", contract.HOOKED)
def test_a_tree_that_is_half_updated_is_refused_and_nothing_is_written(small, capsys, name):
    path = small / name
    for content in (b"", b"\n" * 3):
        path.write_bytes(content)
        before = {file: file.read_bytes() for file in small.rglob("*") if file.is_file()}
        code, said = install(small, capsys)
        assert code == 1 and f"{name} is empty. Update WanGP" in said
        assert before == {file: file.read_bytes() for file in small.rglob("*") if file.is_file()}
        assert f"{name} is empty. Update WanGP again" in contract.check(small)[0]


DEEP = {"minus": b"x = " + b"-" * 200_000 + b"1", "attribute": b"x = a" + b".b" * 200_000,
        "elif": b"if a: pass\n" + b"elif a: pass\n" * 5_000,
        "less": b"if a: pass\n" + b"elif a: pass\n" * 400}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("file", [contract.WGP, contract.VIDEO])
def test_a_file_that_is_nested_deeply_ends_in_a_sentence(small, capsys, file, name):
    path = small / file
    path.write_bytes(path.read_bytes() + b"\n" + DEEP[name] + b"\n")
    code, said = install(small, capsys)
    if name == "less":
        assert code == 0
    else:
        assert code == 1 and "nested too deeply" in said and len(said.splitlines()) == 2
    assert install(small, capsys, "--doctor")[0] == 0
    found = contract.check(small)
    assert found == [] if name == "less" else "nested too deeply" in found[0]


@pytest.mark.parametrize("missing", [False, True])
def test_a_wangp_that_is_too_old_is_to_be_updated(small, capsys, missing):
    change(small, "wgp.py", "12.60", "8.99")
    if missing:
        (small / contract.METADATA).unlink()
    else:
        change(small, contract.METADATA, "def read_metadata_from_video", "def read_metadata")
    code, said = install(small, capsys)
    assert code == 1 and "Update WanGP to 9.0 or newer; WanGP itself" in said, said


def test_a_file_of_another_version_is_refused(small, capsys):
    change(small, A, "msk = torch.ones(1)", "video_mask = torch.ones(1)")
    change(small, contract.METADATA, "def read_metadata_from_video", "def read_metadata")
    code, said = install(small, capsys)
    assert code == 1
    assert "has no read_metadata_from_video, needed for the settings in a video" in said
    assert f"{contract.ADVICE}; WanGP itself is not affected" in said
    with pytest.raises(Refused, match="read_metadata_from_video"):
        install_plan(small, Distribution(REPO, "1"))
    (small / contract.METADATA).unlink()
    assert "video_metadata.py is missing. Update WanGP again" in contract.check(small)[0]


def test_a_fault_at_the_start_of_an_installed_wangp_is_said(small, capsys):
    assert install(small, capsys)[0] == 0 and why_off(small) == ""
    change(small, contract.VAE, "tile_size", "tiles")
    assert why_off(small) == (
        "WanGP 12.60 is not compatible with SVI: models/wan/modules/vae.py: WanVAE.encode takes "
        "(self, videos, tiles) instead of (self, videos, tile_size), needed for encoding the "
        "conditioning video. Get a newer release of SVI for WanGP, unless you edited that file: "
        "then undo the edit")
    code, said = install(small, capsys, "--status")
    assert code == 0 and "WanVAE.encode takes" in said
    assert "Contract: broken in 1 place, so SVI is off" in said
    (small / A).write_bytes(b"")
    assert "models/wan/any2video.py is missing or empty" in why_off(small)


def test_the_doctor_says_how_far_the_contract_is_kept(small, capsys):
    install(small, capsys)
    told = ("Contract: WanGP has all that SVI needs; newest WanGP that SVI was run with: 12.60; "
            "newest whose source was read: 17.10")
    assert told in install(small, capsys, "--doctor")[1]
    change(small, W, '"12.60"', '"17.20"')
    assert "WanGP 17.20 is newer than what was run" in install(small, capsys, "--status")[1]


def test_of_two_copies_the_one_that_is_used_is_named(small, capsys):
    assert locate.copies(small) == {}
    for place in ("svi-for-wangp", "plugins/other"):
        (small / place / "wan2gp_svi").mkdir(parents=True)
        package = small / place / "wan2gp_svi/__init__.py"
        package.write_text('__version__ = "0.9"\n', encoding="utf-8")
    told = ("Copies: WanGP uses wan2gp_svi in its own folder; not used: svi-for-wangp (0.9), "
            "plugins/other (0.9)")
    assert told in install(small, capsys)[1]
    assert told in install(small, capsys, "--doctor")[1]
    state = small / "wan2gp_svi/state.json"
    content = state.read_text(encoding="utf-8")
    state.write_text(re.sub(r'"release": "[^"]+"', '"release": "0.1"', content), encoding="utf-8")
    assert "Release 0.1 is installed, and this is" in install(small, capsys, "--status")[1]
