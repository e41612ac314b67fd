"""Teaches a projection to say what `sight_told.py` would have it say of what it sees.

That takes a minute, and the base is not asked: what is learned afterwards, through the base, is to
use what is said, not a language to say it in.
"""

import json

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.recipes.sight_pictures import UNKNOWN, Seen

BATCH, EPOCHS, RATE = 256, 8, 1e-3
NEAR = 8.0  # logits between one kind's states and another's, on average


def fit(adapter: Adapter, aim: Tensor, seen: Seen, *, epochs: int = EPOCHS, seed: int = 0) -> float:
    """Fits the projection in place → share of held-out looks told right.

    A look is told right when what the projection says is nearest to what its own kind is called.

    Args:
        aim: (K, Q, D), what is to be said of each kind (`sight_told.targets`).

    Raises:
        ValueError: the projection does not give each prompt a vector of its own.
    """
    spec = adapter.spec
    if spec.visual is None or spec.visual.slots != spec.prompts:
        raise ValueError("only a projection with a vector for each prompt can be fitted")
    aim, known = aim.flatten(1), seen.kinds != UNKNOWN  # (K, Q * D)
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
