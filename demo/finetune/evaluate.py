"""How often an adapter's greedy reply is exactly the expected one."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.below import Below
from demo.finetune.examples import IGNORED, Batch, Example
from demo.finetune.trainer import hidden_of
from demo.llama.model import Llama


def exact(
    model: Llama,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    *,
    batch: int = 64,
) -> Iterator[bool]:
    """For each example in order, whether greedy decoding gives all its marked tokens.

    Greedy decoding reproduces a text exactly when each of its tokens, its end included, is the
    likeliest after those before it, so one pass over the expected text decides. Examples with the
    same text share what the layers below the adapter compute.
    """
    below = Below(model, model.config.layers - adapter.spec.layers)
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        with torch.inference_mode():
            yield from _exact(model, adapter, Batch.of(part, features), below.of(part))


def _exact(model: Llama, adapter: Adapter, batch: Batch, below: Tensor) -> list[bool]:
    hidden = hidden_of(model, adapter, batch, below)  # (B, T, D)
    known = batch.labels != IGNORED
    right = torch.ones_like(known)
    right[known] = model.logits(hidden[known]).argmax(-1) == batch.labels[known]
    return right.all(1).tolist()
