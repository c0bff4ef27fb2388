"""`python -m wan2gp_svi.selftest.session JOB.json`, in the throw-away copy of WanGP and with WanGP's Python: makes the
videos of the self-test and writes down what it saw. Ends, and removes everything, when the program that started it is
gone.

WanGP is driven as `wgp.py --process` drives it, in one process: with the functions of wgp.py that read a file of
settings and work off a queue. WanGP 10.80 and all later ones have them.
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
from pathlib import Path
from typing import Any

from .. import location
from . import copying, plan
from .facts import ClipFacts, Facts, VideoFacts
from .plan import SEED, SIZE, Video

_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
_OUTPUTS = "svi_selftest_outputs"


def main(job: Path) -> int:
    asked = json.loads(job.read_text(encoding="utf-8"))
    work, root = job.parent, Path.cwd()
    threading.Thread(target=_end_with_parent, args=(work,), daemon=True).start()
    facts = Facts(svi=asked["svi"])
    session = None
    try:
        session = Session(root, work, facts)
        for video in plan.needed(asked["videos"]):
            session.tell("video", video.id)
            session.make(video)
            session.tell("made", video.id)
    except BaseException as error:  # what nobody foresaw is for the report, and WanGP may end by SystemExit
        traceback.print_exc()
        facts.error = f"{type(error).__name__}: {error}"
    (work / "facts.json").write_text(facts.text(), encoding="utf-8")
    return 1 if facts.error else 0


def _end_with_parent(work: Path) -> None:
    """The pipe to the program that started this closes when that ends, however it does."""
    sys.stdin.read()
    # by another process, since this one has files open there, and writes new ones
    code = ("import shutil, sys, time\nfrom pathlib import Path\nfor _ in range(40):\n    time.sleep(0.25)\n"
            "    shutil.rmtree(sys.argv[1], ignore_errors=True)\n    if not Path(sys.argv[1]).exists():\n        break")
    subprocess.Popen([sys.executable, "-c", code, str(work)], cwd=work.parent, stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os._exit(3)


class Session:
    """WanGP in this process, with the tiny models."""

    def __init__(self, root: Path, work: Path, facts: Facts):
        self.work, self.root, self.facts = work, root, facts
        self.outputs = root / _OUTPUTS
        self.tell("boot")
        gpu = self._prepare_torch()
        from . import model
        from .watch import Watch

        user = location.config(root) or {}
        own = copying.config(user, self.outputs, plan.I2V, gpu)
        (root / location.CONFIG).write_text(json.dumps(own, indent=1), encoding="utf-8")
        facts.exact = not gpu
        facts.settings = {name: own[name] for name in copying.TELLING if name in own}
        self.profiles = {path.stem: json.loads(path.read_text(encoding="utf-8"))
                         for path in root.glob("profiles/*/*.json")}
        with _on_the_cpu():
            model.install(root, self.profiles)
            self.reference = model.write_start_image(work / "start.png")
        self.watch = Watch()
        self.watch.attach()
        import wgp

        if getattr(wgp, "app", None) is None:  # older ones make it only when run as a program
            wgp.app = wgp.WAN2GPApplication()
        self.wgp, self.state = wgp, _state()
        facts.wangp = str(wgp.WanGP_version)
        self.seen: dict[str, list[Any]] = {}
        self.files: dict[str, Path] = {}
        gc.freeze()  # WanGP collects often; what the imports left behind need not be searched each time

    def tell(self, event: str, what: str = "") -> None:
        with (self.work / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps([event, what]) + "\n")

    def _prepare_torch(self) -> bool:
        """Whether there is a GPU; without one whatever asks for it is given the CPU."""
        sys.path[:0] = [str(self.root)]
        sys.argv = ["wgp.py"]  # modules of WanGP's read the command line when they are imported
        _no_network()
        import torch

        gpu = torch.cuda.is_available()
        self.facts.versions = {name: _version(name) for name in ("torch", "mmgp", "gradio")}
        self.facts.versions["Python"] = platform.python_version()
        self.facts.device = torch.cuda.get_device_name(0) if gpu else "CPU"
        if not gpu:
            runpy.run_path(str(self.root / "wan2gp_svi/demo/in_wangp/cpu.py"))["apply"]()
            sys.argv += ["--attention", "sdpa"]
        import huggingface_hub

        huggingface_hub.hf_hub_download = huggingface_hub.snapshot_download = lambda *args, **kwargs: None
        return gpu

    # ------------------------------------------------------------------------------------------------- one generation

    def make(self, video: Video) -> None:
        facts = self.facts.videos[video.id] = VideoFacts(video.id)
        begin, before = time.monotonic(), set(self._videos())
        self.watch.clips = []
        self.watch.begun = self._stop if video.id == "stopped" else lambda number: None
        console = _Console(sys.stdout)
        try:
            settings = self._settings(video)
            with contextlib.redirect_stdout(console), self._without_svi(video.id == "without"):
                self._process(settings)
        except Exception as error:
            traceback.print_exc()
            facts.error = f"{type(error).__name__}: {error}"
        facts.error = facts.error or console.error()
        self.seen[video.id] = self.watch.clips
        try:
            with _on_the_cpu():
                self._file(video, facts, before)
                self._clips(video, facts)
                self._compare(video)
        except Exception as error:
            traceback.print_exc()
            facts.error = facts.error or f"it cannot be looked at ({type(error).__name__}: {error})"
        facts.seconds = time.monotonic() - begin
        newest = max((path.stat().st_mtime for path in self._videos()), default=0.0)
        while int(time.time()) == int(newest):  # WanGP names its videos by the second, and a card can be faster
            time.sleep(0.05)

    def _settings(self, video: Video) -> dict[str, Any]:
        overlap = video.chain.overlap if video.chain else 1
        own = {"model_type": video.model, "prompt": "\n\n".join(video.prompts), "resolution": f"{SIZE}x{SIZE}",
               "video_length": plan.FRAMES * max(video.clips, 2 if video.id == "stopped" else 1), "seed": SEED,
               "num_inference_steps": 2, "guidance_scale": 1, "guidance2_scale": 1,
               "image_start": str(self.work / "start.png"), "sliding_window_overlap": overlap}
        if video.id == "again":
            from shared.utils.video_metadata import read_metadata_from_video

            found = read_metadata_from_video(str(self.files["shot"]))
            if not found:
                raise LookupError("the video holds no settings")
            return {**found, "image_start": own["image_start"]}
        changes = dict(video.changes)
        if video.id == "continued":
            changes["video_source"] = str(self.files["two"])
        # settings without a version are taken for very old ones, and changed
        return {"settings_version": self.wgp.settings_version, **self.profiles[video.profile], **own, **changes}

    def _process(self, settings: dict[str, Any]) -> None:
        path = self.work / "settings.json"
        path.write_text(json.dumps(settings), encoding="utf-8")
        queue, error = self.wgp._parse_settings_json(str(path), self.state)
        if error:
            raise ValueError(error)
        self.wgp.process_tasks_cli(queue, self.state)

    def _stop(self, number: int) -> None:
        """As the tab's button and the command do: a file in the folder of the run that is being made."""
        folders = [path.parent for path in (self.outputs / "svi").glob("*/run.json")]
        (max(folders, key=lambda path: (path / "run.json").stat().st_mtime_ns) / "stop").touch()

    @contextlib.contextmanager
    def _without_svi(self, wanted: bool) -> Any:
        """WanGP with each of its hooks given a function that hands the value back, which is what stands there when the
        package is deleted. One thing stays: what its model definition was taught when WanGP started. A second start
        without the package would show that as well, and take as long as half of the self-test."""
        from models.wan import any2video
        from models.wan.modules import model

        places = [place for place in (self.wgp, any2video, model) if wanted and hasattr(place, "svi")]
        before = [place.svi for place in places]
        for place in places:
            place.svi = lambda hook, value=None, *context: value
        try:
            yield
        finally:
            for place, svi in zip(places, before, strict=True):
                place.svi = svi

    # --------------------------------------------------------------------------------------------- what came of it

    def _videos(self) -> list[Path]:
        return [path for path in self.outputs.glob("*") if path.suffix.lower() in _SUFFIXES]

    def _file(self, video: Video, facts: VideoFacts, before: set[Path]) -> None:
        from . import measure

        there = self._videos()
        facts.files = len(set(there) - before)
        if not there or video.id != "resumed" and not facts.files:
            return
        path = self.files[video.id] = max(there, key=lambda one: one.stat().st_mtime_ns)
        frames = measure.read_frames(path)
        facts.frames, facts.opens = len(frames), len(frames) > 0
        listed = self.state["gen"].get("file_list") or []
        facts.listed = sum(os.path.abspath(str(one)) == str(path) for one in listed)  # noqa: PTH100
        from shared.utils.video_metadata import read_metadata_from_video

        facts.seeds = measure.named_seeds(read_metadata_from_video(str(path))) or []
        wanted = self._joined(video)
        if wanted is not None:
            facts.compared, facts.misplaced = True, measure.misplaced(frames, wanted)

    def _joined(self, video: Video) -> Any:
        """The frames that the file has to hold, uint8 [T, 3, H, W]; None where that is another one's matter."""
        import torch

        chain, clips = video.chain, self._all_clips(video)
        if chain is None or not clips or any(one.frames is None for one in clips):
            return None
        parts = [one.frames[:, chain.span(number, len(clips))] for number, one in enumerate(clips)]
        if video.id == "continued":
            source = self._joined(plan.VIDEOS["two"])
            parts = [source[: len(source) - chain.overlap].movedim(0, 1), *parts]
        return torch.cat(parts, dim=1).movedim(1, 0)

    def _all_clips(self, video: Video) -> list[Any]:
        """The clips of a video, those included that an earlier generation has made."""
        return [*self.seen.get("stopped", [])[: video.first], *self.seen[video.id]]

    def _clips(self, video: Video, facts: VideoFacts) -> None:
        clips = self._all_clips(video)
        for number in range(video.first, len(clips)):
            before = clips[number - 1] if number else None
            if video.id == "continued" and not number:
                before = self.seen["two"][-1]
            facts.clips.append(self._clip(video, number, clips[number], before))

    def _clip(self, video: Video, number: int, seen: Any, before: Any) -> ClipFacts:
        import torch

        from . import measure

        facts = ClipFacts(number, seen.prompt, 0 if seen.frames is None else seen.frames.shape[1],
                          encodes=len(seen.videos), experts=seen.experts)
        if seen.noise is not None:
            facts.seed = measure.seed_of(seen.noise, seen.device)
        if video.chain is None or seen.y is None or not seen.videos or before is not None and before.frames is None:
            return facts
        chain, y, latents = video.chain, seen.y.squeeze(0) if seen.y.ndim == 5 else seen.y, seen.latents[-1]
        kept = y[:4].flatten(2)[..., 0].T.flatten()
        facts.kept = [at for at, value in enumerate(kept.tolist()) if value]
        if chain.pro:
            facts.motion = measure.steps(seen.videos[-1], self.reference[:, None])
            facts.anchor = measure.gap(y[4:, 0], latents[:, 0])
            first = 1 if before is None else 2
            facts.handed = None if before is None else measure.gap(y[4:, 1], before.denoised)
            facts.rest = float(y[4:, first:].abs().max())
            return facts
        motion = self.reference[:, None] if before is None else (
            before.frames[:, -chain.motion_frames:].float() / 127.5 - 1)
        given, count = seen.videos[-1], motion.shape[1]
        rest = torch.zeros(3, 1, 1, 1) if chain.grey else self.reference[:, None]
        facts.motion = measure.steps(given[:, :count], motion)
        facts.padding = measure.steps(given[:, count:], rest.expand_as(given[:, count:]))
        facts.latents = measure.gap(y[4:], latents)
        if seen.picture is not None:
            facts.shown = measure.shown(seen.picture, motion)
        return facts

    def _compare(self, video: Video) -> None:
        from . import measure

        pairs = {"again": "shot", "resumed": "two", "without": "off", "lora-plain": "lora-authors",
                 "lora-none": "lora-plain"}
        other = pairs.get(video.id)
        if other is None or other not in self.files or video.id not in self.files:
            return
        one, two = measure.read_frames(self.files[video.id]), measure.read_frames(self.files[other])
        self.facts.differences[video.id] = None if len(one) != len(two) else float(
            (one.float() - two.float()).abs().mean((1, 2, 3)).max())


class _Console:
    """Hands on what is printed, and remembers it."""

    def __init__(self, stream: Any):
        self._stream, self.text = stream, ""

    def write(self, text: str) -> int:
        self.text += text
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def error(self) -> str:
        """WanGP's word for what went wrong, if it has one."""
        found = re.search(r"\[(?:ERROR|SKIP)\] *([^\n]+)", self.text)
        error = found[1].strip() if found else ""
        return re.sub(r"^.*check your terminal for more information\.? *'(.*)'\"?$", r"\1", error)


def _state() -> dict[str, Any]:
    """What WanGP keeps for a page of the browser, as it makes it for --process."""
    return {"model_type": "", "edit_model_type": "", "loras": [], "gen": {
        "queue": [], "in_progress": False, "file_list": [], "file_settings_list": [], "audio_file_list": [],
        "audio_file_settings_list": [], "selected": 0, "audio_selected": 0, "prompt_no": 0, "prompts_max": 0,
        "repeat_no": 0, "total_generation": 1, "window_no": 0, "total_windows": 0, "progress_status": "",
        "process_status": "process:main"}}


def _on_the_cpu() -> Any:
    """For tensors of our own: mmgp makes the card torch's default device."""
    import torch

    return torch.device("cpu")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # newer WanGPs bring mmgp in a folder of their own
        return "none"


def _no_network() -> None:
    """Whatever WanGP would fetch, it does without; only this machine can be talked to."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and str(address[0]) not in ("127.0.0.1", "::1", "localhost"):
            raise OSError("the self-test uses no network")
        return connect(self, address)

    socket.socket.connect = local


if __name__ == "__main__":
    code = main(Path(sys.argv[1]).resolve())
    sys.stdout.flush()
    os._exit(code)  # WanGP leaves threads behind that would keep the process
