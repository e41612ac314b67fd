"""What is known of a picture, and wordings of questions about one; `people.py` asks them.

How people ask is in `wordings.tsv`, a line for each wording: its table, its sort, and the text, in
which `{}` stands for what is asked about ("a goldfish", "an animal"). The tables are wordings to
teach ("taught") and others kept for the exam alone ("exam"); the same of what `sight` was not
taught and must not make up ("taught in vain", "exam in vain"), with the reply to each sort
("refusal"); words around a question ("aside"), and what people say before one ("taught lead").
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from checkpoints.recipes.data.concepts import like, shape_kinds
from checkpoints.recipes.data.easy_vqa import DESCRIBE, worded
from checkpoints.recipes.data.wordnet import ImageNetKind, drawn_kinds, imagenet_kinds
from demo.finetune.data.conversation import Exchange
from demo.questions.taxonomy import Taxonomy, bare

Medium = Literal["photo", "drawing", "scene", ""]
Sure = Literal["fine", "coarse", "unsure"]


def read_wordings(path: Path) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the wordings of each table by sort, all in the order of the file.

    Raises:
        ValueError: a line has not three columns.
    """
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    for line in path.read_text("utf-8").splitlines():
        table, sort, text = line.split("\t")
        sorts = tables.setdefault(table, {})
        sorts[sort] = (*sorts.get(sort, ()), text)
    return tables


NAME, KIND, CHOICE, YES_NO, YES_NO_WHAT = "name", "kind", "choice", "yes-no", "yes-no-what"
BRIEF, COLOUR, SHAPE = "brief", "colour", "shape"
_WORDINGS = read_wordings(Path(__file__).with_name("wordings.tsv"))
ASKED, ASKED_ELSEWHERE = _WORDINGS["taught"], _WORDINGS["exam"]
ASKED_IN_VAIN, IN_VAIN_ELSEWHERE = _WORDINGS["taught in vain"], _WORDINGS["exam in vain"]
REFUSALS = {sort: reply for sort, (reply,) in _WORDINGS["refusal"].items()}
ASIDE = _WORDINGS["aside"]["aside"]
LEADS = _WORDINGS["taught lead"]["lead"]

LIVING = ("an animal", "a plant", "a person")
ALIVE = ("alive", "living", "living thing", "something living", "organism", "living organism")
ASKED_OF = {
    "food": ("edible", "something to eat", "eat it", "eat this", "eat that"),
    "a thing": ("object", "inanimate object", "item"),
}
UNSPECIFIC = ("thing",)  # true of everything, as people use it

SHORT = 0.25  # of questions about a scene ask for a short answer
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
    """

    exact: tuple[str, ...]
    group: str
    top: str
    also: tuple[str, ...] = ()
    medium: Medium = ""
    colour: str | None = None
    shape: str | None = None
    sure: Sure = "fine"

    @property
    def name(self) -> str:
        """Return the everyday name."""
        return self.exact[0]

    @property
    def true(self) -> frozenset[str]:
        """Return all phrases that are true of it."""
        return frozenset((*self.exact, self.group, self.top, *self.also))


def scene_known(colour: str, shape: str) -> Known:
    """Return what is known of one of easy-VQA's scenes."""
    name, also = f"a {colour} {shape}", (f"a {colour} shape",)
    return Known((name,), f"a {shape}", "a shape", also, "scene", colour, shape)


def scene_lesson(known: Known, chance: random.Random, *, exam: bool = False) -> Exchange:
    """Ask for colour or shape of one of easy-VQA's scenes, or for what it shows.

    Raises:
        ValueError: colour and shape are not known.
    """
    if known.colour is None or known.shape is None:
        raise ValueError("a scene has a colour and a shape")
    if exam:
        sort = chance.choice((COLOUR, SHAPE))
        reply = known.colour if sort == COLOUR else known.shape
        return Exchange(chance.choice(ASKED_ELSEWHERE[sort]), _fact(reply, known))
    lesson = worded(known.colour, known.shape, chance)
    if lesson.question in DESCRIBE:
        return Exchange(lesson.question, f"This is {known.name}.")
    if lesson.reply in ("yes", "no"):
        return Exchange(lesson.question, f"{lesson.reply.capitalize()}.")
    if chance.random() < SHORT:
        return Exchange(chance.choice(ASKED[BRIEF]).format(lesson.question), lesson.reply)
    return Exchange(lesson.question, _fact(lesson.reply, known))


def shortened(reply: str) -> str:
    """Return the first one or two whole sentences; all of it when it has none."""
    found = SENTENCES.match(reply.strip())
    return found[0].strip() if found else reply.strip()


def _fact(word: str, known: Known) -> str:
    return f"It is {word if word == known.colour else like('a', word)}."


def tower_kinds() -> tuple[Known, ...]:
    """Return what is known of a picture of each of the tower's rows, in its order.

    1,000 photographs, 500 drawings, 24 plain shapes. Two rows may have one name, as a photograph
    and a drawing of a pizza have: two entries of a memory that say the same.
    """
    photographs = [known_of(kind, "photo") for kind in imagenet_kinds()]
    drawings = [known_of(kind, "drawing") for kind in drawn_kinds()]
    shapes = [scene_known(*kind.exact[0].split()[1:]) for kind in shape_kinds()]
    return (*photographs, *drawings, *shapes)


def taxonomy(kinds: Sequence[Known]) -> Taxonomy:
    """Return the tree that yes and no follow from, with what is asked of everything in a group."""
    rows = {}
    for kind in kinds:
        asked = ASKED_OF.get(kind.top, ()) + (ALIVE if kind.top in LIVING else ())
        words = (*map(bare, (kind.group, kind.top, *kind.also)), *asked)
        told = dict.fromkeys(word.lower() for word in words if word not in UNSPECIFIC)
        rows[tuple(bare(name).lower() for name in kind.exact), tuple(told)] = None
    return Taxonomy(tuple(rows))


def caption(known: Known) -> str:
    """Return the words by which the tower's text half finds that row."""
    return known.name if known.medium == "photo" else f"a drawing of {known.name}"


def known_of(kind: ImageNetKind, medium: Medium) -> Known:
    """Return what is known of a picture of that kind, in that medium."""
    also = tuple(word for word in kind.wider if word not in (kind.group, kind.top))
    return Known(kind.exact, kind.group, kind.top, also, medium)
