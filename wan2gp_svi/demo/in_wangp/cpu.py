"""Runs WanGP without a GPU: whatever asks for "cuda" gets the CPU.

    python wan2gp_svi/demo/in_wangp/cpu.py [OPTIONS OF wgp.py]

Run it in WanGP's folder, with its Python. Elsewhere, call `apply()` before WanGP, mmgp or anything
else that uses torch is imported. It replaces functions, since a torch function mode belongs to one
thread, and WanGP generates in others. It imports nothing of this package, which must be the one in
the WanGP that runs.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import runpy
import sys
import types
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

CAPABILITY = (8, 0)  #: of an Ampere card: WanGP then works in bf16 and without fp8

#: a variable of wgp.py that runs for the demo model only; `wangp.plan` has it too
DEMO_ONLY = "SVI_DEMO_ONLY"

#: WanGP imports them, but image-to-video never uses them; heavy, or without a wheel for CPU
STUBBED = (
    "rembg", "decord", "smplfitter", "smplfitter.pt", "chumpy", "whisper",
    "s3tokenizer", "s3tokenizer.utils", "s3tokenizer.model_v2", "conformer",
)

FACTORIES = (
    "zeros ones empty full rand randn randint randperm arange linspace logspace eye tensor "
    "as_tensor empty_strided zeros_like ones_like empty_like full_like rand_like randn_like "
    "from_file"
)
TENSOR_METHODS = "to new_zeros new_ones new_empty new_full new_tensor"
ACTIONS = (
    "reset_peak_memory_stats empty_cache synchronize ipc_collect manual_seed manual_seed_all "
    "seed_all set_device _lazy_init"
)


def apply(vram_mb: int = 24576) -> None:
    """Makes torch treat "cuda" as "cpu", with a pretended `vram_mb` MiB of memory, by which WanGP
    chooses the VAE's tiles."""
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    import torch
    import torch._dynamo  # noqa: F401  lists torch's functions, which must still be the real ones

    _import_torchvision(torch)
    _stub_missing_modules()
    for name in FACTORIES.split():
        _redirect(torch, name)
    for name in TENSOR_METHODS.split():
        _redirect(torch.Tensor, name)
    for name in ("to", "to_empty"):
        _redirect(torch.nn.Module, name)
    _replace(torch, vram_mb * 1024**2)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stands in for what only a card can do."""


def _device(value: Any) -> Any:
    """"cuda" in any spelling -> "cpu"; everything else unchanged."""
    kind = value.split(":")[0] if isinstance(value, str) else getattr(value, "type", None)
    return "cpu" if kind == "cuda" else value


def _redirect(owner: Any, name: str) -> None:
    original = getattr(owner, name)
    device_type = sys.modules["torch"].device

    def redirected(*args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = _device(kwargs["device"])
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        moved = (_device(arg) if isinstance(arg, (str, device_type)) else arg for arg in args)
        return original(*moved, **kwargs)

    redirected.__name__ = name
    setattr(owner, name, redirected)


def _replace(torch: Any, vram: int) -> None:
    """Replaces the functions that need more than another device."""
    load, tensor = torch.load, torch.Tensor
    torch.load = lambda file, map_location=None, **kwargs: load(
        file, map_location=_device(map_location), **kwargs)
    tensor.cuda = tensor.pin_memory = torch.nn.Module.cuda = lambda self, *args, **kwargs: self
    tensor.is_pinned = lambda self, *args, **kwargs: True
    torch.set_default_device = _nothing  # mmgp sets "cuda" last
    torch.compile = lambda function=None, *args, **kwargs: function or (lambda wrapped: wrapped)
    _redirect_generator(torch)
    _redirect_autocast(torch)
    _pretend_card(torch, vram)


def _redirect_generator(torch: Any) -> None:
    class Generator(torch.Generator):
        def __new__(cls, device: Any = "cpu") -> Any:
            return super().__new__(cls, _device(device))

    torch.Generator = Generator


def _redirect_autocast(torch: Any) -> None:
    # a card's type that the CPU cannot cast to is not cast, and that is as well
    warnings.filterwarnings("ignore", "In CPU autocast")

    class Autocast(torch.autocast):
        def __init__(self, device_type: Any = "cuda", *args: Any, **kwargs: Any) -> None:
            super().__init__(_device(str(device_type)), *args, **kwargs)

    class CudaAutocast(torch.autocast):
        def __init__(self, enabled: bool = True, dtype: Any = None,
                     cache_enabled: bool = True) -> None:
            super().__init__("cpu", torch.bfloat16, enabled, cache_enabled)

    torch.cuda.amp.autocast = CudaAutocast
    torch.autocast = torch.amp.autocast = Autocast


class Inert:
    """A stream, an event, a device context: does nothing, is always ready."""

    cuda_stream = priority = 0
    device: Any = None
    synchronize = wait_stream = wait_event = record = wait = _nothing

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> Inert:
        return self

    def __exit__(self, *args: Any) -> None:
        pass

    def query(self) -> bool:
        return True

    def elapsed_time(self, *args: Any) -> float:
        return 0.0

    def record_event(self, *args: Any) -> Inert:
        return Inert()


def _pretend_card(torch: Any, vram: int) -> None:
    Inert.device = torch.device("cpu")
    properties = types.SimpleNamespace(
        name="CPU in place of a GPU", total_memory=vram, major=CAPABILITY[0], minor=CAPABILITY[1],
        multi_processor_count=1, warp_size=32, gcnArchName="", is_integrated=False,
    )
    constants = {
        "get_device_capability": CAPABILITY, "get_device_properties": properties,
        "mem_get_info": (vram, vram), "get_device_name": properties.name, "current_device": 0,
        "device_count": 1, "memory_allocated": 0, "memory_reserved": 0, "max_memory_allocated": 0,
        "max_memory_reserved": 0, "memory_stats": {}, "is_bf16_supported": True,
        "is_available": False, "current_stream": Inert(), "default_stream": Inert(),
        "stream": Inert(),
    }
    for name, value in constants.items():
        setattr(torch.cuda, name, lambda *args, value=value, **kwargs: value)
    for name in ACTIONS.split():
        setattr(torch.cuda, name, _nothing)
    torch.cuda.Stream = torch.cuda.Event = torch.cuda.device = Inert


def _import_torchvision(torch: Any) -> None:
    """Imports torchvision. A build for CUDA lacks its operators: they are declared, never run."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:  # "operator torchvision::nms does not exist"
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        torch._torchvision_operators = library  # it lives while it is referenced
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401


def _stub_missing_modules() -> None:
    class Dummy:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            pass

    class Stub(types.ModuleType):
        __version__ = "0"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return Dummy

    for name in STUBBED:
        parent = name.partition(".")[0]
        if isinstance(sys.modules.get(parent), Stub) or importlib.util.find_spec(parent) is None:
            stub = sys.modules[name] = Stub(name)
            stub.__path__ = []
            stub.__spec__ = ModuleSpec(name, None, is_package=True)


def main(options: Sequence[str]) -> None:
    """Runs wgp.py of the current folder as a program; without a GPU, for the demo model only."""
    # read as torch is imported: threads that spin while they wait slow down those that work, where
    # there are few cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    marks: dict[str, Any] = {}
    if not torch.cuda.is_available():
        marks[DEMO_ONLY] = True
        print("[SVI] No GPU: WanGP runs on the CPU, for the demo model only. Other models would "
              "take hours or fail, and WanGP downloads nothing.", flush=True)
        apply()
        import huggingface_hub
        from gradio import networking

        hub: Any = huggingface_hub
        # WanGP fetches gigabytes before its first video, for tools that the demo model does not use
        hub.hf_hub_download = hub.snapshot_download = _nothing
        networking.url_ok = lambda url: True  # 3 s for the first page are too few here
        options = ["--attention", "sdpa", *options]
    sys.path[0] = str(Path.cwd())
    sys.argv = ["wgp.py", *options]
    code = [1]
    atexit.register(_leave, code)  # the first to be registered is the last to be called
    try:
        runpy.run_path("wgp.py", marks, run_name="__main__")
        code[0] = 0
    except SystemExit as error:
        code[0] = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise


def _leave(code: Sequence[int]) -> None:
    """Ends Python where WanGP's threads may still work, which torch would answer by aborting."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(*code)


if __name__ == "__main__":
    main(sys.argv[1:])
