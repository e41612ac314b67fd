"""Plain text whose every line has a term and its meaning → a table of both.

As people write lists of words: `la manzana -> the apple`, `Osmosis: water that passes through a
membrane`. One mark parts all lines, and no term comes twice.
"""

import re
from collections.abc import Sequence

from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder, excerpt

MARKS = ("->", "→", "=>", "⇒", "=", "–", "—", "-", ":", "：")
NUMBER = re.compile(r"\A(?:\d{1,3}[.)]|[-*•])\s+")
FEWEST = 3  # lines
LONGEST, MOST_WORDS = 80, 8  # characters and words of a term
READ = "Each line is read as a term, “{mark}”, and its meaning: {count:,} rows."
TermPairs = Sequence[tuple[str, str]]


def find_glossary(text: str) -> tuple[str, TermPairs] | None:
    """Find the mark between terms and meanings, and these; None for other text."""
    lines = [NUMBER.sub("", line.strip(), count=1) for line in text.splitlines() if line.strip()]
    if len(lines) < FEWEST:
        return None
    for mark in MARKS:
        if (pairs := _parted(lines, mark)) is not None:
            return mark, pairs
    return None


def read_glossary(found: tuple[str, TermPairs], name: str, limits: DataLimits = LIMITS) -> Table:
    """Read terms, which are asked, with their meanings, which reply; a row each.

    Args:
        found: in the text of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    mark, pairs = found
    notes = [READ.format(mark=excerpt(mark), count=len(pairs))]
    columns = ["term", "meaning"]
    table = TableBuilder(name, columns=columns, counted="line", notes=notes, limits=limits)
    for number, pair in enumerate(pairs, 1):
        table.add(number, dict(zip(columns, pair, strict=True)))
    return table.build()


def _parted(lines: Sequence[str], mark: str) -> TermPairs | None:
    """Part every line at a mark, which has spaces around it unless it is a colon."""
    between = f"{mark} " if mark in ":：" else f" {mark} "
    pairs, terms = [], set[str]()
    for line in lines:
        term, found, meaning = line.partition(between)
        term, meaning = term.strip(" *_"), meaning.strip(" *_")
        known = term.casefold() in terms
        if not found or not term or not meaning or known or len(term) > LONGEST:
            return None
        if len(term.split()) > MOST_WORDS or re.search(r"[.!?](?:\s|$)", term):
            return None
        terms.add(term.casefold())
        pairs.append((term, meaning))
    return pairs
