"""The tab "SVI" in WanGP's own page: it resumes a run that was killed, and all else it can do."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright and chromium")
pytest.importorskip("safetensors.torch", reason="needs torch and safetensors to read the runs")

import browser  # noqa: E402
import numpy as np  # noqa: E402
import sounds  # noqa: E402
import tiny  # noqa: E402
from pictures import write_run  # noqa: E402
from test_endless import SHOT, broken_off  # noqa: E402
from test_svi import install, task, write_loras  # noqa: E402

from wan2gp_svi.runs.state import State  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402
from wan2gp_svi.wangp import sound, visitors  # noqa: E402

if not Path(browser.CHROMIUM).exists():
    pytest.skip(f"needs chromium ({browser.CHROMIUM}, or set CHROMIUM)", allow_module_level=True)


class Page:
    """WanGP's page with what a person does in it."""

    def __init__(self, page, work: Path):
        self.page, self.work = page, work
        page.set_default_timeout(60_000)

    @property
    def log(self) -> str:
        return (self.work / "log.txt").read_text(encoding="utf-8", errors="replace")

    def open(self) -> None:
        self.page.wait_for_timeout(2000)
        self.page.get_by_role("tab", name="SVI", exact=True).click()
        self.page.locator("#svi_runs tbody tr").first.wait_for()

    def pick(self, name: str) -> None:
        self.page.locator("#svi_runs tbody tr", has_text=name).click()
        self.says(f"Run {name}")

    def row(self, name: str) -> str:
        return self.page.locator("#svi_runs tbody tr", has_text=name).inner_text()

    def row_says(self, name: str, text: str) -> None:
        """Waits for it; nobody clicks on Refresh."""
        row = self.page.locator("#svi_runs tbody tr", has_text=name)
        row.filter(has_text=text).wait_for()

    def entered(self, text: str) -> int:
        """How many fields hold this text, outside of the SVI tab."""
        return self.page.evaluate(
            "text => [...document.querySelectorAll('input, textarea')].filter(field =>"
            " field.value.includes(text) && !field.closest('#svi_run, #svi_names')).length", text)

    def click(self, id: str) -> None:
        self.page.locator(f"#svi_{id}").click()

    def unfold(self, name: str) -> None:
        self.page.get_by_role("button",
                              name=re.compile(f"^{name}")).locator("visible=true").first.click()

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).locator("visible=true").click()

    def fill(self, id: str, value: str) -> None:
        field = self.page.locator(f"#svi_{id} textarea, #svi_{id} input").first
        field.fill(value)
        field.press("Tab")

    def add_victim(self, name: str) -> None:
        """Adds a run to those that are to be removed."""
        self.page.locator("#svi_victims input").click()
        self.page.locator("ul[role=listbox] li", has_text=name).dispatch_event("mousedown")
        self.page.locator("#svi_victims").get_by_text(name).first.wait_for()

    def says(self, text: str | re.Pattern[str]) -> None:
        self.page.get_by_text(text).locator("visible=true").first.wait_for()

    def generate(self, name: str) -> None:
        """Before v11, WanGP takes jobs from its form only."""
        self.says("The settings are in the form")
        self.page.locator("#svi_line").get_by_text(f"This continues run {name}").wait_for()
        self.page.get_by_role("button", name="Generate",
                              exact=True).locator("visible=true").first.click()

    def logs(self, until: str, seconds: int = 180) -> None:
        for _ in range(seconds):
            if until in self.log:
                return
            self.page.wait_for_timeout(1000)
        raise AssertionError(self.log[-3000:])


@pytest.fixture
def killed(tmp_path: Path, wangp_at: Callable, wangp_copy: Callable) -> Callable:
    """(version, clips) -> a WanGP with SVI, its work folder, and a run with 2 clips on disk."""
    def make(version: str, clips: int):
        tree, work = wangp_copy(wangp_at(version)), tmp_path / "ui"
        install(tree)
        write_loras(tree)
        tiny.shrink(tree)
        broken_off(tree, work, {"level": "process", "settings": task(SHOT, clips)},
                   f"clip 3/{clips}")
        run, = Store(work / "outputs/svi").runs()
        return tree, work, run
    return make


@pytest.mark.parametrize("version", ["10.80", "12.60"])
def test_a_killed_run_is_resumed_and_no_file_of_the_users_names_the_tab(
        version, killed, serve_wangp):
    tree, work, run = killed(version, 4)
    job = {"config": {"last_model_type": "tiny_i2v", "last_resolution_choice": "64x64",
                      "save_path": str(work / "outputs")}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        page = Page(opened, work)
        page.open()
        for said in ("SVI-Shot", "failed", "2 of 4 clips, 10.0 s"):
            assert said in page.row(run.name)
        page.pick(run.name)
        opened.locator("#svi_run video").wait_for()
        page.click("resume")
        if version == "10.80":
            page.generate(run.name)
        else:
            page.says(f"WanGP's next job is to resume run {run.name} at clip 3 of 4")
        page.logs(until="clip 4/4 done")
        assert f"resuming run {run.name}, from clip 3 of 4" in page.log
        assert page.entered(run.name) == (1 if version == "10.80" else 0)
        page.open()
        page.row_says(run.name, "finished")
        assert "4 of 4 clips, 20.1 s" in page.row(run.name)
        page.says("Finished.")
        assert opened.locator("#svi_resume").is_disabled()
    again, = Store(work / "outputs/svi").runs()
    assert len(again.done()) == 4 and again.name == run.name
    config = json.loads((work / "config/wgp_config.json").read_text(encoding="utf-8"))
    assert "svi" not in json.dumps(config.get("enabled_plugins", [])).lower()
    assert not [path for path in (tree / "plugins").iterdir() if "svi" in path.name.lower()]


def test_all_that_the_tab_can_do(killed, serve_wangp):
    tree, work, run = killed("12.60", 9)
    job = {"config": {"last_model_type": "tiny_i2v22", "last_resolution_choice": "64x64",
                      # another model is chosen
                      "save_path": str(work / "outputs")}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        page, errors = Page(opened, work), []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        page.open()
        page.pick(run.name)

        page.says("Resume it at clip 3 of 9, extend it, or redo it from a clip.")
        page.tab("Redo")
        page.says("Clip 3 gets the seed ")
        page.fill("clip", "2")
        page.fill("seed", "99")
        page.says("Clip 2 gets the seed 141: 99, and 42 more for each clip before it.")
        page.fill("prompt", "a storm")
        opened.locator("#svi_runs tbody tr", has_text=run.name).click()
        opened.wait_for_function(
            "['seed', 'prompt'].every(one => !document.querySelector("
            "`#svi_${one} textarea, #svi_${one} input`).value)")
        page.click("redo")  # neither prompt nor seed
        page.says("Enter a new prompt or a new seed, or both")
        page.fill("clip", "8")
        page.fill("seed", "7")
        page.click("redo")
        page.says(f"Run {run.name} has 2 finished clips of 9, so it can be redone from clip 2 to "
                  "3.")
        assert not (run.folder / "redo-8.json").exists()

        page.tab("Drift report")
        page.click("drift")
        opened.locator("img[alt='drift report']").wait_for()
        report = opened.locator("img[alt='drift report']")
        assert report.evaluate("image => image.decode().then(() => 1)") == 1
        assert Path(run.about.video).with_suffix(".drift.png").is_file()

        page.unfold("Doctor")
        text = "document.querySelector('#svi_doctor textarea')?.value"
        opened.wait_for_function(f"{text}.includes('WanGP:')")
        said = opened.locator("#svi_doctor textarea").input_value()
        assert "SVI for WanGP: " in said and "version 12.60" in said
        page.unfold("LoRA files")
        page.says("svi-film-opt-10212025.safetensors")
        page.click("download")
        page.says(re.compile(r"could not be downloaded|is complete|not \d+: delete or rename"))
        opened.screenshot(path=work / "tab.png", full_page=True)

        page.tab("Redo")
        page.fill("clip", "2")
        page.fill("prompt", "a storm")
        page.fill("seed", "99")
        page.click("redo")
        page.says(f"WanGP's next job is to redo run {run.name} from clip 2 of 9")
        page.logs(until="clip 2/9")
        page.open()
        opened.locator("#svi_runs tbody tr", has_text="running: clip").wait_for()
        new = next(one for one in Store(work / "outputs/svi").runs() if one.name != run.name)
        page.pick(new.name)
        page.tab("Remove")
        page.click("remove")
        page.says(f"Run {new.name} is running. Stop it, or wait until it is finished.")
        assert not opened.locator("#svi_yes").is_visible()
        for id, *data in (("refresh", *[None] * 3), ("runs", 0, new.name, None),
                          ("yes", None, None, [new.name])):
            answer = browser.send(address, "another", f"svi_{id}", "click", *data)
        assert "is running. Stop it" in json.dumps(answer["log"]) and new.folder.is_dir()
        page.tab("Resume")
        page.click("stop")
        page.says(f"Run {new.name} stops after the current clip")
        page.row_says(new.name, "stopped")
        page.says("Stopped.")
        assert (opened.locator("#svi_resume").is_enabled()
                and opened.locator("#svi_stop").is_disabled())
        assert ([clip.seed for clip in new.done()][1] == 99 + 42
                and new.done()[1].prompt == "a storm")

        page.pick(run.name)
        page.tab("Details")
        assert opened.locator("#svi_open").is_visible()
        page.fill("label", "the storm")
        page.click("rename")
        page.row_says(run.name, "the storm")
        page.click("stage")
        opened.locator("#svi_desk_note").get_by_text(f"Run {run.name}: 9 clips").wait_for()
        page.tab("Remove")
        page.add_victim(new.name)
        page.click("remove")
        page.says("Remove the clips of 2 runs for good (")
        Store(work / "outputs/svi").remove(new)  # as another page does
        page.click("yes")
        page.says("Removed 1 run, which frees")
        page.says(f"Run {new.name} is gone")
        assert not run.folder.exists() and Path(run.about.video).is_file()
        opened.locator("#svi_runs").wait_for(state="hidden")
        opened.locator("#svi_desk_note").get_by_text(f"Run {run.name} is gone").wait_for()
        assert not errors, errors
    assert "Traceback" not in page.log, page.log[-4000:]


def test_a_run_that_stops_for_a_look_is_shown_and_what_has_no_clip_says_what_to_do(
        killed, serve_wangp):
    tree, work, run = killed("12.60", 4)
    custom = {**(run.about.settings.get("custom_settings") or {}),
              "svi_storyboard": "[all]\npause = yes\n"}
    run.change(replace(run.about, settings={**run.about.settings, "custom_settings": custom}))
    store = Store(work / "outputs/svi")
    empty = store.new(replace(run.about, settings={}, ended=State.STOPPED), {})
    job = {"config": {"last_model_type": "tiny_i2v", "last_resolution_choice": "64x64",
                      "save_path": str(work / "outputs")}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        page = Page(opened, work)
        page.open()
        page.pick(empty.name)
        page.says("again with its settings, and it begins again")
        for id in ("resume", "stop"):
            assert opened.locator(f"#svi_{id}").is_disabled()
        page.pick(run.name)
        page.click("resume")
        page.says(f"WanGP's next job is to resume run {run.name} at clip 3 of 4")
        page.open()
        page.logs(until="stopped after clip 3")
        opened.locator("#svi_run h3").get_by_text(f"Run {run.name}").wait_for()
        page.says("Resume it at clip 4 of 4, extend it, or redo it from a clip.")
        page.pick(empty.name)
        page.tab("Remove")
        assert not opened.locator("#svi_no_clip").is_visible(), "it is chosen already"
        page.pick(run.name)
        opened.locator("#svi_no_clip").get_by_text("Add 1 run without a clip").wait_for()
        page.click("no_clip")
        opened.locator("#svi_no_clip").wait_for(state="hidden")
        opened.screenshot(path=work / "looked.png", full_page=True)
    assert "Traceback" not in page.log, page.log[-4000:]


def test_a_name_is_shown_as_it_was_typed(wangp, wangp_copy, serve_wangp, tmp_path):
    tree, outputs = wangp_copy(wangp), tmp_path / "outputs"
    install(tree)
    outputs.mkdir()
    for number in range(2):
        write_run(outputs, number, "shot", 5, 3, 1, State.STOPPED, ["a boat"])
    run, other = Store(outputs / "svi").runs()
    named = "a &amp; b <b>c</b> *x* _y_ $$z$$ ~~w~~ `q` [l](m) &lt;"
    job = {"config": {"last_model_type": "tiny_i2v", "save_path": str(outputs)}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        page = Page(opened, tmp_path / "ui")
        page.open()
        page.pick(run.name)
        page.tab("Details")
        page.fill("label", named)
        page.click("rename")
        page.row_says(run.name, named)
        heading = opened.locator("#svi_run h3")
        heading.filter(has_text=f"{named}: run {run.name}").wait_for()
        page.tab("Redo")
        page.fill("seed", "<b>7</b> &amp;")
        page.click("redo")
        page.says('must be a whole number, not "<b>7</b> &amp;"')
        page.tab("Remove")
        chosen = opened.locator("#svi_victims .token")
        chosen.filter(has_text=f"{run.name}, {named}").wait_for()
        page.add_victim(other.name)
        opened.locator("#svi_victims input").click()
        opened.screenshot(path=tmp_path / "named.png", full_page=True)
        assert chosen.count() == 2
        write_run(outputs, 2, "shot", 5, 3, 1, State.STOPPED, ["a ship"])  # another program's
        newest = next(Store(outputs / "svi").runs())
        page.row_says(newest.name, "a ship")
        release = newest.lock()
        page.row_says(newest.name, "running")
        release()
        page.row_says(newest.name, "stopped")
    assert "Traceback" not in page.log, page.log[-4000:]


@pytest.mark.parametrize("trusted", [False, True])
def test_visitors_of_a_shared_page_destroy_and_cost_nothing_unless_the_user_allows_it(
        trusted, wangp, wangp_copy, serve_wangp, tmp_path, monkeypatch):
    tree, outputs = wangp_copy(wangp), tmp_path / "outputs"
    install(tree)
    outputs.mkdir()
    write_run(outputs, 0, "shot", 5, 3, 1, State.STOPPED, ["a boat"])
    run, = Store(outputs / "svi").runs()
    (monkeypatch.setenv if trusted else monkeypatch.delenv)(
        visitors.TRUST, *(["1"] if trusted else [False]))
    job = {"config": {"last_model_type": "tiny_i2v", "save_path": str(outputs)},
           "cli": ["--listen"]}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        page = Page(opened, tmp_path / "ui")
        page.open()
        assert opened.get_by_text(visitors.OFF).is_visible() != trusted
        page.pick(run.name)
        page.tab("Details")
        opened.locator("#svi_label").wait_for()
        assert opened.locator("#svi_folder").is_visible() == trusted
        assert not opened.locator("#svi_open").is_visible(), "it would open on another computer"
        page.tab("Remove")
        page.unfold("LoRA files")
        page.unfold("Doctor")
        page.says("Self-test")
        for id in ("remove", "download", "selftest", "examine"):
            button = opened.locator(f"#svi_{id}")
            button.wait_for()
            assert button.is_enabled() == trusted, id
        opened.screenshot(path=tmp_path / "shared.png", full_page=True)

        def send(id: str, *data: object, event: str = "click") -> dict:
            return browser.send(address, "visitor", f"svi_{id}", event, *data)

        send("refresh", None, None, None)  # so that the server knows the runs of this visitor
        shown = send("runs", 0, run.name, None)
        assert run.name in json.dumps(shown)
        assert (str(run.folder) in json.dumps(shown["output"])) == trusted
        stale = browser.send(address, "another", "svi_runs", "click", 0, None, None)
        assert "This page is out of date" in json.dumps(stale["log"])
        examined = json.dumps(send("examine"))
        assert ("WanGP:" in examined) == trusted
        if not trusted:
            for answer in (send("download", "shot"), send("selftest")):
                assert visitors.OFF in answer["log"], answer
        assert "opens no folder on this one" in json.dumps(send("open", None)["log"])
        removed = send("yes", None, None, [run.name])
        assert (visitors.OFF in removed["log"]) != trusted, removed
        assert run.folder.exists() != trusted
    assert "Traceback" not in page.log, page.log[-4000:]


def test_a_run_that_speaks_is_extended_by_a_longer_sound(
        wangp, wangp_copy, serve_wangp, tmp_path):
    tree, outputs = wangp_copy(wangp), tmp_path / "outputs"
    install(tree)
    outputs.mkdir()
    write_run(outputs, 0, "shot", 5, 3, 1, State.STOPPED, ["a boat"])
    boat, = Store(outputs / "svi").runs()
    write_run(outputs, 1, "talk", 5, 2, 2, State.FINISHED, ["a person is talking"])
    run = next(one for one in Store(outputs / "svi").runs() if one.name != boat.name)
    short = sounds.write(tmp_path / "short.wav", sounds.speech(150))
    longer = sounds.write(tmp_path / "longer.wav", np.concatenate(
        [sounds.speech(150), sounds.speech(150, seed=4)]))
    run.change(replace(run.about, sound=list(sound.find(short).heard), settings={
        **run.about.settings, "model_type": "multitalk", "audio_prompt_type": "A"}))
    job = {"config": {"last_model_type": "tiny_i2v", "save_path": str(outputs)}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as opened:
        page = Page(opened, tmp_path / "ui")
        page.open()
        page.pick(boat.name)
        page.tab("Extend")
        opened.locator("#svi_more").wait_for()
        assert not opened.locator("#svi_sound").is_visible()
        page.pick(run.name)
        opened.locator("#svi_sound").wait_for()
        assert not opened.locator("#svi_more, #svi_prompts").locator("visible=true").count()
        page.click("extend")
        page.says("To extend it, add a longer one first.")
        opened.locator("#svi_sound input[type=file]").set_input_files(longer)
        opened.locator("#svi_sound").get_by_text("longer.wav").or_(
            opened.locator("#svi_sound audio")).first.wait_for(state="attached")
        page.click("extend")
        page.says(f"WanGP's next job is to extend run {run.name} to 4 clips, redoing it from "
                  "clip 2")


def test_the_button_runs_the_self_test_and_shows_how_far_it_is(wangp, serve_wangp, tmp_path):
    tree = Path(shutil.copytree(wangp, tmp_path / "Wan2GP"))
    install(tree)
    with serve_wangp(tree) as address, browser.open_page(address) as opened:
        page = Page(opened, tmp_path / "ui")
        opened.wait_for_timeout(2000)
        opened.get_by_role("tab", name="SVI", exact=True).click()
        page.unfold("Doctor")
        page.click("selftest")
        shown = "document.querySelector('#svi_selftest_says textarea')?.value"
        opened.wait_for_function(f"{shown}?.includes('starting WanGP')")
        opened.wait_for_function(f"{shown}?.includes('checks passed on WanGP')", timeout=300_000)
        said = opened.locator("#svi_selftest_says textarea").input_value()
        assert "clips] SVI-Shot" in said and "SVI works here." in said and "✓" in said
        opened.screenshot(path=tmp_path / "selftest.png", full_page=True)
    assert "Traceback" not in page.log, page.log[-4000:]
