"""A group of prompts for each fact: chosen by its place, closed for none, checked in its file."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.adapter.adapter import Adapter, load_adapter, save_adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.export import export_litgpt, export_peft
from demo.adapter.passport import Passport
from demo.errors import CheckpointError, InputError

FACTS = (("When?", "At 7."), ("Wo?", "Hier."), ("谁?", "我。"))


@pytest.fixture
def adapter(base) -> Adapter:
    torch.manual_seed(0)
    spec = AdapterSpec.for_base(base.config, layers=2, prompts=3)
    adapter = Adapter(replace(spec, facts=3))
    torch.nn.init.constant_(adapter.gate, 0.7)
    return adapter


@pytest.fixture
def passport(base, adapter) -> Passport:
    return Passport("knows", "", base.name, base.fingerprint, adapter.spec, facts=FACTS)


def test_a_place_chooses_its_own_prompts(model, adapter):
    alone = Adapter(replace(adapter.spec, facts=0))
    with torch.no_grad():
        alone.gate.copy_(adapter.gate)
        alone.prompts.copy_(adapter.pool.groups[2])
    mine, own = adapter.prefix(model, torch.tensor([[2.0], [0.0]])), alone.prefix(model)
    assert mine.key.shape[1] == 2 and torch.allclose(mine.key[:, :1], own.key, atol=1e-6)
    assert torch.allclose(mine.value[:, :1], own.value, atol=1e-6) and torch.equal(
        mine.gate, own.gate
    )
    with pytest.raises(IndexError):
        adapter.prefix(model, torch.tensor([[3.0]]))


def test_with_none_chosen_the_base_stays_itself(model, adapter):
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        assert torch.equal(model.forward(ids), model.forward(ids, prefix=adapter.prefix(model)))
        one = adapter.prefix(model, torch.tensor([[1.0]]))
        assert not torch.equal(model.forward(ids), model.forward(ids, prefix=one))


def test_only_what_was_asked_for_gets_a_gradient(model, adapter):
    prefix = adapter.prefix(model, torch.tensor([[1.0]]))
    (prefix.key.sum() + prefix.value.sum()).backward()
    grads = [group.grad is not None for group in adapter.pool.groups]
    assert grads == [False, True, False] and adapter.gate.grad is None


def test_the_file_holds_facts_and_groups(tmp_path, adapter, passport):
    path = tmp_path / "knows.safetensors"
    save_adapter(adapter, passport, path)
    loaded, read = load_adapter(path)
    assert read == passport and read.spec.parameters == 3 * 2 * 3 * adapter.spec.width + 2 * (
        adapter.spec.heads
    )
    pairs = zip(loaded.pool.groups, adapter.pool.groups, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_file_without_facts_says_nothing_of_them(base):
    plain = AdapterSpec.for_base(base.config, layers=2, prompts=3)
    text = Passport("plain", "", base.name, base.fingerprint, plain).to_json()
    assert "facts" not in text and Passport.from_json(text).facts == ()


@pytest.mark.parametrize("count", [-1, 501, 1.5, True, "2"])
def test_a_number_of_facts_that_cannot_be_is_refused(adapter, count):
    with pytest.raises(CheckpointError, match="facts"):
        replace(adapter.spec, facts=count)
    with pytest.raises(CheckpointError, match="facts"):
        replace(adapter.spec, visual=VisualSpec(7, 5))


@pytest.mark.parametrize("facts", [FACTS[:2], (*FACTS[:2], ("a", "")), (*FACTS[:2], ("a", 7))])
def test_a_passport_that_does_not_fit_its_groups_is_refused(passport, facts):
    with pytest.raises(CheckpointError, match="facts"):
        replace(passport, facts=facts)


@pytest.mark.parametrize("how", ["missing", "shape", "nan"])
def test_a_damaged_group_is_refused(tmp_path, adapter, passport, how):
    path = tmp_path / "knows.safetensors"
    save_adapter(adapter, passport, path)
    tensors, name = load_file(path), "pool.groups.1"
    if how == "missing":
        del tensors[name]
    if how == "shape":
        tensors[name] = tensors[name][:, 1:].contiguous()
    if how == "nan":
        tensors[name][0, 0, 0] = float("nan")
    save_file(tensors, path, {"passport": passport.to_json()})
    with pytest.raises(CheckpointError, match=name):
        load_adapter(path)


@pytest.mark.parametrize("write", [export_peft, export_litgpt])
def test_other_programs_files_cannot_hold_facts(tmp_path, base, adapter, passport, write):
    with pytest.raises(InputError, match="prompts for each of its facts"):
        write(adapter, passport, base.config.layers, tmp_path / "out")
