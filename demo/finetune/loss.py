"""From examples to their loss, with the adapter on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.examples import IGNORED, Example
from demo.finetune.frozen import Frozen

KEPT = 2.0  # weight of what changes in rehearsed texts: at 1 a voice cost 16 % of perplexity


def loss_of(
    frozen: Frozen,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    rehearsed: Sequence[Example] = (),
) -> Tensor:
    """Mean cross-entropy of the marked tokens, and what changes in `rehearsed` texts, in nats.

    Only those tokens' softmaxes are made.
    """
    untaught = frozen.untaught(adapter, rehearsed) if rehearsed else None
    hidden = frozen.hidden(adapter, [*examples, *rehearsed], features)
    labels = labels_of(examples).to(hidden.device)
    known = labels != IGNORED
    taught = hidden[: len(labels)][known]
    loss = frozen.head.surprise(taught, labels[known]).mean()
    if untaught is None:
        return loss
    return loss + KEPT * frozen.head.divergence(hidden[len(labels) :], untaught).mean()


def labels_of(examples: Sequence[Example]) -> Tensor:
    """(N,) of all tokens, one example after the other."""
    return torch.tensor([label for example in examples for label in example.labels])


def gates_of(adapter: Adapter) -> tuple[float, ...]:
    """Mean |tanh(gate)| of each layer, rounded for a log."""
    means = torch.tanh(adapter.gate.detach()).abs().mean(1)
    return tuple(round(mean, 6) for mean in means.tolist())
