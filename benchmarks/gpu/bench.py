"""What an SVI clip costs compared with a window of stock WanGP: time and memory, in one run.

    python benchmarks/gpu/bench.py WANGP [--model i2v|i2v_2_2|multitalk] [--int8] [--steps 4]
                                         [--repeats 3] [--vram 0 24 16 12 8]
    python benchmarks/gpu/bench.py WANGP --tiny     on a CPU with tiny models, in seconds

WANGP is a WanGP folder with SVI installed. WanGP's own pipeline runs (`WanAny2V.generate`) with
mmgp's low-VRAM profile 4, its VAE at full size, its transformer at full size with random weights in
bf16 or int8, and a random LoRA of SVI's shape: random weights cost as much as trained ones. T5 and
CLIP are stand-ins, since clips and windows need them alike. The settings take turns; the tables
have medians and the spread of the totals. Prints Markdown.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.util
import os
import runpy
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[2]
GIB = 2**30
FRAMES = 81
NOT_NEEDED = {"gradio", "librosa", "soundfile", "rembg", "decord", "smplfitter", "chumpy",
              "whisper", "s3tokenizer", "conformer", "pydub", "gguf", "ffmpeg", "onnxruntime",
              "torchaudio", "cv2", "imageio", "soxr", "av", "pyloudnorm"}
TINY = {"i2v": "tiny_i2v", "i2v_2_2": "tiny_i2v22", "multitalk": "tiny_talk"}


@dataclass(frozen=True)
class Setting:
    """A way to make the second clip of a video. `variant`: of SVI; "": stock."""

    name: str
    variant: str
    lora: bool


@dataclass
class Cost:
    """Of one clip: seconds in total and by part, GiB at the peak, and how the VAE encoded."""

    total: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    allocated: float = 0.0
    reserved: float = 0.0
    ram: float = 0.0
    encoded: str = ""


SETTINGS = {
    "i2v": (Setting("stock", "", False), Setting("stock, the LoRA on", "", True),
            Setting("SVI-Shot", "shot", True), Setting("SVI-2.0", "2.0", True),
            Setting("SVI-Film", "film-opt", True), Setting("SVI-Dance", "dance", True)),
    "i2v_2_2": (Setting("stock", "", False), Setting("stock, the LoRA on", "", True),
                Setting("SVI-2.0 (Wan 2.2)", "2.0-wan22", True),
                Setting("SVI-2.0 Pro", "2.0-pro", True)),
    "multitalk": (Setting("stock", "", False), Setting("stock, the LoRA on", "", True),
                  Setting("SVI-Talk", "talk", True)),
}


def main() -> None:
    options = parse()
    wangp = Path(options.wangp).resolve()
    sys.path[:0] = [str(wangp), str(HOME / "tests/wangp")]
    sys.argv = sys.argv[:1]  # some of WanGP's modules read the command line
    os.chdir(wangp)
    if options.tiny:
        runpy.run_path(str(HOME / "wan2gp_svi/demo/in_wangp/cpu.py"))["apply"]()
    stub_missing()
    import torch

    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    pipe, offload_object, lora_seconds = build(options, wangp)
    options.pipe, rate = pipe, matrix_rate(options.tiny)
    settings = [setting for setting in SETTINGS[options.model]
                if not options.only or setting.name in options.only]
    for number, cap in enumerate(options.vram):
        costs: dict[Setting, list[Cost]] = {setting: [] for setting in settings}
        failed: dict[Setting, str] = {}
        with card_of(cap):
            for turn in range(options.repeats + (number == 0)):
                for setting in settings:
                    if setting in failed:
                        continue
                    try:
                        cost = clip(pipe, offload_object, setting, options, cap,
                                    turn == options.repeats - 1)
                    except torch.cuda.OutOfMemoryError as error:
                        failed[setting] = str(error).split(".")[0]
                        offload_object.unload_all()
                        continue
                    print(f"{cap:g} GiB, turn {turn}: {setting.name}: {cost.total:.2f} s, "
                          f"{cost.allocated:.2f} GiB",
                          file=sys.stderr, flush=True)
                    if turn or number:  # the first turn of all warms up
                        costs[setting].append(cost)
        print(report(costs, failed, options, cap, rate, lora_seconds, wangp), flush=True)


@contextmanager
def card_of(gib: float) -> Iterator[None]:
    """Limits torch, and what it reports as free, to so much memory; 0: no limit."""
    import torch

    if not gib or not torch.cuda.is_available():
        yield
        return
    ask = torch.cuda.mem_get_info
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, gib * GIB / torch.cuda.get_device_properties(0).total_memory))
    torch.cuda.mem_get_info = lambda *_: (int(gib * GIB) - torch.cuda.memory_reserved(),
                                          int(gib * GIB))
    try:
        yield
    finally:
        torch.cuda.mem_get_info = ask
        torch.cuda.set_per_process_memory_fraction(1.0)


def matrix_rate(is_tiny: bool) -> float:
    """Operations per second of a large bf16 product of random matrices."""
    import torch

    size = 256 if is_tiny else 8192
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(8):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(times)


def operations(pipe: Any, width: int, height: int, lora: bool) -> float:
    """Of a step without guidance: matrix products and attention of all blocks. `lora`: rank 128."""
    model = pipe.model
    inside, outside = model.dim, model.ffn_dim
    tokens = ((FRAMES - 1) // 4 + 1) * (height // 16) * (width // 16)
    context = 512 + (257 if pipe.model2 is None else 0)  # words, and CLIP's tokens
    block = 2 * tokens * inside * (6 * inside + 2 * outside) + 4 * context * inside**2
    block += 4 * tokens * inside * (tokens + context)
    if lora:
        block += 2 * 128 * (tokens * (6 * 2 * inside + 2 * (inside + outside))
                            + context * 4 * inside)
    return block * len(model.blocks)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("wangp", help="a WanGP folder with SVI installed")
    parser.add_argument("--model", choices=list(SETTINGS), default="i2v")
    parser.add_argument("--size", default="832x480", help="width x height")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps, without guidance")
    parser.add_argument("--repeats", type=int, default=3, help="turns to count, after a warm-up")
    parser.add_argument("--vram", type=float, nargs="+", default=[0],
                        help="GiB that torch may use (0: all)")
    parser.add_argument("--int8", action="store_true",
                        help="quantise the transformer to int8, like WanGP")
    parser.add_argument("--only", nargs="+", default=[], help="names of settings (default: all)")
    parser.add_argument("--weights", default="",
                        help="folder for the random weights (default: ckpts in WANGP)")
    parser.add_argument("--tiny", action="store_true",
                        help="tiny models on a CPU, to try the benchmark itself")
    options = parser.parse_args()
    if options.tiny:
        options.size = "64x64"
    return options


def stub_missing() -> None:
    """Replaces missing packages that image-to-video imports but does not use."""
    class Nothing:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: return args[0] if args else self
        def __getattr__(self, name: str) -> Any: return Nothing()

    class Stub(types.ModuleType):
        __path__: list[str] = []
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Nothing

    class Finder:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            top = name.partition(".")[0]
            return (importlib.util.spec_from_loader(name, self, is_package=True)
                    if top in missing else None)
        def create_module(self, spec: Any) -> Any: return Stub(spec.name)
        def exec_module(self, module: Any) -> None: ...

    missing = {name for name in NOT_NEEDED
               if name not in sys.modules and importlib.util.find_spec(name) is None}
    sys.meta_path.append(Finder())


def build(options: argparse.Namespace, wangp: Path) -> tuple[Any, Any, float]:
    """WanGP's pipeline under mmgp, with the LoRA loaded; and the seconds that the LoRA took."""
    import tiny
    import torch
    from mmgp import offload

    folder = Path(options.weights or wangp / "ckpts").resolve()
    architecture = options.model
    if options.tiny:
        tiny.stop_downloads()
        tiny.install(wangp)
        folder = wangp / "ckpts"
    tiny_vae = tiny.VAE_SHAPE
    if not options.tiny:
        tiny.VAE_SHAPE = {}
    tiny.replace_encoders()
    if architecture == "multitalk":
        tiny.replace_wav2vec()
    tiny.VAE_SHAPE = tiny_vae
    from models.wan.any2video import WanAny2V
    from models.wan.configs import WAN_CONFIGS
    from models.wan.wan_handler import test_class_i2v
    from shared.utils import files_locator

    # all that the pipeline needs of wgp.py
    sys.modules["wgp"] = types.ModuleType("wgp")
    sys.modules["wgp"].test_class_i2v = test_class_i2v
    files = (tiny.MODELS[TINY[architecture]][2] if options.tiny else
             [weights_of(architecture)] * (2 if architecture == "i2v_2_2" else 1))
    if not options.tiny:
        write_weights(wangp, folder, architecture)
    files_locator.set_checkpoints_paths([str(folder)])
    offload.shared_state["_attention"] = "sdpa"
    definition: dict[str, Any] = {"i2v_class": True, "multitalk_class": architecture == "multitalk"}
    if architecture == "i2v_2_2":
        definition |= {"i2v_2_2": True, "URLs2": ["x"]}
    pipe = WanAny2V(
        config=WAN_CONFIGS["i2v-14B"], checkpoint_dir=str(folder),
        model_filename=[str(folder / file) for file in files],
        submodel_no_list=[1, 2][: len(files)], model_type=architecture, model_def=definition,
        base_model_type=architecture, text_encoder_filename="",
        quantizeTransformer=options.int8, dtype=torch.bfloat16,
        VAE_dtype=torch.float32 if options.tiny else torch.float16)
    pipe._interrupt = False
    parts = {"transformer": pipe.model, "vae": pipe.vae.model}
    if pipe.model2 is not None:
        parts["transformer2"] = pipe.model2
    for model in filter(None, (pipe.model, pipe.model2)):
        model.cache = None
    budgets = {"transformer": 100, "transformer2": 100, "*": 3000}
    offload_object = offload.profile(
        parts, profile_no=4, quantizeTransformer=False, budgets=budgets, verboseLevel=0,
        loras=[name for name in parts if name.startswith("transformer")])
    begin = time.monotonic()
    loras = [str(write_lora(folder, options.tiny))]
    offload.load_loras_into_model(
        pipe.model, loras, [1.0], activate_all_loras=True, pinnedLora=not options.tiny,
        preprocess_sd=lambda sd: pipe.model.preprocess_loras(architecture, sd))
    if pipe.model._loras_errors:
        sys.exit(f"the LoRA was not loaded: {pipe.model._loras_errors}")
    if pipe.model2 is not None:
        offload.sync_models_loras(pipe.model, pipe.model2)
    return pipe, offload_object, time.monotonic() - begin


def weights_of(architecture: str) -> str:
    return f"wan_random{'_talk' if architecture == 'multitalk' else ''}_mbf16.safetensors"


def write_weights(wangp: Path, folder: Path, architecture: str) -> None:
    """Writes random weights at full size: one transformer for all experts, and the VAE."""
    import json

    import torch
    from models.wan.modules.model import WanModel
    from models.wan.modules.vae import WanVAE_
    from safetensors.torch import save_file

    def draw(name: str, shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        if len(shape) < 2 and not name.endswith("bias"):
            return torch.ones(shape, dtype=dtype)
        scale = 0.01 if name.endswith("bias") else shape[1:].numel() ** -0.5
        return (torch.randn(shape, device="cuda") * scale).to(dtype).cpu()

    folder.mkdir(parents=True, exist_ok=True)
    shape = json.loads(
        (wangp / f"models/wan/configs/{architecture}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        model = WanModel(**{key: value for key, value in shape.items() if not key.startswith("_")})
        vae = WanVAE_(dim=96, z_dim=16, temperal_downsample=[False, True, True])
    for network, name, dtype in ((model, weights_of(architecture), torch.bfloat16),
                                 (vae, "Wan2.1_VAE.safetensors", torch.float32)):
        if not (folder / name).exists():
            state = network.state_dict()
            save_file({key: draw(key, value.shape, dtype) for key, value in state.items()},
                      folder / name)
            print(f"{name}: {(folder / name).stat().st_size / GIB:.1f} GiB", file=sys.stderr,
                  flush=True)
    for name in ("xlm-roberta-large/"
                 "models_clip_open-clip-xlm-roberta-large-vit-huge-14-bf16.safetensors",
                 "xlm-roberta-large/tokenizer.json", "umt5-xxl/tokenizer_config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def write_lora(folder: Path, is_tiny: bool) -> Path:
    """Writes a random LoRA like SVI's: rank 128, 400 layers, 2.4 GB in 32 bit, authors' keys."""
    import tiny

    path = folder / "svi-shot.safetensors"
    if path.exists():
        return path
    if is_tiny:
        return tiny.write_lora(path, scale=0.05)
    import torch
    from safetensors.torch import save_file

    tensors = {}
    for block in range(40):
        for layer in tiny.LORA_LAYERS:
            inside, outside = (13824 if layer == "ffn.2" else 5120,
                               13824 if layer == "ffn.0" else 5120)
            for side, shape in (("A", (128, inside)), ("B", (outside, 128))):
                name = tiny.LORA_KEYS["svi"].format(block=block, layer=layer, side=side)
                tensors[name] = (torch.randn(shape, device="cuda") * 0.001).cpu()
    save_file(tensors, path)
    return path


@contextmanager
def timed(cost: Cost, part: str, owner: Any, *names: str) -> Iterator[None]:
    """Adds the seconds of every call of these methods, on the GPU too, to a part of the cost."""
    import torch

    def wrap(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            torch.cuda.synchronize()
            begin = time.perf_counter()
            result = original(*args, **kwargs)
            torch.cuda.synchronize()
            cost.parts[part] = cost.parts.get(part, 0.0) + time.perf_counter() - begin
            cost.steps += part == "denoise"
            return result
        return call

    originals = {name: getattr(owner, name) for name in names if hasattr(owner, name)}
    for name, original in originals.items():
        setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)


@contextmanager
def noted(cost: Cost, vae: type) -> Iterator[None]:
    """Notes the precision and the tiles that the VAE encodes with."""
    original = vae.encode

    def encode(self: Any, videos: Any, tile_size: int = 256, *args: Any, **kwargs: Any) -> Any:
        latents = original(self, videos, tile_size, *args, **kwargs)
        cost.encoded = f"{str(self.dtype)[6:]}, " + (
            f"tiles of {tile_size}" if tile_size else "untiled")
        return latents

    vae.encode = encode  # type: ignore[method-assign]
    try:
        yield
    finally:
        vae.encode = original  # type: ignore[method-assign]


def peak_ram(reset: bool = False) -> float:
    """Peak GiB of RAM of this process since the last reset; 0 if the system does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def save(frames: Any) -> float:
    """Seconds that WanGP takes to write these frames; nan without ffmpeg."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        return float("nan")
    from shared.utils.audio_video import save_video

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        save_video(frames[None], str(Path(folder) / "clip.mp4"), fps=16, nrow=1, normalize=True,
                   value_range=(-1, 1))
    return time.perf_counter() - begin


def dancing(model: Any, height: int, width: int) -> Any:
    """A video that follows random poses, for a model with a random pose network of the authors'
    size; both in RAM, as WanGP has them, although mmgp makes the card the default."""
    import torch

    from wan2gp_svi.poses import PoseNetwork
    from wan2gp_svi.wangp.clip import Video

    shapes = {0: (16, 3, 3, 3, 3), **dict.fromkeys(range(2, 12, 2), (16, 16, 3, 3, 3)),
              12: (model.dim, 16, 1, 2, 2)}
    tensors = {}
    for layer, shape in shapes.items():
        tensors[f"{layer}.weight"] = torch.randn(shape, device="cpu") * 0.01
        tensors[f"{layer}.bias"] = torch.zeros(shape[0], device="cpu")
    model.svi_pose_network = PoseNetwork(tensors)
    frames = torch.randint(256, (FRAMES, height, width, 3), dtype=torch.uint8, device="cpu")
    poses: Any = types.SimpleNamespace(clip=lambda number: frames)
    return Video(poses=poses)


def clip(pipe: Any, offload_object: Any, setting: Setting, options: argparse.Namespace, cap: float,
         is_saved: bool) -> Cost:
    """Makes the second clip of a video, from motion frames and the first image as reference."""
    import torch
    from shared.utils.loras_mutipliers import parse_loras_multipliers

    from wan2gp_svi.variants import VARIANTS
    from wan2gp_svi.wangp.clip import Clip, Video
    from wan2gp_svi.wangp.pipeline import DECODES, ENCODE, on
    from wan2gp_svi.wangp.plan import Plan

    width, height = map(int, options.size.split("x"))
    variant = VARIANTS[setting.variant] if setting.variant else None
    n = variant.motion_frames if variant else 1
    video = torch.rand(3, n, height, width) * 2 - 1
    on(pipe).clip = None
    if variant:
        latents = torch.randn(16, 1, height // 8, width // 8) if variant.pro else None
        on(pipe).clip = Clip(Plan(variant, 42, ()), 1, 2, 1, reference=video[:, 0].clone(),
                             motion_frames=video, previous_latents=latents,
                             video=dancing(pipe.model, height, width) if variant.poses else Video())
    _, strengths, _ = parse_loras_multipliers("1" if setting.lora else "", int(setting.lora),
                                              options.steps)
    phases: dict[str, Any] = {}
    if pipe.model2 is not None:
        phases |= {"guide_phases": 2, "switch_threshold": 900}
    if options.model == "multitalk":  # one forward, as with an accelerator
        phases |= {"audio_proj": [torch.rand(1, 1, 5, 12, 768), torch.rand(1, 20, 8, 12, 768)],
                   "audio_cfg_scale": 1.0}
    cost = Cost()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    peak_ram(reset=True)
    memory = int(cap * 1024) or torch.cuda.get_device_properties(0).total_memory // 2**20
    experts = [timed(cost, "denoise", model, "forward")
               for model in filter(None, (pipe.model, pipe.model2))]
    with ExitStack() as stack:
        for timer in (*experts, timed(cost, "encode", type(pipe.vae), "encode"),
                      noted(cost, type(pipe.vae)),
                      timed(cost, "decode", type(pipe.vae), "decode", "decode_to_cpu_uint8")):
            stack.enter_context(timer)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        frames = pipe.generate(
            input_prompt="a boat on a lake", n_prompt="", input_video=video, frame_num=FRAMES,
            width=width, height=height, sampling_steps=options.steps, guide_scale=1.0,
            guide2_scale=1.0, shift=5.0,
            sample_solver="unipc", seed=1, joint_pass=True,
            VAE_tile_size=type(pipe.vae).get_VAE_tile_size(0, memory, False), cfg_star_switch=False,
            prefix_frames_count=n, overlap_size=n, window_no=2, window_start_frame_no=80,
            model_type=options.model, offloadobj=offload_object, loras_slists=strengths,
            color_correction_strength=0,
            callback=lambda *args, **kwargs: None, set_header_text=lambda text: None, **phases)
        torch.cuda.synchronize()
        cost.total = time.perf_counter() - begin
    for name in (ENCODE, *DECODES):  # SVI takes them back where WanGP's loop calls `generate`
        vars(pipe.vae).pop(name, None)
    if on(pipe).dancing is not None:
        on(pipe).dancing = on(pipe).dancing.remove()
    video = frames["x"] if isinstance(frames, dict) else frames
    assert tuple(video.shape) == (3, FRAMES, height, width), video.shape
    cost.allocated, cost.reserved = (torch.cuda.max_memory_allocated() / GIB,
                                     torch.cuda.max_memory_reserved() / GIB)
    cost.ram = peak_ram()
    if is_saved:
        cost.parts["save"] = save(video)
    offload_object.unload_all()
    return cost


def report(costs: dict[Setting, list[Cost]], failed: dict[Setting, str],
           options: argparse.Namespace, cap: float, rate: float, lora_seconds: float,
           wangp: Path) -> str:
    import torch

    version = next((line.split('"')[1]
                    for line in (wangp / "wgp.py").read_text(encoding="utf-8").splitlines()
                    if line.startswith("WanGP_version")), "?")
    lines = [
        f"{datetime.date.today()}, {torch.cuda.get_device_name(0)}, torch {torch.__version__}, "
        f"WanGP {version}, {options.model} in {'int8' if options.int8 else 'bf16'}, "
        f"{options.size}, {FRAMES} frames, {options.steps} "
        f"steps, {options.repeats} turns, " + (f"{cap:g} GiB of VRAM" if cap else "all VRAM")
        + f", LoRA loaded in {lora_seconds:.1f} s, matrix products at {rate / 1e12:.0f} TFLOP/s",
        "",
        "| | seconds a clip (spread) | / stock | encode | a step | / floor | decode | rest | save "
        "| GiB allocated "
        "| / stock | reserved | RAM | encoded in |",
        "|---" * 14 + "|",
    ]
    first = next((setting for setting, found in costs.items() if found), None)
    for setting, found in costs.items():
        if not found:
            lines.append(f"| {setting.name} | does not run: {failed.get(setting, '')} |"
                         + " |" * 12)
            continue
        total, allocated = median(found, "total"), median(found, "allocated")
        base, peak = median(costs[first], "total"), median(costs[first], "allocated") or 1
        spread = (max(cost.total for cost in found) - min(cost.total for cost in found)) / total
        part = {name: statistics.median(cost.parts.get(name, 0) for cost in found)
                for name in ("encode", "denoise", "decode")}
        saved = max(cost.parts.get("save", 0) for cost in found)
        step = part["denoise"] / max(found[0].steps, 1)
        least = operations(options.pipe, *map(int, options.size.split("x")), setting.lora) / rate
        rest = total - part["encode"] - part["denoise"] - part["decode"]
        lines.append(f"| {setting.name} | {total:.2f} ({spread:.1%}) | {total / base:.3f} | "
                     f"{part['encode']:.2f} | {step:.3f} | {step / least:.2f} | "
                     f"{part['decode']:.2f} | {rest:.2f} | {saved:.1f} | {allocated:.2f} | "
                     f"{allocated / peak:.3f} | {median(found, 'reserved'):.2f} | "
                     f"{median(found, 'ram'):.1f} | {found[0].encoded} |")
    return "\n".join([*lines, ""])


def median(costs: list[Cost], name: str) -> float:
    return statistics.median(getattr(cost, name) for cost in costs)


if __name__ == "__main__":
    main()
