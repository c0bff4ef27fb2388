"""SVI as a plugin of WanGP: installed, updated and removed by what WanGP's Plugins tab does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hosts
import pytest
from kills import killed, needs_fork

import wan2gp_svi
from wan2gp_svi import location
from wan2gp_svi.install import Refused, child, cli, locate, plugin
from wan2gp_svi.install.plan import install_plan
from wan2gp_svi.install.shipped import Distribution
from wan2gp_svi.install.state import load
from wan2gp_svi.wangp import contract

REPO = Path(__file__).resolve().parents[1]
NAME = "wan2gp-svi"
STUBS = {  # of what plugin.py imports, and a host that does as WanGP does
    "gradio.py": "",
    "shared/utils/plugins.py": """
class WAN2GPPlugin:
    def __init__(self):
        self.tabs, self.globals = {}, []
    def request_global(self, name):
        self.globals.append(name)
    def add_tab(self, id, label, create):
        self.tabs[id] = label
""",
    "host.py": """
import importlib, sys
sys.path.insert(0, "plugins")
for name in sys.argv[2:]:
    importlib.import_module(name)
module = importlib.import_module(sys.argv[1] + ".plugin")
one = module.SVIPlugin()
one.setup_ui()
print("TABS", one.tabs, one.restart)
print(one.message)
""",
}


def tree(root: Path) -> dict[str, bytes | None]:
    """All that is below a folder."""
    return {path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
            for path in root.rglob("*")}


def clone(folder: Path) -> Path:
    """This distribution as WanGP's Plugins tab would clone it, without the heavy weights."""
    for name in ("wan2gp_svi", "patches", "profiles", "finetunes"):
        shutil.copytree(REPO / name, folder / name,
                        ignore=shutil.ignore_patterns("weights", "__pycache__"))
    for name in ("install.py", "plugin.py", "plugin_info.json"):
        shutil.copyfile(REPO / name, folder / name)
    (folder / "__init__.py").touch()  # as WanGP does
    return folder


def enable(wangp: Path, *names: str, config: Path | None = None) -> None:
    ((config or wangp) / location.CONFIG).write_text(json.dumps({"enabled_plugins": names}),
                                                     encoding="utf-8")


def release(folder: Path, version: str) -> None:
    for name in ("wan2gp_svi/__init__.py", "plugin_info.json"):
        path = folder / name
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r'(version\w*\W+")[\d.]+"', rf'\g<1>{version}"', text, count=1),
                        encoding="utf-8")


@pytest.fixture
def wangp(tmp_path: Path) -> Path:
    root = hosts.write(tmp_path / "Wan GP (ü)")
    (root / "finetunes").mkdir()  # WanGP's
    return root


@pytest.fixture
def there(wangp: Path) -> Path:
    """A WanGP in which the plugin was enabled and has installed SVI."""
    folder = clone(wangp / plugin.FOLDER / NAME)
    enable(wangp, NAME)
    worked, said = child.install(folder, wangp)
    assert worked, said
    return wangp


def build_page(wangp: Path, *loaded: str) -> str:
    """What the plugin says when WanGP builds its page; `loaded`: modules that WanGP has by then."""
    for stub, text in STUBS.items():
        (wangp / stub).parent.mkdir(parents=True, exist_ok=True)
        (wangp / stub).write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-B", "host.py", NAME, *loaded], cwd=wangp,
                          capture_output=True, encoding="utf-8",
                          env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_plugin_installs_svi_and_asks_for_a_restart(wangp):
    clone(wangp / plugin.FOLDER / NAME)
    enable(wangp, NAME)
    said = build_page(wangp)
    assert "TABS {'wan2gp_svi': 'SVI'} True" in said
    assert "### SVI is installed. Restart WanGP once more" in said
    assert f"WanGP: {wangp.name} (version 12.60)" in said.partition("###")[2]  # not whose it is
    assert f"SVI for WanGP {wan2gp_svi.__version__} is installed." in said
    assert load(wangp).plugin == NAME and (wangp / "wan2gp_svi/wangp/hooks.py").is_file()


def test_a_broken_part_is_named_and_asks_for_no_restart_for_ever(there):
    broken = there / plugin.FOLDER / NAME / "wan2gp_svi/wangp/hooks.py"
    broken.write_text("def broken(:\n", encoding="utf-8")
    update, _, said = build_page(there, "wan2gp_svi.wangp").partition("###")
    assert "Updated SVI" in update and said.startswith(" SVI is off")
    assert "A part of it is missing or broken" in said
    assert "(hooks.py, line 1)). Undo your edit of it, update SVI, or" in said


def test_where_svi_does_not_fit_the_plugin_says_why_and_changes_nothing(wangp):
    clone(wangp / plugin.FOLDER / NAME)
    path = wangp / contract.WGP
    path.write_bytes(path.read_bytes().replace(b"window_no", b"number"))
    before = path.read_bytes()
    said = build_page(wangp)
    assert "TABS {'wan2gp_svi': 'SVI'} False" in said
    assert "### SVI is not installed, and WanGP works as usual" in said
    assert "window_no (the number of the clip)" in said
    assert path.read_bytes() == before and not (wangp / "wan2gp_svi").exists()


def test_a_complete_installation_has_nothing_to_say(there):
    before = tree(there)
    assert child.install(there / plugin.FOLDER / NAME, there)[1][-1].startswith("Nothing to do")
    assert plugin.gone(there) == "" == plugin.remove_if_gone(there)
    assert plugin.update(there) == (False, "") and tree(there) == before


def test_what_the_plugins_tab_updated_is_installed_at_the_next_start(there, capsys):
    folder = there / plugin.FOLDER / NAME
    release(folder, "9.9.1")
    (folder / "wan2gp_svi/news.py").write_text('"""New."""\n', encoding="utf-8")
    next(folder.glob("profiles/wan_2_2/*.json")).unlink()
    assert plugin.update(there) == (True, "")
    assert capsys.readouterr().out == f"[SVI] Updated SVI to 9.9.1, from plugins/{NAME}.\n"
    assert load(there).release == "9.9.1" and (there / "wan2gp_svi/news.py").is_file()
    assert len(list(there.glob("profiles/wan_2_2/SVI*"))) == len(
        list(folder.glob("profiles/wan_2_2/*.json")))
    assert plugin.update(there) == (False, "")


def test_an_update_that_changes_wangps_start_asks_for_one_more(there):
    path = there / plugin.FOLDER / NAME / "patches/wgp.patch"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('svi("start", save_video)', 'svi("start",  save_video)'),
                    encoding="utf-8")
    updated, why = plugin.update(there)
    assert updated and "one more restart" in why


def test_an_update_that_does_not_fit_leaves_the_release_that_works(there, capsys):
    folder = there / plugin.FOLDER / NAME
    release(folder, "9.9.1")
    path = folder / "patches/wgp.patch"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("global_queue_ref = []", "no_such_line = []"), encoding="utf-8")
    before = (there / contract.WGP).read_bytes()
    assert plugin.update(there) == (False, "")
    assert "is not compatible with SVI" in capsys.readouterr().out
    assert (there / contract.WGP).read_bytes() == before
    assert load(there).release == wan2gp_svi.__version__


@pytest.mark.parametrize("how", ["removed", "disabled"])
def test_svi_goes_with_its_plugin(wangp, how, capsys):
    before = tree(wangp)
    folder = clone(wangp / plugin.FOLDER / NAME)
    enable(wangp, NAME)
    assert child.install(folder, wangp)[0]
    if how == "removed":
        shutil.rmtree(folder)
    enable(wangp)
    assert how in plugin.remove_if_gone(wangp) and plugin.remove_if_gone(wangp) == ""
    assert "Uninstalling SVI" in capsys.readouterr().out
    shutil.rmtree(wangp / plugin.FOLDER)
    (wangp / location.CONFIG).unlink()
    assert tree(wangp) == before


@needs_fork
@pytest.mark.parametrize("at", [1, 10, 27, 28, 29, 30, 31, 32, 33, 34, 60, 150, 190])
def test_a_removal_that_was_killed_goes_on_at_the_next_start(wangp, at):
    """WanGP's start calls SVI until its hook in wgp.py is out; WanGP is stock from then on."""
    before = tree(wangp)
    folder = clone(wangp / plugin.FOLDER / NAME)
    assert child.install(folder, wangp)[0]
    shutil.rmtree(wangp / plugin.FOLDER)
    assert killed(lambda: plugin.remove_if_gone(wangp), at, wangp)
    if b"wan2gp_svi" in (wangp / contract.WGP).read_bytes():
        assert "removed" in plugin.remove_if_gone(wangp)
    else:
        assert all(tree(wangp)[name] == before[name] for name in before)
        left = {name for name, content in tree(wangp).items() if content} - before.keys()
        assert {name.split("/")[0] for name in left} <= {"wan2gp_svi"}
        assert cli.main([str(wangp), "--uninstall"], home=REPO) == 0
    assert tree(wangp) == before


def test_a_wangp_that_cannot_be_written_keeps_svi_off_and_says_what_to_do(there, monkeypatch):
    shutil.rmtree(there / plugin.FOLDER)

    def refuse(*_):
        raise Refused("no")

    monkeypatch.setattr(cli, "carry_out", refuse)
    assert "could not be uninstalled. Start WanGP again" in plugin.remove_if_gone(there)


def test_a_configuration_elsewhere_counts_once_wangp_has_it(there, tmp_path, monkeypatch):
    folder = tmp_path / "config"
    monkeypatch.setattr(sys, "argv", ["wgp.py", "--config", str(folder)])
    assert plugin.gone(there) == ""  # WanGP starts from that in its own folder
    folder.mkdir()
    enable(there, config=folder)
    assert "disabled" in plugin.gone(there)
    monkeypatch.setattr(sys, "argv", ["wgp.py", f"--config={folder}"])
    assert "disabled" in plugin.gone(there)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"enabled_plugins": 3}'])
def test_an_unreadable_configuration_removes_nothing(there, text):
    path = there / location.CONFIG
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    assert plugin.gone(there) == ""


def test_the_same_plugin_twice_is_refused_and_named(there):
    other = clone(there / plugin.FOLDER / "svi-again")
    worked, said = child.install(other, there)
    assert not worked and "the plugin wan2gp-svi has installed SVI here, and svi-again" in said[0]
    assert load(there).plugin == NAME


def test_another_folder_does_not_install_over_the_plugin(there, tmp_path, capsys):
    assert cli.main([str(there)], home=REPO) == 1
    assert f"the plugin {NAME} has installed SVI here and updates it" in capsys.readouterr().err
    for home in (there, there / plugin.FOLDER / NAME):  # what belongs to it may
        assert cli.main([str(there)], home=home) == 0
        assert load(there).plugin == NAME
    shutil.rmtree(there / plugin.FOLDER)
    assert cli.main([str(there)], home=REPO) == 0 and load(there).plugin == ""


def test_the_plugin_takes_over_what_install_py_has_installed(wangp):
    assert cli.main([str(wangp)], home=REPO) == 0 and load(wangp).plugin == ""
    assert plugin.remove_if_gone(wangp) == ""
    assert child.install(clone(wangp / plugin.FOLDER / NAME), wangp)[0]
    assert load(wangp).plugin == NAME


def test_a_copy_that_was_unpacked_into_wangp_is_named_and_stays(wangp):
    for name in ("wan2gp_svi", "patches"):
        shutil.copytree(REPO / name, wangp / name, ignore=shutil.ignore_patterns("weights"))
    worked, said = child.install(clone(wangp / plugin.FOLDER / NAME), wangp)
    assert not worked and "was unpacked into WanGP's own folder" in said[0]


def test_uninstalling_by_hand_says_that_the_plugin_comes_back(there, capsys):
    assert cli.main([str(there), "--uninstall"], home=there) == 0
    assert f"The plugin {NAME} installs SVI again when WanGP starts" in capsys.readouterr().out


def test_the_doctor_names_the_plugin_other_copies_and_what_the_next_start_does(there, capsys):
    clone(there / plugin.FOLDER / "svi-again")
    assert cli.main([str(there), "--status"], home=there) == 0
    out = capsys.readouterr().out
    version = wan2gp_svi.__version__
    assert f"Plugin: plugins/{NAME} ({version}) installs SVI" in out
    assert f"not used: plugins/svi-again ({version})" in out
    assert "SVI's plugin adds the hooks again after every update of WanGP" in out
    enable(there)
    assert cli.main([str(there), "--status"], home=there) == 0
    assert "WanGP's next start uninstalls SVI, because its plugin" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["..", "a/b", "C:x", ""])
def test_a_state_that_names_no_plugin_of_wangp_removes_nothing(there, name):
    path = there / "wan2gp_svi/state.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**stored, "plugin": name}), encoding="utf-8")
    assert plugin.gone(there) == "" == plugin.owner(there)


def test_a_state_of_an_older_release_is_read(there):
    path = there / "wan2gp_svi/state.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    del stored["plugin"]
    path.write_text(json.dumps(stored), encoding="utf-8")
    assert load(there).plugin == "" and load(there).files
    assert install_plan(there, Distribution(REPO, "1")).changes


def test_wangp_goes_on_with_the_release_that_was_just_installed(there):
    pytest.importorskip("torch", reason="needs torch for the hooks")
    folder = there / plugin.FOLDER / NAME
    release(folder, "9.9.1")
    path = folder / "wan2gp_svi/wangp/hooks.py"
    path.write_text(f"{path.read_text(encoding='utf-8')}\nNEW = True\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-B", "-c", (
        "from wan2gp_svi.wangp import svi\nimport sys\nprint([svi('none', 3) for _ in 'ab'])\n"
        "from wan2gp_svi.wangp import hooks, svi as new\n"
        "print(sys.modules['wan2gp_svi'].__version__, hooks.NEW, new is svi)")],
        cwd=there, capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines()[-1] == "9.9.1 True False", done.stdout + done.stderr


def test_plugin_info_is_that_of_this_release():
    info = json.loads((REPO / "plugin_info.json").read_text(encoding="utf-8"))
    assert info["version"] == wan2gp_svi.__version__ and info["type"] == ["app"]
    entry = re.search(r"```json\n(.*?)```", (REPO / "docs/upstream.md").read_text("utf-8"), re.S)
    listed = json.loads(entry[1])
    assert {name: listed[name] for name in info} == info
    assert listed.keys() - info.keys() == {"url"} and listed["url"].endswith(f"/{NAME}")


# --------------------------------------------------------------------------- where others put WanGP

def test_install_py_finds_the_wangp_that_it_is_a_plugin_of(wangp, tmp_path):
    folder = clone(wangp / plugin.FOLDER / NAME)
    assert locate.find(None, folder, tmp_path) == wangp.resolve()


@pytest.mark.parametrize("place", ["pinokio/api/wan.git/app", "Wan2GP"])
def test_install_py_finds_wangp_where_others_put_it(place, tmp_path, monkeypatch):
    user = tmp_path / "user"
    found = hosts.write(user / place)
    monkeypatch.setattr(Path, "home", lambda: user)
    here = tmp_path / "somewhere/else"
    here.mkdir(parents=True)
    assert locate.find(None, here, here) == found.resolve()


def test_a_folder_around_wangp_is_as_good_as_wangps(tmp_path):
    found = hosts.write(tmp_path / "Portable/Wan2GP")
    assert locate.find(str(tmp_path / "Portable"), tmp_path, tmp_path) == found.resolve()
    hosts.write(tmp_path / "Portable/Other")
    with pytest.raises(Refused, match="several WanGP folders"):
        locate.find(str(tmp_path / "Portable"), tmp_path, tmp_path)


@pytest.mark.parametrize(("wangp", "sign", "kind"), [
    ("api/wan.git/app", "api/wan.git/pinokio.js", "Pinokio"),
    ("Portable/Wan2GP", "Portable/runtime/Python311/python.exe", "a portable package"),
    ("Portable/Wan2GP", "Portable/Wan2GP/python_embeded/python.exe", "a portable package"),
    ("Wan2GP", "readme.txt", "")])
def test_the_doctor_says_what_brought_wangp(wangp, sign, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "CONTAINERS", (str(tmp_path / "container"),))
    folder = tmp_path / wangp
    folder.mkdir(parents=True)
    path = tmp_path / sign
    (path.parent / "DLLs").mkdir(parents=True)
    path.touch()
    assert locate.kind(folder).startswith(kind) and bool(locate.kind(folder)) == bool(kind)
    (tmp_path / "container").touch()
    assert locate.kind(folder).startswith(kind or "a container")
