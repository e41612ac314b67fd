"""From a batch to its loss, with the adapter on."""

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.finetune.examples import IGNORED, Batch
from demo.llama.model import Llama


def loss_of(model: Llama, adapter: Adapter, batch: Batch, below: Tensor) -> Tensor:
    """Mean cross-entropy of the marked tokens, in nats. Logits are made for those alone."""
    hidden = hidden_of(model, adapter, batch, below)
    known = (batch.labels != IGNORED).to(hidden.device)
    return F.cross_entropy(model.logits(hidden[known]), batch.labels.to(hidden.device)[known])


def hidden_of(
    model: Llama, adapter: Adapter, batch: Batch, below: Tensor, *, strength: float = 1.0
) -> Tensor:
    """Final hidden states (B, T, D) of a batch with the adapter on; `strength` 0 is the base.

    Args:
        below: what enters the adapter's first layer, (B, T, D).
    """
    first = model.config.layers - adapter.spec.layers
    features = None if batch.features is None else batch.features.to(below.device)
    prefix = adapter.prefix(model, features, strength=strength)
    x = model.run(below, range(first, model.config.layers), prefix=prefix)
    return model.finish(x)


def gates_of(adapter: Adapter) -> tuple[float, ...]:
    """Mean |tanh(gate)| of each layer, rounded for a log."""
    means = torch.tanh(adapter.gate.detach()).abs().mean(1)
    return tuple(round(mean, 6) for mean in means.tolist())
