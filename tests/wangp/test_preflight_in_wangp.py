"""The check in the real WanGP: warnings are in its log and on its page, and stop nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch", reason="needs torch and safetensors")

import browser  # noqa: E402
import tiny  # noqa: E402
from test_svi import PROMPTS, install, task, write_loras  # noqa: E402

SHOT = "SVI Shot Infinite - 50 Steps"
STRENGTH = ("svi-shot.safetensors has a strength of 0.5, but was trained with 1. Set the LoRA "
            "multipliers to: 1")


def test_a_warning_is_in_the_log_once_and_stops_nothing(run_wangp, wangp, tmp_path):
    tree = Path(shutil.copytree(wangp, tmp_path / "Wan2GP"))
    install(tree)
    write_loras(tree)
    weak = task(SHOT, 2, loras_multipliers="0.5", motion_amplitude=1.3)
    other = {**weak, "model_type": "multitalk", "prompt": "a man talks"}  # its weights are not here
    job = {"level": "loop", "tasks": [weak, other],
           "config": {"attention_mode": "sdpa"}}
    done, talk = run_wangp(tree, job).report["tasks"]
    assert done["success"] and len(done["windows"]) == 2, done["errors"]
    lines = [line for line in done["log"].splitlines() if line.startswith("[SVI] ")]
    assert len(PROMPTS.split("\n\n")) == 3, "WanGP asks once for each prompt"
    assert lines.count(f"[SVI] warning: {STRENGTH} (wan2gp_svi/docs/guide.md#svi-strength)") == 1
    assert sum("(wan2gp_svi/docs/guide.md#motion-amplitude)" in line for line in lines) == 1
    assert sum("there are 3 prompts for 2 clips" in line for line in lines) == 1
    assert all("UserWarning" not in line
               for line in done["log"].splitlines()), "nothing is said twice"
    assert "warning: an SVI LoRA is active (svi-shot.safetensors), but SVI is off" in talk["log"]
    assert "wan2gp_svi/docs/guide.md#other-model" in talk["log"]


@pytest.mark.skipif(not Path(browser.CHROMIUM).exists(),
                    reason=f"needs chromium ({browser.CHROMIUM})")
def test_a_warning_is_on_the_page_and_the_video_is_made(wangp, tmp_path, serve_wangp):
    pytest.importorskip("playwright", reason="needs playwright")
    tree = Path(shutil.copytree(wangp, tmp_path / "Wan2GP"))
    install(tree)
    (tree / "loras/wan_i2v").mkdir(parents=True, exist_ok=True)
    tiny.write_lora(tree / "loras/wan_i2v/svi-shot.safetensors", scale=0.05)
    tiny.shrink(tree)
    profile = tree / f"profiles/wan_i2v/{SHOT}.json"
    settings = json.loads(profile.read_text(encoding="utf-8"))
    profile.write_text(json.dumps({**settings, "loras_multipliers": "0.5", "video_length": 81,
                                   "num_inference_steps": 2}), encoding="utf-8")
    from PIL import Image

    picture = tmp_path / "start.png"
    Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
    job = {"config": {"last_model_type": "tiny_i2v", "last_resolution_choice": "64x64"}}
    with serve_wangp(tree, job) as address, browser.open_page(address) as page:
        page.wait_for_timeout(2000)
        browser.choose(page, browser.dropdowns(page)[3], SHOT)
        page.get_by_role("button", name="Apply").locator("visible=true").first.click()
        page.get_by_text("SVI-Shot: one scene without cuts").first.wait_for()
        page.locator("input[type=file]").first.set_input_files(picture)
        page.get_by_role("button", name="Generate").locator("visible=true").first.click()
        toast = page.locator(".toast-body").filter(has_text="has a strength of 0.5").first
        toast.wait_for()
        assert "SVI: svi-shot.safetensors has a strength of 0.5" in toast.inner_text()
        few = "SVI: with 2 steps and no known accelerator"
        assert few in toast.inner_text(), "one toast for all"
        page.screenshot(path=tmp_path / "toast.png")
        log = tmp_path / "ui/log.txt"
        for _ in range(120):
            if "clip 1/1 done" in log.read_text(encoding="utf-8", errors="replace"):
                break
            page.wait_for_timeout(1000)
        assert "clip 1/1 done" in log.read_text(encoding="utf-8", errors="replace")
