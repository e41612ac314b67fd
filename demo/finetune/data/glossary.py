"""Plain text whose lines have a term and its meaning → a table of both.

As people write lists of words: `la manzana -> the apple`, `Osmosis: water that passes through a
membrane`. One mark parts them; a few lines may be without it, and a few terms come twice.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder, excerpt

MARKS = (" -> ", " → ", " => ", " ⇒ ", " = ", " – ", " — ", " - ", ": ", "：")
NUMBER = re.compile(r"\A(?:\d{1,3}[.)]|[-*•])\s+")
FEWEST = 3  # lines
LONGEST, MOST_WORDS = 80, 8  # characters and words of a term
SAMPLED = 200  # lines by which the mark is found
ALIKE = 0.9  # share of lines with the mark, and of terms that are new, at least
READ = "Each line is read as a term, “{mark}”, and its meaning: {count:,} rows."
ASIDE = "{count:,} lines without “{mark}” are left out."


class Glossary(NamedTuple):
    """Terms with their meanings, what stands between the two, and how many lines are left out."""

    mark: str
    pairs: Sequence[tuple[int, str, str]]  # with the line's number
    aside: int


def find_glossary(text: str) -> Glossary | None:
    """Find the terms and meanings of which a text consists; None for other text."""
    stripped = ((at, line.strip()) for at, line in enumerate(text.splitlines(), 1))
    lines = [(at, NUMBER.sub("", line, count=1)) for at, line in stripped if line]
    fit = (mark for mark in MARKS if _parted(lines[:SAMPLED], mark))
    mark = next(fit, None)
    return _parted(lines, mark) if mark else None


def read_glossary(found: Glossary, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read terms, which are asked, with their meanings, which reply; a row each.

    Args:
        found: in the text of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    mark = excerpt(found.mark)
    notes = [READ.format(mark=mark, count=len(found.pairs))]
    notes += [ASIDE.format(mark=mark, count=found.aside)] if found.aside else []
    columns = ["term", "meaning"]
    table = TableBuilder(name, columns=columns, counted="line", notes=notes, limits=limits)
    for number, *pair in found.pairs:
        table.add(number, dict(zip(columns, pair, strict=True)))
    return table.build()


def _parted(lines: Sequence[tuple[int, str]], mark: str) -> Glossary | None:
    """Part lines at the first mark; None where too few have one, or terms are said again."""
    pairs = []
    for number, line in lines:
        term, _, meaning = (part.strip(" \t*_") for part in line.partition(mark))
        if not term or not meaning or len(term) > LONGEST:
            continue
        if len(term.split()) <= MOST_WORDS and not re.search(r"[.!?](?:\s|$)", term):
            pairs.append((number, term, meaning))
    terms = {term.casefold() for _, term, _ in pairs}
    if len(pairs) < max(FEWEST, ALIKE * len(lines)) or len(terms) < ALIKE * len(pairs):
        return None
    return Glossary(mark.strip(), pairs, len(lines) - len(pairs))
