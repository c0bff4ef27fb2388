"""The command line of runs: as strict as the tab, and plain in what it says."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from wan2gp_svi import __main__ as command
from wan2gp_svi.runs.record import About, Clip
from wan2gp_svi.runs.store import STOP, Run, Store
from wan2gp_svi.wangp.tab import view

SETTINGS = {"model_type": "i2v", "sliding_window_overlap": 1, "multi_prompts_gen_type": "PW",
            "prompt": "one", "video_length": 241, "seed": 7}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "svi")


def make(store: Store, done: int = 3, ended: str = "finished") -> Run:
    """A run of 3 clips, of which `done` are on disk."""
    about = About("shot", "SVI-Shot", 3, 7, 16.0, ["one"], ["one"], 1, {},
                  SETTINGS if done else {}, ended=ended)
    picture = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(picture, format="PNG")
    run = store.new(about, {"start.png": picture.getvalue()})
    for number in range(done):
        piece = run.path(number, ".mp4")
        piece.write_bytes(b"a video")
        run.add(Clip(number, "one", 7 + 42 * number, 80, 1), [piece], {"m": torch.zeros(1)})
    return run


@pytest.fixture
def svi(store: Store, capsys: pytest.CaptureFixture):
    """The arguments of a command -> its exit code, and what it printed."""
    def run(*arguments: str) -> tuple[int, str, str]:
        code = command.main([*arguments, "--outputs", str(store.folder.parent)])
        return code, *capsys.readouterr()
    return run


@pytest.mark.parametrize(("arguments", "said"), [
    (["resume"], "is finished: all 3 clips are done. Extend it, or redo it from a clip."),
    (["redo", "--clip", "2"], "Enter a new prompt or a new seed, or both"),
    (["redo", "--clip", "2", "--prompt", " one "], "Enter a new prompt or a new seed, or both"),
    (["redo", "--clip", "2", "--seed", "-5"], "The seed must be from 0 to 4,294,967,295, not -5."),
    (["redo", "--clip", "2", "--seed", str(2**32)], "The seed must be from 0 to 4,294,967,295"),
    (["redo", "--clip", "4", "--seed", "1"], "so it can be redone from clip 2 to 3."),
    (["extend", "--clips", "100000"], "and at most 1,497: a video has up to 1,500 clips, and run"),
])
def test_what_the_tab_refuses_is_refused_and_nothing_is_written(store: Store, svi, arguments, said):
    run = make(store)
    before = sorted(run.folder.iterdir())
    code, out, error = svi(arguments[0], run.name, *arguments[1:])
    assert (code, out) == (1, "") and said in error and error.count("\n") == 1
    assert sorted(run.folder.iterdir()) == before


def test_a_run_with_one_clip_can_be_redone_only_from_the_next(store: Store, svi):
    run = make(store, done=1, ended="stopped")
    said = svi("redo", run.name, "--clip", "3", "--seed", "1")[2]
    assert "has 1 finished clip of 3, so it can be redone only from clip 2." in said


def test_settings_are_written_and_the_next_command_is_said(store: Store, svi):
    run = make(store)
    code, out, error = svi("extend", run.name, "--clips", "2", "--prompt", "two")
    assert (code, error) == (0, "") and "3 of 3 clips are on disk" in out
    assert f'python wgp.py --process "{run.folder / "extend.json"}"' in out
    run.change(replace(run.about, settings={**SETTINGS, "model_type": "svi_small"}))
    out = svi("extend", run.name, "--clips", "2")[1]  # WanGP's own start needs a GPU
    assert f'demo-model . --start --process "{run.folder / "extend.json"}"' in out


def test_a_prompt_of_an_extension_may_be_empty_or_have_paragraphs(store: Store, svi):
    run = make(store)
    for prompts, asked in (([""], ["one"]), (["a\nkite"], ["one"] * 3 + ["a kite"] * 2),
                           (["", "a kite\n\nit dives"], ["one"] * 3 + ["a kite", "it dives"]),
                           (["# of WanGP's\n\na kite\n# it\n\nfalls"],
                            ["one"] * 3 + ["a kite", "falls"])):
        options = [word for prompt in prompts for word in ("--prompt", prompt)]
        assert svi("extend", run.name, "--clips", "2", *options)[0] == 0
        settings = json.loads((run.folder / "extend.json").read_text("utf-8"))
        assert settings["prompt"].split("\n\n") == asked


def test_a_run_that_is_named_twice_is_removed_once(store: Store, svi):
    run = make(store)
    code, out, error = svi("runs", "--remove", run.name, run.name[-4:], "--yes")
    assert (code, error, out.count("is removed")) == (0, "", 1)


def test_stop_names_the_run_that_is_running(store: Store, svi):
    idle, run = make(store), make(store, 1, "")
    assert svi("stop")[::2] == (1, f"No run in {store.folder} is running.\n")
    assert svi("stop", idle.name)[2] == f"Run {idle.name} is not running. No run is running.\n"
    release = run.lock()
    assert svi("stop", idle.name)[::2] == (
        1, f"Run {idle.name} is not running. Running: {run.name}.\n")
    assert not (idle.folder / STOP).exists()
    assert svi("stop")[:2] == (
        0, f"Run {run.name} stops after the current clip. You can resume it at any time.\n")
    assert (run.folder / STOP).exists()
    assert svi("stop", run.name, "--undo")[0] == 0 and not (run.folder / STOP).exists()
    other = make(store, 1, "")
    release_other = other.lock()
    assert "Several runs are running" in svi("stop")[2]
    release(), release_other()
    last = make(store, 2, "")
    release = last.lock()
    assert svi("stop")[:2] == (
        0, f"Run {last.name} is in its last clip and will be finished with it.\n")
    assert not (last.folder / STOP).exists(), "there is nothing to take back"
    release()


def test_runs_without_a_clip_are_removed_together(store: Store, svi):
    kept, empty = make(store), [make(store, 0, "OutOfMemoryError") for _ in range(2)]
    out = svi("runs")[1]
    assert out.count("no clip finished") == 2 and "0/3" not in out
    code, out, _ = svi("runs", "--remove-empty", "--yes")
    assert code == 0 and out.count("is removed") == 2 and "This frees" in out
    assert [run.name for run in store.runs()] == [kept.name]
    assert not any(run.folder.exists() for run in empty)
    assert "There are no runs to remove" in svi("runs", "--remove-empty", "--yes")[1]


def test_nothing_is_removed_where_nobody_can_answer(store: Store, svi, monkeypatch):
    run = make(store)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, err = svi("runs", "--remove", run.name)
    assert (code, err) == (0, "") and out.endswith("Nothing was removed.\n")
    assert run.folder.exists()


def test_a_folder_that_is_no_run_is_not_removed_as_one_without_a_word(store: Store, svi):
    run = make(store)
    (store.folder / "holiday").mkdir()
    (store.folder / "holiday" / "letter.txt").write_text("Dear Ann", encoding="utf-8")
    assert ("holiday has no run.json, so it is no run. Delete the folder if you need nothing in it"
            in svi("runs")[1])
    warning = "All files in holiday go, which may not be SVI's: no run.json is there."
    assert warning in svi("runs", "--remove", "holiday", run.name)[1]
    assert warning not in svi("runs", "--remove", run.name)[1]
    assert "Folder holiday is removed." in svi("runs", "--remove", "holiday", "--yes")[1]


def test_an_interrupt_ends_a_command_without_a_traceback(store: Store, svi, monkeypatch):
    def interrupt() -> str:
        raise KeyboardInterrupt

    run = make(store)
    monkeypatch.setattr(sys, "stdin", type("Console", (), {"readline": staticmethod(interrupt)})())
    assert svi("runs", "--remove", run.name)[::2] == (130, "\nStopped.\n")
    assert run.folder.exists()


def test_a_run_is_given_a_name_that_lists_show(store: Store, svi):
    run = make(store)
    assert svi("name", run.name, "the storm")[1] == f"Run {run.name} is named the storm.\n"
    assert "the storm" in svi("runs")[1] and store.find(run.name).about.label == "the storm"
    for taken in ("Auto", "new", "storm@3"):
        said = svi("name", run.name, taken)[2]
        assert "Choose another name: auto, new and names with @ mean" in said
    other = make(store)
    said = svi("name", run.name, other.name[-4:].upper())[2]
    assert f"is the end of {other.name}, another run" in said
    assert store.find(run.name).about.label == "the storm"
    svi("name", run.name, "")
    assert "the storm" not in svi("runs")[1]


def test_a_run_is_known_by_the_name_that_it_was_given(store: Store, svi):
    storm, other = make(store, 1, "stopped"), make(store, 1, "stopped")
    svi("name", storm.name[-4:], "The storm, second try")
    for given in ("the storm, second try", "storm", "THE  storm", "second"):
        code, out, error = svi("resume", given)
        assert (code, error) == (0, "") and f"Run {storm.name}, SVI-Shot: 1 of 3 clips is" in out
    svi("name", other.name, "the storm")
    assert f"Run {other.name}," in svi("resume", "the storm")[1], "the whole name goes first"
    error = svi("resume", "storm")[2]
    assert "have given names with 'storm': " in error and (
        f"{storm.name} (The storm, second try)" in error)
    svi("name", other.name, storm.name[-4:])
    assert f"Run {storm.name}," in svi("resume", storm.name[-4:])[1], "its own name goes first"
    error = svi("resume", "calm")[2]
    assert "There is no run 'calm'" in error and "(The storm, second try)" in error
    assert svi("runs", "--remove", "second try", "--yes")[0] == 0 and not storm.folder.exists()


def test_the_list_has_the_time_that_it_is_sorted_by(store: Store, svi):
    old, new = make(store), make(store)
    for run, at in ((old, 1_700_000_000), (new, 1_700_090_000)):
        run.change(replace(run.about, made="2020-01-01T00:00:00"))
        os.utime(run.folder / "run.json", (at, at))
    head, first, second = svi("runs")[1].splitlines()[:3]
    assert "CHANGED" in head and "2020" not in first + second
    assert [line.split()[0] for line in (first, second)] == [new.name, old.name]
    assert " ".join(first.split()[1:3]) > " ".join(second.split()[1:3]) > "2023-11-1"


def test_prompts_that_an_extension_would_drop_are_refused(store: Store, svi, tmp_path: Path):
    run = make(store)
    prompts = ("--prompt", "a storm", "--prompt", "calm")
    assert svi("extend", run.name, "--clips", "1", *prompts)[2] == (
        "Add 2 clips, or remove 1 prompt: there are 2 prompts for 1 clip.\n")
    assert "Remove --prompt: with a longer sound" in svi(
        "extend", run.name, "--sound", str(tmp_path / "a.wav"), "--prompt", "calm")[2]
    assert not (run.folder / "extend.json").exists()


def test_a_redo_says_which_seed_its_first_clip_gets(store: Store, svi):
    run = make(store)
    assert "Clip 2 gets the seed 141." in svi("redo", run.name, "--clip", "2", "--seed", "99")[1]
    assert "Clip 3 gets the seed 91." in svi("redo", run.name, "--clip", "3", "--prompt", "x")[1]
    run.change(replace(run.about, settings={
        **SETTINGS, "custom_settings": {"svi_storyboard": "[2]\nseed = 5"}}))
    # each take has a file of its own, and the same take the same
    for options, seed, name in ((["--seed", "99"], 99, "redo-2-2.json"),
                                (["--prompt", "x"], 5, "redo-2-3.json"),
                                (["--seed", "99"], 99, "redo-2-2.json")):
        said = svi("redo", run.name, "--clip", "2", *options)[1]
        assert f"gets the seed {seed}." in said and name in said
        assert f"This will redo run {run.name} from clip 2 of 3.\n" in said
        asked = json.loads((run.folder / name).read_text("utf-8"))
        assert f"seed = {seed}" in asked["custom_settings"]["svi_storyboard"]


def test_counts_are_words_that_fit(store: Store, svi):
    run = make(store, 1)
    run.change(replace(run.about, clips=1))
    assert "is finished: its clip is done. Extend it.\n" in svi("resume", run.name)[2]
    assert "1 of 1 clip is on disk.\n" in svi("extend", run.name, "--clips", "1")[1]
    empty = make(store, 0, "")
    for options in (["resume"], ["extend", "--clips", "1"], ["redo", "--clip", "2"]):
        assert svi(options[0], empty.name, *options[1:])[2] == (
            f"Press Generate again with the settings of run {empty.name}: none of its clips is "
            "finished.\n")


def test_an_empty_list_names_its_folder(store: Store, svi):
    store.folder.mkdir()
    assert svi("runs")[:2] == (0, f"There are no runs in {store.folder}\n")


@pytest.mark.parametrize("path", ["wan2gp_svi", "wan2gp_svi/__main__.py"])
def test_the_package_is_started_by_its_path_as_well(path: str, store: Store):
    done = subprocess.run([sys.executable, path, "runs", "--outputs", str(store.folder.parent)],
                          cwd=Path(__file__).parents[1], capture_output=True, encoding="utf-8")
    assert (done.stdout, done.stderr, done.returncode) == (
        f"There are no runs in {store.folder}\n", "", 0)


@pytest.mark.parametrize("arguments", [["runs", "--outputs", "."], ["redo", "--help"],
                                       ["demo", "--help"], ["selftest", "--help"]])
def test_a_reader_that_has_seen_enough_gets_no_traceback(arguments: list[str]):
    process = subprocess.Popen([sys.executable, "-m", "wan2gp_svi", *arguments],
                               cwd=Path(__file__).parents[1], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.stdout.close()  # as `head` does
    assert process.stderr.read() == b"" and process.wait() in (0, 1)
    process.stderr.close()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.EINVAL, "Invalid argument")])
def test_a_closed_pipe_is_known_on_linux_and_windows(error: OSError, monkeypatch, store: Store):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Store, "runs", fail)
    silenced: list[int] = []
    monkeypatch.setattr(os, "dup2", lambda one, two: silenced.append(two))
    assert command.main(["runs", "--outputs", str(store.folder.parent)]) == 1 and silenced == [1]


@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "ascii"])
def test_every_console_can_print_every_name(tmp_path: Path, encoding: str,
                                            monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "视频 „ü“"
    run = make(Store(folder / "svi"))
    (folder / "视.json").write_text('[{"prompt": "数", "model_type": "i2v"}]', "utf-8")

    def code(*arguments: object) -> int:
        console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", console)
            patch.setattr(sys, "stderr", console)
            found = command.main([*map(str, arguments)])
        assert b"\\u89c6" in console.buffer.getvalue()
        return found

    outputs = ("--outputs", folder)
    assert code("runs", *outputs) == 0 and code("extend", run.name, "--clips", 2, *outputs) == 0
    assert code("drift", folder / "夜.mp4") == 1 and code("check", folder / "视.json") == 0
    assert code("demo", "--image", folder / "夜.png") == 1
    assert code("demo-model", folder) == 1 and code("selftest", folder) == 1
    assert code("name", run.name, "视", *outputs) == 0
    assert code("runs", "--remove", run.name[-4:], "--yes", "--outputs", folder / "svi") == 1


@pytest.mark.parametrize("name", [*command.EXAMPLES, "demo", "selftest"])
def test_help_has_examples_that_can_be_pasted(name: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        command.main([name, "--help"])
    lines = re.findall(r"^  python -m wan2gp_svi (.*)$", capsys.readouterr().out, re.M)
    assert len(lines) >= 2 and all(line.startswith(name) for line in lines)
    if name not in command.EXAMPLES:
        return  # it has a parser of its own
    from wan2gp_svi import drift
    from wan2gp_svi.demo.in_wangp import command as demo_model
    from wan2gp_svi.wangp.check import command as check

    parser = command.build_parser(drift, check, demo_model)
    assert all(parser.parse_args(shlex.split(line)).command == name for line in lines)


def test_lists_show_the_prompt_that_the_first_clip_gets(svi, store):
    run = make(store)
    for rows, said in ("[2]\nprompt = it dives", run.about.asked[0]), (
            "[1]\nprompt = a kite rises", "a kite rises"), ("[1]\nseeds = 1", run.about.asked[0]):
        run.change(replace(run.about, settings={
            **run.about.settings, "custom_settings": {"svi_storyboard": rows}}))
        assert svi("runs")[1].splitlines()[1].endswith(f"  {said}")
        assert f"<div>{said}</div>" in view.card(view.look(run))


def test_a_storyboard_is_made_checked_and_shown(svi, tmp_path):
    story, board = tmp_path / "story.txt", tmp_path / "board ü.txt"
    story.write_text("a kite\nrises\n\nit dives", encoding="utf-8")
    code, out, _ = svi("storyboard", "--prompts", str(story), "--clips", "3")
    assert code == 0 and out == "[1-2]\nprompt = a kite rises\n\n[3]\nprompt = it dives\n"
    assert svi("storyboard", "--prompts", str(story), "--out", str(board))[0] == 0
    assert board.read_text("utf-8") == "[1]\nprompt = a kite rises\n\n[2]\nprompt = it dives\n"
    code, out, _ = svi("storyboard", str(board), "--clips", "3")
    assert code == 0 and out.splitlines() == [
        "clip 1: prompt a kite rises", "clip 2: prompt it dives", "clip 3: as in the form"]
    code, _, error = svi("storyboard", "--prompts", str(story), "--out", str(board))
    assert code == 1 and "exists already" in error
    board.write_text("[1-2]\nSVI strength = 1.2\nseed = 5", encoding="utf-8")
    code, out, _ = svi("storyboard", str(board))
    assert code == 0 and out.splitlines() == [
        "clip 1: seed 5; SVI strength 1.2", "clip 2: seed 5; SVI strength 1.2",
        "warning: clips 1 and 2 have the same seed, 5, so they start from the same noise. Give "
        "each its own, or none."]
    board.write_text("# nothing", encoding="utf-8")
    assert svi("storyboard", str(board))[1] == (
        "The storyboard has no row: every clip is made as the form says.\n")


def test_a_run_is_remade_by_a_storyboard(svi, store, tmp_path):
    run, board = make(store), tmp_path / "board.txt"
    assert svi("storyboard", "--run", run.name[-4:])[1] == (
        f"Run {run.name} has no storyboard: every clip is made with the run's settings.\n")
    board.write_text("[all]\npause = yes\n[2]\nseed = 5\n", encoding="utf-8")
    assert "WanGP stops after every clip, so you can look" in svi("storyboard", str(board))[1]
    given = "--run", run.name, "-o", str(tmp_path / "no/x.json")
    code, _, error = svi("storyboard", str(board), *given)
    assert code == 1 and f"There is no folder {tmp_path / 'no'}: choose another, or create" in error
    board.write_text("[2]\nseed = 5\n", encoding="utf-8")
    code, out, _ = svi("storyboard", str(board), "--run", run.name)
    assert code == 0 and "--process" in out
    settings = json.loads((run.folder / "storyboard.json").read_text("utf-8"))
    assert settings["custom_settings"] == {"svi_run": f"{run.name}@2",
                                           "svi_storyboard": "[2]\nseed = 5\n"}
    board.write_text("[1]\nseed = 5\n", encoding="utf-8")
    assert "make a new video" in svi("storyboard", str(board), "--run", run.name)[2]
    (run.folder / "storyboard.json").unlink()
    board.write_text(f"[2]\nseed = {run.about.seed}\n", encoding="utf-8")
    code, out, _ = svi("storyboard", str(board), "--run", run.name)
    assert code == 0 and "warning: clips 1 and 2 have the same seed" in out.splitlines()[-2]
    (run.folder / "storyboard.json").unlink()
    board.write_text("[2]\nend image = loop\n", encoding="utf-8")
    code, _, error = svi("storyboard", str(board), "--run", run.name)
    assert code == 1 and "clip 2 cannot close the loop" in error
    assert not (run.folder / "storyboard.json").exists()


@pytest.mark.parametrize(("text", "options", "said"), [
    ("[1]\nseeds = 1", ["{file}"], "is unknown. Known are: prompt, seed"),
    ("[4]\nseed = 1", ["{file}", "--clips", "2"], "clip 4 is not in this video, which has 2 cli"),
    ("[2]\nend image = loop", ["{file}", "--clips", "3"],
     "clip 2 cannot close the loop, because only the last one ends the video. Close it in"),
    ("[1]\nreference = no.png", ["{file}"], "Storyboard: the image no.png does not exist. Add"),
    ("[1]\nend image = {file}", ["{file}"], "board.txt cannot be read as an image. Add another"),
    ("[2]\nsvi strength = 0", ["{file}"], "clip 2 would be made without the SVI LoRA"),
    ("one\n\ntwo", ["--prompts", "{file}", "--clips", "1"], "2 prompts need 2 clips or more"),
    ("", ["--prompts", "{file}"], "There is no prompt."),
    ("# a note", ["--prompts", "{file}"], "There is no prompt."),
    ("[2]\nprompt = # x", ["{file}"], "A prompt begins with #, as comments do in WanGP's form."),
    ("! {{X}}=\"a\"\na {{X}}", ["--prompts", "{file}"], "A prompt begins with !, as var"),
    ("x", ["--prompts", "{file}", "{file}"], "Give a storyboard or prompts, not both."),
    ("x", [], "Give a storyboard (FILE), --prompts TEXT, or --run RUN."),
    ("x", ["nowhere.txt"], "owhere.txt"),
    ("x", ["--run", "nothing"], "There is no run 'nothing'"),
    ("[1]\nseed = 1", ["{file}", "--clips", "0"], "--clips must be from 1 to 1,500, not 0."),
    ("[1]\nseed = 1", ["--prompts", "{file}"], "is a storyboard: leave out --prompts."),
    ("one", ["--prompts", "{file}", "--clips", "-3"], "--clips must be from 1 to 1,500, not -3."),
    ("one", ["--prompts", "{file}", "--clips", "1501"], "from 1 to 1,500, not 1,501."),
])
def test_a_storyboard_that_cannot_be_is_a_sentence(svi, tmp_path, text, options, said):
    file = tmp_path / "board.txt"
    file.write_text(text.format(file=file), encoding="utf-8")
    code, _, error = svi("storyboard", *(one.format(file=file) for one in options))
    assert code == 1 and said in error and "Traceback" not in error


@pytest.mark.parametrize(("make_it", "options"), [
    (lambda path: None, ["storyboard", "{file}"]),
    (lambda path: path.mkdir(), ["storyboard", "{file}"]),
    (lambda path: path.write_bytes(b"[1]\nprompt = \xfc"), ["storyboard", "{file}"]),
    (lambda path: path.touch(), ["storyboard", "--run", "7f3a", "--out", "{file}"]),
    (lambda path: path.touch(), ["extend", "7f3a", "--sound", "{file}"]),
    (lambda path: path.touch(), ["redo", "7f3a", "--clip", "2", "--seed", "9", "--out", "{file}"]),
])
def test_a_message_has_the_name_of_a_file_as_it_is(svi, store, tmp_path, monkeypatch, make_it,
                                                   options):
    run = make(store)
    run.folder.rename(run.folder.with_name("20261126-7f3a"))
    monkeypatch.chdir(tmp_path)
    make_it(Path("text ü"))
    code, _, error = svi(*(one.format(file="text ü") for one in options))
    assert code == 1 and "text ü" in error and error.endswith(".\n"), error


@pytest.mark.parametrize(("options", "said"), [
    (["redo", "7f3a", "--clip", "2", "--seed", "9", "-o", "made"], "ade is a folder: add the name"),
    (["resume", "7f3a", "-o", "made.txt"], "would not read made.txt: choose a name that ends in ."),
    (["storyboard", "board.txt", "--run", "7f3a", "-o", "new.txt"], "a name that ends in .json"),
    (["storyboard", "--prompts", "story.txt", "-o", "made"], "made is a folder"),
])
def test_a_place_that_cannot_be_is_said(svi, store, tmp_path, monkeypatch, options, said):
    run = make(store, 1, "stopped")
    run.folder.rename(run.folder.with_name("20261126-7f3a"))
    monkeypatch.chdir(tmp_path)
    Path("made").mkdir()
    Path("story.txt").write_text("a kite\n\na storm", encoding="utf-8")
    Path("board.txt").write_text("[2]\nseed = 5\n", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    code, _, error = svi(*options)
    assert code == 1 and said in error, error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("given", [["check", "a.json", "b.json"], ["resume", "7f3a", "--clips"]])
def test_an_argument_too_many_is_refused_with_the_usage_of_its_command(given, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(given)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and f"usage: python -m wan2gp_svi {given[0]} " in said
    assert f"unrecognized arguments: {given[-1]}" in said


def test_a_storyboard_in_another_encoding_is_said(svi, tmp_path):
    file = tmp_path / "board.txt"
    file.write_bytes("[1]\nprompt = ü".encode("cp1252"))
    assert "save it as UTF-8" in svi("storyboard", str(file))[2]
