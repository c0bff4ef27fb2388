"""The landscape that a picture shows: where a chain without a reference has got to, nothing can tell where it began."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from wan2gp_svi.demo import world


def fitted(values: Tensor, pictures: Tensor, seen: Tensor, rounds: int = 3) -> Tensor:
    """What fits pictures [B, 3, H, W] best where they are `seen` [B, 1, H, W], from `values` [B, 27] that nearly do.

    Least squares, by Levenberg's and Marquardt's steps; an edge is followed over a pixel or so in each.
    """
    for _ in range(rounds):
        slopes = vmap(jacfwd(lambda one: world.landscape(one[None])[0]))(values)
        slopes = (slopes * seen[..., None]).flatten(1, 3)
        wrong = ((pictures - world.landscape(values)) * seen).flatten(1)[..., None]
        normal = slopes.mT @ slopes
        damping = torch.diag_embed(1 + 0.02 * normal.diagonal(dim1=1, dim2=2))
        values = values + torch.linalg.solve(normal + damping, slopes.mT @ wrong)[..., 0]
        values = torch.cat([values[:, :12].clamp(0, 1), values[:, 12:]], 1)  # colours
    return values
