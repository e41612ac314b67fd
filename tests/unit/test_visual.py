"""Projections of every kind and shape on a tiny base: odd sizes, gradients, files, misfits."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter, save_adapter
from demo.adapter.library import Fit, Library
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.adapter.visual import GlobalMLP, KeyValueMemory, projection
from demo.errors import CheckpointError, InputError
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama

PROMPTS = 3
SPECS = {
    "shared": VisualSpec(7, 5),
    "own": VisualSpec(7, 5, slots=PROMPTS),
    "queries": VisualSpec(5 * 11, 9, "query-resampler", slots=PROMPTS, token_width=11),
    "heads": VisualSpec(5 * 11, 128, "query-resampler", slots=PROMPTS, token_width=11),
    "memory": VisualSpec(7, 5, "key-value-memory", slots=PROMPTS, entries=11),
    "two guesses": VisualSpec(7, 5, "key-value-memory", slots=PROMPTS, entries=11, seconds=1),
    "shared memory": VisualSpec(7, 5, "key-value-memory", entries=2),
    "one query": VisualSpec(1 * 7, 3, "query-resampler", slots=1, token_width=7),
}


@pytest.fixture(scope="module")
def base(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path_factory: pytest.TempPathFactory
) -> Base:
    return open_base(str(tiny_llama_folder()), tmp_path_factory.mktemp("cache"), no_progress)


@pytest.fixture(scope="module")
def model(base: Base) -> Llama:
    return Llama(base.config, base.weights, Int8Linear(torch.float32), 128)


def adapter_of(base: Base, visual: VisualSpec) -> Adapter:
    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=PROMPTS, visual=visual))
    torch.nn.init.constant_(adapter.gate, 0.7)
    return adapter


def passport_of(base: Base, adapter: Adapter) -> Passport:
    return Passport("sees", "", base.name, base.fingerprint, adapter.spec, "tower", "print")


def fit_of(base: Base, **sizes: int) -> Fit:
    sizes = {name.replace("_", "-"): size for name, size in sizes.items()}
    return Fit(base.name, base.fingerprint, base.config, "tower", "print", sizes)


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


@pytest.mark.parametrize("name", ["own", "queries"])
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
        # Of one token nothing can be chosen, so what chooses gets none.
        assert name == "one query" or value.grad.abs().sum() > 0, part


def test_tokens_of_a_picture_differ_by_their_place():
    spec = SPECS["queries"]
    torch.manual_seed(0)
    made, features = projection(spec, 13), torch.randn(1, spec.feature_size)
    moved = features.unflatten(1, (5, 11)).roll(1, 1).flatten(1)
    assert not torch.allclose(made(features), made(moved), atol=1e-4)


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
    with pytest.raises(ValueError, match="projection of 55 features was given 54"):
        projection(SPECS["queries"], 13)(torch.randn(1, 54))


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
    for name in ("slots", "token_width", "entries"):
        del raw["spec"]["visual"][name]
    assert Passport.from_json(json.dumps(raw)) == passport


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (7, 5, "eye"),
            "by 'eye'; this version knows 'global-mlp', 'query-resampler', ",
        ),
        ((0, 5), "sizes 0 and 5; 1 to 65,536"),
        ((2**22 + 1, 5, "query-resampler", 1, 1), "1 to 4,194,304 and 1 to 65,536"),
        ((7, 5, "global-mlp", 0), "makes 0 vectors of a picture"),
        ((7, 5, "global-mlp", 1, 7), "only a 'query-resampler' has tokens"),
        (
            (7, 5, "global-mlp", 1, 0, 3),
            "'global-mlp' has 3 entries; a 'key-value-memory' has 1 to",
        ),
        ((7, 5, "key-value-memory"), "'key-value-memory' has 0 entries"),
        ((7, 5, "key-value-memory", 3, 0, 11, 3), "second likeliest in 3 of 3 vectors, of 11"),
        ((7, 5, "key-value-memory", 3, 0, 1, 1), "second likeliest in 1 of 3 vectors, of 1 things"),
        ((7, 5, "global-mlp", 3, 0, 0, 1), "second likeliest in 1 of 3 vectors, of 0 things"),
        ((55, 5, "query-resampler"), "reads 55 numbers as tokens of 0"),
        ((55, 5, "query-resampler", 1, 10), "the width has to divide them"),
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
    adapter = adapter_of(base, SPECS["queries"])
    save_adapter(adapter, passport_of(base, adapter), tmp_path / "a.safetensors")
    library = Library(tmp_path)
    for fit in (fit_of(base), fit_of(base, query_resampler=55, global_mlp=7)):
        assert library.for_images(fit) == ("sees",)
        assert library.get("sees", fit)[0].spec == adapter.spec
    other = fit_of(base, query_resampler=44)
    with pytest.raises(CheckpointError, match="takes 55 numbers.*gives 44 for a 'query-resampler'"):
        library.get("sees", other)
    with pytest.raises(InputError, match="No adapter here sees through tower"):
        library.for_images(other)
    library.get("sees", replace(other, tower=None))  # without a picture it needs no tower


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
    plain = KeyValueMemory(replace(spec, seconds=0), base.config.width)
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
