"""Several processes that teach one adapter together, as `accelerate launch` starts them.

All read the same rows and draw the same order. Of each batch every process computes its share, and
the gradients of all are added up, so every process takes the same step. The first one alone keeps
the log, the checkpoint and the adapter, answers probe questions, and says when to stop.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from demo.adapter.adapter import Adapter
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.train.evaluate import Measured, measure
from demo.finetune.train.loss import FrozenBase, loss_of
from demo.finetune.train.state import TrainingSet

Item = TypeVar("Item")


@dataclass(frozen=True)
class Workers:
    """The processes of one run, seen from one of them.

    Attributes:
        rank: which this one is, the first being 0.
        count: of them all, at least 2.
        device: that accelerate gave this one.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part: every `count`-th, so that long and short ones spread."""
        return items[self.rank :: self.count]

    def told(self, value: Any) -> Any:
        """Return what the first process gives; all must ask at the same point."""
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def total(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over all processes."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return sums.tolist()

    def gradients(
        self,
        frozen: FrozenBase,
        adapter: Adapter,
        batch: Sequence[Example],
        training_set: TrainingSet,
        rehearsed: Sequence[Example],
    ) -> float:
        """Leave in `adapter` the gradient of the whole batch's loss; return that loss in nats.

        Each process weighs its part by its tokens, so the sum is that of one process alone.
        """
        busy = min(self.count, len(batch))  # an epoch's last batch may be short
        mine, kept = self.share(batch), rehearsed[self.rank :: busy] if self.rank < busy else []
        rest = training_set.rehearsal_weight * _tokens(kept) / max(1, _tokens(rehearsed))
        weights = _tokens(mine) / _tokens(batch), rest
        nats = torch.zeros((), device=self.device)
        if mine:
            loss = loss_of(frozen, adapter, mine, training_set.features, kept, weights=weights)
            loss.backward()
            nats = loss.detach()
        parts = list(adapter.parameters())
        has = torch.tensor([part.grad is not None for part in parts], device=self.device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parts]
        flat = torch.cat([nats.reshape(1).float(), has.float(), *(g.flatten() for g in grads)])
        distributed.all_reduce(flat)
        known = flat[1 : 1 + len(parts)].tolist()
        sizes = [part.numel() for part in parts]
        for part, any_has, grad in zip(
            parts, known, flat[1 + len(parts) :].split(sizes), strict=True
        ):
            part.grad = grad.view_as(part).clone() if any_has else None
        return float(flat[0])

    def measured(
        self,
        frozen: FrozenBase,
        adapter: Adapter,
        examples: Sequence[Example],
        features: Tensor | None,
    ) -> Measured:
        """Measure examples, each process its share; all get the whole's loss and exactness."""
        mine = self.share(examples)
        found = measure(frozen, adapter, mine, features) if mine else Measured(0.0, 0.0)
        tokens = _tokens(mine)
        nats, count, right = self.total([found.loss * tokens, tokens, found.exact * len(mine)])
        return Measured(nats / count, right / len(examples))


def join() -> Workers | None:
    """Join the other processes of this launch; None where this one is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return Workers(state.process_index, state.num_processes, state.device)


def _tokens(examples: Sequence[Example]) -> int:
    """Count the tokens that are learned."""
    return sum(label != IGNORED for example in examples for label in example.labels)
