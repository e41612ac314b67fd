"""How a LLaMA stretches its rotary positions over a longer window than it was first trained on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demo.errors import CheckpointError


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched for a longer window.

    `linear` divides every frequency by `factor`. `llama3` divides only the slow ones, with a smooth
    band between `low_frequency` and `high_frequency` turns over the `original_context` tokens of
    the first training (Llama 3.1).

    Raises:
        CheckpointError: another kind of scaling, named, or constants out of range.
    """

    kind: str  # "linear" or "llama3"
    factor: float
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    original_context: int = 8192

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3"):
            raise CheckpointError(
                f"This model stretches its rotary positions by '{self.kind:.40}'; linear and "
                "llama3 scaling are supported. Choose a LLaMA with one of these or with none."
            )
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise CheckpointError(
                f"The model's rotary scaling factor is {self.factor}; it must be a number above 0. "
                "Fetch the model again."
            )
        if not 0 < self.low_frequency < self.high_frequency or self.original_context < 1:
            raise CheckpointError(
                f"The model's llama3 rotary band is {self.low_frequency} to {self.high_frequency} "
                f"turns over {self.original_context} tokens; its low end must be above 0 and below "
                "its high end. Fetch the model again."
            )

    @classmethod
    def from_hf(cls, rope: Mapping[str, Any]) -> "RopeScaling | None":
        """From `rope_scaling` of transformers 4 or `rope_parameters` of transformers 5."""
        kind = rope.get("rope_type") or rope.get("type") or "default"
        if kind == "default":
            return None
        return cls(
            kind=str(kind),
            factor=float(rope.get("factor", 1.0)),
            low_frequency=float(rope.get("low_freq_factor", 1.0)),
            high_frequency=float(rope.get("high_freq_factor", 4.0)),
            original_context=int(rope.get("original_max_position_embeddings", 8192)),
        )

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "RopeScaling | None":
        """From GGUF keys. Only `linear` is written there: llama3 comes as a tensor of factors."""
        old = metadata.get("llama.rope.scale_linear") or 1.0
        kind = metadata.get("llama.rope.scaling.type", "linear" if old != 1.0 else "none")
        if kind == "none":
            return None
        return cls(str(kind), float(metadata.get("llama.rope.scaling.factor", old)))
