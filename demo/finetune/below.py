"""What the layers under an adapter make of a text: it never changes, so it is computed once.

Those layers see neither the adapter nor a picture. Many examples share their text (a question asked
of a hundred pictures), so texts are kept, not examples.

A product of matrices rounds differently in other company: padded to another length, the same text
differs in its last bits. A run that is resumed meets its texts in another order than one that was
never stopped, and must end in the same bytes. So which texts are computed together, and which are
kept at all, follows from the data set alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from demo.finetune.examples import Example
from demo.llama.adapted import CompiledLayers, TorchLayers
from demo.llama.model import Llama

Text = tuple[int, ...]
TOGETHER = 16  # texts, of similar length


class Below:
    """Hidden states that enter layer `first`, by token ids.

    Args:
        layers: what runs them, and nothing else at the same time.
        examples: all that will be asked for; what is kept is planned from them.
        limit_bytes: of what is kept. Texts beyond it are computed each time they are asked for.
    """

    def __init__(
        self,
        model: Llama,
        layers: CompiledLayers | TorchLayers,
        first: int,
        examples: Sequence[Example],
        limit_bytes: int = 512 * 2**20,
    ) -> None:
        self._model, self._layers, self._first = model, layers, first
        self._kept: dict[Text, Tensor] = {}
        self._group: dict[Text, list[Text]] = {}
        texts = sorted({example.ids for example in examples}, key=lambda ids: (len(ids), ids))
        room = limit_bytes if first else 0  # an embedding is looked up as fast as what is kept
        for start in range(0, len(texts), TOGETHER):
            group = texts[start : start + TOGETHER]
            room -= sum(map(len, group)) * model.config.width * 4
            if room < 0:
                break
            self._group.update(dict.fromkeys(group, group))

    def of(self, examples: Sequence[Example]) -> Tensor:
        """(B, T, D) fp32 of a batch, zero where an example is shorter than the longest."""
        asked = dict.fromkeys(example.ids for example in examples)
        for ids in asked:
            if ids in self._group and ids not in self._kept:
                self._kept.update(self._compute(self._group[ids]))
        others = [ids for ids in asked if ids not in self._group]
        states = {**self._kept, **self._compute(others)} if others else self._kept
        longest = max(map(len, asked))
        out = torch.zeros(
            len(examples), longest, self._model.config.width, device=self._model.device
        )
        for row, example in enumerate(examples):
            out[row, : len(example.ids)] = states[example.ids]
        return out

    def _compute(self, texts: list[Text]) -> dict[Text, Tensor]:
        longest = max(map(len, texts))
        ids = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
        sizes = [len(text) for text in texts]
        with torch.no_grad():
            embedded = self._model.embed(ids.to(self._model.device))
        if self._first:
            states = self._layers.plain(embedded, torch.tensor(sizes), self._first).split(sizes)
        else:
            states = [embedded[row, :size] for row, size in enumerate(sizes)]
        return {text: part.clone() for text, part in zip(texts, states, strict=True)}
