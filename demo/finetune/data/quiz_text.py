"""Options and the right one among them, as quizzes write them below a question in plain text.

Lettered lines and “Answer: B”; boxes of Markdown, of which the right one has an x; and the files of
OpenTriviaQA, where a line `^` says the right one and lettered lines follow.
"""

import re
from collections.abc import Sequence
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
    return f"{question}\n\n{before.strip()}" if before.strip() else question
