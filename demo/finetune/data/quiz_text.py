"""Options and the right one among them, as quizzes write them in plain text.

Lettered lines and “Answer: B”; boxes of Markdown, of which the right one has an x; and the files of
OpenTriviaQA, where a line `^` says the right one and lettered lines follow.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from demo.finetune.data.column_names import ANSWERS_ELSEWHERE, folded

_WORDS = ("answer", *ANSWERS_ELSEWHERE, *map(folded, ANSWERS_ELSEWHERE), "đáp án", "câu trả lời")
_ANSWER = rf"(?:{'|'.join(_WORDS)})(?: \w+)?"  # and "respuesta correcta"
ANSWERED = re.compile(rf"(?:correct |right )?(?:{_ANSWER})\b", re.IGNORECASE)  # a heading's words
_LETTERED = r"(?:[ \t]*(?:[-*][ \t]+)?\(?[A-Ha-h][.):][ \t]*[^\s][^\n]*\n+)"
LETTERED = re.compile(
    rf"(?P<before>(?:.*?\n)??)(?P<options>{_LETTERED}{{2,8}})"
    rf"[ \t]*(?:#+[ \t]*)?\*{{0,2}}(?:correct |right )?(?:{_ANSWER})\*{{0,2}}[ \t]*[:：]\**[ \t]*"
    r"\(?(?P<right>[A-Ha-h])\b[^\n]*(?P<after>.*)",
    re.IGNORECASE | re.DOTALL,
)
OPTION = re.compile(r"(?:[-*][ \t]+)?\(?[A-Ha-h][.):][ \t]*(\S.*)")
BOX = re.compile(r"[-*+][ \t]+\[([ xX])\][ \t]+(\S.*)")
TRIVIA = re.compile(
    r"#Q[ \t]+(.{1,600}?)\n\^[ \t]*([^\n]+)\n((?:[A-H][ \t]+[^\n]*(?:\n|\Z))+)", re.DOTALL
)
# A statement that is numbered, to be completed by one of the options below it.
NUMBERED = re.compile(
    r"^[ \t]{0,3}(?:#+[ \t]+)?\**(?:(?:question|Q)[ \t]*)?\d{1,3}[.):]\**[ \t]+", re.M | re.I
)
MARK = re.compile(r"(?:\A|(?<=[\s,;|/]))\(?([A-Ha-h])[.):]\s*(?=\S)")  # within a cell
PARTED = ("\n", "|", ";", ",", "/")  # options in a cell, by the first of these that does
FEWEST = 2  # options, and questions of a file


class QuizQuestion(NamedTuple):
    """What is asked, options to choose from, the right one's letter or text, and what is said."""

    question: str
    options: Sequence[str]
    answer: str
    explanation: str = ""


def options_in(question: str, text: str) -> QuizQuestion | None:
    """Find options in what stands below a question; None where there are none, or no right one.

    What stands between the question and its options, code for example, belongs to the question.
    """
    if match := LETTERED.fullmatch(text):
        found = (OPTION.match(line.strip()) for line in match["options"].strip().splitlines())
        texts = [option[1].strip() for option in found if option]
        asked = _joined(question, match["before"])
        return QuizQuestion(asked, texts, match["right"].upper(), match["after"].strip())
    lines = text.splitlines()
    boxes = [(at, box) for at, line in enumerate(lines) if (box := BOX.fullmatch(line.strip()))]
    right = [box[2].strip() for _, box in boxes if box[1] != " "]
    if len(boxes) < FEWEST or not right or len({box[2].strip() for _, box in boxes}) < len(boxes):
        return None
    first, last = boxes[0][0], boxes[-1][0]
    if sum(bool(line.strip()) for line in lines[first : last + 1]) > len(boxes):
        return None  # boxes in several lines, or another list between them
    asked = _joined(question, "\n".join(lines[:first]))
    after = "\n".join(lines[last + 1 :]).strip()
    return QuizQuestion(asked, [box[2].strip() for _, box in boxes], "; ".join(right), after)


def options_in_cell(cell: str, answer: str) -> list[str] | dict[str, str] | None:
    """Part the options that are one text: by their letters, or where the answer is one of them.

    Args:
        cell: that holds them, as `apple; pear` or `(A) apple (B) pear`.
        answer: that is given.
    """
    marks = list(MARK.finditer(cell))
    letters = [mark[1].upper() for mark in marks]
    if (
        len(marks) >= FEWEST
        and letters == list("ABCDEFGH"[: len(letters)])
        and not marks[0].start()
    ):
        ends = [mark.start() for mark in marks[1:]] + [len(cell)]
        parts = zip(letters, marks, ends, strict=True)
        return {letter: cell[mark.end() : end].strip(" \t\n,;|/") for letter, mark, end in parts}
    for parted in PARTED:
        texts = [text.strip() for text in cell.split(parted) if text.strip()]
        if len(texts) >= FEWEST and answer.strip().casefold() in map(str.casefold, texts):
            return texts
    return None


def without_marks(options: Iterable[str]) -> list[str]:
    """Take off the letters that options begin with, where all have theirs in order: `(A) ant`."""
    texts = list(options)
    marks = [MARK.match(text) for text in texts]
    letters = [mark[1].upper() for mark in marks if mark]
    if len(texts) < FEWEST or letters != list("ABCDEFGH"[: len(texts)]):
        return texts
    return [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark]


def numbered_in(text: str) -> tuple[list[QuizQuestion], int]:
    """Read numbered statements with options and the right one → them, and how many lines are aside.

    There are none where one of the numbers begins something else.
    """
    begins = [match.start() for match in NUMBERED.finditer(text)]
    blocks = [text[a:b] for a, b in pairwise([*begins, len(text)])]
    found = [options_in("", NUMBERED.sub("", block, count=1)) for block in blocks]
    read = [question for question in found if question and question.question]
    aside = _filled(text[: begins[0]]) if begins else 0
    return (read, aside) if len(read) == len(blocks) >= FEWEST else ([], 0)


def trivia_in(text: str) -> tuple[list[QuizQuestion], int]:
    """Read a file of OpenTriviaQA → its questions, and how many lines belong to none.

    There are no questions where the text is another, in which such lines are few.
    """
    if text.count("#Q ") < FEWEST:
        return [], 0
    text = text.replace("\r\n", "\n")
    found, read = list[QuizQuestion](), 0
    for match in TRIVIA.finditer(text):
        asked, right, listed = (part.strip() for part in match.groups())
        options = [line[1:].strip() for line in listed.splitlines()]
        found.append(QuizQuestion(" ".join(asked.split()), options, right))
        read += _filled(match[0])
    aside = _filled(text) - read
    return (found, aside) if aside <= read else ([], 0)


def _filled(text: str) -> int:
    """Count the lines in which something stands."""
    return sum(bool(line.strip()) for line in text.splitlines())


def _joined(question: str, before: str) -> str:
    return "\n\n".join(filter(None, (question, before.strip())))
