"""Plain text in which questions stand on lines of their own → a table of questions and answers.

As people write help pages: Markdown headings or bold lines that end with a question mark;
paragraphs of which each, or every second one, begins with such a line; question and answer in one
line. What stands between one question and the next is its answer, or the options of a quiz.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from demo.finetune.data.quiz_text import (
    ANSWERED,
    QuizQuestion,
    numbered_in,
    options_in,
    trivia_in,
)
from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder, excerpt

HEADING = re.compile(r"(?:\s{0,3}|\s{0,6}\d{1,3}[.)]\s+)(#{1,6})\s+(\S.*?)[\s#]*")
ASKING_HEADINGS = re.compile(r"^ {0,3}#{1,6}[ \t][^\n]{2,300}[?？؟][ \t]*$", re.MULTILINE)
FENCE = re.compile(r"\s*(?:```[^`]*|~~~.*)\Z")  # code in one line opens none
BOLD = re.compile(r"\s{0,3}(?:\d{1,3}[.)]\s+)?(\*\*|__)(\S.*?)\1\s*")
NUMBER = re.compile(r"\A(?:[QP]?\d{1,3}[.):]|[-*•]|Q[.:])\s+")
SUMMARY = re.compile(
    r"[ \t]*<summary>(?:\s|<\w+>)*(.{0,600}?)(?:\s|</\w+>)*</summary>"
    r"(?:[ \t]*<(?:br|b|p)[ ]?/?>)*",
    re.DOTALL,
)
FOLD = re.compile(r"\s*(?:</?(?:details|p|b|br)(?: open)?[ ]?/?>\s*)+")  # a line of nothing else
# Small pictures behind a question: how hard it is, and the like.
ORNAMENT = re.compile(r"[\s\U0001F000-\U0001FAFF\u2600-\u27BF\u2B50\uFE0F\u200D]+\Z")
ENDS = ("?", "？", "؟")
IN_ONE = re.compile(r"(.{2,300}?[?？؟])\s*(?:[-–—:=→]+>?\s*)?([^\s,;|][^\t|]*)")
MARK = re.compile(r"\*{0,2}A(?:nswer)?[.:]\*{0,2}\s+")  # before an answer
LONGEST = 300  # characters of a question
FOOTER = re.compile(r"[*_]*\[[^\]]+\]\([^)]+\)[*_]*|<[^>]+>|[-*_=]{3,}")  # a link, a tag or a rule
FEWEST = 2  # questions
LIKE_QUESTIONS = 0.4  # share of the headings of a size that ask, from which on all of it do
PARAGRAPHS = 2.5  # for each question, at most, where nothing marks questions: prose asks seldom
NOTE = "Lines that ask are read as {count:,} questions, and what follows each as its answer."
ASIDE = "{count:,} lines before the first question, or below other headings, are left out."
ALIKE = "“{line}” ends {count:,} answers and is left out there."
Pairs = Sequence[tuple[str, str]]
Title = tuple[int, str]  # how small, and the words


class Faq(NamedTuple):
    """What a text asks and answers: questions with answers, and how many lines belong to none."""

    pairs: Pairs
    aside: int
    quiz: Sequence[QuizQuestion] = ()
    notes: Sequence[str] = ()


def find_faq(text: str) -> Faq | None:
    """Find the questions on lines of their own of which a text consists, or None."""
    for quiz_of in (trivia_in, numbered_in):
        questions, aside = quiz_of(text)
        if questions:
            return Faq((), aside, questions)
    found = _pairs(_unfolded(text))
    answered = sum(bool(answer) for _, answer in found.pairs)
    told = sum(answer.count("\n") + 1 for _, answer in found.pairs if answer)
    most = answered >= FEWEST and answered * 10 >= len(found.pairs) * 9
    if not most or found.aside > told:
        return None
    found = _without_footers(found)
    quiz = [options_in(*pair) for pair in found.pairs]
    chosen = [question for question in quiz if question]
    if len(chosen) * 10 < len(quiz) * 9:
        return found
    plain = zip(quiz, found.pairs, strict=True)
    return found._replace(quiz=[one or QuizQuestion(q, (), a) for one, (q, a) in plain])


def has_headings_that_ask(text: str) -> bool:
    """Tell whether a text is Markdown whose headings ask: its commas then part no cells."""
    return sum(1 for _ in islice(ASKING_HEADINGS.finditer(text), FEWEST)) == FEWEST


def read_faq(found: Faq, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read questions with their answers, a row each.

    Args:
        found: in the text of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    pairs, aside, quiz, remarks = found
    notes = [NOTE.format(count=len(quiz or pairs))]
    notes += [*([ASIDE.format(count=aside)] if aside else []), *remarks]
    columns = ["question", "options", "answer", "explanation"] if quiz else ["question", "answer"]
    table = TableBuilder(name, columns=columns, counted="question", notes=notes, limits=limits)
    rows = quiz or [QuizQuestion(question, (), answer) for question, answer in pairs]
    for number, row in enumerate(rows, 1):
        cells = {"question": row.question, "answer": row.answer}
        if quiz:
            listed = json.dumps(row.options, ensure_ascii=False) if row.options else ""
            cells |= {"options": listed, "explanation": row.explanation}
        table.add(number, cells)
    return table.build()


def _without_footers(found: Faq) -> Faq:
    """Take off the link or rule that ends most answers alike, as the way back to the top does."""
    last = (answer.rpartition("\n")[2].strip() for _, answer in found.pairs if "\n" in answer)
    ends = Counter(line for line in last if FOOTER.fullmatch(line))
    line, count = ends.most_common(1)[0] if ends else ("", 0)
    if count <= FEWEST or 2 * count < len(found.pairs):
        return found
    pairs = [
        (question, before.rstrip() if end.strip() == line and before.strip() else answer)
        for question, answer in found.pairs
        for before, _, end in [answer.rpartition("\n")]
    ]
    return found._replace(pairs=pairs, notes=[ALIKE.format(line=excerpt(line), count=count)])


def _unfolded(text: str) -> str:
    """Make headings of what a page of GitHub folds its answers under, where that asks.

    Of tags only those go that fold; within code all stay.
    """
    if "<summary>" not in text:
        return text

    def titled(match: re.Match[str]) -> str:
        title = " ".join(match[1].split())
        return f"###### {title}\n" if _asks(title) else ""

    code, kept = False, list[str]()
    for line in SUMMARY.sub(titled, text).split("\n"):
        code ^= FENCE.match(line) is not None
        if code or not FOLD.fullmatch(line):
            kept.append(line)
    return "\n".join(kept)


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
    level = _level_of_questions([*filter(None, titles)])
    for line, found in zip(lines, titles, strict=True):
        if found is None or (question and _is_part(found, size)):
            if question:
                answer.append(line)
            else:
                aside += bool(line.strip())
            continue
        if question:
            pairs.append((question, _joined(answer)))
        size, title = found
        question, answer = (title if _asks(title) or size == level else ""), []
    if question:
        pairs.append((question, _joined(answer)))
    pairs = [pair for pair in pairs if _asks(pair[0]) or pair[1]]
    return Faq(pairs, aside)


def _level_of_questions(titles: Sequence[Title]) -> int | None:
    """Find the size of headings of which so many ask that their like are questions, too.

    "My download stands still" is one beside "How do I begin?"; a chapter is larger or smaller.
    """
    sizes = Counter(size for size, title in titles if _asks(title) and size)
    size, count = sizes.most_common(1)[0] if sizes else (None, 0)
    alike = sum(each == size for each, _ in titles)
    return size if count >= LIKE_QUESTIONS * alike and count > FEWEST else None


def _is_part(title: Title, size: int) -> bool:
    """Tell whether a title stands within an answer: it is smaller, or says that this is one."""
    return not _asks(title[1]) and (title[0] > size or bool(ANSWERED.match(title[1])))


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
            title = len(heading[1]), _title(heading[2].strip("*_ ")).strip("*_ ")
        elif not untitled and (bold := BOLD.fullmatch(line)):
            title = 7, _title(bold[2].strip())
        found.append(title)
    return found


def _title(words: str) -> str:
    """Give a title without its number, and without small pictures behind it."""
    return NUMBER.sub("", ORNAMENT.sub("", words), count=1)


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
