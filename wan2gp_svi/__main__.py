"""python -m wan2gp_svi: list, resume, extend and redo runs; check settings; try SVI.

    runs                                    the runs that are on disk
    runs --remove RUN ...                   removes their clips for good; the videos stay
    stop [RUN]                              ends the running run after its current clip
    resume RUN                              settings to resume a run that failed or was stopped
    extend RUN --clips M [--prompt TEXT]    settings to extend it by M clips
    redo RUN --clip K [--prompt TEXT] [--seed N]
                                            settings to redo it from clip K, in a run of its own
    check FILE                              problems in settings, before you run them
    drift VIDEO                             how its colours, contrast and motion hold up
    demo [--help]                           what SVI is for: a long video with it and without, on any machine
    selftest [WANGP_FOLDER]                 checks SVI in your own WanGP, in two minutes
    demo-model WANGP_FOLDER [--remove]      the demo model in WanGP's list, to try SVI in seconds, even without a GPU

RUN is a run's name or its end ("7f3a"). Settings are written as a file for `python wgp.py --process FILE`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import files, location
from .text import cut, sentence, size


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["demo"]:  # does without packages
        from .demo import command

        return command.main(arguments[1:])
    if arguments[:1] == ["selftest"]:  # finds the Python that has them
        from .selftest import command

        return command.main(arguments[1:])
    try:
        from . import drift
        from .demo.in_wangp import command as demo_model
        from .runs.store import StoreError
        from .wangp.check import command as check
    except ModuleNotFoundError as error:
        print(f"{__doc__}\nThis Python lacks the package {error.name}: all but `demo` and `selftest` need "
              "WanGP's own Python.", file=sys.stderr)
        return 1

    options = _parser(drift, check, demo_model).parse_args(arguments)
    if options.command in ("check", "drift", "demo-model"):
        return {"check": check, "drift": drift, "demo-model": demo_model}[options.command].run(options)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a prompt in letters that the console does not have
    try:
        _COMMANDS[options.command](options)
    except (StoreError, OSError) as error:
        print(f"{sentence(str(error).rstrip('.'))}.", file=sys.stderr)
        return 1
    return 0


def _parser(drift: Any, check: Any, demo_model: Any) -> argparse.ArgumentParser:
    head, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser("python -m wan2gp_svi", description=head.partition(": ")[2], epilog=rest,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    check.add_arguments(commands.add_parser("check", help="problems in settings, before you run them"))
    drift.add_arguments(commands.add_parser("drift", help="how a video holds up"))
    commands.add_parser("demo", add_help=False, help="a long video with SVI and without, on any machine")
    commands.add_parser("selftest", add_help=False, help="check SVI in your own WanGP")
    demo_model.add_arguments(commands.add_parser(
        "demo-model", help="the demo model in WanGP's list, to try SVI in seconds"))
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument("--outputs", metavar="FOLDER", type=Path, help="WanGP's folder for videos (default: as WanGP is "
                       "configured, where this package is in a WanGP or the current folder is one)")
    one = argparse.ArgumentParser(add_help=False, parents=[store])
    one.add_argument("run", metavar="RUN", help="a run's name or its end")
    one.add_argument("-o", "--out", metavar="FILE", type=Path, help="where the settings are written (default: into the "
                     "run's own folder)")
    runs = commands.add_parser("runs", parents=[store], help="the runs that are on disk")
    runs.add_argument("--remove", metavar="RUN", nargs="+", help="remove the clips of these runs; the videos stay")
    runs.add_argument("--yes", action="store_true", help="do not ask before removing")
    stop = commands.add_parser("stop", parents=[store], help="end the running run after its current clip")
    stop.add_argument("run", metavar="RUN", nargs="?", default="", help="which one, if several are running")
    commands.add_parser("resume", parents=[one], help="resume a run that failed or was stopped")
    extend = commands.add_parser("extend", parents=[one], help="extend a run")
    extend.add_argument("--clips", metavar="M", type=int, required=True, help="clips to add")
    extend.add_argument("--prompt", metavar="TEXT", action="append", default=[], help="for the clips to come; once for "
                        "each, the last one for all that follow")
    redo = commands.add_parser("redo", parents=[one], help="redo a run from a clip")
    redo.add_argument("--clip", metavar="K", type=int, required=True, help="the first clip to redo (2 or later)")
    redo.add_argument("--prompt", metavar="TEXT", default="", help="instead of clip K's, for as long as that lasted")
    redo.add_argument("--seed", metavar="N", type=int, help="instead of the run's; clip K then has N + 42 (K - 1)")
    return parser


def _runs(options: argparse.Namespace) -> None:
    from .runs.state import state
    from .wangp.tab.view import says

    store = _store(options)
    if options.remove:
        for run in [store.find(name) for name in options.remove]:
            freed = size(run.size)
            if not options.yes:
                answer = input(f"Remove the clips of run {run.name} ({freed})? They cannot be brought back. [y/N] ")
                if answer.strip().lower() not in ("y", "yes"):
                    print(f"Run {run.name} stays.")
                    continue
            store.remove(run)
            print(f"Run {run.name} is removed, {freed} are free. Its video stays: {run.about.video or 'there is none'}")
        return
    rows = [("RUN", "MADE", "VARIANT", "CLIPS", "SIZE", "STATE", "FIRST PROMPT")]
    for run in store.runs():
        about, done = run.about, len(run.done())
        rows.append((run.name, about.made.replace("T", " ")[:16], about.title, f"{done}/{about.clips}",
                     size(run.size), cut(says(run, state(run, done)), 40), cut(about.asked[0], 40)))
    if len(rows) == 1:
        print(f"There are no runs in {store.folder}")
    else:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        print(f"{size(sum(run.size for run in store.runs()))} in all, the videos aside, in {store.folder}")
    for folder, why in store.unreadable():
        print(f"{folder.name}: {why}")


def _stop(options: argparse.Namespace) -> None:
    from .runs.state import is_running
    from .runs.store import STOP, StoreError

    store = _store(options)
    made = [run for run in ([store.find(options.run)] if options.run else store.runs()) if is_running(run)]
    if len(made) != 1:
        names = ", ".join(run.name for run in made)
        raise StoreError(f"several runs are running: {names}. Say which one" if made else
                         "no run is running")
    files.write(made[0].folder / STOP, b"")
    print(f"Run {made[0].name} ends after the current clip. Resume it any time.")


def _resume(options: argparse.Namespace) -> None:
    from .wangp import resuming

    run = _store(options).find(options.run)
    _give(options, run, resuming.resumed(run), "resume")


def _extend(options: argparse.Namespace) -> None:
    from .wangp import resuming

    run = _store(options).find(options.run)
    _give(options, run, resuming.extended(run, options.clips, options.prompt), "extend")


def _redo(options: argparse.Namespace) -> None:
    from .wangp import resuming

    run = _store(options).find(options.run)
    _give(options, run, resuming.redone(run, options.clip, options.prompt, options.seed), f"redo-{options.clip}")


def _give(options: argparse.Namespace, run: Any, settings: dict[str, Any], name: str) -> None:
    path = options.out or run.folder / f"{name}.json"
    if options.out and path.exists():
        raise OSError(f"{path} is there already, and nothing was written: choose another name")
    files.write(path.resolve(), json.dumps(settings, ensure_ascii=False, indent=1).encode("utf-8"))
    print(f"{run.about.title}, run {run.name}: {len(run.done())} of {run.about.clips} clips are on disk.\n"
          f"Written: {path}\nNext, in the folder of WanGP:  python wgp.py --process \"{path.resolve()}\"")


def _store(options: argparse.Namespace) -> Any:
    from .runs.store import FOLDER, Store, StoreError

    if options.outputs is not None:
        outputs = options.outputs
        if not outputs.is_dir():
            raise StoreError(f"there is no folder {outputs}")
    else:
        wangp = location.wangp_here()
        if wangp is None:
            raise StoreError("which WanGP? Run this in its folder, or name its folder for videos: --outputs FOLDER")
        configured = (location.config(wangp) or {}).get("save_path")
        outputs = wangp / (configured if isinstance(configured, str) else "outputs")
    return Store(outputs / FOLDER)


_COMMANDS = {"runs": _runs, "stop": _stop, "resume": _resume, "extend": _extend, "redo": _redo}

if __name__ == "__main__":
    sys.exit(main())
