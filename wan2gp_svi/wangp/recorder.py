"""A run while WanGP makes it: its clips go to disk, and the video grows from them.

WanGP keeps the frames of all windows in RAM, and saves them all again after each window. Here its
list holds the newest clip alone. WanGP's own `save_video` encodes that clip while the next one is
made, and the video is joined from these pieces. `generate` hands out the clips that a run already
has, so that WanGP's loop goes through all its windows and its counters are right.
"""

from __future__ import annotations

import _thread
import contextlib
import shutil
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__, files
from ..runs.record import About, Clip, Piece, StoreError
from ..runs.state import State
from ..runs.store import PAUSES, STOP, STOPPING, Run, room, room_beside
from ..runs.video import GrowingVideo, VideoError, count_frames, holds, join
from ..text import count, size
from ..variants import CLIP_FRAMES, VARIANTS, Variant
from . import sound, source_video
from .clip import Video
from .form import SettingsError
from .frames import smallest, to_uint8
from .media import MediaError

_QUIET = 2.0  # seconds without a change after which a file counts as finished
_SPARE = 200 * 2**20  # bytes to leave free on the disk


class Frames(list[Any]):
    """WanGP's list of frames. It holds the newest clip until that is saved; the others are on disk,
    unless WanGP's caller wants them in memory."""

    def __init__(self, video: Video, recording: Recording):
        super().__init__()
        self.video, self.recording = video, recording
        # WanGP's loop can end between a clip's join and its file without calling SVI again. The
        # garbage collector may then interrupt code that holds a lock, hence the bare thread
        weakref.finalize(self, _thread.start_new_thread, recording.abandon, (video.gen,)
                         ).atexit = False

    def save(self, save_file: Any, write: Callable[..., Any], **options: Any) -> Any:
        """Stands in for WanGP's `save_video`. If the run cannot take the newest clip, or has
        ended, WanGP writes it into a file of its own."""
        newest = self[-1] if self.video.in_memory else self.pop()
        if not self.video.failure:
            try:
                return self.recording.save(newest, save_file, write, **options)
            except Exception as error:
                self.video.end("save_video", error)
        result = write(tensor=[newest], save_file=save_file, **options)
        path = Path(save_file)
        if path.is_file() and not path.stat().st_size:  # WanGP's log alone says so, and why
            with contextlib.suppress(OSError):
                files.remove(path)
            raise StoreError(self.video.failure)
        return result


@dataclass
class _Current:
    """The clip that is made, or handed out if the run has it (`stored`).

    `shown`    frames that WanGP adds to the video
    `tail`     how many of these the clip loses again if another one follows
    `started`  in time.monotonic(); None if the clip was made in an earlier session
    """

    number: int
    prompt: str
    seed: int
    conditioned_on: str
    asks: str = ""
    stored: Clip | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    shown: int = 0
    tail: int = 0
    last: bool = False
    started: float | None = field(default_factory=time.monotonic)

    @property
    def made_of(self) -> dict[str, str]:
        return {"prompt": self.prompt, "seed": str(self.seed),
                "conditioned_on": self.conditioned_on, "asks": self.asks}


class Recording:
    """A run while WanGP makes it. One thread beside WanGP's does the work; the next call raises
    what goes wrong there."""

    def __init__(self, run: Run, total: int, pixels: int, say: Callable[[str], None],
                 speaks: bool = False, pauses: bool = False):
        self.run, self.total, self.say, self._pixels = run, total, say, pixels
        self._speaks = speaks  # the video gets the run's sound
        self._pauses = pauses  # after every clip, for the user to look at it
        self.asked = run.about  #: with what is asked for this time
        self.clips: list[Clip] = [*takewhile(self._is_usable, run.done()[:total])]
        self.taken_over = len(self.clips)
        # the user may like a finished video better than one that is extended
        extends = run.about.ended == State.FINISHED and self.taken_over >= run.about.clips
        self._begun = None if extends else run.video  # what grows
        self._pieces = _before(run) + [
            piece for clip in self.clips for piece in run.pieces(clip, last=False)]
        self._seeds: list[int] = []
        self.job: Mapping[str, Any] = {}  #: WanGP's state of the job that makes it
        self.by_itself = False  #: Generate alone resumes it
        self._stop = self._told = False
        self._video: GrowingVideo | None = None
        self._current = _Current(-1, "", 0, "")
        self._jobs: list[Future[Any]] = []
        self._worker = ThreadPoolExecutor(1, "svi-clips")
        self._release = weakref.finalize(self, run.lock())
        for name in (STOP, STOPPING, PAUSES):
            with contextlib.suppress(OSError):
                files.remove(run.folder / name)  # left over from an earlier session
        if pauses:
            with contextlib.suppress(OSError):  # it is for what is said alone
                files.write(run.folder / PAUSES, b"")

    @property
    def others(self) -> int:
        """The videos of the same job that WanGP makes after this one."""
        of, at, more = (self.job.get(name) or 0
                        for name in ("total_generation", "repeat_no", "extra_orders"))
        return max(0, of + more - at) if of else 0

    @property
    def holds_lock(self) -> bool:
        """Whether the run is kept from other WanGPs; no longer, once it is closed."""
        return self._release.alive

    def _is_usable(self, clip: Clip) -> bool:
        try:
            self._check(clip)
        except StoreError:
            return False
        return True

    def _check(self, clip: Clip) -> None:
        """Raises StoreError if a clip on disk is not as SVI writes it."""
        fault = "" if self._is_state(self.run.state(clip)) else "its state is that of another video"
        try:
            for path, frames in self.run.pieces(clip, last=True):
                if (found := count_frames(path)) != frames:
                    fault = f"{path.name} has {found} of {frames} frames"
        except VideoError as error:
            fault = str(error)
        if fault:
            raise StoreError(f"clip {clip.number + 1} of run {self.run.name} is damaged: {fault}")

    def _is_state(self, state: Mapping[str, Tensor]) -> bool:
        """Whether tensors are a clip's last frames and, with Pro, its latents."""
        names = ("motion_frames", "last_frame", "latents")
        match [(*state[name].shape, state[name].dtype) if name in state else () for name in names]:
            case [(3, frames, height, width, torch.uint8), (3, 1, *last), latents]:
                pro = VARIANTS[self.run.about.variant].pro
                return (0 < frames < CLIP_FRAMES and height * width == self._pixels
                        and last == [height, width, torch.uint8]
                        and (len(latents) == 6 and latents[0] == 1 if pro else not latents))
        return False

    # ------------------------------------------------------------------ in the order of a clip

    def begin(self, number: int, prompt: str, seed: int, conditioned_on: str,
              send_cmd: Callable[..., None] | None, asks: str = "") -> Clip | None:
        """Before the pipeline is called for a clip -> the clip's record, if the run has the clip.

        `conditioned_on` is the hash of what the clip gets from the one before; `asks` is what the
        storyboard asks of it.
        """
        if self._stop:  # `stopping` says so before the clip is made, and the run is let go already
            self._current = _Current(number, prompt, seed, conditioned_on, asks)
            return None
        if not self._release.alive:  # one more clip after the last
            self._release = weakref.finalize(self, self.run.lock())
        self._settle(wait=number >= self.taken_over and self.run.path(number, ".json").exists())
        if (gone := self._gone()) is not None:
            raise gone
        if self._video is not None:
            self._later(self.grow, send_cmd)
        stored = self._stored(number, prompt, seed, asks)
        self._current = _Current(number, prompt, seed, conditioned_on, asks, stored)
        self._seeds = [*self._seeds[:number], seed if stored is None else stored.seed]
        if stored is None or self.total > self.run.about.clips:  # an interrupted extension resumes
            self._change(replace(self._as_asked(), ended=""))
        if stored is None:
            self._check_room(number)
        return stored

    def _as_asked(self) -> About:
        """The run's record with what is asked for this time."""
        now, about = self.asked, self.run.about
        return replace(about, clips=self.total, asked=now.asked, prompts=now.prompts,
                       repeat=now.repeat, sound=now.sound, asks=now.asks,
                       settings=now.settings or about.settings)

    def _stored(self, number: int, prompt: str, seed: int, asks: str) -> Clip | None:
        if number < len(self.clips):
            return self.clips[number]
        try:
            found = self.run.clip(number)
            if found is not None:
                self._check(found)
        except StoreError as error:
            self.say(f"{error}. SVI makes it again.")
            return None
        after = self.run.seal(self.clips[-1]) if self.clips else ""
        made = None if found is None else (found.prompt, found.seed, found.asks, found.after)
        if found is None or made != (prompt, seed, asks, after):
            return None
        self._add(found)
        return found

    def stopping(self) -> bool:
        """Whether the user has asked for no more clips; this closes the run."""
        if self._stop:
            self.close(State.STOPPED)
            also = (f" WanGP also leaves out the {count(self.others, 'other video')} of this job."
                    if self.others else "")
            how = ("Generate again" if self.by_itself else "Resume in the tab SVI, or set \"SVI "
                   f"run\" to {self.run.name} and press Generate")
            clip = len(self.run.done())  # also of those that a redo keeps
            self.say(f"stopped after clip {clip}, as asked. To resume, press {how}.{also}")
        return self._stop

    def aborted(self) -> None:
        """WanGP has ended the current clip before it was made."""
        self.close(State.STOPPED)
        if done := len(self.clips):
            clip, are = self._current.number + 1, "is" if done == 1 else "are"
            self.say(f"aborted in clip {clip}: {count(done, 'clip')} {are} kept, and resuming "
                     f"makes clip {clip} again.")

    def from_disk(self) -> dict[str, Any] | None:
        """What `generate` would return for this clip, if it was made before."""
        current = self._current
        if current.stored is not None:
            return self._handed_out(current.stored)
        state = self.run.unsaved(current.number, current.made_of)
        if state is None or not self._is_state(state):
            return None
        self.say(f"clip {current.number + 1} was made but not saved. SVI saves it now.")
        frames = state.pop("frames")
        current.state, current.started = state, None
        return {"x": frames.float() if frames.is_floating_point() else frames,
                "latent_slice": state.get("latents")}

    def receive(self, frames: Tensor, variant: Variant, latents: Tensor | None) -> None:
        """A clip as the pipeline returned it, [3, 81, H, W]: it goes to disk before anything else
        happens to it, and stays there until it is part of the video.

        `latents` are those that the next clip starts from.
        """
        current, overlap, whole = self._current, variant.overlap, to_uint8(frames)
        before_motion = slice(-overlap - 1, -overlap) if variant.keep_new else slice(-1, None)
        current.state = {"motion_frames": whole[:, -overlap:].clone(),
                         "last_frame": whole[:, before_motion].clone()}
        if latents is not None:
            current.state["latents"] = latents
        if frames.is_floating_point():
            current.state["float"] = torch.ones(1, device="cpu")
        exact = smallest(frames) if frames.is_floating_point() else whole
        try:
            self.run.keep(current.number, current.made_of, {**current.state, "frames": exact})
        except OSError as error:
            number, why = current.number + 1, files.explain(error)
            self.close(f"clip {number} could not be written: {why}")
            safe = f" All clips before it are safe in {self.run.folder}." if number > 1 else ""
            raise self._gone() or StoreError(
                f"clip {number} cannot be written to run {self.run.name} ({why}), so this video "
                "ends; WanGP may put that clip alone into a file of its own. "
                f"{files.remedy(error)}, then press Generate again, which makes clip {number} "
                f"again.{safe}") from error

    def _gone(self) -> StoreError | None:
        """What is wrong if somebody has removed the run's folder."""
        if self.run.folder.is_dir():
            return None
        return StoreError(
            f"the folder {self.run.folder} is gone, with all clips of run {self.run.name}, so this "
            "video ends. If you have moved it, put it back. Then press Generate again.")

    def _handed_out(self, clip: Clip) -> dict[str, Any]:
        """A stored clip as `generate` would return it, as far as WanGP's loop looks at it: its last
        frames are right, and the others repeat the last one that is shown."""
        state = self.run.state(clip)
        motion, shown = state["motion_frames"], state["last_frame"]
        rest = shown.expand(-1, CLIP_FRAMES - motion.shape[1], -1, -1)
        frames = torch.cat([rest, motion], dim=1)
        if "float" in state:  # a quarter of a step more: WanGP rounds down to 8 bit
            frames = frames.float().add_(0.25).div_(127.5).sub_(1).clamp_(max=1)
        return {"x": frames, "latent_slice": state.get("latents")}

    def joined(self, frames: int, tail: int, last: bool) -> None:
        """WanGP has joined a clip: `frames` go into the video, and the clip loses the last `tail`
        of them again if another one follows."""
        current = self._current
        current.shown, current.tail, current.last = frames, tail, last

    def save(self, frames: Tensor, save_file: str, write: Callable[..., Any],
             **options: Any) -> str:
        """Stands in for WanGP's `save_video`: `frames` [3, T, H, W] are the newest clip after
        WanGP's upsampling and grain."""
        self._settle(wait=True)  # one clip at a time waits for the encoder
        current, target = self._current, Path(save_file)
        sound = target.stem.endswith("_tmp")  # WanGP adds sound to this file and removes it
        if current.stored is None:
            self._later(self._encode, current, frames, partial(write, **options), target.suffix)
        if sound and self._speaks:  # the video and its sound follow in `saved`
            self._later(self._write_newest, target)
            self._settle(wait=True)
        elif self._video is None or sound or current.last:
            self._later(self._show, target, sound)
            self._settle(wait=True)
        return save_file

    def _write_newest(self, target: Path) -> None:
        files.write(target, partial(shutil.copyfile, self._pieces[-1][0]))

    def _encode(self, current: _Current, frames: Tensor, write: Callable[..., Any], suffix: str
                ) -> None:
        took = 0 if current.started is None else round(time.monotonic() - current.started, 1)
        self.run.forget(current.number)  # its pieces are about to be others
        tail = round(current.tail * frames.shape[1] / current.shown) if current.last else 0
        end = frames.shape[1] - tail
        pieces: list[Path] = []
        for ending, part in (("", frames[:, :end]), ("-tail", frames[:, end:])):
            if part.shape[1]:
                path = self.run.path(current.number, ending + suffix)
                files.write(path, partial(_encoded, write, part))
                pieces.append(path)
        clip = Clip(current.number, current.prompt, current.seed, end, tail,
                    after=self.run.seal(self.clips[-1]) if self.clips else "", asks=current.asks,
                    seconds=took)
        self._add(self.run.add(clip, pieces, current.state))

    def _add(self, clip: Clip) -> None:
        self.clips.append(clip)
        self._pieces += self.run.pieces(clip, last=False)

    def _show(self, target: Path, sound: bool) -> None:
        """Shows the clips so far, in the file that WanGP asks for or the one that the user has."""
        if sound:
            files.write(target, partial(join, [piece for piece, _ in self._shown_pieces()]))
            return
        if self._video is None:
            before = self._begun
            same = before if before and before.suffix == target.suffix else None
            tails = {self.run.pieces(clip, last=True)[0][0]: clip.tail for clip in self.clips
                     if not clip.tail_stays}
            held = holds(same, self._pieces, tails) if same else None
            self._video = GrowingVideo(same if same and held else target, held or 0, self.say,
                                       self._track())
        self.grow(None, self._current.last)

    def _track(self) -> Path | None:
        """The sound as the video has it: the run's, or that of the video which it continues."""
        given, track = self.run.sound if self._speaks else self.run.before, self.run.track
        if given is None or not self._speaks and not sound.is_heard(given):
            return None
        try:
            if not track.is_file():
                files.write(track, partial(sound.write_track, given))
        except MediaError as error:
            self.say(f"the video stays silent: {error}. All clips are safe.")
            return None
        return track

    def _show_instead_of(self, written: Path) -> None:
        """Shows the clips so far, with their sound, in the place of the one that WanGP wrote."""
        if self._video is not None and self._video.path == written:
            self._video = GrowingVideo(written, 0, self.say, self._video.track)
        if self._video is None or self._current.last or not self._video.held:
            self._show(written, False)
        if self._video is not None and self._video.path != written:
            files.remove(written)

    def grow(self, send_cmd: Callable[..., None] | None, final: bool = False) -> None:
        """Adds what is finished to the video that the user sees, if there is enough of it."""
        video = self._video
        if not self.clips or video is None:
            return
        before = video.path
        if video.grow(self._shown_pieces(), final):
            source_video.forget()
            if send_cmd is not None:
                send_cmd("output")
        if video.path != before:
            self._change(replace(self.run.about, video=str(video.path)))

    def _change(self, about: About) -> None:
        """Changes the run's record, or else says why not. The clips are safe without it."""
        try:
            self.run.change(about)
        except OSError as error:
            if not self._told:
                self.say(f"the record of run {self.run.name} cannot be written now "
                         f"({files.explain(error)}). SVI tries again after each clip.")
            self._told = True

    def _shown_pieces(self) -> list[Piece]:
        current, clip = self._current, self.clips[-1]
        if current.last and current.number == clip.number and clip.tail and not clip.tail_stays:
            return self._pieces + self.run.pieces(clip, last=True)[1:]
        return list(self._pieces)

    def saved(self, configs: dict[str, Any], video_path: str) -> tuple[dict[str, Any], str]:
        """After WanGP has written a window's file -> its settings for the metadata, and the path to
        show."""
        about, current = self.run.about, self._current
        if self._speaks:
            self._later(self._show_instead_of, Path(video_path))
            self._settle(wait=True)
        settings = _own_settings(configs, seed=about.seed)
        made = {"version": __version__, "variant": about.variant, "run": self.run.name,
                "seeds": self._seeds}
        shown, ended = self.shown(video_path), ""
        if current.last:
            ended = State.FINISHED if current.number + 1 >= self.total else State.STOPPED
        change = self._as_asked() if current.stored is None or current.last else about
        change = replace(change, video=shown, ended=ended)
        if not about.settings:  # what WanGP leaves out of the metadata does not decide the picture
            decides = {name: value for name, value in about.decides.items()
                       if name in configs or " " in name}
            change = replace(change, settings=settings, decides=decides)
        if change != about:
            self._change(change)
        if current.last:
            self.close()
            if self.total > 1:
                self._worker.submit(self.report, Path(shown))
        return with_provenance(settings, made), shown

    def shown(self, video_path: str) -> str:
        """The file that the user sees. If WanGP adds sound, that is its own `video_path`."""
        return video_path if self._video is None else str(self._video.path)

    def report(self, video: Path) -> None:
        """Measures the video's drift, once WanGP has written its settings into the file."""
        from .. import drift  # the only place that needs its packages

        with contextlib.suppress(OSError):
            before = None
            while before != (before := video.stat().st_mtime_ns):
                time.sleep(_QUIET)
        try:
            found = drift.report(video, self.run.folder / "reference.png")
            *_, picture = drift.write(found)
        except Exception as error:  # a failed report must not disturb the next run
            self.say(f"cannot make a drift report of {video.name}: {files.explain(error)}")
        else:
            self.say(f"drift report: {picture}")
            self.say(found.verdict)

    # --------------------------------------------------------------------------- at any time

    def follow(self) -> None:
        """One more clip follows the one that was to be the last: what that has shown stays."""
        clip = self.clips[-1]
        if (not self._stop and clip.number == self._current.number and clip.tail
                and not clip.tail_stays):
            self.clips[-1] = clip = replace(clip, tail_stays=True)
            self.run.record(clip)
            self._pieces += self.run.pieces(clip, last=True)[1:]

    def stop_asked(self) -> bool:
        """Whether the user wants the run to end with the clip that was just made."""
        new = self._current.stored is None and self._current.number + 1 < self.total
        self._stop = self._stop or self._takes_stop() or self._pauses and new
        if self._stop:
            with contextlib.suppress(OSError):
                files.write(self.run.folder / STOPPING, b"")
        return self._stop

    def _takes_stop(self) -> bool:
        """Whether there was a file that asks for a stop; from here on, the user cannot remove
        it."""
        try:
            files.replace(self.run.folder / STOP, self.run.folder / STOPPING)
        except FileNotFoundError:
            return False
        except OSError:  # somebody reads it
            pass
        return True

    def close(self, ended: str = "") -> None:
        """Finishes the work beside, and lets go of the run. `ended`: why it ends early."""
        if not self._release.alive:
            self.wait()  # the last job may be letting go
            return
        try:
            with contextlib.suppress(StoreError):
                if self._video is not None:
                    self._later(self.grow, None, True)
                self._settle(wait=True)
        finally:  # whatever goes wrong, the run can be resumed
            self._let_go(ended)

    def abandon(self, gen: Mapping[str, Any]) -> None:
        """Like `close`, for a loop of WanGP's that ends without a word. Any thread may call it."""
        if self._release.alive:
            ended = State.STOPPED if gen.get("abort") else ""
            with contextlib.suppress(RuntimeError):  # Python is shutting down
                if self._video is not None:
                    self._later(self.grow, None, True)
                self._later(self._let_go, ended)

    def _let_go(self, ended: str) -> None:
        about = self.run.about
        if ended and about.ended != State.FINISHED:
            with contextlib.suppress(OSError):
                self.run.change(replace(about, ended=ended))
        for name in (STOPPING, PAUSES):
            with contextlib.suppress(OSError):
                files.remove(self.run.folder / name)
        self._release()

    def _later(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._jobs.append(self._worker.submit(work, *arguments))

    def wait(self) -> None:
        """Waits for the work beside. What goes wrong in it is raised at the next call."""
        wait_for(self._jobs)

    def _settle(self, wait: bool = False) -> None:
        """Raises StoreError for what went wrong in the work beside."""
        while self._jobs and (wait or self._jobs[0].done()):
            try:
                self._jobs.pop(0).result()
            except (OSError, VideoError, StoreError) as error:
                for job in self._jobs:  # what follows would leave a gap
                    job.cancel()
                self.wait()
                self._jobs.clear()
                why = files.explain(error)
                self._let_go(f"a clip could not be written: {why}")
                fix = ("For a new video, set \"SVI run\" to new"
                       if isinstance(error, VideoError) else
                       f"{files.remedy(error)}, then press Generate again to resume")
                raise self._gone() or StoreError(
                    f"the clips of run {self.run.name} cannot be written ({why}). {fix}. All "
                    f"clips so far are safe in {self.run.folder}.") from error

    def _check_room(self, number: int) -> None:
        """Raises SettingsError if the disk has no room for this clip, and warns if it has none for
        all that follow."""
        free = shutil.disk_usage(self.run.folder).free - _SPARE
        one, beside = room(self.clips, self._pixels), room_beside(self.clips, self._pixels)
        left = self.total - number
        if free < one + beside:
            self.close("the disk was nearly full")
            on = f" to resume at clip {number + 1}" if number else ""
            raise SettingsError(
                f"The disk is nearly full: clip {number + 1} needs about {size(one + beside, 0)}, "
                f"but only {size(max(free, 0), 0)} are free ({size(_SPARE, 0)} are kept in "
                "reserve). "
                f"Free some space on the disk of {self.run.folder} and press Generate again{on}.")
        if free < one * left + beside and number in (0, 1, self.taken_over):
            self.say(f"the disk has room for about {(free - beside) // one} of the {left} clips "
                     f"to come ({size(one, 0)} each).")


def _before(run: Run) -> list[Piece]:
    """What a run's video has before its clips."""
    path = run.before
    return [] if path is None else [(path, count_frames(path))]


def with_provenance(settings: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """WanGP's settings of a video, with how SVI made it, for `drift.layout.provenance`.

    It is a custom setting: WanGP ignores those that it does not know, and refuses other settings.
    """
    custom = {**(settings.get("custom_settings") or {}), "svi": dict(made)}
    return {**settings, "custom_settings": custom}


def _own_settings(configs: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Settings that make a video again: with its own seed, and without the name of its run."""
    custom = configs.get("custom_settings")
    if isinstance(custom, Mapping):
        not_its = {"svi"} if "@" in str(custom.get("svi_run", "")) else {"svi", "svi_run"}
        custom = {name: value for name, value in custom.items() if name not in not_its} or None
    return {**configs, "seed": seed, "custom_settings": custom}


def _encoded(write: Callable[..., Any], part: Tensor, path: Path) -> None:
    write(tensor=[part], save_file=str(path))  # reports a failure in WanGP's log only
    try:
        made = count_frames(path)
    except VideoError:
        made = 0
    if made != part.shape[1]:
        raise StoreError(f"{path.name} could not be encoded. WanGP's log says why")
