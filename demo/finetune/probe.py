"""What an adapter answers, greedily, while it is taught: some questions at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.examples import IGNORED, Example
from demo.llama.model import Llama, Prefix
from demo.llama.tokenizer import Tokenizer

LONGEST = 48  # tokens of a reply


class Decoding(Protocol):
    """`llama/decode.py` or `llama/torch_decode.py`."""

    def prefill(
        self, slot: int, ids: Sequence[int], prefix: Prefix | None, *, start: int = 0
    ) -> np.ndarray: ...

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Question:
    """A question as a person reads it, as the model does, and the expected reply if known."""

    text: str
    ids: tuple[int, ...]
    picture: int | None = None
    expected: str = ""

    @classmethod
    def of(cls, text: str, example: Example, tokenizer: Tokenizer) -> "Question":
        """An example up to its first reply that is taught."""
        first = next(i for i, label in enumerate(example.labels) if label != IGNORED)
        reply = []
        for label in example.labels[first:]:
            if label == IGNORED:
                break
            reply.append(label)
        return cls(text, example.ids[: first + 1], example.picture, tokenizer.decode(reply))


def answers(
    decoder: Decoding,
    model: Llama,
    tokenizer: Tokenizer,
    adapter: Adapter,
    questions: Sequence[Question],
    features: Tensor | None,
    *,
    strength: float = 1.0,
) -> tuple[str, ...]:
    """Replies of at most `LONGEST` tokens, in order; as many slots are used as there are questions.

    `strength` 0 asks the base.
    """
    # The decoder follows the machine's load and sets torch's threads; a training step must have
    # the same number as every other, because sums of matrices depend on it.
    threads = torch.get_num_threads()
    try:
        ids: list[list[int]] = []
        for slot, question in enumerate(questions):
            with torch.no_grad():
                picture = question.picture
                seen = None if picture is None else features[[picture]].to(model.device)
                prefix = adapter.prefix(model, seen, strength=strength)
            logits = decoder.prefill(slot, list(question.ids), prefix)
            ids.append([int(np.argmax(logits))])
        _decode(decoder, questions, ids, tokenizer.stop_ids)
    finally:
        torch.set_num_threads(threads)
    return tuple(tokenizer.decode(t for t in row if t not in tokenizer.stop_ids) for row in ids)


def _decode(
    decoder: Decoding, questions: Sequence[Question], ids: list[list[int]], stops: frozenset[int]
) -> None:
    """Adds tokens to each row of `ids` until it ends."""
    while True:
        open_ = [
            slot for slot, row in enumerate(ids) if row[-1] not in stops and len(row) < LONGEST
        ]
        if not open_:
            return
        token = np.array([ids[slot][-1] for slot in open_])
        position = np.array([len(questions[slot].ids) + len(ids[slot]) - 1 for slot in open_])
        logits = decoder.step(token, np.array(open_), position)
        for slot, row in zip(open_, logits, strict=True):
            ids[slot].append(int(np.argmax(row)))
