"""Runs of strangers on WanGP's own page: they are listed, and neither run, show nor change anything
that is not theirs."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright and chromium")
pytest.importorskip("safetensors.torch", reason="needs torch and safetensors to write the runs")

import browser  # noqa: E402
from pictures import write_run  # noqa: E402
from test_svi import install  # noqa: E402
from test_tab_in_wangp import Page  # noqa: E402

from wan2gp_svi.runs.store import Store  # noqa: E402

MARKUP = "<img src=x onerror=alert(1)>"


def test_bad_runs_are_listed_beside_a_good_one_and_reach_nothing(
        wangp: Path, wangp_copy: Callable, serve_wangp: Callable, tmp_path: Path):
    tree, outputs = wangp_copy(wangp), tmp_path / "outputs"
    install(tree)
    outputs.mkdir()
    write_run(outputs, 0, "shot", 5, 3, 1, "stopped", ["a boat"])
    good, = Store(outputs / "svi").runs()
    private = Path(shutil.copy(good.video or "", tmp_path / "private.mp4"))

    def bad(name: str, change: Callable[[dict], object]) -> Path:
        folder = Path(shutil.copytree(good.folder, outputs / "svi" / name))
        record = json.loads((folder / "run.json").read_text("utf-8"))
        change(record)
        (folder / "run.json").write_text(json.dumps(record), "utf-8")
        return folder

    bad("newer", lambda record: record.update(variant="talk-2"))
    bad("still", lambda record: record.update(fps=0))
    (bad("deep", dict.copy) / "run.json").write_text("[" * 100_000)
    linked = bad("linked", dict.copy) / "start.png"
    linked.symlink_to(private)
    bad("crafted", lambda record: record.update(
        video=str(private), label=MARKUP, asked=[MARKUP], ended=MARKUP, clips=100_000))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.mp4")}

    job = {"config": {"last_model_type": "tiny_i2v", "save_path": str(outputs)}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        alerts: list[str] = []
        opened.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page = Page(opened, tmp_path / "ui")
        page.open()
        assert opened.locator("#svi_runs tbody tr").count() == 6
        for name, said in (("newer", "variant is 'talk-2'"), ("still", "fps is 0, not a number"),
                           ("deep", "it is nested too deep"),
                           ("linked", "start.png is not a file")):
            assert said in page.row(f"svi/{name}"), name
            opened.locator("#svi_runs tbody tr", has_text=f"svi/{name}").click()
        page.pick(good.name)
        opened.locator("#svi_run video").wait_for()
        page.tab("Extend")
        page.fill("more", "30000000")
        page.click("extend")
        page.says("Add 1 clip or more, and at most 1,4")

        page.pick("crafted")
        page.says("Its video is gone")
        assert opened.locator("#svi_run video").count() == 0
        page.says("Clips 1 to 200 of 100,000.")
        page.tab("Drift report")
        assert opened.locator("#svi_drift").is_disabled()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{address}/gradio_api/file={private}")
        opened.wait_for_timeout(1000)
        assert not alerts
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.mp4")} == before
    assert "Traceback" not in page.log, page.log[-4000:]
