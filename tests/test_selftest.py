"""The self-test without WanGP: what it makes of what was seen, what it prints, and why it does not
begin.

In the real WanGP it is tested in tests/wangp/test_selftest_in_wangp.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import hosts
import pytest
import torch

import wan2gp_svi
from wan2gp_svi import chain
from wan2gp_svi.install import Refused, cli
from wan2gp_svi.install.patches import unhooked
from wan2gp_svi.install.plan import uninstall_plan
from wan2gp_svi.install.shipped import SELFTEST, Distribution
from wan2gp_svi.selftest import checks, command, copying, facts, measure, passed, plan, session
from wan2gp_svi.variants import CLIP_FRAMES, SEED_STEP, VARIANTS
from wan2gp_svi.wangp.recorder import with_provenance
from wan2gp_svi.wangp.tab import doctor

HOME = Path(__file__).parents[1]


def good() -> facts.Facts:
    """What a session sees if all is well."""
    found = facts.Facts(wangp="12.60", device="CPU", versions={"torch": "2.8"})
    for video in plan.VIDEOS.values():
        clips = []
        for number in range(video.first, video.clips):
            clip = facts.ClipFacts(
                number, video.prompts[min(number, len(video.prompts) - 1)], 81,
                seed=1234 + 42 * number, encodes=1, motion=0.0, latents=0.0, kept=[0, 1, 2, 3],
                experts=[1, 2] if video.model == plan.I2V22 else [1, 1])
            if video.chain.pro:
                clip.anchor, clip.handed, clip.rest = 0.0, 0.0 if number else None, 0.0
            else:
                clip.padding = 0.0
            clip.shown = 0 if video.model == plan.I2V else None
            clips.append(clip)
        found.videos[video.id] = facts.VideoFacts(
            clips, frames=video.frames, misplaced=[], listed=1, files=1,
            difference={"": None, "lora-plain": 11.7}.get(video.like, 0.0),
            seeds=[clip.seed for clip in clips])
    return found


def results(found: facts.Facts) -> list[checks.Result]:
    return [checks.result(check, found) for check in checks.CHECKS]


def failed(found: facts.Facts) -> dict[str, str]:
    return {result.id: result.seen for result in results(found) if not result.passed}


# ----------------------------------------------------------------------------------- what is wanted

def test_what_the_self_test_wants_is_what_the_package_does():
    """Written twice on purpose; so they must be the same."""
    assert (plan.FRAMES, plan.SEED_STEP) == (CLIP_FRAMES, SEED_STEP)
    for own, id in ((plan.SHOT, "shot"), (plan.FILM, "film-opt"), (plan.TWO, "2.0"),
                    (plan.TWO_WAN22, "2.0-wan22"), (plan.PRO, "2.0-pro")):
        variant = VARIANTS[id]
        assert (own.motion_frames, own.overlap, own.keep_new, own.pro, own.grey) == (
            variant.motion_frames, variant.overlap, variant.keep_new, variant.pro,
            variant.ref_pad_num == 0)
        for clips in (1, 2, 3):
            assert own.length(clips) == chain.length(clips, variant.overlap)
            assert [own.span(clip, clips) for clip in range(clips)] == [
                chain.kept(clip, clips, variant.overlap, variant.keep_new) for clip in range(clips)]


def test_every_profile_and_video_that_it_names_is_there():
    for video in plan.VIDEOS.values():
        assert list(HOME.glob(f"profiles/*/{video.profile}.json")), video.profile
    assert {video for check in checks.CHECKS for video in check.videos} == set(plan.VIDEOS)
    assert len({check.id for check in checks.CHECKS}) == len(checks.CHECKS) == 21


def test_only_what_the_chosen_checks_need_is_made_in_an_order_that_works():
    def ids(*videos: str) -> list[str]:
        return [video.id for video in plan.needed(videos)]

    assert ids("resumed", "continued") == ["two", "stopped", "resumed", "continued"]
    assert ids("lora-none") == ["lora-authors", "lora-plain", "lora-none"]
    assert ids("again") == ["shot", "again"] and ids("without") == ["off", "without"]


# ------------------------------------------------------------------------------------ what was seen

def test_where_all_is_well_every_check_passes_also_after_its_way_through_a_file(tmp_path):
    assert facts.read(tmp_path / "facts.json") is None
    good().write(tmp_path / "facts.json")
    found = facts.read(tmp_path / "facts.json")
    assert found == good() and not failed(found)


def spoil(id: str, number: int = -1, **changes):
    """A change of one clip, or of the video where `number` is None."""

    def change(found: facts.Facts) -> None:
        video = found.videos[id]
        target = video if number is None else video.clips[number]
        for name, value in changes.items():
            setattr(target, name, value)

    return change


@pytest.mark.parametrize(("change", "wanted", "said"), [
    (spoil("two", seed=1275), {"seeds"},
     "SVI-2.0, clip 2: it has the noise of seed 1275, not of 1276"),
    (spoil("two", seed=None), {"seeds"}, "no seed near it"),
    (spoil("shot", None, seeds=[1, 2]), {"seeds"}, "its settings name the seeds [1, 2]"),
    (spoil("shot", padding=127.5), {"chain-1"},
     "what follows the motion frames is not the reference (128 of 255 off)"),
    (spoil("film", padding=90.0), {"chain-grey"}, "is not grey"),
    (spoil("two", motion=3.0), {"chain-5"},
     "the motion frames are not the last 5 of the previous clip (3 of 255 off)"),
    (spoil("two", 0, motion=3.0), {"chain-5"}, "clip 1: it does not begin with the reference"),
    (spoil("wan22", latents=0.5), {"chain-wan22"}, "did not get what the VAE encoded"),
    (spoil("continued", motion=None), {"continue"}, "(nothing was seen)"),
    (spoil("continued", shown=4), {"continue"}, "CLIP saw motion frame 5"),
    (spoil("continued", kept=[]), {"continue"}, "the mask keeps no frame"),
    (spoil("two", shown=4), {"clip-image"}, "CLIP saw motion frame 5, not the first"),
    (spoil("shot", shown=None), {"clip-image"}, "CLIP saw nothing"),
    (spoil("two", kept=list(range(8))), {"mask"},
     "the mask keeps frames 0 to 4, not frame 0 alone"),
    (spoil("two", kept=[]), {"mask"}, "the mask keeps no frame"),
    (spoil("pro", anchor=0.3), {"pro"}, "does not begin with the latent of the reference"),
    (spoil("pro", handed=None), {"pro"}, "its second latent is not the last of the previous clip"),
    (spoil("pro", rest=0.3), {"pro"}, "the latents after those are not zero"),
    (spoil("pro", experts=[1, 1]), {"experts"}, "its steps ran on the experts [1, 1]"),
    (spoil("film", prompt="a boat"), {"prompts"},
     'has the prompt "a boat", not "a boat on a lake"'),
    (spoil("film", encodes=2), {"encode"}, "SVI-Film, clip 2: the VAE encoded 2 times"),
    (spoil("two", frames=77), {"length"}, "SVI-2.0, clip 2: it has 77 frames, not 81"),
    (spoil("two", None, frames=158), {"length", "seam-new"}, "its file has 158 frames, not 157"),
    (spoil("wan22", None, misplaced=[81, 82]), {"seam-old"},
     "2 frames are not where they belong, the first is 81"),
    (spoil("wan22", None, misplaced=None), {"seam-old"}, "cannot be compared with its clips"),
    (spoil("continued", None, frames=229), {"continue"}, "its file has 229 frames, not 233"),
    (spoil("continued", None, misplaced=[9]), {"continue"}, "1 frames are not where they belong"),
    (spoil("continued", encodes=2), {"continue"}, "the VAE encoded 2 times"),
    (spoil("resumed", motion=40.0), {"resume"}, "are not the last 5 of the previous clip"),
    (spoil("stopped", None, frames=157), {"resume"}, "its file has 157 frames, not 81"),
    (spoil("stopped", None, clips=[]), {"resume", "gallery"}, "0 clips were made, not 1"),
    (spoil("resumed", None, difference=8.0), {"resume"},
     'its frames are not those of "SVI-2.0" (one is 8.0 of 255 off)'),
    (spoil("again", None, difference=None), {"process"}, "(another number)"),
    (spoil("lora-plain", None, difference=2.5), {"lora"},
     'its frames are not those of "LoRA with the authors\' keys"'),
    (spoil("lora-none", None, difference=0.0), {"lora"}, "its frames are those with a LoRA"),
    (spoil("without", None, difference=0.1), {"off"}, 'its frames are not those of "SVI off"'),
    (spoil("two", None, listed=2), {"gallery"}, "SVI-2.0: it is in the gallery 2 times, not once"),
    (spoil("shot", None, files=2), {"gallery"}, "left 2 new videos, not one"),
    (spoil("shot", None, frames=0), {"profile", "gallery", "length", "seam-new"},
     "cannot be opened"),
])
def test_what_is_wrong_is_named_by_its_check_alone(change, wanted, said):
    found = good()
    change(found)
    found_wrong = failed(found)
    assert set(found_wrong) == wanted
    assert said in " ".join(found_wrong.values())


def test_of_many_problems_the_first_are_told():
    found = good()
    for video in found.videos.values():
        for clip in video.clips:
            clip.encodes = 2
    assert failed(found)["encode"].endswith("SVI-Film, clip 1: the VAE encoded 2 times and 7 more")


def test_a_gpu_need_not_add_up_in_the_same_order_twice():
    found = good()
    found.videos["again"].exact, found.videos["again"].difference = False, 0.4
    assert not failed(found)
    found.videos["again"].difference = 20.0
    assert set(failed(found)) == {"process"}


def test_a_video_that_was_not_made_fails_the_checks_that_look_at_it_with_its_error():
    found = good()
    found.videos["film"].error = "SVI: a start image is needed."
    wrong = failed(found)
    assert {"chain-grey", "prompts", "length"} <= set(wrong) and "chain-1" not in wrong
    assert wrong["chain-grey"] == "SVI-Film: SVI: a start image is needed"


def test_a_session_that_ended_early_is_said_to_have():
    found = facts.Facts(wangp="12.60", error="RuntimeError: CUDA\nout of memory.")
    wrong = failed(found)
    assert set(wrong) == {check.id for check in checks.CHECKS}
    assert wrong["off"] == ("SVI off, WanGP without SVI: WanGP ended before it: RuntimeError: CUDA "
                            "out of memory")
    assert command.verdict(outcome(found)) == (
        "No check ran on WanGP 12.60 (unknown device) in 61 s. WanGP ended early: RuntimeError: "
        "CUDA out of memory. Start WanGP and make a video without SVI. If that works, run "
        "install.py again, and if it still fails, send the text below with a bug report.")
    assert command.table(outcome(found)) == []
    found.videos = {"shot": good().videos["shot"]}
    assert "16 more. Start WanGP and make a video without SVI" in command.verdict(outcome(found))
    assert len(command.table(outcome(found))) == 21


# ------------------------------------------------------------------------------- tensors to numbers

def test_the_seed_of_a_noise_is_found_also_in_16_bit():
    noise = torch.randn(1, 16, 21, 8, 8, generator=torch.Generator().manual_seed(plan.SEED + 41))
    assert measure.seed_of(noise[0], "cpu") == plan.SEED + 41
    assert measure.seed_of(noise.bfloat16().float(), "cpu") == plan.SEED + 41
    assert measure.seed_of(torch.randn(1, 16, 21, 8, 8), "cpu") is None


def test_frames_that_are_not_where_they_belong_are_found_in_spite_of_the_encoder():
    frames = torch.randint(0, 255, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    blurred = (frames + torch.randint(-20, 20, frames.shape)).clamp(0, 255).to(torch.uint8)
    assert measure.misplaced(blurred, frames) == []
    late = torch.cat([blurred[:10], blurred[9:19]])
    assert measure.misplaced(late, frames) == list(range(10, 20))
    assert measure.misplaced(blurred, frames[:18]) == [18, 19]


def test_a_picture_is_known_among_the_motion_frames():
    motion = torch.rand(3, 5, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    picture = torch.nn.functional.interpolate(motion[:, 3][None], (40, 40), mode="bilinear")
    assert measure.shown(picture[0][:, None], motion) == 3


def test_the_seeds_in_a_videos_settings_are_found():
    assert measure.named_seeds(with_provenance({"seed": 1}, {"seeds": [1, 43]})) == [1, 43]
    assert measure.named_seeds({"custom_settings": None}) == measure.named_seeds({}) == []


def test_differences_are_in_steps_of_8_bit_and_in_shares():
    one, two = torch.zeros(3, 2, 4, 4), torch.full((3, 2, 4, 4), 2 / 255)
    assert measure.steps(one, two) == pytest.approx(1) and measure.steps(one, two[:, :1]) == 255
    assert measure.gap(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])) == 0.5


# ---------------------------------------------------------------------------------- what is printed

def outcome(found: facts.Facts) -> command.Outcome:
    return command.Outcome(results(found), found, 61.2, ["[SVI] clip 2/2 done in 1.6 s"])


def test_the_verdict_is_one_sentence():
    count = len(checks.CHECKS)
    assert command.verdict(outcome(good())) == (
        f"All {count} checks passed on WanGP 12.60 (CPU) in 61 s: SVI works here.")
    found = good()
    spoil("two", seed=1275)(found)
    said = command.verdict(outcome(found))
    assert said.startswith(f"1 of {count} checks failed on WanGP 12.60 (CPU) in 61 s: A seed for "
                           "each clip. Run ")


def test_the_table_has_a_mark_for_every_check_also_on_an_old_console():
    found = good()
    spoil("two", seed=1275)(found)
    lines = command.table(outcome(found))
    assert len(lines) == len(checks.CHECKS)
    assert [line.startswith("FAILED ") for line in lines].count(True) == 1
    old = [line.encode("cp850", "backslashreplace").decode("cp850").split()[0] for line in lines]
    assert old.count("FAILED") == 1 and old.count("\\u2713") == len(checks.CHECKS) - 1


def test_the_text_for_a_bug_report_has_what_failed_and_no_name_of_the_user(tmp_path):
    found = good()
    found.settings = {"attention_mode": "sage2", "video_container": str(Path.home() / "x")}
    spoil("two", seed=1275)(found)
    text = "\n".join(command.report(outcome(found), tmp_path))
    assert "seeds: SVI-2.0, clip 2: it has the noise of seed 1275" in text
    assert "attention_mode sage2" in text and "torch 2.8" in text
    assert "clip 2/2 done" in text and str(Path.home()) not in text


def test_the_log_is_told_without_bars_of_progress():
    log = ("Loading\n  0%|    | 0/2\r100%|####| 2/2 [00:00]\n  [1/2] Denoising | 0.1s\n====\n\n"
           "  [2/2] Decoding | 0.2s  [SVI] clip 1/2 done\nTraceback: no\n")
    assert command.telling(log) == ["Loading", "[SVI] clip 1/2 done", "Traceback: no"]
    assert command.telling("") == ["it said nothing"]


@pytest.mark.parametrize(("log", "error"), [
    ("[Task 1/1]\n  [ERROR] out of memory\nTraceback\n", "out of memory"),
    ("  [SKIP] Task 1 failed validation: SVI: no start image\n",
     "Task 1 failed validation: SVI: no start image"),
    ("[ERROR] The generation of the video has encountered an error: please check your terminal for "
     "more information. 'a bad seed'\n", "a bad seed"),
    ("all is well\n", ""),
])
def test_wangps_error_is_found_in_its_log(log, error):
    assert session.error_in(log) == error


def test_progress_counts_clips_and_tells_how_long_it_will_take(tmp_path):
    assert plan.progress(plan.VIDEOS["shot"], 2, 4, 3.2, 8.0) == (
        "[ 2/4 clips] SVI-Shot, 3 s; about 8 s left")
    assert plan.progress(plan.VIDEOS["pro"], 4, 4, 3.2, 11.0) == "[ 4/4 clips] SVI-2.0 Pro, 3 s"
    path = tmp_path / "progress.txt"
    assert command.whole_lines(path) == []
    path.write_text("[ 0/4 clips] starting WanGP\n[ 2/4", encoding="utf-8")
    assert command.whole_lines(path) == ["[ 0/4 clips] starting WanGP"]


# ------------------------------------------------------------------------------ why it cannot begin

@pytest.fixture
def wangp(tmp_path) -> Path:
    """A folder that looks like a WanGP with SVI in it."""
    tree = tmp_path / "Wän GP (1)"
    for name in ("wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py",
                 "shared/utils/a.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text('WanGP_version = "12.60"\n', encoding="utf-8")
    (tree / "wan2gp_svi").mkdir()
    return tree


@pytest.fixture
def installed(tmp_path) -> Path:
    """A small WanGP that fits the contract, with SVI installed."""
    tree = hosts.write(tmp_path / "Wän GP (2)")
    assert cli.main([str(tree)], home=HOME) == 0
    return tree


def says(*arguments: object, folder: Path = HOME) -> str:
    done = subprocess.run([sys.executable, "-m", "wan2gp_svi", "selftest", *map(str, arguments)],
                          cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return " ".join(done.stderr.split())


def test_it_says_what_to_do_where_there_is_no_wangp_or_no_svi_in_it(wangp, tmp_path):
    assert says(tmp_path / "nothing").startswith("Self-test: ")
    (tmp_path / "empty").mkdir()
    assert "is not a WanGP folder" in says(tmp_path / "empty")
    assert f"SVI for WanGP is not installed in {wangp}" in says(wangp)
    assert "python install.py" in says(wangp)
    (wangp / "wan2gp_svi/selftest").mkdir()
    (wangp / "wan2gp_svi/selftest/session.py").touch()
    (wangp / "wan2gp_svi/__init__.py").write_text('__version__ = "0.1"\n', encoding="utf-8")
    assert (f"release 0.1 is installed in {wangp}, but this is {wan2gp_svi.__version__}"
            in says(wangp))


def test_it_says_which_hooks_are_missing(installed):
    command.check_installed(installed)
    source = (installed / "wgp.py").read_bytes()
    (installed / "wgp.py").write_bytes(unhooked(source))
    assert "SVI is off" in says(installed) and "wgp.py has 0 of 4 hooks" in says(installed)


def test_it_says_so_if_this_wangp_lacks_what_the_self_test_needs(installed):
    source = (installed / "wgp.py").read_text(encoding="utf-8")
    changed = source.replace("def process_tasks_cli(", "def process(")
    (installed / "wgp.py").write_text(changed, encoding="utf-8")
    assert says(installed) == (
        "Self-test: the self-test cannot run in this WanGP: wgp.py has no process_tasks_cli. Get a "
        "newer release of SVI for WanGP, unless you edited that file: then undo the edit; SVI "
        "itself is not affected.")


def test_it_says_so_where_no_python_has_wangps_packages(wangp, monkeypatch):
    monkeypatch.setattr(command, "_NEEDED", ("no_such_package",))
    with pytest.raises(Refused, match="lacks WanGP's packages, and no Python in"):
        command.find_python(wangp)
    monkeypatch.setattr(command, "_NEEDED", ("json",))
    assert command.find_python(wangp) == sys.executable
    assert not command.has_packages(str(wangp / "no/python"))


def test_a_python_in_wangps_folder_is_found(wangp, monkeypatch):
    python = wangp / "env/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(command, "has_packages", lambda program: program == str(python))
    assert command.find_python(wangp) == str(python)


def test_the_command_needs_no_package():
    code = ("import sys; from wan2gp_svi.selftest import command; "
            "print(*{'torch', 'numpy', 'safetensors', 'gradio'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True,
                          encoding="utf-8", check=True)
    assert done.stdout.strip() == ""


# ----------------------------------------------------------------------------------------- the copy

def test_only_sources_are_copied_and_nothing_of_the_users(wangp, tmp_path):
    wanted = {"wgp.py", "models/wan/any2video.py", "models/wan/modules/model.py",
              "shared/utils/a.py", "mmgp/offload.py", "plugins/about/plugin.py"}
    others = {"ckpts/model.safetensors", "models/wan/weights.pth", "loras/a.json", "outputs/a.json",
              "env/pyvenv.cfg", "env/lib/a.py", "plugins/mine/.git/config",
              "plugins/mine/plugin.py", "notes.txt", ".git/config", "settings/i2v.json",
              "models/__pycache__/a.pyc", "wgp_config.json"}
    for name in wanted | others:
        (wangp / name).parent.mkdir(parents=True, exist_ok=True)
        (wangp / name).touch()
    copying.copy(wangp, tmp_path / "copy")
    assert {path.relative_to(tmp_path / "copy").as_posix()
            for path in (tmp_path / "copy").rglob("*") if path.is_file()} == wanted


def test_too_little_room_for_the_copy_is_said_before_wangp_starts(tmp_path, monkeypatch):
    (tmp_path / "wgp.py").write_text('WanGP_version = "12.60"\n')
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * 10**8))
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(Refused, match="has 200 MB left, and the self-test needs 300"):
        command.test(tmp_path, sys.executable, checks.CHECKS, print)
    assert [path.name for path in tmp_path.iterdir()] == ["wgp.py"]


def test_the_users_settings_stay_but_for_what_would_leave_the_copy(tmp_path):
    user = {"attention_mode": "sage2", "vae_precision": "16", "profile": 2,
            "vram_allocator": "vmm_spill", "save_path": "D:/films", "loras_root": "D:/loras",
            "checkpoints_paths": ["D:/models"], "enabled_plugins": ["mine"],
            "compile": "transformer", "transformer_dtype_policy": "fp16"}
    made = copying.config(user, tmp_path / "out", "svi_selftest_i2v", gpu=True)
    kept = ("attention_mode", "vae_precision", "profile", "vram_allocator",
            "transformer_dtype_policy")
    assert {name: made[name] for name in kept} == {name: user[name] for name in kept}
    assert not any("D:" in str(value) for value in made.values()) and made["enabled_plugins"] == []
    without = copying.config(user, tmp_path / "out", "svi_selftest_i2v", gpu=False)
    assert (without["attention_mode"], without["vae_precision"]) == ("sdpa", "32")


# ------------------------------------------------------------------------------------- what is kept

def test_a_pass_is_remembered_until_wangp_or_svi_changes(wangp, monkeypatch):
    assert passed.changed_since(wangp) == ""
    passed.remember(wangp, "All checks passed.")
    assert passed.changed_since(wangp) == ""
    source = wangp / "models/wan/modules/model.py"
    before = source.read_bytes()
    for same in (before.replace(b"\n", b"\r\n"), before + b"svi()  # wan2gp_svi\n"):
        source.write_bytes(same)
        assert passed.changed_since(wangp) == ""
    source.write_bytes(before + b"changed = 1\n")
    today = json.loads((wangp / SELFTEST).read_text(encoding="utf-8"))["when"]
    assert passed.changed_since(wangp) == (
        f"WanGP changed since the self-test passed on WanGP 12.60 on {today}. Run it again: "
        "python -m wan2gp_svi selftest")
    source.write_bytes(before)
    monkeypatch.setattr(passed, "__version__", "9.9")
    assert passed.changed_since(wangp).startswith(
        f"SVI changed from release {wan2gp_svi.__version__} to 9.9 since")
    for damaged in ("[", "[]", "null", "[" * 100_000):
        (wangp / SELFTEST).write_text(damaged, encoding="utf-8")
        assert passed.changed_since(wangp) == ""


def test_what_is_remembered_is_no_part_of_the_distribution_and_goes_with_it(wangp):
    passed.remember(wangp, "All checks passed.")
    assert SELFTEST not in Distribution(wangp, "1").files()
    changes = uninstall_plan(wangp, Distribution(HOME, "1")).changes
    assert [change.after for change in changes if change.path == SELFTEST] == [None]


# ------------------------------------------------------------------------------------------ the tab

def test_the_button_shows_what_the_self_test_says_as_it_comes(tmp_path):
    code = "import sys; print(sys.argv[1:], flush=True); print('✓ all is well')"
    said = list(doctor.self_test(tmp_path, False, [sys.executable, "-c", code]))
    assert len(said) == 2 and said[1].startswith(said[0]) and "✓ all is well" in said[1]
    assert str(tmp_path) in said[0]


def test_the_button_refuses_while_wangp_generates_and_while_it_is_pressed_already(tmp_path):
    with pytest.raises(Refused, match="WanGP is generating"):
        next(doctor.self_test(tmp_path, True))
    slow = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    first = doctor.self_test(tmp_path, False, slow)
    assert next(first) == "begun\n"
    with pytest.raises(Refused, match="under way already"):
        next(doctor.self_test(tmp_path, False, slow))
    begin = time.monotonic()
    first.close()  # the page is gone
    assert time.monotonic() - begin < 10
    quick = [sys.executable, "-c", "print('again')"]
    assert list(doctor.self_test(tmp_path, False, quick)) == ["again\n"]


def test_a_video_that_was_not_made_is_said_to_be_missing():
    found = replace(good(), videos={})
    assert all(result.seen.endswith("it was not made") for result in results(found))
