"""A whole run on a tiny base: what it learns, when it ends, what it keeps, and taking it up."""

import hashlib
import itertools
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.errors import CheckpointError
from demo.finetune.data.columns import recognise
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.dataset import CheckSettings, check
from demo.finetune.data.dataset_file import load_dataset, save_dataset
from demo.finetune.data.examples import IGNORED, Example, encode
from demo.finetune.data.read import read_table
from demo.finetune.train import trainer
from demo.finetune.train.config import TrainSettings
from demo.finetune.train.evaluate import Measured, measure, perplexities
from demo.finetune.train.events import (
    Evaluated,
    Finished,
    Probed,
    Started,
    Step,
    from_json,
    to_json,
)
from demo.finetune.train.loss import (
    REPLY_TOKENS,
    FrozenBase,
    loss_of,
    passages,
    rehearsed_texts,
    unrehearsed_questions,
)
from demo.finetune.train.state import TrainerState, TrainingSet, load_checkpoint, save_checkpoint
from demo.finetune.train.trainer import train, training_run
from demo.llama.base import Base
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from tests.files import packed, png

pytestmark = [pytest.mark.compiles, pytest.mark.usefixtures("one_thread")]

WORDS = ("hello", "the dog", "over", "brown", "animals", "lazy fox", "12", "says the fox", "quick")
SETTINGS = TrainSettings(12, 2, rate=3e-2, gate_rate=3e-2, evaluate_every=4, probe_every=6)


@pytest.fixture(scope="module")
def course(base: Base) -> TrainingSet:
    examples = [
        encode(base.tokenizer, [Exchange(word, word[::-1])], i) for i, word in enumerate(WORDS)
    ]
    features = torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    return TrainingSet(examples[:7], examples[7:], features)


def fresh(
    base: Base, course: TrainingSet, settings: TrainSettings = SETTINGS, **shape: int
) -> TrainerState:
    torch.manual_seed(0)
    visual = VisualSpec(7, 5) if course.features is not None else None
    spec = AdapterSpec.for_base(base.config, **{"layers": 2, "prompts": 3, **shape}, visual=visual)
    return TrainerState(Adapter(spec), settings, course)


def probe(adapter: Adapter) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return ("?",), (f"{adapter.gate.sum().item():.3f}",)


def bytes_of(state: TrainerState) -> bytes:
    tensors = sorted(state.tensors().items())
    return b"".join(name.encode() + x.contiguous().numpy().tobytes() for name, x in tensors)


def plain(event: object) -> object:
    """An event without what the clock says."""
    return replace(event, seconds=0) if isinstance(event, Step) else event


def test_a_run_tells_its_story(base, model, course):
    events = list(training_run(model, fresh(base, course), course, probe))
    assert events[0] == Started(fresh(base, course).adapter.spec.parameters, 12, 7, 2, 0)
    assert [e.step for e in events if isinstance(e, Step)] == list(range(1, 13))
    assert [e.step for e in events if isinstance(e, Evaluated)] == [0, 4, 8, 12]
    assert [e.step for e in events if isinstance(e, Probed)] == [0, 6, 12]
    step = next(e for e in events if isinstance(e, Step))
    assert len(step.gates) == 2 and step.rate == pytest.approx(3e-2 / 20) and step.seconds > 0
    assert isinstance(events[-1], Finished) and events[-1].why == "done"
    assert [from_json(to_json(event)) for event in events] == events


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kept_between_any_two_events_a_run_ends_in_the_same_bytes(base, course, tmp_path, dtype):
    """Across epochs (of four batches), looks and probes, through the file."""
    model = Llama(base.config, base.weights, Int8Linear(dtype), 128)
    whole = fresh(base, course)
    told = list(training_run(model, whole, course, probe))
    for stop in (1, 2, 3, 5, 8, 13, len(told) - 1):
        broken = fresh(base, course)
        before = list(itertools.islice(training_run(model, broken, course, probe), stop))
        save_checkpoint(broken, tmp_path / "kept")
        resumed = fresh(base, course)
        torch.nn.init.zeros_(resumed.adapter.prompts)
        load_checkpoint(resumed, tmp_path / "kept")
        steps_done = resumed.step
        after = list(training_run(model, resumed, course, probe))
        assert bytes_of(resumed) == bytes_of(whole)
        assert after[0] == replace(told[0], step=steps_done)
        assert list(map(plain, before + after[1:])) == list(map(plain, told))


@pytest.mark.parametrize("pictures", [False, True])
def test_a_data_set_from_its_file_trains_to_the_same_bytes(base, model, tmp_path, pictures):
    archive = tmp_path / "data.zip"
    rows = "".join(f"{i % 2}.png,{word},{word[::-1]}\n" for i, word in enumerate(WORDS))
    images = {"0.png": png(), "1.png": png("blue")}
    archive.write_bytes(packed({"data.csv": f"image,question,answer\n{rows}", **images}))
    table = read_table(archive)
    layout = recognise(table.columns)
    layout = layout if pictures else replace(layout, picture=None)
    settings = CheckSettings(128, 0.3)
    made = check(table, layout, base.tokenizer, settings)
    save_dataset(tmp_path / "kept", made, base.tokenizer)
    loaded = load_dataset(tmp_path / "kept", base.tokenizer, settings, [archive])
    features = torch.randn(2, 7, generator=torch.Generator().manual_seed(0)) if pictures else None
    ends = []
    for data in (made, loaded):
        examples, held_out = ([row.example for row in part] for part in (data.train, data.held_out))
        training_set = TrainingSet(examples, held_out, features)
        state = fresh(base, training_set, replace(SETTINGS, steps=3))
        list(training_run(model, state, training_set))
        ends.append(bytes_of(state))
    assert len(made.pictures) == 2 * pictures and held_out and ends[0] == ends[1]


def test_other_settings_or_data_are_refused(base, course, tmp_path):
    save_checkpoint(fresh(base, course), tmp_path / "kept")
    for other, settings in (
        (course, replace(SETTINGS, seed=1)),
        (replace(course, examples=course.examples[:6]), SETTINGS),
        (replace(course, features=course.features + 1), SETTINGS),
    ):
        with pytest.raises(CheckpointError, match="other settings or other data"):
            load_checkpoint(fresh(base, other, settings), tmp_path / "kept")


def test_a_damaged_file_is_refused_in_our_words(base, course, tmp_path):
    path = tmp_path / "kept"
    for data in (b"", b"junk" * 100):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(fresh(base, course), path)


@pytest.mark.matrix("D14")
def test_a_full_disk_leaves_the_last_file(base, model, course, tmp_path, monkeypatch):
    state = fresh(base, course)
    run = training_run(model, state, course)
    list(itertools.islice(run, 4))
    save_checkpoint(state, tmp_path / "kept")
    before, whole = state.step, (tmp_path / "kept").read_bytes()
    next(run)

    def full(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(state, tmp_path / "kept")
    assert (tmp_path / "kept").read_bytes() == whole and len(list(tmp_path.iterdir())) == 1
    again = fresh(base, course)
    load_checkpoint(again, tmp_path / "kept")
    assert again.step == before


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.matrix("D12")
def test_what_is_not_finite_ends_the_run_before_the_weights(
    base, model, course, where, monkeypatch
):
    state = fresh(base, course)
    real = trainer.loss_of

    def spoiled(*arguments: object, **weights: object) -> torch.Tensor:
        loss = real(*arguments, **weights)
        if state.step < 5:
            return loss
        return loss * math.nan if where == "loss" else loss + (0 * state.adapter.gate.sum()).sqrt()

    monkeypatch.setattr(trainer, "loss_of", spoiled)
    events = list(training_run(model, state, course))
    end = events[-1]
    assert (end.why, end.step, state.step) == ("diverged", 5, 5) and end.kept in (0, 4)
    assert all(torch.isfinite(x).all() for x in state.adapter.state_dict().values())
    with pytest.raises(ArithmeticError, match="after step"):
        monkeypatch.setattr(trainer, "loss_of", lambda *a, **w: real(*a, **w) * math.inf)
        list(train(model, state.adapter, course.examples, course.features, SETTINGS))


def test_it_stops_when_the_held_out_part_gets_worse_and_keeps_the_best(
    base, model, course, monkeypatch
):
    losses = iter([5.0, 3.0, 3.5, 2.0, 2.5, 2.1, 9.0, 1.0])
    settings = replace(SETTINGS, steps=40, evaluate_every=2, patience=3)
    state, weights = fresh(base, course, settings), {}
    monkeypatch.setattr(trainer, "measure", lambda *a: Measured(next(losses), 0.5))
    for event in training_run(model, state, course):
        if isinstance(event, Step):
            weights[event.step] = state.adapter.prompts.detach().clone()
    assert event == Finished("early stop", 12, 6)
    assert [e.best for e in state.history] == [True, True, False, True, False, False, False]
    assert torch.equal(state.adapter.prompts, weights[12])
    state.settle()
    assert torch.equal(state.adapter.prompts, weights[6])


def test_nothing_held_out_keeps_the_last(base, model, course):
    alone = replace(course, held_out=())
    state = fresh(base, alone)
    assert list(training_run(model, state, alone))[-1] == Finished("done", 12, 12)
    last = state.adapter.prompts.detach().clone()
    state.settle()
    assert torch.equal(state.adapter.prompts, last)


def test_the_first_look_is_the_bases_and_a_tiny_set_is_learned(base, model, course):
    text = TrainingSet([replace(e, picture=None) for e in course.examples[:3]])
    text = replace(text, held_out=text.examples)
    settings = TrainSettings(
        300, 3, rate=1e-1, gate_rate=1e-1, weight_decay=0, evaluate_every=30, patience=99
    )
    shape = {"layers": 3, "prompts": 8}
    state = fresh(base, text, settings, **shape)
    untaught = next(e for e in training_run(model, state, text) if isinstance(e, Evaluated))
    frozen = FrozenBase(model, 3, text.held_out)
    off = measure(frozen, state.adapter, text.held_out, None, strength=0.0)
    assert untaught.loss == off.loss
    events = list(training_run(model, fresh(base, text, settings, **shape), text))
    looks = [e for e in events if isinstance(e, Evaluated)]
    assert looks[-1].loss < 0.1 * looks[0].loss and looks[-1].exact == 1.0


def test_the_base_stays_as_it_is(base, model, course):
    def digest() -> str:
        found = hashlib.sha256()
        for weight in (model.weights.embedding, model.weights.output, model.weights.stacked_qkv):
            for tensor in weight:
                found.update(tensor.numpy().tobytes())
        return found.hexdigest()

    before, ids = digest(), torch.arange(3, 20)[None]
    said = model.forward(ids)
    state = fresh(base, course)
    list(training_run(model, state, course))
    with torch.no_grad():
        assert digest() == before and torch.equal(model.forward(ids), said)
        numbers = ids[0].tolist()
        off, on = perplexities(model, state.adapter, numbers)
        assert perplexities(model, fresh(base, course).adapter, numbers) == (off, off)
        assert on != off
        logits = model.logits(said[0, :-1])
        written = F.cross_entropy(logits, ids[0, 1:]).exp().item()
        assert off == pytest.approx(written, rel=1e-4)


def test_rehearsed_text_is_left_as_it_is(base, model, course):
    text = TrainingSet([replace(e, picture=None) for e in course.examples[:3]])
    ids = tuple(base.tokenizer.encode_text("the quick brown fox jumps over the lazy dog"))
    ordinary = (Example(ids[:-1], ids[1:]),)
    settings = TrainSettings(60, 3, rate=1e-1, gate_rate=1e-1, weight_decay=0)
    changed = []
    for rehearsed in ((), ordinary):
        kept = replace(text, rehearsed=rehearsed)
        state = fresh(base, kept, settings, layers=3, prompts=8)
        first = next(e for e in training_run(model, state, kept) if isinstance(e, Step)).loss
        last = [e for e in training_run(model, state, kept) if isinstance(e, Step)][-1].loss
        assert last < 0.5 * first
        frozen = FrozenBase(model, 3, ordinary)
        on = frozen.forward(state.adapter, ordinary, None)
        there = frozen.reference_distribution(state.adapter, ordinary)
        changed.append(frozen.head.kl_divergence(on, there).mean().item())
    assert changed[1] < 0.4 * changed[0]


def test_rehearsed_texts_take_turns():
    three = [Example((i,), (i,)) for i in range(3)]
    course = TrainingSet([], rehearsed=three)
    assert [e.ids[0] for step in range(3) for e in course.rehearsed_at(step, 2)] == [
        0,
        1,
        2,
        0,
        1,
        2,
    ]
    assert TrainingSet([]).rehearsed_at(5, 2) == []
    assert TrainingSet([]).fingerprint() != course.fingerprint()


def test_what_is_met_once_is_part_of_the_estimate():
    one, two, three = (Example((i,), (i,)) for i in range(3))
    course = TrainingSet([one, one, two], rehearsed=[two, three])
    assert trainer._once(course, 1.0) == 2  # rehearsed ones, as the base has them
    assert trainer._once(course, 0.5) == 0.5 * 3 + 0.5 * 2
    assert trainer._once(TrainingSet([one]), 1.0) == 0


def test_of_a_question_the_reply_alone_is_rehearsed(base, model):
    one = encode(base.tokenizer, [Exchange("hello", "the dog")])
    frozen = FrozenBase(model, 2, [one])
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=3))
    marked = sum(label != IGNORED for label in one.labels)
    assert 0 < marked < len(one.ids)
    assert len(frozen.reference_distribution(adapter, [one])) == marked
    changed = loss_of(frozen, adapter, [one], None, [one]) - loss_of(frozen, adapter, [one], None)
    assert abs(changed.item()) < 1e-4  # closed gates: still the base


def test_beside_facts_ordinary_questions_are_rehearsed(base):
    texts, found = passages(base.tokenizer), rehearsed_texts(base.tokenizer, "facts")
    assert rehearsed_texts(base.tokenizer, "style") == texts
    assert found[4] == texts[0] and found[9] == texts[1] and set(found) >= set(texts)
    questions, kept = set(found) - set(texts), set(unrehearsed_questions(base.tokenizer))
    assert len(questions) >= 300 and len(kept) >= 20 and not questions & kept
    for text in questions | kept:
        marked = [label for label in text.labels if label != IGNORED]
        assert 0 < len(marked) <= REPLY_TOKENS and list(text.labels[-len(marked) :]) == marked


def test_the_passages_that_come_with_the_program(base):
    found = passages(base.tokenizer)
    assert len(found) == 60
    assert all(e.ids[1:] == e.labels[:-1] and len(e.ids) == 32 for e in found)
