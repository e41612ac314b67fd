"""Projections from an image's features to what is added to the adaption prompts.

LLaMA-Adapter, arXiv 2303.16199, section 3.3: global features of several depths of the vision
tower, concatenated, go through a small MLP to one vector that every prompt of every adapted layer
receives. Sizes: B images, S feature size, D model width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.adapter.spec import VisualSpec


class GlobalMLP(nn.Module):
    """Global features (B, S) → one vector a picture (B, D).

    Features are first brought to mean 0 and deviation 1 by constants measured on the training
    pictures: depths of a tower differ in scale by orders of magnitude.
    """

    def __init__(self, spec: VisualSpec, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(spec.feature_size))
        self.register_buffer("deviation", torch.ones(spec.feature_size))
        self.inner = nn.Linear(spec.feature_size, spec.hidden)
        self.outer = nn.Linear(spec.hidden, width)

    def measure(self, features: Tensor) -> None:
        """Sets the constants from features (pictures, S) of the training set."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0).clamp_min(1e-5))

    def forward(self, features: Tensor) -> Tensor:
        x = (features - self.mean) / self.deviation  # (B, S)
        return self.outer(F.silu(self.inner(x)))  # (B, D)
