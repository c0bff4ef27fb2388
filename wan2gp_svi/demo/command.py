"""python -m wan2gp_svi demo: one image, one long video, with WanGP's own windows and with SVI.

The demo model makes it in one to two minutes, without a GPU. Packages that this Python lacks go
into .venv, once.
"""

# standard library only at the top: this runs before there are packages
from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

from .. import files
from ..text import examples, sentence
from .environment import PYTHON, VENV, SetUpError, complete, prepare, prepared

if TYPE_CHECKING:
    from .takes import Take, Task
    from .world import Scene

VARIANTS = ("2.0", "shot", "film")
CLIPS, MOST, SEED = 11, 60, 0
FOLDER = Path("svi-demo")
VIDEO, PICTURE = "demo.mp4", "demo.png"
ALONE = ("without-svi.mp4", "with-svi.mp4")
LASTS = 3  #: clips that each prompt of a made-up stream lasts


class DemoError(Exception):
    """Something that the user can fix; the message says how."""


class BrokenPackage(DemoError):
    """A package is there, but cannot be imported."""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(arguments)
    try:
        check(options)
        if complete():
            try:
                show(options)
                return 0
            except BrokenPackage:
                if Path(sys.prefix) == VENV:
                    raise
        set_up()
        return _run_prepared(arguments)
    except (DemoError, SetUpError) as error:
        print(sentence(str(error)), file=sys.stderr)
        return 1


def _run_prepared(arguments: Sequence[str]) -> int:
    """Runs the demo with the Python that has the packages -> its exit code."""
    with subprocess.Popen([PYTHON, "-m", "wan2gp_svi", "demo", *arguments]) as prepared:
        while True:
            # Ctrl+C is for both: that one says so, and removes its folder
            with contextlib.suppress(KeyboardInterrupt):
                return prepared.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m wan2gp_svi demo",
                                     description=sentence((__doc__ or "").partition(": ")[2]),
                                     epilog=examples(
                                         "in the folder of this add-on, with any Python",
                                         "python -m wan2gp_svi demo",
                                         "python -m wan2gp_svi demo --clips 4 --compare"),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", metavar="N", type=int, default=CLIPS,
                        help=f"clips of five seconds (default: {CLIPS})")
    parser.add_argument("--variant", choices=VARIANTS, default=VARIANTS[0], help="SVI-2.0 "
                        "(default), SVI-Shot, for one prompt, or SVI-Film, for a stream of prompts")
    parser.add_argument("--prompt", metavar="TEXT", action="append", help='what moves and how, '
                        'such as "waits" or "a red banded ball circles clockwise quickly"; repeat '
                        "it for a stream, once per clip")
    parser.add_argument("--seed", metavar="N", type=int, default=SEED,
                        help="another scene (default: %(default)s)")
    parser.add_argument("--image", metavar="FILE", type=Path,
                        help="start from your own picture instead of a scene")
    parser.add_argument("--compare", action="store_true", help="also show each half of SVI alone: "
                        "its LoRA, its conditioning (takes twice as long)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where to write the videos and "
                        f"the picture (default: {FOLDER}, with a number if that exists)")
    return parser


def check(options: argparse.Namespace) -> None:
    """Raises DemoError for mistakes that would otherwise show only after minutes."""
    if not 1 <= options.clips <= MOST:
        raise DemoError(f"--clips is {options.clips}; choose 1 to {MOST}.")
    if options.prompt and not all(map(str.strip, options.prompt)):
        raise DemoError("--prompt is empty; say what moves and how, or leave it out.")
    if options.image and not options.image.is_file():
        raise DemoError(f"there is no image {options.image}; choose a picture, such as a PNG or "
                        "a JPEG.")
    taken = [name for name in (VIDEO, PICTURE, *ALONE) if options.out and
             (options.out / name).exists()]
    if taken:
        raise DemoError(f"the folder {options.out} has a {' and a '.join(taken)} already, and "
                        "nothing is overwritten; choose another one with --out.")
    if options.out and options.out.exists() and not options.out.is_dir():
        raise DemoError(f"--out {options.out} is a file; choose a folder.")


def set_up() -> None:
    """Installs all packages into `.venv`, unless they are there."""
    if not prepared():
        print("The demo needs PyTorch (without CUDA), diffusers and a few more packages. They go "
              f"into {VENV}, once: a 300 MB download, 1.5 GB on disk, a few minutes.", flush=True)
        prepare("demo")
        if not prepared():
            raise SetUpError(f"packages are missing in {VENV} although they were installed; delete "
                             "that folder and run the same command again.")


def show(options: argparse.Namespace) -> None:
    """Makes the takes, their videos and the picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # diffusers on CUDA, which nobody needs here
            from safetensors import SafetensorError

            from . import model, picture, video
            from .chaining import Wan
            from .takes import NOTICED, drift, take, truths, verdict, ways
    except ImportError as error:
        raise BrokenPackage(f"a package does not work in {sys.executable} ({error}). Delete "
                            f"{VENV}, and run the same command again.") from error
    chosen = ways(options.variant, options.compare)
    try:
        wans = [Wan.load(way.adapter, model.WEIGHTS) for way in chosen.values()]
    except (OSError, SafetensorError) as error:
        raise DemoError(f"the demo model cannot be read ({files.explain(error)}). Run the demo in "
                        "the folder of SVI for WanGP, or download it again.") from error
    task = _task(options)
    with _folder(options.out) as folder:
        print(f"Prompt: {_quoted(task.prompts)}", flush=True)
        takes = side_by_side(Progress(len(chosen) * task.clips), [
            partial(take, name, way, wan, task)
            for (name, way), wan in zip(chosen.items(), wans, strict=True)])
        print("Writing three videos and a picture of them ...", flush=True)
        found = drift(task, takes)
        truth = truths(task.scene, takes[1]) if task.scene else None
        _write(folder / VIDEO, video.write, video.side_by_side(takes, found))
        _write(folder / PICTURE, picture.write, truth, takes, found)
        for name, each in zip(ALONE, takes, strict=False):
            _write(folder / name, video.write, video.alone(each))
    print(f"{verdict(takes, found)} ({NOTICED} is just noticeable).", "Written:",
          *(f"  {folder / name}" for name in (VIDEO, PICTURE, *ALONE)), sep="\n")


def side_by_side(progress: Progress, makers: Sequence[Callable[[Callable[[], None]], Take]],
                 ) -> list[Take]:
    """Makes all takes at the same time, each with one thread: on a busy machine, threads that share
    operations as small as these wait for each other most of the time."""
    from torch import set_num_threads
    from torch.nn.modules.module import register_module_forward_pre_hook

    stopped = Event()

    def raise_if_stopped(*_: Any) -> None:
        if stopped.is_set():
            raise CancelledError

    def done() -> None:
        raise_if_stopped()
        progress.step()

    progress.say()
    # at each layer: a clip takes seconds, and a second Ctrl+C would abort Python
    with register_module_forward_pre_hook(raise_if_stopped), ThreadPoolExecutor(
            os.cpu_count(), initializer=set_num_threads, initargs=(1,)) as pool:
        try:
            making = [pool.submit(make, done) for make in makers]
            while True:
                made = [each.result() for each in making if each.done()]
                if len(made) == len(making):
                    return made
                time.sleep(0.1)  # on Windows, Ctrl+C does not end the wait for a result
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


@dataclass
class Progress:
    """Prints how many of all `clips` are made and how long the others will take: in a terminal on
    one line that changes, elsewhere on lines of their own."""

    clips: int
    done: int = 0
    began: float = field(default_factory=time.monotonic)
    lock: Any = field(default_factory=Lock)

    def say(self) -> None:
        line = (f"[{'#' * round(30 * self.done / self.clips):.<30}] {self.done} of {self.clips} "
                "clips")
        if self.done:
            spent = time.monotonic() - self.began
            left = spent / self.done * (self.clips - self.done)
            line += f", {left:.0f} s left" if self.done < self.clips else f", {spent:.0f} s"
        if sys.stdout.isatty():
            print(f"\r{line:<79}", end="" if self.done < self.clips else "\n", flush=True)
        else:
            print(line, flush=True)

    def step(self) -> None:
        with self.lock:
            self.done += 1
            self.say()


def _task(options: argparse.Namespace) -> Task:
    from torch import zeros

    from .takes import Task, read_image
    from .world import render, scene

    world = scene(options.seed)
    prompts = _prompts(options, world)
    if options.image is None:
        image = render([world], zeros(1, 1))[0, :, 0]
        return Task(image, prompts, options.clips, options.seed, world)
    try:
        image = read_image(options.image)
    except Exception as error:  # Pillow has many for a file with wrong bytes
        raise DemoError(f"the image {options.image} cannot be read; save it as a PNG or a "
                        "JPEG.") from error
    print("The demo model knows only its own little world. With your picture you see how long each "
          "chain keeps it, not what Wan would make of it.")
    return Task(image, prompts, options.clips, options.seed)


def _prompts(options: argparse.Namespace, world: Scene) -> tuple[str, ...]:
    from ..variants import VARIANTS
    from .world import COLOURS, MARKS, MOVING, SHAPES, TURNS

    if options.prompt:
        known = {*" ".join((*COLOURS, *SHAPES, *MARKS, *TURNS)).split(), "a", "an", "and"}
        words = re.findall(r"[^\s,.]+", " ".join(options.prompt).lower())
        strange = [word for word in dict.fromkeys(words) if word not in known]
        if strange:
            print(f"The demo model does not know: {', '.join(strange)}. It knows: "
                  f"{', '.join(sorted(known))}.")
        return tuple(world.prompt(text) if text in TURNS else text for text in options.prompt)
    if not VARIANTS[options.variant].film:
        return (world.prompt(),)
    first = MOVING.index(world.action)
    return tuple(world.prompt(MOVING[(first + clip // LASTS) % len(MOVING)])
                 for clip in range(options.clips))


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """The folder to write into; removed again if the demo fails."""
    folder, number = wanted or FOLDER, 1
    while wanted is None and folder.exists():
        number += 1
        folder = FOLDER.with_name(f"{FOLDER.name}-{number}")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    try:
        yield folder
    except BaseException:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _write(path: Path, write: Callable[..., object], *content: object) -> None:
    try:
        files.write(path, lambda unfinished: write(unfinished, *content))
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DemoError:
    return DemoError(f"nothing can be written to {path}: {files.explain(error, path)}. Choose "
                     "another folder with --out.")


def _quoted(prompts: Sequence[str]) -> str:
    return ", then ".join(f'"{prompt}"' for prompt in dict.fromkeys(prompts))
