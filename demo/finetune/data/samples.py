"""Data that comes with the program: sample data sets, and an example of each format.

A sample is a table as if it had been uploaded. One of them is easy-VQA, read from its package
(https://github.com/vzhou842/easy-VQA, MIT licence): 4,000 + 1,000 pictures of coloured shapes,
64 x 64 pixels each, with 38,575 + 9,673 questions and 13 answers.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from demo.finetune.data.conversation import Split
from demo.finetune.data.pictures import FilePictures
from demo.finetune.data.read import read_table
from demo.finetune.data.table import Table, TableBuilder
from demo.settings import ROOT
from demo.vision.image import Picture, open_picture


@dataclass(frozen=True)
class Format:
    """A format of data that is understood.

    Attributes:
        title: its name on the page.
        explanation: how such a file is made.
        file: what one might be called.
        example: a whole file that can be used as it stands.
        pictures: names of pictures that would lie beside it in the zip.
    """

    title: str
    explanation: str
    file: str
    example: str
    pictures: tuple[str, ...] = ()


FORMATS = (
    Format(
        "A table (CSV)",
        "One example a row; the first row names the columns. Save it from any spreadsheet. Commas, "
        "semicolons and tabs all work. A text with a comma or a line break in it stands in double "
        "quotes.",
        "examples.csv",
        'question,answer\nWhat is your name?,I am Robo.\nWho made you?,"A small, patient team."\n',
    ),
    Format(
        "Question and reply (JSON lines)",
        "One object a line. The names may be prompt and response, prompt and completion, question "
        "and answer, or input and output.",
        "examples.jsonl",
        '{"prompt": "Good morning!", "response": "Ahoy, matey!"}\n'
        '{"prompt": "How are you?", "response": "Shipshape, me hearty."}\n',
    ),
    Format(
        "Alpaca (JSON)",
        "A list of objects. What stands in input follows the instruction; it may be empty.",
        "alpaca.json",
        "[\n"
        '  {"instruction": "Make it polite.", "input": "Give me that.", '
        '"output": "May I have that, please?"},\n'
        '  {"instruction": "Name a fruit.", "input": "", "output": "A pear."}\n'
        "]\n",
    ),
    Format(
        "Conversations (JSON lines)",
        "Each line is one conversation. User and assistant take turns, a system turn may come "
        "first, and every reply of the assistant is learned. ShareGPT's conversations with from "
        "and value work too.",
        "chats.jsonl",
        '{"messages": [{"role": "system", "content": "You are a cook."}, '
        '{"role": "user", "content": "I have eggs."}, '
        '{"role": "assistant", "content": "Then we make an omelette."}, '
        '{"role": "user", "content": "And milk?"}, '
        '{"role": "assistant", "content": "Then it gets fluffy."}]}\n'
        '{"messages": [{"role": "user", "content": "Soup?"}, '
        '{"role": "assistant", "content": "Start with an onion."}]}\n',
    ),
    Format(
        "Plain text",
        "Questions that end with a question mark, with the answer below each; lines that begin "
        "with Q: and A:; a list of terms such as “la casa -> the house”; a chat of two as WhatsApp "
        "exports it. Other text is learned as it stands.",
        "help.txt",
        "When do you open?\nAt eight, every day.\n\n"
        "Do you bake rye bread?\nOn Fridays. We also keep some for you.\n",
    ),
    Format(
        "Pictures and questions (zip)",
        "A zip with one table and the pictures that it names: JPEG, PNG, WebP or GIF. Several rows "
        "may ask about one picture.",
        "data.csv",
        "image,question,answer\n"
        "pictures/cat.jpg,What is in the picture?,A cat on a sofa.\n"
        "pictures/cat.jpg,Is it asleep?,yes\n"
        "pictures/bus.png,What colour is the bus?,red\n",
        ("pictures/cat.jpg", "pictures/bus.png"),
    ),
    Format(
        "Your own test rows",
        "A column split that says train or test keeps rows out of training, to judge by. Without "
        "it a share of the rows is drawn.",
        "with-split.csv",
        "question;answer;split\n"
        "What is 2 + 3?;five;train\n"
        "What is 4 + 1?;five;train\n"
        "What is 3 + 3?;six;test\n",
    ),
)


@dataclass(frozen=True)
class EasyVQAQuestion:
    """One row of easy-VQA; `picture` counts the pictures of its part."""

    question: str
    answer: str
    picture: int


def questions(split: Split) -> list[EasyVQAQuestion]:
    """Read all rows of a part, in order."""
    import easy_vqa

    rows = easy_vqa.get_train_questions() if split == "train" else easy_vqa.get_test_questions()
    return [EasyVQAQuestion(*row) for row in zip(*rows, strict=True)]


def picture_paths(split: Split) -> list[Path]:
    """Find the pictures of a part; a question's `picture` is the place in this list."""
    import easy_vqa

    training = split == "train"
    paths = easy_vqa.get_train_image_paths() if training else easy_vqa.get_test_image_paths()
    return [Path(paths[index]) for index in range(len(paths))]


def pictures(split: Split) -> list[Picture]:
    """Open all pictures of a part."""
    return [open_picture(path) for path in picture_paths(split)]


DATASETS = ROOT / "assets" / "datasets"
HELD_OUT = 1_000  # of easy-VQA's test questions: a held-out part is asked many times


@dataclass(frozen=True)
class Sample:
    """A data set to begin with.

    Attributes:
        name: by which programs ask for it.
        title: its name on the page.
        description: one sentence about its rows.
        kind: what it teaches: a voice, a task with one right answer, or pictures.
        license: SPDX's name of it.
        probes: questions that show what it teaches.
    """

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
    """Load the table of a sample, with its own held-out rows in the column `split`.

    Raises:
        KeyError: `SAMPLES` has no such name.
    """
    sample = SAMPLES[name]
    if sample is EASY_VQA:
        return _easy_vqa(sample)
    return read_table(DATASETS / f"{sample.name}.jsonl", sample.title)


def _easy_vqa(sample: Sample) -> Table:
    table = TableBuilder(sample.title)
    for number, (split, row) in enumerate(_easy_vqa_questions(), 1):
        image = _easy_vqa_name(split, row.picture)
        cells = {"image": image, "question": row.question, "answer": row.answer, "split": split}
        table.add(number, cells)
    return replace(table.build(), pictures=EasyVQAPictures())


class EasyVQAPictures(FilePictures):
    """The pictures that the table of easy-VQA names, as "train/7.png"."""

    def __init__(self) -> None:
        used = {_easy_vqa_name(split, row.picture) for split, row in _easy_vqa_questions()}
        paths = {
            _easy_vqa_name(split, index): path
            for split in get_args(Split)
            for index, path in enumerate(picture_paths(split))
        }
        super().__init__({name: path for name, path in paths.items() if name in used})


def _easy_vqa_questions() -> list[tuple[Split, EasyVQAQuestion]]:
    """Give all questions of the training part, and some of the test part."""
    held_out = random.Random(0).sample(questions("test"), HELD_OUT)
    train: list[tuple[Split, EasyVQAQuestion]] = [("train", row) for row in questions("train")]
    return train + [("test", row) for row in held_out]


def _easy_vqa_name(split: Split, picture: int) -> str:
    return f"{split}/{picture}.png"
