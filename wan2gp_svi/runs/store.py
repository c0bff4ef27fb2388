"""Finished clips on disk: what a run needs to go on after a crash, to be changed from a clip on, or to be made longer.

    STORE/20261120-7f3a/          a run
        run.json                  how it is made: settings, seed, prompts, all that decides the picture
        start.png  reference.png  the user's image as given, and as every clip is conditioned on it
        0001.mp4  0001-tail.mp4   the pieces of the video that a clip gives, as encoded once
        0001-frames.safetensors   a clip as it was made, until its pieces are there
        0001.safetensors          what the next clip is conditioned on, bit for bit
        0001.json                 seed, prompt, hashes; written last: without it there is no clip

Clips are counted from 1 in the names of files, from 0 elsewhere.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .. import __version__, files
from ..variants import CLIP_FRAMES
from . import mp4

FORMAT = 1  #: of run.json and of a clip's json; a store of another format is shown and left alone

FOLDER = "svi"  #: of the runs, in WanGP's folder for videos
STOP = "stop"  #: a file of that name in a run's folder ends it with the clip that is being made
Piece = tuple[Path, int]  #: a file with a part of the video, and its frames


class StoreError(ValueError):
    """What cannot be done with the clips of a run. The message says what, why, and what to do."""


@dataclass(frozen=True)
class Clip:
    """A finished clip. `frames` are those of its first piece. A clip that was the last of its video has a second
    piece of `tail` frames, which it gives up when it is followed by another clip, unless `tail_stays`.

    `after` is the hash of the state of the clip before, `holds` the hash and the size of each file.
    """

    number: int
    prompt: str
    seed: int
    frames: int
    tail: int = 0
    tail_stays: bool = False
    after: str = ""
    holds: Mapping[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """How a run is made. `asked` are the prompts as the user wrote them, `prompts` as the model gets them, each for
    `repeat` clips; `decides` is all else that decides the picture; `settings` are WanGP's own, to make it again.
    `base` names the run and the number of clips that were taken over from it. `ended`: "finished", "stopped" by
    the user, why it broke off, or "" where nobody can say; see `state`. `video` is the file that the user sees."""

    variant: str
    title: str
    clips: int
    seed: int
    fps: float
    asked: list[str]
    prompts: list[str]
    repeat: int
    decides: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    base: tuple[str, int] | None = None
    ended: str = ""
    video: str = ""
    made: str = ""
    version: str = __version__


class Run:
    """The folder of a run."""

    def __init__(self, folder: Path, about: About):
        self.folder, self.about = folder, about

    @property
    def name(self) -> str:
        return self.folder.name

    def path(self, number: int, ending: str) -> Path:
        return self.folder / f"{number + 1:04d}{ending}"

    def change(self, about: About) -> None:
        self.about = about
        files.write(self.folder / "run.json", _json(about))

    def add(self, clip: Clip, pieces: Sequence[Path], state: Mapping[str, Tensor]) -> Clip:
        """Writes the state of a clip and then its record; `pieces` are in the folder already. A clip of that number
        that was there is none any more from the first byte on."""
        path = self.path(clip.number, ".safetensors")
        data = save({name: value.contiguous() for name, value in state.items()})
        self.forget(clip.number)
        files.write(path, data)
        clip = replace(clip, holds={one.name: (_hash(one), one.stat().st_size) for one in (*pieces, path)})
        self.record(clip)
        with contextlib.suppress(OSError):  # somebody reads it; it is of no use any more
            self._unsaved(clip.number).unlink(missing_ok=True)
        return clip

    def keep(self, number: int, made_of: Mapping[str, str], state: Mapping[str, Tensor]) -> None:
        """Writes a clip as it was made, its `frames` [3, 81, H, W] and its state, until it is added. `made_of` says
        what decides it."""
        tensors = {name: value.contiguous() for name, value in state.items()}
        made = json.dumps({**made_of, "crc": _crc(tensors)}, ensure_ascii=False, sort_keys=True)
        files.write(self._unsaved(number), save(tensors, metadata={"made of": made}))

    def unsaved(self, number: int, made_of: Mapping[str, str]) -> dict[str, Tensor] | None:
        """A clip that was made of just this and never added; None where there is none."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, SafetensorError):
            data = self._unsaved(number).read_bytes()
            about = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            made = json.loads(about["made of"])
            crc = made.pop("crc")
            if made == made_of and _crc(found := load(data)) == crc:
                return found
        return None

    def _unsaved(self, number: int) -> Path:
        return self.path(number, "-frames.safetensors")

    def forget(self, number: int) -> None:
        """From here on there is no such clip, whatever is left of it."""
        self.path(number, ".json").unlink(missing_ok=True)

    def record(self, clip: Clip) -> None:
        files.write(self.path(clip.number, ".json"), _json(clip))

    def seal(self, clip: Clip) -> str:
        """The hash of what the clip after this one is conditioned on."""
        return clip.holds[self.path(clip.number, ".safetensors").name][0]

    def clip(self, number: int) -> Clip | None:
        """A clip that is there and whole; None where it is missing. Raises StoreError where it is damaged."""
        path = self.path(number, ".json")
        if not path.is_file():
            return None
        clip = _read(path, Clip)
        for name, (_, size) in clip.holds.items():
            found = (self.folder / name).stat().st_size if (self.folder / name).is_file() else 0
            if found != size:
                raise StoreError(f"clip {number + 1} of run {self.name} is damaged: {name} has {found} of {size} bytes")
        return clip

    def begun(self) -> bool:
        """Whether there is a clip to go on from, be it added or not."""
        return self.path(0, ".json").is_file() or self._unsaved(0).is_file()

    def done(self) -> list[Clip]:
        """The clips from the first one on that are there and whole."""
        found: list[Clip] = []
        try:
            while clip := self.clip(len(found)):
                found.append(clip)
        except StoreError:
            pass
        return found

    def is_intact(self, clip: Clip) -> bool:
        """Whether what the clip after this one is conditioned on is as it was written."""
        path = self.path(clip.number, ".safetensors")
        try:
            return _hash(path) == self.seal(clip)
        except (OSError, KeyError):
            return False

    def state(self, clip: Clip) -> dict[str, Tensor]:
        """What the clip after this one is conditioned on. Raises StoreError where it is not as it was written."""
        path = self.path(clip.number, ".safetensors")
        if self.is_intact(clip):
            with contextlib.suppress(OSError, SafetensorError):
                return load(path.read_bytes())  # from memory: a file that is mapped cannot be replaced on Windows
        raise StoreError(f"clip {clip.number + 1} of run {self.name} is damaged: {path.name} is not as it was written")

    def pieces(self, clip: Clip, last: bool) -> list[Piece]:
        """What a clip gives to the video; `last`: nothing follows it, so it keeps its tail."""
        paths = [self.folder / name for name in clip.holds if not name.endswith(".safetensors")]
        pieces = [*zip(paths, (clip.frames, clip.tail), strict=False)]
        return pieces if clip.tail_stays or last else pieces[:1]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        size = 0
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a run that is being made
                size += path.stat().st_size
        return size

    def lock(self) -> Callable[[], None]:
        """Keeps other WanGPs out until the function that is returned is called. Raises StoreError."""
        try:
            return files.lock(self.folder)
        except files.Busy:
            raise StoreError(f"run {self.name} is running in another WanGP. Wait until it is done, "
                             "or start a new run") from None


class Store:
    """A folder of runs."""

    def __init__(self, folder: Path):
        self.folder = folder

    def runs(self) -> Iterator[Run]:
        """The runs that this version can read, the newest first."""
        for name in self._names():
            try:
                yield self.open(name)
            except StoreError:
                continue

    def unreadable(self) -> Iterator[tuple[Path, str]]:
        """The folders that this version cannot read as runs, and why."""
        for folder in sorted(self.folder.glob("*/")):
            if not (folder / "run.json").is_file():
                yield folder, "is no run: it is being made or removed, or was when that was killed"
                continue
            try:
                self.open(folder.name)
            except StoreError as error:
                yield folder, str(error)

    def open(self, name: str) -> Run:
        folder = self.folder / name
        return Run(folder, _read(folder / "run.json", About))

    def find(self, name: str) -> Run:
        """The run of that name, or whose name alone ends in it. Raises StoreError."""
        wanted = name.strip().lower()
        found = [one for one in self._names() if wanted and one.lower().endswith(wanted)]
        found = [one for one in found if one.lower() == wanted] or found
        if len(found) != 1:
            what = "there is no run" if not found else f"{len(found)} runs have names that end in"
            known = ", ".join(self._names()[:5]) or "none"
            raise StoreError(f"{what} {name!r} in {self.folder}. Runs that are there: {known}")
        return self.open(found[0])

    def new(self, about: About, images: Mapping[str, bytes], fill: Callable[[Run], None] = lambda run: None) -> Run:
        """A run without clips, or with those that `fill` puts into it. `images` are files of its folder."""
        now = datetime.datetime.now()
        while True:
            folder = self.folder / f"{now:%Y%m%d}-{secrets.token_hex(2)}"
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                continue
        run = Run(folder, about)
        try:
            for name, data in images.items():
                files.write(folder / name, data)
            fill(run)  # killed here, it is no run
            run.change(replace(about, made=now.isoformat(timespec="seconds"), version=__version__))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return run

    def fork(self, run: Run, clips: int, about: About) -> Run:
        """A new run that begins with the first `clips` clips of another, which stays as it is."""
        done = run.done()
        if not 0 < clips <= len(done):
            raise StoreError(f"run {run.name} has {len(done)} finished clips, so clip {clips + 1} cannot be redone")

        def fill(new: Run) -> None:
            for clip in done[:clips]:
                for name in clip.holds:
                    files.write(new.folder / name, lambda path, name=name: shutil.copyfile(run.folder / name, path))
                new.record(clip)

        return self.new(about, {path.name: path.read_bytes() for path in run.folder.glob("*.png")}, fill)

    def remove(self, run: Run) -> int:
        """Removes a run for good, its video aside -> the bytes that it took."""
        release, size = run.lock(), run.size
        try:
            (run.folder / "run.json").unlink()  # killed here, the rest is no run any more
            shutil.rmtree(run.folder)
        finally:
            release()
        return size

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        found = [path.parent for path in self.folder.glob("*/run.json")]
        return [path.name for path in sorted(found, key=lambda path: (path / "run.json").stat().st_mtime, reverse=True)]


def holds(video: Path, pieces: Sequence[Piece]) -> int | None:
    """How many of the pieces, from the first one on, are just what `video` holds; None where it is something else."""
    try:
        left = mp4.frames(video)
    except (OSError, mp4.VideoError):
        return None
    for number, (_, frames) in enumerate(pieces):
        if left <= 0:
            return number if left == 0 and number else None
        left -= frames
    return len(pieces) if left == 0 else None


def room(clips: Sequence[Clip], pixels: int) -> int:
    """Bytes that one more clip takes for good, its share of the video included: as the newest of `clips`, else a
    guess."""
    if not clips:
        return CLIP_FRAMES * pixels // 2 + 20 * pixels
    return max(sum(size if name.endswith(".safetensors") else 2 * size for name, (_, size) in clip.holds.items())
               for clip in clips[-8:])


def room_unsaved(pixels: int) -> int:
    """Bytes that a clip takes beside, until its pieces are there."""
    return 3 * CLIP_FRAMES * pixels


def _crc(tensors: Mapping[str, Tensor]) -> int:
    """A checksum, which takes a tenth of the time of a hash: it is against bits that fall over, not against anybody."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].flatten().view(torch.uint8).numpy(), zlib.crc32(name.encode(), found))
    return found


def _json(value: Any) -> bytes:
    return json.dumps({"format": FORMAT, **asdict(value)}, ensure_ascii=False, indent=1).encode("utf-8")


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise StoreError(f"{path} was written by another version of SVI for WanGP, and this one cannot read it")
        value = kind(**data)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} cannot be read: {error}") from None
    return value


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(2**20):
            found.update(data)
    return found.hexdigest()
