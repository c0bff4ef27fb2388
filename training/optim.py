"""Muon for matrices, AdamW for the rest, a running mean of the weights; on a GPU in one graph.

Muon: Jordan et al. 2024. Matrices of one shape are orthogonalised together, since the cost of a
model this small is the number of launches.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class Optimizer:
    """`scale` [] multiplies every learning rate; `mean` is the running mean of the parameters."""

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter],
                 matrix_lr: float, lr: float, decay: float = 0.0, mean: float = 0.999) -> None:
        groups: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for parameter in matrices:
            groups[len(parameter), parameter[0].numel()].append(parameter)
        self.groups = [(group, torch.zeros(len(group), *shape, device=group[0].device))
                       for shape, group in groups.items()]
        self.others: list[Tensor] = list(others)
        self.moments = [[torch.zeros_like(p) for p in self.others] for _ in range(2)]
        self.parameters: list[Tensor] = [p for group, _ in self.groups for p in group] + self.others
        device = self.parameters[0].device
        self.scale, self.count = (torch.zeros((), device=device) for _ in range(2))
        self.mean = [p.detach().clone() for p in self.parameters]
        self.matrix_lr, self.lr, self.decay, self.keep = matrix_lr, lr, decay, mean

    @torch.no_grad()
    def step(self) -> None:
        self.count += 1
        for group, momentum in self.groups:
            gradient = torch.stack([_gradient(p).flatten(1) for p in group]).float()
            momentum.lerp_(gradient, 0.05)
            update = orthogonal(gradient.lerp(momentum, 0.95))
            rows, columns = momentum.shape[1:]
            rate = self.scale * (self.matrix_lr * math.sqrt(max(1, rows / columns)))
            for parameter, change in zip(group, update, strict=True):
                parameter.mul_(1 - self.scale * self.matrix_lr * self.decay)
                parameter.sub_((rate * change).view_as(parameter))
        if self.others:
            gradients = [_gradient(p) for p in self.others]
            torch._foreach_lerp_(self.moments[0], gradients, 0.1)
            torch._foreach_lerp_(self.moments[1], torch._foreach_mul(gradients, gradients), 0.01)
            first, second = 1 - 0.9**self.count, 1 - 0.99**self.count
            roots = torch._foreach_sqrt(torch._foreach_div(self.moments[1], second))
            torch._foreach_add_(roots, 1e-8)
            steps = torch._foreach_div(torch._foreach_div(self.moments[0], first), roots)
            torch._foreach_mul_(steps, self.scale * self.lr)
            torch._foreach_sub_(self.others, steps)
        torch._foreach_lerp_(self.mean, self.parameters, 1 - self.keep)

    def zero(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the parameters and their running mean."""
        for parameter, mean in zip(self.parameters, self.mean, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(mean)
            mean.copy_(kept)

    def state_dict(self) -> list[Tensor]:
        """With the parameters themselves: all that a checkpoint needs."""
        return [*(p.detach() for p in self.parameters), *(m for _, m in self.groups),
                *self.moments[0], *self.moments[1], self.count, *self.mean]

    @torch.no_grad()
    def load_state_dict(self, state: list[Tensor]) -> None:
        for ours, theirs in zip(self.state_dict(), state, strict=True):
            ours.copy_(theirs)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def orthogonal(matrices: Tensor) -> Tensor:
    """[n, a, b] -> about the nearest (semi-)orthogonal ones: 5 Newton-Schulz steps in bfloat16."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).float()


def graphed(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Captures a function without arguments into a CUDA graph; without a GPU, returns it."""
    if not torch.cuda.is_available():
        return function
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = function()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay
