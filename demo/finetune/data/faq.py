"""Plain text in which questions stand on lines of their own → a table of questions and answers.

As people write help pages: Markdown headings or bold lines that end with a question mark;
paragraphs of which each, or every second one, begins with such a line; question and answer in one
line. What stands between one question and the next is its answer. Lettered lines with "Answer: B"
below them are the options of a quiz.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder

HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(\S.*?)[\s#]*")
FENCE = re.compile(r"\s*(?:```|~~~)")
BOLD = re.compile(r"\s{0,3}(?:\d{1,3}[.)]\s+)?(\*\*|__)(\S.*?)\1\s*")
NUMBER = re.compile(r"\A(?:Q?\d{1,3}[.):]|[-*•]|Q[.:])\s+")
ENDS = ("?", "？", "؟")
IN_ONE = re.compile(r"(.{2,300}?[?？؟])\s*(?:[-–—:=→]+>?\s*)?([^\s,;|][^\t|]*)")
OPTIONS = re.compile(
    r"((?:[ \t]*\(?[A-Ha-h][.):][ \t]*[^\s][^\n]*\n+)+)"
    r"[ \t]*\*{0,2}(?:correct |right )?answer\*{0,2}[ \t]*:\**[ \t]*\(?([A-Ha-h])\b[^\n]*",
    re.IGNORECASE,
)
OPTION = re.compile(r"\(?[A-Ha-h][.):]\s*(\S.*)")
MARK = re.compile(r"\*{0,2}A(?:nswer)?[.:]\*{0,2}\s+")  # before an answer
LONGEST = 300  # characters of a question
FEWEST = 2  # questions
PARAGRAPHS = 2.5  # for each question, at most, where nothing marks questions: prose asks seldom
NOTE = "Lines that ask are read as {count:,} questions, and what follows each as its answer."
ASIDE = "{count:,} lines before the first question, or below other headings, are left out."
Pairs = Sequence[tuple[str, str]]
Title = tuple[int, str]  # how small, and the words


class Faq(NamedTuple):
    """What a text asks and answers: questions with answers, and how many lines belong to none."""

    pairs: Pairs
    aside: int


def find_faq(text: str) -> Faq | None:
    """Find the questions on lines of their own of which a text consists, or None."""
    found = _pairs(text)
    answered = sum(bool(answer) for _, answer in found.pairs)
    told = sum(answer.count("\n") + 1 for _, answer in found.pairs if answer)
    most = answered >= FEWEST and answered * 10 >= len(found.pairs) * 9
    return found if most and found.aside <= told else None


def read_faq(found: Faq, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read questions with their answers, a row each.

    Args:
        found: in the text of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    pairs, aside = found
    notes = [NOTE.format(count=len(pairs)), *([ASIDE.format(count=aside)] if aside else ())]
    quiz = [OPTIONS.fullmatch(answer) for _, answer in pairs]
    columns = ["question", "options", "answer"] if all(quiz) else ["question", "answer"]
    table = TableBuilder(name, columns=columns, counted="question", notes=notes, limits=limits)
    for number, ((question, answer), match) in enumerate(zip(pairs, quiz, strict=True), 1):
        cells = {"question": question, "answer": answer}
        if match and "options" in columns:
            listed = [OPTION.match(line.strip()) for line in match[1].strip().splitlines()]
            texts = [option[1].strip() for option in listed if option]
            cells |= {"options": json.dumps(texts, ensure_ascii=False), "answer": match[2].upper()}
        table.add(number, cells)
    return table.build()


def _pairs(text: str) -> Faq:
    """Return questions with what follows them, and how many lines belong to none."""
    lines = text.replace("\r\n", "\n").split("\n")
    marked = _marked(lines)
    if sum(_asks(title) for _, title in filter(None, marked)) >= FEWEST:
        return _between(lines, marked)
    if pairs := _in_one(lines):
        return Faq(pairs, 0)
    paragraphs = [*filter(None, re.split(r"\n\s*\n", "\n".join(lines).strip()))]
    apart = len(paragraphs) > 1
    openings = _openings(lines, every=not apart)
    parts = len(paragraphs) if apart else len([line for line in lines if line.strip()])
    if parts > PARAGRAPHS * sum(map(bool, openings)):
        return Faq((), 0)
    return _between(lines, [(0, title) if title else None for title in openings])


def _between(lines: Sequence[str], titles: Sequence[Title | None]) -> Faq:
    """Cut lines at those that have a title; what stands below one that does not ask is aside.

    A smaller title below a question is part of its answer, unless it asks.
    """
    pairs, aside, question, size = list[tuple[str, str]](), 0, "", 0
    answer = list[str]()
    for line, found in zip(lines, titles, strict=True):
        if found is None or (question and found[0] > size and not _asks(found[1])):
            if question:
                answer.append(line)
            else:
                aside += bool(line.strip())
            continue
        if question:
            pairs.append((question, _joined(answer)))
        size, title = found
        question, answer = (title if _asks(title) else ""), []
    if question:
        pairs.append((question, _joined(answer)))
    return Faq(pairs, aside)


def _joined(answer: Sequence[str]) -> str:
    """Join the lines of an answer, without the mark before it."""
    text = "\n".join(answer).strip()
    mark = MARK.match(text)
    return text[mark.end() :] if mark else text


def _in_one(lines: Sequence[str]) -> Pairs:
    """Read lines that each ask and answer; none where one of them does not."""
    found = [IN_ONE.fullmatch(NUMBER.sub("", line.strip(), count=1)) for line in lines]
    given = [(match, line) for match, line in zip(found, lines, strict=True) if line.strip()]
    pairs = [(match[1], match[2].strip()) for match, _ in given if match]
    return pairs if len(pairs) == len(given) and not any(_asks(said) for _, said in pairs) else ()


def _marked(lines: Sequence[str]) -> list[Title | None]:
    """Return of each line how small a heading or bold line it is, and what it says.

    Between fences stands code, whose comments may look like headings; no title is very long.
    """
    code, found = False, list[Title | None]()
    for line in lines:
        code ^= FENCE.match(line) is not None
        title: Title | None = None
        untitled = code or len(line) > 2 * LONGEST
        if not untitled and (heading := HEADING.fullmatch(line)):
            title = len(heading[1]), NUMBER.sub("", heading[2].strip("*_ "), count=1).strip("*_ ")
        elif not untitled and (bold := BOLD.fullmatch(line)):
            title = 7, NUMBER.sub("", bold[2].strip(), count=1)
        found.append(title)
    return found


def _openings(lines: Sequence[str], *, every: bool) -> list[str | None]:
    """Give the first line of each paragraph, or every line, where it asks."""
    begins, found = True, list[str | None]()
    for line in lines:
        said = NUMBER.sub("", line.strip(), count=1)
        found.append(said if (begins or every) and _asks(said) else None)
        begins = not line.strip()
    return found


def _asks(line: str) -> bool:
    return line.endswith(ENDS) and 2 < len(line) <= LONGEST
