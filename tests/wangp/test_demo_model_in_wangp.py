"""The demo model in the real WanGP: it is the trained model, users can choose and use it, and its
videos hold with SVI and drift with WanGP's own windows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch", reason="needs torch and safetensors to read records")

import torch  # noqa: E402
import trees  # noqa: E402
from conftest import PYTHON  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_svi import install, unit  # noqa: E402

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.demo import model, truth, world  # noqa: E402
from wan2gp_svi.demo.in_wangp import finetune  # noqa: E402
from wan2gp_svi.variants import CLIP_FRAMES, VARIANTS, Variant  # noqa: E402
from wan2gp_svi.wangp.tab import new_video  # noqa: E402

HOME = Path(__file__).parents[2]
DIFFUSERS_PYTHON = os.environ.get("DIFFUSERS_PYTHON", sys.executable)
SHOT, STOCK = "SVI-Shot demo", "Demo without SVI"
CONFIG = {"last_model_type": "svi_small"}
CLIPS = 10
SCENES = (1_000_001, 1_000_003)  # never trained on

if not (model.WEIGHTS / model.TRANSFORMER).is_file():
    pytest.skip(f"needs the demo model's weights in {model.WEIGHTS}", allow_module_level=True)


def register(tree: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wan2gp_svi", "demo-model", str(tree), "--weights",
               str(model.WEIGHTS), *options]
    done = subprocess.run(command, cwd=HOME, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def registered(tree: Path) -> Path:
    install(tree)
    register(tree)
    return tree


@pytest.fixture(scope="module")
def tree(wangp, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo-model") / "Wän GP (1)"
    return registered(Path(shutil.copytree(wangp, folder)))


def task(tree: Path, title: str, clips: int, seed: int, **changes) -> dict:
    """The form's content after choosing the model and a profile, with the picture of a scene."""
    files = ("finetunes/svi_small.json", f"profiles/svi_small/{title}.json")
    definition, profile = (json.loads((tree / name).read_text(encoding="utf-8"))
                           for name in files)
    del definition["model"]
    start = tree / f"{seed}.png"
    start.write_bytes(finetune.picture(seed))
    return {**definition, **profile, "image_start": str(start),
            "prompt": world.scene(seed).prompt(), "video_length": clips * (CLIP_FRAMES - 1) + 1,
            **changes}


def job(*tasks: dict) -> dict:
    return {"level": "loop", "tiny": False, "tasks": tasks, "config": CONFIG}


def made(outcome: trees.Outcome) -> list[torch.Tensor]:
    """The clips of a run, as its model made them: in [-1, 1]."""
    report, = outcome.report["tasks"]
    assert report["success"], report["errors"]
    return [unit(outcome.tensors[f"task0.window{number + 1}.frames"])
            for number in range(len(report["windows"]))]


# ----------------------------------------------------------------------------- the model as trained

@pytest.fixture(scope="module", params=[SHOT, "SVI-2.0 demo"])
def title(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def variant(title) -> Variant:
    return VARIANTS[finetune.PROFILES[title]]


@pytest.fixture(scope="module")
def two_clips(title, variant, run_wangp, tree) -> trees.Outcome:
    return run_wangp(tree, job(task(tree, title, 2, SCENES[0],
                                    video_length=chain.length(2, variant.overlap))))


def test_with_a_profile_it_is_svi(two_clips, variant):
    report, = two_clips.report["tasks"]
    assert report["success"], report["errors"]
    assert report["files"][-1]["frames"] == chain.length(2, variant.overlap)
    assert report["files"][-1]["width"] == world.WIDTH
    assert "LoRA: 60 of 60 layers matched" in two_clips.log and "[SVI] warning" not in two_clips.log
    assert "In CPU autocast" not in two_clips.log
    assert (f"[SVI] {variant.title} ({model.ADAPTERS[variant.id]}): 2 clips of 81 frames"
            in two_clips.log)
    assert all(window["encodes"][0]["vae_dtype"] == "torch.float32" for window in report["windows"])


def test_a_clip_in_wangp_is_the_clip_of_diffusers_layers(two_clips, variant, tmp_path):
    if error := trees.lacks(DIFFUSERS_PYTHON, "diffusers.models.transformers.transformer_wan"):
        pytest.skip(f"{DIFFUSERS_PYTHON} cannot use diffusers ({error}): set DIFFUSERS_PYTHON")
    window, name = two_clips.report["tasks"][0]["windows"][1], "task0.window2"
    wanted = {"tensors": str(two_clips.work / "tensors.safetensors"), "name": name,
              "adapter": variant.id,
              "timesteps": [forward["timestep"] for forward in window["forwards"]],
              "prompt": world.scene(SCENES[0]).prompt(), "weights": str(model.WEIGHTS),
              "out": str(tmp_path / "out.safetensors")}
    (tmp_path / "job.json").write_text(json.dumps(wanted), encoding="utf-8")
    script = Path(__file__).with_name("demo_model_reference.py")
    subprocess.run([DIFFUSERS_PYTHON, script, tmp_path / "job.json"], check=True)
    reference, tensors = load_file(tmp_path / "out.safetensors"), two_clips.tensors
    assert (tensors[f"{name}.encode0.latents"] - reference["latents"]).abs().max() < 1e-4
    clip = tensors[f"{name}.clip_fea"].float()
    assert (clip - reference["clip"]).norm() / reference["clip"].norm() < 0.02
    frames = unit(tensors[f"{name}.frames"])
    noise = ((frames - reference["frames"]) / 2).square().mean()
    print(f"WanGP's clip against diffusers': {-10 * noise.log10():.1f} dB")
    assert noise < 10 ** -3.5


def test_other_models_are_what_they_are_without_it(tree, wangp, run_wangp):
    one = {"level": "loop", "tasks": [{"video_length": 81}]}
    with_it, without = (run_wangp(place, one).tensors["task0.window1.frames"]
                        for place in (tree, wangp))
    assert with_it.equal(without)


@pytest.mark.parametrize("version", [version for version in trees.COMMITS if version != "12.60"])
def test_it_runs_in_older_versions(version, wangp_at, wangp_copy, run_wangp):
    place = registered(wangp_copy(wangp_at(version)))
    settings = task(place, SHOT, 1, SCENES[0])
    outcome = run_wangp(place, {**job(), "level": "process", "settings": settings})
    report, = outcome.report["tasks"]
    assert report["success"] and report["files"][-1]["frames"] == CLIP_FRAMES
    assert "[SVI] clip 1/1 done" in outcome.log


# -------------------------------------------------------------------------------------------- drift

@pytest.fixture(scope="module", params=SCENES)
def found(request, tree, run_wangp) -> dict[str, list[truth.Truth]]:
    """What is measured of every clip of a long video, with SVI and without."""
    scene = world.scene(request.param)
    tasks = [task(tree, title, CLIPS, request.param) for title in (SHOT, STOCK)]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda one: made(run_wangp(tree, job(one), timeout=1800)), tasks))
    measured = {}
    for title, clips in zip((SHOT, STOCK), runs, strict=True):
        assert len(clips) == CLIPS
        step = (CLIP_FRAMES - 1) / CLIP_FRAMES * world.TURNS[scene.action]
        turns = [world.phases(scene.action, step * number) for number in range(CLIPS)]
        measured[title] = [truth.measure(clip, scene, turn)
                           for clip, turn in zip(clips, turns, strict=True)]
        print(title, *measured[title], sep="\n  ")
    return measured


def test_with_svi_a_long_video_stays_and_without_it_drifts(found):
    svi, stock = ([one.colour for one in found[title]] for title in (SHOT, STOCK))
    last = slice(-3, None)
    assert sum(svi[last]) / 3 < 1.5 * svi[0], svi
    assert sum(stock[last]) / 3 > 2 * sum(svi[last]) / 3, (svi, stock)
    assert all(one.there for one in found[SHOT]), found[SHOT]


# ------------------------------------------------------------------------------------------ in hand

def test_chosen_in_the_browser_it_makes_a_video(wangp, tmp_path):
    """From the command to the video, on a machine without a GPU, as a person does it."""
    pytest.importorskip("playwright", reason="needs playwright and chromium")
    import browser

    if not Path(browser.CHROMIUM).exists():
        pytest.skip(f"needs chromium ({browser.CHROMIUM}, or set CHROMIUM)")
    place = Path(shutil.copytree(wangp, tmp_path / "Wän GP (1)"))
    install(place)
    port, log = trees.free_port(), tmp_path / "log.txt"
    command = [PYTHON, "-m", "wan2gp_svi", "demo-model", str(place), "--weights",
               str(model.WEIGHTS), "--start", "--server-name", "127.0.0.1", "--server-port",
               str(port)]
    server = trees.launch(command, HOME, log)
    with trees.answering(server, port, log) as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        page.get_by_role("tab", name="SVI", exact=True).click()
        profile = page.locator("#svi_profile input")
        profile.wait_for()
        assert profile.input_value() == new_video.DEMO
        assert set(browser.options(page, profile)) == finetune.PROFILES.keys()
        page.get_by_role("tab", name="Media Generator").first.click()
        for row, text in ((1, "Image2video 14B"), (2, finetune.TITLE), (3, SHOT)):
            offered: list[str] = []
            while not offered:  # the page takes its time to offer what fits the choice before
                page.wait_for_timeout(2000)
                found = browser.options(page, browser.dropdowns(page)[row])
                offered = [one for one in found if text in one]
            browser.choose(page, browser.dropdowns(page)[row], offered[0])
            if row == 1:
                page.locator("#svi_line").get_by_text("for the demo model only").wait_for()
        page.get_by_role("button", name="Apply").locator("visible=true").first.click()
        page.get_by_text("SVI-Shot with the demo model").first.wait_for()
        page.get_by_role("button", name="Generate").locator("visible=true").first.click()
        # there from the first clip on, which takes minutes on a busy machine
        page.locator("video").first.wait_for(timeout=600_000)
        page.screenshot(path=tmp_path / "done.png")
    said = log.read_text(encoding="utf-8", errors="replace")
    assert "[SVI] No GPU: WanGP runs on the CPU" in said, said[-3000:]
    assert f"[SVI] clip 1/{finetune.CLIPS} done" in said, said[-3000:]


def test_the_tab_begins_with_the_profile_of_the_model_that_is_chosen(tree, serve_wangp):
    """Where WanGP has a GPU, and so all its models."""
    pytest.importorskip("playwright", reason="needs playwright and chromium")
    import browser

    if not Path(browser.CHROMIUM).exists():
        pytest.skip(f"needs chromium ({browser.CHROMIUM}, or set CHROMIUM)")
    job = {"config": {"last_model_type": "tiny_i2v"}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        profile = page.locator("#svi_profile input")

        def begins_with(name: str) -> None:
            page.get_by_role("tab", name="SVI", exact=True).click()
            page.wait_for_function("name => document.querySelector('#svi_profile input')?.value"
                                   " === name", arg=name)
            page.get_by_role("tab", name="Media Generator").first.click()

        page.wait_for_timeout(2000)
        begins_with(new_video.FIRST)
        offered = browser.options(page, browser.dropdowns(page)[2])
        demo, = (one for one in offered if finetune.TITLE in one)
        browser.choose(page, browser.dropdowns(page)[2], demo)
        page.wait_for_timeout(5000)  # WanGP changes the model
        begins_with(new_video.DEMO)
        page.get_by_role("tab", name="SVI", exact=True).click()
        browser.choose(page, profile, "SVI-Film - 50 Steps")
        page.get_by_role("tab", name="Media Generator").first.click()
        page.get_by_role("tab", name="SVI", exact=True).click()
        page.wait_for_timeout(5000)  # longer than it takes to choose another
        assert profile.input_value() == "SVI-Film - 50 Steps", "the user's choice stays"
