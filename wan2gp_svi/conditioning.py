"""Pixels or latents -> `y`, what the transformer of a Wan image-to-video model is conditioned on.

Pixels are float [3, T, H, W] in [-1, 1], with T = 4 (t - 1) + 1. Latents are [16, t, H/8, W/8] and
the mask is [4, t, H/8, W/8]; `y` stacks mask and latents, [20, t, H/8, W/8]. `encode` is the VAE:
pixels -> latents.

Source: `encode_images_adaptive` of Stable Video Infinity's pipeline for Wan 2.1, and the image
embedders of its 2.0 and 2.0 Pro pipelines for Wan 2.2. Bad input is a ValueError that says what was
given and what is wanted.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .variants import CLIP_FRAMES

Encode = Callable[[Tensor], Tensor]


def condition(motion_frames: Tensor, reference: Tensor, encode: Encode, *,
              num_frames: int = CLIP_FRAMES, ref_pad_num: int = -1, ref_pad_cfg: bool = False,
              end: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """`y` of a clip of SVI 1.0 or 2.0: motion frames, then padding, in ONE encode.

    `motion_frames`  [3, N, H, W], the last frames of the previous clip; for the first clip, the
                     reference
    `reference`      [3, H, W], the user's image
    `ref_pad_num`    as in `pad_`
    `ref_pad_cfg`    as in `kept_frames`
    `end`            [3, H, W], the last frame of the clip, if it ends on an image
    `out`            [3, T, H, W], memory for the video that is encoded
    """
    check(motion_frames, reference, num_frames)
    n = motion_frames.shape[1]
    video = motion_frames.new_empty(3, num_frames, *motion_frames.shape[2:]) if out is None else out
    video[:, :n] = motion_frames
    pad_(video, n, reference, ref_pad_num)
    if end is not None:
        _check_end(end, reference)
        video[:, -1] = end
    latents = encode(video)
    kept = kept_frames(n, ref_pad_cfg)
    return _stack(mask(num_frames, latents, kept, end is not None), latents)


def condition_pro(reference: Tensor, encode: Encode, *, num_frames: int = CLIP_FRAMES,
                  previous_latents: Tensor | None = None, num_motion_latent: int = 1,
                  end: Tensor | None = None) -> Tensor:
    """`y` of a clip of SVI 2.0 Pro: the reference's latent, the last `num_motion_latent` latents of
    the previous clip, then latent zeros, and the latent of `end` [3, H, W] if the clip ends on an
    image.

    `previous_latents` [16, t', H/8, W/8] are the denoised clip before, never decoded; None in the
    first clip.
    """
    check(reference[:, None] if reference.ndim == 3 else reference, reference, num_frames)
    anchor = encode(reference[:, None])
    latents = anchor.new_zeros(anchor.shape[0], _latent_frames(num_frames), *anchor.shape[2:])
    latents[:, :1] = anchor
    if previous_latents is not None:
        if previous_latents.ndim != 4 or previous_latents.shape[::2] != anchor.shape[::2] \
                or previous_latents.shape[3] != anchor.shape[3]:
            raise ValueError(f"previous_latents are {_shape(previous_latents)}, wanted any length "
                             f"of the reference's latent, {_shape(anchor)}")
        if not 1 <= num_motion_latent <= min(previous_latents.shape[1], latents.shape[1] - 1):
            most = min(previous_latents.shape[1], latents.shape[1] - 1)
            raise ValueError(f"num_motion_latent is {num_motion_latent}, wanted 1 to {most}")
        latents[:, 1:1 + num_motion_latent] = previous_latents[:, -num_motion_latent:]
    if end is not None:
        _check_end(end, reference)
        latents[:, -1:] = encode(end[:, None])
    return _stack(mask(num_frames, latents, last=end is not None), latents)


def amplify(latents: Tensor, kept: int, amplitude: float, last: bool = False) -> Tensor:
    """More motion, as users of accelerators ask for it: how far latents [16, t, h, w] after the
    first `kept` differ from latent 0 is multiplied by `amplitude`, apart from each one's mean.

    `last`: the last latent stays, too, because it is of an image. Not part of SVI's training.
    Source: the motion amplitude of github.com/princepainter/ComfyUI-PainterI2V and of WanGP.
    """
    if amplitude == 1:
        return latents
    result, end = latents.clone(), latents.shape[1] - last
    difference = latents[:, kept:end] - latents[:, :1]
    mean = difference.mean(dim=(0, 2, 3), keepdim=True)
    result[:, kept:end] = latents[:, :1] + (difference - mean) * amplitude + mean
    result[:, kept:end].clamp_(-6, 6)
    return result


def pad_(video: Tensor, start: int, reference: Tensor, ref_pad_num: int = -1) -> Tensor:
    """Fills `video` [3, T, H, W] from frame `start` on, in place.

    `ref_pad_num`: -1 repeats the reference, 0 is zeros (mid grey), k is the reference k times, then
    zeros.
    """
    if ref_pad_num < -1:
        raise ValueError(f"ref_pad_num is {ref_pad_num}, wanted -1 (the reference), 0 (grey) or a "
                         "number of frames")
    end = video.shape[1] if ref_pad_num == -1 else min(start + ref_pad_num, video.shape[1])
    video[:, start:end] = reference[:, None]
    video[:, end:] = 0
    return video


def kept_frames(motion_frames: int, ref_pad_cfg: bool) -> int:
    """How many frames the mask keeps: the first, or with `ref_pad_cfg` every motion frame."""
    return motion_frames if ref_pad_cfg else 1


def mask(num_frames: int, like: Tensor, kept: int = 1, last: bool = False) -> Tensor:
    """The mask [4, t, h, w] that keeps the first `kept` of `num_frames` frames, and the `last` one
    if the clip ends on an image, with the size, type and device of `like` [..., h, w].

    Channel c of latent k is frame 4k - 3 + c; latent 0 is frame 0, four times.
    """
    frames = like.new_zeros(num_frames)
    frames[:kept] = 1
    if last:
        frames[-1] = 1
    groups = torch.cat([frames[:1].expand(4), frames[1:]]).view(_latent_frames(num_frames), 4)
    return groups.T[:, :, None, None].expand(-1, -1, *like.shape[-2:]).clone()


def clip_vision_image(frame: Tensor, size: int) -> Tensor:
    """What CLIP sees of a frame [3, H, W]: [3, size, size], bicubic and without antialiasing."""
    return functional.interpolate(frame[None].float(), (size, size), mode="bicubic",
                                  align_corners=False)[0]


def check(motion_frames: Tensor, reference: Tensor, num_frames: int) -> None:
    """Raises a ValueError unless a clip can be conditioned on these."""
    if motion_frames.ndim != 4 or motion_frames.shape[0] != 3 or motion_frames.shape[1] < 1:
        raise ValueError(f"motion_frames are {_shape(motion_frames)}, wanted [3, N, H, W], with N "
                         "at least 1")
    if reference.ndim != 3 or reference.shape != motion_frames[:, 0].shape:
        raise ValueError(f"the reference is {_shape(reference)}, wanted one frame like the motion "
                         f"frames: {_shape(motion_frames[:, 0])}")
    if num_frames < 1 or num_frames % 4 != 1:
        raise ValueError(f"num_frames is {num_frames}, wanted 4k + 1, such as {CLIP_FRAMES}")
    if motion_frames.shape[1] > num_frames:
        raise ValueError(f"{motion_frames.shape[1]} motion frames do not fit in a clip of "
                         f"{num_frames} frames")
    if any(size % 8 for size in reference.shape[1:]):
        raise ValueError(f"frames are {reference.shape[2]}x{reference.shape[1]} pixels, wanted "
                         "multiples of 8")
    for name, pixels in (("motion_frames", motion_frames), ("the reference", reference)):
        if not pixels.is_floating_point():
            raise ValueError(f"{name}: pixels are {pixels.dtype}, wanted floating point in -1 to 1")
        low, high = pixels.aminmax()
        # also catches NaN; a resized or 16-bit image may be off by a rounding error
        if not (low >= -1.001 and high <= 1.001):
            raise ValueError(f"{name}: pixels are {low:.4g} to {high:.4g}, wanted -1 to 1")


def _check_end(end: Tensor, reference: Tensor) -> None:
    if end.shape != reference.shape:
        raise ValueError(f"the end image is {_shape(end)}, wanted a frame like the reference: "
                         f"{_shape(reference)}")


def _stack(mask: Tensor, latents: Tensor) -> Tensor:
    if mask.shape[1:] != latents.shape[1:]:
        raise ValueError(f"encode gave latents {_shape(latents)}, wanted {mask.shape[1]} of them")
    return torch.cat([mask, latents])


def _latent_frames(num_frames: int) -> int:
    return (num_frames - 1) // 4 + 1


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
