"""SVI by WanGP's own Plugins tab: installed, updated, disabled and removed with the mouse."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright and chromium")

import browser  # noqa: E402
import later  # noqa: E402
import published  # noqa: E402
import tiny  # noqa: E402
import trees  # noqa: E402
from published import NAME, Published, act, says, tab  # noqa: E402
from test_svi import write_loras  # noqa: E402

from wan2gp_svi.install.state import load  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402

if not Path(browser.CHROMIUM).exists():
    pytest.skip(f"needs chromium ({browser.CHROMIUM}, or set CHROMIUM)", allow_module_level=True)

#: what WanGP itself writes, and the tiny models
WANGPS = ("plugins_local.json", "outputs", "settings", "loras_url_cache_v2.json", "queue.zip",
          "ffmpeg_bins", "startup.lock", "ckpts", "models/wan/configs", "finetunes/tiny")
COUNT = ("window.clicks = 0; addEventListener('click', event => "
         "window.clicks += event.isTrusted, true)")


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


def ended(address: str) -> None:
    """Waits until the server has gone."""
    for _ in range(120):
        if not trees.answers(address):
            return
        time.sleep(0.5)
    raise AssertionError("WanGP did not end")


@pytest.fixture
def release(tmp_path):
    with Published(tmp_path / "published") as published:
        published.shrink()
        yield published


@pytest.fixture
def started(wangp, wangp_at, tmp_path, serve_wangp):
    """(config, of a version) -> a WanGP without SVI whose 14B image-to-video is tiny."""
    def make(version="", **config):
        tree = Path(shutil.copytree(wangp_at(version) if version else wangp,
                                    tmp_path / "Wän GP (1)"))
        write_loras(tree)
        tiny.write_i2v(tree)
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
        published.install(page)
        wangp.is_stock()
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
        clicks += page.evaluate("window.clicks") + 1
        page.locator("#svi_restart").click()
        ended(address)

    with wangp.start() as address, browser.open_page(address) as page:  # a video
        page.wait_for_timeout(2000)
        page.evaluate(COUNT)
        assert not page.locator("#svi_plugin").count()
        published.new_video(page, picture)
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
        assert f"[SVI] Updated SVI to 9.9.1, from plugins/{NAME}." in wangp.log, wangp.log[-3000:]
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



def test_disabled_enabled_and_in_safe_mode(started, release):
    wangp = started(enabled_plugins=[NAME])
    release.git("clone", "-q", str(release.folder), str(wangp.tree / "plugins" / NAME))

    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        tab(page, "SVI")
        says(page, "SVI is installed. Restart WanGP once more")
        act(page, "SVI for WanGP", "Disable")
        says(page, "disabled. Please restart")

    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        assert "is disabled in WanGP's Plugins tab" in wangp.log, wangp.log[-3000:]
        assert not page.get_by_role("tab", name="SVI", exact=True).count()
        wangp.is_stock()
        act(page, "SVI for WanGP", "Enable")
        says(page, "enabled. Please restart")

    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        tab(page, "SVI")
        says(page, "SVI is installed. Restart WanGP once more")

    (wangp.tree / "startup.lock").touch()  # as a start that failed leaves it
    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        assert "ENTERING SAFE MODE" in wangp.log and "[SVI] SVI is off" not in wangp.log
        assert not page.get_by_role("tab", name="SVI", exact=True).count()
        assert wangp.hooks() > 10 and load(wangp.tree).plugin == NAME


@pytest.mark.parametrize("version", ["9.91", "10.80", "11.30", "17.10"])
def test_other_versions_of_wangp(version, started, release):
    """Their Plugins tabs differ, but not what they leave: a folder, and its name as enabled."""
    wangp = started(version, enabled_plugins=[NAME])
    folder = wangp.tree / "plugins" / NAME
    release.git("clone", "-q", str(release.folder), str(folder))
    (folder / "__init__.py").touch()  # as WanGP does

    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        tab(page, "SVI")
        says(page, "SVI is installed. Restart WanGP once more")
        assert bool(page.locator("#svi_restart").count()) is (version in later.LATER)

    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        assert "[SVI] SVI is off" not in wangp.log, wangp.log[-3000:]
        if version == "9.91":
            assert "WanGP before 10.52 cannot show the SVI tab" in wangp.log
        else:
            tab(page, "SVI")
            page.locator("#svi_new").wait_for()

    shutil.rmtree(folder)
    with wangp.start() as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        assert "Uninstalling SVI, because its plugin" in wangp.log, wangp.log[-3000:]
        assert not page.get_by_role("tab", name="SVI", exact=True).count()
        assert not wangp.hooks() and not (wangp.tree / "wan2gp_svi").exists()
