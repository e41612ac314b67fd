"""Adapters on a tiny base: the zero start, learning, the file, and what is refused."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from demo.adapter.adapter import Adapter, load_adapter, save_adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.library import Compatibility, Library
from demo.adapter.passport import Passport, read_passport
from demo.errors import CheckpointError, InputError
from demo.finetune.data.examples import IGNORED, Example, Exchange, encode
from demo.finetune.train.evaluate import exact, measure
from demo.finetune.train.loss import FrozenBase, LowerLayerCache, loss_of
from demo.finetune.train.state import Order
from demo.finetune.train.trainer import Step, TrainSettings, train
from demo.llama.base import Base
from demo.llama.model import Llama
from demo.llama.training import CompiledLayers, TorchLayers

pytestmark = [pytest.mark.compiles, pytest.mark.usefixtures("one_thread")]

FEATURES = 7


@pytest.fixture
def adapter(base: Base) -> Adapter:
    torch.manual_seed(0)
    visual = VisualSpec(FEATURES, 5)
    return Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=3, visual=visual))


@pytest.fixture
def passport(base: Base, adapter: Adapter) -> Passport:
    return Passport(
        "sees", "for tests", base.name, base.fingerprint, adapter.spec, "tower", "tower print"
    )


@pytest.fixture
def fit(base: Base) -> Compatibility:
    return Compatibility(base.name, base.fingerprint, base.config, "tower", "tower print")


def open_gates(adapter: Adapter) -> Adapter:
    torch.nn.init.constant_(adapter.gate, 0.7)
    return adapter


def lessons(base: Base) -> list[Example]:
    rows = [("hello", "fox"), ("the dog", "lazy"), ("over", "12"), ("brown", "quick")]
    return [encode(base.tokenizer, [Exchange(*row)], i) for i, row in enumerate(rows)]


def loss(model: Llama, adapter: Adapter, examples: list[Example], features) -> torch.Tensor:
    return loss_of(FrozenBase(model, adapter.spec.layers, examples), adapter, examples, features)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.matrix("E11")
def test_a_text_reads_the_same_in_any_company_and_at_any_time(base, model, compiled):
    layers = CompiledLayers(model, 2) if compiled else TorchLayers(model)
    examples = lessons(base)
    batches = [examples, examples[2:], examples[1:2], [examples[0], examples[3]]]
    for limit in (2**20, 0, 2 * 22 * base.config.width * 4):
        one, two = (
            LowerLayerCache(model, layers, 2, examples, limit_bytes=limit) for _ in range(2)
        )
        there = [one.of(batch) for batch in batches]
        back = [two.of(batch) for batch in reversed(batches)]
        assert all(torch.equal(a, b) for a, b in zip(there, reversed(back), strict=True))
        assert torch.allclose(there[0][2:, : there[1].shape[1]], there[1], atol=1e-5)
    kept = LowerLayerCache(model, layers, 2, examples)
    first = kept.of(examples[2:])
    kept._compute = None  # nothing is computed twice
    assert torch.equal(kept.of(examples[2:]), first)


@pytest.mark.matrix("E7")
def test_a_new_adapter_is_the_base_bit_for_bit(model, adapter):
    ids = torch.arange(3, 20)[None]
    features = torch.randn(1, FEATURES)
    with torch.no_grad():
        prefix = adapter.prefix(model, features)
        assert torch.equal(model.forward(ids, prefix=prefix), model.forward(ids))
        strong = open_gates(adapter).prefix(model, features)
        assert not torch.equal(model.forward(ids, prefix=strong), model.forward(ids))
        off = adapter.prefix(model, features, strength=0.0)
        assert torch.equal(model.forward(ids, prefix=off), model.forward(ids))


def test_the_prefix_of_a_reply_is_the_same_and_leaves_the_threads_alone(model, adapter):
    torch.set_num_threads(2)
    features = torch.randn(1, FEATURES)
    fixed = open_gates(adapter).fixed_prefix(model, features, strength=0.5)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert not fixed.key.requires_grad
    for mine, other in zip(fixed, adapter.prefix(model, features, strength=0.5), strict=True):
        assert torch.allclose(mine, other)


def test_a_picture_changes_the_prefix_and_a_batch_keeps_pictures_apart(model, adapter):
    features = torch.randn(2, FEATURES)
    with torch.no_grad():
        both = adapter.prefix(model, features)
        first, second = (adapter.prefix(model, row[None]) for row in features)
    assert torch.allclose(both.key[:, :1], first.key, atol=1e-5)
    assert torch.allclose(both.key[:, 1:], second.key, atol=1e-5)
    assert not torch.allclose(first.key, second.key, atol=1e-2)


def test_only_marked_replies_are_learned_up_to_their_end(base):
    tokenizer = base.tokenizer
    told = encode(tokenizer, [Exchange("a", "fox", learn=False), Exchange("b", "lazy dog")])
    marked = [label for label in told.labels if label != IGNORED]
    assert tokenizer.decode(marked) == "lazy dog" and marked[-1] in tokenizer.stop_ids
    at = [place for place, label in enumerate(told.labels) if label != IGNORED]
    assert [told.ids[place + 1] for place in at[:-1]] == marked[:-1]
    with pytest.raises(ValueError, match="without anything to learn"):
        encode(tokenizer, [Exchange("a", "b", learn=False)])


def test_padding_does_not_reach_what_comes_before(base, model, adapter):
    open_gates(adapter)
    examples, features = lessons(base), torch.randn(4, FEATURES)
    together = loss(model, adapter, examples, features)
    counts = torch.tensor([sum(x != IGNORED for x in e.labels) for e in examples])
    alone = torch.stack([loss(model, adapter, [e], features) for e in examples])
    assert torch.allclose(together, (alone * counts).sum() / counts.sum(), atol=1e-4)


def test_the_first_loss_is_the_bases(base, model, adapter):
    examples, features = lessons(base), torch.randn(4, FEATURES)
    first = loss(model, adapter, examples, features)
    frozen = FrozenBase(model, adapter.spec.layers, examples)
    base_alone = measure(frozen, open_gates(adapter), examples, features, strength=0.0)
    assert first.item() == pytest.approx(base_alone.loss, abs=1e-6)
    nats = []
    for example in examples:
        labels = torch.tensor(example.labels)
        logits = model.logits(model.forward(torch.tensor([example.ids]))[0, labels != IGNORED])
        lost = torch.nn.functional.cross_entropy(
            logits, labels[labels != IGNORED], reduction="none"
        )
        nats += lost.tolist()
    assert first.item() == pytest.approx(sum(nats) / len(nats), abs=1e-4)


def test_two_steps_move_the_prompts(base, model, adapter):
    """One moves only the gates: at zero they hide the prompts from the loss."""
    before = {name: p.detach().clone() for name, p in adapter.named_parameters()}
    steps = train(
        model, adapter, lessons(base), torch.randn(4, FEATURES), TrainSettings(2, 4, weight_decay=0)
    )
    next(steps)
    assert torch.equal(adapter.prompts, before["prompts"])
    assert not torch.equal(adapter.gate, before["gate"])
    next(steps)
    assert all(not torch.equal(p, before[name]) for name, p in adapter.named_parameters())


def test_a_small_set_is_learned_by_heart(base, model):
    examples, features = lessons(base), 3 * torch.eye(4, FEATURES)
    spec = AdapterSpec.for_base(base.config, layers=3, prompts=8, visual=VisualSpec(FEATURES, 16))
    adapter = Adapter(spec)
    settings = TrainSettings(200, 4, rate=1e-1, gate_rate=1e-1, visual_rate=5e-2, weight_decay=0)
    steps: list[Step] = list(train(model, adapter, examples, features, settings))
    assert steps[-1].loss < 0.15 * steps[0].loss
    assert steps[-1].gate > 0.05
    assert all(exact(model, adapter, examples, features, batch=3))
    swapped = [replace(example, picture=None) for example in examples]
    assert not all(exact(model, open_gates(Adapter(adapter.spec)), swapped, None))


def test_an_epoch_shows_every_example_once_and_can_be_taken_up():
    order = Order(range(1, 72), batch=4, seed=0)
    seen = [place for _ in range(18) for place in order.next()]
    assert sorted(seen) == list(range(71))
    later = Order(range(1, 72), batch=4, seed=1)
    later.load(*order.state())
    assert [order.next() for _ in range(40)] == [later.next() for _ in range(40)]
    with pytest.raises(ValueError, match="batch 19 of an epoch of 18"):
        later.load(order.state()[0], 19)


def test_a_file_keeps_every_bit_and_no_weight_of_the_base(adapter, passport, tmp_path):
    path = tmp_path / "sees.safetensors"
    save_adapter(open_gates(adapter), passport, path)
    again, read = load_adapter(path)
    assert read == passport == read_passport(path)
    for name, value in adapter.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    assert set(load_file(path)) == set(adapter.state_dict())
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("gate"), "lacks tensor 'gate'"),
        (lambda t: t.update(extra=torch.zeros(1)), "has the unknown tensor 'extra'"),
        (lambda t: t.update(gate=torch.zeros(1, 2)), r"holds 'gate' as F32 \(1, 2\);"),
        (lambda t: t.update(gate=t["gate"].half()), "as F16 .*; its passport says F32"),
        (lambda t: t["prompts"].view(-1)[3:4].fill_(float("nan")), "not finite or far too large"),
        (lambda t: t["prompts"].view(-1)[3:4].fill_(1e30), "not finite or far too large"),
    ],
)
@pytest.mark.matrix("A8", "A9")
def test_a_file_that_is_not_its_passport_is_refused(adapter, passport, tmp_path, change, message):
    tensors = {name: value.clone() for name, value in adapter.state_dict().items()}
    change(tensors)
    path = tmp_path / "bad.safetensors"
    save_file(tensors, path, metadata={"passport": passport.to_json()})
    with pytest.raises(CheckpointError, match=message):
        load_adapter(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "passport cannot be read"),
        ("[]", "passport cannot be read"),
        ("{}", "passport cannot be read"),
        ('{"spec": 3}', "passport cannot be read"),
    ],
)
def test_a_passport_must_be_one(tmp_path, text, message):
    path = tmp_path / "bad.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"passport": text})
    with pytest.raises(CheckpointError, match=message):
        read_passport(path)


def test_later_formats_and_other_files_are_named(passport, tmp_path):
    raw = json.loads(passport.to_json()) | {"format": 9}
    path = tmp_path / "odd.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"passport": json.dumps(raw)})
    with pytest.raises(CheckpointError, match="has format 9; this version reads 1"):
        read_passport(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no adapter passport"):
        read_passport(path)
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_passport(path)


def test_the_library_lists_what_can_be_read(adapter, passport, fit, tmp_path):
    library = Library(tmp_path / "adapters")
    assert library.entries() == ()
    save_adapter(adapter, passport, library.folder / "a.safetensors")
    (library.folder / "broken.safetensors").write_bytes(b"junk")
    assert [entry.passport.name for entry in library.entries()] == ["sees"]
    assert library.for_images(fit) == (library.find("sees"),)
    loaded = library.load(library.find("sees"), fit)
    assert library.load(library.find("sees"), fit) is loaded
    with pytest.raises(InputError, match="no adapter 'nobody'. Choose auto, none, or: sees"):
        library.find("nobody")


def test_a_replaced_file_is_read_again(adapter, passport, fit, tmp_path):
    library = Library(tmp_path)
    save_adapter(adapter, passport, tmp_path / "a.safetensors")
    before = library.load(library.find("sees"), fit)
    save_adapter(
        open_gates(adapter), replace(passport, description="x"), tmp_path / "a.safetensors"
    )
    entry = library.find("sees")
    after = library.load(entry, fit)
    assert entry.passport.description == "x"
    assert not torch.equal(before.gate, after.gate)


@pytest.mark.matrix("A8")
def test_a_wrong_base_or_tower_is_refused_with_both_names(adapter, passport, fit, tmp_path):
    save_adapter(adapter, passport, tmp_path / "a.safetensors")
    library = Library(tmp_path)
    with pytest.raises(CheckpointError, match=f"taught on {passport.base}; this is other"):
        library.load(library.find("sees"), replace(fit, base="other", base_fingerprint="x"))
    with pytest.raises(CheckpointError, match="sees through tower; this program runs with other"):
        library.load(library.find("sees"), replace(fit, tower="other", tower_fingerprint="x"))
    with pytest.raises(CheckpointError, match="width 36 with 6 heads.*has width 40"):
        library.load(library.find("sees"), replace(fit, config=replace(fit.config, width=40)))
    with pytest.raises(InputError, match="No adapter here sees through other"):
        library.for_images(replace(fit, tower="other", tower_fingerprint="x"))
