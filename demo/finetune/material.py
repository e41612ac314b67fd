"""From a run's data to what the trainer takes: examples, features, questions to ask."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from demo.adapter.passport import read_passport
from demo.errors import DataError
from demo.files import replace_file
from demo.finetune.album import SeenPicture
from demo.finetune.dataset import CheckSettings, Dataset, check
from demo.finetune.examples import Example
from demo.finetune.items import Item
from demo.finetune.layouts import recognise
from demo.finetune.order import Order
from demo.finetune.presets import Choices
from demo.finetune.probe import Question
from demo.finetune.rehearsal import passages
from demo.finetune.run_folder import MOST_PROBES, Request, RunFolder
from demo.finetune.samples import SAMPLES, load_sample
from demo.finetune.state import Course
from demo.finetune.tables import read_table
from demo.llama.chat_template import Message
from demo.llama.tokenizer import Tokenizer
from demo.vision.clip import Tower
from demo.vision.kinds import Kind

WINDOW = 512  # tokens of an example
OPENED = 64  # pictures at a time


@dataclass(frozen=True)
class Material:
    """What is taught.

    Attributes:
        course: what the trainer sees: some of the rows held out, and no more to learn than it
            has time for.
        judged: the rows held out by which the end is judged.
        probes: questions answered on the way.
        asked: held-out rows as questions, each once; learned ones where nothing is held out.
        fingerprint: of what there is to learn.
        tower: what the pictures went through, None without pictures.
        pictures: the row of the features that each has.
    """

    course: Course
    judged: tuple[Example, ...]
    probes: tuple[Question, ...]
    asked: tuple[Question, ...]
    fingerprint: str
    tower: Tower | None = None
    pictures: tuple[SeenPicture, ...] = ()

    def learned_features(self) -> Tensor:
        """(pictures, S) of what is learned alone."""
        return self.course.features[sorted({e.picture for e in self.course.examples})]


def read_material(
    folder: RunFolder, request: Request, tokenizer: Tokenizer, tower: Callable[[], Tower]
) -> Material:
    """Reads, parts and encodes the data, and looks at its pictures.

    Raises:
        DataError: there is nothing in it to teach; the message says what is wrong and where.
        OSError: the features cannot be kept.
    """
    dataset = read_dataset(folder, request, tokenizer)
    choices = request.choices
    learned = _some(dataset.train, choices.steps * choices.batch, choices.seed)
    judged = _some(dataset.held_out, choices.judged, choices.seed)
    features, seen, pictures = None, None, ()
    if dataset.pictures:
        seen = tower()
        learned, judged, pictures = _placed(learned, judged, dataset.pictures)
        features = _features(folder, pictures, seen)
    course = Course(
        [item.example for item in learned],
        [item.example for item in judged[: choices.looked]],
        features,
        passages(tokenizer) if features is None else (),
    )
    asked = _questions(judged or learned, tokenizer)
    sample = SAMPLES[request.sample].probes if request.sample else ()
    typed = tuple(
        Question(text, tuple(tokenizer.chat([Message("user", text)])))
        for text in (request.probes or sample)
    )
    return Material(
        course,
        tuple(item.example for item in judged),
        typed or asked[:MOST_PROBES],
        asked,
        dataset.fingerprint,
        seen,
        pictures,
    )


def read_dataset(folder: RunFolder, request: Request, tokenizer: Tokenizer) -> Dataset:
    """The data as the run's choices part it. Raises DataError as `check`."""
    if request.sample:
        table = load_sample(request.sample)
    else:
        table = read_table(folder.data / request.data, request.source)
    layout = request.layout or recognise(table.columns)
    if layout is None:
        raise DataError(
            "The columns' names do not say which is the question and which the reply. Call them "
            "question and answer, or choose them by hand."
        )
    judged = folder.data / request.held_out if request.held_out else None
    choices = request.choices
    return check(
        table,
        layout,
        tokenizer,
        CheckSettings(WINDOW, choices.held_out, choices.seed),
        held_out=read_table(judged, "the rows held out") if judged else None,
    )


def first_batch(dataset: Dataset, choices: Choices) -> list[Example]:
    """What a run's first step learns from."""
    learned = _some(dataset.train, choices.steps * choices.batch, choices.seed)
    examples = [item.example for item in learned]
    order = Order([len(example.ids) for example in examples], choices.batch, choices.seed)
    return [examples[place] for place in order.next()]


def _some(items: Sequence[Item], most: int, seed: int) -> list[Item]:
    """At most so many, drawn by seed: of more, pictures would be looked at for nothing."""
    return random.Random(seed).sample(list(items), min(most, len(items)))


def _placed(
    learned: Sequence[Item], judged: Sequence[Item], pictures: Sequence[SeenPicture]
) -> tuple[list[Item], list[Item], tuple[SeenPicture, ...]]:
    """Items that point to the pictures they need, and those pictures alone."""
    items = [*learned, *judged]
    without = [item for item in items if item.example.picture is None]
    if without:
        raise DataError(
            f"{len(without):,} rows have no picture and {len(items) - len(without):,} have one; "
            f"the first without is {without[0].where}. Please teach them apart."
        )
    places = sorted({item.example.picture for item in items})
    row = {place: number for number, place in enumerate(places)}
    parts = [
        [
            replace(item, example=replace(item.example, picture=row[item.example.picture]))
            for item in part
        ]
        for part in (learned, judged)
    ]
    return parts[0], parts[1], tuple(pictures[place] for place in places)


def _questions(items: Sequence[Item], tokenizer: Tokenizer) -> tuple[Question, ...]:
    """Each question once, with its picture."""
    found: dict[tuple[str, int | None], Question] = {}
    for item in items:
        text = next(turn.question for turn in item.conversation.lessons if turn.learn)
        key = (text, item.example.picture)
        if key not in found:
            found[key] = Question.of(text, item.example, tokenizer)
    return tuple(found.values())


def _features(folder: RunFolder, pictures: Sequence[SeenPicture], tower: Tower) -> Tensor:
    """(pictures, S), computed once: a resumed run must see the same bits."""
    if folder.features.exists():
        return load(folder.features.read_bytes())["features"]
    kind = _kind(folder)
    parts = [pictures[start : start + OPENED] for start in range(0, len(pictures), OPENED)]
    features = torch.cat(
        [tower.batch_seen([picture.open() for picture in part], kind) for part in parts]
    )
    with replace_file(folder.features) as unfinished:
        unfinished.write_bytes(save({"features": features.contiguous()}))
    return features


def _kind(folder: RunFolder) -> Kind:
    """What the adapter that is taught more looks at; a new one looks at pictures as a whole."""
    visual = read_passport(folder.start).spec.visual if folder.start.exists() else None
    return visual.kind if visual else "global-mlp"
