"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for convolutions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with orthonormal rows or columns, roughly; (R, C) fp32.

    Newton-Schulz in bf16 with Jordan's coefficients: singular values end between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for convolutions that a normalisation follows.

    torch's own Muon takes matrices only. A filter's length has no effect before a normalisation, so
    it is kept at 1, and the rate alone says how far a step turns it.
    """

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                mean = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                turn = weight.grad.lerp(mean, group["momentum"])  # Nesterov
                turn = orthogonal(turn.flatten(1)).view_as(weight)
                weight.mul_(len(weight) ** 0.5 / (weight.norm() + 1e-7))
                weight.add_(turn, alpha=-group["lr"])
