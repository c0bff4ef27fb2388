"""SVI as a user meets it: WanGP's page in a browser, from the profile to the finished video."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright and chromium")

import browser  # noqa: E402
import poses  # noqa: E402
import sounds  # noqa: E402
import tiny  # noqa: E402
from test_svi import install, write_loras  # noqa: E402

from wan2gp_svi.runs.state import State, state  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402

if not Path(browser.CHROMIUM).exists():
    pytest.skip(f"needs chromium ({browser.CHROMIUM}, or set CHROMIUM)", allow_module_level=True)

SETTINGS = 3  # the fourth dropdown from the top: presets, settings files and profiles


@pytest.fixture
def form(wangp, tmp_path, serve_wangp):
    """The page of a WanGP with SVI and its LoRA and the tiny model chosen, and the server's log."""
    tree = Path(shutil.copytree(wangp, tmp_path / "Wän GP (1)"))
    install(tree)
    (tree / "loras/wan_i2v").mkdir(parents=True, exist_ok=True)
    tiny.write_lora(tree / "loras/wan_i2v/svi-shot.safetensors", scale=0.05)
    tiny.shrink(tree)
    job = {"config": {"last_model_type": "tiny_i2v", "last_resolution_choice": "64x64"}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        yield page, tmp_path / "ui/log.txt"


@pytest.fixture
def fresh(wangp, tmp_path, serve_wangp):
    """The page of a WanGP that opens with its own text-to-video, and whose 14B image-to-video is
    tiny; and the server's log."""
    tree = Path(shutil.copytree(wangp, tmp_path / "Wan2GP"))
    install(tree)
    write_loras(tree)
    tiny.write_i2v(tree)
    job = {"config": {"last_model_type": "t2v", "last_resolution_choice": "64x64",
                      "save_path": str(tmp_path / "outputs")}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        yield page, tmp_path / "ui/log.txt"


def apply(page, profile: str) -> None:
    browser.choose(page, browser.dropdowns(page)[SETTINGS], profile)
    page.get_by_role("button", name="Apply").locator("visible=true").first.click()
    # the profile's help pops up
    page.get_by_text("SVI-Shot: one scene without cuts").first.wait_for()


def fill(page, label: str, value: str) -> None:
    field = page.get_by_label(re.compile(label)).locator("visible=true").first
    field.fill(value)
    field.press("Tab")


def line(page, text: str | re.Pattern[str]):
    """Waits for a text in the line below the number of frames."""
    page.locator("#svi_line").get_by_text(text).first.wait_for()


def test_four_clicks_from_a_fresh_wangp_to_a_running_svi_video(fresh, tmp_path):
    page, log = fresh
    from PIL import Image

    picture = tmp_path / "start.png"
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
    page.evaluate("window.clicks = 0; addEventListener('click', event => "
                  "window.clicks += event.isTrusted, true)")
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new").click()
    page.get_by_text("The form is set for").first.wait_for()
    line(page, "SVI-Shot: 5 clips, 401 frames, 25.1 s.")
    line(page, "Add a start image")
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Click to Upload").locator("visible=true").first.click()
    chooser.value.set_files(picture)
    page.locator("#svi_line").get_by_text("Add a start image").wait_for(state="detached")
    fill(page, "Number of Inference Steps", "80")  # time to see the button change
    page.get_by_role("button", name="Generate").locator("visible=true").first.click()
    assert page.evaluate("window.clicks") == 4

    stop = page.locator("#svi_stop_here")  # beside WanGP's Abort
    stop.get_by_text("Stop after this clip").wait_for()
    page.screenshot(path=tmp_path / "stop.png", full_page=True)
    stop.click()
    page.get_by_text("stops after the current clip").first.wait_for()
    stop.get_by_text("Cancel the stop").wait_for()
    stop.wait_for(state="hidden", timeout=600_000)  # the clip ends first
    run, = Store(tmp_path / "outputs/svi").runs()
    done = run.done()
    text = log.read_text(encoding="utf-8", errors="replace")
    assert state(run, len(done)) is State.STOPPED and 1 <= len(done) < 5, text[-3000:]
    assert "[SVI] SVI-Shot (svi-shot.safetensors): 5 clips of 81 frames" in text, text[-3000:]


def test_a_talking_person_from_a_fresh_wangp(wangp, tmp_path, serve_wangp):
    from PIL import Image

    tree = Path(shutil.copytree(wangp, tmp_path / "Wan2GP"))
    install(tree)
    write_loras(tree)
    (tree / "resolutions.json").write_text(json.dumps([["64x64 (1:1)", "64x64"]]), encoding="utf-8")
    (tree / "finetunes").mkdir(exist_ok=True)
    (tree / "finetunes/multitalk.json").write_text(json.dumps({"model": {
        "name": "Multitalk 480p", "architecture": "multitalk", "description": "tiny",
        "modules": [], "URLs": ["tiny_talk_mbf16.safetensors"],
        "text_encoder_URLs": [Path(tiny.TEXT_ENCODER_FILE).name]}, "resolution": "64x64"}),
        encoding="utf-8")
    picture = tmp_path / "start.png"
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
    speech = sounds.write(tmp_path / "speech.wav", sounds.speech(120))
    job = {"config": {"last_model_type": "t2v", "last_resolution_choice": "64x64"}, "speech": True}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        page.get_by_role("tab", name="SVI", exact=True).click()
        browser.choose(page, page.locator("#svi_profile input"), "SVI-Talk - 50 Steps")
        page.locator("#svi_new").click()
        page.get_by_text("The form is set for").first.wait_for()
        line(page, "SVI-Talk needs a sound")
        with page.expect_file_chooser() as chooser:
            page.get_by_text("Click to Upload").locator("visible=true").first.click()
        chooser.value.set_files(picture)
        page.locator(".block", has_text="Voice to follow").locator("visible=true").locator(
            "input[type=file]").first.set_input_files(speech)
        line(page, "SVI-Talk: 2 clips, 161 frames, 6.4 s.")
        page.locator("#svi_line").get_by_text("needs a sound").wait_for(state="detached")
        page.screenshot(path=tmp_path / "talk.png", full_page=True)
        page.get_by_role("button", name="Generate").locator("visible=true").first.click()
        for _ in range(600):
            text = (tmp_path / "ui/log.txt").read_text(encoding="utf-8", errors="replace")
            if "[SVI] SVI-Talk" in text:
                break
            page.wait_for_timeout(200)
    assert "SVI-Talk (svi-talk.safetensors): 2 clips of 81 frames" in text, text[-3000:]
    assert "[SVI] warning" not in text, "the form is as the profile says"


def test_a_dancing_person_is_previewed_from_a_fresh_wangp(wangp, tmp_path, serve_wangp):
    from PIL import Image

    tree = Path(shutil.copytree(wangp, tmp_path / "Wan2GP"))
    install(tree)
    write_loras(tree)
    (tree / "resolutions.json").write_text(json.dumps([["64x64 (1:1)", "64x64"]]), encoding="utf-8")
    picture, path = tmp_path / "start.png", poses.write(tmp_path / "poses.mp4", 200)
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
    job = {"config": {"last_model_type": "t2v", "last_resolution_choice": "64x64"}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        def tab() -> None:
            page.get_by_role("tab", name="SVI", exact=True).click()

        def previewed(text: str, inside: str = "body") -> None:
            tab()
            page.locator("#svi_poses").click()
            page.locator(inside).get_by_text(text).locator("visible=true").first.wait_for()

        page.wait_for_timeout(2000)
        tab()
        page.get_by_role("button", name="Poses").locator("visible=true").click()
        previewed("The form is not set for SVI-Dance")
        browser.choose(page, page.locator("#svi_profile input"), "SVI-Dance - 50 Steps")
        page.locator("#svi_new").click()
        page.get_by_text("The form is set for").first.wait_for()
        line(page, "SVI-Dance needs a pose video")
        previewed("SVI-Dance needs a pose video")
        page.get_by_role("tab").first.click()
        with page.expect_file_chooser() as chooser:
            page.get_by_text("Click to Upload").locator("visible=true").first.click()
        chooser.value.set_files(picture)
        page.locator(".block", has_text="Control Video").locator("visible=true").locator(
            "input[type=file]").first.set_input_files(path)
        line(page, "SVI-Dance: 5 clips, 401 frames, 16.0 s.")
        page.locator("#svi_line").get_by_text("needs a pose video").wait_for(state="detached")
        previewed("SVI-Dance: 5 clips, 401 frames", "#svi_skeletons")
        shown = page.locator("#svi_skeletons img")
        assert shown.count() == 49, "your image with the first pose, and 48 more"
        page.screenshot(path=tmp_path / "poses.png", full_page=True)

        page.get_by_role("tab").first.click()
        browser.choose(page, page.get_by_label("Capped By").locator(
            "visible=true"), "Control Length")
        line(page, "SVI-Dance: 2 clips, 161 frames, 6.4 s.")
        line(page, "It has as many clips as the poses fill.")
        previewed("SVI-Dance: 2 clips, 161 frames, 6.4 s.", "#svi_skeletons")
        page.get_by_role("tab").first.click()
        browser.choose(page, page.get_by_label("Control Video Process").locator(
            "visible=true"),
                       "Find the poses, aligned with the image")
        previewed("WanGP has not downloaded its detector of poses yet")


def test_a_new_video_keeps_what_is_in_the_form(form):
    page, _ = form
    prompts = page.locator("label", has_text="Prompts (each").locator("textarea")
    prompts.locator("visible=true").first.fill("a boat in a storm")
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new").click()
    line(page, "SVI-Shot: 5 clips, 401 frames, 25.1 s.")
    assert browser.dropdowns(page)[2].input_value().startswith("🟦 tiny i2v")
    assert "SVI Shot Infinite LightX2V" in browser.dropdowns(page)[SETTINGS].input_value()
    assert prompts.locator("visible=true").first.input_value() == "a boat in a storm"
    browser.choose(page, browser.dropdowns(page)[SETTINGS], "SVI-Film - 50 Steps")
    page.get_by_role("button", name="Apply").locator("visible=true").first.click()
    line(page, "SVI-Film-Opt: 5 clips, 385 frames, 24.1 s.")


def test_six_clicks_to_a_running_svi_video(form, tmp_path):
    page, log = form
    shown = page.locator("#svi_line")
    assert shown.count() == 1 and not shown.is_visible(), "SVI is off and was never on"
    assert not page.locator("#svi_settings").is_visible(), "its settings are folded away"
    frames = page.get_by_label("Number of frames").locator("visible=true").first
    assert frames.get_attribute("max") == "737", "as in WanGP without SVI"
    assert "SVI Shot Infinite - 50 Steps" in browser.options(page,
                                                             browser.dropdowns(page)[SETTINGS])
    apply(page, "SVI Shot Infinite - 50 Steps")
    from PIL import Image

    line(page, "SVI-Shot: 5 clips, 401 frames, 25.1 s.")
    line(page, "Add a start image")
    generate = page.get_by_role("button", name="Generate").locator("visible=true").first
    generate.click()
    page.get_by_text("SVI: add a start image").first.wait_for()
    picture = tmp_path / "start.png"
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
    page.locator("input[type=file]").first.set_input_files(picture)
    needed = shown.get_by_text("Add a start image")
    needed.wait_for(state="detached")
    page.get_by_role("button", name="Clear", exact=True).locator("visible=true").first.click()
    needed.wait_for()  # the page hears nothing of an image that the server takes away or adds
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add", exact=True).locator("visible=true").first.click()
    chooser.value.set_files(picture)
    needed.wait_for(state="detached")
    for again in (True, False):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Add", exact=True).locator("visible=true").first.click()
        chooser.value.set_files(picture)
        if again:
            line(page, "there are 2 start images. Remove all but one")
            page.get_by_role("button", name="Clear",
                             exact=True).locator("visible=true").first.click()
            needed.wait_for()
    needed.wait_for(state="detached")
    fill(page, "Number of frames", "82")
    line(page, "Clips are whole, so 82 frames are rounded up. Set 81 for 1 clip.")
    fill(page, "Number of frames", "162")
    line(page, "SVI-Shot: 2 clips, 161 frames, 10.1 s.")
    page.locator("#svi_line").get_by_label("SVI settings").check()
    page.locator("#svi_settings").wait_for()
    places = [part.bounding_box()["y"] for part in (
        page.locator("#svi_line").get_by_label("SVI settings"), page.locator("#svi_settings"),
        page.get_by_label("Number of Inference Steps").locator("visible=true").first)]
    assert places == sorted(places), "what a tick opens is below it"
    fill(page, "ref_pad_num", "99")
    line(page, "SVI padding (ref_pad_num) is \"99\".")
    generate.click()
    fix = page.get_by_text("Set it to auto or a number from -1 to 80")
    page.get_by_text("SVI padding").and_(fix).first.wait_for()
    fill(page, "ref_pad_num", "auto")
    generate.click()
    text, progress = "", set()
    for _ in range(900):
        text = log.read_text(encoding="utf-8", errors="replace")
        if "clip 2/2 done" in text:
            break
        progress |= set(re.findall(r"Sliding Window \d/2|about [^,|]* left",
                                   page.locator("body").inner_text()))
        page.wait_for_timeout(200)
    assert "Sliding Window 1/2" in progress and any(part.startswith("about ")
                                                    for part in progress), progress
    plan = "[SVI] SVI-Shot (svi-shot.safetensors): 2 clips of 81 frames, 161 frames, 10.1 s."
    assert plan in text, text[-3000:]
    assert "[SVI] clip 2/2 done" in text
    page.locator("video").first.wait_for()
    page.screenshot(path=tmp_path / "done.png")
    line(page, "SVI-Shot: 2 clips, 161 frames, 10.1 s.")
    line(page, "a clip as in run")  # known since the run has ended
    browser.choose(page, browser.dropdowns(page)[SETTINGS], "Image2Video lightx2v - 4 Steps")
    page.get_by_role("button", name="Apply").locator("visible=true").first.click()
    line(page, "SVI is off: no SVI LoRA is active. Apply the SVI profile last.")
    page.wait_for_timeout(5000)  # WanGP fills its form, and widens the slider, at a time of its own
    for _ in range(100):
        if frames.get_attribute("max") == "737":
            break
        page.wait_for_timeout(300)
    assert frames.get_attribute("max") == "737", "as in WanGP without SVI"
    made = re.search(r"clip 2/2 done in .*?: (.*\.mp4)", text)[1]
    video = tmp_path / "Wän GP (1)" / made  # it holds its settings
    page.locator(".block", has_text="Load Settings From").locator("visible=true").locator(
        "input[type=file]").first.set_input_files(video)
    line(page, "SVI-Shot: 2 clips, 161 frames, 10.1 s.")
    with page.expect_file_chooser() as chooser:  # the video holds no image
        page.get_by_text("Click to Upload").locator("visible=true").first.click()
    chooser.value.set_files(picture)
    fill(page, "Number of frames", "243")
    line(page, re.compile("This extends run .*, which has 2 clips"))
