"""The demo model in diffusers' layers.

Shapes: pixels [B, 3, T, H, W] in [-1, 1], latents [B, 16, t, H/8, W/8] scaled like Wan's,
`y` [B, 20, t, H/8, W/8] (see `conditioning`), text [B, 512, 256], CLIP's features [B, 257, 1280].
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from diffusers.models import AutoencoderKLWan, WanTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor
from torch.nn import Parameter

from .model import BLOCKS, CLIP_DIM, DIM, FFN, HEADS, SHIFT, STEPS, TEXT_DIM, VAE_SHAPE


def transformer(tensors: Mapping[str, Tensor] | None = None) -> WanTransformer3DModel:
    """The transformer, with random weights or with those of a state dict under Wan's names."""
    model = WanTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=DIM // HEADS, in_channels=36, out_channels=16,
        text_dim=TEXT_DIM, ffn_dim=FFN, num_layers=BLOCKS, image_dim=CLIP_DIM,
        added_kv_proj_dim=DIM)
    if tensors is not None:
        named = {name: tensor.float() for name, tensor in tensors.items()}
        model.load_state_dict(convert_wan_transformer_to_diffusers(named))
    return model.eval().requires_grad_(False)


class Convolution(WanCausalConv3d):
    """A causal 3D convolution as a 2D one over stacked frames. With so few channels, a CPU takes
    half as long for that, and a GPU's backward pass a fraction."""

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        taps, stride = self.kernel_size[0], self.stride[0]
        across, down, before = map(int, self._padding[::2])
        if cache_x is not None and before:
            x = torch.cat([cache_x, x], 2)
            before -= cache_x.shape[2]
        x = F.pad(x, (0, 0, 0, 0, before, 0)) if before else x
        frames = (x.shape[2] - taps) // stride + 1
        length = stride * (frames - 1) + 1
        side = torch.cat([x[:, :, tap:tap + length:stride] for tap in range(taps)], 1)
        flat = side.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        weight = self.weight.transpose(1, 2).flatten(1, 2)  # [out, taps * in, kh, kw]
        made = F.conv2d(flat, weight, self.bias, padding=(down, across))
        return made.unflatten(0, (len(x), frames)).transpose(1, 2)


def autoencoder(tensors: Mapping[str, Tensor] | None = None) -> AutoencoderKLWan:
    """The VAE, with random weights or with those of a state dict under Wan's names."""
    model = AutoencoderKLWan(base_dim=VAE_SHAPE["dim"], dim_mult=VAE_SHAPE["dim_mult"])
    for layer in model.modules():
        if isinstance(layer, WanCausalConv3d):
            layer.__class__ = Convolution
    if tensors is not None:
        named = convert_wan_vae_to_diffusers({name: t.float() for name, t in tensors.items()})
        # a layer that Wan's own VAE lacks, since its second stage is narrower than its third
        model.load_state_dict({name.replace("up_blocks.8.", "up_blocks.2.resnets.0."): tensor
                               for name, tensor in named.items()})
        for conv in convolutions(model):
            if not conv.weight[:, :, :-1].any():
                flatten(conv)
    return model.eval().requires_grad_(False)


def convolutions(vae: AutoencoderKLWan) -> list[WanCausalConv3d]:
    """Those of 3x3x3."""
    return [layer for layer in vae.modules()
            if isinstance(layer, WanCausalConv3d) and layer.kernel_size == (3, 3, 3)]


def flatten(conv: WanCausalConv3d) -> None:
    """Keeps a convolution's last tap, that of the frame itself: a third of the work, and the same
    result where the others are zero."""
    conv.weight = Parameter(conv.weight[:, :, -1:].detach().clone())
    conv.kernel_size = (1, *conv.kernel_size[1:])
    conv._padding = (*conv._padding[:4], 0, 0)


def encode(vae: AutoencoderKLWan, pixels: Tensor) -> Tensor:
    """Pixels -> latents, in two pieces: the first frame, and all others. Wan's own four frames at
    a time give the same."""
    states: list[Tensor | None] = [None] * 64
    pieces = pixels.split([1, pixels.shape[2] - 1], 2) if pixels.shape[2] > 1 else (pixels,)
    hidden = torch.cat([vae.encoder(piece, feat_cache=states, feat_idx=[0]) for piece in pieces], 2)
    mean, deviation = _scale(hidden.device)
    return (vae.quant_conv(hidden)[:, :16] - mean) / deviation


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Latents -> pixels, in two pieces like `encode`. Not clamped."""
    mean, deviation = _scale(latents.device)
    hidden = vae.post_quant_conv(latents * deviation + mean)
    states: list[Tensor | None] = [None] * 64
    pieces = hidden.split([1, hidden.shape[2] - 1], 2) if hidden.shape[2] > 1 else (hidden,)
    return torch.cat([vae.decoder(piece, feat_cache=states, feat_idx=[0]) for piece in pieces], 2)


def denoise(dit: WanTransformer3DModel, y: Tensor, text: Tensor, clip: Tensor, noise: Tensor,
            steps: int = STEPS) -> Tensor:
    """Noise -> latents of a clip, in Euler steps along the flow."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    sigmas = torch.linspace(1, 1 / steps, steps).tolist()
    scheduler.set_timesteps(sigmas=sigmas, device=noise.device)
    x = noise
    for time in scheduler.timesteps:
        flow = dit(torch.cat([x, y], 1), time.expand(len(x)), text, clip, return_dict=False)[0]
        x = scheduler.step(flow, time, x, return_dict=False)[0]
    return x


@cache
def _scale(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of Wan's latents, from diffusers' defaults."""
    shape = inspect.signature(AutoencoderKLWan.__init__).parameters
    mean, deviation = (torch.tensor(shape[name].default, device=device).view(1, -1, 1, 1, 1)
                       for name in ("latents_mean", "latents_std"))
    return mean, deviation
