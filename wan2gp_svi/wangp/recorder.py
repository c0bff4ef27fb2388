"""The clips of a run on their way to the disk, and the video that grows from them.

In WanGP the frames of all windows are a list in RAM, and each window saves the whole list again. Here the list holds
the newest clip alone, its piece is encoded by WanGP's own `save_video` while the next clip is made, and the video is
put together from pieces. A clip that is on disk already is handed out by `generate` instead of being made: WanGP's
loop goes through all its windows as ever, and so all its counters are right.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__, files
from ..runs import mp4
from ..runs.state import State
from ..runs.store import STOP, Clip, Run, StoreError, holds, room, room_unsaved
from ..text import size
from ..variants import CLIP_FRAMES, Variant
from .clip import Video, to_uint8
from .form import SettingsError

_QUIET = 2.0  # seconds without a change, after which a file is taken to be finished
_SPARE = 200 * 2**20  # bytes that are to stay free on the disk


class Frames(list):
    """WanGP's list of the frames that it has so far. It holds the newest alone, and that until it is saved; the others
    are on the disk, unless WanGP's caller wants them in memory."""

    def __init__(self, video: Video):
        super().__init__()
        self.video = video
        # WanGP's loop can end between a clip's join and its file, and calls nothing of ours then
        weakref.finalize(self, video.recording.abandon, video.gen).atexit = False

    def save(self, save_file: Any, write: Callable[..., Any], **options: Any) -> Any:
        """Stands in for WanGP's `save_video`. Where the run cannot take the newest clip, or has ended, WanGP writes it
        into a file of its own."""
        newest = self[-1] if self.video.in_memory else self.pop()
        if not self.video.failure:
            try:
                return self.video.recording.save(newest, save_file, write, **options)
            except Exception as error:
                self.video.end("save_video", error)
        return write(tensor=[newest], save_file=save_file, **options)


@dataclass
class _Making:
    """The clip that is being made, or handed out (`stored`)."""

    number: int
    prompt: str
    seed: int
    conditioned_on: str
    stored: Clip | None = None
    state: dict[str, Tensor] | None = None
    given: int = 0  # frames handed to WanGP, of which the last `tail` may be given up again
    tail: int = 0
    last: bool = False

    @property
    def made_of(self) -> dict[str, str]:
        return {"prompt": self.prompt, "seed": str(self.seed), "conditioned_on": self.conditioned_on}


class Recording:
    """The clips of a run on their way to the disk, and the video that grows from them. One thread beside WanGP's own
    does the work; what goes wrong there is raised at the next call."""

    def __init__(self, run: Run, total: int, pixels: int, say: Callable[[str], None]):
        self.run, self.total, self.say, self._pixels = run, total, say, pixels
        self.clips: list[Clip] = [*takewhile(run.is_intact, run.done()[:total])]
        self.taken_over = len(self.clips)
        self._pieces = [piece for clip in self.clips for piece in run.pieces(clip, last=False)]
        self._grown = 0  # pieces that the video has
        self._seeds: list[int] = []
        self._stop = False
        self._video: Path | None = None
        self._making: _Making | None = None
        self._jobs: list[Future[Any]] = []
        self._worker = ThreadPoolExecutor(1, "svi-clips")
        self._release = weakref.finalize(self, run.lock())
        (run.folder / STOP).unlink(missing_ok=True)  # meant for somebody who is not there any more

    # ------------------------------------------------------------------------------------ in the order of a clip

    def begin(self, number: int, prompt: str, seed: int, given: str, send_cmd: Callable[..., None] | None
              ) -> Clip | None:
        """Before the pipeline is called for a clip: returns the clip if it is on disk. `given` is the hash of what it
        is conditioned on."""
        if not self._release.alive:  # one more clip after the last
            self._release = weakref.finalize(self, self.run.lock())
        self._settle(wait=number >= self.taken_over and self.run.path(number, ".json").exists())
        if self._video is not None:
            self._later(self._grow, send_cmd)
        stored = self._stored(number, prompt, seed)
        self._making = _Making(number, prompt, seed, given, stored)
        self._seeds = [*self._seeds[:number], seed if stored is None else stored.seed]
        if stored is None:
            self._check_room(number)
        return stored

    def _stored(self, number: int, prompt: str, seed: int) -> Clip | None:
        if number < len(self.clips):
            return self.clips[number]
        try:
            found = self.run.clip(number)
            if found is not None:
                self.run.state(found)
        except StoreError as error:
            self.say(f"{error}. SVI makes it again.")
            return None
        after = self.run.seal(self.clips[-1]) if self.clips else ""
        if found is None or (found.prompt, found.seed, found.after) != (prompt, seed, after):
            return None
        self._add(found)
        return found

    def stopping(self) -> bool:
        """Whether the user has asked for no more clips; the run is closed then."""
        if self._stop:
            self.close(State.STOPPED)
            self.say(f"stopped after clip {self._making.number}, as asked. Press Generate again to resume.")
        return self._stop

    def from_disk(self) -> dict[str, Any] | None:
        """What `generate` would return for this clip, if it has been made before; None if it has not."""
        making = self._making
        if making.stored is not None:
            return self._handed_out(making.stored)
        state = self.run.unsaved(making.number, making.made_of)
        if state is None:
            return None
        self.say(f"clip {making.number + 1} was made but not yet saved, so SVI saves it now.")
        frames = state.pop("frames")
        making.state = state
        return {"x": frames.float() if frames.is_floating_point() else frames, "latent_slice": state.get("latents")}

    def receive(self, frames: Tensor, variant: Variant, latents: Tensor | None) -> None:
        """A clip as the pipeline has returned it, [3, 81, H, W]: it goes to the disk before anything else happens to
        it, and stays there until its piece of the video does. `latents`: those that the clip after it starts from."""
        making = self._making
        whole = to_uint8(frames)
        overlap = variant.overlap
        making.state = {"motion_frames": whole[:, -overlap:].clone(),
                        "last_frame": whole[:, -overlap - 1 : -overlap].clone() if variant.keep_new
                        else whole[:, -1:].clone()}
        if latents is not None:
            making.state["latents"] = latents
        if frames.is_floating_point():
            making.state["float"] = torch.ones(1, device="cpu")
        try:
            self.run.keep(making.number, making.made_of, {**making.state, "frames": _exactly(frames, whole)})
        except OSError as error:
            raise StoreError(f"clip {making.number + 1} cannot be written to run {self.run.name} ({error}), and this "
                             "video has ended with it. Make room, and press Generate again to resume. All clips before "
                             f"it are safe in {self.run.folder}.") from error

    def _handed_out(self, clip: Clip) -> dict[str, Any]:
        """A clip as the pipeline would return it, as far as anything after this one depends on it: its last frames."""
        state = self.run.state(clip)
        motion, shown = state["motion_frames"], state["last_frame"]
        frames = torch.cat([shown.expand(-1, CLIP_FRAMES - motion.shape[1], -1, -1), motion], dim=1)
        return {"x": _as_returned(frames, state), "latent_slice": state.get("latents")}

    def joined(self, frames: int, tail: int, last: bool) -> None:
        """WanGP has joined a clip: so many frames go into the video, of which the last `tail` would be given up to a
        clip that follows."""
        making = self._making
        making.given, making.tail, making.last = frames, tail, last

    def save(self, frames: Tensor, save_file: str, write: Callable[..., Any], **options: Any) -> str:
        """Stands in for WanGP's `save_video`: `frames` [3, T, H, W] are the newest clip as it is to be seen."""
        self._settle(wait=True)  # one clip at a time waits for the encoder, and nothing is appended while WanGP writes
        making, target = self._making, Path(save_file)
        sound = target.stem.endswith("_tmp")  # WanGP will lay sound under this file, and then remove it
        if making.stored is None:
            self._later(self._encode, making, frames, partial(write, **options), target.suffix)
        if self._video is None or sound or making.last:
            self._later(self._show, target, sound)
            self._settle(wait=True)
        return save_file

    def _encode(self, making: _Making, frames: Tensor, write: Callable[..., Any], suffix: str) -> None:
        self.run.forget(making.number)  # its pieces are about to be others
        tail = round(making.tail * frames.shape[1] / making.given) if making.last else 0
        pieces: list[Path] = []
        for ending, part in (("", frames[:, : frames.shape[1] - tail]), ("-tail", frames[:, frames.shape[1] - tail :])):
            if part.shape[1]:
                path = self.run.path(making.number, ending + suffix)
                files.write(path, partial(_encoded, write, part))
                pieces.append(path)
        clip = Clip(making.number, making.prompt, making.seed, frames.shape[1] - tail, tail,
                    after=self.run.seal(self.clips[-1]) if self.clips else "")
        self._add(self.run.add(clip, pieces, making.state))

    def _add(self, clip: Clip) -> None:
        self.clips.append(clip)
        self._pieces += self.run.pieces(clip, last=False)

    def _show(self, target: Path, sound: bool) -> None:
        """The video up to the newest clip, in the file that WanGP asks for or in the one that the user sees already."""
        if self._video is None:
            before = Path(self.run.about.video or "none")
            held = holds(before, self._pieces) if before.suffix == target.suffix else None
            self._video = self.run.folder / f"video{target.suffix}" if sound else target if held is None else before
            self._grown = held or 0 if self._video == before else 0
        self._grow(None)
        if sound:
            files.write(target, lambda path: shutil.copyfile(self._video, path))

    def _grow(self, send_cmd: Callable[..., None] | None) -> None:
        if not self.clips:
            return
        making, clip = self._making, self.clips[-1]
        pieces, video = list(self._pieces), self._video
        if making.last and making.number == clip.number and clip.tail and not clip.tail_stays:
            pieces += self.run.pieces(clip, last=True)[1:]
        if video.suffix.lower() in mp4.SUFFIXES:
            for number, (piece, _) in enumerate(pieces[self._grown :], self._grown):
                if number:
                    mp4.append(video, piece)
                else:
                    files.write(video, lambda path, piece=piece: shutil.copyfile(piece, path))
                self._grown = number + 1
        elif len(pieces) > self._grown:
            files.write(video, partial(_joined, [piece for piece, _ in pieces]))
            self._grown = len(pieces)
        if send_cmd is not None:
            send_cmd("output")

    def saved(self, configs: dict[str, Any], video_path: str) -> tuple[dict[str, Any], str]:
        """After WanGP has written a window's file: its settings and path as they are to be recorded and shown."""
        about, making = self.run.about, self._making
        settings = _own(configs, seed=about.seed)
        inside = {"version": __version__, "variant": about.variant, "run": self.run.name, "seeds": self._seeds}
        shown = self.shown(video_path)
        ended = "" if not making.last else State.FINISHED if making.number + 1 >= self.total else State.STOPPED
        change = replace(about, video=shown, ended=ended, clips=self.total)
        if not about.settings:  # what WanGP does not record with a video does not decide what it shows
            decides = {name: value for name, value in about.decides.items() if name in configs or " " in name}
            change = replace(change, settings=settings, decides=decides)
        if change != about:
            self.run.change(change)
        if making.last:
            self.close()
            if self.total > 1:
                self._worker.submit(self.report, Path(shown))
        return with_provenance(settings, inside), shown

    def shown(self, video_path: str) -> str:
        """The file that the user sees; `video_path` is that of WanGP, which lays sound under the run's video."""
        return video_path if self._video is None or self._video.parent == self.run.folder else str(self._video)

    def report(self, video: Path) -> None:
        """How the video holds up, when WanGP has written its settings into it."""
        from .. import drift  # its packages are needed here alone

        with contextlib.suppress(OSError):
            before = None
            while before != (before := video.stat().st_mtime_ns):
                time.sleep(_QUIET)
        try:
            found = drift.report(video, self.run.folder / "reference.png")
            *_, picture = drift.write(found)
        except Exception as error:  # a report that fails must not disturb the next run
            self.say(f"there is no drift report of {video.name}: {error}")
        else:
            self.say(f"drift report: {picture}")
            self.say(found.verdict)

    # -------------------------------------------------------------------------------------------------- all the while

    def follow(self) -> None:
        """One more clip is wanted after the one that was to be the last: what that one has shown stays."""
        clip = self.clips[-1]
        if not self._stop and clip.number == self._making.number and clip.tail and not clip.tail_stays:
            self.clips[-1] = clip = replace(clip, tail_stays=True)
            self.run.record(clip)
            self._pieces += self.run.pieces(clip, last=True)[1:]

    def stop_asked(self) -> bool:
        """Whether the user wants the run to end with the clip that has just been made."""
        with contextlib.suppress(FileNotFoundError):
            (self.run.folder / STOP).unlink()
            self._stop = True
        return self._stop

    def close(self, ended: str = "") -> None:
        """Finishes what is on its way, and lets go of the run. `ended`: why it did not come to its end."""
        if not self._release.alive:
            self.wait()  # the one that lets go may be on its way
            return
        try:
            with contextlib.suppress(StoreError):
                if self._video is not None:
                    self._later(self._grow, None)
                self._settle(wait=True)
        finally:  # whatever is wrong, the run can be resumed
            self._let_go(ended)

    def abandon(self, gen: Mapping[str, Any]) -> None:
        """The same where WanGP's loop has ended without a word. Waits for nothing, since any thread may call it."""
        if self._release.alive:
            ended = State.STOPPED if gen.get("abort") else ""
            with contextlib.suppress(RuntimeError):  # this Python ends
                if self._video is not None:
                    self._later(self._grow, None)
                self._later(self._let_go, ended)

    def _let_go(self, ended: str) -> None:
        if ended and self.run.about.settings:
            with contextlib.suppress(OSError):
                self.run.change(replace(self.run.about, ended=ended))
        self._release()

    def _later(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._jobs.append(self._worker.submit(work, *arguments))

    def wait(self) -> None:
        """Waits for the work beside. What goes wrong in it is raised at the next call."""
        wait_for(self._jobs)

    def _settle(self, wait: bool = False) -> None:
        """Raises what went wrong in the work beside, as a sentence."""
        while self._jobs and (wait or self._jobs[0].done()):
            try:
                self._jobs.pop(0).result()
            except (OSError, mp4.VideoError, StoreError) as error:
                for job in self._jobs:  # what follows would leave a gap
                    job.cancel()
                self.wait()
                self._jobs.clear()
                self._let_go(f"a clip could not be written: {error}")
                raise StoreError(f"the clips of run {self.run.name} cannot be written ({error}). Make room, or close "
                                 "what holds the file, and press Generate again to resume. All clips so far are safe "
                                 f"in {self.run.folder}.") from error

    def _check_room(self, number: int) -> None:
        free, one = shutil.disk_usage(self.run.folder).free - _SPARE, room(self.clips, self._pixels)
        left, made = self.total - number, room_unsaved(self._pixels)
        if free < one + made:
            self.close("the disk was nearly full")
            on = f"; it resumes at clip {number + 1}" if number else ""
            raise SettingsError(
                f"the disk is nearly full: clip {number + 1} needs about {size(one + made, 0)}, and "
                f"{size(max(free, 0), 0)} are free beside a reserve of {size(_SPARE, 0)}. Make room on the disk "
                f"of {self.run.folder}, and press Generate again{on}.")
        if free < one * left + made and number in (0, 1, self.taken_over):
            self.say(f"the disk has room for about {(free - made) // one} of the {left} clips to come "
                     f"({size(one, 0)} each).")


def with_provenance(settings: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """WanGP's settings of a video, with how SVI made it, which `drift.layout.provenance` reads. It stands among the
    custom settings: of these WanGP takes what it knows, while it refuses other settings that it does not know."""
    return {**settings, "custom_settings": {**(settings.get("custom_settings") or {}), "svi": dict(made)}}


def _own(configs: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A video's settings as they make it again: with its own seed, and without the name of the run that it is."""
    custom = configs.get("custom_settings")
    if isinstance(custom, Mapping):
        not_its = {"svi"} if "@" in str(custom.get("svi_run", "")) else {"svi", "svi_run"}
        custom = {name: value for name, value in custom.items() if name not in not_its} or None
    return {**configs, "seed": seed, "custom_settings": custom}


def _exactly(frames: Tensor, in_8_bit: Tensor) -> Tensor:
    """Frames as they were returned, in as few bytes as hold them; an older WanGP turns floats into 8 bit by itself."""
    if not frames.is_floating_point():
        return in_8_bit
    exact = frames.detach().cpu()
    half = exact.half()
    return half if half.to(exact.dtype).equal(exact) else exact


def _as_returned(frames: Tensor, state: Mapping[str, Tensor]) -> Tensor:
    """Frames of 8 bit as the pipeline of this WanGP returns them."""
    if "float" not in state:
        return frames
    # a quarter of a step more, since an older WanGP cuts them to 8 bit
    return frames.float().add_(0.25).div_(127.5).sub_(1).clamp_(max=1)


def _encoded(write: Callable[..., Any], frames: Tensor, path: Path) -> None:
    write(tensor=[frames], save_file=str(path))  # tells of a failure in its log alone
    made = path.is_file() and path.stat().st_size
    if not made or path.suffix.lower() in mp4.SUFFIXES and mp4.frames(path) != frames.shape[1]:
        raise StoreError(f"{path.name} could not be encoded, WanGP's log says why")


def _joined(pieces: Sequence[Path], path: Path) -> None:
    """The pieces in one file, for containers that do not grow in place: every frame is copied, none encoded."""
    import imageio_ffmpeg

    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "pieces.txt"
        quoted = (str(piece.resolve()).replace("'", r"'\''") for piece in pieces)
        listing.write_text("".join(f"file '{name}'\n" for name in quoted), encoding="utf-8")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", listing,
                   "-c", "copy", path]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise StoreError(f"the pieces cannot be joined: {done.stderr.decode(errors='replace').strip()}")
