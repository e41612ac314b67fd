"""One run in this process, from its folder to its adapter, on a tiny base."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from demo.adapter.file import load_adapter
from demo.finetune import endings, estimate, job, trainer
from demo.finetune.evaluate import Measured
from demo.finetune.events import (
    Evaluated,
    Event,
    Finished,
    Judged,
    Probed,
    Stage,
    Started,
    Step,
    from_json,
    to_json,
)
from demo.finetune.job import Job, Tools
from demo.finetune.log import EventLog, read_log, without_repeats
from demo.finetune.presets import Choices
from demo.finetune.probe import Question, answers
from demo.finetune.publish import publish
from demo.finetune.run_folder import Request, RunFolder
from demo.llama.base import open_base
from demo.llama.decode import SlotSizes
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from demo.llama.torch_decode import TorchDecoder
from demo.settings import Settings

CHOICES = Choices(prompts=3, layers=2, rate=3e-2, steps=8, batch=2, held_out=0.25)
WORDS = ("hello", "the dog", "over", "brown", "animals", "lazy fox", "12", "quick")


class Eyes:
    """A tower of three numbers."""

    name, fingerprint, preprocessing = "eyes", "eyes print", SimpleNamespace(size=4)

    def batch_seen(self, pictures, kind: str) -> torch.Tensor:
        return torch.stack([torch.tensor(p.rgb[0, 0].astype(np.float32) / 255) for p in pictures])


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Work this small is done before a second thread has woken."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tools(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path_factory: pytest.TempPathFactory
) -> Tools:
    cache = tmp_path_factory.mktemp("cache")
    folder = tiny_llama_folder(max_position_embeddings=1024)
    base = open_base(str(folder), cache, no_progress)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 1024)
    return Tools(base, model, TorchDecoder(model, SlotSizes(2, 1024, 3)), 2, Eyes)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made(tmp_path / "run")


def made(path: Path, choices: Choices = CHOICES, **fields) -> RunFolder:
    rows = path.parent / "rows.jsonl"
    lines = [json.dumps({"question": word, "answer": word[::-1]}) for word in WORDS]
    rows.write_text("\n".join(lines))
    folder = RunFolder(path)
    start = fields.pop("start", None)
    data = fields.pop("data", rows)
    request = Request("me", "mirror", choices, Settings(), "Says it backwards.", **fields)
    folder.create(request, data, start=start)
    return folder


def carry_out(
    folder: RunFolder, tools: Tools, end: Callable[[], bool] = lambda: False
) -> list[Event]:
    told: list[Event] = []
    code = Job(folder, lambda settings, prompts: tools, end, told.append).run()
    assert code == 0
    return told


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events if not isinstance(event, Step)]


def test_a_run_ends_with_an_adapter_that_describes_itself(folder, tools, tmp_path):
    told = carry_out(folder, tools)
    assert [event.state for event in told if isinstance(event, Stage)] == [
        "preparing",
        "running",
        "done",
    ]
    assert read_log(folder.log).events == told
    assert folder.read() == told[-1] and not folder.checkpoint.exists()
    started = next(event for event in told if isinstance(event, Started))
    assert (started.examples, started.held_out) == (6, 2)
    judged = told[-2]
    assert isinstance(judged, Judged) and len(judged.rows) == 2
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


def test_ended_anywhere_it_can_be_taken_up_and_gives_the_same_file(folder, tools, tmp_path):
    whole = carry_out(folder, tools)
    for count in (0, 1, 3, 6, 9, 14):
        broken = made(tmp_path / f"broken-{count}")
        left = iter([False] * count)
        carry_out(broken, tools, lambda left=left: next(left, True))
        assert broken.read() == Stage("interrupted", endings.RESTARTED) and broken.resumable
        carry_out(broken, tools)
        assert broken.adapter.read_bytes() == folder.adapter.read_bytes()
        told = without_repeats(read_log(broken.log).events)
        for kind in (Evaluated, Probed, Judged):
            assert [e for e in told if type(e) is kind] == [e for e in whole if type(e) is kind]
        losses = [e.loss for e in told if isinstance(e, Step)]
        assert losses == [e.loss for e in whole if isinstance(e, Step)]


def test_stopped_by_its_owner_it_keeps_what_it_has_and_can_go_on(folder, tools, tmp_path):
    told: list[Event] = []

    def echo(event: Event) -> None:
        told.append(event)
        if isinstance(event, Step) and event.step == 4:
            folder.ask_to_stop(keep=True)

    assert Job(folder, lambda settings, prompts: tools, lambda: False, echo).run() == 0
    end = next(event for event in told if isinstance(event, Finished))
    assert (end.why, end.step) == ("stopped", 4) and end.kept > 0
    assert folder.read() == Stage("stopped", endings.stopped(end.kept))
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

    assert Job(folder, lambda settings, prompts: tools, lambda: False, echo).run() == 0
    looks = [event for event in told if isinstance(event, Evaluated)]
    assert [look.step for look in looks] == [0, step]
    end = next(event for event in told if isinstance(event, Finished))
    assert (end.why, end.kept) == ("stopped", step) and folder.adapter.exists()
    assert folder.read() == Stage("stopped", endings.stopped(step))
    judged = next(event for event in told if isinstance(event, Judged))
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
        ((3.0, 1.0, 2.0), endings.stopped(2)),
        ((3.0, 2.0, 1.0), endings.stopped(3)),
        ((1.0, 3.0, 2.0), endings.stopped(3, gained=False)),  # more than nothing at all
    ],
)
def test_stopped_it_keeps_the_best_that_was_learned(tools, tmp_path, monkeypatch, losses, end):
    found = iter(losses)
    monkeypatch.setattr(trainer, "measure", lambda *a: Measured(next(found), 0.0))
    folder = made(tmp_path / "run", replace(CHOICES, steps=20))  # looked at every second step

    def echo(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            folder.ask_to_stop(keep=True)

    assert Job(folder, lambda settings, prompts: tools, lambda: False, echo).run() == 0
    assert folder.read() == Stage("stopped", end) and folder.adapter.exists()


def test_stopped_before_its_first_step_there_is_nothing_to_keep(folder, tools):
    folder.ask_to_stop(keep=True)
    carry_out(folder, tools)
    assert folder.read() == Stage("stopped", endings.TOO_EARLY)
    assert not folder.adapter.exists() and folder.resumable


def test_divergence_is_told_and_the_last_good_weights_stay(folder, tools, monkeypatch):
    real, count = trainer.loss_of, iter(range(100))

    def spoiled(*arguments: object) -> torch.Tensor:
        return real(*arguments) * (math.nan if next(count) == 5 else 1)

    monkeypatch.setattr(trainer, "loss_of", spoiled)
    told = carry_out(folder, tools)
    kept = next(event for event in told if isinstance(event, Finished)).kept
    assert folder.read() == Stage("failed", endings.diverged(5, kept))
    assert "learning rate is probably too high" in folder.read().message
    assert folder.adapter.exists() == bool(kept) and not folder.resumable


@pytest.mark.parametrize("what", ["checkpoint", "log"])
def test_a_full_disk_is_told_and_the_run_can_go_on(folder, tools, tmp_path, monkeypatch, what):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    def run() -> int:
        return Job(folder, lambda settings, prompts: tools, lambda: False, lambda event: None).run()

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
        assert run() == endings.DISK_FULL
    assert folder.read() == Stage("failed", endings.DISK)
    assert folder.checkpoint.exists() and folder.resumable
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
        (MemoryError(), endings.MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), endings.MEMORY),
        (RuntimeError("secret /path"), endings.UNKNOWN),
        (KeyError("secret"), endings.UNKNOWN),
    ],
)
def test_whatever_fails_is_told_in_our_words(folder, tools, monkeypatch, error, message):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(job, "teach", fail)
    carry_out(folder, tools)
    assert folder.read() == Stage("failed", message)


def test_pictures_are_looked_at_once_and_teach(tools, tmp_path):
    data = tmp_path / "pictures.zip"
    with ZipFile(data, "w") as archive:
        lines = ["image,question,answer"]
        for number, colour in enumerate(("red", "green", "blue", "black")):
            image = BytesIO()
            Image.new("RGB", (8, 8), colour).save(image, "PNG")
            archive.writestr(f"{number}.png", image.getvalue())
            lines += [f"{number}.png,which?,{colour}", f"{number}.png,what?,fox {number}"]
        archive.writestr("table.csv", "\n".join(lines))
    folder = made(tmp_path / "run", data=data, probes=("hello?",))
    left = iter([False] * 5)
    carry_out(folder, tools, lambda: next(left, True))
    assert folder.read().state == "interrupted"
    blind = Eyes()
    blind.batch_seen = lambda pictures, kind: pytest.fail("looked twice")
    told = carry_out(folder, replace(tools, tower=lambda: blind))
    assert folder.read().state == "done", folder.read()
    started = next(event for event in told if isinstance(event, Started))
    assert started.examples + started.held_out == 8
    probed = [e for e in read_log(folder.log).events if isinstance(e, Probed)][0]
    assert probed.questions == ("hello?",) and probed.pictures == ("",)
    passport = load_adapter(folder.adapter)[1]
    assert (passport.tower, passport.tower_fingerprint) == ("eyes", "eyes print")
    judged = [e for e in read_log(folder.log).events if isinstance(e, Judged)][-1]
    for row in judged.rows:  # beside each reply is what was asked about
        with Image.open(BytesIO(base64.b64decode(row.picture))) as image:
            red, green, blue = image.convert("RGB").getpixel((4, 4))
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


def test_who_reads_patches_is_taught_more_with_patches(tools, tmp_path):
    from demo.adapter.adapter import Adapter
    from demo.adapter.file import save_adapter
    from demo.adapter.passport import Passport
    from demo.adapter.spec import AdapterSpec, VisualSpec

    class Patches(Eyes):
        """Two tokens of three numbers."""

        def batch_seen(self, pictures, kind: str) -> torch.Tensor:
            assert kind == "query-resampler"
            return torch.cat([super().batch_seen(pictures, kind)] * 2, 1)

    base = tools.base
    visual = VisualSpec(6, 5, "query-resampler", slots=3, token_width=3)
    spec = AdapterSpec.for_base(base.config, layers=2, prompts=3, visual=visual)
    sees = Passport("sees", "", base.name, base.fingerprint, spec, Eyes.name, Eyes.fingerprint)
    save_adapter(Adapter(spec), sees, tmp_path / "sees.safetensors")
    data = tmp_path / "pictures.zip"
    with ZipFile(data, "w") as archive:
        lines = ["image,question,answer"]
        for number, colour in enumerate(("red", "green", "blue", "black")):
            image = BytesIO()
            Image.new("RGB", (8, 8), colour).save(image, "PNG")
            archive.writestr(f"{number}.png", image.getvalue())
            lines.append(f"{number}.png,which?,{colour}")
        archive.writestr("table.csv", "\n".join(lines))
    folder = made(tmp_path / "run", data=data, start=tmp_path / "sees.safetensors")
    carry_out(folder, replace(tools, tower=Patches))
    assert folder.read().state == "done", folder.read()
    assert load_adapter(folder.adapter)[1].spec == spec


def test_open_gates_are_a_choice(tools, tmp_path):
    told = carry_out(made(tmp_path / "open", replace(CHOICES, zero_init=False)), tools)
    assert next(event for event in told if isinstance(event, Step)).gate > 0.9


def test_probes_answer_together_as_alone_and_leave_the_threads(tools):
    from demo.adapter.adapter import Adapter
    from demo.adapter.spec import AdapterSpec

    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(tools.base.config, layers=2, prompts=3))
    torch.nn.init.constant_(adapter.gate, 1.0)
    tokens = tools.base.tokenizer.encode_text
    questions = [Question(t, tuple(tokens(t))) for t in ("hello", "the quick brown")]
    parts = (tools.decoder, tools.model, tools.base.tokenizer, adapter)
    together = answers(*parts, questions, None)
    assert together == tuple(answers(*parts, [q], None)[0] for q in questions)
    assert answers(*parts, questions, None, strength=0.0) != together
    assert torch.get_num_threads() == 1
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
    monkeypatch.setattr(estimate, "_free", lambda: 900)
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=own))
    monkeypatch.setattr(estimate.psutil, "Process", lambda: process)
    said = [estimate.verdict(needed) for needed in (700, 800, 1000)]
    assert said == ["fits", "tight", "does not fit"]


def test_a_container_has_less_than_its_host(tmp_path):
    host = estimate._free(tmp_path)
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("5000\n")
    assert estimate._free(tmp_path) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert estimate._free(tmp_path) > host / 2
