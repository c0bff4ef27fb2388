"""What files of strangers do to SVI. Breaks good ones in many ways, and has SVI read them.

    python benchmarks/fuzz.py [--inputs 100000] [--seed 1] [--only READER ...] [--out FOLDER]

Each reader of SVI gets its part of the inputs. An input is a good example, changed by structure (a
value of JSON, a box of an MP4, an element of Matroska, a field of a zip) or by bytes. It can be
made again from the seed, the reader and its number. Each reader has a process of its own.

faults     an error other than the documented ones, a crash, a changed file outside the input,
           more than 200 MB of memory above the start, or more than 2 seconds

Needs Linux (for the memory) and the packages of the tests. Writes RESULTS.md and fuzz.csv (a row
per reader). Exits with 1 if there are faults.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import hashlib
import io
import json
import multiprocessing
import os
import platform
import random
import shutil
import struct
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import av  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save  # noqa: E402

from wan2gp_svi import drift, lora, untrusted  # noqa: E402
from wan2gp_svi.drift import layout  # noqa: E402
from wan2gp_svi.drift.layout import DriftError  # noqa: E402
from wan2gp_svi.runs.record import About, Clip, StoreError, as_json  # noqa: E402
from wan2gp_svi.runs.state import State, clips_in_words, in_words, state  # noqa: E402
from wan2gp_svi.runs.store import Run, Store  # noqa: E402
from wan2gp_svi.runs.video import (  # noqa: E402
    GrowingVideo,
    VideoError,
    count_frames,
    holds,
    join,
)
from wan2gp_svi.wangp import continuing, matching, resuming  # noqa: E402
from wan2gp_svi.wangp.check import command  # noqa: E402
from wan2gp_svi.wangp.form import SettingsError  # noqa: E402
from wan2gp_svi.wangp.plan import make_plan  # noqa: E402
from wan2gp_svi.wangp.recorder import Recording  # noqa: E402
from wan2gp_svi.wangp.tab import actions, view  # noqa: E402

OUT = ROOT / "benchmarks/fuzz"
MB, SECONDS = 200, 2.0  # that an input may take
SIDE, FRAMES = 32, 6
DONE = 3  # clips of the example of a run
SETTINGS = {
    "model_type": "i2v", "prompt": "a boat\n\na storm", "seed": 7, "video_length": 241,
    "resolution": "832x480", "image_prompt_type": "S", "image_start": "start.png",
    "activated_loras": ["svi-shot.safetensors", "other.safetensors"], "loras_multipliers": "1 0.5",
    "num_inference_steps": 50, "guidance_scale": 5.0, "guidance_phases": 1, "image_mode": 0,
    "model_switch_phase": 1, "multi_prompts_gen_type": "PW", "sliding_window_size": 81,
    "sliding_window_overlap": 1, "sliding_window_discard_last_frames": 0, "sample_solver": "unipc",
    "override_attention": "", "skip_steps_cache_type": "", "self_refiner_setting": 0,
    "custom_settings": {"svi_variant": "auto", "num_motion_frames": "auto", "ref_pad_num": "-1",
                        "svi_storyboard": "auto", "svi_run": "auto"}}


# ---------------------------------------------------------------------------------------- mutations

RAW = {"9" * 5000: "0", "1e999": "1", "NaN": "2", "-Infinity": "3", "[" * 100_000: "4",
       '{"a":' * 60 + "1" + "}" * 60: "5", "[" * 900 + "]" * 900: "6", '"\\ud800"': "7",
       "[" + "{}," * 200_000 + "{}]": "8", "0.1" + "1" * 5000: "9"}
TEXTS = ("", "\0", "..", "../../elsewhere/private.mp4", "C:\\x.mp4", "\\\\server\\share\\x.mp4",
         "nul", "a" * 5000, "\x1b]0;x\a", "<img src=x onerror=alert(1)>", "new", "auto", "8.0",
         "9" * 5000, "²", "x@" + "9" * 4999, "finished", "run.json", "0001.mp4", "talk-9")
VALUES = (None, True, False, 0, -1, 1, 2, 5, 80, 81, 2**31, 2**63, 2**64, -(2**70), 0.5, 1e-300,
          1e11, 1e308, [], {}, [[]], [None], ["x"] * 3, {"a": 1}, {"": {"": {}}})


def broken_json(data: bytes, dice: random.Random) -> bytes:
    """JSON in which some values or names are others."""
    root: Any = [json.loads(data)]
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        holder, key = dice.choice([*_places(root)])
        kind = dice.randrange(8)
        if kind < 2:
            holder[key] = deepcopy(dice.choice(VALUES))
        elif kind < 4:
            holder[key] = dice.choice(TEXTS)
        elif kind == 4:
            holder[key] = f"@raw{dice.choice([*RAW.values()])}@"
        elif kind == 5 and isinstance(holder, dict):
            holder[dice.choice((*TEXTS, *holder))] = holder.pop(key)
        elif kind == 6 and holder is not root:
            del holder[key]
        else:
            inside, name = dice.choice([*_places(root)])
            holder[key] = deepcopy(inside[name])
    text = json.dumps(root[0], ensure_ascii=dice.random() < 0.5)
    for raw, number in RAW.items():
        text = text.replace(f'"@raw{number}@"', raw)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in list(pairs):
        yield value, key
        if isinstance(inside, (dict, list)):
            yield from _places(inside)


def broken_bytes(data: bytes, dice: random.Random) -> bytes:
    new = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at, length = dice.randrange(len(new) + 1), dice.choice((1, 2, 4, 8, 64))
        some = dice.choice((b"\xff", b"\0", b"\x7f", b"\x80", b"{", b"[", b'"', dice.randbytes(1)))
        kind = dice.randrange(6)
        if kind < 3:
            new[at : at + length] = some * len(new[at : at + length])
        elif kind == 3:
            new[at:at] = some * length
        elif kind == 4:
            del new[at : at + length]
        else:
            other = dice.randrange(len(new) + 1)
            new[at : at + length] = new[other : other + length]
    return bytes(new[: dice.randrange(len(new) + 1)] if dice.random() < 0.1 else new)


def broken_parts(data: bytes, dice: random.Random, parts: Callable[[bytes], list[tuple[int, int]]]
                 ) -> bytes:
    """A container with parts (from, to) changed, removed, doubled, cut or moved."""
    new = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 3))):
        found = parts(bytes(new))
        if not found:
            break
        start, end = dice.choice(found)
        kind = dice.randrange(8)
        if kind < 5:  # a number inside, at its beginning most often
            at = min(start + dice.choice((0, 4, 8, 12, 16, 20, dice.randrange(end - start + 1))),
                     len(new))
            size = dice.choice((1, 2, 4, 4, 8))
            number = dice.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16, 0xFFFFFF, 10**6,
                                  dice.getrandbits(64)))
            new[at : at + size] = (number % 256**size).to_bytes(size, "big")
        elif kind == 5:
            del new[start:end]
        elif kind == 6:
            new[start:start] = new[start:end] * dice.choice((1, 1, 50))
        else:
            new[end:end] = new[slice(*dice.choice(found))]
    return bytes(new)


BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"edts", b"dinf", b"stsd", b"ilst"}


def boxes(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The boxes of an MP4, at every depth."""
    found, end = [], len(data) if end is None else end
    while start + 8 <= end and len(found) < 500:
        size, kind = struct.unpack_from(">I4s", data, start)
        size = size if 8 <= size <= end - start else end - start
        if kind != b"mdat":
            found.append((start, start + size))
        if kind in BOXES:
            inside = start + (16 if kind == b"stsd" else 8)
            found += boxes(data, inside, start + size) if inside < start + size else []
        start += size
    return found


MASTERS = {0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1254C367, 0x7373, 0x67C8, 0x1C53BB6B,
           0x1941A469, 0x114D9B74, 0x1F43B675, 0xA0}  # whose elements are elements


def elements(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """The elements of a Matroska file, at every depth."""
    found, end = [], len(data) if end is None else end
    while start + 2 <= end and len(found) < 500:
        width = 9 - data[start].bit_length()
        name, at = int.from_bytes(data[start : start + width], "big"), start + width
        if width > 4 or at >= end:
            break
        long = 9 - data[at].bit_length()
        if long > 8:
            break
        size = int.from_bytes(data[at : at + long], "big") & (1 << 7 * long) - 1
        inside, stop = at + long, min(at + long + size, end)
        found.append((start, stop))
        if name in MASTERS:
            found += elements(data, inside, stop)
        start = stop
    return found


def entries(data: bytes) -> list[tuple[int, int]]:
    """The heads in a zip."""
    sizes = {b"PK\1\2": 46, b"PK\3\4": 30, b"PK\5\6": 22}
    return [(at, at + size) for mark, size in sizes.items()
            for at in range(len(data)) if data.startswith(mark, at)]


def broken_zip(data: bytes, dice: random.Random) -> bytes:
    kind = dice.randrange(6)
    if kind < 2:
        return broken_parts(data, dice, entries)
    if kind == 2:
        return broken_bytes(data, dice)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        queue = file.read("queue.json")
    queue = (b" " * dice.choice((10**6, 10**7, 5 * 10**7)) if dice.random() < 0.02
             else broken_json(queue, dice))
    out, name = io.BytesIO(), dice.choice(("queue.json", "queue.json", "queue.json", "Queue.json"))
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
               zipfile.ZIP_LZMA)
    with zipfile.ZipFile(out, "w", dice.choice(methods)) as file:
        file.writestr(name, queue)
        for number in range(dice.choice((0, 1, 1, 300))):
            file.writestr(f"../{number}.png", b"x")
    new = bytearray(out.getvalue())
    if dice.random() < 0.2:  # encrypted
        for start, end in entries(bytes(new)):
            new[start + (8 if end - start == 46 else 6)] |= 1
    return bytes(new)


def broken_video(data: bytes, dice: random.Random) -> bytes:
    kind = dice.randrange(4)
    if kind == 0:
        return broken_bytes(data, dice)
    return broken_parts(data, dice, elements if data.startswith(b"\x1a\x45") else boxes)


def broken_tensors(data: bytes, dice: random.Random) -> bytes:
    """A safetensors file with another header, whose length may be a lie."""
    if dice.random() < 0.2:
        return broken_bytes(data, dice)
    length = int.from_bytes(data[:8], "little")
    head = broken_json(data[8 : 8 + length].rstrip(), dice)
    if dice.random() < 0.1:
        head = head.replace(b"{", b'{"__metadata__":{"a":"b"},"__metadata__":3,', 1)
    new = dice.choice((len(head),) * 12 + (0, 2**63, 2**64 - 1, len(head) + 1, len(head) - 1))
    return new.to_bytes(8, "little") + head + data[8 + length :]


def broken_picture(data: bytes, dice: random.Random) -> bytes:
    """A PNG with other heads of chunks, or other bytes."""
    if dice.random() < 0.3:
        return broken_bytes(data, dice)
    return broken_parts(data, dice, lambda png: [
        (max(0, at - 4), at + 17) for at in range(len(png)) if png[at : at + 4] in CHUNKS])


CHUNKS = (b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"iTXt", b"zTXt", b"eXIf")


# ----------------------------------------------------------------------------------------- examples

@cache
def encoded(suffix: str, codec: str = "libx264", seed: int = 0, tags: bool = False) -> bytes:
    """A video of 6 noisy frames, with WanGP's settings if it has `tags`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video{suffix}"
        with av.open(str(path), "w") as file:
            quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
            stream = file.add_stream(codec, rate=16, options=quiet)
            stream.width = stream.height = SIDE
            stream.pix_fmt = "yuv420p"
            stream.time_base = Fraction(1, 16)
            file.metadata.update({"comment": metadata().decode()} if tags else {})
            for one in pixels:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
            file.mux(stream.encode())
        return path.read_bytes()


@cache
def metadata() -> bytes:
    made = {"version": "1.1.0", "variant": "shot", "run": "20261120-7f3a", "seeds": [7, 49, 91]}
    custom = {**SETTINGS["custom_settings"], "svi": made}
    return json.dumps({**SETTINGS, "custom_settings": custom}).encode()


@cache
def tensors() -> bytes:
    return save({"motion_frames": torch.ones(3, 1, SIDE, SIDE, dtype=torch.uint8),
                 "last_frame": torch.ones(3, 1, SIDE, SIDE, dtype=torch.uint8)},
                metadata={"made of": "{}"})


@cache
def picture() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE, 3), 99, np.uint8)).save(out, format="PNG")
    return out.getvalue()


@cache
def lora_file() -> bytes:
    sides = {f"pipe.dit.blocks.{block}.ffn.{layer}.lora_{side}.default.weight": torch.ones(1, 1)
             for block in range(3) for layer in (0, 2) for side in "AB"}
    return save(sides, metadata={"format": "pt"})


@cache
def queue() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("queue.json", json.dumps([{"id": 1, "params": SETTINGS}] * 2))
        file.writestr("start.png", picture())
    return out.getvalue()


def about() -> About:
    return About("shot", "SVI-Shot", DONE, 7, 16.0, ["a boat", "a storm"], ["a boat", "a storm"], 1,
                 {"SVI seed step": 42, "video size": f"{SIDE}x{SIDE}", "steps": 50, "none": None},
                 {**SETTINGS, "custom_settings": {"svi_variant": "shot"}}, ("20261119-aaaa", 1),
                 "stopped", "video.mp4", "2026-11-20T12:00:00", "1.1.0", "my run")


def add(run: Run, number: int) -> None:
    """A clip whose piece is the example of a video."""
    piece = run.path(number, ".mp4")
    piece.write_bytes(encoded(".mp4"))
    run.add(Clip(number, "a boat", 7 + 42 * number, FRAMES), [piece],
            {"motion_frames": torch.ones(3, 1, SIDE, SIDE, dtype=torch.uint8),
             "last_frame": torch.ones(3, 1, SIDE, SIDE, dtype=torch.uint8)})


# ------------------------------------------------------------------------------------------ readers

class Fault(Exception):
    """Something that must not happen."""


class Place:
    """A WanGP's folder for videos, with a good run, a run to break, and files that are nobody's."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = Store(folder / "outputs/svi")
        self.good, self.bad = (self.store.new(about(), {"reference.png": picture(),
                                                        "start.png": picture()}) for _ in range(2))
        for run in (self.good, self.bad):
            for number in range(DONE):
                add(run, number)
        self.good.folder = self.good.folder.rename(self.store.folder / "20261120-7f3a")
        self.bad.folder = self.bad.folder.rename(self.store.folder / "20261120-bad0")
        (folder / "elsewhere").mkdir()
        for path in ("elsewhere/private.mp4", "outputs/private.mp4"):
            (folder / path).write_bytes(encoded(".mp4", seed=9))
        (folder / "outputs/video.mp4").write_bytes(encoded(".mp4", tags=True))
        self.before = self.others()

    def others(self) -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns)
                for path in self.folder.rglob("*")
                if path.is_file() and self.bad.folder not in path.parents}

    def check(self) -> None:
        if self.good.name not in [run.name for run in self.store.runs()]:
            raise Fault("the good run is not listed")
        if self.others() != self.before:
            raise Fault("a file outside the run has changed")

    def look(self) -> None:
        """All that is done with a run: lists, the tab, resuming, extending and redoing it."""
        self.check()
        [*self.store.unreadable()]
        cells, names = view.rows(self.store)
        if len(cells) != len(names) or len(names) != 2:
            raise Fault(f"the list has {len(names)} rows")
        plan = make_plan("i2v", ["svi-shot.safetensors"], {"svi_run": f"{self.bad.name}@2"})
        with contextlib.suppress(SettingsError):
            matching.check_requested(self.folder / "outputs", plan, SETTINGS, {}, ["a boat"])
        run = self.store.open(self.bad.name)
        done, shown = run.done(), view.look(run)
        now = state(run, len(done))
        html = f"{view.card(shown)}{view.clips_table(shown)}{view.video(shown)}"
        text = f"{view.summary(shown)}{view.removing([run])}{view.choice(run)}"
        text += clips_in_words(run, now, done) + in_words(run, State.RUNNING, done)
        if "<img src=x" in html or len(html) > 3 * 10**6 or not text.encode():
            raise Fault("markup of a record, or too much of it, reaches the page")
        for make in (partial(resuming.resumed, run), partial(resuming.extended, run, 2, ["x"]),
                     partial(resuming.redone, run, 2, "x"), partial(actions.extend, run, 1, "")):
            with contextlib.suppress(StoreError):
                json.dumps(made := make())
                resuming.what_happens(run, made, len(done))
        recording = Recording(run, DONE, SIDE * SIDE, lambda line: None)
        for clip in recording.clips:
            recording.begin(clip.number, clip.prompt, clip.seed, "", None)
            recording.from_disk()
        recording.close()
        pieces = [piece for clip in recording.clips for piece in run.pieces(clip, last=False)]
        if run.video is not None and pieces and holds(run.video, pieces):
            count_frames(run.video)
        self.check()


def read_run(data: bytes, place: Place) -> None:
    (place.bad.folder / "run.json").write_bytes(data)
    place.look()


def read_clip(data: bytes, place: Place) -> None:
    place.bad.path(1, ".json").write_bytes(data)
    place.look()
    place.bad.clip(1)


def read_state(data: bytes, place: Place) -> None:
    """A clip's state, whose hash and size the record has, and a clip that is not encoded yet."""
    path = place.bad.path(0, ".safetensors")
    path.write_bytes(data)
    clip = Clip(0, "a boat", 7, FRAMES, holds={
        "0001.mp4": (hashlib.sha256(encoded(".mp4")).hexdigest(), len(encoded(".mp4"))),
        path.name: (hashlib.sha256(data).hexdigest(), len(data))})
    place.bad.record(clip)
    place.bad.path(DONE, "-frames.safetensors").write_bytes(data)
    place.bad.unsaved(DONE, {})
    place.look()
    place.bad.state(clip)


def read_settings(data: bytes, place: Place, suffix: str = ".json") -> None:
    path = place.folder / f"settings{suffix}"
    path.write_bytes(data)
    with (contextlib.redirect_stdout(io.StringIO()) as out,
          contextlib.redirect_stderr(io.StringIO()) as error):
        code = command.run(argparse.Namespace(file=path, wangp=None))
    path.unlink()
    said = out.getvalue() + error.getvalue()
    said.encode("utf-8", "backslashreplace")
    if code not in (0, 1) or "check failed" in said or "Traceback" in said or len(said) > 10**6:
        raise Fault(f"exit code {code}: {said[:300]}")
    if code and "error:" not in said:
        raise StoreError(said)


def read_metadata(data: bytes, place: Place) -> None:
    """WanGP's settings in a video that is uploaded and continued."""
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError):
        settings = None
    if isinstance(settings, dict):
        made = layout.provenance(settings)
        layout.of_settings(settings, 3 * 81 - 2)
        found = layout.reference_of(place.folder / "outputs/video.mp4", settings)
        if found is not None and found != place.good.folder / "reference.png":
            raise Fault(f"the reference of another run: {made.get('run')}")
    reader = SimpleNamespace(read_metadata_from_video=lambda path: settings,
                             extract_source_images=lambda *_: {})
    sys.modules["shared.utils.video_metadata"] = reader  # type: ignore[assignment]
    source = torch.zeros(3, 5, SIDE, SIDE, dtype=torch.uint8)
    scope = {"prefix_video": source, "video_source": "upload.mp4", "seed": 49,
             "save_path": str(place.folder / "outputs"), "source_video_frames_count": DONE * FRAMES}
    reference, motion, _ = continuing.source(scope, 1, lambda _: None, lambda _: None)
    if reference.shape != (3, SIDE, SIDE) or motion.shape != (3, 1, SIDE, SIDE):
        raise Fault("a reference of another shape")
    continuing.first_seed(scope, 42)


def read_lora(data: bytes, place: Place) -> None:
    path = place.folder / "svi-shot.safetensors"
    path.write_bytes(data)
    whole = untrusted.is_complete(path)
    path.unlink()
    try:
        names = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (ValueError, RecursionError):
        names = {}
    if isinstance(names, dict) and lora.is_authors(names):
        lora.clean(dict.fromkeys(names.keys() - {"__metadata__"}), 40)
    if not whole:
        raise ValueError("not complete")


def read_piece(data: bytes, place: Place) -> None:
    """A piece of a run's video: joined, recognized and grown from."""
    suffix = ".mkv" if data.startswith(b"\x1a\x45") else ".mp4"
    bad, good, video = (place.folder / f"{name}{suffix}" for name in ("bad", "good", "video"))
    bad.write_bytes(data)
    good.write_bytes(encoded(suffix))
    join([good], video)
    before, fault = video.read_bytes(), None
    grows = GrowingVideo(video, 1, lambda _: None)
    new = place.folder / f"new{suffix}"
    for work in (partial(count_frames, bad), partial(join, [bad, good], new, like=bad),
                 partial(grows.grow, [(good, FRAMES), (bad, FRAMES)], True)):
        try:
            work()
        except VideoError as error:
            fault = error
    holds(bad, [(good, FRAMES)])
    holds(video, [(bad, FRAMES)])
    if grows.held == 1 and video.read_bytes() != before:
        raise Fault("the video is not as it was")
    if [*place.folder.glob("*unfinished*")]:
        raise Fault("a half-written file is left")
    if fault is not None:
        raise fault


def read_drift(data: bytes, place: Place) -> None:
    suffix = ".mkv" if data.startswith(b"\x1a\x45") else ".mp4"
    path = place.folder / f"outputs/drift{suffix}"
    path.write_bytes(data)
    try:
        drift.report(path)
    finally:
        path.unlink()


def read_picture(data: bytes, place: Place) -> None:
    from wan2gp_svi.drift.video import Source, read_image

    (place.bad.folder / "reference.png").write_bytes(data)
    view.thumbnail(place.bad)
    place.check()
    read_image(place.bad.folder / "reference.png", Source(Path(), SIDE, SIDE, 16, 1, {}))


@dataclass(frozen=True)
class Reader:
    """`errors` are the documented ones, `share` is its part of all inputs in per cent."""

    name: str
    share: int
    examples: Callable[[], Sequence[bytes]]
    mutate: tuple[Callable[[bytes, random.Random], bytes], ...]
    read: Callable[[bytes, Place], None]
    errors: tuple[type[Exception], ...] = ()


def _clip() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return Place(Path(folder)).bad.path(1, ".json").read_bytes()


_JSON = (broken_json, broken_json, broken_json, broken_bytes)
READERS = {reader.name: reader for reader in (
    Reader("run.json", 8, lambda: [as_json(about()), as_json(replace(about(), base=None))], _JSON,
           read_run, (StoreError,)),
    Reader("clip record", 8, lambda: [_clip()], _JSON, read_clip, (StoreError,)),
    Reader("clip state", 5, lambda: [tensors()], (broken_tensors,), read_state, (StoreError,)),
    Reader("settings (.json)", 17, lambda: [
        json.dumps(SETTINGS).encode(), json.dumps([{"id": 1, "params": SETTINGS}]).encode()],
        _JSON, read_settings, (StoreError,)),
    Reader("queue (.zip)", 13, lambda: [queue()], (broken_zip,),
           partial(read_settings, suffix=".zip"), (StoreError,)),
    Reader("settings in a video", 8, lambda: [encoded(".mp4", tags=True), encoded(
        ".mkv", tags=True)], (broken_video, broken_bytes), partial(read_settings, suffix=".mp4"),
        (StoreError,)),
    Reader("continued video", 12, lambda: [metadata()], _JSON, read_metadata),
    Reader("LoRA header", 13, lambda: [lora_file()], (broken_tensors,), read_lora, (ValueError,)),
    Reader("piece of a video", 7, lambda: [
        encoded(".mp4"), encoded(".mkv"), encoded(".mp4", tags=True), encoded(".mp4", "libx265")],
        (broken_video,), read_piece, (VideoError,)),
    Reader("video (drift report)", 5, lambda: [
        encoded(".mp4", tags=True), encoded(".mkv", tags=True), encoded(".mp4", "libx265")],
        (broken_video,), read_drift, (DriftError,)),
    Reader("picture", 4, lambda: [picture()], (broken_picture,), read_picture, (DriftError,)),
)}


# ------------------------------------------------------------------------------------------ running

@dataclass
class Result:
    """What became of a reader's inputs. `slowest` in seconds, `peak` in MB above the start."""

    reader: str
    inputs: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: float = 0.0
    faults: list[str] = field(default_factory=list)


def made(reader: Reader, seed: int, number: int) -> bytes:
    """Input `number` of a reader."""
    dice = random.Random(f"{seed} {reader.name} {number}")
    return dice.choice(reader.mutate)(dice.choice([*reader.examples()]), dice)


def fuzz(reader: Reader, seed: int, numbers: Sequence[int], at: Any = None) -> Result:
    """Has a reader read inputs, in this process. `at` is told the number of each."""
    result = Result(reader.name)
    examples = [*reader.examples()]
    reader = replace(reader, examples=lambda: examples)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        pristine = Place(home / "pristine")
        for example in examples:  # what is loaded once is not counted
            with contextlib.suppress(*reader.errors):
                reader.read(example, pristine)
        shutil.rmtree(pristine.folder)
        place, start = Place(home / "place"), peak(reset=True)
        kept = {path: path.read_bytes() for path in place.bad.folder.iterdir()}
        for number in numbers:
            if at is not None:
                at.value = number
            data = made(reader, seed, number)
            peak(reset=True)
            began = time.perf_counter()
            try:
                reader.read(data, place)
                result.read += 1
            except reader.errors as error:
                result.refused += 1
                if not str(error):
                    result.faults.append(f"{number}: an error without words")
            except Exception as error:
                text = "".join(traceback.format_exception(error)[-3:])
                name = type(error).__name__
                result.faults.append(f"{number}: {name}: {str(error)[:300]}\n{text}")
            spent, used = time.perf_counter() - began, (peak() - start) / 1e6
            if spent > SECONDS:
                result.faults.append(f"{number}: {spent:.1f} s")
            if used > MB:
                result.faults.append(f"{number}: {used:.0f} MB")
            result.inputs += 1
            result.slowest, result.peak = max(result.slowest, spent), max(result.peak, used)
            for path in place.bad.folder.iterdir():
                if path not in kept:
                    path.unlink()
            for path, content in kept.items():
                if path.stat().st_size != len(content) or path.read_bytes() != content:
                    path.write_bytes(content)
    return result


def peak(reset: bool = False) -> int:
    """The most bytes that this process had since the last reset; 0 where Linux does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0


def _work(name: str, seed: int, numbers: range, at: Any, found: Any) -> None:
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 2)  # FFmpeg's messages
    av.logging.set_level(None)
    found.put(fuzz(READERS[name], seed, numbers, at))


def run(name: str, seed: int, inputs: int) -> Result:
    """Fuzzes a reader in a process of its own, and again after a crash."""
    context = multiprocessing.get_context("spawn")
    total, start = Result(name), 0
    while start < inputs:
        at, found = context.Value("q", start), context.Queue()
        process = context.Process(target=_work, args=(name, seed, range(start, inputs), at, found))
        process.start()
        part: Result | None = None
        while part is None and (process.is_alive() or not found.empty()):
            with contextlib.suppress(Exception):
                part = found.get(timeout=1)
        process.join()
        if part is None:
            part = Result(name, at.value - start + 1,
                          faults=[f"{at.value}: the process ended with {process.exitcode}"])
            start = at.value + 1
        else:
            start = inputs
        total = Result(name, total.inputs + part.inputs, total.read + part.read,
                       total.refused + part.refused, max(total.slowest, part.slowest),
                       max(total.peak, part.peak), [*total.faults, *part.faults])
    return total


def report(results: Sequence[Result], options: argparse.Namespace) -> str:
    rows = [*results, Result("all", *(sum(getattr(one, name) for one in results)
                                      for name in ("inputs", "read", "refused")),
                             max(one.slowest for one in results), max(one.peak for one in results),
                             [fault for one in results for fault in one.faults])]
    lines = [f"| {one.reader} | {one.inputs:,} | {one.read:,} | {one.refused:,} | "
             f"{one.slowest:.2f} | {one.peak:.0f} | {len(one.faults)} |" for one in rows]
    faults = [f"* {one.reader}, {fault.splitlines()[0]}" for one in results for fault in one.faults]
    return "\n".join((
        "# What files of strangers do", "",
        f"    python benchmarks/fuzz.py --inputs {options.inputs} --seed {options.seed}", "",
        f"Printed on {datetime.date.today()} with Python {platform.python_version()} and PyAV "
        f"{av.__version__} on {platform.system()}, {os.cpu_count()} cores shared with other "
        "programs. One row per reader: [fuzz.csv](fuzz.csv).", "",
        "An input is a good file, broken by structure or by bytes. It is read, or refused with the "
        "error that the reader documents. A fault is any other error, a crash, a changed file "
        f"outside the input, more than {MB} MB of memory above the start, or more than "
        f"{SECONDS:g} s.", "",
        "| reader | inputs | read | refused | slowest, s | peak, MB | faults |",
        "| --- | --- | --- | --- | --- | --- | --- |", *lines, *(["", *faults] if faults else []),
        ""))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="in all (100000)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the mutations (1)")
    parser.add_argument("--only", nargs="+", choices=READERS, metavar="READER",
                        help=f"some of: {', '.join(READERS)}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=OUT,
                        help="for the results (benchmarks/fuzz)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    chosen = [READERS[name] for name in options.only or READERS]
    whole, results = sum(reader.share for reader in chosen), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda reader: run(
                reader.name, options.seed, options.inputs * reader.share // whole), chosen):
            results.append(found)
            print(*(f"{name}: {value}" for name, value in asdict(found).items()), sep="\n  ",
                  flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    text = report(results, options)
    (options.out / "RESULTS.md").write_text(text, encoding="utf-8")
    with (options.out / "fuzz.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, asdict(results[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({**asdict(one), "slowest": round(one.slowest, 2), "peak": round(one.peak),
                         "faults": len(one.faults)} for one in results)
    print(f"\n{text}")
    return int(any(one.faults for one in results))


if __name__ == "__main__":
    sys.exit(main())
