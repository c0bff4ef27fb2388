"""Runs on disk: finished clips, and all it takes to resume, extend or redo them.

    STORE/20261120-7f3a/          a run
        run.json                  how it is made: settings, seed, prompts, everything that decides
                                  what the clips show
        start.png  reference.png  the user's image, as given and as every clip is conditioned on it
        sound.wav  track.m4a      the sound that is spoken, as given and as the video has it
        poses.mp4                 the pose video that is danced
        source.mp4                the video that is continued; before.mp4: if it is copied whole to
                                  the front
        image-0c5f21ab34d7e690.png  an image of the storyboard, by its hash
        0001.mp4  0001-tail.mp4   the clip's pieces of the video, encoded once
        0001-frames.safetensors   the clip as it was made, until its pieces exist
        0001.safetensors          what the next clip is conditioned on, bit for bit
        0001.json                 seed, prompt, hashes; written last: without it there is no clip

Clips are counted from 1 in file names and from 0 everywhere else. Runs are passed around, so
nothing that a run says leads out of its folder.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .. import __version__, files, untrusted
from ..text import count, cut
from ..variants import CLIP_FRAMES
from . import unsaved
from .record import About, Clip, Piece, StoreError, as_json, read

FOLDER = "svi"  #: of the runs, in WanGP's folder for videos
STOP = "stop"  #: a file of that name in a run's folder ends the run after the current clip
PAUSES = "pauses"  #: while it is there, the run ends after each clip anyway
STOPPING = "stopping"  #: what it is renamed to once that clip is made, and nothing takes it back
REMOVED = ".removed"  #: ends the name of a folder that is being removed
_IMAGES = ("start.png", "reference.png")
_VIDEOS = (".mp4", ".mkv", ".mov")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_MOST_STATE = 2**29  # bytes; five frames of 4K take 0.15 GB


class Run:
    """The folder of a run."""

    def __init__(self, folder: Path, about: About):
        self.folder, self.about = folder, about

    @property
    def name(self) -> str:
        return self.folder.name

    def path(self, number: int, ending: str) -> Path:
        return self.folder / f"{number + 1:04d}{ending}"

    @property
    def changed(self) -> str:
        """When it was recorded last, by which lists are sorted: "2026-11-20 16:37"."""
        written = (self.folder / "run.json").stat().st_mtime
        return f"{datetime.datetime.fromtimestamp(written):%Y-%m-%d %H:%M}"

    @property
    def video(self) -> Path | None:
        """The video that the user sees, in WanGP's folder for videos; None if it is gone.

        WanGP writes nowhere else, so only the name counts: not the folder that a stranger's record
        names, nor where a link leads.
        """
        name = PureWindowsPath(self.about.video).name
        path = self.folder.parent.parent / name
        known = untrusted.is_name(cut(name, 256)) and path.suffix in _VIDEOS
        return path if known and untrusted.is_file(path) and not path.is_symlink() else None

    @property
    def sound(self) -> Path | None:
        """The sound that is spoken, as the user gave it; None if there is none."""
        return self._taken("sound")

    @property
    def track(self) -> Path:
        """The same, as the video has it."""
        return self.folder / "track.m4a"

    @property
    def poses(self) -> Path | None:
        """The pose video that is danced, as the user gave it; None if there is none."""
        return self._taken("poses")

    def take_sound(self, given: Path) -> None:
        """Keeps a copy of a sound, in the place of the one that it had."""
        if self._take("sound", given):
            files.remove(self.track)

    def take_poses(self, given: Path) -> None:
        """Keeps a copy of a pose video."""
        self._take("poses", given)

    @property
    def before(self) -> Path | None:
        """The user's video that the run continues, if the run's own video begins with a copy of it;
        else None."""
        return self._taken("before")

    def take_before(self, given: Path) -> None:
        """Keeps a copy of such a video."""
        self._take("before", given)

    @property
    def source(self) -> Path | None:
        """The video that the run continues, as the user gave it; None if there is none."""
        return self.before or self._taken("source")

    def take_source(self, given: Path) -> None:
        """Keeps a copy of a video that WanGP puts before the clips itself."""
        self._take("source", given)

    def image(self, digest: str) -> Path | None:
        """The image of the storyboard with that hash; None if the run has none."""
        return self._taken(f"image-{digest}") if _DIGEST.fullmatch(digest) else None

    def take_image(self, given: Path, digest: str) -> None:
        """Keeps a copy of an image of the storyboard."""
        self._take(f"image-{digest}", given)

    def _taken(self, name: str) -> Path | None:
        return next((path for path in self.folder.glob(f"{name}.*")
                     if path.stem == name and path.is_file()), None)

    def _take(self, name: str, given: Path) -> bool:
        """Whether the copy is new."""
        before = self._taken(name)
        if before is not None and (before.samefile(given)
                                   or files.sha256(before) == files.sha256(given)):
            return False
        ending = given.suffix.lower() if given.suffix[1:].isalnum() else ".file"
        path = self.folder / f"{name}{ending}"
        files.write(path, partial(shutil.copyfile, given))
        if before is not None and before != path:
            files.remove(before)
        return True

    def change(self, about: About) -> None:
        files.write(self.folder / "run.json", as_json(about))
        self.about = about

    def begin_again(self, about: About, images: Mapping[str, bytes]) -> None:
        """Makes it a new run, in its folder and with the user's name. Raises StoreError if it has a
        clip or another WanGP is making it."""
        release = self.lock()
        try:
            if self.begun():
                raise StoreError(f"run {self.name} has a clip")
            for path in self.folder.iterdir():
                if path.name != "run.json":
                    files.remove(path)
            for name, data in images.items():
                files.write(self.folder / name, data)
            self.change(replace(about, made=_now(), version=__version__, label=self.about.label))
        finally:
            release()

    # --------------------------------------------------------------------------------- write a clip

    def keep(self, number: int, made_of: Mapping[str, str], state: Mapping[str, Tensor]) -> None:
        """Writes a clip as it was made, until it is added: `frames` [3, 81, H, W] and its state.

        `made_of` says everything that the clip depends on.
        """
        unsaved.write(self._unsaved(number), made_of, state)

    def unsaved(self, number: int, made_of: Mapping[str, str]) -> dict[str, Tensor] | None:
        """A clip that was made of exactly this and never added; None if there is none."""
        return unsaved.read(self._unsaved(number), made_of)

    def add(self, clip: Clip, pieces: Sequence[Path], state: Mapping[str, Tensor]) -> Clip:
        """Writes the state of a clip, then its record. `pieces` are in the folder already.

        From the first byte on, an earlier clip with that number is gone.
        """
        path = self.path(clip.number, ".safetensors")
        data = save({name: value.contiguous() for name, value in state.items()})
        self.forget(clip.number)
        files.write(path, data)
        holds = {one.name: (files.sha256(one), one.stat().st_size) for one in (*pieces, path)}
        clip = replace(clip, holds=holds)
        self.record(clip)
        with contextlib.suppress(OSError):  # somebody is reading it, and it is useless now
            files.remove(self._unsaved(clip.number))
        return clip

    def record(self, clip: Clip) -> None:
        files.write(self.path(clip.number, ".json"), as_json(clip))

    def forget(self, number: int) -> None:
        """From here on there is no such clip, whatever files are left of it."""
        files.remove(self.path(number, ".json"))

    def _unsaved(self, number: int) -> Path:
        return self.path(number, "-frames.safetensors")

    # ---------------------------------------------------------------------------------- read a clip

    def clip(self, number: int) -> Clip | None:
        """A complete clip; None if there is none. Raises StoreError if it is damaged."""
        path = self.path(number, ".json")
        if not path.is_file():
            return None
        clip = read(path, Clip)
        own = {f"{path.stem}{ending}" for ending in ("", "-tail")}
        if clip.number != number or {name.partition(".")[0] for name in clip.holds} - own:
            raise StoreError(f"{path} cannot be read: it is about another clip")
        if clip.holds.get(f"{path.stem}.safetensors", ("", _MOST_STATE))[1] >= _MOST_STATE:
            raise StoreError(f"{path} cannot be read: the clip has no state, or a huge one")
        for name, (_, size) in clip.holds.items():
            held = self.folder / name
            found = held.stat().st_size if held.is_file() else 0
            if found != size:
                raise StoreError(f"clip {number + 1} of run {self.name} is damaged: {name} has "
                                 f"{found} of {size} bytes")
        return clip

    def begun(self) -> bool:
        """Whether there is a clip to resume from, added or not."""
        return self.path(0, ".json").is_file() or self._unsaved(0).is_file()

    def done(self) -> list[Clip]:
        """The complete clips, from the first one up to a gap."""
        found: list[Clip] = []
        with contextlib.suppress(StoreError):
            while clip := self.clip(len(found)):
                found.append(clip)
        return found

    def seal(self, clip: Clip) -> str:
        """The hash of what the next clip is conditioned on."""
        return clip.holds[self.path(clip.number, ".safetensors").name][0]

    def state(self, clip: Clip) -> dict[str, Tensor]:
        """What the next clip is conditioned on. Raises StoreError if it is damaged."""
        path = self.path(clip.number, ".safetensors")
        with contextlib.suppress(OSError, ValueError, LookupError, RuntimeError, SafetensorError):
            # from memory: Windows does not replace a file that is mapped
            data = files.patiently(partial(untrusted.content, path, _MOST_STATE))
            if hashlib.sha256(data).hexdigest() == self.seal(clip):
                return load(data)
        raise StoreError(f"clip {clip.number + 1} of run {self.name} is damaged: {path.name} is "
                         "not as it was written")

    def pieces(self, clip: Clip, last: bool) -> list[Piece]:
        """A clip's pieces of the video. The `last` clip of a video keeps its tail."""
        paths = [self.folder / name for name in clip.holds if not name.endswith(".safetensors")]
        pieces = [*zip(paths, (clip.frames, clip.tail), strict=False)]
        return pieces if clip.tail_stays or last else pieces[:1]

    # -------------------------------------------------------------------------------- the whole run

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return size_of(self.folder)

    def lock(self) -> Callable[[], None]:
        """Keeps other WanGPs out until the returned function is called. Raises StoreError."""
        return _locked(self.folder, StoreError(f"run {self.name} is running in another WanGP. Wait "
                                               "until it is done, or start a new run"))


class Store:
    """A folder of runs."""

    def __init__(self, folder: Path):
        self.folder = folder

    def runs(self) -> Iterator[Run]:
        """The runs that this version can read, the last changed first."""
        for name in self._names():
            with contextlib.suppress(StoreError):
                yield self.open(name)

    def news(self) -> list[tuple[str, float, bool]]:
        """What is another list as soon as there is news of a run, without reading any: its name,
        when it was recorded, and whether it is running."""
        return [(name, written, files.is_locked(self.folder / name))
                for name, written in self._written().items()]

    def unreadable(self, but: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
        """The folders that this version cannot read as runs, and why; `but`: names of runs that it
        can read."""
        for folder in self._folders():
            if folder.name.endswith(REMOVED):
                yield folder, "is the rest of a removed run, and goes when you remove the next one"
                continue
            try:
                if folder.name not in but:
                    self.open(folder.name)
            except StoreError as error:
                yield folder, str(error)

    def open(self, name: str) -> Run:
        """The run with exactly that name. Raises StoreError."""
        folder = self.folder / name
        if not untrusted.is_name(name):
            raise StoreError(f"{name!r} cannot be read: it is not a name of a run")
        try:
            if found := _leads_out(folder):
                raise StoreError(f"{folder} cannot be read: {found} is not a file but a link or a "
                                 "device, and SVI follows none in a run")
            if not (folder / "run.json").exists():
                raise StoreError(f"run {name} is only just being made"
                                 if files.is_locked(folder) else f"{folder} has no run.json, so "
                                 "it is no run. Delete the folder if you need nothing in it")
        except FileNotFoundError:
            raise StoreError(f"run {name} is gone: it is no longer in {self.folder}") from None
        except OSError as error:
            raise StoreError(f"{folder} cannot be read: {files.explain(error, folder)}") from None
        return Run(folder, read(folder / "run.json", About))

    def find(self, name: str) -> Run:
        """The run that a person means: that with this name, or else the only one whose name ends in
        it; or else the only one whose given name is that, begins so, or has that in it. Raises
        StoreError."""
        return self.open(self._one(name, self._names()))

    def folder_of(self, name: str) -> Path:
        """The folder of such a run, even of one that cannot be read. Raises StoreError."""
        names = [*self._names(), *(folder.name for folder in self._folders())]
        return self.folder / self._one(name, [*dict.fromkeys(names)])

    def _one(self, name: str, names: Sequence[str]) -> str:
        wanted = " ".join(name.lower().split())
        found = [one for one in names if wanted and one.lower().endswith(wanted)]
        found = [one for one in found if one.lower() == wanted] or found
        labels: dict[str, str] = {}
        if len(found) != 1:
            labels = {run.name: run.about.label for run in self.runs() if run.about.label}
        how = "names that end in" if found else "given names with"
        found = found or [one for one in _labelled(labels, wanted) if one in names]
        if len(found) != 1:
            listed = [f"{one} ({labels[one]})" if one in labels else one for one in found or names]
            known = ", ".join(listed[:5]) or "none"
            more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
            told, folder = repr(cut(name, 60)), self.folder
            raise StoreError(
                f"{len(found)} runs in {folder} have {how} {told}: {known}{more}" if found else
                f"there is no run {told} in {folder}. Runs that are there: {known}{more}")
        return found[0]

    def new(self, about: About, images: Mapping[str, bytes],
            fill: Callable[[Run], None] = lambda run: None) -> Run:
        """A run without clips, or with the clips that `fill` puts into it.

        `images`: name -> content, files of its folder.
        """
        today = datetime.datetime.now()
        while True:
            folder = self.folder / f"{today:%Y%m%d}-{secrets.token_hex(2)}"
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:
                continue
        run, release = Run(folder, about), files.lock(folder)
        try:
            for name, data in images.items():
                files.write(folder / name, data)
            fill(run)  # killed here, it is no run yet
            run.change(replace(about, made=_now(), version=__version__))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            release()
        return run

    def fork(self, run: Run, clips: int, about: About) -> Run:
        """A new run that begins with copies of another's first `clips` clips. Raises StoreError."""
        done = run.done()
        if not 0 < clips <= len(done):
            raise StoreError(f"run {run.name} has {count(len(done), 'finished clip')}, so clip "
                             f"{clips + 1} cannot be redone")

        def fill(new: Run) -> None:
            for clip in done[:clips]:
                for name in clip.holds:
                    files.write(new.folder / name, partial(shutil.copyfile, run.folder / name))
                new.record(clip)
            if run.before is not None:
                new.take_before(run.before)

        images = {name: (run.folder / name).read_bytes() for name in _IMAGES
                  if (run.folder / name).is_file()}
        return self.new(about, images, fill)

    def remove(self, run: Run) -> int:
        """Removes a run, but not its video. Returns the bytes that it took. Raises StoreError."""
        return self.remove_folder(run.folder)

    def remove_folder(self, folder: Path) -> int:
        """Like `remove`, also for a run that cannot be read. While a program has one of its files
        open, Windows keeps it whole."""
        if folder.is_symlink():
            raise StoreError(f"{folder} is a link, and SVI follows none: remove it yourself")
        self._sweep()
        size, release = size_of(folder), _locked(folder, is_busy(folder.name))
        gone = folder.name + REMOVED
        try:
            files.replace(folder, folder.with_name(gone))
        except OSError as error:
            why = ("another program has it or one of its files open. Close that program and "
                   "remove it again" if isinstance(error, PermissionError)
                   else files.explain(error))
            raise StoreError(f"run {folder.name} was not removed: {why}") from error
        finally:
            release()
        self._sweep()
        return size

    def _sweep(self) -> None:
        """Removes what is left of removed runs, except for files that somebody reads now."""
        for folder in self._folders():
            if folder.name.endswith(REMOVED):
                shutil.rmtree(folder, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*") if path.is_dir())

    def _names(self) -> list[str]:
        """Of runs, the last changed first."""
        written = self._written()
        return sorted(written, key=lambda name: written[name], reverse=True)

    def _written(self) -> dict[str, float]:
        """When runs were recorded, by their names."""
        written: dict[str, float] = {}
        for path in self.folder.glob("*/run.json"):
            with contextlib.suppress(OSError):  # just being removed
                if not path.parent.name.endswith(REMOVED):
                    written[path.parent.name] = path.stat().st_mtime
        return written


def _labelled(labels: Mapping[str, str], wanted: str) -> list[str]:
    """The runs whose given names are `wanted`, or else begin so, or else have it in them."""
    lower = {name: label.lower() for name, label in labels.items()} if wanted else {}
    return ([name for name, label in lower.items() if label == wanted]
            or [name for name, label in lower.items() if label.startswith(wanted)]
            or [name for name, label in lower.items() if wanted in label])


def _now() -> str:
    return datetime.datetime.now().isoformat(timespec="seconds")


def is_busy(name: str) -> StoreError:
    """Why nothing can be done with a run that this WanGP or another one is making."""
    return StoreError(f"run {name} is running. Stop it, or wait until it is finished")


def _locked(folder: Path, otherwise: StoreError) -> Callable[[], None]:
    try:
        return files.lock(folder)
    except files.Busy:
        raise otherwise from None


def size_of(folder: Path) -> int:
    """Bytes on disk in the folder of a run."""
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # of a run that is running
            size += path.stat().st_size
    return size


def _leads_out(folder: Path) -> str:
    """The first thing in the folder of a run that is neither a file nor a folder itself; ""."""
    if folder.is_symlink():
        return folder.name
    with os.scandir(folder) as found:
        return next((one.name for one in found if not one.is_file(follow_symlinks=False)
                     and not one.is_dir(follow_symlinks=False)), "")


def room(clips: Sequence[Clip], pixels: int) -> int:
    """Bytes that one more clip takes: as many as the largest of the newest `clips`, or a guess.

    Each piece counts three times: itself, in the video, and in the video's next version.
    """
    if not clips:
        return 3 * CLIP_FRAMES * pixels // 4 + 20 * pixels
    return max(_size(clip, 1, 3) for clip in clips[-8:])


def room_beside(clips: Sequence[Clip], pixels: int) -> int:
    """Bytes that are needed for a while: a clip as it was made, and the video's next version."""
    return 3 * CLIP_FRAMES * pixels + sum(_size(clip, 0, 1) for clip in clips)


def _size(clip: Clip, state: int, piece: int) -> int:
    """Bytes of a clip's files, times `state` for its state and times `piece` for its pieces."""
    return sum(size * (state if name.endswith(".safetensors") else piece)
               for name, (_, size) in clip.holds.items())

