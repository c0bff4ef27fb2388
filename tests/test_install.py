"""The installer on a small WanGP: install, uninstall, status, edits, faults, kills."""

import ast
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from held import held

from wan2gp_svi import files, location
from wan2gp_svi.install import Refused, cli, locate
from wan2gp_svi.install.patches import MARKER, hooked, read_series
from wan2gp_svi.install.state import load
from wan2gp_svi.wangp import contract

REPO = Path(__file__).resolve().parents[1]
WANGP_DIR = os.environ.get("WANGP_DIR")
HOOKED = ("wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py")
PATCH = """Description: test
--- a/{path}
+++ b/{path}
@@ -1 +1,2 @@
 {anchor}
+{hook}  # wan2gp_svi
"""


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def tree(root):
    """Everything below `root`: folders, contents, permissions."""
    return {
        path.relative_to(root).as_posix(): (
            path.read_bytes() if path.is_file() else None,
            path.stat().st_mode,
        )
        for path in root.rglob("*")
    }


def make_wangp(root):
    write(
        root,
        {
            "wgp.py": 'WanGP_version = "12.60"\r\nif True:\r\n    window_no = 1\r\n# caf\u00e9',
            "models/wan/any2video.py": b"\xef\xbb\xbfsvi_mode = False\nmsk = 1\nlast = 2\n",
            "models/wan/modules/model.py": "def f(sd):\n    first = next(iter(sd), None)",
            "models/wan/wan_handler.py": "def get_lora_dir(): ...\n",
            "profiles/wan_i2v/Own.json": "{}",
            "loras/wan_i2v/mine.safetensors": "x",
            "wan2gp_svi.txt": "not ours",
        },
    )
    (root / "wgp.py").chmod(0o754)
    return root


def make_distribution(root, release="1", extra=()):
    package = {
        "__init__.py": f'__version__ = "{release}"\n',
        "chain.py": f"release = {release!r}\n",
        "wangp/hooks.py": "def hook(): ...\n",
        "demo/weights.npz": bytes(range(256)),
        "__pycache__/chain.cpython-311.pyc": "cache",
        ".DS_Store": "junk",
    }
    write(root / "wan2gp_svi", package)
    profiles = {
        "profiles/wan_i2v/SVI-Shot.json": '{"a": 1}\r\n',
        "profiles/wan_i2v/SVI-Film \u2013 \u00e4.json": "{}\n",
        "profiles/wan_2_2/SVI-Pro.json": f'{{"release": "{release}"}}\n',
    }
    write(root, profiles)
    write(root, dict(extra))
    anchors = {"wgp.py": "window_no = 1", HOOKED[1]: "msk = 1",
               HOOKED[2]: "first = next(iter(sd), None)"}
    for name, (path, anchor) in zip(("wgp", "any2video", "model"), anchors.items(), strict=True):
        text = PATCH.format(path=path, anchor=anchor,
                            hook="pass" if release == "1" else "pass; pass")
        write(root, {f"patches/{name}.patch": text})
    write(root, {"patches/series": "# order\nmodel.patch\nany2video.patch\nwgp.patch\n",
                 "install.py": ""})
    return root


@pytest.fixture
def wangp(tmp_path):
    return make_wangp(tmp_path / "Wan GP (\u00fc) & co")


@pytest.fixture
def home(tmp_path):
    return make_distribution(tmp_path / "dist" / "svi")


@pytest.fixture
def run(wangp, home, capsys, monkeypatch):
    """Runs the installer on the WanGP; gives exit code, stdout, stderr."""

    def go(*arguments, home=home, wangp=wangp, release="1"):
        monkeypatch.setattr(cli.wan2gp_svi, "__version__", release)
        code = cli.main([str(wangp), *arguments] if wangp else list(arguments), home=home)
        return (code, *capsys.readouterr())

    return go


def package_files(wangp):
    return {name for name, (data, _) in tree(wangp / "wan2gp_svi").items() if data is not None}


def test_install_hooks_the_files_and_copies_package_and_profiles(run, wangp, home):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "Hooks: models/wan/modules/model.py 1, models/wan/any2video.py 1, wgp.py 1" in out
    assert "Profiles: 2 in profiles/wan_i2v, 1 in profiles/wan_2_2" in out
    assert "Next: " in out
    assert (
        (wangp / "wgp.py")
        .read_bytes()
        .endswith(b"    window_no = 1\r\n    pass  # wan2gp_svi\r\n# caf\xc3\xa9")
    )
    assert (wangp / HOOKED[1]).read_bytes().startswith(b"\xef\xbb\xbfsvi_mode")
    assert (wangp / HOOKED[2]).read_bytes().endswith(b"None)\n    pass  # wan2gp_svi")
    assert package_files(wangp) == {
        "__init__.py", "chain.py", "demo/weights.npz", "state.json", "wangp/hooks.py",
        "patches/any2video.patch", "patches/model.patch", "patches/series", "patches/wgp.patch",
    }  # fmt: skip
    for name in ("profiles/wan_i2v/SVI-Shot.json", "wan2gp_svi/demo/weights.npz"):
        assert (wangp / name).read_bytes() == (home / name).read_bytes()
    assert stat.S_IMODE((wangp / "wgp.py").stat().st_mode) == 0o754 or os.name == "nt"


def test_the_model_of_dance_comes_and_goes_and_other_models_stay(run, wangp, home):
    model = "finetunes/svi_dance.json"
    write(home, {model: "{}\n", "finetunes/svi_other.json": "{}"})
    write(wangp, {"finetunes/mine.json": "{}"})
    before = tree(wangp)
    assert run()[0] == 0 and (wangp / model).read_text() == "{}\n"
    assert not (wangp / "finetunes/svi_other.json").exists()
    assert "Nothing to do" in run()[1]
    (wangp / model).unlink()
    assert f"Profiles: {model} is missing" in run("--doctor")[1]
    assert run()[0] == 0 and run("--uninstall")[0] == 0 and tree(wangp) == before
    run()
    (wangp / model).write_text("mine")
    assert f"Kept, because you edited it: {model}" in run("--uninstall")[1]


def test_install_twice_changes_nothing_the_second_time(run, wangp):
    run()
    before = tree(wangp)
    code, out, _ = run()
    assert code == 0 and "Nothing to do: SVI for WanGP 1 is installed and complete." in out
    assert tree(wangp) == before


def test_uninstall_leaves_every_byte_as_it_was(run, wangp):
    before = tree(wangp)
    run()
    write(wangp, {"wan2gp_svi/__pycache__/a.pyc": "x", "wan2gp_svi/wangp/__pycache__/b.pyc": "x"})
    code, out, _ = run("--uninstall")
    assert code == 0 and "Uninstalled." in out
    assert tree(wangp) == before
    code, out, _ = run("--uninstall")
    assert code == 0 and "Nothing to do" in out
    assert tree(wangp) == before


@pytest.mark.parametrize("state", [None, b"{broken", b"[]", b'{"files": 3}',
                                   b'{"files": {"../wgp.py": ""}}'])
def test_uninstall_works_without_a_readable_state(run, wangp, state):
    before = tree(wangp)
    run()
    (wangp / "wan2gp_svi/state.json").unlink()
    if state is not None:
        (wangp / "wan2gp_svi/state.json").write_bytes(state)
    assert run()[0] == 0
    if state is not None:
        (wangp / "wan2gp_svi/state.json").write_bytes(state)
    assert run("--uninstall")[0] == 0
    assert tree(wangp) == before


def test_state_cannot_make_the_installer_touch_other_files(run, wangp):
    run()
    state = json.loads((wangp / "wan2gp_svi/state.json").read_text(encoding="utf-8"))
    state["files"]["loras/wan_i2v/mine.safetensors"] = (
        "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    )
    (wangp / "wan2gp_svi/state.json").write_text(json.dumps(state), encoding="utf-8")
    run("--uninstall")
    assert (wangp / "loras/wan_i2v/mine.safetensors").read_bytes() == b"x"


@pytest.mark.parametrize("key", ["hooked", "files"])
@pytest.mark.parametrize("path", ["{outside}", "../outside.py", "a/../../outside.py", "a//b.py",
                                  "./b.py", "", "c:b.py", "a\\..\\..\\outside.py", "a\0b", 5])
def test_a_path_in_the_state_that_may_lead_out_of_wangp_is_not_followed(run, wangp, key, path):
    outside = wangp.parent / "outside.py"
    write(wangp.parent, {"outside.py": f"mine  {MARKER}\n"})
    before = outside.read_bytes()
    run()
    name = path.format(outside=outside) if isinstance(path, str) else path
    place = wangp / "wan2gp_svi/state.json"
    state = json.loads(place.read_text(encoding="utf-8"))
    if key == "files":
        state["files"][f"profiles/{name}"] = hashlib.sha256(before).hexdigest()
    else:
        state["hooked"].append(name)
    place.write_text(json.dumps(state), encoding="utf-8")
    assert load(wangp) is None or (key, path) == ("files", 5)
    assert run("--uninstall")[0] == 0 and outside.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_link_that_leads_out_of_wangp_is_not_followed(run, wangp):
    outside = {"there/b.py": f"mine  {MARKER}\n", "there/c.json": "{}"}
    write(wangp.parent, outside)
    run()
    for name in ("models/out", "profiles/out"):
        (wangp / name).symlink_to(wangp.parent / "there", target_is_directory=True)
    place = wangp / "wan2gp_svi/state.json"
    state = json.loads(place.read_text(encoding="utf-8"))
    state["hooked"].append("models/out/b.py")
    state["files"]["profiles/out/c.json"] = hashlib.sha256(b"{}").hexdigest()
    for arguments in ((), ("--uninstall",)):
        place.write_text(json.dumps(state), encoding="utf-8")
        assert run(*arguments)[0] == 0
        for name, content in outside.items():
            assert (wangp.parent / name).read_text(encoding="utf-8") == content


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
@pytest.mark.parametrize("name", ["wan2gp_svi", "profiles", "profiles/wan_i2v"])
def test_a_link_where_our_files_go_is_refused_and_kept(run, wangp, name):
    run()
    target = (wangp / name).rename(wangp.parent / "target")
    (wangp / name).symlink_to(target, target_is_directory=True)
    there = tree(target)
    told = f"{name} is a link to {target}, and git and updates cannot work with it"
    assert refused(run(), told, "run install.py")
    for option in ("--status", "--doctor"):
        assert told in run(option)[1].replace("~", str(Path.home()))
    code, out, _ = run("--uninstall")
    assert code == 0 and f"Kept, because it is a link to {target}: {name}" in out
    assert tree(target) == there and MARKER not in (wangp / "wgp.py").read_text(encoding="utf-8")


def test_state_holds_release_and_hashes(run, wangp):
    run()
    state = json.loads((wangp / "wan2gp_svi/state.json").read_text(encoding="utf-8"))
    assert state["release"] == "1"
    assert set(state["hooked"]) == set(HOOKED)
    assert {f"wan2gp_svi/{name}" for name in package_files(wangp)} <= set(state["files"]) | {
        "wan2gp_svi/state.json"
    }


def test_edits_of_the_user_elsewhere_in_a_hooked_file_survive(run, wangp):
    run()
    path = wangp / "wgp.py"
    path.write_bytes(b"import mine\r\n" + path.read_bytes())
    run("--uninstall")
    assert path.read_bytes().startswith(b'import mine\r\nWanGP_version = "12.60"')
    assert MARKER.encode() not in path.read_bytes()


def test_hooks_that_an_update_of_wangp_took_away_come_back(run, wangp):
    original = (wangp / "wgp.py").read_bytes()
    run()
    (wangp / "wgp.py").write_bytes(original.replace(b"12.60", b"12.70"))
    assert "wgp.py 0 of 1" in run("--status")[1]
    assert run()[0] == 0
    assert "wgp.py 1 of 1" in run("--status")[1]
    run("--uninstall")
    assert (wangp / "wgp.py").read_bytes() == original.replace(b"12.60", b"12.70")


@pytest.mark.parametrize("name", ["profiles/wan_i2v/SVI-Shot.json", "wan2gp_svi/chain.py"])
def test_an_edited_file_is_kept_and_named_by_install_and_uninstall(run, wangp, tmp_path, name):
    run()
    (wangp / name).write_text("edited", encoding="utf-8")
    said = run()[1]
    whole = "is installed, but for what you edited." not in said
    assert name in said and whole == name.startswith("profiles/")
    newer = make_distribution(tmp_path / "dist" / "newer", "2")
    for arguments in ((), ("--uninstall",), ("--uninstall",)):
        code, out, _ = run(*arguments, home=newer, release="2")
        assert code == 0 and name in out
        assert (wangp / name).read_text(encoding="utf-8") == "edited"
    (wangp / name).unlink()
    run(home=newer, release="2")
    assert (wangp / name).read_bytes() == (newer / name).read_bytes()


def test_a_profile_of_the_users_with_our_name_is_never_ours(run, wangp):
    write(wangp, {"profiles/wan_i2v/SVI-Shot.json": "mine"})
    before = tree(wangp)
    code, out, _ = run()
    assert code == 0 and "SVI-Shot.json" in out
    run()
    run("--uninstall")
    assert tree(wangp) == before


def test_extra_files_of_the_user_in_the_package_folder_are_kept(run, wangp):
    run()
    write(wangp, {"wan2gp_svi/mine/notes.txt": "x", "wan2gp_svi/wangp/__pycache__/hooks.pyc": "x"})
    run("--uninstall")
    assert set(tree(wangp / "wan2gp_svi")) == {"mine", "mine/notes.txt"}


def test_a_newer_release_updates_and_removes_what_it_has_no_more(run, wangp, home, tmp_path):
    before = tree(wangp)
    old = make_distribution(
        tmp_path / "old",
        "0",
        {"wan2gp_svi/gone/a.py": "1", "wan2gp_svi/b.py": "1", "profiles/wan_2_2/SVI-X.json": ""},
    )
    run(home=old, release="0")
    write(wangp, {"wan2gp_svi/b.py": "edited", "wan2gp_svi/gone/__pycache__/a.pyc": "x"})
    code, out, _ = run()
    assert code == 0 and "wan2gp_svi/b.py" in out
    assert not (wangp / "wan2gp_svi/gone").exists()
    assert not (wangp / "profiles/wan_2_2/SVI-X.json").exists()
    assert (wangp / "wan2gp_svi/chain.py").read_text("utf-8") == "release = '1'\n"
    (wangp / "wan2gp_svi/b.py").unlink()
    run("--uninstall")
    assert tree(wangp) == before


def test_hooks_of_a_release_that_hooked_another_file_are_taken_out(run, wangp, tmp_path):
    write(wangp, {"extra.py": "x = 1\n"})
    before = tree(wangp)
    patch = PATCH.format(path="extra.py", anchor="x = 1", hook="pass")
    series = "model.patch\nany2video.patch\nwgp.patch\nextra.patch\n"
    old = make_distribution(tmp_path / "old", "0")
    write(old, {"patches/extra.patch": patch, "patches/series": series})
    run(home=old, release="0")
    assert MARKER in (wangp / "extra.py").read_text("utf-8")
    run()
    assert (wangp / "extra.py").read_text("utf-8") == "x = 1\n"
    run("--uninstall")
    assert tree(wangp) == before


def test_dry_run_writes_nothing(run, wangp):
    for prepare in (None, (), ("--uninstall",)):
        if prepare is not None:
            run(*prepare)
        before = tree(wangp)
        for arguments in ((), ("--uninstall",), ("--download", "shot", "2.0-pro")):
            code, out, _ = run("--dry-run", *arguments)
            assert code == 0 and tree(wangp) == before and "Uninstalled" not in out
    assert "would create wan2gp_svi/ (9 files)" in out
    assert "would change wgp.py" in out
    assert "would download version-1.0/svi-shot.safetensors" in out and "2.0_pro" in out


def test_status_says_what_is_there(run, wangp):
    code, out, _ = run("--status")
    assert code == 0 and "not installed" in out and "version 12.60" in out
    run()
    (wangp / "profiles/wan_i2v/SVI-Shot.json").write_text("edited", encoding="utf-8")
    (wangp / "profiles/wan_2_2/SVI-Pro.json").unlink()
    write(wangp, {"loras/wan_i2v/sub/svi-shot.safetensors": b"x" * 3_000_000})
    before = tree(wangp)
    code, out, _ = run("--status")
    assert code == 0 and tree(wangp) == before
    assert "SVI for WanGP: 1 installed" in out and "wgp.py 1 of 1" in out
    assert "1 present, 1 edited, 1 missing" in out
    assert "missing: profiles/wan_2_2/SVI-Pro.json" in out
    assert "svi-shot.safetensors (SVI-Shot, 3 MB, incomplete)" in out
    assert "Profiles: profiles/wan_2_2/SVI-Pro.json is missing: run install.py." in out


def refused(result, *words):
    code, out, err = result
    assert code == 1
    assert len(err.strip().splitlines()) == 1 and err.startswith("SVI for WanGP: ")
    for word in words:
        assert word in err
    return True


def test_status_of_a_wangp_that_the_hooks_do_not_fit_still_says_the_rest(run, wangp):
    (wangp / HOOKED[1]).write_text("nothing here\n", encoding="utf-8")
    code, out, _ = run("--status")
    assert code == 0 and "was found 0 times" in out and "not installed" in out


def test_refusals_are_one_line_and_change_nothing(run, wangp, tmp_path):
    def check(*words):
        before = tree(wangp)
        assert refused(run(), *words) and tree(wangp) == before

    any2video = wangp / HOOKED[1]
    good = any2video.read_bytes()
    any2video.write_bytes(good.replace(b"msk = 1", b"mask = 1"))
    check("12.60", "any2video.py", "'msk = 1'", "0 times")
    any2video.write_bytes(good + b"msk = 1\n")
    check("2 times")
    any2video.write_bytes(b"x = f(\nmsk = 1\n)")
    check("any2video.py, with the hooks, is not valid Python (line ")
    any2video.write_bytes(b"x = f(\nmsk = 1\n")
    check("any2video.py, as it is, is not valid Python (line ")
    any2video.write_bytes(good + b'print("[SVI Mode] on")\n')
    check("[SVI Mode]", "earlier")
    any2video.write_bytes(good)
    (wangp / HOOKED[2]).rename(wangp / "model.py")
    check("model.py is missing")
    (wangp / "model.py").rename(wangp / HOOKED[2])
    (wangp / "profiles").rename(wangp / "no profiles")
    check("too old", "profiles")


def test_a_folder_that_is_no_wangp_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(run(wangp=tmp_path / "empty"), "wgp.py", "models/wan/any2video.py")
    assert refused(run(wangp=tmp_path / "nowhere"), "nowhere")


def test_a_download_that_cannot_be_comes_after_a_whole_install(run, wangp, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused(run("--download", "shot"), "pip install huggingface_hub")
    assert "Nothing to do" in run()[1]


@pytest.mark.parametrize(
    "arguments",
    [["--download", "nonsense"], ["--status", "--uninstall"], ["--uninstall", "--download", "shot"],
     ["-x"]],
)
def test_wrong_usage_exits_with_2(run, capsys, arguments):
    with pytest.raises(SystemExit) as exit:
        run(*arguments)
    assert exit.value.code == 2
    assert arguments[0] != "--download" or "film-opt" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Wan2GP", "Wan 2GP"])
def test_what_windows_makes_of_a_closing_backslash_is_understood(run, wangp, name):
    wangp = wangp.rename(wangp.with_name(name))
    code, out, _ = run(wangp=f'{wangp}" --status')
    assert code == 0 and "not installed" in out and f"{name} (version" in out
    assert "is installed" in run(wangp=f'{wangp}"')[1]


def test_a_folder_with_a_quote_in_its_name_is_meant(run, wangp):
    if sys.platform == "win32":
        pytest.skip("Windows has no such names")
    assert run(wangp=wangp.rename(wangp.with_name('my "best" WanGP')))[0] == 0


def test_help_is_what_windows_users_ask_for_too(run, capsys):
    with pytest.raises(SystemExit) as exit:
        run(wangp="/?")
    assert exit.value.code == 0 and "--uninstall" in capsys.readouterr().out


def test_wangp_is_looked_for_around_the_distribution(tmp_path):
    home = tmp_path / "svi"
    home.mkdir()
    here = tmp_path / "elsewhere"
    with pytest.raises(Refused, match="no WanGP"):
        locate.find(None, home, here)
    make_wangp(here)
    one = make_wangp(tmp_path / "one")
    assert locate.find(str(one), home, here) == one.resolve()
    with pytest.raises(Refused, match="several"):
        locate.find(None, home, here)
    shutil.rmtree(one)
    assert locate.find(None, home, here) == here.resolve()
    deep = here / "svi"
    assert locate.find(None, deep, tmp_path) == here.resolve()
    assert locate.find(None, here, tmp_path) == here.resolve()
    shutil.move(here, tmp_path / "deep" / "here")
    assert locate.find(None, home,
                       tmp_path / "deep" / "here") == (tmp_path / "deep" / "here").resolve()


def test_a_distribution_unpacked_straight_into_wangp_is_not_deleted(run, wangp):
    make_distribution(wangp)
    before = tree(wangp)
    code, out, _ = run(home=wangp, wangp=None)
    assert code == 0 and "used where they are" in out
    changed = {name for name, value in tree(wangp).items() if before.get(name) != value}
    assert changed - {f"wan2gp_svi/{name}" for name in ("state.json", "patches")} == set(HOOKED) | {
        f"wan2gp_svi/patches/{name}" for name in ("series", "wgp.patch", "model.patch",
                                                  "any2video.patch")
    }
    assert "Nothing to do" in run(home=wangp)[1]
    assert "used where they are" in run("--status", home=wangp)[1]
    code, out, _ = run("--uninstall", home=wangp)
    assert code == 0 and "Kept" in out
    shutil.rmtree(wangp / "wan2gp_svi/__pycache__", ignore_errors=True)
    before = {name: value for name, value in before.items() if "__pycache__" not in name}
    assert tree(wangp) == before


def test_straight_into_a_wangp_that_had_it_installed_deletes_nothing_either(run, wangp, home):
    run()
    make_distribution(wangp)
    files = {name for name, (data, _) in tree(wangp).items() if data is not None
             and "svi" in name.lower()}
    run(home=wangp)
    run("--uninstall", home=wangp)
    left = {name for name in files if not (wangp / name).exists()}
    assert {name for name in left if "/patches/" not in name and "__pycache__" not in name} == {
        "wan2gp_svi/state.json"
    }


def test_the_installed_copy_can_put_hooks_back(run, wangp):
    original = (wangp / "wgp.py").read_bytes()
    run()
    (wangp / "wgp.py").write_bytes(original)
    assert run(home=wangp, wangp=None)[0] == 0
    assert MARKER.encode() in (wangp / "wgp.py").read_bytes()
    before = json.loads((wangp / "wan2gp_svi/state.json").read_text(encoding="utf-8"))["files"]
    assert "wan2gp_svi/chain.py" in before


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_linked_package_is_left_alone(run, wangp, home):
    (wangp / "wan2gp_svi").symlink_to(home / "wan2gp_svi", target_is_directory=True)
    before = set(tree(home))
    run()
    run("--uninstall")
    assert {name for name in before if "__pycache__" not in name} <= set(tree(home))
    assert (home / "wan2gp_svi/chain.py").is_file()


def test_write_protected_files_are_respected(run, wangp):
    path = wangp / HOOKED[0]
    path.chmod(0o444)
    before = tree(wangp)
    assert refused(run(), "write-protected", "wgp.py")
    assert tree(wangp) == before
    path.chmod(0o644)


def broken(monkeypatch, module, name, at, error):
    """Make the `at`-th call of module.name fail."""
    real, calls = getattr(module, name), []

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "x"), OSError(28, "No space left")]
)
@pytest.mark.parametrize("arguments", [(), ("--uninstall",)])
@pytest.mark.parametrize("name", ["replace", "unlink"])
def test_an_error_at_any_write_is_rolled_back(run, wangp, monkeypatch, arguments, error, name):
    monkeypatch.setattr(files, "PATIENCE", 0)  # or Windows tries again, and it works
    clean = tree(wangp)
    if arguments:
        run()
    before = tree(wangp)
    for at in range(1, 100):
        with monkeypatch.context() as patch:
            calls = broken(patch, Path, name, at, error)
            code, _, err = run(*arguments)
        if len(calls) < at:
            break
        assert code == 1 and "nothing was changed" in err and len(err.strip().splitlines()) == 1
        assert tree(wangp) == before, at
    assert at > 2 or (name, arguments) == ("unlink", ())
    assert code == 0
    run("--uninstall")
    assert tree(wangp) == clean


def test_ctrl_c_is_rolled_back(run, wangp, monkeypatch):
    before = tree(wangp)
    broken(monkeypatch, Path, "replace", 7, KeyboardInterrupt())
    assert refused(run(), "stopped")
    assert tree(wangp) == before


@pytest.mark.parametrize("what", ["install", "uninstall"])
@pytest.mark.parametrize("name", ["wgp.py", "wan2gp_svi/state.json"])
def test_a_file_in_use_is_named_with_what_to_do(run, wangp, monkeypatch, name, what):
    if what == "uninstall" or name != "wgp.py":
        run()
    before = tree(wangp)
    monkeypatch.setattr(files, "PATIENCE", 0.01)  # as on Windows
    held(monkeypatch).add(wangp / name)
    done = run(release="2") if what == "install" else run("--uninstall")
    assert refused(done, f"{wangp / name}: another program uses it", "nothing was changed. Close "
                   "WanGP and any program that uses it, or allow writing, then run this again")
    assert tree(wangp) == before


def test_a_file_that_cannot_even_be_read_is_named_with_what_to_do(run, wangp, monkeypatch):
    before = tree(wangp)
    monkeypatch.setattr(files, "PATIENCE", 0.01)  # as on Windows
    held_files = held(monkeypatch, readable=False)
    for name in ("wgp.py", "models/wan/modules/model.py"):
        held_files.add(wangp / name)
        assert refused(run(), f"{wangp / name}: another program uses it, or you have no "
                       "permission. Close WanGP and any program that uses it")
        held_files.clear()
    assert tree(wangp) == before


def test_a_folder_where_a_file_should_be_is_called_one(run, wangp):
    (wangp / "wan2gp_svi/__init__.py").mkdir(parents=True)
    assert refused(run(), "__init__.py is a folder where a file should be: move it away")


def test_a_console_with_an_old_code_page_stops_nothing(wangp, home, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    (wangp / "profiles/wan_i2v").mkdir(exist_ok=True)
    write(wangp, {"profiles/wan_i2v/SVI-Film \u2013 \u00e4.json": "mine"})
    assert cli.main([str(wangp)], home=home) == 0
    assert cli.main([str(wangp), "--status"], home=home) == 0
    sys.stdout.flush()
    assert b"SVI-Film \\u2013 \\xe4.json" in sys.stdout.buffer.getvalue()


def test_the_installer_needs_no_torch_and_no_other_package(wangp, home):
    script = (
        "import sys; from wan2gp_svi.install import cli; from pathlib import Path; "
        f"code = cli.main([{str(wangp)!r}], home=Path({str(home)!r})); "
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'wan2gp_svi')); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=REPO,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == 0, done.stderr
    modules = done.stdout.strip().splitlines()[-1]
    assert "variants" in modules and "chain" not in modules
    # and the empty package
    assert modules.count("wan2gp_svi.wangp") == 2 and "'wan2gp_svi.wangp.contract'" in modules


@pytest.mark.parametrize("program", [
    "install.py", "wan2gp_svi/__main__.py", "wan2gp_svi/install/__main__.py"])
def test_an_old_python_is_told_before_anything_that_it_cannot_read(program):
    old = (3, 7) if program == "install.py" else (3, 9)
    for name in ("wan2gp_svi/__init__.py", "wan2gp_svi/old_python.py", program):
        ast.parse((REPO / name).read_text(encoding="utf-8"), feature_version=old)
    done = subprocess.run(
        [sys.executable, "-c", "import runpy, sys; sys.version_info = (3, 9, 18); "
         f"sys.argv = ['x', '--help']; runpy.run_path({program!r}, run_name='__main__')"],
        capture_output=True, text=True, encoding="utf-8", cwd=REPO)
    assert done.returncode == 1 and not done.stdout
    assert "needs Python 3.10 or newer" in done.stderr and "Traceback" not in done.stderr


def test_install_bat_has_windows_line_endings_and_no_traps():
    source = (REPO / "install.bat").read_bytes()
    assert source.isascii()
    assert source.count(b"\r\n") == source.count(b"\n") > 10
    lines = [line.strip() for line in source.decode().splitlines() if not line.startswith("rem ")]
    assert not any(line.endswith("(") or line.startswith(")") for line in lines)  # no blocks
    labels = {line[1:] for line in lines if line.startswith(":")}
    assert {line.split("goto ")[1] for line in lines if "goto " in line} <= labels
    assert {line.split("call :")[1].split()[0] for line in lines if "call :" in line} <= labels


@pytest.mark.parametrize(
    ("files", "wan", "folder"),
    [
        ({}, "2.1", "loras_i2v"),
        ({}, "2.2", "loras"),
        ({"loras_i2v/14B/x": ""}, "2.1", "loras_i2v/14B"),
        ({"models/wan/wan_handler.py": "def get_lora_dir("}, "2.1", "loras/wan_i2v"),
        ({"models/wan/wan_handler.py": "def get_lora_dir("}, "2.2", "loras/wan"),
        (
            {"models/wan/wan_handler.py": "def get_lora_dir(",
             "wgp_config.json": '{"loras_root": "L"}'},
            "2.2",
            "loras/wan",
        ),
    ],
)
def test_lora_folder_by_version_of_wangp(tmp_path, files, wan, folder):
    write(tmp_path, files)
    assert location.lora_folder(tmp_path, wan) == tmp_path / folder


@pytest.mark.parametrize(
    ("config", "root"),
    [
        ('{"loras_root": "my l\u00f6ras"}', "my l\u00f6ras"),
        ('{"loras_root": ""}', "loras"),
        ("{", "loras"),
        ("{}", "loras"),
    ],
)
def test_lora_folder_follows_the_configured_root(tmp_path, config, root):
    handler = {
        "models/wan/wan_handler.py": "def get_lora_dir(",
        "wgp.py": '"loras_root"',
        "wgp_config.json": config,
    }
    write(tmp_path, handler)
    assert location.lora_folder(tmp_path, "2.1") == tmp_path / root / "wan_i2v"
    absolute = str(tmp_path / "other")
    write(tmp_path, {"wgp_config.json": json.dumps({"loras_root": absolute})})
    assert location.lora_folder(tmp_path, "2.2") == Path(absolute) / "wan"
    given = tmp_path / "given"
    assert location.lora_folder(tmp_path, "2.2", str(given)) == given.resolve()


@pytest.mark.skipif(not WANGP_DIR, reason="set WANGP_DIR to a WanGP checkout")
@pytest.mark.parametrize("endings", ["lf", "crlf"])
def test_the_real_hooks_go_into_a_real_wangp_and_come_out(tmp_path, capsys, endings):
    if not (REPO / "patches/series").is_file():
        pytest.skip("no patches yet")
    wangp = tmp_path / "WanGP"
    for name in contract.read(Path(WANGP_DIR), contract.own_patches()):
        data = (Path(WANGP_DIR) / name).read_bytes()
        write(wangp, {name: data if endings == "lf" else data.replace(b"\n", b"\r\n")})
    for folder in ("wan_i2v", "wan_2_2"):
        shutil.copytree(Path(WANGP_DIR) / "profiles" / folder, wangp / "profiles" / folder)
    before = tree(wangp)
    assert cli.main([str(wangp)]) == 0
    for patch in read_series(REPO / "patches"):
        source = (wangp / patch.path).read_bytes()
        assert source == hooked(before[patch.path][0], patch)
        assert source.count(b"\r\n") in (0, source.count(b"\n"))
    assert "Nothing to do" not in capsys.readouterr().out
    assert cli.main([str(wangp)]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert cli.main([str(wangp), "--uninstall"]) == 0
    assert tree(wangp) == before


def test_replace_old_takes_the_earlier_distribution_out_and_installs(run, wangp, monkeypatch):
    any2video = wangp / HOOKED[1]
    good = any2video.read_bytes()
    any2video.write_bytes(good + b'print("[SVI Mode] on")\n')
    assert refused(run(), "earlier", "--replace-old") and refused(run("--replace-old"), "git clone")
    before = tree(wangp)
    monkeypatch.setattr(cli.legacy, "taken_out",
                        lambda folder: ({HOOKED[1]: good}, ["profiles/old.json"]))
    code, out, _ = run("--replace-old", "--dry-run")
    assert code == 0 and f"{HOOKED[1]} would be cleaned" in out and tree(wangp) == before
    code, out, _ = run("--replace-old")
    assert code == 0 and "is installed" in out
    assert "Kept, because you edited it; it no longer does anything: profiles/old.json" in out
    assert b"[SVI Mode]" not in any2video.read_bytes() and MARKER.encode() in any2video.read_bytes()
