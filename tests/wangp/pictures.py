"""Makes the pictures of WanGP's page in docs, and notes what they show (see pictured.py):

    python tests/wangp/pictures.py WANGP [--python PYTHON] [--out docs] [--plugins]

It serves a throw-away copy of the real WanGP with SVI, and photographs it in Chromium. The runs in
the tab show the demo model's world and are made for the picture.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1]
sys.path[:0] = [str(HOME), str(HERE.parent), str(HERE)]

import browser  # noqa: E402
import pictured  # noqa: E402
import published  # noqa: E402
import torch  # noqa: E402
import trees  # noqa: E402
import videos  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save  # noqa: E402

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.demo import world  # noqa: E402
from wan2gp_svi.runs.record import About, Clip  # noqa: E402
from wan2gp_svi.runs.state import State  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402
from wan2gp_svi.variants import VARIANTS  # noqa: E402

SIZE = (480, 320)  # a multiple of the demo world's
RUNS = (  # variant, seed of the scene, clips, finished ones, how it ended, prompts
    ("2.0-pro", 11, 12, 4, State.STOPPED, ["a yellow ball circles over purple hills"]),
    ("shot", 5, 6, 6, State.FINISHED,
     ["an orange kite circles over green hills, the camera stands still"]),
    ("film", 3, 10, 7, "OutOfMemoryError: CUDA out of memory", [
        "a white ball circles over the hills in the morning light", "it circles slowly",
        "it circles quickly", "clouds gather, and it turns back", "the sun sets behind the hills"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wangp", type=Path, help="a WanGP checkout")
    parser.add_argument("--python", default=sys.executable,
                        help="the Python that has WanGP's packages")
    parser.add_argument("--out", type=Path, default=HOME / "docs", help="where the pictures go")
    parser.add_argument("--plugins", action="store_true", help="only those of the Plugins tab")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        plugins(options.wangp.resolve(), options.python, work, options.out)
        if options.plugins:
            return
        tree = trees.copy(options.wangp.resolve(), work / "Wan2GP")
        subprocess.run([sys.executable, HOME / "install.py", tree], check=True,
                       stdout=subprocess.DEVNULL)
        for path in tree.glob("profiles/wan_i2v/SVI*.json"):  # as after their download
            for url in json.loads(path.read_text(encoding="utf-8"))["activated_loras"]:
                lora = tree / "loras/wan_i2v" / url.rpartition("/")[2]
                lora.parent.mkdir(parents=True, exist_ok=True)
                lora.write_bytes(save({"t": torch.zeros(1)}))
        outputs = work / "outputs"
        outputs.mkdir()
        for number, run in enumerate(RUNS):
            write_run(outputs, number, *run)
        picture = enlarged(world.render([world.scene(3)], torch.zeros(1, 1))[0, :, 0], 2)
        picture.save(work / "start.png")
        job = {"config": {"last_model_type": "i2v", "save_path": str(outputs)}}
        server = trees.serve(options.python, tree, work / "ui", job)
        with server as address, browser.open_page(address) as page:
            page.wait_for_timeout(3000)
            page.set_viewport_size({"width": 1400, "height": 1330})  # to the line of SVI
            form(page, work / "start.png")
            page.screenshot(path=options.out / "wangp.png")
            page.set_viewport_size({"width": 1400, "height": 1100})
            storyboard(page, work)
            page.screenshot(path=options.out / "storyboard.png")
            page.locator("#svi_desk").get_by_role("button").first.click()  # shut
            page.set_viewport_size({"width": 1400, "height": 1200})
            tab(page)
            page.screenshot(path=options.out / "tab.png")
        digests = json.dumps(pictured.digests(), indent=1) + "\n"
        (options.out / pictured.DIGESTS.name).write_text(digests, encoding="utf-8")


def plugins(checkout: Path, python: str, work: Path, out: Path) -> None:
    """WanGP's Plugins tab with SVI, and the tab SVI after the restart."""
    tree, ui = trees.copy(checkout, work / "fresh/Wan2GP"), work / "plugins"

    @contextlib.contextmanager
    def page():
        stored = ui / "config/wgp_config.json"
        config = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
        job = {"config": {"last_model_type": "i2v", **config}}
        with trees.serve(python, tree, ui, job) as address, browser.open_page(address) as opened:
            opened.wait_for_timeout(3000)
            opened.set_viewport_size({"width": 1400, "height": 900})
            yield opened

    with published.Published(work / "published"):
        with page() as first:
            published.install(first)
            first.mouse.move(5, 5)
            first.wait_for_timeout(12_000)  # until messages have faded out
            first.screenshot(path=out / "plugins-install.png")
        with page() as second:
            published.tab(second, "SVI")
            second.locator("#svi_restart").wait_for()
            second.wait_for_timeout(1000)
            second.set_viewport_size({"width": 1400, "height": 400})
            second.screenshot(path=out / "plugins-restart.png")


def form(page, picture: Path) -> None:
    """The profile applied, with a start image, a prompt and ten clips."""
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_new").click()
    page.locator("#svi_line").get_by_text("SVI-Shot").first.wait_for()
    page.locator("input[type=file]").first.set_input_files(picture)
    prompts = page.locator("label", has_text="Prompts (each").locator("textarea")
    prompts.locator("visible=true").first.fill(
        "A white ball circles over the hills, the camera does not move.")
    frames = page.get_by_label("Number of frames").locator("visible=true").first
    frames.fill("810")
    frames.press("Tab")
    page.wait_for_timeout(22_000)  # until messages have faded out
    page.mouse.move(5, 5)  # no tooltip
    page.evaluate("window.scrollTo(0, 0)")
    page.wait_for_timeout(1000)


def storyboard(page, work: Path) -> None:
    """A run, and what becomes of it with another prompt, reference and strength in clip 6."""
    picture = enlarged(world.render([world.scene(5)], torch.zeros(1, 1))[0, :, 0], 1)
    picture.save(work / "reference.png")
    page.get_by_role("tab", name="SVI", exact=True).click()
    page.locator("#svi_runs tbody tr").nth(1).click()
    page.locator("#svi_stage").click()
    cards = page.locator("#svi_cards tbody tr")
    cards.nth(5).locator("img").wait_for()
    cards.nth(5).click()
    page.get_by_text("Clip 6 of 6").wait_for()
    page.locator("#svi_row_end_image input[type=file]").set_input_files(work / "reference.png")
    cards.nth(5).get_by_text("end").wait_for()
    for name, text in (("prompt", "it turns back"), ("svi_strength", "1.2")):
        field = page.locator(f"#svi_row_{name}").locator("input, textarea").first
        field.fill(text)
        field.press("Tab")
    cards.nth(5).get_by_text("SVI strength 1.2").wait_for()
    page.locator("#svi_remake").get_by_text("Redo from clip 6").wait_for()
    page.mouse.move(5, 5)
    page.wait_for_timeout(2000)
    page.evaluate("window.scrollTo(0, 0)")


def tab(page) -> None:
    page.locator("#svi_runs tbody tr").first.wait_for()
    page.locator("#svi_runs tbody tr").first.click()
    page.locator("#svi_run video").wait_for()
    page.wait_for_timeout(3000)


def write_run(outputs: Path, number: int, id: str, seed: int, clips: int, done: int, ended: str,
              prompts: list[str]) -> None:
    variant, scene = VARIANTS[id], world.scene(seed)
    video = outputs / f"2026-11-26-1{number}h15m_{prompts[0][:20].strip()}.mp4"
    about = About(variant=id, title=variant.title, clips=clips, seed=1234, fps=16.0, asked=prompts,
                  prompts=prompts, repeat=1, decides={},
                  settings={"sliding_window_overlap": variant.overlap}, ended=ended,
                  video=str(video))
    step, finished = 81 - variant.overlap, ended == State.FINISHED
    tail = variant.overlap if finished or not variant.keep_new else 0
    turns = torch.arange(step * done + tail)[None] / 150
    shown = world.render([scene], turns)[0].movedim(0, 1)
    whole = torch.nn.functional.interpolate(shown, SIZE[::-1], mode="bicubic").clamp(-1, 1)
    frames = whole.add(1).mul(127.5).round().to(torch.uint8).movedim(1, -1).contiguous().numpy()
    videos.write(video, frames)
    picture = enlarged(shown[0], 1)
    picture.save(outputs / "reference.png")
    run = Store(outputs / "svi").new(about,
                                     {"reference.png": (outputs / "reference.png").read_bytes()})
    (outputs / "reference.png").unlink()
    for clip in range(done):
        pieces = [videos.write(run.path(clip, ".mp4"), frames[step * clip :][:step])]
        if last := tail if clip == done - 1 else 0:
            pieces.append(videos.write(run.path(clip, "-tail.mp4"), frames[-last:]))
        prompt = prompts[chain.prompt_index(clip, len(prompts))]
        run.add(Clip(clip, prompt, chain.seed(1234, clip), step, last), pieces,
                {"motion_frames": torch.zeros(3, 1, 8, 8)})
    made = datetime.datetime(2026, 11, 26, 10 + number, 15)
    run.change(replace(run.about, made=made.isoformat()))
    os.utime(run.folder / "run.json", (made.timestamp(), made.timestamp()))


def enlarged(picture: torch.Tensor, times: int) -> Image.Image:
    """[3, H, W] in [-1, 1]."""
    pixels = picture.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
    image = Image.fromarray(pixels.contiguous().numpy())
    return image.resize((SIZE[0] * times, SIZE[1] * times), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
