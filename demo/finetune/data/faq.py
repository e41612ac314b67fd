"""Plain text in which questions stand on lines of their own → a table of questions and answers.

As people write help pages: Markdown headings or bold lines that end with a question mark, or
paragraphs that each begin with such a line. What stands between one and the next is its answer.
"""

import re
from collections.abc import Iterator

from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder

HEADING = re.compile(r"\s{0,3}#{1,6}\s+(\S.*?)[\s#]*")
BOLD = re.compile(r"\s{0,3}(?:\d{1,3}[.)]\s+)?(\*\*|__)(\S.*?)\1\s*")
NUMBER = re.compile(r"(?:Q?\d{1,3}[.):]|[-*•]|Q[.:])\s+")
ASKS = re.compile(r".*(?:[?？؟\u037e]|[α-ωά-ώ][)\"”»]?;)", re.DOTALL)  # the last two are Greek
LONGEST = 300  # characters of a question
FEWEST = 2  # questions
NOTE = "Lines that ask are read as {count:,} questions, and what follows each as its answer."
ASIDE = "{count:,} lines before the first question, or below other headings, are left out."


def is_faq(text: str) -> bool:
    """Tell whether a text consists of questions on lines of their own, each with an answer."""
    pairs, aside = _pairs(text)
    answered = sum(bool(answer) for _, answer in pairs)
    told = sum(answer.count("\n") + 1 for _, answer in pairs if answer)
    return answered >= FEWEST and answered * 10 >= len(pairs) * 9 and aside <= told


def read_faq(text: str, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read questions with their answers, a row each.

    Args:
        text: of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    pairs, aside = _pairs(text)
    notes = [NOTE.format(count=len(pairs)), *([ASIDE.format(count=aside)] if aside else ())]
    columns = ["question", "answer"]
    table = TableBuilder(name, columns=columns, counted="question", notes=notes, limits=limits)
    for number, pair in enumerate(pairs, 1):
        table.add(number, dict(zip(columns, pair, strict=True)))
    return table.build()


def _pairs(text: str) -> tuple[list[tuple[str, str]], int]:
    """Return questions with what follows them, and how many lines belong to none."""
    lines = text.replace("\r\n", "\n").split("\n")
    marked = [_marked(line) for line in lines]
    by_marks = sum(_asks(title) for title in marked if title) >= FEWEST
    titles = marked if by_marks else list(_openings(lines))
    pairs, aside, question = list[tuple[str, str]](), 0, None
    answer = list[str]()
    for line, title in zip(lines, titles, strict=True):
        if title is None:
            if question is not None:
                answer.append(line)
            else:
                aside += bool(line.strip())
            continue
        if question is not None:
            pairs.append((question, "\n".join(answer).strip()))
        question, answer = (title if _asks(title) else None), []
    if question is not None:
        pairs.append((question, "\n".join(answer).strip()))
    return pairs, aside


def _marked(line: str) -> str | None:
    """Return what a heading or a bold line says."""
    if found := HEADING.fullmatch(line):
        return NUMBER.sub("", found[1].strip("*_ "), count=1)
    if found := BOLD.fullmatch(line):
        return NUMBER.sub("", found[2], count=1)
    return None


def _openings(lines: list[str]) -> Iterator[str | None]:
    """Give the first line of each paragraph where it asks.

    The answer may be further paragraphs, so a first line that does not ask is part of one.
    """
    begins = True
    for line in lines:
        said = NUMBER.sub("", line.strip(), count=1)
        yield said if begins and _asks(said) else None
        begins = not line.strip()


def _asks(line: str) -> bool:
    return 2 < len(line) <= LONGEST and ASKS.fullmatch(line) is not None
