"""easy-VQA as examples: questions about coloured shapes, in the chat's own template."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from demo.finetune.examples import Example, Lesson, encode
from demo.llama.tokenizer import Tokenizer
from demo.recipes.scenes import Split, facts
from demo.vision.media import Picture, open_picture

# What people ask of any picture. easy-VQA has no such question, so it is answered from what its
# other questions give away about the picture.
OPEN_QUESTIONS = (
    "What is in this picture?",
    "What is this?",
    "What do you see?",
    "What can you see in the image?",
    "Describe the picture.",
    "Describe this image.",
    "What does the picture show?",
)
MOST_TURNS = 4
OTHER_PICTURE = 0.25  # of conversations begin with turns about another picture


@dataclass(frozen=True)
class Question:
    """One row of easy-VQA; `picture` is a row of its pictures."""

    question: str
    answer: str
    picture: int


def questions(split: Split) -> list[Question]:
    """All rows of a part, in order."""
    import easy_vqa

    rows = easy_vqa.get_train_questions() if split == "train" else easy_vqa.get_test_questions()
    return [Question(*row) for row in zip(*rows, strict=True)]


def pictures(split: Split) -> list[Picture]:
    """All pictures of a part; a question's `picture` is the place in this list."""
    from pathlib import Path

    import easy_vqa

    paths = (
        easy_vqa.get_train_image_paths() if split == "train" else easy_vqa.get_test_image_paths()
    )
    return [open_picture(Path(paths[i])) for i in range(len(paths))]


def single(tokenizer: Tokenizer, rows: Sequence[Question]) -> list[Example]:
    """One question, one answer, as the benchmark asks."""
    return [encode(tokenizer, [Lesson(r.question, r.answer)], r.picture) for r in rows]


def conversations(tokenizer: Tokenizer, rows: Sequence[Question], seed: int) -> list[Example]:
    """Every row once, in conversations of one to four turns about one picture.

    Some begin with turns about another picture, which are not learned: after a new picture is sent,
    a reply must follow the picture and not what was said before.
    """
    chance = random.Random(seed)
    by_picture: dict[int, list[Lesson]] = defaultdict(list)
    for row in rows:
        by_picture[row.picture].append(Lesson(row.question, row.answer))
    for picture, scene in descriptions(rows).items():
        by_picture[picture] += [Lesson(q, scene) for q in chance.sample(OPEN_QUESTIONS, 2)]
    everything = list(by_picture.items())
    examples = []
    for picture, lessons in everything:
        chance.shuffle(lessons)
        for part in _cut(lessons, chance):
            before: list[Lesson] = []
            if chance.random() < OTHER_PICTURE and len(part) < MOST_TURNS:
                _, others = chance.choice(everything)
                before = [Lesson(o.question, o.reply, learn=False) for o in others[:1]]
            examples.append(encode(tokenizer, [*before, *part], picture))
    return examples


def descriptions(rows: Sequence[Question]) -> dict[int, str]:
    """ "a teal triangle" for every picture whose rows give away both shape and colour."""
    known: dict[int, dict[str, str]] = defaultdict(dict)
    for row in rows:
        known[row.picture].update(facts(row.question, row.answer))
    return {
        picture: f"a {scene['colour']} {scene['shape']}"
        for picture, scene in known.items()
        if len(scene) == 2
    }


def _cut(lessons: list[Lesson], chance: random.Random) -> Iterator[list[Lesson]]:
    start = 0
    while start < len(lessons):
        count = chance.randint(1, MOST_TURNS)
        yield lessons[start : start + count]
        start += count
