"""Data sets that come with the program, each a table as if it had been uploaded."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from demo.finetune.album import FilePictures
from demo.finetune.easy_vqa import picture_paths, questions
from demo.finetune.rows import Row, Table, make_row, make_table
from demo.finetune.tables import read_table

DATASETS = Path(__file__).resolve().parents[2] / "assets" / "datasets"
JUDGED = 1_000  # of easy-VQA's test questions: a held-out part is asked many times


@dataclass(frozen=True)
class Sample:
    """A data set to begin with. `probes` are questions that show what it teaches."""

    name: str
    title: str
    description: str
    kind: Literal["voice", "task", "pictures"]
    license: str
    probes: tuple[str, ...] = ()


PIRATE = Sample(
    "pirate",
    "Talk like a pirate",
    "167 everyday questions, each with a reply that is right and in a pirate's voice.",
    "voice",
    "Apache-2.0",
    (
        "How do I make a sandwich?",
        "What is the capital of Portugal?",
        "Why do stars twinkle?",
    ),
)
EVENTS = Sample(
    "event-json",
    "Appointments to JSON",
    "460 sentences about an appointment, each with its person, day and time as JSON.",
    "task",
    "Apache-2.0",
    (
        "Coffee with Nora on Monday at 4 pm.",
        "Dr. Silva will see you this Friday at half past one in the afternoon.",
        "On Sunday at 9:30 we are going swimming with Erik.",
    ),
)
EASY_VQA = Sample(
    "easy-vqa",
    "Shapes and colours",
    "38,575 questions about 4,000 pictures of coloured shapes (easy-VQA), and 1,000 to test with.",
    "pictures",
    "MIT",
)
SAMPLES = {sample.name: sample for sample in (PIRATE, EVENTS, EASY_VQA)}


def load_sample(name: str) -> Table:
    """The table of a sample, with its own held-out rows in the column `split`.

    Raises:
        KeyError: `SAMPLES` has no such name.
    """
    sample = SAMPLES[name]
    if sample is EASY_VQA:
        return _easy_vqa(sample)
    return read_table(DATASETS / f"{sample.name}.jsonl", sample.title)


def _easy_vqa(sample: Sample) -> Table:
    paths = {
        f"{part}/{index}.png": path
        for part in ("train", "test")
        for index, path in enumerate(picture_paths(part))
    }
    table = make_table(sample.title, _easy_vqa_rows())
    used = {row.cells["image"] for row in table.rows}
    return replace(table, pictures=FilePictures({n: p for n, p in paths.items() if n in used}))


def _easy_vqa_rows() -> Iterator[Row]:
    judged = random.Random(0).sample(questions("test"), JUDGED)
    asked = [("train", row) for row in questions("train")] + [("test", row) for row in judged]
    for number, (part, row) in enumerate(asked, 1):
        image = f"{part}/{row.picture}.png"
        cells = {"image": image, "question": row.question, "answer": row.answer, "split": part}
        yield make_row(number, cells)
