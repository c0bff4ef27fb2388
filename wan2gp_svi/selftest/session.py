"""`python -m wan2gp_svi.selftest.session WORK VIDEO...`, in the copy of WanGP and with its Python:
makes the videos and writes what it saw into the folder WORK. If the program that started it ends,
it removes everything and ends as well.

WanGP runs as with `wgp.py --process`, but once for all videos.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import re
import runpy
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from .. import files, location
from . import copying, measure, plan
from .facts import Facts, VideoFacts
from .plan import FRAMES, SEED, SIZE, VIDEOS, Video
from .watch import Seen, Watch

_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
_CPU = torch.device("cpu")  # for our own tensors: mmgp makes the card torch's default device


def main(work: Path, ids: Sequence[str]) -> int:
    """Returns 1 if WanGP ended early."""
    threading.Thread(target=_end_with_parent, args=(work,), daemon=True).start()
    facts, videos = Facts(), [VIDEOS[id] for id in ids]
    done, clips = 0, sum(video.made for video in videos)
    try:
        _say(work, f"[ 0/{clips} clips] starting WanGP")
        session = Session(Path.cwd(), work, facts)
        start = time.monotonic()
        for video in videos:
            begin = time.monotonic()
            session.make(video)
            done += video.made
            now = time.monotonic()
            _say(work, plan.progress(video, done, clips, now - begin, now - start))
    except BaseException as error:  # WanGP may also end by SystemExit
        traceback.print_exc()
        facts.error = _name(error)
    facts.write(work / "facts.json")
    return 1 if facts.error else 0


def _say(work: Path, line: str) -> None:
    with (work / "progress.txt").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _end_with_parent(work: Path) -> None:
    """Waits for the pipe from the parent, which closes when the parent ends, however it ends."""
    sys.stdin.read()
    # another process removes the folder, because this one has files open in it
    code = ("import shutil, sys, time\nfrom pathlib import Path\nfor _ in range(40):\n"
            "    time.sleep(0.25)\n    shutil.rmtree(sys.argv[1], ignore_errors=True)\n"
            "    if not Path(sys.argv[1]).exists():\n        break")
    subprocess.Popen([sys.executable, "-c", code, str(work)], cwd=work.parent,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os._exit(3)


class Session:
    """WanGP in this process, with the tiny models."""

    def __init__(self, root: Path, work: Path, facts: Facts):
        self.work, self.facts = work, facts
        self.outputs = root / "svi_selftest_outputs"
        self.seen: dict[str, list[Seen]] = {}
        self.files: dict[str, Path] = {}
        self.gpu = torch.cuda.is_available()
        facts.device = torch.cuda.get_device_name(0) if self.gpu else "CPU"
        facts.versions = {name: _version(name) for name in ("torch", "mmgp", "gradio")}
        facts.versions["Python"] = platform.python_version()
        sys.path[:0] = [str(root)]
        sys.argv = ["wgp.py"]  # some of WanGP's modules read the command line
        if not self.gpu:
            sys.argv += ["--attention", "sdpa"]
            runpy.run_path(str(root / "wan2gp_svi/demo/in_wangp/cpu.py"))["apply"]()
        _stay_offline()
        self._configure(root)
        from . import model

        self.profiles = {
            path.stem: files.read_json(path) for path in root.glob("profiles/*/*.json")}
        with _CPU:
            model.install(root, self.profiles)
            self.reference = model.write_start_image(work / "start.png")
        self.watch = Watch()
        self.watch.attach()
        import wgp

        if getattr(wgp, "app", None) is None:  # older ones make it only when run as a program
            wgp.app = wgp.WAN2GPApplication()
        self.wgp, self.state = wgp, _state()
        gc.freeze()  # WanGP collects often, and need not search the imports each time

    def _configure(self, root: Path) -> None:
        user = location.config(root) or {}
        config = copying.config(user, self.outputs, plan.I2V, self.gpu)
        (root / location.CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
        self.facts.settings = {name: config[name] for name in copying.TELLING if name in config}

    def make(self, video: Video) -> None:
        """One generation, and what is seen of it."""
        facts = self.facts.videos[video.id] = VideoFacts(exact=not self.gpu)
        before = set(self._videos())
        self.watch.clips = self.seen[video.id] = []
        self.watch.begun = self._stop if video.id == "stopped" else lambda number: None
        try:
            facts.error = self._generate(video)
            with _CPU:
                self._look_at_file(video, facts, before)
                self._look_at_clips(video, facts)
        except Exception as error:
            traceback.print_exc()
            facts.error = facts.error or _name(error)
        newest = max((path.stat().st_mtime for path in self._videos()), default=0.0)
        while int(time.time()) == int(newest):  # WanGP names its videos by the second
            time.sleep(0.05)

    def _generate(self, video: Video) -> str:
        """Returns WanGP's error, or ""."""
        path, log = self.work / "settings.json", self.work / "log.txt"
        path.write_text(json.dumps(self._settings(video)), encoding="utf-8")
        queue, error = self.wgp._parse_settings_json(str(path), self.state)
        if error:
            return str(error)
        sys.stdout.flush()
        begin = log.stat().st_size
        with _without_svi(self.wgp) if video.id == "without" else contextlib.nullcontext():
            self.wgp.process_tasks_cli(queue, self.state)
        sys.stdout.flush()
        return error_in(log.read_bytes()[begin:].decode("utf-8", "replace"))

    def _settings(self, video: Video) -> dict[str, Any]:
        start = str(self.work / "start.png")
        if video.id == "again":
            return {**_settings_in(self.files["shot"]), "image_start": start}
        return {
            "settings_version": self.wgp.settings_version,  # else they count as very old
            **self.profiles[video.profile],
            "model_type": video.model,
            "prompt": "\n\n".join(video.prompts),
            "resolution": f"{SIZE}x{SIZE}",
            "video_length": FRAMES * video.clips if video.svi else video.frames,
            "seed": SEED,
            "num_inference_steps": 2,
            "guidance_scale": 1,
            "guidance2_scale": 1,
            "image_start": start,
            "sliding_window_overlap": video.chain.overlap,
            **({"video_source": str(self.files["two"])} if video.id == "continued" else {}),
            **video.changes,
        }

    def _stop(self, number: int) -> None:
        """As the tab's button does: a file in the folder of the running run."""
        runs = list((self.outputs / "svi").glob("*/run.json"))
        max(runs, key=lambda path: path.stat().st_mtime_ns).with_name("stop").touch()

    def _videos(self) -> list[Path]:
        return [path for path in self.outputs.glob("*") if path.suffix.lower() in _SUFFIXES]

    def _look_at_file(self, video: Video, facts: VideoFacts, before: set[Path]) -> None:
        there = self._videos()
        facts.files = len(set(there) - before)
        if not there or video.id != "resumed" and not facts.files:
            return
        path = self.files[video.id] = max(there, key=lambda one: one.stat().st_mtime_ns)
        frames = measure.read_frames(path)
        facts.frames = len(frames)
        listed = self.state["gen"].get("file_list") or []
        facts.listed = [os.path.abspath(str(one)) for one in listed].count(str(path))  # noqa: PTH100
        facts.seeds = measure.named_seeds(_settings_in(path))
        if video.like in self.files:
            other = measure.read_frames(self.files[video.like])
            facts.difference = measure.difference(frames, other)
        clips = [clip.frames for clip in self._all_clips(video) if clip.frames is not None]
        if video.svi and len(clips) == video.clips:
            spans = [video.chain.span(number, video.clips) for number in range(video.clips)]
            joined = torch.cat([clip[:, span] for clip, span in zip(clips, spans, strict=True)], 1)
            facts.misplaced = measure.misplaced(frames, joined.movedim(1, 0))

    def _look_at_clips(self, video: Video, facts: VideoFacts) -> None:
        clips = self._all_clips(video)
        facts.clips = [
            measure.clip_facts(video, number, clips[number], clips[number - 1] if number else None,
                               self.reference) for number in range(video.first, len(clips))]

    def _all_clips(self, video: Video) -> list[Seen]:
        return [*self.seen.get(video.after, [])[: video.first], *self.seen[video.id]]


# -------------------------------------------------------------------------------------------- WanGP

def error_in(log: str) -> str:
    """What WanGP says went wrong, or ""."""
    found = re.search(r"\[(?:ERROR|SKIP)\] *([^\n]+)", log)
    error = found[1].strip() if found else ""
    return re.sub(r"^.*check your terminal for more information\.? *'(.*)'\"?$", r"\1", error)


@contextlib.contextmanager
def _without_svi(wgp: Any) -> Any:
    """WanGP as if the package were deleted: each hook returns what it was given. Only the model's
    definition stays as SVI extended it, because to change that, WanGP would have to start again."""
    from models.wan import any2video
    from models.wan.modules import model

    with contextlib.ExitStack() as stack:
        for module in (wgp, any2video, model):
            if hasattr(module, "svi"):
                stack.enter_context(patch.object(module, "svi", lambda _, value=None, *__: value))
        yield


def _settings_in(path: Path) -> dict[str, Any]:
    from shared.utils.video_metadata import read_metadata_from_video

    return read_metadata_from_video(str(path)) or {}


def _state() -> dict[str, Any]:
    """What WanGP keeps for a page of the browser, as --process makes it."""
    lists = ("queue", "file_list", "file_settings_list", "audio_file_list",
             "audio_file_settings_list")
    numbers = ("selected", "audio_selected", "prompt_no", "prompts_max", "repeat_no", "window_no",
               "total_windows")
    return {"model_type": "", "edit_model_type": "", "loras": [], "gen": {
        **{name: [] for name in lists}, **dict.fromkeys(numbers, 0), "total_generation": 1,
        "in_progress": False, "progress_status": "", "process_status": "process:main"}}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # newer WanGPs bring their own mmgp
        return "none"


def _stay_offline() -> None:
    """Replaces downloads by nothing, and lets connections go to this machine only."""
    import huggingface_hub

    for name in ("hf_hub_download", "snapshot_download"):
        patch.object(huggingface_hub, name, lambda *_, **__: None).start()
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
            raise OSError("the self-test uses no network")
        connect(self, address)

    patch.object(socket.socket, "connect", local).start()


if __name__ == "__main__":
    code = main(Path(sys.argv[1]).resolve(), sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)  # WanGP leaves threads that would keep the process
