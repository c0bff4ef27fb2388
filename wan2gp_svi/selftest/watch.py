"""Watches WanGP's pipeline from outside: what its transformer, its VAE and CLIP are given, clip by clip.

`Watch.attach()` wraps methods of WanGP's classes before a model is loaded. One call of `WanAny2V.generate` is a clip.
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
    """One clip, tensors on the CPU: `frames` uint8 [3, T, H, W] as the pipeline returns them; `videos` and `latents`
    what each encode of the VAE was given and gave; `noise` and `y` the transformer's first input; `picture` CLIP's;
    `denoised` the last latent [16, H/8, W/8] that was decoded."""

    prompt: str = ""
    frames: Tensor | None = None
    videos: list[Tensor] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    noise: Tensor | None = None
    device: str = "cpu"
    y: Tensor | None = None
    picture: Tensor | None = None
    experts: list[int] = field(default_factory=list)
    denoised: Tensor | None = None


class Watch:
    """`clips` are those of the current video; `begun` is called when one begins, with its number from 0."""

    def __init__(self) -> None:
        self.clips: list[Seen] = []
        self.begun: Callable[[int], None] = lambda number: None
        self._second: Any = None
        self._inside = False  # of a decode, which may call another one

    def attach(self) -> None:
        from models.wan import any2video
        from models.wan.modules.model import WanModel

        _wrap(any2video.WanAny2V, "generate", self._generate)
        _wrap(WanModel, "forward", self._forward)
        _wrap(any2video.WanVAE, "encode", self._encode)
        _wrap(any2video.CLIPModel, "visual", self._visual)
        for name in ("decode_to_cpu_uint8", "decode"):
            if hasattr(any2video.WanVAE, name):
                _wrap(any2video.WanVAE, name, self._decode)

    def _generate(self, original: Any, pipe: Any, arguments: dict[str, Any]) -> Any:
        self.begun(len(self.clips))
        self.clips.append(Seen(str(arguments.get("input_prompt") or "")))
        self._second = getattr(pipe, "model2", None)
        if hasattr(getattr(pipe, "clip", None), "transformer_dtype"):
            pipe.clip.transformer_dtype = getattr(pipe, "dtype", torch.bfloat16)
        result = original()
        video = result.get("x") if isinstance(result, dict) else result
        if isinstance(video, Tensor):
            self.clips[-1].frames = to_uint8(video)
        return result

    def _forward(self, original: Any, model: Any, arguments: dict[str, Any]) -> Any:
        if self.clips:
            seen, noisy = self.clips[-1], arguments["x"]
            if seen.noise is None:
                noisy = noisy[0] if isinstance(noisy, list) else noisy
                seen.noise, seen.device = _copy(noisy), str(noisy.device.type)
                seen.y = _copy(arguments.get("y"))
            seen.experts.append(2 if self._second is not None and model is self._second else 1)
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
        if self.clips and not self._inside:
            self.clips[-1].denoised = _copy(arguments["zs"][0][:, -1])
        before, self._inside = self._inside, True
        try:
            return original()
        finally:
            self._inside = before


def to_uint8(frames: Tensor) -> Tensor:
    """Frames in [-1, 1] or of 8 bit -> uint8, on the CPU."""
    if frames.dtype == torch.uint8:
        return frames.detach().cpu().clone()
    return ((frames.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def _copy(value: Any) -> Any:
    """In 32 bit, since all that is compared here is small."""
    return value.detach().float().cpu().clone() if isinstance(value, Tensor) else None


def _wrap(owner: type, name: str, watch: Callable[[Any, Any, dict[str, Any]], Any]) -> None:
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
