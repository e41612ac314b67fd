"""A memory that is mended without training: what it says of kinds, and of which medium it is."""

import torch

from checkpoints.recipes.sight.amend import PRIOR, SHARE, retell, split_by_medium
from checkpoints.recipes.sight.memory import NEXT, written_states
from checkpoints.recipes.sight.questions import Known
from checkpoints.recipes.sight.train import SightRecipe, made
from checkpoints.recipes.tests.test_memory import captions
from demo.adapter.adapter import KeyValueMemory
from demo.adapter.config import VisualSpec
from demo.llama.base import load_llama
from demo.vision.ood import OODProbe

BEFORE = tuple(
    Known((f"a {name}",), group, "a thing", medium="photo" if at % 2 else "drawing")
    for at, name in enumerate("abcdefghijkl")
    for group in ("a vehicle" if at < 6 else "a tool",)
)


def test_what_is_known_otherwise_now_is_told_otherwise(small) -> None:
    model = load_llama(small, torch.device("cpu"), 256)
    adapter = made(SightRecipe(layers=2, hidden=32), small, model, captions(), BEFORE)
    memory = adapter.visual
    with torch.no_grad():
        memory.values.weight += 0.01 * torch.randn_like(
            memory.values.weight
        )  # as if it had learned
    after = list(BEFORE)
    after[2] = Known(BEFORE[2].exact, "a tool", "a thing", medium="drawing")
    kept = memory.values.weight.detach().clone()
    told = (memory.outer.weight @ kept).T[2].detach()
    assert retell(memory, model, small.tokenizer, 2, BEFORE, after) == [2]
    others = [at for at in range(kept.shape[1]) if at != 2]
    assert torch.equal(memory.values.weight[:, others], kept[:, others])
    named = memory.slots - memory.attribute_slots
    old, new = (
        written_states(model, small.tokenizer, [kinds[2]], 2, named, sum(NEXT))
        for kinds in (BEFORE, after)
    )
    wanted = (new - old).flatten()
    moved = ((memory.outer.weight @ memory.values.weight).T[2] - told)[: len(wanted)]
    assert torch.cosine_similarity(moved, wanted, 0) > 0.9


def test_a_photograph_is_seldom_taken_for_a_drawing() -> None:
    torch.manual_seed(0)
    spec = VisualSpec(10, 8, "key-value-memory", slots=3, entries=len(BEFORE))
    memory = KeyValueMemory(spec, 8)
    probe, features = OODProbe(torch.eye(10)[0] * 4, -1.0), torch.randn(20, 10)
    was = memory.logits(features).detach()
    split_by_medium(memory, probe, BEFORE)
    odds = features @ probe.weights + probe.bias + PRIOR
    photo = torch.tensor([kind.medium == "photo" for kind in BEFORE])
    change = memory.logits(features).detach() - was
    assert torch.allclose(change[:, photo], SHARE * odds[:, None].expand(-1, 6), atol=1e-5)
    assert torch.allclose(change[:, ~photo], -SHARE * odds[:, None].expand(-1, 6), atol=1e-5)
