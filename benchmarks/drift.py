"""Does SVI stop the drift? The demo model on scenes it was not trained on, compared with the truth.

    python benchmarks/drift.py [--scenes 32] [--clips 20] [--ways stock 2.0 shot film]
                               [--device cuda] [--out FOLDER]

The clips are chained as in the demo: by the add-on's own chain, conditioning and LoRA code, and
like WanGP's windows without SVI, with the same images, prompts and first seed. Needs the packages
of the demo. Rows that drift.csv already has are kept, so you can stop and start again; a file made
with other weights is refused.

colour     mean distance of the background to the true one, in RGB of [0, 1]
PSNR       of the background, dB; its slope after clip 5, by least squares
there      scenes whose object is there, in its colour and about its size (half to twice its pixels)
motion     how far the object moves; 1 is as far as it should
outline    overlap of the object's pixels with the true ones, moved to the same middle
seam       how far the picture changes where the clip begins, times the usual change from frame to
           frame, as in the drift report
jump       longest step of the object there; 1 to 3 pixels is usual

Writes RESULTS.md, drift.csv (a row per scene and clip) and drift.png.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from wan2gp_svi.demo import chaining, model, truth, world  # noqa: E402
from wan2gp_svi.demo.takes import pictures  # noqa: E402
from wan2gp_svi.drift import analysis, metrics  # noqa: E402
from wan2gp_svi.drift.layout import Layout  # noqa: E402
from wan2gp_svi.variants import Variant  # noqa: E402

OUT = ROOT / "benchmarks/drift"
FIRST = 1_000_000  #: the first scene that was not trained on
FAR = 8  #: pixels that are a jump
SETTLED = 5  #: clips before the slope is taken
WAYS = {"stock": chaining.STOCK, **chaining.SVI}
COLOURS = {"stock": "#c44e52", "2.0": "#2a6f97", "shot": "#8d6a9f", "film": "#6a994e"}


@dataclass(frozen=True)
class Row:
    """One clip. `weights`: a hash of the files that made it; `machine`: what made it."""

    weights: str
    machine: str
    way: str
    scene: int
    clip: int
    colour: float
    psnr: float
    present: float
    motion: float
    shape: float
    seam: float
    jump: float

    @property
    def there(self) -> bool:
        return truth.Truth(self.colour, self.psnr, self.present, self.motion, self.shape).there


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--batch", type=int, default=4, help="scenes to make side by side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / "drift.csv"
    rows = read(table)
    for first in range(0, options.scenes, options.batch):
        seeds = range(FIRST + first, FIRST + min(first + options.batch, options.scenes))
        for name in options.ways:
            weights = fingerprint(WAYS[name].adapter)
            if others := {row.weights for row in rows if row.way == name} - {weights}:
                print(f"{table} was made with other weights ({others.pop()}, now {weights}); "
                      "choose another --out.", file=sys.stderr)
                return 1
            kept = {(row.scene, row.clip) for row in rows if row.way == name}
            if missing := [seed for seed in seeds if (seed, options.clips) not in kept]:
                rows = [row for row in rows if row.way != name or row.scene not in missing]
                rows += made(name, weights, missing, options.clips, options.device)
                write(table, rows)
    report(rows, options.ways, options.clips, options.out)
    return 0


def made(name: str, weights: str, seeds: Sequence[int], clips: int, device: str) -> list[Row]:
    way, scenes = WAYS[name], [world.scene(seed, objects=1) for seed in seeds]
    wan = chaining.Wan.load(way.adapter, device=device)
    images = torch.cat([world.render([scene], torch.zeros(1, 1))[:, :, 0] for scene in scenes])
    prompts = [scene.prompt() for scene in scenes]
    processor = torch.cuda.get_device_name(device) if "cuda" in device else "a CPU"
    machine = f"torch {torch.__version__} on {processor}"
    rows, started, before = [], time.monotonic(), None
    chained = chaining.clips(wan, way, images, [[prompt] for prompt in prompts], seeds, clips)
    for clip, videos in enumerate(chained):
        videos = videos.cpu()
        for number, (seed, scene, video) in enumerate(zip(seeds, scenes, videos, strict=True)):
            where = world.turns([prompts[number]] * (clip + 1), way.variant.overlap)
            assert where is not None
            found = (*astuple(truth.measure(video, scene, where[clip])), *(
                (0.0, 0.0) if before is None else
                (seam(before[number], video, way.variant), truth.jump(before[number], video, scene))
            ))
            rows.append(Row(weights, machine, name, seed, clip + 1,
                            *(round(value, 4) for value in found)))
        before = videos
        print(f"{name}: scenes {seeds[0]} to {seeds[-1]}, clip {clip + 1}/{clips}, "
              f"{time.monotonic() - started:.0f} s", flush=True)
    return rows


def seam(before: torch.Tensor, clip: torch.Tensor, variant: Variant) -> float:
    """The drift report's jump between two clips."""
    start = Layout.of(variant).start(1)
    near = slice(start - analysis.NEIGHBOURS - 1, start + analysis.NEIGHBOURS + 1)
    rows = metrics.measure(pictures(chaining.joined([before, clip], variant)[:, near]), np.zeros(3))
    return analysis.seam(1, start - near.start, rows).pixels.jump


def fingerprint(adapter: str) -> str:
    names = (model.VAE, model.TRANSFORMER, *filter(None, [model.ADAPTERS.get(adapter)]))
    content = b"".join((model.WEIGHTS / name).read_bytes() for name in names)
    return hashlib.sha256(content).hexdigest()[:8]


def read(table: Path) -> list[Row]:
    if not table.exists():
        return []
    kinds = {"str": str, "int": int, "float": float}
    with table.open(encoding="utf-8", newline="") as file:
        return [Row(*(kinds[str(field.type)](row[field.name]) for field in fields(Row)))
                for row in csv.DictReader(file)]


def write(table: Path, rows: Iterable[Row]) -> None:
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(map(astuple, sorted(rows, key=lambda row: (row.way, row.scene, row.clip))))


def report(rows: Sequence[Row], ways: Sequence[str], clips: int, out: Path) -> None:
    """Of the scenes that every way has made to the end."""
    common = set.intersection(*({row.scene for row in rows if row.way == way and row.clip == clips}
                                for way in ways))
    by = {way: [row for row in rows if row.way == way and row.scene in common
                and row.clip <= clips] for way in ways}
    plot(by, clips, out / "drift.png")
    goals = {way: summary(rows, clips) for way, rows in by.items()}
    titles = [WAYS[way].variant.title for way in ways]
    made = {key: [", ".join(sorted({getattr(row, key) for row in rows})) for rows in by.values()]
            for key in ("weights", "machine")}
    lines = [
        f"# Drift over {clips} clips, {len(common)} scenes", "",
        "The demo model, compared with the truth, printed by "
        f"`python benchmarks/drift.py --scenes {len(common)}`. SVI has "
        "goals to reach; WanGP's own windows have some too, which prove that they drift.", "",
        f"| | {' | '.join(titles)} | goal for SVI | goal for stock |",
        "|---|" + "---|" * (len(ways) + 2),
        *(f"| {title} | {' | '.join(goals[way][title] for way in ways)} | {svi} | {stock} |"
          for title, (svi, stock) in GOALS.items()),
        *(f"| {key} | {' | '.join(values)} | | |" for key, values in made.items()), "",
        "![Medians over the scenes, with bands for the middle half](drift.png)", "",
        "Values are medians over the scenes unless the row says otherwise. The bands hold the "
        "middle half.",
    ]
    (out / "RESULTS.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


GOALS = {
    "colour distance, clip 1": ("", ""),
    "colour distance, last clip": ("", ""),
    "last over first, of the medians": ("at most 1.2", "at least 2"),
    "PSNR, clip 1, dB": ("", ""),
    "PSNR, last clip, dB": ("", ""),
    "PSNR slope after clip 5, dB a clip (mean)": ("at least -0.02", "at most -0.3"),
    "object there, last clip, % of the scenes": ("100", "at most 50"),
    "motion, last clip, where the object is there": ("0.95 to 1.05", ""),
    "outline of the object, clip 1": ("", ""),
    "outline of the object, last clip": ("", ""),
    "change at seams, times the usual": ("at most 1.2", ""),
    "seams where the object jumps by more than 8 pixels or is gone, %": ("", ""),
    "scenes with a motion of 0.7 to 1.3, last clip, %": ("", ""),
}


def summary(rows: Sequence[Row], clips: int) -> dict[str, str]:
    first, last = ([row for row in rows if row.clip == clip] for clip in (1, clips))

    def median(rows: Iterable[Row], key: Callable[[Row], float]) -> float:
        return statistics.median([key(row) for row in rows] or [float("nan")])

    near, far = (median(part, lambda row: row.colour) for part in (first, last))
    slopes = [slope([row for row in rows if row.scene == scene and row.clip > SETTLED])
              for scene in {row.scene for row in rows}]
    moving = [0.7 <= row.motion <= 1.3 for row in last]
    values = (
        f"{near:.4f}", f"{far:.4f}", f"{far / near:.2f}",
        *(f"{median(part, lambda row: row.psnr):.1f}" for part in (first, last)),
        f"{statistics.mean(slopes):+.3f}",
        f"{100 * statistics.mean(row.there for row in last):.0f}",
        f"{median((row for row in last if row.there), lambda row: row.motion):.2f}",
        *(f"{median(part, lambda row: row.shape):.2f}" for part in (first, last)),
        f"{median((row for row in rows if row.clip > 1), lambda row: row.seam):.2f}",
        f"{100 * statistics.mean(not row.jump <= FAR for row in rows if row.clip > 1):.0f}",
        f"{100 * statistics.mean(moving):.0f}",
    )  # fmt: skip
    return dict(zip(GOALS, values, strict=True))


def slope(rows: Sequence[Row]) -> float:
    """dB a clip; nan for fewer than two clips."""
    clips, psnr = [row.clip for row in rows], [row.psnr for row in rows]
    return statistics.linear_regression(clips, psnr).slope if len(rows) > 1 else float("nan")


def plot(by: dict[str, list[Row]], clips: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown: tuple[tuple[str, Callable[[Row], float]], ...] = (
        ("colour distance of the background", lambda row: row.colour),
        ("PSNR of the background, dB", lambda row: row.psnr),
        ("outline of the object, 1 is right", lambda row: row.shape),
        ("change at the seam, times the usual",
         lambda row: row.seam if row.clip > 1 else float("nan")),
    )
    figure, axes = plt.subplots(1, len(shown), figsize=(15, 3.6), constrained_layout=True)
    for axis, (title, key) in zip(axes, shown, strict=True):
        for way, rows in by.items():
            at = range(1, clips + 1)
            columns = [[key(row) for row in rows if row.clip == clip] for clip in at]
            quarters = [statistics.quantiles(column, n=4) if len(column) > 1 else column * 3
                        for column in columns]
            low, middle, high = zip(*quarters, strict=True)
            axis.fill_between(at, low, high, color=COLOURS[way], alpha=0.15, linewidth=0)
            axis.plot(at, middle, color=COLOURS[way], label=WAYS[way].variant.title)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("clip")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(1, clips)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
