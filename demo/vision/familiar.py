"""How much a picture is like what the tower was taught, and what is said of one that is not.

A tower taught with captions puts a picture of a known kind near that kind's caption. One that is
far from all captions is of a kind it never saw, whatever an adapter answers. Sizes: N captions,
E numbers of the tower's common space, B pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from demo.files import replace_file

if TYPE_CHECKING:
    from torch import Tensor

CAPTIONS = "captions.safetensors"  # in the tower's folder, beside its weights
UNSURE = "I am not sure about this picture: it is unlike those I learned from."


@dataclass(frozen=True)
class Captions:
    """Every caption a tower was taught, and how near a picture has to come to one of them.

    Attributes:
        vectors: (N, E) fp16 unit vectors.
        threshold: the least cosine to the nearest caption of a picture that is called familiar.

    Raises:
        ValueError: no vectors, not unit ones, or a threshold that is no cosine.
    """

    vectors: Tensor = field(repr=False)
    threshold: float

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.vectors):
            raise ValueError(f"captions are {tuple(self.vectors.shape)}, not (N, E)")
        lengths = self.vectors.float().norm(dim=1)
        if not ((lengths - 1).abs() < 0.01).all():  # NaN is not below it either
            raise ValueError("captions are not unit vectors")
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"a threshold of {self.threshold} is no cosine")

    def nearest(self, embeddings: Tensor) -> Tensor:
        """Each picture's cosine to its nearest caption: (B, E) unit vectors -> (B,) fp32."""
        return (embeddings @ self.vectors.float().T).amax(1)


def save_captions(captions: Captions, path: Path) -> None:
    """Writes the file whole or not at all. Raises OSError."""
    from safetensors.torch import save

    tensors = {"captions": captions.vectors.half().cpu().contiguous()}
    data = save(tensors, metadata={"threshold": repr(captions.threshold)})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_captions(path: Path) -> Captions:
    """What `save_captions` wrote; whatever goes wrong with another file is raised as it comes."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return Captions(file.get_tensor("captions"), float(file.metadata()["threshold"]))


def with_doubt(reply: str) -> str:
    """A reply about an unfamiliar picture; one that has not begun stays empty."""
    return f"{UNSURE} {reply}" if reply else ""


def without_doubt(reply: str) -> str:
    """What the model itself said: it is not to read, or be taught, what was put before it."""
    return reply.removeprefix(f"{UNSURE} ")
