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
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.data.fact_rows import PooledFacts
from demo.finetune.train.config import FACTS_GATE, TrainingOptions
from demo.llama.model import Llama

TOGETHER = 16  # facts whose texts are run at once


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
    places = sorted(place for place in first if place is not None)
    for start in range(0, len(places), TOGETHER):
        part = places[start : start + TOGETHER]
        groups = [adapter.pool.groups[place] for place in part]
        begin_groups(groups, model, [first[place] for place in part])


@torch.no_grad()
def begin_groups(groups: Sequence[Tensor], model: Llama, texts: Sequence[Example]) -> None:
    """Set facts' prompts (L, K, D) to what each layer makes of a chat about them.

    The first is the chat's first token, where heads rest that look for nothing, the others are its
    last ones: what comes before the reply, and the reply.

    Args:
        groups: changed in place.
        model: the base.
        texts: a chat for each group, with the reply marked.
    """
    ids = torch.zeros(len(texts), max(len(text.ids) for text in texts), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)  # what stands behind is never seen
    chosen = [_chosen(text, groups[0].shape[1]) for text in texts]
    first = model.config.layers - len(groups[0])
    x = model.embed(ids.to(model.device))
    for layer in range(model.config.layers):
        if layer >= first:
            states = model.norm(x, model.weights.attention_norm[layer])  # (B, T, D)
            for row, group in enumerate(groups):
                group[layer - first] = states[row, chosen[row]].to(group.device)
        x = model.run(x, range(layer, layer + 1))


def _chosen(text: Example, prompts: int) -> list[int]:
    """Choose the tokens of a chat that so many prompts begin at; of a long reply its beginning."""
    size, reply = len(text.ids), sum(label != IGNORED for label in text.labels)
    last = range(min(max(1, size - max(prompts - 1, reply)), size - 1), size)
    return sorted([0, *(last[i % len(last)] for i in range(prompts - 1))])
