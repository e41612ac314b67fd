"""Projections of every kind and shape on a tiny base: odd sizes, gradients, files, misfits."""

import json
import math
from dataclasses import replace

import pytest
import torch

from demo.adapter.adapter import (
    Adapter,
    GlobalMLP,
    KeyValueMemory,
    load_adapter,
    projection,
    save_adapter,
)
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.library import Compatibility, Library
from demo.adapter.passport import Passport
from demo.errors import CheckpointError, InputError
from demo.llama.base import Base

PROMPTS = 3
SPECS = {
    "shared": VisualSpec(7, 5),
    "own": VisualSpec(7, 5, slots=PROMPTS),
    "memory": VisualSpec(7, 5, "key-value-memory", slots=PROMPTS, entries=11),
    "two guesses": VisualSpec(
        7, 5, "key-value-memory", slots=PROMPTS, entries=11, runner_up_slots=1
    ),
    "shared memory": VisualSpec(7, 5, "key-value-memory", entries=2),
}


def adapter_of(base: Base, visual: VisualSpec) -> Adapter:
    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=PROMPTS, visual=visual))
    torch.nn.init.constant_(adapter.gate, 0.7)
    return adapter


def passport_of(base: Base, adapter: Adapter) -> Passport:
    return Passport("sees", "", base.name, base.fingerprint, adapter.spec, "tower", "print")


def fit_of(base: Base, feature_size: int | None = None) -> Compatibility:
    return Compatibility(base.name, base.fingerprint, base.config, "tower", "print", feature_size)


@pytest.mark.parametrize("name", SPECS)
def test_shapes_and_the_count_of_parameters(name):
    spec = SPECS[name]
    made = projection(spec, 13)
    expected = (2, 13) if name.startswith("shared") else (2, spec.slots, 13)
    assert made(torch.randn(2, spec.feature_size)).shape == expected
    assert sum(p.numel() for p in made.parameters()) == spec.parameters(13)


@pytest.mark.parametrize("name", SPECS)
def test_a_picture_reaches_the_prefix_and_a_batch_keeps_pictures_apart(base, model, name):
    adapter = adapter_of(base, SPECS[name])
    features = torch.randn(2, SPECS[name].feature_size)
    with torch.no_grad():
        both = adapter.prefix(model, features)
        alone = [adapter.prefix(model, row[None]) for row in features]
    assert both.key.shape[1] == 2 and both.key.shape[3] == PROMPTS
    for i, prefix in enumerate(alone):
        assert torch.allclose(both.key[:, i : i + 1], prefix.key, atol=1e-5)
    assert not torch.allclose(alone[0].key, alone[1].key, atol=1e-3)


@pytest.mark.parametrize("name", ["own", "memory"])
def test_each_prompt_gets_a_vector_of_its_own(name):
    seen = projection(SPECS[name], 13)(torch.randn(1, SPECS[name].feature_size))[0]
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


@pytest.mark.parametrize("name", SPECS)
def test_the_gradient_reaches_every_part(base, model, name):
    adapter = adapter_of(base, SPECS[name])
    prefix = adapter.prefix(model, torch.randn(2, SPECS[name].feature_size))
    (prefix.key.square().sum() + prefix.value.square().sum()).backward()
    for part, value in adapter.visual.named_parameters():
        assert value.grad is not None, part
        assert value.grad.abs().sum() > 0, part


def test_features_are_measured():
    for spec in SPECS.values():
        made, features = projection(spec, 13), 3 + 5 * torch.randn(400, spec.feature_size)
        made.measure(features)
        standard = made.standard(features)
        assert torch.allclose(standard.mean(0), torch.zeros(1), atol=1e-3)
        assert torch.allclose(standard.std(0), torch.ones(1), atol=1e-3)


def test_pictures_like_those_it_was_measured_on_are_liker():
    made = GlobalMLP(VisualSpec(3, 2), 4)
    made.measure(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.5, 5.0]]))
    inside, outside = made.likeness(torch.tensor([[2.0, 2.2, 4.0], [9.0, 2.2, 4.0]])).tolist()
    assert inside > outside
    normal = torch.distributions.Normal(made.mean, made.deviation)
    assert inside == pytest.approx(
        float(normal.log_prob(torch.tensor([2.0, 2.2, 4.0])).mean()) + math.log(2 * math.pi) / 2
    )


def test_features_of_another_size_are_refused():
    with pytest.raises(ValueError, match="projection of 7 features was given 6"):
        projection(SPECS["own"], 13)(torch.randn(1, 6))


@pytest.mark.parametrize("name", SPECS)
def test_a_loaded_adapter_answers_the_same(base, model, tmp_path, name):
    adapter = adapter_of(base, SPECS[name])
    features = torch.randn(1, SPECS[name].feature_size)
    adapter.visual.measure(torch.randn(9, SPECS[name].feature_size))
    save_adapter(adapter, passport_of(base, adapter), tmp_path / "a.safetensors")
    again, passport = load_adapter(tmp_path / "a.safetensors")
    assert passport.spec == again.spec == adapter.spec
    before, after = (x.fixed_prefix(model, features) for x in (adapter, again))
    # Not equal to the bit: a file's tensors lie elsewhere in memory, and are summed otherwise.
    for mine, other in zip(before, after, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def test_a_passport_from_before_there_were_slots_is_read(base):
    passport = passport_of(base, adapter_of(base, SPECS["shared"]))
    raw = json.loads(passport.to_json())
    for name in ("slots", "token_width", "entries", "seconds"):
        del raw["spec"]["visual"][name]
    assert Passport.from_json(json.dumps(raw)) == passport


@pytest.mark.parametrize("name", SPECS)
def test_a_passport_keeps_the_names_of_its_fields(base, name):
    """Files from before and after `runner_up_slots` got its name hold the same keys."""
    passport = passport_of(base, adapter_of(base, SPECS[name]))
    visual = json.loads(passport.to_json())["spec"]["visual"]
    keys = {"feature_size", "hidden", "kind", "slots", "entries", "seconds", "token_width"}
    assert visual.keys() == keys
    assert (visual["seconds"], visual["token_width"]) == (SPECS[name].runner_up_slots, 0)
    assert Passport.from_json(passport.to_json()) == passport


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "query-resampler", "feature_size": 55, "slots": 3, "token_width": 11},
            "projects images by 'query-resampler'; this version knows 'global-mlp', 'key-value-m",
        ),
        ({"token_width": 7}, "'global-mlp' has tokens of 7; it cannot have any"),
        ({"runner_up_slots": 0}, "passport cannot be read"),  # a name of ours, not of the format
        ({"feature_size": "7"}, "passport cannot be read"),
    ],
)
def test_a_passport_of_another_projection_is_refused(base, changes, message):
    raw = json.loads(passport_of(base, adapter_of(base, SPECS["shared"])).to_json())
    raw["spec"]["visual"] |= changes
    with pytest.raises(CheckpointError, match=message):
        Passport.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (7, 5, "eye"),
            "projects images by 'eye'; this version knows 'global-mlp', 'key-value-memory', 'query",
        ),
        ((0, 5), "sizes 0 and 5; 1 to 65,536"),
        ((7, 65_537), "sizes 7 and 65537; 1 to 65,536"),
        ((7, 5, "global-mlp", 0), "makes 0 vectors of a picture"),
        ((7, 5, "global-mlp", 1, 3), "'global-mlp' has 3 entries; a 'key-value-memory' has 1 to"),
        ((7, 5, "key-value-memory"), "'key-value-memory' has 0 entries"),
        ((7, 5, "key-value-memory", 3, 11, 3), "second likeliest in 3 of 3 vectors, of 11"),
        ((7, 5, "key-value-memory", 3, 1, 1), "second likeliest in 1 of 3 vectors, of 1 things"),
        ((7, 5, "global-mlp", 3, 0, 1), "second likeliest in 1 of 3 vectors, of 0 things"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(CheckpointError, match=message):
        VisualSpec(*arguments)


def test_slots_are_one_or_one_for_each_prompt(base):
    for slots in (1, PROMPTS):
        adapter_of(base, VisualSpec(7, 5, slots=slots))
    with pytest.raises(CheckpointError, match="2 vectors of a picture for 3 prompts; it has to be"):
        adapter_of(base, VisualSpec(7, 5, slots=2))


def test_an_adapter_of_other_features_is_refused_and_not_chosen(base, tmp_path):
    adapter = adapter_of(base, SPECS["memory"])
    save_adapter(adapter, passport_of(base, adapter), tmp_path / "a.safetensors")
    library = Library(tmp_path)
    for fit in (fit_of(base), fit_of(base, 7)):
        assert library.for_images(fit) == (library.find("sees"),)
        assert library.load(library.find("sees"), fit).spec == adapter.spec
    other = fit_of(base, 44)
    with pytest.raises(CheckpointError, match="takes 7 numbers of a picture; tower gives 44"):
        library.load(library.find("sees"), other)
    with pytest.raises(InputError, match="No adapter here sees through tower"):
        library.for_images(other)
    blind = replace(other, tower=None)
    library.load(library.find("sees"), blind)  # without a picture it needs no tower


def test_a_memory_says_what_is_said_of_what_it_sees(base):
    spec = SPECS["memory"]
    memory = adapter_of(base, spec).visual
    assert isinstance(memory, KeyValueMemory)
    values = (memory.outer.weight @ memory.values.weight).T  # (E, Q * D)
    values = values.unflatten(1, (PROMPTS, -1))  # (E, Q, D)
    features = torch.randn(40, spec.feature_size)
    with torch.no_grad():
        memory.sharpness[1] = 1e5
        memory.keys.weight *= 5
    logits, seen = memory.logits(features), memory(features)
    assert torch.allclose(seen[:, 1], values[logits.argmax(1), 1], atol=1e-3)
    mixed = torch.einsum("be,eqd->bqd", logits.softmax(1), values)
    assert torch.allclose(seen[:, [0, 2]], mixed[:, [0, 2]], atol=1e-4)
    assert not torch.allclose(seen[:, 0], values[logits.argmax(1), 0], atol=1e-3)


def test_the_last_vectors_of_a_memory_say_what_is_second_likeliest(base):
    spec = SPECS["two guesses"]
    memory = adapter_of(base, spec).visual
    plain = KeyValueMemory(replace(spec, runner_up_slots=0), base.config.width)
    plain.load_state_dict(memory.state_dict())
    features = torch.randn(40, spec.feature_size)
    with torch.no_grad():
        for each in (memory, plain):
            each.sharpness[-1] = 1e5
            each.keys.weight *= 5
    values = (memory.outer.weight @ memory.values.weight).T.unflatten(1, (PROMPTS, -1))
    second = memory.logits(features).topk(2).indices[:, 1]
    seen = memory(features)
    assert torch.allclose(seen[:, -1], values[second, -1], atol=1e-3)
    assert torch.equal(seen[:, :-1], plain(features)[:, :-1])


def test_the_last_vectors_of_a_memory_tell_an_attribute() -> None:
    torch.manual_seed(0)
    spec = VisualSpec(
        6, 4, "key-value-memory", slots=5, entries=7, runner_up_slots=1, attributes=3,
        attribute_slots=2,
    )  # fmt: skip
    memory = projection(spec, 13)
    features, shares = torch.randn(2, 6), torch.eye(3)[:2]
    told = memory(torch.cat([features, shares], 1))
    other = memory(torch.cat([features, shares.flip(1)], 1))
    assert told.shape == (2, 5, 13)
    assert torch.equal(told[:, :3], other[:, :3]) and not torch.allclose(told[:, 3:], other[:, 3:])
    another = memory(torch.cat([features.flip(0), shares], 1))
    assert torch.equal(told[:, 3:], another[:, 3:])
    assert torch.equal(
        memory.likeness(torch.cat([features, shares], 1)),
        memory.likeness(torch.cat([features, shares.flip(1)], 1)),
    )
    assert VisualSpec.from_json(spec.to_json()) == spec
    plain = VisualSpec(6, 4, "key-value-memory", slots=5, entries=7)
    assert not {"attributes", "attribute_slots"} & {*plain.to_json()}
    trained = sum(part.numel() for part in memory.parameters())
    assert spec.parameters(13) == trained


@pytest.mark.parametrize(
    ("kind", "attributes", "attribute_slots"),
    [("global-mlp", 3, 1), ("key-value-memory", 3, 0), ("key-value-memory", 0, 1),
     ("key-value-memory", 3, 5), ("key-value-memory", -1, 1)],
)  # fmt: skip
def test_attributes_that_cannot_be_are_refused(
    kind: str, attributes: int, attribute_slots: int
) -> None:
    entries = 7 if kind == "key-value-memory" else 0
    with pytest.raises(CheckpointError, match="attributes"):
        VisualSpec(
            6, 4, kind, slots=5, entries=entries, attributes=attributes,
            attribute_slots=attribute_slots,
        )  # fmt: skip
