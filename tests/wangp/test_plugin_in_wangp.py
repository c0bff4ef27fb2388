"""SVI by WanGP's own Plugins tab: installed, updated, disabled and removed with the mouse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright and chromium")

import browser  # noqa: E402
import tiny  # noqa: E402
from test_svi import write_loras  # noqa: E402

from wan2gp_svi.install.state import load  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402

if not Path(browser.CHROMIUM).exists():
    pytest.skip(f"needs chromium ({browser.CHROMIUM}, or set CHROMIUM)", allow_module_level=True)

HOME = Path(__file__).resolve().parents[2]
ADDRESS, NAME = "https://github.com/somebody/wan2gp-svi", "wan2gp-svi"
WANGPS = ("plugins_local.json", "outputs", "settings")  # its plugin manager and form write them


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", folder, *arguments],
                   check=True, capture_output=True)


class Release:
    """A repository with this distribution, at an address that WanGP accepts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self.folder = folder
        listed = subprocess.run(["git", "-C", HOME, "ls-files", "-co", "--exclude-standard", "-z"],
                                check=True, capture_output=True).stdout.decode().split("\0")
        for name in filter(None, listed):
            if (HOME / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(HOME / name, folder / name)
        tiny.shrink(folder)  # its profiles
        git(folder, "init", "-q", "-b", "main")
        self.commit("1")
        for name, value in (("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_VALUE_0", ADDRESS),
                            ("GIT_CONFIG_KEY_0", f"url.{folder.as_uri()}.insteadOf")):
            monkeypatch.setenv(name, value)

    def commit(self, message: str) -> None:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", message)

    def publish(self, version: str) -> None:
        """The next release: another version, another file, and one file less."""
        for name in ("wan2gp_svi/__init__.py", "plugin_info.json"):
            path = self.folder / name
            text = path.read_text(encoding="utf-8")
            text = re.sub(r'(version\w*\W+")[\d.]+"', rf'\g<1>{version}"', text, count=1)
            path.write_text(text, encoding="utf-8")
        (self.folder / "wan2gp_svi/news.py").write_text('"""New."""\n', encoding="utf-8")
        next((self.folder / "profiles/wan_2_2").glob("*.json")).unlink()
        self.commit(version)


class WanGP:
    """A WanGP that is started again and again with the configuration that it left."""

    def __init__(self, tree: Path, work: Path, serve, config: dict):
        self.tree, self.work, self.serve = tree, work, serve
        self.config = {"last_model_type": "t2v", "last_resolution_choice": "64x64",
                       "save_path": str(work / "outputs"), **config}
        self.before = self.files()

    def start(self, *cli: str):
        stored = self.work / "ui/config/wgp_config.json"
        if stored.is_file():
            self.config |= json.loads(stored.read_text(encoding="utf-8"))
        return self.serve(self.tree, {"config": self.config, "cli": cli})

    @property
    def log(self) -> str:
        return (self.work / "ui/log.txt").read_text(encoding="utf-8", errors="replace")

    def files(self) -> dict[str, bytes]:
        """All that is in WanGP's folder, but for its caches, the plugin and `WANGPS`."""
        found = {}
        for path in self.tree.rglob("*"):
            name = path.relative_to(self.tree).as_posix()
            if path.is_file() and "__pycache__" not in name and not name.startswith(
                    (*WANGPS, f"plugins/{NAME}/")):
                found[name] = path.read_bytes()
        return found

    def hooks(self) -> int:
        return sum((self.tree / name).read_bytes().count(b"# wan2gp_svi") for name in (
            "wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py"))

    def is_stock(self) -> None:
        now = self.files()
        changed = sorted(name for name in self.before.keys() | now.keys()
                         if self.before.get(name) != now.get(name))
        assert not changed
        assert not (self.tree / "wan2gp_svi").exists()


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).locator("visible=true").first.click()


def says(page, text: str) -> None:
    page.get_by_text(text).locator("visible=true").first.wait_for()


def ended(address: str) -> None:
    """Waits until the server has gone."""
    from trees import _answers

    for _ in range(120):
        if not _answers(address):
            return
        time.sleep(0.5)
    raise AssertionError("WanGP did not end")


def act(page, name: str, action: str) -> None:
    """Presses a button of a plugin in the Plugins tab."""
    tab(page, "Plugins")
    item = page.locator(".plugin-item", has_text=name).locator("visible=true").first
    item.get_by_role("button", name=action, exact=True).click()


@pytest.fixture
def release(tmp_path, monkeypatch):
    return Release(tmp_path / "published", monkeypatch)


@pytest.fixture
def started(wangp, tmp_path, serve_wangp):
    """config -> a WanGP without SVI whose 14B image-to-video is tiny."""
    def make(**config):
        tree = Path(shutil.copytree(wangp, tmp_path / "Wän GP (1)"))
        write_loras(tree)
        tiny.shrink(tree)
        (tree / "finetunes").mkdir(exist_ok=True)
        (tree / "finetunes/i2v.json").write_text(json.dumps({"model": {
            "name": "Image2video 480p", "architecture": "i2v", "description": "tiny",
            "URLs": ["tiny_i2v_mbf16.safetensors"],
            "text_encoder_URLs": [Path(tiny.TEXT_ENCODER_FILE).name]}, "resolution": "64x64"}),
            encoding="utf-8")
        return WanGP(tree, tmp_path, serve_wangp, config)
    return make


def test_from_a_fresh_wangp_to_a_video_an_update_and_back_with_the_mouse(
        started, release, tmp_path):
    from PIL import Image

    picture = tmp_path / "start.png"
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
    wangp = started()
    clicks = 0

    with wangp.start() as address, browser.open_page(address) as page:  # the first start
        page.wait_for_timeout(2000)
        wangp.before = wangp.files()
        page.evaluate(COUNT)
        tab(page, "Plugins")
        field = page.get_by_label("GitHub URL")
        field.click()
        page.keyboard.insert_text(ADDRESS)  # as a paste
        page.get_by_role("button", name="Download and Install from URL").click()
        says(page, "auto-enabled")
        wangp.is_stock()
        page.screenshot(path=tmp_path / "1-plugins.png")
        clicks += page.evaluate("window.clicks")
        page.get_by_role("button", name="Restart", exact=True).locator("visible=true").click()
        ended(address)
        clicks += 1

    with wangp.start() as address, browser.open_page(address) as page:  # it installs itself
        page.wait_for_timeout(2000)
        page.evaluate(COUNT)
        tab(page, "SVI")
        says(page, "SVI is installed. Restart WanGP once more")
        assert wangp.hooks() > 10 and load(wangp.tree).plugin == NAME
        page.screenshot(path=tmp_path / "2-restart.png")
        clicks += page.evaluate("window.clicks") + 1
        page.locator("#svi_restart").click()
        ended(address)

    with wangp.start() as address, browser.open_page(address) as page:  # a video
        page.wait_for_timeout(2000)
        page.evaluate(COUNT)
        tab(page, "SVI")
        assert not page.locator("#svi_plugin").count()
        page.locator("#svi_new").click()
        says(page, "The form is set for")
        with page.expect_file_chooser() as chooser:
            page.get_by_text("Click to Upload").locator("visible=true").first.click()
        chooser.value.set_files(picture)
        page.locator("#svi_line").get_by_text("A start image is needed").wait_for(state="detached")
        page.screenshot(path=tmp_path / "3-form.png")
        page.get_by_role("button", name="Generate").locator("visible=true").first.click()
        clicks += page.evaluate("window.clicks")
        store = Store(tmp_path / "outputs/svi")
        for _ in range(300):
            if any(run.done() for run in store.runs()):
                break
            page.wait_for_timeout(1000)
        run, = store.runs()
        assert run.done(), wangp.log[-3000:]
        assert clicks == 10

        release.publish("9.9.1")
        act(page, "SVI for WanGP", "Update")
        says(page, "updated. Please restart")

    with wangp.start() as address, browser.open_page(address) as page:  # the next release is there
        page.wait_for_timeout(2000)
        assert "SVI for WanGP 9.9.1 is installed" in wangp.log, wangp.log[-3000:]
        assert load(wangp.tree).release == "9.9.1" and (wangp.tree / "wan2gp_svi/news.py").is_file()
        assert len(list(wangp.tree.glob("profiles/wan_2_2/SVI*"))) == 5
        tab(page, "SVI")
        page.locator("#svi_new").wait_for()
        assert not page.locator("#svi_plugin").count()
        act(page, "SVI for WanGP", "Uninstall")
        says(page, "uninstalled. Please restart")
        assert not (wangp.tree / f"plugins/{NAME}").exists() and wangp.hooks()

    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        assert "Uninstalling SVI, because its plugin" in wangp.log, wangp.log[-3000:]
        assert not page.get_by_role("tab", name="SVI", exact=True).count()
        wangp.is_stock()


COUNT = ("window.clicks = 0; addEventListener('click', event => "
         "window.clicks += event.isTrusted, true)")
