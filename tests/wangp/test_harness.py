"""The harness itself on plain WanGP: it records what WanGP does, and the same every time."""

from __future__ import annotations

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import trees  # noqa: E402

TWO_WINDOWS = {"video_length": 161}
SHORT = {"video_length": 17}


@pytest.fixture(scope="module")
def stock(run_wangp, wangp):
    return run_wangp(wangp, {"level": "loop", "tasks": [TWO_WINDOWS, SHORT, {**SHORT, "seed": 43}]})


def test_stock_windows_are_seen_whole(stock):
    task = stock.report["tasks"][0]
    assert task["success"] and not task["errors"]
    assert [window["arguments"]["window_no"] for window in task["windows"]] == [1, 2]
    for number, window in enumerate(task["windows"], start=1):
        assert window["arguments"]["seed"] == 42
        assert window["y"]["shape"] == [20, 21, 8, 8]
        assert window["result"] == {"shape": [3, 81, 64, 64], "dtype": "uint8"}
        assert [encode["shape"] for encode in window["encodes"]] == [[3, 81, 64, 64]]
        assert window["encodes"][0]["vae_dtype"] == "torch.float32"
        assert [forward["timestep"] for forward in window["forwards"]] == [999, 833]
        assert len(window["clips"]) == 1
        assert stock.tensors[f"task0.window{number}.noise"].shape == (1, 16, 21, 8, 8)


def test_stock_conditioning_is_the_last_frame_and_grey(stock):
    tensors = stock.tensors
    video = tensors["task0.window2.encode0"]
    last = tensors["task0.window1.frames"][:, -1].float() / 127.5 - 1
    assert (video[:, 0] - last).abs().max() < 1e-6
    assert not video[:, 1:].any()
    y = tensors["task0.window2.y"]
    assert y[:4, 0].eq(1).all() and not y[:4, 1:].any()
    assert (y[4:] - tensors["task0.window2.encode0.latents"]).abs().max() == 0


def test_stock_files_carry_frames_and_settings(stock):
    files = stock.report["tasks"][0]["files"]
    assert [file["frames"] for file in files] == [81, 161]
    assert files[-1]["metadata"]["video_length"] == 161
    assert files[-1]["metadata"]["seed"] == 42


def test_frames_depend_on_the_seed_and_on_nothing_else(stock, run_wangp, wangp):
    again = run_wangp(wangp, {"level": "loop", "tasks": [TWO_WINDOWS]})
    for window in ("task0.window1.frames", "task0.window2.frames"):
        assert again.tensors[window].equal(stock.tensors[window])
    assert not stock.tensors["task1.window1.frames"].equal(stock.tensors["task2.window1.frames"])


def test_loras_in_every_spelling(run_wangp, wangp):
    import tiny

    folder = wangp / "loras/wan_i2v"
    folder.mkdir(parents=True, exist_ok=True)
    for keys in tiny.LORA_KEYS:
        tiny.write_lora(folder / f"{keys}.safetensors", keys)
    with_lora = [
        {**SHORT, "activated_loras": [f"{keys}.safetensors"], "loras_multipliers": strength}
        for keys, strength in (("plain", "0"), ("plain", "1"), ("diffusion_model", "1"),
                               ("svi", "1"))
    ]
    outcome = run_wangp(wangp, {"level": "loop", "tasks": [SHORT, *with_lora]})
    none, off, plain, prefixed = (outcome.tensors[f"task{task}.window1.frames"]
                                  for task in range(4))
    assert none.equal(off) and plain.equal(prefixed)
    assert not none.equal(plain)
    assert "unexpected module keys" in outcome.report["tasks"][4]["errors"][0]


def test_experts_share_the_steps(run_wangp, wangp):
    settings = [{**SHORT, "model_type": "tiny_i2v22"},
                {"model_type": "tiny_svi2pro", "sliding_window_overlap": 4}]
    outcome = run_wangp(wangp, {"level": "loop", "tasks": settings})
    for task in outcome.report["tasks"]:
        assert task["success"], task["errors"]
        assert [forward["expert"] for forward in task["windows"][0]["forwards"]] == [1, 2]
        assert task["windows"][0]["clips"] == []


@pytest.mark.parametrize("version", [*trees.COMMITS, *later.LATER])
def test_pipeline_alone_in_every_version(version, run_wangp, wangp_at):
    windows = [{}, {"seed": 84}]
    tasks = [{"model": model, "windows": windows, "overlap": 5}
             for model in ("tiny_i2v", "tiny_i2v22")]
    outcome = run_wangp(wangp_at(version), {"level": "any2video", "tasks": tasks})
    assert outcome.report["version"] == version
    for task, number, overlap in ((0, 1, 1), (0, 2, 5), (1, 1, 1), (1, 2, 5)):
        window = outcome.report["tasks"][task]["windows"][number - 1]
        assert window["arguments"]["input_video"]["shape"] == [3, overlap, 64, 64]
        assert window["y"]["shape"] == [20, 21, 8, 8]
        assert [encode["shape"] for encode in window["encodes"]] == [[3, 81, 64, 64]]
        assert len(window["clips"]) == (1 if task == 0 else 0)
        frames = outcome.tensors[f"task{task}.window{number}.frames"].float()
        assert frames.shape == (3, 81, 64, 64)
        assert frames.isfinite().all() and frames.std() > 0


@pytest.mark.parametrize("version", ["9.91", "12.60", *later.LATER])
def test_whole_program_in_the_first_and_the_last_versions(version, run_wangp, wangp_at):
    settings = {"video_length": 33, "sliding_window_size": 17}
    outcome = run_wangp(wangp_at(version), {"level": "process", "settings": settings})
    task = outcome.report["tasks"][0]
    assert task["success"], outcome.log
    assert [window["arguments"]["frame_num"] for window in task["windows"]] == [17, 17]
    assert task["files"][-1]["frames"] == 33


def test_ui_opens_with_the_tiny_model(serve_wangp, wangp):
    pytest.importorskip("playwright")
    import browser

    with serve_wangp(wangp) as address, browser.open_page(address) as page:
        family, kind, model, settings = browser.dropdowns(page)[:4]
        assert family.input_value() == "Wan2.1"
        assert "tiny i2v" in model.input_value()
        assert "Wan2.2" in browser.options(page, family)
        assert any("lightx2v" in profile for profile in browser.options(page, settings))
