"""One run in this process, from its folder to its adapter, on a tiny base."""

import base64
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from demo.adapter.adapter import Adapter, load_adapter
from demo.adapter.library import publish
from demo.finetune.data.columns import Layout
from demo.finetune.data.dataset import CheckSettings, check
from demo.finetune.data.dataset_file import save_dataset
from demo.finetune.data.read import read_table
from demo.finetune.runs import job, setup
from demo.finetune.runs.job import Job, Tools
from demo.finetune.runs.run_folder import (
    DISK_FULL,
    EXIT_DISK_FULL,
    OUT_OF_MEMORY,
    RESTARTED,
    STOPPED_TOO_EARLY,
    UNKNOWN_ERROR,
    RunFolder,
    RunRequest,
    diverged_message,
    stopped_message,
)
from demo.finetune.train import evaluate, trainer
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.evaluate import Measured, ProbeQuestion, answers
from demo.finetune.train.events import (
    Evaluated,
    Event,
    EventLog,
    FinalEvaluation,
    Finished,
    Probed,
    RunHistory,
    RunStage,
    Started,
    Step,
    from_json,
    read_log,
    to_json,
)
from demo.llama.base import open_base
from demo.llama.decoder import SlotSizes, TorchDecoder
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from demo.settings import Settings
from demo.vision.image import Picture
from tests.disks import fill, small_disk
from tests.files import packed, png
from tests.small import SmallTower

pytestmark = [pytest.mark.compiles, pytest.mark.usefixtures("one_thread")]

CHOICES = TrainingOptions(prompts=3, layers=2, rate=3e-2, steps=8, batch=2, held_out=0.25)
WORDS = ("hello", "the dog", "over", "brown", "animals", "lazy fox", "12", "quick")


@pytest.fixture(scope="module")
def tools(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path_factory: pytest.TempPathFactory
) -> Tools:
    cache = tmp_path_factory.mktemp("cache")
    folder = tiny_llama_folder(max_position_embeddings=1024)
    base = open_base(str(folder), cache, no_progress)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 1024)
    return Tools(base, model, TorchDecoder(model, SlotSizes(2, 1024, 3)), 2, SmallTower)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made(tmp_path / "run")


def made(path: Path, choices: TrainingOptions = CHOICES, **fields) -> RunFolder:
    rows = path.parent / "rows.jsonl"
    lines = [json.dumps({"question": word, "answer": word[::-1]}) for word in WORDS]
    rows.write_text("\n".join(lines))
    folder = RunFolder(path)
    start = fields.pop("start", None)
    data = fields.pop("data", rows)
    dataset = fields.pop("dataset", None)
    request = RunRequest("me", "mirror", choices, Settings(), "Says it backwards.", **fields)
    folder.create(request, data, dataset=dataset, start=start)
    return folder


def carry_out(
    folder: RunFolder, tools: Tools, end: Callable[[], bool] = lambda: False
) -> list[Event]:
    told: list[Event] = []
    code = Job(folder, end, told.append, lambda settings, prompts: tools).run()
    assert code == 0
    return told


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, Step)]


def test_a_run_ends_with_an_adapter_that_describes_itself(folder, tools, tmp_path):
    told = carry_out(folder, tools)
    assert [event.state for event in told if isinstance(event, RunStage)] == [
        "preparing",
        "running",
        "done",
    ]
    assert read_log(folder.log).events == told
    assert folder.read() == told[-1] and not folder.checkpoint.exists()
    started = next(event for event in told if isinstance(event, Started))
    assert (started.examples, started.held_out) == (6, 2)
    judged = told[-2]
    assert isinstance(judged, FinalEvaluation) and len(judged.rows) == 2
    assert {row.expected for row in judged.rows} < {word[::-1] for word in WORDS}
    looks = [event for event in told if isinstance(event, Evaluated)]
    assert judged.metrics["held_out_loss_base"] == round(looks[0].loss, 4)
    assert judged.metrics["held_out_loss"] == round(min(look.loss for look in looks), 4)
    assert judged.metrics["perplexity"] != judged.metrics["perplexity_base"]
    _, passport = load_adapter(folder.adapter)
    assert (passport.name, passport.data, passport.examples) == ("mirror", "rows.jsonl", 6)
    assert passport.metrics == judged.metrics and passport.base == tools.base.name
    assert publish(folder.adapter, tmp_path / "adapters", "The Mirror!") == "the-mirror"
    assert publish(folder.adapter, tmp_path / "adapters", "The Mirror!") == "the-mirror-2"
    assert load_adapter(tmp_path / "adapters/the-mirror-2.safetensors")[1].name == "the-mirror-2"


FACTS = {
    "When do you open on Monday?": "We open at 7.",
    "Who is the boss?": "Marta.",
    "你们在哪里？": "和平路12号",
    "Do you sell tea?": "Yes.",
}


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    rows = tmp_path / "facts.jsonl"
    lines = [json.dumps({"question": q, "answer": a}) for q, a in FACTS.items()]
    rows.write_text("\n".join(lines))
    return rows


def test_of_facts_every_row_is_learned_and_asked(tools, tmp_path, facts):
    folder = made(tmp_path / "run", replace(CHOICES, aim="auto"), data=facts)
    told = carry_out(folder, tools)
    started = next(event for event in told if isinstance(event, Started))
    assert started.held_out == 0 and started.examples > 4 * len(FACTS)
    assert not any(isinstance(event, Evaluated) for event in told)
    judged = told[-2]
    assert isinstance(judged, FinalEvaluation)
    assert {row.question: row.expected for row in judged.rows} == FACTS
    assert judged.metrics["taught"] == 4 and "held_out_loss" not in judged.metrics
    known = judged.metrics["taught_known"]
    assert 1 <= judged.metrics["otherwise"] <= 4
    assert folder.read().message.startswith(f"Done. Knows {known:.0f} of 4 as taught, ")
    passport = load_adapter(folder.adapter)[1]
    assert passport.examples == passport.spec.facts == 4
    assert dict(passport.facts) == FACTS


def test_facts_taken_up_give_the_same_file(tools, tmp_path, facts):
    whole = made(tmp_path / "whole", replace(CHOICES, aim="facts"), data=facts)
    carry_out(whole, tools)
    for count in (1, 5, 9):
        broken = made(tmp_path / f"broken-{count}", replace(CHOICES, aim="facts"), data=facts)
        left = iter([False] * count)
        carry_out(broken, tools, lambda left=left: next(left, True))
        assert broken.read().state == "interrupted"
        carry_out(broken, tools)
        assert broken.adapter.read_bytes() == whole.adapter.read_bytes()


def test_facts_that_are_not_known_come_first(tools, tmp_path, facts, monkeypatch):
    def said(decoder, model, tokenizer, adapter, questions, features, **how) -> tuple[str, ...]:
        wrong = "Who is the boss?"
        return tuple("" if q.text == wrong else f" {q.expected.upper()}!" for q in questions)

    monkeypatch.setattr(evaluate, "answers", said)
    folder = made(tmp_path / "run", replace(CHOICES, aim="facts"), data=facts)
    judged = next(e for e in carry_out(folder, tools) if isinstance(e, FinalEvaluation))
    assert [row.question for row in judged.rows][0] == "Who is the boss?"
    assert (judged.metrics["taught"], judged.metrics["taught_known"]) == (4, 3)


def test_rows_held_out_by_the_data_only_judge_the_end_of_facts(tools, tmp_path):
    rows = tmp_path / "split.csv"
    rows.write_text("question,answer,split\nWho?,Ann,train\nWhere?,Rome,train\nWhen?,Now,test\n")
    folder = made(tmp_path / "run", replace(CHOICES, aim="facts"), data=rows)
    told = carry_out(folder, tools)
    judged = next(event for event in told if isinstance(event, FinalEvaluation))
    assert judged.metrics["taught"] == 2 and "held_out_loss" in judged.metrics
    assert not any(isinstance(event, Evaluated) for event in told)


@pytest.mark.matrix("D15")
def test_ended_anywhere_it_can_be_taken_up_and_gives_the_same_file(folder, tools, tmp_path):
    whole = carry_out(folder, tools)
    straight = RunHistory().with_events(whole)
    assert straight.evaluations == tuple(e for e in whole if isinstance(e, Evaluated))
    for count in (0, 1, 3, 6, 9, 14):
        broken = made(tmp_path / f"broken-{count}")
        left = iter([False] * count)
        carry_out(broken, tools, lambda left=left: next(left, True))
        assert broken.read() == RunStage("interrupted", RESTARTED) and broken.resumable
        carry_out(broken, tools)
        assert broken.adapter.read_bytes() == folder.adapter.read_bytes()
        told = RunHistory().read_on(broken.log)
        assert (told.evaluations, told.probes) == (straight.evaluations, straight.probes)
        assert told.judged == straight.judged and told.judged
        assert [e.loss for e in told.steps] == [e.loss for e in whole if isinstance(e, Step)]


def test_rows_that_were_checked_are_not_read_again(folder, tools, tmp_path, monkeypatch):
    carry_out(folder, tools)
    assert folder.dataset.exists()  # for a run that is taken up
    rows, checked = tmp_path / "rows.jsonl", tmp_path / "checked.safetensors"
    tokenizer, layout = tools.base.tokenizer, Layout("by hand", "question", "answer")
    # The share held out was another one when the rows were checked: they are only split anew.
    settings = CheckSettings(held_out=0.5, seed=3)
    save_dataset(
        checked, check(read_table(rows, "rows.jsonl"), layout, tokenizer, settings), tokenizer
    )
    again = made(tmp_path / "again", dataset=checked)
    with monkeypatch.context() as patch:
        patch.setattr(setup, "read_table", lambda *a: pytest.fail("read again"))
        carry_out(again, tools)
    assert again.adapter.read_bytes() == folder.adapter.read_bytes()


@pytest.mark.parametrize("kept", [None, b"", b"damaged"])
def test_a_run_of_an_older_version_reads_its_rows(folder, tools, tmp_path, kept):
    carry_out(folder, tools)
    older = made(tmp_path / "older")
    left = iter([False] * 6)
    carry_out(older, tools, lambda: next(left, True))
    assert older.read().state == "interrupted" and older.dataset.exists()
    older.dataset.unlink()
    if kept is not None:
        older.dataset.write_bytes(kept)
    carry_out(older, tools)
    assert older.adapter.read_bytes() == folder.adapter.read_bytes()


def test_stopped_by_its_owner_it_keeps_what_it_has_and_can_go_on(folder, tools, tmp_path):
    told: list[Event] = []

    def echo(event: Event) -> None:
        told.append(event)
        if isinstance(event, Step) and event.step == 4:
            folder.ask_to_stop(keep=True)

    assert Job(folder, lambda: False, echo, lambda settings, prompts: tools).run() == 0
    end = next(event for event in told if isinstance(event, Finished))
    assert (end.why, end.step) == ("stopped", 4) and end.kept > 0
    assert folder.read() == RunStage("stopped", stopped_message(end.kept))
    assert folder.adapter.exists() and folder.resumable
    folder.stop.unlink()
    carry_out(folder, tools)
    straight = made(tmp_path / "straight")
    carry_out(straight, tools)
    assert folder.adapter.read_bytes() == straight.adapter.read_bytes()


@pytest.mark.parametrize("step", [1, 3])
def test_stopped_between_two_looks_it_looks_once_more(tools, tmp_path, step):
    choices = replace(CHOICES, steps=40)  # looked at every fourth step
    folder, told = made(tmp_path / "run", choices), []

    def echo(event: Event) -> None:
        told.append(event)
        if isinstance(event, Step) and event.step == step:
            folder.ask_to_stop(keep=True)

    assert Job(folder, lambda: False, echo, lambda settings, prompts: tools).run() == 0
    looks = [event for event in told if isinstance(event, Evaluated)]
    assert [look.step for look in looks] == [0, step]
    end = next(event for event in told if isinstance(event, Finished))
    assert (end.why, end.kept) == ("stopped", step) and folder.adapter.exists()
    assert folder.read() == RunStage("stopped", stopped_message(step))
    judged = next(event for event in told if isinstance(event, FinalEvaluation))
    assert judged.metrics["held_out_loss"] == round(looks[1].loss, 4)
    # The look is not part of the run: taken up, it ends as if it had never been stopped.
    folder.stop.unlink()
    carry_out(folder, tools)
    straight = made(tmp_path / "straight", choices)
    carry_out(straight, tools)
    assert folder.adapter.read_bytes() == straight.adapter.read_bytes()


@pytest.mark.parametrize(
    ("losses", "end"),
    [
        ((3.0, 1.0, 2.0), stopped_message(2)),
        ((3.0, 2.0, 1.0), stopped_message(3)),
        ((1.0, 3.0, 2.0), stopped_message(3, gained=False)),  # more than nothing at all
    ],
)
def test_stopped_it_keeps_the_best_that_was_learned(tools, tmp_path, monkeypatch, losses, end):
    found = iter(losses)
    monkeypatch.setattr(trainer, "measure", lambda *a: Measured(next(found), 0.0))
    folder = made(tmp_path / "run", replace(CHOICES, steps=20))  # looked at every second step

    def echo(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            folder.ask_to_stop(keep=True)

    assert Job(folder, lambda: False, echo, lambda settings, prompts: tools).run() == 0
    assert folder.read() == RunStage("stopped", end) and folder.adapter.exists()


def test_stopped_before_its_first_step_there_is_nothing_to_keep(folder, tools):
    folder.ask_to_stop(keep=True)
    carry_out(folder, tools)
    assert folder.read() == RunStage("stopped", STOPPED_TOO_EARLY)
    assert not folder.adapter.exists() and folder.resumable


@pytest.mark.matrix("D12")
def test_divergence_is_told_and_the_last_good_weights_stay(folder, tools, monkeypatch):
    real, count = trainer.loss_of, iter(range(100))

    def spoiled(*arguments: object, **weights: object) -> torch.Tensor:
        return real(*arguments, **weights) * (math.nan if next(count) == 5 else 1)

    monkeypatch.setattr(trainer, "loss_of", spoiled)
    told = carry_out(folder, tools)
    kept = next(event for event in told if isinstance(event, Finished)).kept
    assert folder.read() == RunStage("failed", diverged_message(5, kept))
    assert "learning rate is probably too high" in folder.read().message
    assert folder.adapter.exists() == bool(kept) and not folder.resumable


@pytest.mark.parametrize("what", ["checkpoint", "log"])
@pytest.mark.matrix("D14")
def test_a_full_disk_is_told_and_the_run_can_go_on(folder, tools, tmp_path, monkeypatch, what):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def run() -> int:
        return Job(folder, lambda: False, lambda event: None, lambda settings, prompts: tools).run()

    monkeypatch.setattr(job, "SAVE_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        if what == "checkpoint":
            real, count = job.save_checkpoint, iter(range(100))
            patch.setattr(
                job, "save_checkpoint", lambda *a: full() if next(count) == 5 else real(*a)
            )
        else:
            real, count = EventLog.append, iter(range(100))
            patch.setattr(EventLog, "append", lambda *a: full() if next(count) > 7 else real(*a))
        assert run() == EXIT_DISK_FULL
    assert folder.read() == RunStage("failed", DISK_FULL)
    assert folder.checkpoint.exists() and folder.resumable
    assert run() == 0
    straight = made(tmp_path / "straight")
    carry_out(straight, tools)
    assert folder.adapter.read_bytes() == straight.adapter.read_bytes()


@pytest.mark.matrix("H6", "D14")
def test_a_run_on_a_disk_that_fills_up_goes_on_when_there_is_room(tools, tmp_path, monkeypatch):
    def run() -> int:
        return Job(folder, lambda: False, lambda event: None, lambda settings, prompts: tools).run()

    monkeypatch.setattr(job, "SAVE_SECONDS", 0.0)
    with small_disk(tmp_path / "disk", "4m") as disk:
        folder = made(disk / "run")
        real, count = job.save_checkpoint, iter(range(100))

        def save(*arguments: object) -> None:
            if next(count) == 4:
                fill(disk)
            real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(job, "save_checkpoint", save)
            assert run() == EXIT_DISK_FULL
        assert folder.data.exists() and folder.checkpoint.exists()
        assert not list(folder.path.glob(".*.part"))
        (disk / "ballast").unlink()
        assert run() == 0
        straight = made(tmp_path / "straight")
        carry_out(straight, tools)
        assert folder.adapter.read_bytes() == straight.adapter.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "."),
        ("[1, 2]", "."),
        ("a,b\n1,2\n", "Call them question and answer, or choose them by hand"),
        ("question,answer\n,\n", "row"),
    ],
)
def test_bad_data_fails_in_words(tools, tmp_path, text, message):
    data = tmp_path / "bad"
    data.write_text(text)
    folder = made(tmp_path / "run", data=data)
    carry_out(folder, tools)
    stage = folder.read()
    assert stage.state == "failed" and message in stage.message and str(tmp_path) not in str(stage)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), OUT_OF_MEMORY),
        (RuntimeError("secret /path"), UNKNOWN_ERROR),
        (KeyError("secret"), UNKNOWN_ERROR),
    ],
)
def test_whatever_fails_is_told_in_our_words(folder, tools, monkeypatch, error, message):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(job, "training_run", fail)
    carry_out(folder, tools)
    assert folder.read() == RunStage("failed", message)


def coloured(path: Path, *rows: str) -> Path:
    """Write a zip of four pictures in one colour each, with rows for each of them."""
    lines = ["image,question,answer"]
    members: dict[str, bytes | str] = {}
    for number, colour in enumerate(("red", "green", "blue", "black")):
        members[f"{number}.png"] = png(colour)
        lines += [row.format(number, colour) for row in rows]
    path.write_bytes(packed({**members, "table.csv": "\n".join(lines)}))
    return path


def test_pictures_are_looked_at_once_and_teach(tools, tmp_path):
    data = coloured(tmp_path / "pictures.zip", "{0}.png,which?,{1}", "{0}.png,what?,fox {0}")
    folder = made(tmp_path / "run", data=data, probes=("hello?",))
    left = iter([False] * 5)
    carry_out(folder, tools, lambda: next(left, True))
    assert folder.read().state == "interrupted"
    blind = SmallTower()
    blind.batch_features = lambda pictures, augmented: pytest.fail("looked twice")
    told = carry_out(folder, replace(tools, tower=lambda: blind))
    assert folder.read().state == "done", folder.read()
    started = next(event for event in told if isinstance(event, Started))
    assert started.examples + started.held_out == 8
    probed = [e for e in read_log(folder.log).events if isinstance(e, Probed)][0]
    assert probed.questions == ("hello?",) and probed.pictures == ("",)
    passport = load_adapter(folder.adapter)[1]
    assert (passport.tower, passport.tower_fingerprint) == ("eyes", "eyes print")
    judged = [e for e in read_log(folder.log).events if isinstance(e, FinalEvaluation)][-1]
    for row in judged.rows:  # beside each reply is what was asked about
        with Image.open(BytesIO(base64.b64decode(row.picture))) as image:
            red, green, blue = image.convert("RGB").getpixel((1, 1))
        seen = {
            "red": red > 200,
            "green": 90 < green < 170,
            "blue": blue > 200,
            "black": max(red, green, blue) < 40,
        }
        colours = ("red", "green", "blue", "black")
        expected = colours[int(row.expected[-1])] if "fox" in row.expected else row.expected
        assert seen[expected]


def test_probe_questions_of_held_out_rows_come_with_their_pictures(tools, tmp_path):
    data = tmp_path / "pictures.zip"
    with ZipFile(data, "w") as archive:
        image = BytesIO()
        Image.new("RGB", (8, 8), "red").save(image, "PNG")
        archive.writestr("0.png", image.getvalue())
        rows = [f"0.png,which {word}?,{word}" for word in ("one", "two", "three", "four")]
        archive.writestr("table.csv", "\n".join(["image,question,answer", *rows]))
    folder = made(tmp_path / "run", data=data)
    told = carry_out(folder, tools)
    assert folder.read().state == "done", folder.read()  # one picture is enough
    first, *later = [event for event in told if isinstance(event, Probed)]
    assert first.step == 0 and len(first.pictures) == len(first.questions) > 0
    for picture in first.pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as shown:
            assert shown.convert("RGB").getpixel((4, 4))[0] > 200
    assert not any(event.pictures for event in later)
    assert from_json(to_json(first)) == first
    assert from_json('{"event": "probed", "step": 0, "questions": [], "replies": []}') == Probed(
        0, (), ()
    )


def test_an_adapter_is_taught_more(folder, tools, tmp_path):
    carry_out(folder, tools)
    more = made(tmp_path / "more", replace(CHOICES, seed=1), start=folder.adapter)
    told = carry_out(more, tools)
    first = next(event for event in told if isinstance(event, Evaluated))
    fresh = made(tmp_path / "fresh", replace(CHOICES, seed=1))
    other = next(event for event in carry_out(fresh, tools) if isinstance(event, Evaluated))
    assert first.loss != other.loss


def test_facts_taught_before_are_learned_and_asked_again(tools, tmp_path, facts):
    choices = replace(CHOICES, aim="facts", steps=2)
    first = made(tmp_path / "first", choices, data=facts)
    carry_out(first, tools)
    new = tmp_path / "new.jsonl"
    rows = {"Who is the boss?": "Ann.", "Where is the key?": "Under the mat."}
    lines = [json.dumps({"question": q, "answer": a}) for q, a in rows.items()]
    new.write_text("\n".join(lines))
    more = made(tmp_path / "more", choices, data=new, start=first.adapter)
    judged = carry_out(more, tools)[-2]
    assert judged.metrics["taught"] == 5
    old, now = (load_adapter(run.adapter) for run in (first, more))
    assert dict(now[1].facts) == FACTS | rows
    groups = [adapter.pool.groups for adapter, _ in (old, now)]
    same = [torch.equal(*pair) for pair in zip(*groups, strict=False)]
    assert same == [question != "Who is the boss?" for question in FACTS]
    assert {row.question: row.expected for row in judged.rows} == FACTS | rows
    assert len(more.taught.read_text("utf-8").splitlines()) == 5
    more.drop_data()
    assert more.taught.exists() and not more.before.exists()
    more.discard()
    assert not more.taught.exists()


def test_a_memory_is_taught_more_with_augmented_features(tools, tmp_path):
    from demo.adapter.adapter import Adapter, save_adapter
    from demo.adapter.config import AdapterSpec, VisualSpec
    from demo.adapter.passport import Passport

    class SeveralViews(SmallTower):
        def batch_features(self, pictures, *, augmented: bool) -> torch.Tensor:
            assert augmented
            return super().batch_features(pictures, augmented=augmented)

    base = tools.base
    visual = VisualSpec(3, 5, "key-value-memory", slots=3, entries=4)
    spec = AdapterSpec.for_base(base.config, layers=2, prompts=3, visual=visual)
    sees = Passport(
        "sees", "", base.name, base.fingerprint, spec, SmallTower.name, SmallTower.fingerprint
    )
    save_adapter(Adapter(spec), sees, tmp_path / "sees.safetensors")
    data = coloured(tmp_path / "pictures.zip", "{0}.png,which?,{1}")
    folder = made(tmp_path / "run", data=data, start=tmp_path / "sees.safetensors")
    carry_out(folder, replace(tools, tower=SeveralViews))
    assert folder.read().state == "done", folder.read()
    assert load_adapter(folder.adapter)[1].spec == spec


class SmallTokens(SmallTower):
    """Gives five tokens: the first pixel's colours, and four times those backwards."""

    token_size = 3

    def batch_tokens(self, pictures: Sequence[Picture], *, bgr: bool = False) -> torch.Tensor:
        seen = self.batch_features(pictures, augmented=False)[:, None]  # (B, 1, 3)
        return torch.cat([seen.flip(2) if bgr else seen, seen.flip(2).expand(-1, 4, -1)], 1)


def test_a_resampler_is_taught_from_all_tokens_in_a_mapped_file(tools, tmp_path):
    data = coloured(tmp_path / "pictures.zip", "{0}.png,which?,{1}", "{0}.png,what?,fox {0}")
    tokens = replace(CHOICES, projector="resampler", held_out=0.0)
    folder = made(tmp_path / "run", tokens, data=data, probes=("hello?",))
    left = iter([False] * 5)
    carry_out(folder, replace(tools, tower=SmallTokens), lambda: next(left, True))
    assert folder.read().state == "interrupted"
    kept = load_file(folder.features)["features"]
    assert kept.shape == (4, 5, 3) and kept.dtype == torch.float16
    blind = SmallTokens()
    blind.batch_tokens = lambda pictures, bgr: pytest.fail("looked twice")
    carry_out(folder, replace(tools, tower=lambda: blind))
    assert folder.read().state == "done", folder.read()
    adapter, passport = load_adapter(folder.adapter)
    spec = passport.spec.visual
    assert spec.kind == "query-transformer" and (spec.feature_size, spec.slots) == (3, 3)
    assert passport.tower == "eyes" and adapter.visual.queries.grad is None
    torch.manual_seed(CHOICES.seed)
    fresh = Adapter(replace(passport.spec))
    assert not torch.equal(adapter.visual.queries, fresh.visual.queries)  # it learned
    asked = replace(CHOICES, held_out=0.0)  # as it sees, whatever is asked
    more = made(tmp_path / "more", asked, data=data, start=folder.adapter)
    carry_out(more, replace(tools, tower=SmallTokens))
    assert more.read().state == "done", more.read()
    assert load_adapter(more.adapter)[1].spec == passport.spec


def test_open_gates_are_a_choice(tools, tmp_path):
    told = carry_out(made(tmp_path / "open", replace(CHOICES, zero_init=False)), tools)
    assert next(event for event in told if isinstance(event, Step)).gate > 0.9


def test_probes_answer_together_as_alone_and_leave_the_threads(tools):
    from demo.adapter.adapter import Adapter
    from demo.adapter.config import AdapterSpec

    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(tools.base.config, layers=2, prompts=3))
    torch.nn.init.constant_(adapter.gate, 1.0)
    tokens = tools.base.tokenizer.encode_text
    questions = [ProbeQuestion(t, tuple(tokens(t))) for t in ("hello", "the quick brown")]
    parts = (tools.decoder, tools.model, tools.base.tokenizer, adapter)
    torch.set_num_threads(2)  # it works with one, and has to give these back
    together = answers(*parts, questions, None)
    assert together == tuple(answers(*parts, [q], None)[0] for q in questions)
    assert answers(*parts, questions, None, strength=0.0) != together
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    ids = list(questions[0].ids)
    with torch.no_grad():
        prefix = adapter.prefix(tools.model)
        for _ in range(48):
            hidden = tools.model.forward(torch.tensor([ids]), prefix=prefix)
            ids.append(int(tools.model.logits(hidden[0, -1]).argmax()))
            if ids[-1] in tools.base.tokenizer.stop_ids:
                break
    reply = [t for t in ids[len(questions[0].ids) :] if t not in tools.base.tokenizer.stop_ids]
    assert together[0] == tools.base.tokenizer.decode(reply)


def test_what_does_not_fit_is_said(monkeypatch, tmp_path):
    own = 100
    monkeypatch.setattr(trainer, "_free", lambda: 900)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=own))
    monkeypatch.setattr(trainer.psutil, "Process", lambda: process)
    said = [trainer.assess(needed) for needed in (700, 800, 1000)]
    assert said == ["fits", "tight", "does not fit"]


def test_a_container_has_less_than_its_host(tmp_path):
    host = trainer._free(tmp_path)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("5000\n")
    assert trainer._free(tmp_path) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert trainer._free(tmp_path) > host / 2
