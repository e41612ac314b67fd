"""What pictures show: a name, synonyms, a group and a top word for each kind.

All are phrases that can stand after "this is": "a goldfish", "guacamole", "swimming trunks".
`photographs.tsv` and `drawings.tsv` name the kinds, `groups.tsv` says what each group belongs to:
its top word, which is said, and one of 24 broad groups, which exams count by.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checkpoints.recipes.data.easy_vqa import COLOURS, SHAPES

TABLES = Path(__file__).parent
VOWELS = "aeiouAEIOU"
YOU = ("eu", "uni", "ute")  # sound like "you", which takes "a"


@dataclass(frozen=True)
class Concept:
    """A kind of thing: `name` and `synonyms` say exactly it, `group` and `top` what it is."""

    name: str
    synonyms: tuple[str, ...]
    group: str
    top: str

    @property
    def exact(self) -> tuple[str, ...]:
        """Return every phrase that names it exactly, the everyday name first."""
        return (self.name, *self.synonyms)

    @property
    def captions(self) -> tuple[str, ...]:
        """Return all true phrases from fine to coarse, none twice."""
        return tuple(dict.fromkeys((*self.exact, self.group, self.top)))


def photograph_concepts() -> dict[str, Concept]:
    """Return the 200 kinds of photographs, by WordNet id."""
    tops, found = _tops(), {}
    for row in _rows("photographs.tsv"):
        words = [word for word in row["synonyms"].split("|") if word]
        synonyms = tuple(like(row["name"], word) for word in words)
        found[row["wnid"]] = Concept(row["name"], synonyms, row["group"], tops[row["group"]])
    return found


def drawing_concepts() -> dict[str, Concept]:
    """Return the 500 kinds of drawings, by the name of their icon."""
    tops = _tops()
    return {
        row["icon"]: Concept(row["name"], (), row["group"], tops[row["group"]])
        for row in _rows("drawings.tsv")
    }


def broad_groups() -> dict[str, str]:
    """Return the broad group of each group: buildings, bridges and rooms are all structures."""
    return {row["group"]: row["broad"] for row in _rows("groups.tsv")}


def like(name: str, word: str) -> str:
    """Return `word` with an article if `name` has one: ("a mountain", "alp") -> "an alp"."""
    if name.split()[0] not in ("a", "an"):
        return word
    vowel = word[0] in VOWELS and not word.lower().startswith(YOU)
    return f"{'an' if vowel else 'a'} {word}"


def _tops() -> dict[str, str]:
    return {row["group"]: row["top"] for row in _rows("groups.tsv")}


def _rows(file: str) -> Sequence[dict[str, str]]:
    with open(TABLES / file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@dataclass(frozen=True)
class ConceptKind:
    """`exact` phrases name this kind and no other, `coarse` ones are true of others as well."""

    exact: tuple[str, ...]
    coarse: tuple[str, ...]


def shape_kinds() -> list[ConceptKind]:
    """Return easy-VQA's 24 kinds."""
    return [
        ConceptKind((f"a {colour} {shape}",), (f"a {shape}", f"a {colour} shape"))
        for colour in COLOURS
        for shape in SHAPES
    ]
