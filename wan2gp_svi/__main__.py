"""The command line: python -m wan2gp_svi COMMAND. See --help."""

import argparse
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # started by its path, as in: python wan2gp_svi
    import runpy

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    runpy.run_module("wan2gp_svi", run_name="__main__")  # ends by itself

from . import old_python  # noqa: F401  # ends if Python is too old

# isort: split
from . import files, location
from .text import (
    count,
    cut,
    escape_unprintable,
    examples,
    is_closed_pipe,
    one_line,
    paragraphs,
    sentence,
    size,
)

_PROGRAM = "python -m wan2gp_svi"
EXAMPLES = {
    "runs": ("runs", "runs --remove 7f3a 81c2", "runs --remove-empty --yes"),
    "stop": ("stop", "stop 7f3a", "stop 7f3a --undo"),
    "name": ('name 7f3a "the storm, second try"', 'name 7f3a ""'),
    "resume": ("resume 7f3a", "resume 7f3a --out storm.json"),
    "extend": ("extend 7f3a --clips 5", 'extend 7f3a --clips 2 --prompt "a storm" --prompt "calm"',
               "extend 7f3a --sound longer.wav"),
    "redo": ('redo 7f3a --clip 4 --prompt "a storm at night"', "redo 7f3a --clip 4 --seed 99"),
    "storyboard": ("storyboard board.txt --clips 9", "storyboard board.txt --run 7f3a",
                   "storyboard --prompts story.txt --clips 9 --out board.txt"),
    "check": ("check settings.json", "check queue.zip"),
    "drift": ("drift outputs/boat.mp4", "drift boat.mp4 --reference boat.png --out reports"),
    "demo-model": ("demo-model ../Wan2GP --start", "demo-model ../Wan2GP --remove",
                   "demo-model ../Wan2GP --start --process settings.json"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command -> exit code: 0 done, 1 not possible, 2 a wrong option, 130 stopped."""
    try:
        try:
            return _run(sys.argv[1:] if argv is None else list(argv))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except OSError as error:
        if not is_closed_pipe(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes once more when it exits
        return 1


def _run(arguments: list[str]) -> int:
    escape_unprintable()
    if arguments[:1] == ["demo"]:  # needs no packages
        from .demo import command as demo

        return demo.main(arguments[1:])
    if arguments[:1] == ["selftest"]:  # finds a Python with the packages
        from .selftest import command as selftest

        return selftest.main(arguments[1:])
    try:
        from . import drift
        from .demo.in_wangp import command as demo_model
        from .runs.record import StoreError
        from .wangp.check import command as check

        options, rest = build_parser(drift, check, demo_model).parse_known_args(arguments)
        if rest:  # with the usage of the command, not of all commands
            options.refuse(f"unrecognized arguments: {' '.join(rest)}")
        try:
            return options.work(options) or 0
        except (StoreError, OSError) as error:
            if is_closed_pipe(error):
                raise
            said = files.explain(error).rstrip(".")
            # Python's own errors begin with the name of a file
            print(f"{said if getattr(error, 'filename', None) else sentence(said)}.",
                  file=sys.stderr)
            return 1
    except ModuleNotFoundError as error:
        print(f"This Python lacks the package {error.name}. All commands but demo and selftest "
              "need WanGP's own Python.", file=sys.stderr)
        return 1


def build_parser(drift: Any, check: Any, demo_model: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        _PROGRAM, epilog="Each COMMAND has its own --help, with examples.",
        description="Resumes, extends and redoes runs, checks settings, and lets you try SVI.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run_commands(commands)
    for name, module, help in (
            ("check", check, "check settings before you run them"),
            ("drift", drift, "measure a video's colours, contrast and motion"),
            ("demo-model", demo_model, "add a demo model to WanGP, to try SVI in seconds")):
        command = _add_command(commands, name, help)
        module.add_arguments(command)
        command.set_defaults(work=module.run)
    commands.add_parser("demo", add_help=False,
                        help="make a long video with and without SVI, on any machine")
    commands.add_parser("selftest", add_help=False, help="check SVI in your own WanGP")
    return parser


def _add_command(commands: Any, name: str, help: str, *parents: argparse.ArgumentParser
                 ) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, parents=parents, help=help, description=f"{sentence(help)}.",
        epilog=examples("in the folder that you downloaded SVI for WanGP to, with WanGP's Python"
                        if name == "demo-model" else "in WanGP's folder and with its Python",
                        *(f"{_PROGRAM} {example}" for example in EXAMPLES[name])),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    command.set_defaults(refuse=command.error)
    return command


def _add_run_commands(commands: Any) -> None:
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--outputs", metavar="FOLDER", type=Path,
                       help="WanGP's folder for videos (default: the one configured in the WanGP "
                            "that contains this package, or in the current folder's)")
    one = argparse.ArgumentParser(add_help=False)
    one.add_argument("run", metavar="RUN", help="a run: the end of its name, such as 7f3a, or a "
                     "part of the name that you gave it")
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument("-o", "--out", metavar="FILE", type=Path,
                     help="where to write the settings (default: in the run's folder)")

    def add(name: str, work: Callable[[Any], None], help: str, *parents: argparse.ArgumentParser
            ) -> argparse.ArgumentParser:
        command = _add_command(commands, name, help, store, *parents)
        command.set_defaults(work=work)
        return command

    runs = add("runs", _runs, "list the runs on disk")
    what = runs.add_mutually_exclusive_group()
    what.add_argument("--remove", metavar="RUN", nargs="+",
                      help="remove the clips of these runs; the videos stay")
    what.add_argument("--remove-empty", action="store_true",
                      help="remove all runs that ended before their first clip was done")
    runs.add_argument("--yes", action="store_true", help="do not ask before removing")
    stop = add("stop", _stop, "stop the running run after its current clip")
    stop.add_argument("run", metavar="RUN", nargs="?", default="",
                      help="which run, if several are running")
    stop.add_argument("--undo", action="store_true", help="cancel the stop before the clip is done")
    name = add("name", _name, "give a run a name of your own, which lists show and commands take",
               one)
    name.add_argument("label", metavar="NAME", help='the name; "" removes it')
    add("resume", _settings, "write settings that resume a run", one, out)
    extend = add("extend", _settings, "write settings that extend a run", one, out)
    by = extend.add_mutually_exclusive_group(required=True)
    by.add_argument("--clips", metavar="M", type=int, help="clips to add")
    by.add_argument("--sound", metavar="FILE", type=Path,
                    help="for SVI-Talk: a longer sound, which begins as the run's own")
    extend.add_argument("--prompt", metavar="TEXT", action="append", default=[],
                        help="prompt for a new clip; repeat the option for more clips, and the "
                             "last one is used for the rest")
    board = add("storyboard", _storyboard,
                "check a storyboard, make one from prompts, or remake a run by one")
    board.add_argument("file", metavar="FILE", nargs="?", type=Path, help="a storyboard, as text")
    board.add_argument("--prompts", metavar="TEXT", type=Path,
                       help="make one from this file: a prompt in each paragraph")
    board.add_argument("--clips", metavar="N", type=int,
                       help="clips of the video (default: the run's, or up to the last row)")
    board.add_argument("--run", metavar="RUN",
                       help="print a run's storyboard; with FILE, write settings that redo it")
    board.add_argument("-o", "--out", metavar="FILE", type=Path,
                       help="where to write what is made, instead of printing it")
    redo = add("redo", _settings, "write settings that redo a run from a clip", one, out)
    redo.add_argument("--clip", metavar="K", type=int, required=True,
                      help="the first clip to redo (2 or later)")
    redo.add_argument("--prompt", metavar="TEXT", default="",
                      help="new prompt, for as many clips as clip K's old one was used")
    redo.add_argument("--seed", metavar="N", type=int,
                      help="replaces the run's seed; clip K gets N + 42 (K - 1)")


def _runs(options: argparse.Namespace) -> None:
    from .runs.state import clips_in_words, in_words, is_empty, state
    from .wangp.resuming import gist

    store = _store(options)
    if options.remove or options.remove_empty:
        named = [store.folder_of(name) for name in options.remove or []]  # one perhaps twice
        _remove(store, [*dict.fromkeys(named)] if options.remove else
                [run.folder for run in store.runs() if is_empty(run)], options.yes)
        return
    rows = [("RUN", "CHANGED", "VARIANT", "CLIPS", "SIZE", "STATE", "NAME OR PROMPT")]
    runs = list(store.runs())
    for run in runs:
        about, done = run.about, run.done()
        now = state(run, len(done))
        rows.append((run.name, run.changed, about.title,
                     clips_in_words(run, now, done), size(run.size),
                     cut(in_words(run, now, done), 64), cut(about.label or gist(run), 40)))
    if runs:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            print("  ".join(cells).rstrip())
        print(f"{size(sum(run.size for run in runs))} of clips in {store.folder}")
    else:
        print(f"There are no runs in {store.folder}")
    for folder, why in store.unreadable([run.name for run in runs]):
        print(f"{cut(folder.name, 60)}: {cut(why, 500)}")


def _remove(store: Any, folders: list[Path], sure: bool) -> None:
    from .runs.store import size_of

    if not folders:
        print(f"There are no runs to remove in {store.folder}")
        return
    videos = {run.folder: run.about.video for run in store.runs()}
    freed = size(sum(map(size_of, folders)))
    what = f"{count(len(folders), 'run')} ({', '.join(folder.name for folder in folders)})"
    others = [folder.name for folder in folders if not (folder / "run.json").is_file()]
    if not sure:
        warning = (f" All files in {', '.join(others)} go, which may not be SVI's: no run.json is "
                   "there." if others else "")
        print(f"Remove the clips of {what} for good?{warning} This frees {freed}. [y/N] ", end="",
              flush=True)
        answer = sys.stdin.readline()  # "" where nobody can answer
        if answer.strip().lower() not in ("y", "yes"):
            print("Nothing was removed.")
            return
    for folder in folders:
        store.remove_folder(folder)
        video = videos.get(folder)
        print(f"{'Folder' if folder.name in others else 'Run'} {folder.name} is removed.",
              f"Its video stays: {video}" if video else "No video of it is known.")
    print(f"This frees {freed}.")


def _stop(options: argparse.Namespace) -> None:
    from .runs.record import StoreError
    from .runs.state import ask_to_stop, is_running, keep_running

    store = _store(options)
    running = [run for run in store.runs() if is_running(run)]
    names = ", ".join(run.name for run in running)
    if options.run:
        wanted = store.find(options.run)
        if wanted.name not in [run.name for run in running]:
            others = f"Running: {names}" if running else "No run is running"
            raise StoreError(f"run {wanted.name} is not running. {others}")
        running = [wanted]
    if len(running) > 1:
        raise StoreError(f"several runs are running: {names}. Name one of them")
    if not running:
        raise StoreError(f"no run in {store.folder} is running")
    print((keep_running if options.undo else ask_to_stop)(running[0]))


def _name(options: argparse.Namespace) -> None:
    from .runs.state import rename

    run = _store(options).find(options.run)
    rename(run, options.label)
    print(f"Run {run.name} is named {run.about.label}." if run.about.label else
          f"Run {run.name} has no name of its own.")


def _settings(options: argparse.Namespace) -> None:
    from .runs.record import StoreError
    from .wangp import resuming

    run, name = _store(options).find(options.run), options.command
    if name == "resume":
        settings = resuming.resumed(run)
    elif name == "extend" and options.sound is not None:
        if options.prompt:
            raise StoreError("remove --prompt: with a longer sound, a run keeps its prompts")
        settings = resuming.spoken_on(run, options.sound)
    elif name == "extend":
        prompts = [one for given in options.prompt for one in paragraphs(given)]
        settings = resuming.extended(run, options.clips, prompts)
    else:
        settings = resuming.redone(run, options.clip, one_line(options.prompt),
                                   options.seed)
        name = f"redo-{options.clip}"
    text = json.dumps(settings, ensure_ascii=False, indent=1)
    path = (options.out or _unused(run.folder, name, text)).resolve()
    _write(path, text, options.out, ".json")
    done, clips = len(run.done()), count(run.about.clips, "clip")
    print(f"Run {run.name}, {run.about.title}: {done} of {clips} {'is' if done == 1 else 'are'} on "
          "disk.")
    stops = resuming.storyboard_of(run).pause
    print(f"This will {resuming.what_happens(run, settings, done)}."
          + " It stops after every clip, as the storyboard says." * stops)
    if options.command == "redo":
        seed = resuming.seed_of(run, options.clip, options.seed)
        print(f"Clip {options.clip} gets the seed {seed}.")
    print(f"Next, in WanGP's folder:  {resuming.command(settings, path)}")


def _unused(folder: Path, name: str, text: str) -> Path:
    """The file for settings: with a number if it is a redo, and another take of the clip, which may
    still be made, has its name."""
    first = folder / f"{name}.json"
    takes = (folder / f"{name}-{number}.json" for number in itertools.count(2))
    return next(path for path in itertools.chain([first], takes) if "redo" not in name
                or not path.exists() or path.read_bytes() == text.encode("utf-8"))


def _storyboard(options: argparse.Namespace) -> None:
    from . import storyboard
    from .chain import MAX_CLIPS
    from .runs.record import StoreError
    from .wangp import resuming
    from .wangp.board import same_seed

    if options.clips is not None and not 1 <= options.clips <= MAX_CLIPS:
        raise StoreError(f"--clips must be from 1 to {MAX_CLIPS:,}, not {options.clips:,}")
    try:
        run = _store(options).find(options.run) if options.run else None
        if options.file and options.prompts:
            raise StoreError("give a storyboard or prompts, not both")
        if options.prompts:
            text = _text(options.prompts)
            with contextlib.suppress(storyboard.StoryboardError):
                if storyboard.parse(text):
                    raise StoreError(f"the file {options.prompts} is a storyboard: leave out "
                                     "--prompts")
            board = storyboard.of_prompts(paragraphs(text), options.clips)
        elif options.file:
            board = storyboard.entered(_text(options.file))
        elif run is not None:
            board = resuming.storyboard_of(run)
        else:
            raise StoreError("give a storyboard (FILE), --prompts TEXT, or --run RUN")
    except storyboard.StoryboardError as error:
        raise StoreError(str(error)) from error
    if run is not None and (options.file or options.prompts):
        clips = options.clips or run.about.clips
        settings = resuming.restaged(run, board, clips)
        if faults := resuming.faults(run, board, clips):
            raise StoreError(" ".join(faults))
        path = (options.out or run.folder / "storyboard.json").resolve()
        _write(path, json.dumps(settings, ensure_ascii=False, indent=1), options.out, ".json")
        if said := same_seed(board, clips, run.about.seed):
            print(f"warning: {said}")
        print(f"Next, in WanGP's folder:  {resuming.command(settings, path)}")
    elif options.file:
        clips = options.clips or board.clips
        for clip in range(clips):
            asked = "; ".join(f"{name} {value}" for name, value in board.row(clip).asked().items())
            print(f"clip {clip + 1}: {cut(asked, 160) or 'as in the form'}")
        if board.pause:
            print("WanGP stops after every clip, so you can look at it.")
        if not clips:
            print("The storyboard has no row: every clip is made as the form says.")
        if said := same_seed(board, clips):
            print(f"warning: {said}")
        if faults := resuming.faults(None, board, clips):
            raise StoreError(" ".join(faults))
    elif options.out:
        _write(options.out, storyboard.write(board), options.out)
        print(f"The storyboard is in {options.out}")
    elif text := storyboard.write(board):
        print(text, end="")
    elif run is not None:
        print(f"Run {run.name} has no storyboard: every clip is made with the run's settings.")


def _text(path: Path) -> str:
    from .storyboard import MOST
    from .untrusted import content

    try:
        return content(path, 4 * MOST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(f"the file {path} is not UTF-8: save it as UTF-8") from None
    except ValueError as error:
        raise OSError(f"cannot read {path}: {error}") from None


def _write(path: Path, text: str, chosen: Path | None, ending: str = "") -> None:
    """`ending`: that WanGP's --process asks for."""
    if chosen and path.is_dir():
        raise OSError(f"the path {path} is a folder: add the name of a file")
    if chosen and not path.name.lower().endswith(ending):
        raise OSError(f"WanGP would not read {path.name}: choose a name that ends in {ending}")
    if chosen and path.exists():
        raise OSError(f"the file {path} exists already, and nothing was written: choose another "
                      "name")
    if chosen and not path.parent.is_dir():
        raise OSError(f"there is no folder {path.parent}: choose another, or create it")
    files.write(path, text.encode("utf-8"))


def _store(options: argparse.Namespace) -> Any:
    from .runs.record import StoreError
    from .runs.store import FOLDER, Store

    if options.outputs is not None:
        outputs = options.outputs
        if not outputs.is_dir():
            raise StoreError(f"there is no folder {outputs}")
    else:
        wangp = location.wangp_here()
        if wangp is None:
            raise StoreError("WanGP was not found. Run this in its folder, or name its folder for "
                             "videos: --outputs FOLDER")
        configured = (location.config(wangp) or {}).get("save_path")
        outputs = wangp / (configured if isinstance(configured, str) else "outputs")
    return Store(outputs / FOLDER)


if __name__ == "__main__":
    sys.exit(main())
