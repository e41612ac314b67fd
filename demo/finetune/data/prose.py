"""Files of plain text, such as books and notes → a table with the column `text`.

Paragraphs are joined until a row is a good read, and a very long one is cut between sentences, so
that rows can be held out and looked at.
"""

import re
from collections.abc import Iterator

from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder

JOINED = 1_200  # characters up to which paragraphs are joined
SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"'”’)]*\s+")
FEWEST_WORDS, FEWEST_SENTENCES = 12, 2  # of a file that is taken for prose
LETTERS = 0.6  # share of letters, at least
# What Jekyll, Hugo and others say about a page before it begins.
FRONT_MATTER = re.compile(
    r"\s*---[ \t]*\n((?:[\w-]+:[^\n]*\n|[ \t]+[^\n]*\n|-[ \t][^\n]*\n|\n){1,80}?)---[ \t]*\n"
)
FRONT = "What stands before the text about the page is left out: {names}."
NOTE = "The file is plain text, not a table: it is learned as it stands, {rows:,} pieces."


def is_prose(text: str) -> bool:
    """Tell whether a text without columns consists of sentences."""
    head = text[:20_000]
    letters = sum(map(str.isalpha, head))
    sentences = len(re.findall(r"\w[.!?…][\"'”’)]*(?:\s|$)|[。！？]", head))
    enough = len(head.split()) >= FEWEST_WORDS or letters >= 10 * FEWEST_WORDS
    return enough and sentences >= FEWEST_SENTENCES and letters >= LETTERS * len(head.strip())


def without_front_matter(text: str) -> tuple[str, str]:
    """Take off what a Markdown file says about itself → the text, and what to note of that."""
    found = FRONT_MATTER.match(text)
    if not found or not (rest := text[found.end() :]).strip():
        return text, ""
    names = re.findall(r"^([\w-]+):", found[1], re.MULTILINE)
    return rest, FRONT.format(names=", ".join(names[:8]))


def read_prose(text: str, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read a plain text as rows of some paragraphs each.

    Args:
        text: of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    pieces = list(_pieces(text, min(limits.cell, 4 * JOINED)))
    note = NOTE.format(rows=len(pieces))
    table = TableBuilder(name, columns=["text"], counted="piece", notes=[note], limits=limits)
    for number, piece in enumerate(pieces, 1):
        table.add(number, {"text": piece})
    return table.build()


def _pieces(text: str, most: int) -> Iterator[str]:
    """Join short paragraphs, cut long ones."""
    blank = re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n"))
    paragraphs = blank if len(blank) > 1 else text.splitlines()
    gap = "\n\n" if len(blank) > 1 else "\n"
    joined = ""
    for paragraph in paragraphs:
        for part in _cut(paragraph.strip(), most):
            if joined and len(joined) + len(part) > JOINED:
                yield joined
                joined = ""
            joined = f"{joined}{gap}{part}" if joined else part
    if joined:
        yield joined


def _cut(paragraph: str, most: int) -> Iterator[str]:
    """Cut a paragraph between sentences, and a sentence without end wherever it is too long."""
    if len(paragraph) <= most:
        if paragraph:
            yield paragraph
        return
    part = ""
    for sentence in SENTENCE.split(paragraph):
        for start in range(0, len(sentence), most):
            piece = sentence[start : start + most]
            if part and len(part) + len(piece) + 1 > most:
                yield part
                part = ""
            part = f"{part} {piece}" if part else piece
    if part:
        yield part
