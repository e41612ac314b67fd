"""Where the prompts of facts begin, and what is kept when more are taught."""

from dataclasses import replace

import pytest
import torch

from demo.finetune.data.conversation import Exchange, TrainingConversation
from demo.finetune.data.examples import EncodedRow, Example, encode
from demo.finetune.data.paraphrase import pool_rows
from demo.finetune.train.config import FACTS_GATE, TrainingOptions
from demo.finetune.train.loss import _chosen, begin_pool_at, grown, new_pool
from demo.questions.matcher import Fact

CHOICES = TrainingOptions(prompts=3, layers=2, aim="facts")
ROWS = (("When?", "At 7."), ("Who?", "Ann, the miller."), ("Where?", "Here."))


def rows(tokenizer, pairs):
    return [
        EncodedRow(1, TrainingConversation(said), encode(tokenizer, said), "here")
        for said in ((Exchange(*pair),) for pair in pairs)
    ]


def test_prompts_begin_at_the_states_of_their_own_row(base, model):
    texts = [encode(base.tokenizer, [Exchange(*pair)]) for pair in ROWS]
    groups = [torch.zeros(2, 4, base.config.width) for _ in texts]
    begin_pool_at(groups, model, texts)
    for text, group in zip(texts, groups, strict=True):
        alone = torch.zeros_like(group)
        begin_pool_at([alone], model, [text])
        assert group.any() and torch.allclose(group, alone, atol=1e-5)
    with torch.no_grad():
        x = model.embed(torch.tensor([texts[1].ids]))
        x = model.run(x, range(model.config.layers - 2))
        states = model.norm(x, model.weights.attention_norm[model.config.layers - 2])[0]
    assert torch.allclose(groups[1][0], states[_chosen(texts[1], 4)], atol=1e-5)


@pytest.mark.parametrize(
    ("size", "reply", "prompts", "chosen"),
    [
        (9, 2, 4, [0, 6, 7, 8]), (9, 6, 3, [0, 3, 4]), (3, 1, 6, [0, 1, 1, 1, 2, 2]),
        (1, 1, 2, [0, 0]), (4, 2, 1, [0]),
    ],
)  # fmt: skip
def test_which_tokens(size, reply, prompts, chosen):
    text = Example((5,) * size, (-100,) * (size - reply) + (5,) * reply)
    assert _chosen(text, prompts) == chosen


def test_more_facts_leave_the_old_ones_as_they_are(base, model):
    first = pool_rows(rows(base.tokenizer, ROWS[:2]), base.tokenizer, 0)
    old = new_pool(CHOICES, model, first)
    assert torch.allclose(old.opening(), torch.full_like(old.gate, FACTS_GATE))
    with torch.no_grad():
        for group in old.pool.groups:
            group.add_(1)
    new = rows(base.tokenizer, [("who", "Bo."), ROWS[2]])
    before = [Fact(*pair) for pair in ROWS[:2]]
    more = grown(old, model, pool_rows(new, base.tokenizer, 0, before))
    assert more.spec == replace(old.spec, facts=3)
    pairs = zip(more.pool.groups, old.pool.groups, strict=False)
    assert [torch.equal(*pair) for pair in pairs] == [True, False]
    assert torch.equal(more.gate, old.gate)
