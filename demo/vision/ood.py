"""Detecting out-of-distribution pictures: unlike those that the tower was taught.

A linear probe on the tower's features parts its training pictures from pictures of nothing: noise,
writing, textures. One that is like neither is on the side that it resembles more.
Sizes: S features, B pictures.
"""

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from demo.atomic_file import replace_file

PROBE_FILE = "familiar.safetensors"  # in the tower's folder, beside its weights


@dataclass(frozen=True)
class OODProbe:
    """A linear classifier of in-distribution pictures.

    Attributes:
        weights: (S,) fp32, one for each of the tower's global features.
        bias: added to the sum, so that 0 parts what is in distribution from what is not.

    Raises:
        ValueError: no weights, or numbers that are none.
    """

    weights: Tensor = field(repr=False)
    bias: float

    def __post_init__(self) -> None:
        if self.weights.ndim != 1 or not len(self.weights):
            raise ValueError(f"a probe's weights are {tuple(self.weights.shape)}, not (S,)")
        if not (self.weights.isfinite().all() and isfinite(self.bias)):
            raise ValueError("a probe's weights and bias must be finite")


def save_probe(probe: OODProbe, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {"weights": probe.weights.float().cpu().contiguous()}
    data = save(tensors, metadata={"bias": repr(probe.bias)})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_probe(path: Path) -> OODProbe:
    """Read what `save_probe` wrote; an error of safetensors is passed on as it comes."""
    with safe_open(path, "pt") as file:
        return OODProbe(file.get_tensor("weights"), float(file.metadata()["bias"]))
