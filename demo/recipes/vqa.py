"""easy-VQA as examples: questions about coloured shapes, in the chat's own template."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from demo.finetune.easy_vqa import Question
from demo.finetune.examples import Example, encode
from demo.finetune.lessons import Lesson
from demo.llama.tokenizer import Tokenizer
from demo.recipes.scenes import COLOURS, SHAPES, facts

# easy-VQA has 107 wordings, all in one style. People have more: their questions are answered from
# what easy-VQA's own rows give away about a picture. Wordings, and what the answer is.
DESCRIBE = (
    "What is in this picture?",
    "What is in the picture?",
    "What is this?",
    "What do you see?",
    "What can you see in the image?",
    "Describe the picture.",
    "Describe this image.",
    "What does the picture show?",
)
ASK_SHAPE = (
    "What shape is this?",
    "What shape is it?",
    "Which shape is it?",
    "Which shape do you see?",
    "What shape is in the picture?",
    "What is the shape called?",
    "What is {colour} here?",
    "What is the {colour} thing?",
)
ASK_COLOUR = (
    "Which colour is it?",
    "What colour is it?",
    "What color is it?",
    "What color is this?",
    "What colour is this shape?",
    "Which color do you see?",
    "What is its colour?",
    "What colour is the {shape}?",
)
IS_SHAPE = (
    "Is it a {shape}?",
    "Is this a {shape}?",
    "Can you see a {shape}?",
    "Do you see a {shape}?",
    "Is there a {shape} in the picture?",
    "Does the picture show a {shape}?",
)
IS_COLOUR = (
    "Is it {colour}?",
    "Is anything {colour}?",
    "Is the shape {colour}?",
    "Can you see something {colour}?",
    "Is this {colour}?",
    "Does the picture show a {colour} shape?",
)
IS_BOTH = (
    "Is it a {colour} {shape}?",
    "Is there a {colour} {shape}?",
    "Is this a {colour} {shape}?",
)
WORDED = 4  # such questions a picture
NAMING = 0.1  # of drawn questions ask for a name, so that it is not forgotten
MOST_TURNS = 4
SEVERAL_TURNS = 0.3  # of the rows are taught in conversations, the others alone
OTHER_PICTURE = 0.4  # of conversations begin with a turn about another picture


def single(tokenizer: Tokenizer, rows: Sequence[Question]) -> list[Example]:
    """One question, one answer, as the benchmark asks."""
    return [encode(tokenizer, [Lesson(r.question, r.answer)], r.picture) for r in rows]


def as_they_come(tokenizer: Tokenizer, rows: Sequence[Question], seed: int) -> list[Example]:
    """Every row once, and questions in people's words; alone, or in conversations of some turns."""
    chance = random.Random(seed)
    by_picture: dict[int, list[Lesson]] = defaultdict(list)
    for row in rows:
        by_picture[row.picture].append(Lesson(row.question, row.answer))
    for picture, (colour, shape) in scenes(rows).items():
        by_picture[picture] += [worded(colour, shape, chance) for _ in range(WORDED)]
    return _conversations(tokenizer, by_picture, chance)


def drawn(rows: Sequence[Question], seed: int, *, count: int, negated: float) -> list[Question]:
    """`count` rows in which yes and no are equally likely, whatever is asked.

    In easy-VQA "is there a blue shape?" is answered no six times in seven, and a model that has
    learned as much from the words gains nothing more by looking until it looks well. Where both
    answers are as likely, every look pays.

    Args:
        negated: the share of "is there not a blue shape?", which turns the answer round.
    """
    chance = random.Random(seed)
    groups: dict[tuple[bool, bool, str], list[Question]] = defaultdict(list)
    for row in rows:
        groups[question_group(row)].append(row)
    named = [row for row in rows if not question_group(row)[2]]
    yes_no = [group for group in sorted(groups) if group[2]]
    plain, turned = ([g for g in yes_no if g[0] is kind] for kind in (False, True))
    found = []
    for _ in range(count):
        if chance.random() < NAMING:
            found.append(chance.choice(named))
        else:
            asked = turned if chance.random() < negated else plain
            found.append(chance.choice(groups[chance.choice(asked)]))
    return found


def question_group(row: Question) -> tuple[bool, bool, str]:
    """Whether a question is negated, whether it names a shape, and its answer if yes or no."""
    words = row.question.rstrip("?").split()
    negated = "not" in words or "no" in words
    answer = row.answer if row.answer in ("yes", "no") else ""
    return negated, bool(set(words) & set(SHAPES)), answer


def _conversations(
    tokenizer: Tokenizer, by_picture: dict[int, list[Lesson]], chance: random.Random
) -> list[Example]:
    """Lessons about each picture, alone or some together.

    Some conversations begin with a turn about another picture, which is not learned: after a new
    picture is sent, a reply must follow the picture and not what was said before.
    """
    everything = list(by_picture.items())
    examples = []
    for picture, lessons in everything:
        chance.shuffle(lessons)
        for part in _cut(lessons, chance):
            before: list[Lesson] = []
            if len(part) > 1 and chance.random() < OTHER_PICTURE:
                other = chance.choice(chance.choice(everything)[1])
                before = [replace(other, learn=False)]
            examples.append(encode(tokenizer, [*before, *part], picture))
    return examples


def scenes(rows: Sequence[Question]) -> dict[int, tuple[str, str]]:
    """Colour and shape of every picture whose rows give away both."""
    known: dict[int, dict[str, str]] = defaultdict(dict)
    for row in rows:
        known[row.picture].update(facts(row.question, row.answer))
    return {
        picture: (scene["colour"], scene["shape"])
        for picture, scene in known.items()
        if len(scene) == 2
    }


def worded(colour: str, shape: str, chance: random.Random) -> Lesson:
    """A question in people's words about a scene; yes and no are equally likely answers."""
    kind = chance.choice((DESCRIBE, ASK_SHAPE, ASK_COLOUR, IS_SHAPE, IS_COLOUR, IS_BOTH))
    asked = {"colour": colour, "shape": shape}
    answer = {DESCRIBE: f"a {colour} {shape}", ASK_SHAPE: shape, ASK_COLOUR: colour}.get(
        kind, "yes"
    )
    if answer == "yes" and chance.random() < 0.5:
        answer = "no"
        wrong = "shape" if kind is IS_SHAPE else "colour"
        if kind is IS_BOTH:
            wrong = chance.choice(("shape", "colour"))
        names = SHAPES if wrong == "shape" else COLOURS
        asked[wrong] = chance.choice([name for name in names if name != asked[wrong]])
    return Lesson(chance.choice(kind).format(**asked), answer)


def _cut(lessons: list[Lesson], chance: random.Random) -> Iterator[list[Lesson]]:
    start = 0
    while start < len(lessons):
        count = chance.randint(2, MOST_TURNS) if chance.random() < SEVERAL_TURNS / 2 else 1
        yield lessons[start : start + count]
        start += count
