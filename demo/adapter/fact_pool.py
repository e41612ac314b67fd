"""A pool of prompts, a group for each taught fact, as in L2P (arXiv 2112.08654).

There a frozen network's view of the input chooses prompts from a pool by their keys. Here each
fact that was taught has a group of its own, and the question chooses one group or none
(`questions/`). So a group has to carry one answer alone, a new one leaves the others as they are,
and with none chosen the base stays itself bit for bit.

Sizes: G facts, L adapted layers, K prompts a layer, D model width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from demo.adapter.config import AdapterSpec


class FactPool(nn.Module):
    """Prompts (L, K, D) of each of G facts.

    Each is a parameter of its own: a step of training in which a fact did not occur has no
    gradient for it, and leaves it to the bit as it was.
    """

    def __init__(self, spec: AdapterSpec) -> None:
        super().__init__()
        shape = spec.layers, spec.prompts, spec.width
        self.groups = nn.ParameterList(nn.Parameter(torch.randn(shape)) for _ in range(spec.facts))

    def __len__(self) -> int:
        return len(self.groups)

    def prompts(self, places: Sequence[int]) -> Tensor:
        """Stack the groups at some places → (L, B, K, D); differentiable in each of them.

        Raises:
            IndexError: there is no fact at a place.
        """
        if not all(0 <= place < len(self) for place in places):
            raise IndexError(f"facts {list(places)} of {len(self)}")
        return torch.stack([self.groups[place] for place in places], 1)
