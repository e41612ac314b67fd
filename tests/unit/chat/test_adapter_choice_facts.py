"""The question chooses which fact's prompts answer, or none."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import AdapterSpec
from demo.adapter.library import Library
from demo.adapter.passport import Passport
from demo.chat.adapter_choice import AdapterChoice, AdapterChooser
from demo.chat.conversation import ReplyStats

FACTS = (
    ("When do you open?", "At 7."),
    ("Who bakes the bread?", "Jonas Brandt."),
    ("When do you close?", "At 6."),
)


@pytest.fixture
def engine(base, model) -> SimpleNamespace:
    return SimpleNamespace(base=base, model=model)


@pytest.fixture
def adapter(base) -> Adapter:
    torch.manual_seed(0)
    spec = AdapterSpec.for_base(base.config, layers=2, prompts=3)
    adapter = Adapter(replace(spec, facts=len(FACTS)))
    torch.nn.init.constant_(adapter.gate, 0.5)
    return adapter


@pytest.fixture
def chooser(base, adapter, tmp_path) -> AdapterChooser:
    passport = Passport("bakery", "", base.name, base.fingerprint, adapter.spec, facts=FACTS)
    save_adapter(adapter, passport, tmp_path / "bakery.safetensors")
    return AdapterChooser(Library(tmp_path))


def test_each_fact_has_a_prefix_and_a_key_of_its_own(engine, adapter, chooser):
    found = [chooser.choose(engine, "bakery", "", 1.0, asked=question) for question, _ in FACTS]
    for place, choice in enumerate(found):
        expected = adapter.fixed_prefix(engine.model, torch.tensor([[float(place)]]))
        assert torch.equal(choice.prefix.key, expected.key)
        assert choice.recalled.question == FACTS[place][0] and choice.recalled.sure == 1
    assert len({choice.key for choice in found}) == len(FACTS)
    again = chooser.choose(engine, "bakery", "", 1.0, asked="who bakes the bread")
    assert again.prefix is found[1].prefix and again.key == found[1].key
    weaker = chooser.choose(engine, "bakery", "", 0.5, asked=FACTS[1][0])
    assert weaker.key != again.key and not torch.equal(weaker.prefix.gate, again.prefix.gate)


def test_what_was_not_taught_is_the_bases(engine, chooser):
    for asked in ("What is the capital of France?", "", "Who bakes the pizza?"):
        assert chooser.choose(engine, "bakery", "", 1.0, asked=asked) == AdapterChoice("bakery")


def test_a_reply_says_what_was_asked_for(engine, chooser):
    request = SimpleNamespace(ids=[1, 2], begun=0.0)
    stream = SimpleNamespace(ids=[3], first=0.1, last=0.1, request=request, stopped="end")
    taken, none = (
        ReplyStats.of(stream, chooser.choose(engine, "bakery", "", 1.0, asked=asked), None)
        for asked in ("when do you open", "Why is the sky blue?")
    )
    assert (taken.recalled, none.recalled) == (FACTS[0][0], "")


def test_a_question_goes_on_from_the_one_before_it(engine, chooser):
    gone_on = chooser.choose(engine, "bakery", "", 1.0, asked="and close?", before=FACTS[0][0])
    assert gone_on.recalled.question == FACTS[2][0] and gone_on.recalled.sure == 1
    other = chooser.choose(engine, "bakery", "", 1.0, asked=FACTS[1][0], before=FACTS[0][0])
    assert other.recalled.question == FACTS[1][0]
