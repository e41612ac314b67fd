"""Conversations about pictures as they go on: more questions, another picture, other talk, back.

A reply sees the picture in use alone. What was said about an earlier one stands in the history and
must not be repeated, so those turns are context and are not learned. Between questions about a
picture people ask about other things: the base's own replies (`talk.py`) are learned there, because
the base itself goes on as the last turns went.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from checkpoints.recipes.sight.forms import AND_THIS
from checkpoints.recipes.sight.people import (
    Tree,
    as_people_type,
    called,
    colour_question,
    question,
)
from checkpoints.recipes.sight.questions import Known
from checkpoints.recipes.sight.talk import CUT
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import IGNORED, Example, encode
from demo.llama.tokenizer.tokenizer import Tokenizer
from demo.questions.taxonomy import bare

TALK = Path(__file__).with_name("talk.tsv")
SHAPES = {"one": 0.56, "several": 0.18, "another": 0.12, "talk": 0.14}
FIRST = 0.55  # of those with several turns begin with what is asked most
THEN = {
    "noun": 0.12, "yes_no": 0.25, "either": 0.05, "colour": 0.16, "kind": 0.06, "caption": 0.06,
    "refusal": 0.07, "name": 0.07, "again": 0.05, "sure": 0.04, "more": 0.04, "size": 0.03,
}  # fmt: skip
AGAIN = (
    "What is it again?", "So what is it?", "What was it?", "What did you say it is?",
    "Sorry, what is it?", "Remind me what it is.", "And what is in the picture?",
    "Back to the picture: what is it?", "What was in the picture?", "OK, so what do you see?",
    "What is shown in my picture?", "Again, what is this?", "Look again. What is it?",
)  # fmt: skip
SURE = ("Are you sure?", "Really?", "How sure are you?", "Is that certain?", "Sure?", "You sure?")
MORE = (
    "Tell me more.", "Tell me more about it.", "What else can you say?", "More, please.",
    "What else do you know about it?", "Say more.", "Go on.", "Anything else?",
)  # fmt: skip
NO_MORE = "I can't tell more than that from the picture."
LONGEST = 6  # turns
BEGINNING = 16  # tokens of a reply that the base went on with


@dataclass(frozen=True)
class ShownPicture:
    """A picture as the tower tells it: what of, its number, its colour, and if it mostly is so."""

    known: Known
    number: int
    colour: str
    mostly: bool


@dataclass(frozen=True)
class OtherTalk:
    """Questions about other things, with the base's own replies."""

    lines: tuple[tuple[str, str], ...]

    @classmethod
    def load(cls, path: Path = TALK) -> "OtherTalk":
        """Read a file that `talk.py` wrote."""
        rows = (line.split("\t") for line in path.read_text("utf-8").splitlines())
        return cls(tuple((asked, said) for asked, said in rows if said.strip(CUT)))

    @cached_property
    def whole(self) -> tuple[Exchange, ...]:
        """Return those that the base ended, which may stand within a conversation."""
        return tuple(Exchange(*line) for line in self.lines if not line[1].endswith(CUT))

    def any(self, chance: random.Random) -> tuple[Exchange, bool]:
        """Return one for the end of a conversation, and whether the base went on with it."""
        asked, said = chance.choice(self.lines)
        return Exchange(asked, said.removesuffix(CUT)), said.endswith(CUT)


@dataclass(frozen=True)
class PictureTalk:
    """Turns about a picture; `cut`: the last reply is only the beginning of one."""

    turns: tuple[Exchange, ...]
    cut: bool = False


def conversation(
    sort: str, shown: ShownPicture, before: ShownPicture, tree: Tree, talk: OtherTalk,
    chance: random.Random,
) -> PictureTalk:  # fmt: skip
    """Hold a conversation of one to `LONGEST` turns.

    Args:
        sort: of what is asked first.
        shown: the picture in use.
        before: another one, that was shown before it.
        tree: of words.
        talk: about other things.
        chance: draws all that differs.
    """
    shape = chance.choices(list(SHAPES), list(SHAPES.values()))[0]
    if shape == "one":
        return PictureTalk((asked(sort, shown, tree, chance),))
    first = "name" if chance.random() < FIRST else sort
    if shape == "several":
        count = chance.randint(1, 4)
        return PictureTalk((asked(first, shown, tree, chance), *_more(shown, tree, chance, count)))
    if shape == "another":
        old = [asked("name", before, tree, chance)]
        old += _more(before, tree, chance, chance.randint(0, 2))
        context = [replace(turn, learn=False) for turn in old]
        new = asked(first, shown, tree, chance)
        if first == "name" and len(context) == 1 and chance.random() < 0.6:
            typed = as_people_type(chance.choice(AND_THIS), chance)
            new = Exchange(typed, f"{called(shown.known)}.")
        return PictureTalk((*context, new, *_more(shown, tree, chance, chance.randint(0, 2))))
    turns = [asked(first, shown, tree, chance), *_more(shown, tree, chance, chance.randint(0, 2))]
    if chance.random() < 0.4:
        turns = [replace(turn, learn=False) for turn in turns]
    turns += chance.sample(talk.whole, chance.randint(0, 1))
    if chance.random() < 0.6:
        last, cut = talk.any(chance)
        return PictureTalk((*turns, last), cut)
    turns.append(chance.choice(talk.whole))
    back = "again" if chance.random() < 0.4 else chance.choice(("name", sort))
    return PictureTalk((*turns, asked(back, shown, tree, chance)))


def encoded(tokenizer: Tokenizer, lesson: PictureTalk) -> Example:
    """Return a conversation's tokens; none learns to end where its last reply is cut."""
    example = encode(tokenizer, lesson.turns)
    if not lesson.cut:
        return example
    first = len(example.labels) - 1
    while example.labels[first - 1] != IGNORED:
        first -= 1
    end = min(first + BEGINNING, len(example.ids) - 1)
    return Example(example.ids[:end], example.labels[:end])


def _more(shown: ShownPicture, tree: Tree, chance: random.Random, count: int) -> list[Exchange]:
    sorts = chance.choices(list(THEN), list(THEN.values()), k=count)
    return [asked(sort, shown, tree, chance) for sort in sorts]


def asked(sort: str, shown: ShownPicture, tree: Tree, chance: random.Random) -> Exchange:
    """Ask a question of a sort about a picture, as people type it."""
    known = shown.known
    if sort == "scene" and known.shape is None:  # a real one that is taken for another
        sort = "name"
    if sort == "colour":
        noun = bare(chance.choice((known.name, known.group, "thing", "picture")))
        lesson = colour_question(shown.colour, shown.mostly, chance, noun)
    elif sort in FOLLOWING:
        lesson = FOLLOWING[sort](known, chance)
    else:
        return question(sort, known, tree, shown.number, chance)
    return replace(lesson, question=as_people_type(lesson.question, chance))


def _again(known: Known, chance: random.Random) -> Exchange:
    return Exchange(chance.choice(AGAIN), f"{called(known)}.")


def _sure(known: Known, chance: random.Random) -> Exchange:
    ends = {"fine": "I am quite sure", "coarse": "the kind is sure, the name is not"}
    return Exchange(
        chance.choice(SURE), f"{called(known)}, {ends.get(known.sure, 'I am not sure')}."
    )


def _tell_more(known: Known, chance: random.Random) -> Exchange:
    words = dict.fromkeys((known.group, known.top))
    told = [word for word in words if bare(word) not in ("thing", "place")]
    own = {bare(name).lower() for name in known.exact}
    told = [word for word in told if bare(word).lower() not in own]
    if not told:
        return Exchange(chance.choice(MORE), NO_MORE)
    start = "It may be" if known.sure == "unsure" else "It is"
    rest = f" ({', '.join(told[1:])})" if told[1:] else ""
    return Exchange(chance.choice(MORE), f"{start} {told[0]}{rest}.")


@dataclass(frozen=True)
class TypicalSizes:
    """Typical lengths in centimetres: of groups a range, of what things are compared with one."""

    groups: Mapping[str, tuple[float, float]]
    things: Mapping[str, float]

    @classmethod
    def load(cls, path: Path) -> "TypicalSizes":
        """Read `sizes.tsv`: which table, the words, the least and the most."""
        rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
        groups = {name: (float(a), float(b)) for table, name, a, b in rows if table == "group"}
        return cls(groups, {name: float(a) for table, name, a, _ in rows if table == "than"})

    def compared(self, known: Known, chance: random.Random) -> tuple[str, bool] | None:
        """Return something clearly smaller or larger, and whether the thing is larger; or none."""
        if known.group not in self.groups or known.shape is not None:
            return None
        least, most = self.groups[known.group]
        clear = [(n, True) for n, size in self.things.items() if size * CLEARLY <= least]
        clear += [(n, False) for n, size in self.things.items() if size >= most * CLEARLY]
        sides = [[each for each in clear if each[1] is side] for side in (True, False)]
        return chance.choice(chance.choice([side for side in sides if side]))


CLEARLY = 1.7
LARGER = ("Is it bigger than {}?", "Is this larger than {}?", "Is it larger than {}?",
          "Would it be bigger than {}?", "Is that bigger than {}?")  # fmt: skip
SMALLER = ("Is it smaller than {}?", "Is this smaller than {}?", "Is that smaller than {}?")
SIZES = TypicalSizes.load(Path(__file__).with_name("sizes.tsv"))


def _size(known: Known, chance: random.Random) -> Exchange:
    found = SIZES.compared(known, chance)
    if found is None:
        return _again(known, chance)
    other, larger = found
    wanted = chance.random() < 0.7
    said = chance.choice(LARGER if wanted else SMALLER).format(other)
    words = ("probably not", "probably yes") if known.sure == "unsure" else ("no", "yes")
    how = "bigger" if larger else "smaller"
    return Exchange(said, f"{called(known)} ({how} than {other}), so {words[larger is wanted]}.")


FOLLOWING: dict[str, Callable[[Known, random.Random], Exchange]] = {
    "again": _again,
    "sure": _sure,
    "more": _tell_more,
    "size": _size,
}
