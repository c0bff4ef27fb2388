"""python -m wan2gp_svi demo: one image and one long video, chained by WanGP's own windows and by SVI.

A small Wan that was trained for this makes it, in two minutes and without a GPU. Packages that this Python lacks are
put into .venv, once.
"""

# nothing at the top needs more than Python: this runs before there are packages
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .. import files
from .environment import PYTHON, VENV, SetUpError, complete, prepare, prepared

if TYPE_CHECKING:
    from .takes import Task
    from .world import Scene

VARIANTS = ("shot", "film")
CLIPS, MOST, SEED = 11, 60, 0
FOLDER = Path("svi-demo")
VIDEO, PICTURE = "demo.mp4", "demo.png"
LASTS = 3  #: clips that a prompt is used for, where a stream is made up


class DemoError(Exception):
    """What the user can fix; the message says how."""


def main(argv: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a prompt in letters that the console does not have
    arguments = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(arguments)
    try:
        check(options)
        if complete():
            show(options)
            return 0
        set_up()
        return subprocess.run([PYTHON, "-m", "wan2gp_svi.demo", *arguments]).returncode
    except (DemoError, SetUpError) as error:
        text = str(error)
        print(f"{text[:1].upper()}{text[1:]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Nothing was written.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m wan2gp_svi demo", description=(__doc__ or "").partition(": ")[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", metavar="N", type=int, default=CLIPS, help=f"of five seconds (default: {CLIPS})")
    parser.add_argument("--variant", choices=VARIANTS, default=VARIANTS[0], help="SVI-Shot, for one prompt (default), "
                        "or SVI-Film, for a stream of prompts")
    parser.add_argument("--prompt", metavar="TEXT", action="append", help='what moves and how, such as "waits" or "a '
                        'red banded ball circles clockwise quickly"; several times for a stream, one for each clip')
    parser.add_argument("--seed", metavar="N", type=int, default=SEED, help="another scene (default: %(default)s)")
    parser.add_argument("--image", metavar="FILE", type=Path, help="your own picture instead of a scene")
    parser.add_argument("--compare", action="store_true", help="also each half of SVI by itself: its LoRA, its "
                        "conditioning (takes twice as long)")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help=f"where {VIDEO} and {PICTURE} are written (default: "
                        f"{FOLDER}, or the next number where that is taken)")
    return parser


def check(options: argparse.Namespace) -> None:
    """Raises a DemoError for what would only come out after the packages are installed or the clips are made."""
    if not 1 <= options.clips <= MOST:
        raise DemoError(f"--clips is {options.clips}; choose 1 to {MOST}.")
    if options.prompt and not all(map(str.strip, options.prompt)):
        raise DemoError("--prompt is empty; say what moves and how, or leave it out.")
    if options.image and not options.image.is_file():
        raise DemoError(f"there is no image {options.image}; choose a picture, such as a PNG or a JPEG.")
    if options.out and (taken := [name for name in (VIDEO, PICTURE) if (options.out / name).exists()]):
        raise DemoError(f"the folder {options.out} has a {' and a '.join(taken)} already, and nothing is overwritten; "
                        "choose another one with --out.")
    if options.out and options.out.exists() and not options.out.is_dir():
        raise DemoError(f"--out {options.out} is a file; choose a folder with --out.")


def set_up() -> None:
    """Sees to a `.venv` that has all packages."""
    if not prepared():
        print(f"The demo needs PyTorch (without CUDA), diffusers and a few packages more. They are put into {VENV}, "
              "once: 300 MB to download, 1.5 GB on the disk, a few minutes.", flush=True)
        prepare("demo")
        if not prepared():
            raise SetUpError(f"packages are missing in {VENV} though they were installed; delete that folder and start "
                             "the same command again.")


def show(options: argparse.Namespace) -> None:
    """Makes the takes and what there is to see of them."""
    # threads that spin while they wait take the time of those that work, where there are few cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # diffusers on CUDA, which nobody needs here
            from safetensors import SafetensorError

            from . import model, picture, video
            from .chaining import Wan
            from .takes import curves, take, truths, verdict, ways
    except ImportError as error:
        raise DemoError(f"a package does not work in {sys.executable} ({error}). Delete {VENV} if it is there, and "
                        "start the same command with another Python.") from error
    chosen = ways(options.variant, options.compare)
    try:
        wans = [Wan.load(way.adapter, model.WEIGHTS) for way in chosen.values()]
    except (OSError, SafetensorError) as error:
        raise DemoError(f"the small model cannot be read ({error}). Start the demo where SVI for WanGP was downloaded "
                        "to, or download it again.") from error
    task = _task(options)
    with _folder(options.out) as folder:
        print(f"Prompt: {_quoted(task.prompts)}", flush=True)
        progress = Progress(tuple(chosen), task.clips)
        progress.say()
        takes = [take(name, way, wan, task, progress.step)
                 for (name, way), wan in zip(chosen.items(), wans, strict=True)]
        found = curves(task, takes)
        truth = truths(task.scene, takes[1]) if task.scene else None
        for name, write in ((VIDEO, lambda path: video.write(path, takes)),
                            (PICTURE, lambda path: picture.write(path, truth, takes, found))):
            _write(folder / name, write)
    print(f"{verdict(takes, found[0])} (2.3 are just noticed).\nWritten: {folder / VIDEO}\n         {folder / PICTURE}")


@dataclass
class Progress:
    """Says which of `clips` clips of which of `names` is being made: on a line that stays where it is, or without a
    terminal on lines of their own."""

    names: Sequence[str]
    clips: int
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def say(self) -> None:
        total = len(self.names) * self.clips
        take, clip = divmod(self.done, self.clips)
        line = f"[{'#' * round(30 * self.done / total):.<30}] "
        if self.done < total:
            line += f"{self.names[take]}: clip {clip + 1} of {self.clips}"
        if self.done:
            spent = time.monotonic() - self.began
            line += f", {spent / self.done * (total - self.done):.0f} s left" if self.done < total else f"{spent:.0f} s"
        if sys.stdout.isatty():
            print(f"\r{line:<79}", end="" if self.done < total else "\n", flush=True)
        else:
            print(line, flush=True)

    def step(self) -> None:
        self.done += 1
        self.say()


def _task(options: argparse.Namespace) -> Task:
    from PIL import Image
    from torch import zeros

    from .takes import Task, read_image
    from .world import render, scene

    world = scene(options.seed)
    prompts = _prompts(options, world)
    if options.image is None:
        return Task(render([world], zeros(1, 1))[0, :, 0], prompts, options.clips, options.seed, world)
    try:
        image = read_image(options.image)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DemoError(f"the image {options.image} cannot be read; save it as a PNG or a JPEG.") from error
    print("The small model knows nothing but its own little world. With your picture you see how the chains hold up, "
          "not what Wan would make of it.")
    return Task(image, prompts, options.clips, options.seed)


def _prompts(options: argparse.Namespace, world: Scene) -> tuple[str, ...]:
    from ..variants import VARIANTS
    from .world import COLOURS, MARKS, MOVING, SHAPES, TURNS

    if options.prompt:
        known = {*" ".join((*COLOURS, *SHAPES, *MARKS, *TURNS)).split(), "a", "an", "and"}
        words = re.findall(r"[^\s,.]+", " ".join(options.prompt).lower())
        strange = [word for word in dict.fromkeys(words) if word not in known]
        if strange:
            print(f"The small model does not know: {', '.join(strange)}. It knows: {', '.join(sorted(known))}.")
        return tuple(world.prompt(text) if text in TURNS else text for text in options.prompt)
    if not VARIANTS[options.variant].stream:
        return (world.prompt(),)
    first = MOVING.index(world.action)
    return tuple(world.prompt(MOVING[(first + clip // LASTS) % len(MOVING)]) for clip in range(options.clips))


@contextlib.contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """The folder to write into; taken back where nothing came of it."""
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


def _write(path: Path, write: Callable[[Path], object]) -> None:
    try:
        files.write(path, write)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> DemoError:
    return DemoError(f"nothing can be written to {path}: {error.strerror or error}. Choose another folder with --out.")


def _quoted(prompts: Sequence[str]) -> str:
    return ", then ".join(f'"{prompt}"' for prompt in dict.fromkeys(prompts))
