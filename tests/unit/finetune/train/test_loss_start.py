"""Prompts that begin at what the layers make of the rows: their keys and values are the base's."""

import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.finetune.train.loss import begin_at

TEXT = "hello the dog"

pytestmark = pytest.mark.usefixtures("one_thread")


def begun(base, model, text: str, seed: int = 0, prompts: int = 40) -> Adapter:
    torch.manual_seed(9)
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=prompts))
    begin_at(adapter, model, base.tokenizer.encode_text(text), seed)
    return adapter


def test_each_prompt_is_a_layers_state_at_one_of_the_rows_tokens(base, model):
    adapter = begun(base, model, TEXT)
    ids = base.tokenizer.encode_text(TEXT)
    x = model.embed(torch.tensor([ids]))
    x = model.run(x, range(model.config.layers - 1))
    states = model.norm(x, model.weights.attention_norm[-1])[0]
    distances = torch.cdist(adapter.prompts[1].detach(), states)
    assert distances.min(1).values.max() < 0.01  # more prompts than tokens: some twice
    assert set(distances.argmin(1).tolist()) == set(range(len(ids)))
    assert not adapter.gate.any()


def test_it_follows_from_text_and_seed_alone_and_keeps_the_first_token(base, model):
    one = begun(base, model, TEXT, 1, prompts=3).prompts
    assert torch.equal(one, begun(base, model, TEXT, 1, prompts=3).prompts)
    assert not torch.equal(one, begun(base, model, TEXT, 2, prompts=3).prompts)
    alone = begun(base, model, TEXT, 1, prompts=1).prompts
    assert torch.equal(one[:, :1], alone)
    many = begun(base, model, TEXT * 400, 1, prompts=4).prompts  # more than is read
    assert many.isfinite().all() and many.requires_grad
