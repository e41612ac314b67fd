"""How well an adapter does: loss, exact replies, and what it costs on ordinary text."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.examples import IGNORED, Example
from demo.finetune.frozen import Frozen
from demo.finetune.loss import labels_of
from demo.llama.model import Llama


class Measured(NamedTuple):
    """Mean loss in nats a marked token, and the share of exact replies, 0 to 1."""

    loss: float
    exact: float


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
    frozen = Frozen(model, adapter.spec.layers, examples)
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        yield from _judge(frozen, adapter, part, features, 1.0)[1]


def measure(
    frozen: Frozen,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    *,
    strength: float = 1.0,
    batch: int = 32,
) -> Measured:
    """Loss and exactness of examples in one pass; `strength` 0 measures the base."""
    total, tokens, right = 0.0, 0, 0
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        losses, hits = _judge(frozen, adapter, part, features, strength)
        total += losses.double().sum().item()
        tokens += len(losses)
        right += sum(hits)
    return Measured(total / tokens, right / len(examples))


def perplexities(model: Llama, adapter: Adapter, ids: Sequence[int]) -> tuple[float, float]:
    """Of a plain text, `ids` (T,) with T at least 2, its first token given → the base's, and with
    the adapter; at most e^700 each.
    """
    text = Example(tuple(ids[:-1]), tuple(ids[1:]))
    frozen = Frozen(model, adapter.spec.layers, [text])
    off, on = (measure(frozen, adapter, [text], None, strength=s).loss for s in (0.0, 1.0))
    # A diverged adapter may pass what fits a double.
    return math.exp(min(off, 700.0)), math.exp(min(on, 700.0))


def _judge(
    frozen: Frozen,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    strength: float,
) -> tuple[Tensor, list[bool]]:
    """The loss of each marked token, and for each example whether all of its are the likeliest."""
    # Not inference mode: what lies below is kept, and used in training too.
    with torch.no_grad():
        hidden = frozen.hidden(adapter, examples, features, strength=strength)  # (N, D)
        labels = labels_of(examples).to(hidden.device)
        known = labels != IGNORED
        losses, hits = frozen.head.judge(hidden[known], labels[known])
        right = torch.ones_like(known)
        right[known] = hits
        parts = right.split([len(example.ids) for example in examples])
        return losses, [bool(part.all()) for part in parts]
