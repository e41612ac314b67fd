"""The frozen base as a run uses it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.below import Below
from demo.finetune.examples import Example
from demo.llama.adapted import adapted_layers
from demo.llama.head import head_of
from demo.llama.model import Llama


class Frozen:
    """What the base makes of examples with an adapter in its last layers.

    Args:
        layers: that the adapter lives in.
        examples: all that will be asked for.
    """

    def __init__(self, model: Llama, layers: int, examples: Sequence[Example]) -> None:
        self.model, self.head = model, head_of(model)
        self._above = adapted_layers(model)
        self.below = Below(model, self._above, model.config.layers - layers, examples)
        self._untaught: dict[Example, Tensor] = {}

    def hidden(
        self,
        adapter: Adapter,
        examples: Sequence[Example],
        features: Tensor | None,
        *,
        strength: float = 1.0,
    ) -> Tensor:
        """Final hidden states (N, D) of the examples' N tokens, one example after the other.

        Args:
            features: (pictures, S), what the examples' `picture` rows point to.
            strength: 0 is the base.
        """
        lengths = torch.tensor([len(example.ids) for example in examples])
        rows = [example.picture for example in examples]
        seen = None if features is None or rows[0] is None else features[rows]
        seen = None if seen is None else seen.to(self.model.device)
        prefix = adapter.prefix(self.model, seen, strength=strength)
        return self.model.finish(self._above(self.below.of(examples), lengths, prefix))

    def untaught(self, adapter: Adapter, texts: Sequence[Example]) -> Tensor:
        """What the base foresees in texts (`head.foreseen`), which is kept."""
        if new := [text for text in texts if text not in self._untaught]:
            with torch.no_grad():
                found = self.head.foreseen(self.hidden(adapter, new, None, strength=0.0))
            parts = found.split([len(text.ids) for text in new])
            self._untaught.update(zip(new, (part.clone() for part in parts), strict=True))
        return torch.cat([self._untaught[text] for text in texts])
