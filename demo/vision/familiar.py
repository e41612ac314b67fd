"""How much a picture is like what the tower was taught, and what is said of one that is not.

A probe, one weighted sum of the tower's features, tells what the tower was taught from pictures of
nothing: noise, writing, textures. What it has never seen of either is on the side that it resembles
more. Sizes: S features, B pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from demo.files import replace_file

if TYPE_CHECKING:
    from torch import Tensor

PROBE = "familiar.safetensors"  # in the tower's folder, beside its weights
UNSURE = "I am not sure about this picture: it is unlike those I learned from."


@dataclass(frozen=True)
class Probe:
    """What counts for a picture and what against it.

    Attributes:
        weights: (S,) fp32, one for each of the tower's global features.
        bias: added to the sum, so that 0 parts the familiar from the others.

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

    def scores(self, features: Tensor) -> Tensor:
        """(B, S) -> (B,) fp32: 0 and above is familiar, below 0 is not."""
        return features @ self.weights + self.bias


def save_probe(probe: Probe, path: Path) -> None:
    """Writes the file whole or not at all. Raises OSError."""
    from safetensors.torch import save

    tensors = {"weights": probe.weights.float().cpu().contiguous()}
    data = save(tensors, metadata={"bias": repr(probe.bias)})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_probe(path: Path) -> Probe:
    """What `save_probe` wrote; whatever goes wrong with another file is raised as it comes."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return Probe(file.get_tensor("weights"), float(file.metadata()["bias"]))


def with_doubt(reply: str) -> str:
    """A reply about an unfamiliar picture; one that has not begun stays empty."""
    return f"{UNSURE} {reply}" if reply else ""


def without_doubt(reply: str) -> str:
    """What the model itself said: it is not to read, or be taught, what was put before it."""
    return reply.removeprefix(f"{UNSURE} ")
