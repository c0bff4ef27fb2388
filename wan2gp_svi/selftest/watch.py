"""Watches WanGP's pipeline from outside: what its transformer, VAE and CLIP get, clip by clip.

`attach` wraps methods of WanGP's classes before a model is loaded. One call of `WanAny2V.generate`
is a clip.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Seen:
    """One clip, in tensors on the CPU."""

    prompt: str = ""
    frames: Tensor | None = None  # uint8 [3, T, H, W], as the pipeline returns them
    videos: list[Tensor] = field(default_factory=list)  # that the VAE encoded
    latents: list[Tensor] = field(default_factory=list)  # that it made of them
    noise: Tensor | None = None  # the transformer's first input
    device: str = "cpu"  # of the noise
    y: Tensor | None = None  # mask and latents of that input, [20, T, H/8, W/8]
    picture: Tensor | None = None  # that CLIP saw
    experts: list[int] = field(default_factory=list)  # of each step, 1 (high noise) or 2
    denoised: Tensor | None = None  # the last latent [16, H/8, W/8] that was decoded


class Watch:
    """`clips` are those of the current video; `begun` is called as one begins, with its number."""

    def __init__(self) -> None:
        self.clips: list[Seen] = []
        self.begun: Callable[[int], None] = lambda number: None
        self._second: Any = None
        self._decoding = False  # one method may decode by another

    def attach(self) -> None:
        from models.wan import any2video
        from models.wan.modules.model import WanModel

        wrap(any2video.WanAny2V, "generate", self._generate)
        wrap(WanModel, "forward", self._forward)
        wrap(any2video.WanVAE, "encode", self._encode)
        wrap(any2video.CLIPModel, "visual", self._visual)
        for name in ("decode_to_cpu_uint8", "decode"):
            if hasattr(any2video.WanVAE, name):
                wrap(any2video.WanVAE, name, self._decode)

    def _generate(self, original: Any, pipe: Any, arguments: dict[str, Any]) -> Any:
        self.begun(len(self.clips))
        self.clips.append(Seen(str(arguments.get("input_prompt") or "")))
        self._second = getattr(pipe, "model2", None)
        if clip := getattr(pipe, "clip", None):
            clip.features = pipe.dtype  # the stand-in answers in the transformer's precision
        result = original()
        video = result.get("x") if isinstance(result, dict) else result
        if isinstance(video, Tensor):
            self.clips[-1].frames = to_uint8(video)
        return result

    def _forward(self, original: Any, model: Any, arguments: dict[str, Any]) -> Any:
        if self.clips:
            seen, noisy = self.clips[-1], arguments["x"]
            if not seen.experts:
                noisy = noisy[0] if isinstance(noisy, list) else noisy
                seen.noise, seen.device = _copy(noisy), str(noisy.device.type)
                if isinstance(y := arguments.get("y"), Tensor):
                    seen.y = _copy(y[0] if y.ndim == 5 else y)
            seen.experts.append(2 if model is self._second else 1)
        return original()

    def _encode(self, original: Any, vae: Any, arguments: dict[str, Any]) -> Any:
        latents = original()
        if self.clips:
            self.clips[-1].videos.append(_copy(arguments["videos"][0]))
            self.clips[-1].latents.append(_copy(latents[0]))
        return latents

    def _visual(self, original: Any, clip: Any, arguments: dict[str, Any]) -> Any:
        if self.clips and self.clips[-1].picture is None:
            self.clips[-1].picture = _copy(arguments["videos"][0])
        return original()

    def _decode(self, original: Any, vae: Any, arguments: dict[str, Any]) -> Any:
        if self._decoding or not self.clips:
            return original()
        self.clips[-1].denoised = _copy(arguments["zs"][0][:, -1])
        self._decoding = True
        try:
            return original()
        finally:
            self._decoding = False


def to_uint8(frames: Tensor) -> Tensor:
    """Frames in [-1, 1] or of 8 bit -> uint8, on the CPU."""
    if frames.dtype == torch.uint8:
        return frames.detach().cpu().clone()
    return ((_copy(frames).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().clone()


def wrap(owner: type, name: str, watch: Callable[[Any, Any, dict[str, Any]], Any]) -> None:
    """Replaces owner.name by watch(original, self, arguments); original() is the unchanged call."""
    method = getattr(owner, name)
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        for extra in ("bbargs", "kwargs"):
            arguments |= arguments.pop(extra, {})
        return watch(functools.partial(method, self, *args, **kwargs), self, arguments)

    setattr(owner, name, wrapped)
