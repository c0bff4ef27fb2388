"""diffusers' names -> Wan's own names, for the files; and a LoRA under the keys of SVI's authors.

diffusers itself has the way back (`convert_wan_transformer_to_diffusers`,
`convert_wan_vae_to_diffusers`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

# replaced in this order
_TRANSFORMER = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
    ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
    ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
    ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
    ("attn1.", "self_attn."), ("attn2.", "cross_attn."),
    ("norm_added_k", "norm_k_img"), ("add_k_proj", "k_img"), ("add_v_proj", "v_img"),
    ("to_q.", "q."), ("to_k.", "k."), ("to_v.", "v."), ("to_out.0.", "o."),
    ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), ("proj_out", "head.head"),
)  # fmt: skip
_VAE = (
    ("norm1.", "residual.0."), ("conv1.", "residual.2."), ("norm2.", "residual.3."),
    ("conv2.", "residual.6."), ("conv_shortcut.", "shortcut."),
    ("mid_block.resnets.0.", "middle.0."), ("mid_block.attentions.0.", "middle.1."),
    ("mid_block.resnets.1.", "middle.2."), ("down_blocks.", "downsamples."),
    ("conv_in.", "conv1."), ("norm_out.", "head.0."), ("conv_out.", "head.2."),
)  # fmt: skip


def transformer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {transformer_name(name): tensor for name, tensor in state.items()}


def transformer_name(name: str) -> str:
    for theirs, ours in _TRANSFORMER:
        name = name.replace(theirs, ours)
    # Wan numbers them 1, 3, 2
    name = re.sub(r"\.norm([23])\.", lambda found: f".norm{5 - int(found[1])}.", name)
    return re.sub(r"^(blocks\.\d+\.)?scale_shift_table$",
                  lambda found: f"{found[1] or 'head.'}modulation", name)


def vae(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Flat convolutions get Wan's three taps back, with zeros for the frames before."""
    return {vae_name(name): F.pad(tensor, (0, 0, 0, 0, 2, 0)) if tensor.shape[2:] == (1, 3, 3)
            else tensor for name, tensor in state.items()}


def vae_name(name: str) -> str:
    if name.startswith("quant_conv.") or name.startswith("post_quant_conv."):
        return name.replace("post_quant_conv.", "conv2.").replace("quant_conv.", "conv1.")
    for theirs, ours in _VAE:
        name = name.replace(theirs, ours)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)\.",
                  lambda found: f"upsamples.{4 * int(found[1]) + int(found[2])}.", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0\.",
                  lambda found: f"upsamples.{4 * int(found[1]) + 3}.", name)


def adapter(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`blocks.0.attn1.to_q.lora_A` -> `pipe.dit.blocks.0.self_attn.q.lora_A.default.weight`."""
    split = {name: name.rpartition(".") for name in state}
    return {f"pipe.dit.{transformer_name(f'{layer}.')}{side}.default.weight": state[name]
            for name, (layer, _, side) in split.items()}
