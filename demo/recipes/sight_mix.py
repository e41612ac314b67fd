"""Draws what a stage of `sight` shows: questions by sort, each with a picture to ask it of."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from demo.finetune.easy_vqa import Question
from demo.finetune.examples import IGNORED, Example, encode
from demo.finetune.lessons import Lesson
from demo.llama.tokenizer import Tokenizer
from demo.recipes.sight_lessons import (
    Known,
    Medium,
    Others,
    as_typed,
    kind_lesson,
    name_lesson,
    refusal_lesson,
    scene_lesson,
    yes_no_lesson,
)
from demo.recipes.vqa import drawn

MEDIA: dict[Medium, float] = {"photo": 0.5, "drawing": 0.4, "scene": 0.1}  # of general questions
NEGATED = 0.6  # of easy-VQA's yes-or-no questions, as the last stages of `shapes`
MANNERS = ("turns", "verdicts", "typed")  # of a mix: how questions are put, and no sorts of them
SCENES = ("scene", "fact")  # sorts that are asked of scenes alone
BALANCED = 0.5  # of easy-VQA's questions are drawn so that yes and no are as likely


@dataclass(frozen=True)
class Mix:
    """Shares of the sorts of questions, together 1.

    Of all of them the share `turns` has turns before. Of questions of yes or no, the share
    `verdicts` teaches the verdict alone, with what is said before it as given: it is two of a dozen
    tokens, and what the others still have to learn would drown it. Those in the turns before are
    all learned so, which costs nothing. `typed`: questions about pictures as people type them.
    """

    name: float = 0.0
    kind: float = 0.0
    yes_no: float = 0.0
    fact: float = 0.0
    scene: float = 0.0
    easy_vqa: float = 0.0
    refusal: float = 0.0
    unrelated: float = 0.0
    turns: float = 0.0
    verdicts: float = 0.0
    typed: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """Of the sorts there are."""
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {sort: share for sort, share in every.items() if share and sort not in MANNERS}

    def alone(self) -> dict[str, "Mix"]:
        """One mix of each sort and nothing else."""
        return {sort: Mix(**{sort: 1.0}) for sort in self.shares}


@dataclass(frozen=True)
class Material:
    """What may be asked of which picture.

    Attributes:
        known: what is known of each row of the features, None where nothing may be asked.
        kinds: all there are.
        rows: easy-VQA's own questions; their picture is a row of the features.
        unrelated: questions without a picture and their replies.
    """

    known: Sequence[Known | None]
    kinds: tuple[Known, ...]
    rows: Sequence[Question]
    unrelated: Sequence[Lesson]

    @cached_property
    def by_medium(self) -> dict[Medium, list[int]]:
        """Rows of the features."""
        found: dict[Medium, list[int]] = defaultdict(list)
        for row, known in enumerate(self.known):
            if known is not None:
                found[known.medium].append(row)
        return found

    @cached_property
    def others(self) -> Others:
        """To draw what is not there."""
        return Others(self.kinds)

    def has(self, sort: str) -> bool:
        """Whether such questions can be asked at all."""
        needed = {"easy_vqa": self.rows, "unrelated": self.unrelated}
        pictures = self.by_medium.get("scene") if sort in SCENES else self.by_medium
        return bool(needed.get(sort, pictures))

    def within(self, count: int, chance: random.Random) -> "Material":
        """The same with at most so many pictures to ask of, besides easy-VQA's own rows."""
        rows = [row for found in self.by_medium.values() for row in found]
        kept = set(chance.sample(rows, min(count, len(rows))))
        return replace(self, known=[k if r in kept else None for r, k in enumerate(self.known)])


def drawn_examples(
    tokenizer: Tokenizer,
    material: Material,
    mix: Mix,
    count: int,
    seed: int,
    *,
    pool: int | None = None,
) -> list[Example]:
    """`count` examples, each with a picture; texts that come again are encoded once.

    Args:
        pool: most pictures that general questions are asked of.
    """
    chance = random.Random(seed)
    if pool is not None:
        material = material.within(pool, chance)
    shares = {sort: share for sort, share in mix.shares.items() if material.has(sort)}
    sorts = chance.choices(list(shares), list(shares.values()), k=count)
    own = _own_questions(material.rows, sorts.count("easy_vqa"), chance)
    texts: dict[tuple[tuple[Lesson, ...], tuple[bool, ...]], Example] = {}
    examples = []
    for sort in sorts:
        if sort == "easy_vqa":
            question = own.pop()
            row, lesson = question.picture, Lesson(question.question, question.answer)
        else:
            row = _row(material, sort, chance)
            lesson = _lesson(sort, material, row, chance)
            if mix.typed and sort != "unrelated":
                lesson = replace(lesson, question=as_typed(lesson.question, chance))
        alone = (sort == "yes_no" and chance.random() < mix.verdicts,)
        lessons = (lesson,)
        if chance.random() < mix.turns:
            before = _turns_before(material, row, chance, verdicts=mix.verdicts > 0)
            lessons, alone = (*before, lesson), (*(True for turn in before if turn.learn), *alone)
        if (lessons, alone) not in texts:
            texts[lessons, alone] = only_verdicts(tokenizer, encode(tokenizer, lessons), alone)
        examples.append(replace(texts[lessons, alone], picture=row))
    return examples


def only_verdicts(tokenizer: Tokenizer, example: Example, alone: Sequence[bool]) -> Example:
    """The same with nothing to learn of some replies but the verdict that they end with.

    Args:
        example: labels (T,), of several replies where turns before are learned too.
        alone: for each reply that is learned, whether only its verdict is to be. Such a reply ends
            as those of `yes_no_lesson` do: ", so " and the verdict.
    """
    labels, so = list(example.labels), tokenizer.encode_text(" so")
    learned = [at for at, label in enumerate(labels) if label != IGNORED]
    starts = [at for at in learned if at == 0 or labels[at - 1] == IGNORED]
    for start, only in zip(starts, alone, strict=True):
        if only:
            end = next((at for at in range(start, len(labels)) if labels[at] == IGNORED), None)
            given = labels[start:end]
            while given[-len(so) :] != so:  # the last "so" is ahead of the verdict
                given.pop()
            labels[start : start + len(given)] = [IGNORED] * len(given)
    return replace(example, labels=tuple(labels))


def _own_questions(rows: Sequence[Question], count: int, chance: random.Random) -> list[Question]:
    balanced = round(count * BALANCED)
    found = drawn(list(rows), chance.randrange(2**31), count=balanced, negated=NEGATED)
    found += chance.choices(rows, k=count - balanced) if count else []
    chance.shuffle(found)
    return found


def _row(material: Material, sort: str, chance: random.Random) -> int:
    media = {"scene": 1.0} if sort in SCENES else MEDIA
    shares = {m: share for m, share in media.items() if material.by_medium.get(m)}
    medium = chance.choices(list(shares), list(shares.values()))[0]
    return chance.choice(material.by_medium[medium])


def _lesson(sort: str, material: Material, row: int, chance: random.Random) -> Lesson:
    known = material.known[row]
    assert known is not None
    if sort == "unrelated":
        return chance.choice(material.unrelated)
    if sort == "yes_no":
        return yes_no_lesson(known, chance, material.others)
    if sort == "fact":
        return _fact_lesson(known, chance)
    made = {"name": name_lesson, "kind": kind_lesson, "scene": scene_lesson}
    return made.get(sort, refusal_lesson)(known, chance)


def _fact_lesson(known: Known, chance: random.Random) -> Lesson:
    """Colour or shape of a scene, and no question that asks for yes or no."""
    while True:
        lesson = scene_lesson(known, chance)
        if lesson.reply not in ("Yes.", "No."):
            return lesson


def _turns_before(
    material: Material, row: int, chance: random.Random, *, verdicts: bool
) -> tuple[Lesson, ...]:
    """One or two turns, each of them half the time about another picture.

    After a new picture is sent, a reply must follow it and not what was said before. Nothing of
    them is learned but, with `verdicts`, those that follow from what their own replies say.
    """
    turns = []
    for _ in range(chance.choice((1, 2))):
        about = row
        if chance.random() < 0.5 or material.known[row] is None:
            about = _row(material, "name", chance)
        sort = chance.choice(("name", "yes_no", "yes_no"))
        lesson = _lesson(sort, material, about, chance)
        turns.append(replace(lesson, learn=verdicts and sort == "yes_no"))
    return tuple(turns)
