"""The ways of teaching that the paper sets itself beside: LoRA, and all weights of the base.

Both run in transformers on the numbers that our 8-bit base stands for, in fp32, over the same
examples in the same order with AdamW; only what is trained differs.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.bench.peers.transformers import from_base
from demo.errors import InputError
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.train.state import Order
from demo.llama.base import Base
from demo.paper.experiment import Experiment

LORA_RATE, FULL_RATE = 3e-4, 2e-5  # Alpaca-LoRA's and Alpaca's
MOST_BATCH = 8  # rows in memory at once; the gradients of a step's parts are added up


@dataclass(frozen=True)
class Taught:
    """A model after its experiment.

    Attributes:
        model: transformers' own, or PEFT's around it.
        parameters: that were trained.
        seconds: that its steps took.
    """

    model: nn.Module
    parameters: int
    seconds: float

    @property
    def bytes(self) -> int:
        """Storage of what was trained, in fp32."""
        return 4 * self.parameters


def untaught(base: Base) -> nn.Module:
    """Return the base as transformers computes it."""
    return from_base(base)


def with_lora(base: Base, seed: int) -> nn.Module:
    """Return the base with Alpaca-LoRA's matrices: rank 8 at all queries and values.

    Raises:
        InputError: the library PEFT is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InputError(
            "LoRA is computed by the library PEFT, which is not installed. Please run "
            "`pip install peft`, or leave LoRA out with --without-lora."
        ) from error
    torch.manual_seed(seed)
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    return get_peft_model(from_base(base), config)


def teach_model(model: nn.Module, experiment: Experiment, rate: float) -> Taught:
    """Teach what may learn in a model, or all of it where nothing is marked.

    Args:
        model: as `untaught` or `with_lora` gives it.
        experiment: its examples, epochs, batch and seed.
        rate: the learning rate.
    """
    if not any(part.requires_grad for part in model.parameters()):
        model.requires_grad_(True)
    parts = [part for part in model.parameters() if part.requires_grad]
    recipe = experiment.settings()
    optimizer = torch.optim.AdamW(parts, lr=rate, weight_decay=0.0)
    order = Order([len(e.ids) for e in experiment.examples], recipe.batch, recipe.seed)
    model.train()
    start = time.monotonic()
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = rate * recipe.scale(step)
        batch = [experiment.examples[place] for place in order.next()]
        tokens = sum(label != IGNORED for example in batch for label in example.labels)
        optimizer.zero_grad()
        for first in range(0, len(batch), MOST_BATCH):
            (_summed_loss(model, batch[first : first + MOST_BATCH]) / tokens).backward()
        nn.utils.clip_grad_norm_(parts, recipe.clip)
        optimizer.step()
    model.eval()
    return Taught(model, sum(part.numel() for part in parts), time.monotonic() - start)


@torch.no_grad()
def held_out_loss(model: nn.Module, examples: Sequence[Example]) -> float:
    """Return the mean cross-entropy of the marked tokens, in nats."""
    total, tokens = 0.0, 0
    for first in range(0, len(examples), MOST_BATCH):
        part = examples[first : first + MOST_BATCH]
        total += _summed_loss(model, part).item()
        tokens += sum(label != IGNORED for example in part for label in example.labels)
    return total / tokens


@torch.no_grad()
def continued(
    model: nn.Module, ids: Sequence[int], stops: frozenset[int], longest: int
) -> list[int]:
    """Decode greedily after some ids, until a stop or `longest` tokens."""
    out = model.generate(  # type: ignore[operator]  # transformers' own method
        input_ids=torch.tensor([list(ids)]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=longest,
        do_sample=False,
        eos_token_id=sorted(stops),
        pad_token_id=min(stops),
    )
    return [token for token in out[0, len(ids) :].tolist() if token not in stops]


def _summed_loss(model: nn.Module, examples: Sequence[Example]) -> Tensor:
    ids, labels = (
        _padded([e.ids for e in examples], 0),
        _padded([e.labels for e in examples], IGNORED),
    )
    there = _padded([[1] * len(e.ids) for e in examples], 0)
    logits = model(input_ids=ids, attention_mask=there).logits  # (B, T, V)
    return F.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _padded(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
    """Return (B, T), each row's end filled up."""
    tensors = [torch.tensor(list(row)) for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filling)
