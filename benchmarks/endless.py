"""What a long video costs on top of its frames: memory, waiting, frames encoded, disk.

    python benchmarks/endless.py PATH/TO/Wan2GP [--windows 1 2 4 ...] [--stock-max 16] [--soak 500]
                                                [--out FOLDER]

Runs the real wgp.py, its loop over windows, its files and its encoder on a CPU, in turn as it is
and with SVI for WanGP installed. Two things are replaced: the models are tiny, and the pipeline's
`generate` returns 81 ready frames, at once or after --busy seconds, as a GPU would. Each number of
windows runs in a process of its own. Needs Linux and the Python that has WanGP's packages. Writes
nothing into the checkout.

peak        the most memory that the process had (VmHWM), without ffmpeg, which is another process
wait        from the end of `generate` to the next call, or to the end: what a user waits for
CPU         what the process and ffmpeg used between two calls of `generate`
encoded     frames given to the encoder, counted at imageio's writer

Writes RESULTS.md, endless.csv (a row per window) and, with matplotlib, endless.png. --quick is a
small form for tests.
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
PROFILE = ROOT / "profiles/wan_i2v/SVI Shot Infinite - 50 Steps.json"
LORA = "loras/wan_i2v/svi-shot.safetensors"
FRAMES = 81  # of a window; neighbours share one
STOCK, SVI = "stock", "svi"
NAMES = {STOCK: "WanGP", SVI: "WanGP with SVI"}
MB = 10**6


# --------------------------------------------------------------------------- inside WanGP's process


@dataclass
class Encode:
    """One file that was encoded."""

    file: str
    seconds: float
    frames: int
    bytes: int


@dataclass
class Window:
    """A window, times in seconds. `memory` is what the process has when `generate` is called."""

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
        self.joins: list[tuple[float, int]] = []
        self.encoder_peak = 0
        self.before = memory("VmRSS")
        any2video.WanAny2V.generate = lambda pipe, **settings: self._generate(**settings)
        self._writer = imageio.get_writer
        vars(imageio)["get_writer"] = self._open
        wgp.generate_media = self._whole(wgp.generate_media)
        wgp.save_video = self._timed("save", wgp.save_video)
        wgp.record_file_metadata = self._timed("metadata", wgp.record_file_metadata)
        if job["svi"]:
            from wan2gp_svi.runs import video

            vars(video)["join"] = self._joined(video.join)

    def _generate(self, frame_num: int, window_no: int, **_: Any) -> dict[str, Any]:
        assert frame_num == FRAMES and window_no == len(self.windows) + 1, (frame_num, window_no)
        self._end()
        now, cpu = time.perf_counter(), sum(os.times()[:4])
        self.windows.append(Window(now, memory("VmRSS"), cpu=-cpu))
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

    def _joined(self, join: Callable[..., None]) -> Callable[..., None]:
        def timed(pieces: Sequence[Path], video: Path, like: Path | None = None) -> None:
            begin = time.perf_counter()
            join(pieces, video, like)
            self.joins.append((time.perf_counter() - begin, video.stat().st_size))
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
            "before": self.before, "peak": memory("VmHWM"), "encoder": self.encoder_peak,
            "windows": [asdict(one) for one in self.windows],
            "encodes": [asdict(one) for one in self.encodes], "joins": self.joins,
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
        peaks = [memory("VmHWM", pid) for pid in children()]
        self.watch.encoder_peak = max([self.watch.encoder_peak, *peaks])
        self.writer.close()
        seconds, size = time.perf_counter() - self.begin, self.file.stat().st_size
        self.watch.encodes.append(Encode(self.file.name, seconds, self.frames, size))


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
            layer = torch.nn.functional.interpolate(layer, size, mode="bicubic")[0]
            picture += layer * 45 / cells**0.5
        self.picture = (picture + 110).clamp(0, 255).byte()

    def frame(self, number: int) -> Any:
        x = round(self.ROOM / 2 * (1 + math.sin(number / 70)))
        y = round(self.ROOM / 2 * (1 + math.sin(number / 110)))
        return self.picture[:, y : y + self.height, x : x + self.width]

    def clip(self, number: int) -> Any:
        """uint8 [3, 81, H, W]; its first frame is the last of the previous clip."""
        import torch

        frames = torch.empty(3, FRAMES, self.height, self.width, dtype=torch.uint8)
        for at in range(FRAMES):
            frames[:, at] = self.frame(number * (FRAMES - 1) + at)
        return frames


def watch(wgp: Any, job: dict[str, Any]) -> None:
    """The hook of a job (see tests/wangp/session.py): called when WanGP has booted."""
    from PIL import Image

    watching = Watch(wgp, job)
    first = watching.camera.frame(0).permute(1, 2, 0).numpy()
    Image.fromarray(first).save(Path(job["work"]) / "first.png")
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


# ------------------------------------------------------------------------------------------ measure


@dataclass
class Result:
    """One process. Sizes in bytes; `windows`, `encodes` and `joins` as Watch wrote them."""

    kind: str
    n: int
    size: str
    busy: float
    repeat: int
    version: str
    before: int
    peak: int
    encoder: int
    windows: list[dict[str, float]]
    encodes: list[dict[str, Any]]
    joins: list[tuple[float, int]]  # of pieces into the video: seconds, bytes
    frames: int = 0  # of the video, counted while it is played
    bytes: int = 0  # of the video
    disk: int = 0  # all that is left in WanGP's folder of outputs
    clips: dict[str, tuple[int, int]] = field(default_factory=dict)  # SVI's: ending -> files, bytes

    @property
    def encoded(self) -> int:
        return sum(one["frames"] for one in self.encodes)

    @property
    def waits(self) -> list[float]:
        return [one["wait"] for one in self.windows]

    def encodes_of(self, window: int) -> list[dict[str, Any]]:
        """What was encoded for a window, from 1 on. SVI names pieces after their clip."""
        if self.kind == STOCK:
            return self.encodes[window - 1 : window]
        return [one for one in self.encodes if one["file"][:4] == f"{window:04d}"]


class Bench:
    """The two trees, and the runs in them."""

    def __init__(self, checkout: Path, work: Path):
        sys.path.insert(0, str(HARNESS))
        import trees

        if missing := trees.lacks(sys.executable, "mmgp", "gradio", "imageio_ffmpeg"):
            raise RuntimeError(f"{sys.executable} cannot run WanGP ({missing}): use the Python "
                               "that has its packages")
        if not (checkout / "wgp.py").is_file():
            raise RuntimeError(f"{checkout} holds no wgp.py")
        self.harness, self.work = trees, work
        self.trees = {kind: trees.copy(checkout, work / kind) for kind in (STOCK, SVI)}
        command = [sys.executable, ROOT / "install.py", self.trees[SVI]]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"SVI for WanGP could not be installed: {done.stderr}")

    def run(self, kind: str, n: int, size: tuple[int, int], busy: float = 0, repeat: int = 1
            ) -> Result:
        folder, begin = self.work / "job", time.perf_counter()
        job = {
            "level": "loop", "path": [str(Path(__file__).parent)], "setup": "endless:watch",
            "svi": kind == SVI, "size": size, "busy": busy,
            "tasks": [self._settings(kind, n, size, folder)],
        }
        try:
            tree = self.trees[kind]
            outcome = self.harness.run(sys.executable, tree, folder, job, timeout=6 * 3600)
            task, = outcome.report["tasks"]
            if not task["success"]:
                raise RuntimeError(f"WanGP failed: {task['errors']}\n{outcome.log[-4000:]}")
            watched = json.loads((folder / "watch.json").read_text(encoding="utf-8"))
            version = outcome.report["version"]
            result = Result(kind, n, "{}x{}".format(*size), busy, repeat, version, **watched)
            self._look_at_files(result, Path(task["files"][-1]["path"]), folder / "outputs")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{NAMES[kind]:>14}, {n:3} windows of {result.size}, {busy:g} s each: peak "
              f"{result.peak / MB:.0f} MB, last wait {result.waits[-1]:.2f} s, {result.encoded} of "
              f"{result.frames} frames encoded ({time.perf_counter() - begin:.0f} s)", flush=True)
        return result

    @staticmethod
    def _settings(kind: str, n: int, size: tuple[int, int], folder: Path) -> dict[str, Any]:
        settings = json.loads(PROFILE.read_text(encoding="utf-8"))
        settings |= {
            "model_type": "tiny_i2v", "resolution": "{}x{}".format(*size),
            "video_length": (FRAMES - 1) * n + 1, "num_inference_steps": 2,
            "prompt": "a boat on a lake", "seed": 1234, "image_start": str(folder / "first.png"),
        }
        if kind == STOCK:
            settings |= {"activated_loras": [], "loras_multipliers": "", "custom_settings": None}
        return settings

    @staticmethod
    def _look_at_files(result: Result, video: Path, outputs: Path) -> None:
        result.frames, result.bytes = played(video), video.stat().st_size
        for path in outputs.rglob("*"):
            if path.is_file():
                result.disk += path.stat().st_size
                if path.parent != outputs:
                    number, size = result.clips.get(path.suffix, (0, 0))
                    result.clips[path.suffix] = number + 1, size + path.stat().st_size


def ffmpeg(*arguments: object) -> str:
    """What ffmpeg prints. It must have nothing to complain about."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode or done.stderr.strip():
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def played(video: Path) -> int:
    """The frames that ffmpeg decodes."""
    printed = ffmpeg("-i", video, "-map", "0:v", "-fps_mode", "passthrough", "-progress", "-", "-f",
                     "null", os.devnull)
    return int(re.findall(r"^frame=\s*(\d+)", printed, re.MULTILINE)[-1])


@dataclass
class Joining:
    """`count` pieces of `piece` bytes each: joined once, and while a run makes them all at once."""

    count: int
    piece: int
    seconds: float
    joins: int
    written: int


def join_pieces(count: int, folder: Path) -> Joining:
    sys.path.insert(0, str(ROOT))
    from wan2gp_svi.runs import video

    piece = folder / "piece.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=832x480:r=16,noise=alls=4:allf=t", "-frames:v", FRAMES,
           "-c:v", "libx264", "-crf", 19, "-pix_fmt", "yuv420p", piece)
    size, begin = piece.stat().st_size, time.perf_counter()
    video.join([piece] * count, folder / "video.mp4")
    seconds, sizes = time.perf_counter() - begin, []
    (folder / "video.mp4").unlink()

    def noted(pieces: Sequence[Path], video: Path, like: Path | None = None) -> None:
        sizes.append(len(pieces) * size)
        video.touch()

    vars(video)["join"] = noted
    growing = video.GrowingVideo(folder / "growing.mp4", 0, print)
    for number in range(1, count + 1):
        growing.grow([(piece, FRAMES)] * number, final=number == count)
    return Joining(count, size, seconds, len(sizes), sum(sizes))


# ------------------------------------------------------------------------------------------ numbers


def slope(points: Iterable[tuple[float, float]]) -> float:
    """Theil-Sen: the median of the slopes between all pairs; nan for less than two points."""
    some = list(points)
    slopes = [(b - y) / (a - x) for at, (x, y) in enumerate(some) for a, b in some[at + 1 :]
              if a != x]
    return statistics.median(slopes) if slopes else math.nan


def trend(points: Iterable[tuple[float, float]]) -> float:
    """Least squares. Far points weigh most, as they should where all have errors of one size."""
    some = list(points)
    if len(some) < 2:
        return math.nan
    return statistics.linear_regression(*zip(*some, strict=True)).slope


def rise(times: Sequence[float]) -> float:
    """How much a time grows from window 2 to the last but one, as a share of its median. The first
    and the last window begin and finish the video, which takes a time of its own."""
    middle = times[1:-1]
    if len(middle) < 2:
        return math.nan
    return slope(enumerate(middle)) * (len(middle) - 1) / statistics.median(middle)


def encoded_by_stock(n: int) -> int:
    """Every window encodes all frames so far: the sum of 80 k + 1."""
    return 40 * n * n + 41 * n


@dataclass
class Cell:
    """The runs of one kind with as many windows and the same pipeline: medians over the repeats."""

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
        return self._median(lambda one, at: one.windows[at]["wait"])

    @property
    def cpu(self) -> list[float]:
        return self._median(lambda one, at: one.windows[at]["cpu"])

    @property
    def encoding(self) -> list[float]:
        return self._median(lambda one, at: sum(
            encode["seconds"] for encode in one.encodes_of(at + 1)))

    @property
    def memory(self) -> list[float]:
        """MB in the process when a window is asked for."""
        return self._median(lambda one, at: one.windows[at]["memory"] / MB)

    def _median(self, value: Callable[[Result, int], float]) -> list[float]:
        return [statistics.median(value(one, at) for one in self.runs) for at in range(self.any.n)]


class Table:
    """All runs but the soak's."""

    def __init__(self, results: Iterable[Result]):
        self.cells: dict[tuple[str, int, float], Cell] = {}
        for one in results:
            self.cells.setdefault((one.kind, one.n, one.busy), Cell()).runs.append(one)
        self.windows = sorted({n for _, n, _ in self.cells})
        self.busy = max(busy for _, _, busy in self.cells)

    def at_once(self, kind: str) -> dict[int, Cell]:
        cells = {n: self.cells.get((kind, n, 0.0)) for n in self.windows}
        return {n: cell for n, cell in cells.items() if cell}

    def longest(self, kind: str, busy: float) -> Cell | None:
        found = [n for of, n, seconds in self.cells if of == kind and seconds == busy]
        return self.cells[kind, max(found), busy] if found else None

    def peak_slope(self, kind: str) -> float:
        """MB per window, from the second on: the first has no other to wait for. Without what a
        process had before its first window, which varies by more than SVI's windows add."""
        cells = self.at_once(kind).items()
        return trend((n, cell.above) for n, cell in cells if n > 1)


# ------------------------------------------------------------------------------------------- record


def rows(results: Iterable[Result]) -> Iterator[dict[str, Any]]:
    """endless.csv."""
    for one in results:
        for number, window in enumerate(one.windows, 1):
            encodes = one.encodes_of(number)
            yield {
                "kind": one.kind, "size": one.size, "pipeline_s": one.busy, "windows": one.n,
                "repeat": one.repeat, "window": number, "wait_s": f"{window['wait']:.4f}",
                "save_video_s": f"{window['save']:.4f}", "metadata_s": f"{window['metadata']:.4f}",
                "cpu_s": f"{window['cpu']:.2f}",
                "encoder_s": f"{sum(encode['seconds'] for encode in encodes):.4f}",
                "encoded_frames": sum(encode["frames"] for encode in encodes),
                "encoded_bytes": sum(encode["bytes"] for encode in encodes),
                "memory_mb": f"{window['memory'] / MB:.1f}", "peak_mb": f"{one.peak / MB:.1f}",
                "video_frames": one.frames, "disk_mb": f"{one.disk / MB:.2f}",
            }


def results(table: Table, soak: Result | None, joining: Joining | None, command: str,
            load: Sequence[float], stock_max: int) -> str:
    """RESULTS.md."""
    one = next(iter(table.cells.values())).any
    repeats = max(len(cell.runs) for cell in table.cells.values())
    first = table.at_once(STOCK)[min(table.windows)].any.encodes[0]["bytes"]
    heads = ["windows", "frames of the video"]
    heads += [f"{what}, {NAMES[kind]}"
              for what in ("peak MB", "last wait, s", "encoded / frames", "disk MB")
              for kind in (STOCK, SVI)]
    parts = [
        "# What a long video costs on top of its frames",
        f"    {command}",
        f"Printed by [endless.py](../endless.py) on {datetime.date.today()}: WanGP {one.version}, "
        f"{_cpu()}, {os.cpu_count()} cores shared with other programs (load {load[0]:.1f} at the "
        f"start, {load[1]:.1f} at the end), Python {platform.python_version()}, "
        f"{platform.system()}. {one.size}, windows of {FRAMES} frames that share one. Medians of "
        f"{repeats} run{'s' * (repeats > 1)}. One row per window: [endless.csv](endless.csv).",
        "wgp.py, its loop, its files and its encoder are real, in one process per number of "
        "windows. The pipeline hands out ready frames of a walk over a picture, which are easy to "
        f"encode: {first / MB:.2f} MB for the first window.",
        "## The pipeline returns at once",
        _markdown(heads, [_row(table, n) for n in table.windows]),
    ]
    if stock_max < max(table.windows):
        parts.append(f"WanGP without SVI was measured up to {stock_max} windows; numbers in "
                     "brackets come from the formula 40 n^2 + 41 n. By default WanGP keeps one "
                     "file per window; windows that end within one second share a name.")
    parts += ["![Memory, waiting and frames encoded, against the number of windows](endless.png)",
              "## Goals", _goals(table), _reading(table)]
    if soak:
        parts += [f"## Soak: {soak.n} clips at {soak.size}", _soaked(soak)]
    if joining:
        parts += ["## Joining pieces", _joined(joining)]
    return "\n\n".join(parts) + "\n"


def _row(table: Table, n: int) -> list[str]:
    stock, svi = table.at_once(STOCK).get(n), table.at_once(SVI)[n]
    again = encoded_by_stock(n) / svi.any.frames
    return [
        str(n), f"{svi.any.frames:,}",
        f"{stock.peak:,.0f}" if stock else "", f"{svi.peak:,.0f}",
        f"{stock.waits[-1]:.2f}" if stock else "", f"{svi.waits[-1]:.2f}",
        f"{stock.any.encoded / stock.any.frames:.2f}" if stock else f"({again:.2f})",
        f"{svi.any.encoded / svi.any.frames:.2f}",
        f"{stock.any.disk / MB:,.1f}" if stock else "", f"{svi.any.disk / MB:,.1f}",
    ]


def _goals(table: Table) -> str:
    def both(busy: float, show: Callable[[Cell], str]) -> list[str]:
        cells = [table.longest(kind, busy) for kind in (STOCK, SVI)]
        return [show(cell) if cell else "" for cell in cells]

    def grows(each: Sequence[float]) -> str:
        if len(each) < 4:
            return "too few windows"
        return (f"{rise(each):+.0%} from window 2 to {len(each) - 1} "
                f"(median {statistics.median(each[1:-1]):.2f} s)")

    lines = [
        ["peak memory per window, from the 2nd on", "at most 1 MB",
         *(f"{table.peak_slope(kind):.2f} MB" for kind in (STOCK, SVI))],
        ["memory between windows, in the longest run", "at most 1 MB",
         *both(0.0, lambda cell: f"{slope(enumerate(cell.memory[1:])):.2f} MB")],
        ["frames encoded", "those of the video",
         *both(0.0, lambda cell: f"{cell.any.encoded:,} of {cell.any.frames:,} in {cell.any.n} "
                                 "windows")],
    ]
    for busy in sorted({0.0, table.busy}):
        how = f"the pipeline {f'{busy:g} s' if busy else 'at once'}"
        lines += [
            [f"waiting per window, {how}", "flat within 20 %",
             *both(busy, lambda cell: grows(cell.waits))],
            [f"CPU per window, {how}", "flat within 20 %",
             *both(busy, lambda cell: grows(cell.cpu))],
        ]
    return _markdown(["", "goal", NAMES[STOCK], NAMES[SVI]], lines)


def _reading(table: Table) -> str:
    svi, busy = table.longest(SVI, 0.0), table.longest(SVI, table.busy)
    assert svi and busy
    encoder = max(one.encoder for cell in table.cells.values() for one in cell.runs) / MB
    text = ("SVI encodes a clip while WanGP makes the next one. A pipeline that returns at once "
            "leaves no time for that, so the wait is the encoder's time "
            f"({statistics.median(svi.encoding):.2f} s a clip)")
    if table.busy and busy.any.n > 2:
        text += (f"; with {table.busy:g} s a clip it is {statistics.median(busy.waits[1:-1]):.2f} "
                 "s, and the first and the last clip, whose files are shown at once, take "
                 f"{busy.waits[0]:.2f} s and {busy.waits[-1]:.2f} s")
    pieces, state = svi.any.clips[".mp4"][1], svi.any.clips[".safetensors"][1]
    return text + (f". On disk are the video ({svi.any.bytes / MB:.1f} MB for {svi.any.n} clips), "
                   f"its pieces ({pieces / MB:.1f} MB) and the state that a run resumes from "
                   f"({state / svi.any.n / MB:.2f} MB a clip). ffmpeg, a separate process that the "
                   f"peaks leave out, used up to {encoder:.0f} MB.")


def _soaked(soak: Result) -> str:
    count = min(50, (soak.n - 1) // 2)
    each = [window["memory"] / MB for window in soak.windows[1:]]
    lines = [["memory per clip, from the 2nd on",
              f"{slope(enumerate(each)) * 1000:.1f} kB (peak {soak.peak / MB:,.0f} MB)"]]
    times = {
        "waiting per clip": soak.waits, "CPU per clip": [one["cpu"] for one in soak.windows],
        "of the waiting, WanGP's metadata": [one["metadata"] for one in soak.windows],
    }
    for name, each in times.items():
        first, last = (1000 * statistics.median(part)
                       for part in (each[1 : count + 1], each[-count - 1 : -1]))
        lines.append([f"{name}, first {count} and last {count}",
                      f"{first:.0f} ms and {last:.0f} ms"])
    seconds, written = max(one for one, _ in soak.joins), sum(one for _, one in soak.joins)
    pieces = soak.clips[".mp4"][1]
    lines += [
        ["in parallel, joining the pieces",
         f"{len(soak.joins)} times, {seconds:.2f} s at most, {written / MB:,.1f} MB written"],
        ["frames encoded, and frames that play",
         f"{soak.encoded:,} and {soak.frames:,} of {(FRAMES - 1) * soak.n + 1:,}"],
        ["clips on disk", f"{soak.clips['.safetensors'][0]} of {soak.n}"],
        ["the video, and its pieces", f"{soak.bytes / MB:,.1f} MB and {pieces / MB:,.1f} MB"],
        ["everything on disk", f"{soak.disk / MB:,.1f} MB"],
    ]
    return _markdown(["", "measured"], lines)


def _joined(joining: Joining) -> str:
    size = joining.count * joining.piece
    return (f"{joining.count} pieces of {joining.piece / MB:.1f} MB are one video in "
            f"{joining.seconds:.1f} s. A run that makes them joins them {joining.joins} times and "
            f"writes {joining.written / 1000 / MB:.1f} GB, {joining.written / size:.0f} times the "
            "video, plus the video once for every 20 minutes that the run takes.")


def _cpu() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1] if found else platform.machine()


def _markdown(heads: Sequence[str], table: Iterable[Sequence[str]]) -> str:
    lines = (heads, ["---"] * len(heads), *table)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plot(table: Table, path: Path) -> None:
    """Memory, waiting, frames encoded. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    colours = {STOCK: "#d9822b", SVI: "#1f6fb2"}
    figure = Figure(figsize=(12.5, 4.3), layout="constrained")
    peaks, waits, frames = figure.subplots(1, 3)
    last = max(table.windows)
    beyond: dict[str, Any] = {"ls": "--", "lw": 1.2, "color": colours[STOCK]}
    for kind, colour in colours.items():
        cells, each = table.at_once(kind), table.peak_slope(kind)
        numbers, end = list(cells), max(cells)
        heights = [cell.peak / 1000 for cell in cells.values()]
        times = [cell.any.encoded / cell.any.frames for cell in cells.values()]
        peaks.plot(numbers, heights, "o-", color=colour, label=NAMES[kind])
        rest = each * (last - end) / 1000
        if end < last:
            peaks.plot([end, last], [heights[-1], heights[-1] + rest], **beyond)
        _label(peaks, f"{each:.2g} MB a window", last, heights[-1] + rest, colour)
        frames.plot(numbers, times, "o-", color=colour)
        waits.plot(range(1, end + 1), cells[end].waits, color=colour,
                   label="the pipeline returns at once")
    busy, one = table.longest(SVI, table.busy), table.at_once(SVI)[last].any
    if table.busy and busy:
        waits.plot(range(1, busy.any.n + 1), busy.waits, color="#0b2f52",
                   label=f"it takes {table.busy:g} s for a clip")
    lines = waits.get_lines()[1:]
    labels = [str(line.get_label()) for line in lines]
    waits.legend(lines, labels, loc="center right", frameon=False, fontsize=9)
    measured = max(table.at_once(STOCK))
    if measured < last:
        more = range(measured, last + 1)
        times = [encoded_by_stock(n) / ((FRAMES - 1) * n + 1) for n in more]
        frames.plot(more, times, **beyond)
    again = encoded_by_stock(last)
    _label(frames, f"{again:,} frames", last, again / (80 * last + 1), colours[STOCK])
    _label(frames, f"{one.encoded:,} frames", last, 1, colours[SVI])
    titles = {peaks: "Peak memory, GB", waits: "Waiting after each window, s",
              frames: "Times each frame is encoded"}
    for axes, title in titles.items():
        axes.set_title(title, loc="left", fontsize=12)
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.08)
        axes.set_xlabel("window" if axes is waits else f"windows of {FRAMES} frames")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    figure.legend(*peaks.get_legend_handles_labels(), loc="outside upper right", ncols=2,
                  frameon=False, fontsize=11)
    title = f"Long videos in WanGP, {one.size}" + "; dashed: calculated" * (measured < last)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    figure.savefig(path, dpi=120)


def _label(axes: Any, text: str, x: float, y: float, colour: str) -> None:
    axes.annotate(text, (x, y), (0, 6), textcoords="offset points", ha="right", va="bottom",
                  color=colour, fontsize=10)


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


def arguments(argv: Sequence[str] | None) -> tuple[argparse.Namespace, str]:
    """The options, and the command that says them again."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("wangp", type=Path, help="a WanGP checkout")
    add("--windows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], metavar="N")
    add("--stock-max", type=int, default=16, metavar="N",
        help="the most windows without SVI (16; 64 would encode 166,464 frames)")
    add("--size", type=size, default=(832, 480), metavar="WxH")
    add("--busy", type=float, default=2, metavar="SECONDS",
        help="also with a pipeline that takes so long for a clip; 0 leaves it out")
    add("--repeats", type=int, default=3)
    add("--soak", type=int, default=500, metavar="N",
        help="clips at 128x128, with SVI, and pieces that are joined; 0: none")
    add("--out", type=Path, metavar="FOLDER", help="for the results (benchmarks/endless)")
    add("--quick", action="store_true", help="small, for tests; writes to --out only")
    options = parser.parse_args(argv)
    if not Path("/proc/self/status").exists():
        parser.exit(1, "This benchmark reads the memory from /proc: run it on Linux.\n")
    options.soak_size = (128, 128)
    command = "python benchmarks/endless.py PATH/TO/Wan2GP"
    if options.quick:
        options.windows, options.stock_max, options.busy, options.repeats = [1, 2, 3], 3, 0, 1
        options.size = options.soak_size = (64, 64)
        options.soak = min(options.soak, 4)
        return options, f"{command} --quick"
    for name in ("stock_max", "busy", "repeats", "soak"):
        value = getattr(options, name)
        if value != parser.get_default(name):
            command += f" --{name.replace('_', '-')} {value:g}"
    options.out = options.out or OUT
    return options, command


def main(argv: Sequence[str] | None = None) -> int:
    options, command = arguments(argv)
    load = [os.getloadavg()[0]]
    record: list[Result] = []
    soak, joining = None, None
    most = {SVI: max(options.windows), STOCK: options.stock_max}
    with tempfile.TemporaryDirectory(prefix="endless-") as work:
        try:
            bench = Bench(options.wangp, Path(work))
            if options.soak:
                soak = bench.run(SVI, options.soak, options.soak_size)
                joining = join_pieces(options.soak, Path(work))
            for repeat in range(1, options.repeats + 1):
                for n in sorted(options.windows):
                    record += [bench.run(kind, n, options.size, 0, repeat)
                               for kind in (STOCK, SVI) if n <= most[kind]]
                for kind, limit in {SVI: most[SVI], STOCK: most[STOCK] / 2}.items():
                    n = max((n for n in options.windows if n <= limit), default=0)
                    if options.busy and n:
                        record.append(bench.run(kind, n, options.size, options.busy, repeat))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    load.append(os.getloadavg()[0])
    table = Table(record)
    report = results(table, soak, joining, command, load, options.stock_max)
    if options.out:
        write(options.out, report, [*record, *([soak] if soak else [])], table)
    print(f"\n{report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
