"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) for convolutions."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrices with orthonormal rows or columns, roughly; (N, R, C) fp32.

    Newton-Schulz in bf16 with Jordan's coefficients: singular values end between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for convolutions that a normalisation follows.

    torch's own Muon takes matrices only. A filter's length has no effect before a normalisation, so
    it is kept at 1, and the rate alone says how far a step turns it.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], lr: float | Tensor, momentum: float = 0.9
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                alike[weight.shape].append(weight)
            for weights in alike.values():
                self._turn(weights, group["lr"], group["momentum"])

    def _turn(self, weights: Sequence[nn.Parameter], rate: float | Tensor, momentum: float) -> None:
        """One step of weights of the same shape: as one product, since each alone is small."""
        turns = []
        for weight in weights:
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            mean = state["momentum"].lerp_(weight.grad, 1 - momentum)
            turns.append(weight.grad.lerp(mean, momentum).flatten(1))  # Nesterov
        for weight, turn in zip(weights, orthogonal(torch.stack(turns)), strict=True):
            weight.mul_(len(weight) ** 0.5 / (weight.norm() + 1e-7))
            weight.sub_(rate * turn.view_as(weight))
