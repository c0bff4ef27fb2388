"""Records what goes into and comes out of WanGP's model, VAE and CLIP, window by window.

`Recorder.attach()` wraps methods of WanGP's classes before a model is built. A window is one call
of `WanAny2V.generate`, and all that happens inside it.
"""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

LARGEST = 4_000_000  # elements; larger tensors are described but not kept
UNTOLD = {"gen_state", "gen_cache", "callback", "offloadobj", "set_header_text",
          "set_progress_status"}


class Recorder:
    """`windows` describes as JSON; `tensors` keeps tensors by names such as `task0.window1.y`."""

    def __init__(self) -> None:
        self.task = -1
        self.windows: list[dict[str, Any]] = []
        self.tensors: dict[str, torch.Tensor] = {}
        self.model2: Any = None

    def start_task(self) -> None:
        self.task += 1
        self.windows = []

    def attach(self) -> None:
        from models.wan import any2video
        from models.wan.modules.model import WanModel

        _wrap(any2video.WanAny2V, "generate", self._generate)
        _wrap(WanModel, "forward", self._forward)
        _wrap(any2video.WanVAE, "encode", self._encode)
        _wrap(any2video.CLIPModel, "visual", self._clip)

    def save(self, path: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, path)

    def _generate(self, original: Any, pipe: Any, arguments: dict[str, Any]) -> Any:
        self.windows.append({"arguments": {}, "forwards": [], "encodes": [], "clips": []})
        self.model2 = pipe.model2
        for name, value in arguments.items():
            if name in UNTOLD:
                continue
            self.windows[-1]["arguments"][name] = self._describe(f"arguments.{name}", value)
        result = original()
        video = result["x"] if isinstance(result, dict) else result
        self.windows[-1]["result"] = self._describe("frames", video)
        if isinstance(result, dict) and result.get("latent_slice") is not None:
            self.windows[-1]["latent_slice"] = self._describe("latent_slice",
                                                              result["latent_slice"])
        return result

    def _forward(self, original: Any, model: Any, arguments: dict[str, Any]) -> Any:
        window = self.windows[-1]
        noisy = arguments["x"]
        if not window["forwards"]:
            self._describe("noise", noisy[0] if isinstance(noisy, list) else noisy)
            window["y"] = self._describe("y", arguments.get("y"))
            window["clip_fea"] = self._describe("clip_fea", arguments.get("clip_fea"))
            for number, heard in enumerate(arguments.get("multitalk_audio") or []):
                self._describe(f"audio{number}.first", heard[0])
                self._describe(f"audio{number}.later", heard[1])
        timestep = float(torch.as_tensor(arguments["t"]).flatten()[0])
        window["forwards"].append({"timestep": timestep,
                                   "expert": 2 if model is self.model2 else 1})
        first = window["forwards"][0]["timestep"] == timestep
        if not first or not model.patch_embedding._forward_hooks:
            return original()
        handle = model.patch_embedding.register_forward_hook(self._tokens)
        try:
            return original()
        finally:
            handle.remove()

    def _tokens(self, layer: Any, given: tuple[torch.Tensor], tokens: torch.Tensor) -> None:
        """The patch tokens as the blocks get them, and as they would be without hooks."""
        window = self.windows[-1]
        number = window["branches"] = window.get("branches", -1) + 1
        plain = torch.nn.functional.conv3d(given[0], layer.weight, layer.bias, layer.stride)
        self._describe(f"tokens{number}", tokens)
        self._describe(f"plain{number}", plain)

    def _encode(self, original: Any, vae: Any, arguments: dict[str, Any]) -> Any:
        window = self.windows[-1]
        number = len(window["encodes"])
        entry = self._describe(f"encode{number}", arguments["videos"][0])
        window["encodes"].append({**entry, "tile_size": _plain(arguments["tile_size"]),
                                  "vae_dtype": str(vae.dtype)})
        latents = original()
        self._describe(f"encode{number}.latents", latents[0])
        return latents

    def _clip(self, original: Any, clip: Any, arguments: dict[str, Any]) -> Any:
        window = self.windows[-1]
        for image in arguments["videos"]:
            entry = self._describe(f"clip{len(window['clips'])}", image)
            window["clips"].append({**entry, "mean": image.float().mean(dim=(1, 2, 3)).tolist()})
        return original()

    def _describe(self, name: str, value: Any) -> Any:
        """JSON for `value`. Keeps a tensor or image under the current
        window unless it is too large."""
        if type(value).__name__ == "Image":
            value = torch.from_numpy(np.array(value))
        if not isinstance(value, torch.Tensor):
            return _plain(value)
        if value.numel() <= LARGEST:
            key = f"task{self.task}.window{len(self.windows)}.{name}"
            self.tensors[key] = value.detach().cpu().clone()
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}


def _wrap(owner: type, name: str, watch: Any) -> None:
    """Replaces owner.name by watch(original, self, arguments), where original() makes the call."""
    method = getattr(owner, name)
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        arguments |= arguments.pop("bbargs", {}) | arguments.pop("kwargs", {})
        return watch(functools.partial(method, self, *args, **kwargs), self, arguments)

    setattr(owner, name, wrapped)


def _plain(value: Any) -> Any:
    """`value` if JSON can hold it, else the beginning of its text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)[:200]
