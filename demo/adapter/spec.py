"""The shape of an adapter, without its numbers.

Apart from the modules that hold the numbers, because a folder of adapters is listed before torch
is there.
"""

from dataclasses import dataclass
from typing import Literal

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig


@dataclass(frozen=True)
class VisualSpec:
    """The shape of a projection, as the passport holds it."""

    feature_size: int  # S
    hidden: int
    kind: Literal["global-mlp"] = "global-mlp"

    def __post_init__(self) -> None:
        if self.kind != "global-mlp":
            raise CheckpointError(
                f"This adapter projects images by '{self.kind}'; this version knows 'global-mlp'."
            )
        if not (1 <= self.feature_size <= 65_536 and 1 <= self.hidden <= 65_536):
            raise CheckpointError(
                f"This adapter's visual projection has sizes {self.feature_size} and "
                f"{self.hidden}; 1 to 65,536 is possible."
            )

    def parameters(self, width: int) -> int:
        """Numbers that are trained, for a base of `width`."""
        return (self.feature_size + 1) * self.hidden + (self.hidden + 1) * width


@dataclass(frozen=True)
class AdapterSpec:
    """The shape of an adapter, as the passport holds it."""

    layers: int  # L, the last ones of the base
    prompts: int  # K
    width: int  # D
    heads: int  # H
    visual: VisualSpec | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "prompts", "width", "heads"):
            value = getattr(self, name)
            if not (isinstance(value, int) and 1 <= value <= 65_536):
                raise CheckpointError(
                    f"This adapter has {name} {value!r}; 1 to 65,536 is possible."
                )

    @classmethod
    def for_base(
        cls, config: LlamaConfig, *, layers: int, prompts: int, visual: VisualSpec | None = None
    ) -> "AdapterSpec":
        """A spec that fits a base."""
        return cls(layers, prompts, config.width, config.heads, visual)

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        prompts = self.layers * (self.prompts * self.width + self.heads)
        return prompts + (self.visual.parameters(self.width) if self.visual else 0)

    def check_fits(self, config: LlamaConfig, base: str) -> None:
        """Raises CheckpointError with both shapes when the base has another one."""
        fits = (self.width, self.heads) == (config.width, config.heads)
        if not fits or self.layers > config.layers:
            raise CheckpointError(
                f"This adapter is for a base of width {self.width} with {self.heads} heads and at "
                f"least {self.layers} layers; {base} has width {config.width}, {config.heads} "
                f"heads and {config.layers} layers. Start with the base it was made for."
            )
