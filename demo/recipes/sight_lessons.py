"""What `sight` is taught to say, as text: questions about a picture and their replies.

Everything follows from what is known of a picture and a `random.Random`: the same seed asks the
same questions. Replies are whole sentences, unless a question asks for a short one.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from demo.finetune.lessons import Lesson
from demo.recipes.concepts import like
from demo.recipes.sight_words import (
    ASIDE,
    ASKED,
    ASKED_ELSEWHERE,
    ASKED_IN_VAIN,
    BRIEF,
    CHOICE,
    COLOUR,
    IN_VAIN_ELSEWHERE,
    KIND,
    NAME,
    REFUSALS,
    SHAPE,
    YES_NO,
    YES_NO_WHAT,
)
from demo.recipes.vqa import DESCRIBE, worded

Medium = Literal["photo", "drawing", "scene", ""]
Sure = Literal["fine", "coarse", "unsure"]

TOPS = ("an animal", "a plant", "food", "a place")  # that may be asked for; all else is "a thing"
SHORT = 0.25  # of questions that ask for a name or a kind ask for a short answer
CHOICES = 0.3  # of questions about the kind list the top words
WHAT = 0.15  # of yes-or-no questions ask what it is as well
BRIEFLY = 0.1  # of yes-or-no questions to learn from ask for a word; the reply is as it always is
ASPECTS = {"name": 0.6, "group": 0.25, "top": 0.15}  # what a yes-or-no question is about
LEARNED_ASPECTS = {"name": 0.42, "group": 0.3, "top": 0.28}  # more of what is harder
NEAR = 0.5  # of wrong names come from the same group
SECONDS = 0.4  # of questions with the answer yes are about the second guess, where there is one
VERDICTS = ("no", "yes"), ("probably not", "probably yes")  # of what is known surely, and not
PERHAPS = "perhaps yes"  # of the second guess
# Groups that may be denied of a thing with the same top word. The others overlap: a whale is a wild
# animal too, and a pan is a household item.
FIRM = frozenset(
    (
        *("a bird", "a cat", "a dog", "a fish", "a monkey or ape", "a reptile", "an amphibian"),
        *("an insect", "a snail or slug", "a spider or scorpion", "a musical instrument"),
        *("a vehicle", "clothing", "a body part", "a bridge or dam"),
    )
)
ALIKE = (frozenset(("food", "a plant")), frozenset(("a place", "weather or sky")))  # top words
SENTENCES = re.compile(r"^(?:.*?(?<!\d)[.!?](?=\s|$)\s*){1,2}", re.DOTALL)


@dataclass(frozen=True)
class Known:
    """What is known of a picture.

    Attributes:
        exact: every phrase that names it exactly, the everyday name first.
        group, top: what it is, more and more coarsely.
        also: further phrases that are true of it.
        medium: of a kind with pictures of several media, "".
        colour, shape: of easy-VQA's scenes alone.
        sure: how finely the tower tells it.
        second: what it may be else.
    """

    exact: tuple[str, ...]
    group: str
    top: str
    also: tuple[str, ...] = ()
    medium: Medium = ""
    colour: str | None = None
    shape: str | None = None
    sure: Sure = "fine"
    second: "Known | None" = None

    @property
    def name(self) -> str:
        """The everyday name."""
        return self.exact[0]

    @property
    def true(self) -> frozenset[str]:
        """All phrases that are true of it."""
        return frozenset((*self.exact, self.group, self.top, *self.also))


def scene_known(colour: str, shape: str) -> Known:
    """Of one of easy-VQA's scenes."""
    name, also = f"a {colour} {shape}", (f"a {colour} shape",)
    return Known((name,), f"a {shape}", "a shape", also, "scene", colour, shape)


@dataclass(frozen=True)
class Others:
    """All kinds there are, to draw from what a picture does not show."""

    kinds: tuple[Known, ...]

    def name(self, known: Known, chance: random.Random) -> str:
        """A name that is not true of the picture: half the time of its own group."""
        near = [k for k in self._near(known) if not may_be(known, k)]
        if near and chance.random() < NEAR:
            return chance.choice(chance.choice(near).exact)
        while True:
            other = chance.choice(self.kinds)
            if other.group != known.group and not may_be(known, other):
                return chance.choice(other.exact)

    def group(self, known: Known, chance: random.Random) -> str:
        """A group that it does not belong to, as often as there are kinds of it."""
        while True:
            other = chance.choice(self.kinds)
            if other.group in known.true or other.top == "a shape":
                continue
            if other.top == known.top and other.group not in FIRM:
                continue
            if frozenset((other.top, known.top)) not in ALIKE:
                return other.group

    def top(self, known: Known, chance: random.Random) -> str:
        """A top word that it does not belong to."""
        alike = {word for pair in ALIKE if known.top in pair for word in pair}
        return chance.choice([word for word in TOPS if word not in known.true | alike])

    def _near(self, known: Known) -> Sequence[Known]:
        # Of the same medium: a drawing's "a car" is true of a photograph's "a limousine", and no
        # table says so.
        found = self._groups[known.group]
        return [k for k in found if "" in (k.medium, known.medium) or k.medium == known.medium]

    def word_for(self, known: Known, phrase: str) -> str | None:
        """What to call `known` as coarsely as `phrase` asks; None when a name is asked for."""
        if phrase in TOPS and known.top in TOPS:
            return known.top
        return known.group if phrase in TOPS or phrase in self._groups else None

    @cached_property
    def _groups(self) -> dict[str, list[Known]]:
        groups: dict[str, list[Known]] = defaultdict(list)
        for kind in self.kinds:
            groups[kind.group].append(kind)
        return groups


def may_be(known: Known, other: Known) -> bool:
    """Whether `other` may be true of the picture too, as far as words tell.

    One is the other or a wider name of it, or ends like it: "a school bus" is "a bus".
    """
    if set(other.exact) & known.true or set(known.exact) & other.true:
        return True
    ours, theirs = ([f" {_bare(name)}" for name in kind.exact] for kind in (known, other))
    return any(a.endswith(b) or b.endswith(a) for a in ours for b in theirs)


def name_lesson(known: Known, chance: random.Random, *, exam: bool = False) -> Lesson:
    """What it is, as finely as the tower tells."""
    question, short = _asked(NAME, chance, exam)
    return Lesson(question, _named(known) if short else _sentence(known))


def kind_lesson(
    known: Known, chance: random.Random, *, exam: bool = False, choices: float = CHOICES
) -> Lesson:
    """The group, or the top word where the question lists them, in a share of `choices`."""
    choice = known.top in (*TOPS, "a thing") and chance.random() < choices
    question, short = _asked(CHOICE if choice else KIND, chance, exam)
    kind = known.top if choice else known.group
    start = "It may be" if known.sure == "unsure" else "It is"
    return Lesson(question, kind if short else f"{start} {kind}.")


def yes_no_lesson(
    known: Known, chance: random.Random, others: Others, *, exam: bool = False
) -> Lesson:
    """Whether it is this, by what it is: yes and no are equally likely.

    The verdict comes last, because it is read off what has been said: a base as small as ours does
    not compare a question's words with a picture, but with its own. So what is asked for by its
    kind is called by its kind as well: "This is a pug (a dog), so yes."
    """
    yes = chance.random() < 0.5
    aspects = ASPECTS if exam else LEARNED_ASPECTS
    aspect = chance.choices(list(aspects), list(aspects.values()))[0]
    second = second_guess(known)
    about = second if yes and second and chance.random() < SECONDS else known
    if aspect == "name":
        phrase = chance.choice(about.exact) if yes else others.name(known, chance)
    elif aspect == "group" or (yes and about.top not in TOPS):
        phrase = about.group if yes else others.group(known, chance)
    else:
        phrase = about.top if yes else others.top(known, chance)
    what = chance.random() < WHAT
    asked = (ASKED_ELSEWHERE if exam else ASKED)[YES_NO_WHAT if what else YES_NO]
    question = chance.choice(asked).format(phrase)
    if not exam and not what and chance.random() < BRIEFLY:
        question = chance.choice(ASKED[BRIEF]).format(question)
    kind = others.word_for(known, phrase)
    said = _with_kind(_sentence(known).removesuffix("."), kind)
    if second:
        other = others.word_for(second, phrase)
        # One of the same kind adds nothing to what is asked, unless it alone is called so: "a dog"
        # is a kind of photographs and a name of drawings.
        if kind is None or kind != other or phrase in second.true - known.true:
            said = _with_kind(f"{said} or {second.name}", other)
    return Lesson(question, f"{said}, so {_verdict(known, phrase)}.")


def second_guess(known: Known) -> Known | None:
    """What else is said of it, where it is not known surely and the name says something new."""
    if known.second is None or known.sure == "fine" or may_be(known, known.second):
        return None
    return known.second


def _with_kind(said: str, kind: str | None) -> str:
    """`said` with the kind after it, unless it has said it already."""
    if kind is None or re.search(rf"\b{re.escape(_bare(kind))}\b", said):
        return said
    return f"{said} ({kind})"


def _verdict(known: Known, phrase: str) -> str:
    second = second_guess(known)
    if phrase not in known.true and second and phrase in second.true:
        return PERHAPS
    return VERDICTS[known.sure == "unsure"][phrase in known.true]


def scene_lesson(known: Known, chance: random.Random, *, exam: bool = False) -> Lesson:
    """Colour and shape of one of easy-VQA's scenes; what it shows is asked for as of any picture.

    Raises:
        ValueError: colour and shape are not known.
    """
    if known.colour is None or known.shape is None:
        raise ValueError("a scene has a colour and a shape")
    if exam:
        sort = chance.choice((COLOUR, SHAPE))
        reply = known.colour if sort == COLOUR else known.shape
        return Lesson(chance.choice(ASKED_ELSEWHERE[sort]), _fact(reply, known))
    lesson = worded(known.colour, known.shape, chance)
    if lesson.question in DESCRIBE:
        return name_lesson(known, chance)
    if lesson.reply in ("yes", "no"):
        return Lesson(lesson.question, f"{lesson.reply.capitalize()}.")
    if chance.random() < SHORT:
        return Lesson(chance.choice(ASKED[BRIEF]).format(lesson.question), lesson.reply)
    return Lesson(lesson.question, _fact(lesson.reply, known))


def refusal_lesson(known: Known, chance: random.Random, *, exam: bool = False) -> Lesson:
    """A question that cannot be answered, and the reply that says so."""
    topics = [t for t in REFUSALS if known.medium != "scene" or t not in (COLOUR, SHAPE)]
    topic = chance.choice(topics)
    asked = (IN_VAIN_ELSEWHERE if exam else ASKED_IN_VAIN)[topic]
    return Lesson(chance.choice(asked), REFUSALS[topic])


def as_typed(question: str, chance: random.Random) -> str:
    """Half of the time the same; else without capitals or a question mark, or with words around."""
    if chance.random() < 0.5:
        return question
    if chance.random() < 0.4:
        question = question.rstrip("?.")
    if chance.random() < 0.4:
        return question.lower()
    return chance.choice(ASIDE).format(question) if chance.random() < 0.4 else question


def shortened(reply: str) -> str:
    """The first one or two whole sentences; all of it when it has none."""
    found = SENTENCES.match(reply.strip())
    return found[0].strip() if found else reply.strip()


def _asked(sort: str, chance: random.Random, exam: bool) -> tuple[str, bool]:
    """A question, and whether it asks for a short answer."""
    wordings = ASKED_ELSEWHERE if exam else ASKED
    question, short = chance.choice(wordings[sort]), chance.random() < SHORT
    return chance.choice(wordings[BRIEF]).format(question) if short else question, short


def _named(known: Known) -> str:
    """ "a goldfish", "a fish, maybe a goldfish" or "maybe a goldfish"."""
    if known.sure == "unsure":
        return f"maybe {known.name}"
    if known.sure == "coarse" and known.group != known.name:
        return f"{known.group}, maybe {known.name}"
    return known.name


def _sentence(known: Known) -> str:
    if known.sure == "unsure":
        return f"This may be {known.name}."
    return f"This is {_named(known)}."


def _fact(word: str, known: Known) -> str:
    return f"It is {word if word == known.colour else like('a', word)}."


def _bare(phrase: str) -> str:
    """Without its article."""
    return re.sub(r"^an? ", "", phrase)
