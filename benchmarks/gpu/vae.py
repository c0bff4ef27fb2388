"""The VAE alone, at full size: the cost of each way to encode and decode a clip, and its distance
to exact.

    python benchmarks/gpu/vae.py WANGP                  seconds, VRAM and distance of each way
    python benchmarks/gpu/vae.py WANGP --feedback 20    how far ways to encode diverge, clip by clip
    python benchmarks/gpu/vae.py WANGP --feedback 20 --decode     the same of ways to decode
    python benchmarks/gpu/vae.py WANGP --tiny           on a CPU with a tiny VAE, in a minute
    python benchmarks/gpu/vae.py WANGP --exact          stripes against the whole: on a CPU, tiny

WANGP is a WanGP folder; only the classes of its VAE are used. The weights are random, or those of
--weights, of shape --shape. "32 bit exact" multiplies in 32 bit; "32 bit" is torch's default, which
multiplies in TF32, with 10 bits, on cards of 2020 or later. Prints Markdown.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[2]))

from wan2gp_svi.wangp import vae as product  # noqa: E402
from wan2gp_svi.wangp import vae_stripes as stripes  # noqa: E402

GIB = 2**30
FRAMES = 81  # of a clip; fewer with --tiny
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Way:
    """A way to encode or decode: precision, TF32 or not, WanGP's tiles, or SVI's stripes."""

    name: str
    dtype: torch.dtype = torch.float32
    tf32: bool = True
    tile: int = 0
    stripe: int = 0

    def encode(self, models: dict[torch.dtype, Any], video: Tensor) -> Tensor:
        """`video` [1, 3, T, H, W] -> latents, float32 [1, 16, t, H/8, W/8]."""
        model, scale = models[self.dtype], _scale(self.dtype)
        with _tf32(self.tf32):
            if self.stripe:
                latents = stripes.encode_in_stripes(model, video.to(self.dtype), scale,
                                                    stripe=self.stripe)
            elif self.tile:
                latents = model.spatial_tiled_encode(video.to(self.dtype), scale, self.tile)
            else:
                latents = model.encode(video.to(self.dtype), scale)
        return latents.float()

    def decode(self, models: dict[torch.dtype, Any], latents: Tensor) -> Tensor:
        """`latents` [1, 16, t, H/8, W/8] -> video, float32 [1, 3, T, H, W] in [-1, 1]."""
        model, scale, latents = models[self.dtype], _scale(self.dtype), latents.to(self.dtype)
        with _tf32(self.tf32):
            if self.stripe:
                stripe = stripes.DECODE_STRIPE if self.stripe == stripes.STRIPE else self.stripe
                video = stripes.decode_in_stripes(model, latents, scale, stripe=stripe)
            elif self.tile:
                video = model.spatial_tiled_decode(latents, scale, self.tile)
            else:
                video = model.decode(latents, scale)
        return video.clamp_(-1, 1).float()


EXACT = Way("32 bit exact, untiled", tf32=False)


def ways(tile: int) -> list[Way]:
    return [
        EXACT, Way("32 bit, in stripes (SVI)", stripe=stripes.STRIPE), Way("32 bit, untiled"),
        Way("16 bit (fp16), in stripes (SVI)", torch.float16, stripe=stripes.STRIPE),
        Way("16 bit (fp16), untiled", torch.float16), Way("16 bit (bf16), untiled", torch.bfloat16),
        Way(f"32 bit, tiles of {tile}", tile=tile),
        Way(f"16 bit (fp16), tiles of {tile}", torch.float16, tile=tile),
    ]


def main() -> None:
    global FRAMES
    options = parse()
    FRAMES = 9 if options.tiny else FRAMES
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    if options.exact:
        print(exactness(options))
        return
    models = build(options)
    print(header(options) + "\n")
    for line in feedback(models, options) if options.feedback else [costs(models, options)]:
        print(line, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("wangp", type=Path, help="a WanGP folder")
    parser.add_argument("--size", default="832x480", help="width x height")
    parser.add_argument("--tile", type=int, default=256, help="WanGP's tile size, in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--feedback", type=int, default=0,
                        help="clips to encode and decode one after the other")
    parser.add_argument("--decode", action="store_true",
                        help="with --feedback: compare ways to decode, not to encode")
    parser.add_argument("--weights", default="",
                        help="a safetensors file (default: random weights)")
    parser.add_argument("--shape", type=json.loads, default={},
                        help='of those weights, such as {"dim": 16}')
    parser.add_argument("--exact", action="store_true",
                        help="compare stripes with the whole, in many shapes")
    parser.add_argument("--tiny", action="store_true",
                        help="a tiny VAE, to try the benchmark itself")
    options = parser.parse_args()
    if options.tiny:
        options.size, options.shape, options.tile, options.repeats = (
            "96x32", {"dim": 4, "num_res_blocks": 1}, 32, 1)
    return options


def build(options: argparse.Namespace) -> dict[torch.dtype, Any]:
    """The VAE in each precision, on the GPU."""
    shape = {"dim": 96, "z_dim": 16, "temperal_downsample": [False, True, True]} | options.shape
    kinds = load_classes(options.wangp)
    state = None
    if options.weights:
        from safetensors.torch import load_file

        state = load_file(options.weights)
    models = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        with torch.device(DEVICE):
            torch.manual_seed(0)
            model = kinds.WanVAE_(**shape)
        if state is None:
            state = {name: draw(name, value) for name, value in model.state_dict().items()}
        model.load_state_dict({name: value.float() for name, value in state.items()})
        models[dtype] = model.to(dtype).eval()
    assert stripes.encodes(models[torch.float32]) and stripes.decodes(models[torch.float32])
    return models


def load_classes(wangp: Path) -> Any:
    """WanGP's module of the VAE, without the imports of its package."""
    if importlib.util.find_spec("mmgp") is None or DEVICE == "cpu":
        sys.modules["mmgp"] = types.ModuleType("mmgp")
        sys.modules["mmgp"].offload = None  # type: ignore[attr-defined]  only loads files
    spec = importlib.util.spec_from_file_location("wan_vae", wangp / "models/wan/modules/vae.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(name: str, value: Tensor) -> Tensor:
    """Random weights that keep the variance. With a bias of zero, a CPU is slow on grey frames."""
    if value.squeeze().dim() < 2 and not name.endswith("bias"):
        return torch.ones_like(value)
    return torch.randn_like(value) * (0.1 if name.endswith("bias") else value[0].numel() ** -0.5)


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """A picture [3, H, W] in [-1, 1]: coloured waves of several lengths, and a disc."""
    draw = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(0, height / 64, height),
                          torch.linspace(0, width / 64, width), indexing="ij")
    waves = torch.zeros(3, height, width)
    for strength in (0.4, 0.2, 0.1):
        (a, b), phase = (torch.randn(2, generator=draw) / strength,
                         torch.rand(3, generator=draw) * 6.3)
        waves += strength * torch.sin(a * y + b * x + phase.view(3, 1, 1))
    disc = (y - height / 128) ** 2 + (x - width / 128) ** 2 < (min(height, width) / 256) ** 2
    return torch.where(disc, torch.tensor([0.7, -0.2, -0.6]).view(3, 1, 1),
                       waves).clamp(-1, 1).to(DEVICE)


def clip(motion: Tensor, reference: Tensor) -> Tensor:
    """[motion frame | padding], [1, 3, 81, H, W]."""
    return torch.cat([motion[:, None], reference[:, None].expand(-1, FRAMES - 1, -1, -1)], 1)[None]


# ---------------------------------------------------------------------------------- time and memory

def costs(models: dict[torch.dtype, Any], options: argparse.Namespace) -> str:
    width, height = map(int, options.size.split("x"))
    reference = picture(height, width)
    video = clip(picture(height, width, 1), reference)
    moving = video + 0.01 * torch.randn_like(video)
    exact = EXACT.encode(models, video)
    lines = ["| | seconds | peak GiB | bytes a pixel | distance to 32 bit exact |",
             "|---|---|---|---|---|"]
    weights = sum(value.nbytes for value in models[torch.float32].encoder.parameters())
    for way in ways(options.tile):
        seconds, peak, latents = measure(partial(way.encode, models, video), options.repeats)
        lines.append(f"| {way.name} | {seconds:.2f} | {peak / GIB:.2f} | "
                     f"{peak / (height * width):,.0f} | {distance(latents, exact):.1e} |")
    lines += ["", "A video that moves to its end, in stripes of so many pixels:", "",
              "| stripe | seconds | peak GiB | bytes a pixel | wanted free, GiB | "
              "distance to 32 bit, untiled |",
              "|---|---|---|---|---|---|"]
    exact = Way("", tf32=True).encode(models, moving)
    for share in (20, 10, 5, 2, 1):
        stripe = height * width // share
        seconds, peak, latents = measure(partial(Way("", stripe=stripe).encode, models, moving),
                                         options.repeats)
        wanted = product._wanted(video[0], torch.float32, stripe) - product._BYTES_ENCODER
        lines.append(f"| {stripe:,} | {seconds:.2f} | {peak / GIB:.2f} | "
                     f"{peak / (height * width):,.0f} | {wanted / GIB:.2f} | "
                     f"{distance(latents, exact):.1e} |")
    lines += ["", f"The encoder's weights, in 32 bit, are {weights / 2**20:.0f} MiB more.", "",
              *decodes(models, latents, options)]
    return "\n".join([*lines, "", floor(models, options)])


def decodes(models: dict[torch.dtype, Any], latents: Tensor, options: argparse.Namespace
            ) -> list[str]:
    width, height = map(int, options.size.split("x"))
    exact = EXACT.decode(models, latents)
    lines = ["Decode:", "", "| | seconds | peak GiB | bytes a pixel | distance to 32 bit exact |",
             "|---|---|---|---|---|"]
    narrow = [Way(f"16 bit (fp16), in stripes of {stripe:,} pixels", torch.float16, stripe=stripe)
              for stripe in (height * width // share for share in (20, 10, 3, 2, 1))]
    for way in (*ways(options.tile), *narrow):
        seconds, peak, video = measure(partial(way.decode, models, latents), options.repeats)
        lines.append(f"| {way.name} | {seconds:.2f} | {peak / GIB:.2f} | "
                     f"{peak / (height * width):,.0f} | {distance(video, exact):.1e} |")
    return lines


def measure(make: Callable[[], Tensor], repeats: int) -> tuple[float, int, Tensor]:
    """Median seconds, peak bytes above those at the start, and the result."""
    make()
    times = []
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if DEVICE == "cuda" else 0
    for _ in range(repeats):
        result = None
        _wait()
        begin = time.perf_counter()
        result = make()
        _wait()
        times.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated() - before if DEVICE == "cuda" else 0
    return statistics.median(times), peak, result


def floor(models: dict[torch.dtype, Any], options: argparse.Namespace) -> str:
    """The least that 81 frames cost: bytes over bandwidth, or operations over rate."""
    width, height = map(int, options.size.split("x"))
    video = clip(picture(height, width, 1), picture(height, width))
    lines = ["| | seconds | bytes | bytes / bandwidth | operations | operations / rate | "
             "seconds / floor |",
             "|---|---|---|---|---|---|---|"]
    bandwidth = copy_rate()
    latents = None
    for name, dtype in (("32 bit (TF32)", torch.float32), ("16 bit", torch.float16)):
        model, rate = models[dtype], matrix_rate(dtype)
        latents = model.encode(video.to(dtype), _scale(dtype))
        for part, make in (("encode", partial(model.encode, video.to(dtype), _scale(dtype))),
                           ("decode", partial(model.decode, latents, _scale(dtype)))):
            with counted(model) as count:
                make()
            seconds, _, _ = measure(make, options.repeats)
            least = max(count["bytes"] / bandwidth, count["operations"] / rate)
            lines.append(f"| {part}, {name}, untiled | {seconds:.2f} | "
                         f"{count['bytes'] / 1e9:.0f} GB | {count['bytes'] / bandwidth:.3f} s | "
                         f"{count['operations'] / 1e12:.0f} T | "
                         f"{count['operations'] / rate:.3f} s | {seconds / least:.1f} |")
    return "\n".join([f"Measured: a copy moves {bandwidth / 1e12:.2f} TB/s, and a matrix product "
                      f"of 8192 does {matrix_rate(torch.float32) / 1e12:.0f} TFLOP/s in TF32, "
                      f"{matrix_rate(torch.float16) / 1e12:.0f} in fp16. Bytes are what the "
                      "convolutions read and write, each once.", "", *lines])


@contextmanager
def counted(model: Any) -> Iterator[dict[str, int]]:
    """Bytes that the convolutions of a call read and write, and their operations."""
    count = {"bytes": 0, "operations": 0}

    def add(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        count["bytes"] += inputs[0].nbytes + output.nbytes
        count["operations"] += 2 * output.numel() * layer.weight[0].numel()

    layers = [layer for layer in model.modules()
              if isinstance(layer, (torch.nn.Conv2d, torch.nn.Conv3d))]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def copy_rate() -> float:
    """Bytes per second that a copy on the GPU reads and writes."""
    source = torch.empty(GIB if DEVICE == "cuda" else 2**22, dtype=torch.uint8,
                         device=DEVICE).random_()
    target = torch.empty_like(source)
    seconds, _, _ = measure(lambda: target.copy_(source), 10)
    return 2 * source.nbytes / seconds


def matrix_rate(dtype: torch.dtype) -> float:
    """Operations per second of a large product of random matrices, float32 in TF32."""
    size = 8192 if DEVICE == "cuda" else 256
    a, b = (torch.randn(size, size, device=DEVICE).to(dtype) for _ in range(2))
    with _tf32(True):
        seconds, _, _ = measure(lambda: a @ b, 10)
    return 2 * size**3 / seconds


# ---------------------------------------------------------------------------------------- exactness

def exactness(options: argparse.Namespace) -> str:
    """Stripes against WanGP's own `encode` and `decode`, with tiny random VAEs: landscape and
    portrait, in stripes and whole, videos that freeze early, late or at once, single frames."""
    kinds = load_classes(options.wangp)
    shape = {"dim": 4, "z_dim": 16, "temperal_downsample": [False, True, True]}
    scale = [torch.linspace(-1, 1, 16, device=DEVICE), torch.linspace(0.5, 2, 16, device=DEVICE)]
    lines = ["| blocks | size | frames | still from | stripe | encode | decode |",
             "|---|---|---|---|---|---|---|"]
    for blocks in (1, 2):
        with torch.device(DEVICE):
            model = kinds.WanVAE_(num_res_blocks=blocks, **shape).eval()
        model.load_state_dict({name: draw(name, value)
                               for name, value in model.state_dict().items()})
        assert stripes.encodes(model) and stripes.decodes(model)
        for height, width in ((32, 112), (96, 48)):
            for frames, still in ((1, 0), (30, 29), (41, 1), (57, 5), (57, 56)):
                video = torch.rand(1, 3, frames, height, width, device=DEVICE) * 2 - 1
                video[:, :, still:] = video[:, :, still:still + 1]
                exact = model.encode(video, scale)
                frames_of_exact = model.decode(exact, scale)
                for stripe in (height * width, 1200):
                    latents = stripes.encode_in_stripes(model, video, scale, stripe=stripe)
                    decoded = stripes.decode_in_stripes(model, exact, scale, stripe=stripe)
                    lines.append(f"| {blocks} | {width}x{height} | {frames} | {still} | {stripe} | "
                                 f"{distance(latents, exact):.1e} | "
                                 f"{distance(decoded, frames_of_exact):.1e} |")
    return "\n".join(lines)


# ----------------------------------------------------------------------------------------- fed back

def feedback(models: dict[torch.dtype, Any], options: argparse.Namespace) -> Iterator[str]:
    """Encodes and decodes clip after clip: [motion | padding] -> latents -> frames, whose last one
    is the next clip's motion frame. The padding is the reference, grey, or the motion frame, with
    which nothing corrects errors. What is not compared is 32 bit, untiled."""
    width, height = map(int, options.size.split("x"))
    reference, whole = picture(height, width), Way("")
    tile = (options.tile if min(height, width) > options.tile else
            min(height, width) // 64 * 32 or 32)
    shown = sorted({1, 2, 5, 10, 15, options.feedback} & set(range(1, options.feedback + 1)))
    for padding in ("the reference", "grey", "the motion frame"):
        exact: list[tuple[Tensor, Tensor]] = []
        for way in ways(tile):
            encodes, decodes = (whole, way) if options.decode else (way, whole)
            motion, made = picture(height, width, 1), []
            for _ in range(options.feedback):
                filled = {"the reference": reference, "grey": torch.zeros_like(reference),
                          "the motion frame": motion}[padding]
                latents = encodes.encode(models, clip(motion, filled))
                video = decodes.decode(models, latents)
                # the first frame has seen the motion frame best, and nothing of the padding
                motion = video[0, :, -1 if padding != "grey" else 0].clamp(-1, 1)
                motion = (motion + 1).mul(127.5).round().div(127.5).sub(1)  # to 8 bit
                made.append((latents, motion))
            if not exact:
                exact = made
                first = reference if padding == "the reference" else picture(height, width, 1)
                error = (made[0][1] - first).square().mean().item()
                yield (f"Padded with {padding} (one pass through the VAE gives it back with "
                       f"{psnr(error):.1f} dB). Distance to 32 bit exact, untiled: of the latents, "
                       "and of the frame that is fed back in 8-bit steps (mean of all pixels), in "
                       "clip\n")
                yield "| |" + "".join(f" {k} |" for k in shown) + "\n|---|" + "---|" * len(shown)
            pairs = [(made[k - 1], exact[k - 1]) for k in shown]
            yield f"| {way.name} | " + " | ".join(
                f"{distance(a[0], b[0]):.1e}, {(a[1] - b[1]).abs().mean().item() * 127.5:.2f}"
                for a, b in pairs) + " |"
        yield ""


def psnr(error: float) -> float:
    return 10 * torch.log10(torch.tensor(4 / max(error, 1e-12))).item()


def distance(value: Tensor, exact: Tensor) -> float:
    """||value - exact|| / ||exact||"""
    return ((value - exact).norm() / exact.norm()).item()


# ------------------------------------------------------------------------------------------ helpers

def header(options: argparse.Namespace) -> str:
    version = next((line.split('"')[1] for line
                    in (options.wangp / "wgp.py").read_text(encoding="utf-8").splitlines()
                    if line.startswith("WanGP_version")), "?")
    card = torch.cuda.get_device_name(0) if DEVICE == "cuda" else "CPU"
    kind = (f"weights {Path(options.weights).name}, {options.shape}" if options.weights else
            "random weights")
    return (f"{datetime.date.today()}, {card}, torch {torch.__version__}, WanGP {version}, "
            f"VAE with {kind}, {options.size}, {FRAMES} frames")


def _scale(dtype: torch.dtype) -> list[Tensor]:
    return [torch.zeros(16, dtype=dtype, device=DEVICE), torch.ones(16, dtype=dtype, device=DEVICE)]


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
