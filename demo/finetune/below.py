"""What the layers under an adapter make of a text: it never changes, so it is computed once.

Those layers see neither the adapter nor a picture. Many examples share their text (a question asked
of a hundred pictures), so texts are kept, not examples, and the oldest are dropped when a bound on
bytes is reached.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from demo.finetune.examples import Example
from demo.llama.model import Llama


class Below:
    """Hidden states that enter layer `first`, by token ids."""

    def __init__(self, model: Llama, first: int, limit_bytes: int = 512 * 2**20) -> None:
        self._model, self._first, self._limit = model, first, limit_bytes
        self._kept: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()
        self._bytes = 0

    def of(self, examples: Sequence[Example]) -> Tensor:
        """(B, T, D) fp32 of a batch, zero where an example is shorter than the longest."""
        missing = list(dict.fromkeys(e.ids for e in examples if e.ids not in self._kept))
        fresh = self._compute(missing) if missing else {}
        longest = max(len(example.ids) for example in examples)
        out = torch.zeros(
            len(examples), longest, self._model.config.width, device=self._model.device
        )
        for row, example in enumerate(examples):
            states = fresh.get(example.ids)
            out[row, : len(example.ids)] = self._kept[example.ids] if states is None else states
        for ids, states in fresh.items():
            self._keep(ids, states)
        return out

    def _compute(self, texts: list[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
        with torch.no_grad():
            model = self._model
            states = model.run(model.embed(ids.to(model.device)), range(self._first))
        return {text: states[row, : len(text)].clone() for row, text in enumerate(texts)}

    def _keep(self, ids: tuple[int, ...], states: Tensor) -> None:
        self._kept[ids] = states
        self._bytes += states.nbytes
        while self._bytes > self._limit:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
