"""An adapter for facts before its first step: where each fact's prompts begin.

They begin at what each layer of the base makes of the fact itself, its question and its answer:
of the right size, and with the answer's own keys and values in them.

Sizes: L adapted layers, K prompts a layer, D model width.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.data.examples import IGNORED
from demo.finetune.data.fact_rows import PooledFacts
from demo.finetune.train.config import FACTS_GATE, TrainingOptions
from demo.llama.model import Llama


def new_pool(choices: TrainingOptions, model: Llama, pool: PooledFacts) -> Adapter:
    """Return an adapter whose facts are all to be learned.

    Args:
        choices: of the run.
        model: the base.
        pool: what is learned.
    """
    adapter = Adapter(replace(choices.spec(model.config, None), facts=len(pool.facts)))
    torch.nn.init.constant_(adapter.gate, math.atanh(FACTS_GATE))
    _begin(adapter, model, pool)
    return adapter


def grown(before: Adapter, model: Llama, pool: PooledFacts) -> Adapter:
    """Return an adapter with what another knows, and room for what it is taught more.

    Args:
        before: with a pool; facts that are learned anew begin anew.
        model: the base.
        pool: what is known at the end of the run.
    """
    adapter = Adapter(replace(before.spec, facts=len(pool.facts)))
    assert adapter.pool
    assert before.pool
    taught = {item.example.picture for item in pool.learned}
    with torch.no_grad():
        adapter.gate.copy_(before.gate)
        for place, group in enumerate(before.pool.groups):
            if place not in taught:
                adapter.pool.groups[place].copy_(group)
    _begin(adapter, model, pool)
    return adapter


def _begin(adapter: Adapter, model: Llama, pool: PooledFacts) -> None:
    assert adapter.pool
    # The first wording of a fact is the one that was taught.
    first = {item.example.picture: item.example for item in reversed(pool.learned)}
    for place, example in first.items():
        assert place is not None
        reply = sum(label != IGNORED for label in example.labels)
        begin_group(adapter.pool.groups[place], model, example.ids, reply)


@torch.no_grad()
def begin_group(group: Tensor, model: Llama, ids: Sequence[int], reply: int) -> None:
    """Set a fact's prompts (L, K, D) to what each layer makes of a chat about it.

    The first is the chat's first token, where heads rest that look for nothing, the others are its
    last ones: what comes before the reply, and the reply.

    Args:
        group: changed in place.
        model: the base.
        ids: of the chat, with the reply.
        reply: tokens of it that are learned.
    """
    layers, prompts, _ = group.shape
    rest = max(prompts - 1, 0)
    last = range(max(1, len(ids) - max(rest, reply)), len(ids))  # a long reply from its beginning
    chosen = sorted(
        [0, *(last[i % len(last)] for i in range(rest))] if len(ids) > 1 else [0] * prompts
    )
    first = model.config.layers - layers
    x = model.embed(torch.tensor([list(ids)], device=model.device))
    for layer in range(model.config.layers):
        if layer >= first:
            states = model.norm(x, model.weights.attention_norm[layer])[0]  # (T, D)
            group[layer - first] = states[chosen].to(group.device)
        x = model.run(x, range(layer, layer + 1))
