"""Numbers from tensors and files. Needs torch, and OpenCV for videos. Pixels are in [-1, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .facts import ClipFacts
from .plan import SEED, SEED_STEP, SIZE, Video
from .watch import Seen

_NEAR = 130  # seeds above and below the first that are tried
_SHIFT = 8  # frames to each side that a frame may have come from


def clip_facts(
    video: Video, number: int, seen: Seen, before: Seen | None, reference: Tensor,
) -> ClipFacts:
    """What WanGP's transformer got for a clip; `reference` is [3, H, W]."""
    frames = 0 if seen.frames is None else seen.frames.shape[1]
    facts = ClipFacts(number, seen.prompt, frames, encodes=len(seen.videos), experts=seen.experts)
    if seen.noise is not None:
        facts.seed = seed_of(seen.noise, seen.device)
    if not video.svi or seen.y is None or not seen.videos or before and before.frames is None:
        return facts
    mask, given, latents = seen.y[:4], seen.y[4:], seen.latents[-1]
    pixels, still = seen.videos[-1], reference[:, None]
    facts.kept = mask.flatten(2)[..., 0].T.flatten().nonzero().flatten().tolist()
    if video.chain.pro:
        facts.motion = steps(pixels, still)
        facts.anchor = gap(given[:, 0], latents[:, 0])
        facts.rest = float(given[:, 2 if before else 1 :].abs().max())
        if before and before.denoised is not None:
            facts.handed = gap(given[:, 1], before.denoised)
        return facts
    motion = still
    if before and before.frames is not None:
        motion = before.frames[:, -video.chain.motion_frames :].float() / 127.5 - 1
    count = motion.shape[1]
    padding = torch.zeros_like(still) if video.chain.grey else still
    facts.motion = steps(pixels[:, :count], motion)
    facts.padding = steps(pixels[:, count:], padding.expand_as(pixels[:, count:]))
    facts.latents = gap(given, latents)
    if seen.picture is not None:
        facts.shown = shown(seen.picture, motion)
    return facts


def seed_of(noise: Tensor, device: str) -> int | None:
    """The seed of the noise that a transformer got. Wan draws it on the device of the model."""
    noise = noise if noise.ndim == 5 else noise[None]
    near = sorted(range(SEED - _NEAR, SEED + _NEAR), key=lambda one: abs(one - SEED) % SEED_STEP)
    for seed in near:
        generator = torch.Generator(device).manual_seed(seed)
        drawn = torch.randn(noise.shape, generator=generator, device=device).cpu()
        if float((drawn - noise).abs().max()) < 0.05:  # it may be in 16 bit
            return seed
    return None


def steps(one: Tensor, two: Tensor) -> float:
    """The largest difference of pixels, in steps of 8 bit."""
    return float((one - two).abs().max()) * 127.5 if one.shape == two.shape else 255.0


def gap(one: Tensor, two: Tensor) -> float:
    """The largest difference of latents, as a share of the largest."""
    if one.shape != two.shape:
        return 1.0
    return float((one - two).abs().max() / two.abs().max().clamp(min=1e-6))


def shown(picture: Tensor, motion: Tensor) -> int:
    """Which of the motion frames [3, N, H, W] is a picture [3, 1, H', W'], which WanGP enlarged."""
    enlarged = torch.nn.functional.interpolate(
        motion.movedim(1, 0), picture.shape[-2:], mode="bicubic")
    return int((enlarged - picture[None, :, 0]).abs().mean((1, 2, 3)).argmin())


# ------------------------------------------------------------------------------------------- videos

def read_frames(path: Path) -> Tensor:
    """uint8 [T, 3, H, W], RGB; no frames if the video does not open."""
    import cv2

    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(np.ascontiguousarray(read[1][:, :, ::-1].transpose(2, 0, 1)))
    capture.release()
    return torch.from_numpy(np.stack(frames) if frames else np.zeros((0, 3, SIZE, SIZE), np.uint8))


def misplaced(frames: Tensor, wanted: Tensor) -> list[int]:
    """The frames of a file [T, 3, H, W] that look less like the one of `wanted` in their place than
    like one of its neighbours. Encoding blurs all alike."""
    found, (grey, wanted_grey) = [], [one.float().mean(1) for one in (frames, wanted)]
    for at, frame in enumerate(grey):
        if at >= len(wanted):
            found.append(at)
            continue
        first = max(0, at - _SHIFT)
        off = (wanted_grey[first : at + _SHIFT + 1] - frame).abs().mean((1, 2))
        if float(off[at - first] - off.min()) > 0.5:
            found.append(at)
    return found


def difference(one: Tensor, two: Tensor) -> float | None:
    """The mean difference of two videos in the frame that differs most, of 255; None if they have
    not as many frames."""
    if len(one) != len(two):
        return None
    return float((one.float() - two.float()).abs().mean((1, 2, 3)).max())


def named_seeds(settings: Any) -> list[int]:
    """The clips' seeds in the settings that a video holds."""
    try:
        return [int(seed) for seed in settings["custom_settings"]["svi"]["seeds"]]
    except (KeyError, TypeError):
        return []
