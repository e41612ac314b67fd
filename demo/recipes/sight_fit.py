"""A beginning for `sight`: a projection that says to the base what the base itself would read.

An adapter's prompts are keys and values like those of a text. So before anything is learned through
the base, the projection is fitted to what the base makes of a picture's name where it is written
out: prompt by prompt, the states of the name's tokens. That takes a minute, and what is learned
afterwards is to use what is said, not a language to say it in.
"""

import json
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.llama.model import Llama
from demo.llama.tokenizer import Tokenizer
from demo.recipes.sight_lessons import Known
from demo.recipes.sight_pictures import UNKNOWN, Seen

BATCH, EPOCHS, RATE = 256, 8, 1e-3
NEAR = 8.0  # logits between one kind's states and another's, on average
WRITTEN = "The picture shows {}, {}."
OPEN = 0.3  # tanh of the gates to begin with
FAINT = 0.05  # deviation of the prompts' own numbers


@torch.no_grad()
def written_states(
    model: Llama, tokenizer: Tokenizer, name: str, group: str, layers: int, slots: int
) -> Tensor:
    """(slots, D): the tokens of "a king penguin, a bird" as the last `layers` layers read them.

    Mean over those layers of what enters the attention; the last token stands in all slots left.
    """
    text = WRITTEN.format(name, group)
    ids = tokenizer.encode_text(text)
    before = len(tokenizer.encode_text(WRITTEN.split("{}")[0].rstrip()))
    first = model.config.layers - layers
    x = model.run(model.embed(torch.tensor([ids])), range(first))
    total = torch.zeros_like(x)
    for layer in range(first, model.config.layers):
        total += model.norm(x, model.weights.attention_norm[layer])
        x = model.run(x, range(layer, layer + 1))
    states = total[0, before:-1] / layers  # without the full stop
    places = torch.arange(slots).clamp(max=len(states) - 1)
    return states[places].float()


def targets(
    model: Llama, tokenizer: Tokenizer, kinds: Sequence[Known], layers: int, slots: int
) -> Tensor:
    """(K, slots, D) of every kind."""
    return torch.stack(
        [written_states(model, tokenizer, k.name, k.group, layers, slots) for k in kinds]
    )


def fit(
    adapter: Adapter,
    model: Llama,
    tokenizer: Tokenizer,
    kinds: Sequence[Known],
    seen: Seen,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
) -> float:
    """Fits the projection in place and opens the gates → share of held-out looks told right.

    A look is told right when what the projection says is nearest to its own kind's states.

    Raises:
        ValueError: the projection does not give each prompt a vector of its own.
    """
    spec = adapter.spec
    if spec.visual is None or spec.visual.slots != spec.prompts:
        raise ValueError("only a projection with a vector for each prompt can be fitted")
    said = targets(model, tokenizer, kinds, spec.layers, spec.prompts)  # (K, slots, D)
    centre, known = said.mean(0), seen.kinds != UNKNOWN
    with torch.no_grad():
        adapter.prompts.copy_(centre + FAINT * adapter.prompts)
        adapter.gate.fill_(torch.tensor(OPEN).atanh())
    aim = (said - centre).flatten(1)  # (K, slots * D)
    rows = torch.nonzero(known & ~seen.held_out)[:, 0]
    judged = torch.nonzero(known & seen.held_out)[:, 0]
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(adapter.visual.parameters(), RATE, weight_decay=0.01)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for part in rows[torch.randperm(len(rows), generator=generator)].split(BATCH):
            found = adapter.visual(seen.features[part].float()).flatten(1)
            kinds_there = seen.kinds[part]
            # Near the states, and nearer to its own kind's than to any other's.
            off = F.mse_loss(found, aim[kinds_there]) / aim.square().mean()
            loss = off + F.cross_entropy(_nearness(found, aim), kinds_there)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(part)
        right = _told(adapter, seen, judged, aim)
        print(json.dumps({"fit": epoch + 1, "loss": total / len(rows), "right": right}), flush=True)
    return right


@torch.no_grad()
def _told(adapter: Adapter, seen: Seen, rows: Tensor, aim: Tensor) -> float:
    right = 0
    for part in rows.split(BATCH):
        found = adapter.visual(seen.features[part].float()).flatten(1)
        right += int((_nearness(found, aim).argmax(1) == seen.kinds[part]).sum())
    return round(right / max(1, len(rows)), 4)


def _nearness(found: Tensor, aim: Tensor) -> Tensor:
    """(B, K), by squared distance from (B, N) to (K, N); |found| is the same for all kinds."""
    size = aim.square().sum(1)  # (K,)
    return (found @ aim.T - size / 2) * (NEAR / size.mean())
