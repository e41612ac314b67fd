"""The training loop as a generator of events, over plain objects.

Only prompts, gates and the visual projection learn; the 8-bit base stays as it is. No page, thread
or disk here: whoever iterates decides what a step is worth, and stops by not asking for the next.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.finetune.below import Below
from demo.finetune.examples import IGNORED, Batch, Example
from demo.llama.model import Llama


@dataclass(frozen=True)
class TrainSettings:
    """The recipe. Defaults learn easy-VQA on the embedded base.

    The rates of prompts, gates and projection warm up over `warmup` steps and fall along a half
    cosine.
    """

    steps: int
    batch: int = 32
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 5e-4
    weight_decay: float = 0.02
    warmup: int = 20
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.warmup) < 1:
            raise ValueError("steps, batch and warmup are at least 1")

    def scale(self, step: int) -> float:
        """The share of the learning rate used at `step`, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 * (
            1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup))
        )


@dataclass(frozen=True)
class Step:
    """One step done: its number from 1, loss in nats a token, mean |tanh(gate)|."""

    step: int
    loss: float
    gate: float


def train(
    model: Llama,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    settings: TrainSettings,
) -> Iterator[Step]:
    """Teaches `adapter` in place; yields after every step.

    Args:
        features: (pictures, S), what the examples' `picture` rows point to.
    """
    optimizer = make_optimizer(adapter, settings)
    random = torch.Generator().manual_seed(settings.seed)
    batches = draw(examples, settings, random)
    below = Below(model, model.config.layers - adapter.spec.layers)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["top"] * settings.scale(step)
        part = next(batches)
        loss = loss_of(model, adapter, Batch.of(part, features), below.of(part))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), settings.clip)
        optimizer.step()
        yield Step(step + 1, loss.item(), adapter.gate.detach().tanh().abs().mean().item())


def make_optimizer(adapter: Adapter, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with a group each for prompts, gates and projection."""
    groups = [
        {"params": [adapter.prompts], "top": settings.rate},
        {"params": [adapter.gate], "top": settings.gate_rate},
    ]
    if adapter.visual:
        groups.append({"params": list(adapter.visual.parameters()), "top": settings.visual_rate})
    return torch.optim.AdamW(
        groups, lr=settings.rate, betas=(0.9, 0.95), weight_decay=settings.weight_decay
    )


def loss_of(model: Llama, adapter: Adapter, batch: Batch, below: Tensor) -> Tensor:
    """Mean cross-entropy of the marked tokens, in nats. Logits are made for those alone."""
    hidden = hidden_of(model, adapter, batch, below)
    known = batch.labels != IGNORED
    return F.cross_entropy(model.logits(hidden[known]), batch.labels[known])


def hidden_of(model: Llama, adapter: Adapter, batch: Batch, below: Tensor) -> Tensor:
    """Final hidden states (B, T, D) of a batch with the adapter on.

    Args:
        below: what enters the adapter's first layer, (B, T, D).
    """
    first = model.config.layers - adapter.spec.layers
    prefix = adapter.prefix(model, batch.features)
    x = model.run(below, range(first, model.config.layers), prefix=prefix)
    return model.finish(x)


def draw(
    examples: Sequence[Example], settings: TrainSettings, random: torch.Generator
) -> Iterator[list[Example]]:
    """Endless batches: every example once an epoch, those of a batch alike in length.

    An epoch is shuffled, cut into pools of 16 batches, each pool sorted by length and cut into
    batches, and the batches are shuffled again.
    """
    pool = 16 * settings.batch
    while True:
        order = torch.randperm(len(examples), generator=random).tolist()
        batches = []
        for start in range(0, len(order), pool):
            chunk = sorted(order[start : start + pool], key=lambda i: len(examples[i].ids))
            batches += [chunk[i : i + settings.batch] for i in range(0, len(chunk), settings.batch)]
        for index in torch.randperm(len(batches), generator=random).tolist():
            yield [examples[i] for i in batches[index]]
