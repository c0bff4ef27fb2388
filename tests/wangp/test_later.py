"""The imitated later WanGPs: without hooks, each behaves at their places as the newer files do; and
with SVI installed, git pulls from each version to the next."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("safetensors.torch",
                    reason="needs torch and safetensors to read what was recorded")

import later  # noqa: E402
import trees  # noqa: E402
from conftest import PYTHON  # noqa: E402

from wan2gp_svi.wangp import why_off  # noqa: E402

WINDOWS = {"sliding_window_size": 17, "sliding_window_overlap": 5}
FIRST = {**WINDOWS, "video_length": 17 + 2 * 12}
VERSIONS = (later.BASE, *later.LATER)


@pytest.fixture(scope="module")
def outcomes(run_wangp, wangp_at, tmp_path_factory):
    """version -> the outcome of its job, run once.

    The tasks: 3 windows; 1 window; a continued video; settings with an unknown name; settings read
    from a video.
    """
    made: dict[str, trees.Outcome] = {}

    def outcome(version: str) -> trees.Outcome:
        if version not in made:
            job = {"level": "loop", "setup": "later_jobs:watch"}
            first = run_wangp(wangp_at(version), {**job, "tasks": [FIRST]})
            source = first.report["tasks"][0]["files"][-1]
            continued = {**WINDOWS, "image_prompt_type": "V", "image_start": None,
                         "video_source": source["path"]}
            tasks = [FIRST, {**FIRST, "video_length": 17}, {**continued, "video_length": 25},
                     {**FIRST, "svi": {}}, {**source["metadata"], "model_type": "tiny_i2v"}]
            # a seed each, since a video's name has only its second and its seed
            tasks = [{**task, "seed": seed} for seed, task in enumerate(tasks, start=1)]
            made[version] = run_wangp(wangp_at(version), {**job, "tasks": tasks})
        return made[version]

    return outcome


def windows(outcome: trees.Outcome, number: int) -> list[tuple[int, int]]:
    """Of each window of a task: its frames, and how many are shared according to WanGP."""
    task = outcome.report["tasks"][number]
    assert task["success"], task["errors"]
    return [(one["arguments"]["frame_num"], one["arguments"]["overlap_size"])
            for one in task["windows"]]


@pytest.mark.parametrize("version", VERSIONS)
def test_three_windows(version, outcomes):
    outcome = outcomes(version)
    assert outcome.report["version"] == version
    first = 0 if version == later.BASE else 1
    assert windows(outcome, 0) == [(17, first), (17, 5), (17, 5)]
    assert outcome.report["tasks"][0]["files"][-1]["frames"] == 41


@pytest.mark.parametrize("version", VERSIONS)
def test_a_single_window(version, outcomes):
    outcome = outcomes(version)
    assert windows(outcome, 1) == [(17, 0 if version == later.BASE else 1)]
    metadata = outcome.report["tasks"][1]["files"][-1]["metadata"]
    assert metadata.get("window_no") == (None if version == later.BASE else 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_continued_video(version, outcomes):
    outcome = outcomes(version)
    shared, new = (1, 16 + 12) if version == later.BASE else (5, 12 + 12)
    assert windows(outcome, 2) == [(17, 0 if version == later.BASE else shared), (17, 5)]
    assert outcome.tensors["task2.window1.arguments.input_video"].shape == (3, shared, 64, 64)
    assert outcome.report["tasks"][2]["files"][-1]["frames"] == 41 + new


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_settings(version, outcomes):
    unknown, known = outcomes(version).report["tasks"][3:]
    strict = version not in (later.BASE, "13.0")
    assert unknown["success"] != strict
    if strict:
        assert "Unknown setting: svi." in " ".join(unknown["errors"]) and not unknown["windows"]
    assert known["success"], "what WanGP writes into a video are settings that it takes"


@pytest.mark.parametrize("version", later.LATER)
def test_galleries_are_shared_and_absolute(version, outcomes):
    outcome = outcomes(version)
    seen = json.loads((outcome.work / "later.json").read_text(encoding="utf-8"))
    assert seen["settings"] == "Gallery" and seen["shared"]
    assert len(seen["gallery"]) >= 9 and all(Path(path).is_absolute() for path in seen["gallery"])
    assert "[later]" not in outcome.log


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pipeline_is_called_by_a_helper(version, outcomes):
    seen = json.loads((outcomes(version).work / "later.json").read_text(encoding="utf-8"))
    expected = ["tiny_i2v", "generate", True]
    if version == "17.10":
        assert seen["helper"] and all(call == expected for call in seen["helper"])
    else:
        assert not seen["helper"]


@pytest.mark.parametrize("version", VERSIONS)
def test_where_mmgp_is(version, outcomes, wangp_at):
    seen = json.loads((outcomes(version).work / "later.json").read_text(encoding="utf-8"))
    folder = wangp_at(version) / "mmgp"
    assert (folder in Path(seen["mmgp"]).parents) == (version == "17.10") == folder.is_dir()
    assert seen["package"] == (version != "17.10")


@pytest.mark.parametrize("version", later.LATER)
def test_the_planner(version, wangp_at):
    plan = runpy.run_path(str(wangp_at(version) / "shared/utils/frame_scheduler.py"))[
        "build_default_window_plan"]

    def shape(total: int, **source: int) -> list[tuple[int, int]]:
        every = plan(total_frames=total, window_size=81, default_overlap=5, discard_last_frames=0,
                     minimum=5, step=4, **source)
        assert not any(window["trim_last_frames"] for window in every)
        return [(window["frame_num"], window["overlap_frames"]) for window in every]

    video = dict(first_window_overlap=5, initial_shared_frames=1)
    assert shape(233) == [(81, 0), (81, 5), (81, 5)]
    assert shape(233, first_window_overlap=1, initial_shared_frames=1) == [(81, 1), (81, 5),
                                                                           (81, 5)]
    assert shape(229, first_window_available_overlap=41, **video) == [(81, 5), (81, 5), (81, 5)]
    assert shape(229, first_window_available_overlap=3, **video) == [(81, 1), (81, 5), (77, 5)]


def test_an_edit_whose_line_is_gone_says_so(wangp_at, wangp_copy):
    tree = wangp_copy(wangp_at(later.BASE))
    before = (tree / "wgp.py").read_text(encoding="utf-8")
    (tree / "wgp.py").write_text(before.replace("samples = wan_model.generate(",
                                                "samples = wan_model.make("),
                                 encoding="utf-8")
    changed = (tree / "wgp.py").read_text(encoding="utf-8")
    with pytest.raises(later.AnchorLost,
                       match=r"wgp\.py has 'samples = wan_model\.generate\(' 0 times"):
        later.make(tree, "17.10", PYTHON)
    assert (tree / "wgp.py").read_text(encoding="utf-8") == changed, "nothing is written"


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    name = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    done = subprocess.run(["git", "-C", folder, *name, *arguments], capture_output=True,
                          encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(upstream: Path, tree: Path) -> None:
    for name in ("wgp.py", "models/wan", "shared", "profiles"):
        if (tree / name).is_dir():
            shutil.copytree(tree / name, upstream / name, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(tree / name, upstream / name)
    git(upstream, "add", "--all")
    git(upstream, "commit", "--quiet", "--message", "a version")


def test_git_pulls_from_one_to_the_next_with_the_hooks_in_place(wangp_at, tmp_path):
    upstream, user = tmp_path / "upstream", tmp_path / "Wän GP"
    upstream.mkdir()
    git(upstream, "init", "--quiet")
    commit(upstream, wangp_at(later.BASE))
    git(tmp_path, "clone", "--quiet", str(upstream), str(user))
    home = Path(__file__).parents[2]
    subprocess.run([sys.executable, home / "install.py", user], check=True, capture_output=True)
    for version in later.LATER:
        commit(upstream, wangp_at(version))
        git(user, "pull", "--quiet", "--ff-only")
        assert git(user, "status", "--porcelain") == ""
        source = (user / "wgp.py").read_text(encoding="utf-8")
        assert f'WanGP_version = "{version}"' in source and why_off(user) == ""
        before, _, after = source.partition('svi("before_generate"')
        assert "wan_model.generate" in after.splitlines()[1] and "wan_model.generate" not in before
