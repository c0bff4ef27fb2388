"""The storyboard in WanGP's own page: one sitting at the director's desk, in Chromium."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright and chromium")
pytest.importorskip("safetensors.torch", reason="needs torch and safetensors to read the runs")

import browser  # noqa: E402
import numpy as np  # noqa: E402
import tiny  # noqa: E402
from PIL import Image  # noqa: E402
from test_svi import PROFILES, install, write_loras  # noqa: E402
from test_tab_in_wangp import Page  # noqa: E402
from test_ui import fill, fresh, line  # noqa: E402, F401

from wan2gp_svi.runs.store import Store  # noqa: E402
from wan2gp_svi.wangp import resuming  # noqa: E402

STORY = "a kite rises\n\nit dives\n\nit lands"


def image(path: Path, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


def new_storyboard(page, work):
    """Opens one -> the page, and what finds a text above its cards."""
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new_storyboard").click()
    says = page.locator("#svi_desk_note").get_by_text
    says("SVI-Shot: 5 clips").wait_for()
    return Page(page, work), says


@pytest.fixture
def form(wangp, tmp_path, serve_wangp):
    """WanGP's page with the tiny model and all LoRAs, and its work folder."""
    tree = Path(shutil.copytree(wangp, tmp_path / "Wän GP (1)"))
    install(tree)
    write_loras(tree)
    tiny.shrink(tree)
    job = {"config": {"last_model_type": "tiny_i2v", "last_resolution_choice": "64x64",
                      "save_path": str(tmp_path / "outputs")}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        yield page, tmp_path / "ui"


def test_a_new_storyboard_on_a_fresh_page_says_nothing_false(fresh):  # noqa: F811
    page, _ = fresh
    page.evaluate("""() => {window.notes = new Set(); setInterval(() => {
        const note = document.getElementById("svi_desk_note");
        if (note?.checkVisibility()) notes.add(note.innerText)}, 20)}""")
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new_storyboard").click()
    page.locator("#svi_desk_note").get_by_text("SVI-Shot: 5 clips").wait_for()
    notes = page.evaluate("[...notes].join(' | ')")
    assert "Loading" in notes and "no SVI settings" not in notes, notes


def test_one_sitting_at_the_directors_desk(form, tmp_path):
    """Three prompts over nine clips with two references, a stronger LoRA in clip 4, a loop; then
    clip 6 once more after a look."""
    page, work = form
    at = Page(page, work)
    tab = page.get_by_role("tab", name="SVI", exact=True)
    tab.click()
    page.locator("#svi_new_storyboard").click()
    says = page.locator("#svi_desk_note").get_by_text
    says("SVI-Shot: 5 clips, 401 frames, 25.1 s.").wait_for()
    says("Add a start image").wait_for()
    start = page.locator("#svi_start_image")
    start.locator("input[type=file]").set_input_files(image(tmp_path / "start.png", 0))
    says("Add a start image").wait_for(state="detached")
    start.locator("img").wait_for()

    at.fill("row_count", "9")
    says("SVI-Shot: 9 clips, 721 frames, 45.1 s.").wait_for()
    at.unfold("Paste paragraphs")
    page.locator("#svi_story textarea").fill(STORY)
    at.click("share")
    cards = page.locator("#svi_cards tbody tr")
    cards.nth(8).get_by_text("it lands").wait_for()
    assert "a kite rises" in cards.nth(2).inner_text() and "it dives" in cards.nth(5).inner_text()
    for clip, seed in ((2, 1), (7, 2)):
        cards.nth(clip - 1).click()
        page.get_by_text(f"Clip {clip} of 9").wait_for()
        page.locator("#svi_row_reference input[type=file]").set_input_files(
            image(tmp_path / f"{seed}.png", seed))
        cards.nth(clip - 1).locator("img").wait_for()
    cards.nth(3).click()
    page.get_by_text("Clip 4 of 9").wait_for()
    at.fill("row_svi_strength", "much")
    page.locator("#svi_row_fault").get_by_text("Set it to a number from 0 to 3").wait_for()
    at.fill("row_svi_strength", "1.5")
    cards.nth(3).get_by_text("SVI strength 1.5").wait_for()
    cards.nth(8).click()
    page.get_by_text("Clip 9 of 9").wait_for()
    page.locator("#svi_row_loop input").check()
    cards.nth(8).get_by_text("end image: loop").wait_for()
    says("SVI-Shot: 9 clips, 720 frames, 45.0 s.").wait_for()
    at.click("row_copy")
    says("clip 9 cannot close the loop").wait_for()
    cards.nth(8).click()
    page.get_by_text("Clip 9 of 10").wait_for()
    page.locator("#svi_row_loop input").uncheck()  # the copy has it
    says("SVI-Shot: 10 clips, 800 frames, 50.0 s.").wait_for()
    at.click("row_remove")
    says("SVI-Shot: 9 clips, 720 frames, 45.0 s.").wait_for()
    page.screenshot(path=work / "desk.png", full_page=True)
    at.click("generate")
    at.logs(until="clip 9/9 done", seconds=600)

    store = Store(tmp_path / "outputs/svi")
    run, = store.runs()
    first = Image.open(run.folder / "reference.png").convert("RGB")
    assert np.array_equal(first, Image.open(tmp_path / "start.png"))
    board = resuming.storyboard_of(run)
    assert [board.row(clip).prompt for clip in (0, 3, 6)] == ["a kite rises", "it dives",
                                                             "it lands"]
    assert board.row(3).svi_strength == 1.5 and board.row(8).end_image == "loop"
    assert Path(board.row(1).reference).parent == run.folder
    at.row_says(run.name, "9 of 9 clips")  # nobody clicks on Refresh
    at.pick(run.name)
    page.set_viewport_size({"width": 1366, "height": 768})
    at.click("stage")
    says(f"Run {run.name}: 9 clips").wait_for()
    page.wait_for_function("""() => {const top = document.getElementById("svi_desk_note")
                           .getBoundingClientRect().top; return top >= 0 && top < 300}""")
    page.set_viewport_size({"width": 1500, "height": 1400})
    cards.nth(5).locator("img").wait_for()
    cards.nth(5).click()
    page.get_by_text("Clip 6 of 9").wait_for()
    at.fill("row_prompt", "it loops the loop")
    says(f"Redo run {run.name} from clip 6 of 9").wait_for()
    page.locator("#svi_remake").get_by_text("Redo from clip 6").wait_for()
    page.screenshot(path=work / "redo.png", full_page=True)
    at.click("remake")
    at.says(f"WanGP's next job is to redo run {run.name} from clip 6 of 9")
    at.logs(until="clip 6/9 done")
    for _ in range(300):
        if at.log.count("clip 9/9 done") == 2:
            break
        page.wait_for_timeout(1000)
    newest = next(store.runs())
    at.row_says(newest.name, "9 of 9 clips")
    assert tab.get_attribute("aria-selected") == "true", "the tab was left"
    assert newest.name != run.name and newest.done()[:5] == run.done()[:5]
    assert newest.done()[5].prompt == "it loops the loop" and len(newest.done()) == 9
    assert "Traceback" not in at.log, at.log[at.log.index("Traceback"):][:4000]


def test_the_desk_judges_the_start_image_as_generate_does(form, tmp_path):
    page, _ = form
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new_storyboard").click()
    says = page.locator("#svi_desk_note").get_by_text
    start = page.locator("#svi_start_image")

    def start_with(path: Path) -> None:
        start.locator("input[type=file]").set_input_files(path)
        start.locator("img").wait_for()

    says("Add a start image").wait_for()
    black = tmp_path / "black.png"
    Image.new("RGB", (64, 64)).save(black)
    start_with(black)
    page.wait_for_timeout(6000)  # whatever is still on its way
    says("that is not black").wait_for()
    start.get_by_role("button", name="Remove").or_(start.get_by_label("Clear")).first.click()
    start_with(image(tmp_path / "start.png", 0))
    says("Add a start image").wait_for(state="detached")


def test_what_cannot_be_is_said_where_it_is_and_nothing_typed_is_lost(form, tmp_path):
    page, work = form
    at, says = new_storyboard(page, work)
    cards, count = page.locator("#svi_cards tbody tr"), page.locator("#svi_row_count textarea, "
                                                                    "#svi_row_count input").first
    page.locator("#svi_start_image input[type=file]").set_input_files(
        image(tmp_path / "start.png", 0))
    says("Add a start image").wait_for(state="detached")

    def refused(click, said: str) -> None:
        click()
        toast = page.get_by_test_id("toast-body")
        toast.filter(has_text=said).wait_for()
        page.get_by_test_id("toast-close").first.click()
        toast.wait_for(state="detached")

    page.wait_for_timeout(1000)
    for toast in page.get_by_test_id("toast-close").all():
        toast.click()
    at.fill("row_svi_strength", "-1")
    page.locator("#svi_row_fault").get_by_text("SVI strength in clip 1 cannot be \"-1\"").wait_for()
    page.screenshot(path=work / "fault.png", full_page=True)
    for click in (cards.nth(2).click, page.locator("#svi_generate").click,
                  page.locator("#svi_row_add").click):
        refused(click, "SVI strength in clip 1 cannot be \"-1\". Set it to a number from 0 to 3.")
    page.get_by_text("Clip 1 of 5").wait_for()
    at.fill("row_svi_strength", "1.5")
    cards.nth(0).get_by_text("SVI strength 1.5").wait_for()
    for wrong, said in (("0", "A video has 1 to 1,500 clips, not 0."), ("abc", 'not "abc"'),
                        ("1501", "A video has 1 to 1,500 clips, not 1,501.")):
        refused(lambda wrong=wrong: at.fill("row_count", wrong), said)
        assert count.input_value() == "5"

    cards.nth(4).click()
    page.get_by_text("Clip 5 of 5").wait_for()
    at.fill("row_prompt", "it lands")
    page.locator("#svi_row_reference input[type=file]").set_input_files(
        image(tmp_path / "Mein Strand.png", 3))
    cards.nth(4).get_by_text("reference: Mein Strand.png").wait_for()
    at.fill("row_count", "3")
    drop = page.locator("#svi_row_drop")
    drop.get_by_text("Remove 1 row beyond clip 3").wait_for()
    says("clip 5 is not in this video").wait_for()
    page.screenshot(path=work / "beyond.png", full_page=True)
    at.fill("row_count", "5")
    drop.wait_for(state="hidden")
    cards.nth(4).get_by_text("it lands").wait_for()
    at.fill("row_count", "3")
    drop.click()
    drop.wait_for(state="hidden")
    says("SVI-Shot: 3 clips").wait_for()
    assert cards.count() == 3
    cards.nth(1).click()
    page.get_by_text("Clip 2 of 3").wait_for()
    at.fill("row_seed", "5")
    cards.nth(1).get_by_text("seed 5").wait_for()
    at.click("row_copy")
    says("SVI-Shot: 4 clips").wait_for()
    assert page.locator("#svi_row_seed textarea, #svi_row_seed input").first.input_value() == ""
    at.fill("row_seed", "5")
    says("Clips 2 and 3 have the same seed, 5, so they start from the same noise.").wait_for()

    browser.choose(page, page.locator("#svi_profile input"), "SVI-Film - 50 Steps")
    page.locator("#svi_new_storyboard").click()
    at.says("The storyboard is empty now. To fill it again, open \"Storyboard\" in the tab SVI")
    says("SVI-Film-Opt: 5 clips").wait_for()
    assert cards.get_by_text("seed 5").count() == 0
    page.screenshot(path=work / "emptied.png", full_page=True)
    at.click("row_back")
    says("SVI-Film-Opt: 4 clips").wait_for()
    says("Clips 2 and 3 have the same seed, 5").wait_for()
    page.locator("#svi_row_back").wait_for(state="hidden")
    assert cards.get_by_text("seed 5").count() == 2 and cards.count() == 4
    assert "Traceback" not in at.log, at.log[at.log.index("Traceback"):][:4000]


def test_settings_that_are_loaded_over_a_storyboard_lose_none(form, tmp_path):
    """Also one that was typed into the form itself, which the tab has not seen."""
    page, work = form
    at, says = new_storyboard(page, work)
    at.fill("row_count", "3")
    says("SVI-Shot: 3 clips").wait_for()
    at.fill("row_prompt", "a kite rises")
    page.locator("#svi_cards").get_by_text("a kite rises").wait_for()
    page.get_by_role("tab", name="Media Generator").first.click()
    line(page, "3 clips")
    page.locator("#svi_line").get_by_label("SVI settings").check()
    fill(page, "SVI storyboard", "[2]\nprompt = it dives")
    page.wait_for_timeout(1500)
    profile, = (path for path in PROFILES if path.stem == "SVI Shot Infinite LightX2V - 4 Steps")
    settings = json.loads(profile.read_text(encoding="utf-8")) | {
        "model_type": "tiny_i2v", "video_length": 405,
        "custom_settings": {"svi_storyboard": "[all]\npause = yes"}}
    file = tmp_path / "paused.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Drop File Here").locator("visible=true").first.click()
    chooser.value.set_files(file)
    line(page, "It stops after every clip")
    page.get_by_role("tab", name="SVI", exact=True).click()
    says("It stops after every clip").wait_for()
    page.screenshot(path=work / "loaded.png", full_page=True)
    at.click("row_back")
    says("SVI-Shot: 3 clips").wait_for()
    page.locator("#svi_cards").get_by_text("it dives").wait_for()
    at.click("row_back")
    says("It stops after every clip").wait_for()
    says("SVI-Shot: 5 clips").wait_for()
    assert "Traceback" not in at.log, at.log[at.log.index("Traceback"):][:4000]


SLOW = """() => {const fetched = window.fetch; window.fetch = async (...given) => {
    if (String(given[0].url ?? given[0]).includes("queue/join"))
        await new Promise(done => setTimeout(done, 700));
    return fetched(...given)}}"""


def test_what_is_typed_stays_with_its_clip_however_late_answers_come(form, tmp_path):
    page, work = form
    at = Page(page, work)
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new").click()
    line(page, "SVI-Shot: 5 clips")
    page.get_by_role("tab", name="SVI", exact=True).click()
    at.unfold("Storyboard")
    cards, prompt = page.locator("#svi_cards tbody tr"), page.locator("#svi_row_prompt textarea")
    cards.nth(2).locator("button").press("Enter")  # without a mouse
    page.get_by_text("Clip 3 of 5").wait_for()
    (tmp_path / "no image.png").write_text("no image", encoding="utf-8")
    for box in ("start_image", "row_end_image"):
        page.locator(f"#svi_{box} input[type=file]").set_input_files(tmp_path / "no image.png")
        at.says("The image was not added. Add one that can be read")
        page.locator(f"#svi_{box} img").wait_for(state="detached")
        page.get_by_test_id("toast-close").first.click()
    page.evaluate(SLOW)
    prompt.press_sequentially("a kite dives", delay=60)
    cards.nth(4).click()  # before the first answer
    page.get_by_text("Clip 5 of 5").wait_for()
    assert prompt.input_value() == ""
    prompt.press_sequentially("it lands", delay=60)
    at.fill("row_count", "6")
    prompt.press("End")  # before the answer
    prompt.press_sequentially(" at dusk", delay=60)
    page.get_by_text("Clip 5 of 6").wait_for()
    at.fill("row_count", "5")
    for _ in " at dusk":
        prompt.press("Backspace")
    page.get_by_text("Clip 5 of 5").wait_for()
    at.click("row_up")
    page.get_by_text("Clip 4 of 5").wait_for()
    page.wait_for_timeout(6000)  # whatever is still on its way
    assert prompt.input_value() == "it lands"
    prompt.press_sequentially(" softly", delay=60)
    at.click("generate")  # the form has no image, so WanGP starts nothing
    page.get_by_text("add a start image").locator("visible=true").first.wait_for()
    page.wait_for_timeout(6000)
    says = page.locator("#svi_desk_note").get_by_text
    at.click("row_add")
    says("SVI-Shot: 6 clips").wait_for()
    at.click("row_remove")
    says("SVI-Shot: 5 clips").wait_for()
    at.unfold("Paste paragraphs")
    text = page.locator("#svi_board_text textarea").input_value()
    assert text == "[3]\nprompt = a kite dives\n\n[4]\nprompt = it lands softly\n"
    for clip, said in ((3, "a kite dives"), (4, "it lands softly")):
        assert said in cards.nth(clip - 1).inner_text()
    held = page.evaluate("() => [...document.querySelectorAll('input, textarea')].map(field => "
                         "field.value.replaceAll('\\n', ''))")
    assert held.count(text.replace("\n", "")) == 2, "the form has another storyboard"


def test_a_long_list_of_clips_stays_where_it_is(form):
    page, work = form
    at, says = new_storyboard(page, work)
    at.fill("row_count", "30")
    says("SVI-Shot: 30 clips").wait_for()
    cards, prompt = page.locator("#svi_cards tbody tr"), page.locator("#svi_row_prompt textarea")

    def stays(clip: int) -> None:
        page.wait_for_timeout(4000)  # whatever draws the cards again
        row = cards.nth(clip - 1).bounding_box()
        outer = page.locator("#svi_cards .table-wrap").bounding_box()
        assert row["y"] >= outer["y"] - 1, clip
        assert row["y"] + row["height"] <= outer["y"] + outer["height"] + 1, clip

    cards.nth(24).click()
    page.get_by_text("Clip 25 of 30").wait_for()
    prompt.press_sequentially("a kite dives", delay=60)
    cards.nth(24).get_by_text("a kite dives").wait_for()
    stays(25)
    assert prompt.evaluate("field => field === document.activeElement")
    cards.nth(22).locator("button").press("Enter")
    page.get_by_text("Clip 23 of 30").wait_for()
    stays(23)
    assert cards.nth(22).locator("button").evaluate("card => card === document.activeElement")
    for _ in range(9):
        at.click("row_down")
    page.get_by_text("Clip 30 of 30").wait_for()
    at.click("row_add")
    page.get_by_text("Clip 31 of 31").wait_for()
    stays(31)
    page.evaluate(SLOW)
    cards.nth(27).click()
    cards.nth(28).click()  # before the answer to the first
    page.get_by_text("Clip 29 of 31").wait_for()
    stays(29)
    cards.nth(26).click()
    prompt.focus()
    page.keyboard.type("lost")  # while the page still shows the other clip
    page.get_by_text("Clip 27 of 31").wait_for()
    stays(27)
    assert prompt.input_value() == "" and "lost" not in page.locator("#svi_cards").inner_text()
    prompt.press_sequentially("kept", delay=60)
    cards.nth(26).get_by_text("kept").wait_for()
    page.set_viewport_size({"width": 390, "height": 844})  # a phone
    cards.nth(25).click()
    page.get_by_text("Clip 26 of 31").wait_for()
    page.wait_for_function("""() => {const top = document.getElementById("svi_row_title")
        .getBoundingClientRect().top; return top > -2 && top < innerHeight / 2 + 1}""")
    page.screenshot(path=work / "phone.png")
