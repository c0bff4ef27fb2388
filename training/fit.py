"""The background that a picture shows: the truth for a chain without a reference, since its motion
frames no longer show the one that it began with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from wan2gp_svi.demo import world


def fitted(values: Tensor, pictures: Tensor, seen: Tensor, rounds: int = 3) -> Tensor:
    """The numbers [B, 27] of backgrounds that fit pictures [B, 3, H, W] best where they are `seen`
    [B, 1, H, W], starting from `values` that nearly do.

    Least squares in Levenberg-Marquardt steps; each follows an edge over about a pixel.
    """
    for _ in range(rounds):
        slopes = vmap(jacfwd(lambda one: world.drawn(one[None])[0]))(values)
        slopes = (slopes * seen[..., None]).flatten(1, 3)
        wrong = ((pictures - world.drawn(values)) * seen).flatten(1)[..., None]
        normal = slopes.mT @ slopes
        damping = torch.diag_embed(1 + 0.02 * normal.diagonal(dim1=1, dim2=2))
        values = values + torch.linalg.solve(normal + damping, slopes.mT @ wrong)[..., 0]
        values = torch.cat([values[:, :12].clamp(0, 1), values[:, 12:]], 1)  # 12 are colours
    return values
