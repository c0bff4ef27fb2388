"""What a long video costs on top of its frames: memory, waiting for the save, frames encoded, disk.

    python benchmarks/endless.py PATH/TO/Wan2GP [--windows 1 2 4 ...] [--stock-max 16] [--soak 500] [--out FOLDER]

Runs the real wgp.py, its loop over windows, its files and its encoder, on a CPU: stock, and with SVI for WanGP
installed, in turn. Two things stand in: the models are tiny, and the pipeline's `generate` returns 81 ready frames, at
once or after --busy seconds, as a GPU would keep it waiting. Every number of windows has a process of its own. Needs
Linux, and the Python that has WanGP's packages. Nothing is written into the checkout that it is given.

peak        the most memory that the process had (VmHWM). ffmpeg, a process of its own, is told of apart
wait        from the end of `generate` to the call of the next one, or to the end: what a user waits for
CPU         all that the process and ffmpeg used from one call of `generate` to the next; less shaken by other programs
encoded     frames given to the encoder, counted at imageio's writer

Writes RESULTS.md, endless.csv (a row per window) and, with matplotlib, endless.png. --quick is a small form for tests.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import functools
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks/endless"
HARNESS = ROOT / "tests/wangp"
PROFILE = ROOT / "profiles/wan_i2v/SVI-Shot Infinite - 50 Steps.json"
LORA = "loras/wan_i2v/svi-shot.safetensors"
FRAMES = 81  # of a window; neighbours share one
STOCK, SVI = "stock", "svi"
NAMES = {STOCK: "WanGP", SVI: "WanGP with SVI"}
MB = 10**6


# ---------------------------------------------------------------------------------------------- inside WanGP's process


@dataclass
class Encode:
    """One file that was encoded."""

    file: str
    seconds: float
    frames: int
    bytes: int


@dataclass
class Window:
    """A window, times in seconds. `memory` is what the process has when the window's frames are asked for."""

    called: float
    memory: int
    returned: float = 0
    wait: float = 0
    save: float = 0  # of the wait, in save_video
    metadata: float = 0  # of the wait, in WanGP's record_file_metadata
    cpu: float = 0


class Watch:
    """Stands between WanGP and its pipeline, its encoder and its save, and keeps the time."""

    def __init__(self, wgp: Any, job: dict[str, Any]):
        import imageio
        from models.wan import any2video

        self.work, self.busy, self.camera = Path(job["work"]), job["busy"], Camera(*job["size"])
        self.windows: list[Window] = []
        self.encodes: list[Encode] = []
        self.appends: list[float] = []
        self.encoder_peak = 0
        self.before = memory("VmRSS")
        any2video.WanAny2V.generate = lambda pipe, **settings: self._generate(**settings)
        self._writer, imageio.get_writer = imageio.get_writer, self._open
        wgp.generate_media = self._whole(wgp.generate_media)
        wgp.save_video = self._timed("save", wgp.save_video)
        wgp.record_file_metadata = self._timed("metadata", wgp.record_file_metadata)
        if job["svi"]:
            from wan2gp_svi.runs import mp4

            mp4.append = self._appended(mp4.append)

    def _generate(self, frame_num: int, window_no: int, **_: Any) -> dict[str, Any]:
        assert frame_num == FRAMES and window_no == len(self.windows) + 1, (frame_num, window_no)
        self._end()
        self.windows.append(Window(time.perf_counter(), memory("VmRSS"), cpu=-sum(os.times()[:4])))
        frames = self.camera.clip(window_no - 1)
        time.sleep(self.busy)
        self.windows[-1].returned = time.perf_counter()
        return {"x": frames, "latent_slice": None}

    def _end(self) -> None:
        if self.windows:
            self.windows[-1].wait = time.perf_counter() - self.windows[-1].returned
            self.windows[-1].cpu += sum(os.times()[:4])

    def _open(self, file: str, *arguments: Any, **options: Any) -> Writer:
        return Writer(self, self._writer(file, *arguments, **options), Path(file))

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                window = self.windows[-1]
                setattr(window, name, getattr(window, name) + time.perf_counter() - begin)
        return timed

    def _appended(self, append: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            begin = time.perf_counter()
            append(*arguments)
            self.appends.append(time.perf_counter() - begin)
        return timed

    def _whole(self, generate_media: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(generate_media)
        def watched(*arguments: Any, **options: Any) -> Any:
            try:
                return generate_media(*arguments, **options)
            finally:
                self._end()
                self._write()
        return watched

    def _write(self) -> None:
        report = {
            "before": self.before, "after": memory("VmRSS"), "peak": memory("VmHWM"), "encoder": self.encoder_peak,
            "windows": [asdict(one) for one in self.windows], "encodes": [asdict(one) for one in self.encodes],
            "appends": self.appends,
        }
        (self.work / "watch.json").write_text(json.dumps(report), encoding="utf-8")


class Writer:
    """imageio's writer, counted."""

    def __init__(self, watch: Watch, writer: Any, file: Path):
        self.watch, self.writer, self.file = watch, writer, file
        self.begin, self.frames = time.perf_counter(), 0

    def append_data(self, frame: Any) -> None:
        self.writer.append_data(frame)
        self.frames += 1

    def close(self) -> None:
        self.watch.encoder_peak = max([self.watch.encoder_peak, *(memory("VmHWM", pid) for pid in children())])
        self.writer.close()
        seconds = time.perf_counter() - self.begin
        self.watch.encodes.append(Encode(self.file.name, seconds, self.frames, self.file.stat().st_size))


class Camera:
    """A walk over a large picture with broad and fine detail: new frames at the price of a copy."""

    ROOM = 256  # pixels that the picture is larger than a frame

    def __init__(self, width: int, height: int):
        import torch

        self.width, self.height = width, height
        draw = torch.Generator().manual_seed(1)
        size = (height + self.ROOM, width + self.ROOM)
        picture = torch.randn(3, *size, generator=draw)
        for cells in (2, 5, 12, 30, 75):  # the finer, the fainter
            layer = torch.randn(1, 3, cells, cells, generator=draw)
            picture += torch.nn.functional.interpolate(layer, size, mode="bicubic")[0] * 45 / cells**0.5
        self.picture = (picture + 110).clamp(0, 255).byte()

    def frame(self, number: int) -> Any:
        x = round(self.ROOM / 2 * (1 + math.sin(number / 70)))
        y = round(self.ROOM / 2 * (1 + math.sin(number / 110)))
        return self.picture[:, y : y + self.height, x : x + self.width]

    def clip(self, number: int) -> Any:
        """uint8 [3, 81, H, W]; its first frame is the last of the clip before."""
        import torch

        frames = torch.empty(3, FRAMES, self.height, self.width, dtype=torch.uint8)
        for at in range(FRAMES):
            frames[:, at] = self.frame(number * (FRAMES - 1) + at)
        return frames


def watch(wgp: Any, job: dict[str, Any]) -> None:
    """The hook of a job (see tests/wangp/session.py): called when WanGP has booted."""
    from PIL import Image

    watching = Watch(wgp, job)
    Image.fromarray(watching.camera.frame(0).permute(1, 2, 0).numpy()).save(Path(job["work"]) / "first.png")
    if job["svi"]:
        import tiny

        lora = Path(LORA).absolute()
        lora.parent.mkdir(parents=True, exist_ok=True)
        tiny.write_lora(lora, "svi", scale=0.05)


def memory(name: str, pid: int | str = "self") -> int:
    """Bytes of a process, as Linux counts them under that name; 0 for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s*(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def children() -> Iterator[int]:
    for file in Path("/proc/self/task").glob("*/children"):
        try:
            yield from map(int, file.read_text(encoding="ascii").split())
        except OSError:
            continue


# ------------------------------------------------------------------------------------------------------------- measure


@dataclass
class Result:
    """One process. Sizes in bytes; `windows`, `encodes` and `appends` as Watch wrote them."""

    kind: str
    n: int
    size: str
    busy: float
    repeat: int
    version: str
    before: int
    after: int
    peak: int
    encoder: int
    windows: list[dict[str, float]]
    encodes: list[dict[str, Any]]
    appends: list[float]
    frames: int = 0  # of the video, counted while it is played
    bytes: int = 0  # of the video
    disk: int = 0  # all that is left in WanGP's folder of outputs
    videos: int = 0  # files there that a user sees
    clips: dict[str, tuple[int, int]] = field(default_factory=dict)  # SVI's files by ending: number, bytes

    @property
    def encoded(self) -> int:
        return sum(one["frames"] for one in self.encodes)

    @property
    def waits(self) -> list[float]:
        return [one["wait"] for one in self.windows]

    def encodes_of(self, window: int) -> list[dict[str, Any]]:
        """What was encoded for a window, from 1 on: SVI's pieces are named after their clip, WanGP's come in order."""
        if self.kind == STOCK:
            return self.encodes[window - 1 : window]
        return [one for one in self.encodes if one["file"][:4] == f"{window:04d}"]


class Bench:
    """The two trees, and the runs in them."""

    def __init__(self, checkout: Path, work: Path):
        sys.path.insert(0, str(HARNESS))
        import trees

        if missing := trees.lacks(sys.executable, "mmgp", "gradio", "imageio_ffmpeg"):
            raise RuntimeError(f"{sys.executable} cannot run WanGP ({missing}): use the Python that has its packages")
        if not (checkout / "wgp.py").is_file():
            raise RuntimeError(f"{checkout} holds no wgp.py")

        self.harness, self.work = trees, work
        self.trees = {STOCK: trees.copy(checkout, work / STOCK), SVI: trees.copy(checkout, work / SVI)}
        done = subprocess.run([sys.executable, ROOT / "install.py", self.trees[SVI]], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"SVI for WanGP could not be installed: {done.stderr}")

    def run(self, kind: str, n: int, size: tuple[int, int], busy: float = 0, repeat: int = 1) -> Result:
        folder = self.work / "job"
        job = {
            "level": "loop", "path": [str(Path(__file__).parent)], "setup": "endless:watch", "svi": kind == SVI,
            "size": size, "busy": busy, "tasks": [self._settings(kind, n, size, folder)],
        }
        begin = time.perf_counter()
        try:
            outcome = self.harness.run(sys.executable, self.trees[kind], folder, job, timeout=6 * 3600)
            task, = outcome.report["tasks"]
            if not task["success"]:
                raise RuntimeError(f"WanGP failed: {task['errors']}\n{outcome.log[-4000:]}")
            watched = json.loads((folder / "watch.json").read_text(encoding="utf-8"))
            result = Result(kind, n, "{}x{}".format(*size), busy, repeat, outcome.report["version"], **watched)
            self._look_at_files(result, Path(task["files"][-1]["path"]), folder / "outputs")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{NAMES[kind]:>14}, {n:3} windows of {result.size}, {busy:g} s each: peak {result.peak / MB:.0f} MB, "
              f"last wait {result.waits[-1]:.2f} s, {result.encoded} of {result.frames} frames encoded "
              f"({time.perf_counter() - begin:.0f} s)", flush=True)
        return result

    @staticmethod
    def _settings(kind: str, n: int, size: tuple[int, int], folder: Path) -> dict[str, Any]:
        settings = json.loads(PROFILE.read_text(encoding="utf-8"))
        settings |= {
            "model_type": "tiny_i2v", "resolution": "{}x{}".format(*size), "video_length": (FRAMES - 1) * n + 1,
            "num_inference_steps": 2, "prompt": "a boat on a lake", "seed": 1234,
            "image_start": str(folder / "first.png"),
        }
        if kind == STOCK:
            settings |= {"activated_loras": [], "loras_multipliers": "", "custom_settings": None}
        return settings

    @staticmethod
    def _look_at_files(result: Result, video: Path, outputs: Path) -> None:
        result.frames, result.bytes = played(video), video.stat().st_size
        files = [path for path in outputs.rglob("*") if path.is_file()]
        result.disk = sum(path.stat().st_size for path in files)
        result.videos = len([path for path in files if path.parent == outputs and path.suffix == ".mp4"])
        for path in files:
            if path.parent != outputs:
                number, size = result.clips.get(path.suffix, (0, 0))
                result.clips[path.suffix] = number + 1, size + path.stat().st_size


def played(video: Path) -> int:
    """The frames that ffmpeg decodes; it must have nothing to say against the file."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", video, "-map", "0:v", "-fps_mode", "passthrough",
               "-progress", "-", "-f", "null", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode or done.stderr.strip():
        raise RuntimeError(f"{video.name} does not play: {done.stderr}")
    return int(re.findall(r"^frame=\s*(\d+)", done.stdout, re.MULTILINE)[-1])


# ------------------------------------------------------------------------------------------------------------- numbers


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Theil-Sen: the median of the slopes between all pairs; nan for less than two points."""
    some = list(points)
    slopes = [(b - y) / (a - x) for at, (x, y) in enumerate(some) for a, b in some[at + 1 :] if a != x]
    return statistics.median(slopes) if slopes else math.nan


def trend(points: Iterable[tuple[float, float]]) -> float:
    """Least squares: the far points weigh most, as they must where each has an error of its own of the same size."""
    some = list(points)
    return statistics.linear_regression(*zip(*some, strict=True)).slope if len(some) > 1 else math.nan


def rise(times: Sequence[float]) -> float:
    """How much a time grows from window 2 to the last but one, as a share of its median. The first window and the last
    are others: the video is begun in the one and finished in the other."""
    middle = times[1:-1]
    return slope(enumerate(middle)) * (len(middle) - 1) / statistics.median(middle) if len(middle) > 1 else math.nan


def encoded_by_stock(n: int) -> int:
    """Every window encodes all frames so far: the sum of 80 k + 1."""
    return 40 * n * n + 41 * n


@dataclass
class Cell:
    """The runs of one kind with the same number of windows and the same pipeline: medians over the repeats."""

    runs: list[Result] = field(default_factory=list)

    @property
    def any(self) -> Result:
        return self.runs[0]

    @property
    def peak(self) -> float:
        return statistics.median(one.peak for one in self.runs) / MB

    @property
    def above(self) -> float:
        """The peak in MB, without what the process had before its first window."""
        return statistics.median(one.peak - one.before for one in self.runs) / MB

    @property
    def waits(self) -> list[float]:
        return self._median(lambda one, number: one.windows[number - 1]["wait"])

    @property
    def cpu(self) -> list[float]:
        return self._median(lambda one, number: one.windows[number - 1]["cpu"])

    @property
    def encoding(self) -> list[float]:
        return self._median(lambda one, number: sum(encode["seconds"] for encode in one.encodes_of(number)))

    @property
    def memory(self) -> list[float]:
        """MB in the process when a window is asked for."""
        return self._median(lambda one, number: one.windows[number - 1]["memory"] / MB)

    def _median(self, value: Callable[[Result, int], float]) -> list[float]:
        return [statistics.median(value(one, number) for one in self.runs) for number in range(1, self.any.n + 1)]


class Table:
    """All runs but the soak's."""

    def __init__(self, results: Iterable[Result]):
        self.cells: dict[tuple[str, int, float], Cell] = {}
        for one in results:
            self.cells.setdefault((one.kind, one.n, one.busy), Cell()).runs.append(one)
        self.windows = sorted({n for _, n, _ in self.cells})
        self.busy = max(busy for _, _, busy in self.cells)

    def at_once(self, kind: str) -> dict[int, Cell]:
        return {n: self.cells[kind, n, 0.0] for n in self.windows if (kind, n, 0.0) in self.cells}

    def longest(self, kind: str, busy: float) -> Cell | None:
        found = [n for of, n, seconds in self.cells if of == kind and seconds == busy]
        return self.cells[kind, max(found), busy] if found else None

    def peak_slope(self, kind: str) -> float:
        """MB per window, from the second on: the first has no other to wait for. What a process had before its first
        window is taken off, since it varies by more than SVI's windows add."""
        return trend((n, cell.above) for n, cell in self.at_once(kind).items() if n > 1)


# -------------------------------------------------------------------------------------------------------------- record


def rows(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    """endless.csv."""
    for one in results:
        for number, window in enumerate(one.windows, 1):
            encodes = one.encodes_of(number)
            yield {
                "kind": one.kind, "size": one.size, "pipeline_s": one.busy, "windows": one.n, "repeat": one.repeat,
                "window": number, "wait_s": f"{window['wait']:.4f}", "save_video_s": f"{window['save']:.4f}",
                "metadata_s": f"{window['metadata']:.4f}", "cpu_s": f"{window['cpu']:.2f}",
                "encoder_s": f"{sum(encode['seconds'] for encode in encodes):.4f}",
                "encoded_frames": sum(encode["frames"] for encode in encodes),
                "encoded_bytes": sum(encode["bytes"] for encode in encodes),
                "memory_mb": f"{window['memory'] / MB:.1f}", "peak_mb": f"{one.peak / MB:.1f}",
                "video_frames": one.frames, "disk_mb": f"{one.disk / MB:.2f}",
            }


def results(table: Table, soak: Result | None, command: str, load: Sequence[float], stock_max: int) -> str:
    """RESULTS.md."""
    one = next(iter(table.cells.values())).any
    repeats = max(len(cell.runs) for cell in table.cells.values())
    heads = ["windows", "frames of the video"]
    heads += [f"{what}, {NAMES[kind]}" for what in ("peak MB", "last wait, s", "encoded / frames", "disk MB")
              for kind in (STOCK, SVI)]
    body = [_row(table, n) for n in table.windows]
    parts = [
        "# What a long video costs on top of its frames",
        f"    {command}",
        f"Printed by [endless.py](../endless.py) on {datetime.date.today()}: WanGP {one.version}, {_cpu()}, "
        f"{os.cpu_count()} cores shared with other programs (load {load[0]:.1f} at the start, {load[1]:.1f} at "
        f"the end), Python {platform.python_version()}, {platform.system()}. {one.size}, windows of {FRAMES} frames "
        f"that share one. Medians of {repeats} run{'s' * (repeats > 1)}. One row per window: "
        "[endless.csv](endless.csv).",
        f"wgp.py, its loop, its files and its encoder are real, in one process per number of windows. The pipeline "
        f"hands out ready frames of a walk over a picture, which are easy to encode: "
        f"{_per_window(table.at_once(STOCK)[min(table.windows)].any):.2f} MB for the first window.",
        "## The pipeline returns at once",
        _markdown(heads, body),
    ]
    if stock_max < max(table.windows):
        parts.append(f"WanGP without SVI was measured up to {stock_max} windows; numbers in brackets come from the "
                     "formula 40 n^2 + 41 n. By default WanGP keeps one file per window; windows that end within one "
                     "second share a name.")
    parts += ["![Memory, waiting and frames encoded, against the number of windows](endless.png)",
              "## Goals", _goals(table), _reading(table)]
    if soak:
        parts += [f"## Soak: {soak.n} clips at {soak.size}", _soaked(soak)]
    return "\n\n".join(parts) + "\n"


def _row(table: Table, n: int) -> list[str]:
    stock, svi = table.at_once(STOCK).get(n), table.at_once(SVI)[n]
    return [
        str(n), f"{svi.any.frames:,}",
        f"{stock.peak:,.0f}" if stock else "", f"{svi.peak:,.0f}",
        f"{stock.waits[-1]:.2f}" if stock else "", f"{svi.waits[-1]:.2f}",
        f"{stock.any.encoded / stock.any.frames:.2f}" if stock else f"({encoded_by_stock(n) / svi.any.frames:.2f})",
        f"{svi.any.encoded / svi.any.frames:.2f}",
        f"{stock.any.disk / MB:,.1f}" if stock else "", f"{svi.any.disk / MB:,.1f}",
    ]


def _goals(table: Table) -> str:
    def cell(kind: str, busy: float, show: Callable[[Cell], str]) -> str:
        found = table.longest(kind, busy)
        return show(found) if found else ""

    def grows(times: Callable[[Cell], list[float]], found: Cell) -> str:
        each = times(found)
        if len(each) < 4:
            return "too few windows"
        return f"{rise(each):+.0%} from window 2 to {found.any.n - 1} (median {statistics.median(each[1:-1]):.2f} s)"

    def encoded(found: Cell) -> str:
        return f"{found.any.encoded:,} of {found.any.frames:,} in {found.any.n} windows"

    def growth(found: Cell) -> str:
        return f"{slope(enumerate(found.memory[1:])):.2f} MB"

    lines = [
        ["peak memory per window, from the 2nd on", "at most 1 MB",
         *(f"{table.peak_slope(kind):.2f} MB" for kind in (STOCK, SVI))],
        ["memory between windows, in the longest run", "at most 1 MB", *(cell(k, 0.0, growth) for k in (STOCK, SVI))],
        ["frames encoded", "those of the video", *(cell(kind, 0.0, encoded) for kind in (STOCK, SVI))],
    ]
    for busy in sorted({0.0, table.busy}):
        how = f"the pipeline {f'{busy:g} s' if busy else 'at once'}"
        for what, times in (("waiting", lambda found: found.waits), ("CPU", lambda found: found.cpu)):
            lines.append([f"{what} per window, {how}", "flat within 20 %",
                          *(cell(kind, busy, functools.partial(grows, times)) for kind in (STOCK, SVI))])
    return _markdown(["", "goal", NAMES[STOCK], NAMES[SVI]], lines)


def _reading(table: Table) -> str:
    svi, busy = table.longest(SVI, 0.0), table.longest(SVI, table.busy)
    ffmpeg = max(one.encoder for cell in table.cells.values() for one in cell.runs) / MB
    encoding = statistics.median(svi.encoding)
    text = ("SVI encodes a clip while WanGP makes the next one. A pipeline that returns at once leaves no time for "
            f"that, so the wait is the encoder's time ({encoding:.2f} s a clip)")
    if table.busy and busy.any.n > 2:
        text += (f"; with {table.busy:g} s a clip it is {statistics.median(busy.waits[1:-1]):.2f} s, and the first and "
                 f"the last clip, whose files are shown at once, take {busy.waits[0]:.2f} s and {busy.waits[-1]:.2f} s")
    pieces, state = svi.any.clips[".mp4"][1], svi.any.clips[".safetensors"][1]
    text += (f". On disk are the video ({svi.any.bytes / MB:.1f} MB for {svi.any.n} clips), its pieces "
             f"({pieces / MB:.1f} MB) and the state that a run resumes from ({state / svi.any.n / MB:.2f} MB a clip). "
             f"ffmpeg, a separate process that the peaks leave out, used up to {ffmpeg:.0f} MB.")
    return text


def _soaked(soak: Result) -> str:
    count = min(50, (soak.n - 1) // 2)
    growth = slope((number, window["memory"] / MB) for number, window in enumerate(soak.windows[1:]))
    lines = [["memory per clip, from the 2nd on", f"{growth * 1000:.1f} kB (peak {soak.peak / MB:,.0f} MB)"]]
    times = {
        "waiting per clip": soak.waits, "CPU per clip": [window["cpu"] for window in soak.windows],
        "of the waiting, WanGP's metadata": [window["metadata"] for window in soak.windows],
        "in parallel, appending to the video": soak.appends,
    }
    for name, each in times.items():
        first, last = (1000 * statistics.median(part) for part in (each[1 : count + 1], each[-count - 1 : -1]))
        lines.append([f"{name}, first {count} and last {count}", f"{first:.0f} ms and {last:.0f} ms"])
    lines += [
        ["frames encoded, and frames that play",
         f"{soak.encoded:,} and {soak.frames:,} of {(FRAMES - 1) * soak.n + 1:,}"],
        ["clips on disk", f"{soak.clips['.safetensors'][0]} of {soak.n}"],
        ["the video, and its pieces", f"{soak.bytes / MB:,.1f} MB and {soak.clips['.mp4'][1] / MB:,.1f} MB"],
        ["everything on disk", f"{soak.disk / MB:,.1f} MB"],
    ]
    return _markdown(["", "measured"], lines)


def _per_window(result: Result) -> float:
    return result.encodes[0]["bytes"] / MB


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _markdown(heads: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *table))


def plot(table: Table, path: Path) -> None:
    """Memory, waiting, frames encoded. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    colours = {STOCK: "#d9822b", SVI: "#1f6fb2"}
    figure = Figure(figsize=(12.5, 4.3), layout="constrained")
    peaks, waits, frames = figure.subplots(1, 3)
    last = max(table.windows)
    beyond = {"ls": "--", "lw": 1.2, "color": colours[STOCK]}
    for kind, colour in colours.items():
        cells, each = table.at_once(kind), table.peak_slope(kind)
        numbers, end = list(cells), max(cells)
        heights = [cell.peak / 1000 for cell in cells.values()]
        peaks.plot(numbers, heights, "o-", color=colour, label=NAMES[kind])
        rest = each * (last - end) / 1000
        if end < last:
            peaks.plot([end, last], [heights[-1], heights[-1] + rest], **beyond)
        _label(peaks, f"{each:.2g} MB a window", last, heights[-1] + rest, colour)
        frames.plot(numbers, [cell.any.encoded / cell.any.frames for cell in cells.values()], "o-", color=colour)
        waits.plot(range(1, end + 1), cells[end].waits, color=colour, label="the pipeline returns at once")
    busy = table.longest(SVI, table.busy)
    if table.busy:
        waits.plot(range(1, busy.any.n + 1), busy.waits, color="#0b2f52", label=f"it takes {table.busy:g} s for a clip")
    lines = waits.get_lines()[1:]
    waits.legend(lines, [line.get_label() for line in lines], loc="center right", frameon=False, fontsize=9)
    measured = max(table.at_once(STOCK))
    if measured < last:
        more = range(measured, last + 1)
        frames.plot(more, [encoded_by_stock(n) / ((FRAMES - 1) * n + 1) for n in more], **beyond)
    _label(frames, f"{encoded_by_stock(last):,} frames", last, encoded_by_stock(last) / (80 * last + 1), colours[STOCK])
    _label(frames, f"{table.at_once(SVI)[last].any.encoded:,} frames", last, 1, colours[SVI])
    titles = {peaks: "Peak memory, GB", waits: "Waiting after each window, s", frames: "Times each frame is encoded"}
    for axes, title in titles.items():
        axes.set_title(title, loc="left", fontsize=12)
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.08)
        axes.set_xlabel("window" if axes is waits else f"windows of {FRAMES} frames")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*peaks.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=11)
    one = table.longest(SVI, 0.0).any
    title = f"Long videos in WanGP, {one.size}" + "; dashed: calculated" * (measured < last)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    figure.savefig(path, dpi=120)


def _label(axes: Any, text: str, x: float, y: float, colour: str) -> None:
    axes.annotate(text, (x, y), (0, 6), textcoords="offset points", ha="right", va="bottom", color=colour, fontsize=10)


def write(folder: Path, report: str, record: Sequence[Result], table: Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(report, encoding="utf-8")
    lines = list(rows(record))
    with (folder / "endless.csv").open("w", encoding="utf-8", newline="") as file:
        sheet = csv.DictWriter(file, lines[0], lineterminator="\n")
        sheet.writeheader()
        sheet.writerows(lines)
    try:
        plot(table, folder / "endless.png")
    except ImportError:
        print("no endless.png: matplotlib is not installed")


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wangp", type=Path, help="a WanGP checkout")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], metavar="N")
    parser.add_argument("--stock-max", type=int, default=16, metavar="N",
                        help="the most windows without SVI (16: 64 would encode 166,464 frames)")
    parser.add_argument("--size", type=size, default=(832, 480), metavar="WxH")
    parser.add_argument("--busy", type=float, default=2, metavar="SECONDS",
                        help="also with a pipeline that takes so long for a clip; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--soak", type=int, default=500, metavar="N", help="clips at 128x128, SVI alone; 0: none")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the results (benchmarks/endless)")
    parser.add_argument("--quick", action="store_true", help="small, for tests; prints, and writes only to --out")
    options = parser.parse_args(argv)
    if not Path("/proc/self/status").exists():
        parser.exit(1, "the memory is read from /proc, which this system has not: use Linux\n")
    soak_size = (128, 128)
    if options.quick:
        options.windows, options.stock_max, options.size, soak_size = [1, 2, 3], 3, (64, 64), (64, 64)
        options.busy, options.repeats, options.soak = 0, 1, min(options.soak, 4)
    command = "python benchmarks/endless.py PATH/TO/Wan2GP" + " --quick" * options.quick
    for name in ("stock_max", "busy", "repeats", "soak") if not options.quick else ():
        value = getattr(options, name)
        command += f" --{name.replace('_', '-')} {value:g}" if value != parser.get_default(name) else ""
    load = [os.getloadavg()[0]]
    record: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="endless-") as work:
        try:
            bench = Bench(options.wangp, Path(work))
            soak = bench.run(SVI, options.soak, soak_size) if options.soak else None
            for repeat in range(1, options.repeats + 1):
                for n in sorted(options.windows):
                    for kind in (STOCK, SVI):
                        if kind == SVI or n <= options.stock_max:
                            record.append(bench.run(kind, n, options.size, 0, repeat))
                ends = {SVI: max(options.windows),
                        STOCK: max((n for n in options.windows if n <= options.stock_max / 2), default=0)}
                for kind, n in ends.items() if options.busy else ():
                    if n:
                        record.append(bench.run(kind, n, options.size, options.busy, repeat))
        except RuntimeError as error:
            parser.exit(1, f"{error}\n")
    load.append(os.getloadavg()[0])
    table = Table(record)
    report = results(table, soak, command, load, options.stock_max)
    out = options.out or (None if options.quick else OUT)
    if out:
        write(out, report, [*record, *([soak] if soak else [])], table)
    print(f"\n{report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
