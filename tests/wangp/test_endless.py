"""The real WanGP, killed and resumed: the frames are the same as without the interruption."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import torch  # noqa: E402
import trees  # noqa: E402
from conftest import PYTHON  # noqa: E402
from test_svi import SEED, install, task, unit, write_loras  # noqa: E402

from wan2gp_svi import chain  # noqa: E402
from wan2gp_svi.drift.layout import provenance  # noqa: E402
from wan2gp_svi.files import UNFINISHED  # noqa: E402
from wan2gp_svi.runs.store import Store  # noqa: E402
from wan2gp_svi.runs.video import count_frames  # noqa: E402
from wan2gp_svi.wangp import sound as sounds  # noqa: E402

UNIFIED, PRO, SHOT = ("SVI-2.0 Unified - 50 Steps", "SVI-2.0 Pro - 50 Steps",
                      "SVI Shot Infinite LightX2V - 4 Steps")


def frames(video: str | Path) -> list[str]:
    """A hash of every decoded frame."""
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", video, "-map", "0:v", "-f", "framemd5",
                           "-"],
                          capture_output=True, encoding="utf-8", check=True)
    assert not done.stderr, done.stderr
    return [line.rpartition(",")[2].strip() for line in done.stdout.splitlines()
            if not line.startswith("#")]


def video(outcome: trees.Outcome, number: int = 0) -> str:
    report = outcome.report["tasks"][number]
    assert report["success"], report["errors"]
    return report["files"][-1]["path"]


def command(outputs: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "wan2gp_svi", *arguments, "--outputs", outputs],
                          capture_output=True, encoding="utf-8", cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


def broken_off(tree: Path, work: Path, job: dict, line: str) -> None:
    """Runs a job, and kills it without warning once its log has the line."""
    process = trees.start(PYTHON, tree, work, job)
    end = time.monotonic() + 240
    try:
        while line not in (work / "log.txt").read_text(encoding="utf-8", errors="replace"):
            assert process.poll() is None and time.monotonic() < end, (work / "log.txt").read_text(
                errors="replace")
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def svi(wangp, tmp_path_factory) -> Path:
    tree = Path(shutil.copytree(wangp, tmp_path_factory.mktemp("endless") / "Wan2GP"))
    install(tree)
    write_loras(tree)
    return tree


@pytest.mark.parametrize("profile", [UNIFIED, SHOT, PRO])
def test_a_killed_run_goes_on_and_gives_the_same_frames(profile, svi, run_wangp, tmp_path):
    job = {"level": "loop", "tasks": [task(profile, 4)]}
    whole = frames(video(run_wangp(svi, job)))
    broken_off(svi, tmp_path, job, "clip 3/4 done")
    run, = Store(tmp_path / "outputs/svi").runs()
    done = run.done()
    assert 2 <= len(done) <= 3
    left, = (path for path in (tmp_path / "outputs").glob("*.mp4") if UNFINISHED not in path.name)
    playable = frames(left)
    assert playable == whole[:len(playable)] and len(playable) >= done[0].frames
    outcome = trees.run(PYTHON, svi, tmp_path, job)
    assert f"resuming run {run.name}, from clip {len(done) + 1} of 4" in outcome.log
    assert len(outcome.report["tasks"][0]["windows"]) == 1, ("clips that were made "
                                                             "are not made again")
    assert video(outcome) == str(left), "the video grows on"
    assert frames(left) == whole
    metadata = outcome.report["tasks"][0]["files"][-1]["metadata"]
    assert (provenance(metadata)["seeds"] == [SEED, SEED + 42, SEED + 84, SEED + 126]
            and metadata["seed"] == SEED)


@pytest.fixture(scope="module")
def finished(svi, run_wangp) -> trees.Outcome:
    return run_wangp(svi, {"level": "loop", "tasks": [task(UNIFIED, 3), task(PRO, 1)]})


def again(svi: Path, finished: trees.Outcome, tmp_path: Path, tasks: list[dict]) -> trees.Outcome:
    """Runs tasks in another WanGP that has the runs of the first one."""
    shutil.copytree(finished.work / "outputs", tmp_path / "outputs")
    return trees.run(PYTHON, svi, tmp_path, {"level": "loop", "tasks": tasks})


def settings_of(finished: trees.Outcome, tmp_path: Path, *arguments: str) -> dict:
    run = next(run for run in Store(finished.work / "outputs/svi").runs()
               if run.about.variant == "2.0")
    path = tmp_path / f"{arguments[0]} ä.json"
    command(finished.work / "outputs", arguments[0], run.name, *arguments[1:], "-o", str(path))
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_is_redone_from_a_clip(svi, finished, tmp_path):
    settings = settings_of(finished, tmp_path, "redo", "--clip", "3", "--prompt", "a storm",
                           "--seed", "99")
    outcome = again(svi, finished, tmp_path, [settings, settings])
    old, new = frames(video(finished)), frames(video(outcome))
    report, again_ = outcome.report["tasks"]
    assert [window["arguments"]["input_prompt"] for window in report["windows"]] == ["a storm"]
    assert (new[:152] == old[:152] and len(new) == len(old)
            and not set(new[152:]) & set(old[152:]))
    assert provenance(report["files"][-1]["metadata"])["seeds"] == [SEED, SEED + 42, 99 + 84]
    assert not again_["windows"] and "has exactly these clips already" in again_["errors"][0]
    assert len(list(Store(tmp_path / "outputs/svi").runs())) == 3


def test_a_run_with_other_settings_is_refused_and_says_which(svi, finished, tmp_path):
    settings = settings_of(finished, tmp_path, "extend", "--clips", "1")
    outcome = again(svi, finished, tmp_path,
                    [{**settings, "num_inference_steps": 3}, task(UNIFIED, 4, flow_shift=3)])
    refused, other = outcome.report["tasks"]
    assert not refused["success"] and not refused["windows"]
    assert ("was made with other settings" in refused["errors"][0]
            and "inference steps 3" in refused["errors"][0])
    assert other["success"] and len(other["windows"]) == 4
    assert "but was made with other settings: flow shift 3 (it has 5.0)" in other["log"]


def test_a_video_is_continued_with_its_runs_reference_and_motion_frames(svi, finished, tmp_path):
    path = {id: tmp_path / "outputs" / Path(video(finished, number)).name
            for number, id in enumerate(("2.0", "pro"))}
    changes = {"image_prompt_type": "V", "image_start": None, "seed": 5}
    bare = tmp_path / "bare.mp4"
    tasks = [task(UNIFIED, 2, video_source=str(path["2.0"]), **changes),
             task(PRO, 2, video_source=str(path["pro"]), **changes),
             task(UNIFIED, 1, video_source=str(bare), **changes)]
    subprocess.run(["ffmpeg", "-v", "error", "-i", video(finished), "-map_metadata", "-1", "-c",
                    "copy", bare],
                   check=True)
    outcome = again(svi, finished, tmp_path, tasks)
    tensors = outcome.tensors
    for number, (first, total) in enumerate([(233, 233 + 157 - 5), (81, 81 + 157 - 5),
                                             (233, 233 + 81 - 5)]):
        report = outcome.report["tasks"][number]
        assert report["success"], report["errors"]
        assert (report["files"][-1]["frames"] == total == first
                + chain.length(len(report["windows"]), 5) - 5)
    runs = {run.about.variant: run for run in Store(finished.work / "outputs/svi").runs()}
    state = runs["2.0"].state(runs["2.0"].done()[-1])
    encoded = tensors["task0.window1.encode0"]
    assert encoded[:, :5].equal(state["motion_frames"].float() / 127.5 - 1)
    assert tensors["task0.window2.encode0"][:, 5].equal(encoded[:, 5]), (
        "the run's own reference, in every clip")
    latents = runs["2.0-pro"].state(runs["2.0-pro"].done()[-1])["latents"]
    assert tensors["task1.window1.y"][4:, 1].equal(latents[0, :, -1].to(tensors["task1.window1.y"]))
    assert ("bit for bit" in outcome.report["tasks"][0]["log"]
            and "LAST FRAME" in outcome.report["tasks"][2]["log"])


def test_of_a_video_that_wangp_would_cut_the_end_is_continued_and_all_of_it_is_copied(
        svi, run_wangp, tmp_path):
    long = tmp_path / "länger.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=64x64:r=16:d=200",
                    "-f", "lavfi", "-i", "sine=440:d=200", "-pix_fmt", "yuv420p", "-c:a", "aac",
                    long], check=True)
    changes = {"image_prompt_type": "V", "image_start": None, "video_source": str(long)}
    outcome = run_wangp(svi, {"level": "loop", "tasks": [task(UNIFIED, 2, **changes),
                                                         task(SHOT, 1, **changes)]})
    before = frames(long)
    for number, (report, new) in enumerate(zip(outcome.report["tasks"], (152, 80), strict=True)):
        assert report["success"], report["errors"]
        path = video(outcome, number)
        after = frames(path)
        assert len(before) == 3200 and after[:3200] == before and len(after) == 3200 + new
        assert sounds.is_heard(Path(path))
    last = subprocess.run(["ffmpeg", "-v", "error", "-i", long, "-vf", "select=eq(n\\,3199)",
                           "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
                          capture_output=True, check=True).stdout
    shown = torch.frombuffer(bytearray(last), dtype=torch.uint8).view(64, 64, 3).movedim(-1, 0)
    start = outcome.tensors["task1.window1.encode0"][:, 0]
    assert (start - unit(shown)).abs().mean() < 0.02


def test_sound_lies_under_the_whole_video_also_when_it_is_made_in_two_goes(svi, run_wangp,
                                                                           tmp_path):
    sound = tmp_path / "sound.wav"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=440:d=30", sound],
                   check=True)
    job = {"level": "loop",
           "tasks": [task(SHOT, 3, audio_source=str(sound), postprocess_audio="custom")]}
    whole = run_wangp(svi, job)
    broken_off(svi, tmp_path, job, "clip 3/3")
    outcome = trees.run(PYTHON, svi, tmp_path, job)
    assert "resuming run" in outcome.log or len(outcome.report["tasks"][0]["windows"]) == 3
    for one in (whole, outcome):
        probe = subprocess.run(["ffprobe", "-v", "error", "-show_entries",
                                "stream=codec_type,duration", "-of", "json", video(one)],
                               capture_output=True, check=True)
        lengths = {stream["codec_type"]: float(stream["duration"])
                   for stream in json.loads(probe.stdout)["streams"]}
        assert lengths["video"] == 241 / 16 and abs(lengths["audio"] - lengths["video"]) < 0.2
    assert frames(video(outcome)) == frames(video(whole))


@pytest.mark.parametrize("config",
                         [{"video_container": "mkv", "video_output_codec": "libx264_lossless"},
                          {"keep_intermediate_sliding_windows": 0,
                           "video_output_codec": "libx265_28"}])
def test_other_containers_codecs_and_ways_of_keeping(config, svi, run_wangp):
    outcome = run_wangp(svi, {"level": "loop", "tasks": [task(SHOT, 2), task(SHOT, 2, seed=7)],
                              "config": config})
    assert len(list((outcome.work / "outputs").glob("*.m*"))) == 2, ("a video for each run, and "
                                                                     "nobody else's is removed")
    for number in (0, 1):
        path = Path(video(outcome, number))
        assert (len(frames(path)) == 161
                and path.suffix == f".{config.get('video_container', 'mp4')}")
        assert (provenance(outcome.report["tasks"][number]["files"][-1]["metadata"])["variant"]
                == "shot")


@pytest.mark.parametrize("version", [version for version in [*trees.COMMITS, *later.LATER]
                                     if version not in ("9.91", "10.12")])
def test_every_version_that_keeps_its_frames_in_a_list_goes_on_where_it_was_killed(
        version, wangp_at, wangp_copy, tmp_path):
    tree = wangp_copy(wangp_at(version))
    install(tree)
    write_loras(tree)
    job = {"level": "process", "settings": task(UNIFIED, 3)}
    broken_off(tree, tmp_path / "work", job, "clip 2/3 done")
    before = Store(tmp_path / "work/outputs/svi")
    run, = before.runs()
    done = len(run.done())
    outcome = trees.run(PYTHON, tree, tmp_path / "work", job)
    report, = outcome.report["tasks"]
    assert report["success"] and done and len(report["windows"]) == 1, (
        "clips that were made are not made again")
    assert [file["frames"] for file in report["files"]] == [233]
    assert count_frames(Path(report["files"][0]["path"])) == 233
    whole = trees.run(PYTHON, tree, tmp_path / "whole", job)
    assert (frames(report["files"][0]["path"])
            == frames(whole.report["tasks"][0]["files"][0]["path"]))


@pytest.mark.parametrize("version", [later.BASE, *later.LATER])
def test_every_window_plan_continues_a_video_by_whole_clips(version, run_wangp, wangp_at,
                                                            wangp_copy):
    """From 13.0 on, the first window shares as many frames with the source as later
    windows do with the one before."""
    tree = wangp_copy(wangp_at(version))
    install(tree)
    write_loras(tree)
    source = run_wangp(tree, {"level": "loop", "tasks": [task(UNIFIED, 2)]})
    changes = {"image_prompt_type": "V", "image_start": None, "video_source": video(source),
               "seed": 5}
    outcome = run_wangp(tree, {"level": "loop",
                               "tasks": [task(UNIFIED, 2, **changes), task(UNIFIED, 1, **changes)]})
    for number, clips in enumerate((2, 1)):
        report = outcome.report["tasks"][number]
        assert report["success"], report["errors"]
        assert [window["arguments"]["frame_num"] for window in report["windows"]] == [81] * clips
        assert report["files"][-1]["frames"] == 157 + 76 * clips
