"""Text files of Microsoft's bots: `.qna`, with questions and their answers, and `.lu`, without.

A question stands in a heading after `?`, other ways to ask in the list below it, and the answer
between rows of backticks (the format of QnA Maker, Bot Framework). What is read becomes JSON, so
that one reader serves all.
"""

import json
import re
from textwrap import dedent
from typing import Any

from demo.errors import DataError

ASKED = re.compile(r"^[ \t]*#{1,6}[ \t]*\?[ \t]*(\S.*)$", re.MULTILINE)
ANSWER = re.compile(r"^[ \t]*```\w*[ \t]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
VARIANT = re.compile(r"^[ \t]*[-*+][ \t]+(\S.*)$", re.MULTILINE)
FURTHER = re.compile(r"^[ \t]*\*{2,3}(?:Filters|Prompts):?\*{2,3}", re.MULTILINE | re.IGNORECASE)
UTTERANCES = re.compile(r"^> (?:LUIS application|!# @app\.)|^[-*+] .*\{@\w+ ?=", re.MULTILINE)
SOME = 20_000  # characters, from which is seen what a file is
LEFT = "{count} questions without an answer"
NO_REPLIES = (
    "This file has what people say to a bot, and no reply to it. Please make a table of it, with "
    "the columns question and answer and one example a row."
)


def is_qna(text: str) -> bool:
    """Tell whether a text has headings that ask and answers in backticks, or utterances."""
    start = text[:SOME]
    return bool(ASKED.search(start) and ANSWER.search(text) or UTTERANCES.search(start))


def qna_as_json(text: str) -> str:
    """Return the answers of a file with their ways to ask, as JSON.

    Raises:
        DataError: no question has an answer.
    """
    found: list[dict[str, Any]] = []
    left: list[str] = []
    headings = list(ASKED.finditer(text))
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    for heading, end in zip(headings, ends, strict=True):
        body = text[heading.end() : end]
        answer = ANSWER.search(body)
        if answer is None or not answer[1].strip():
            left.append(heading[1])
            continue
        before = body[: answer.start()]
        more = FURTHER.search(before)  # lists of other things
        variants = VARIANT.findall(before[: more.start()] if more else before)
        patterns = list(dict.fromkeys(way.strip() for way in (heading[1], *variants)))
        found.append({"patterns": patterns, "responses": [dedent(answer[1]).strip()]})
    if not found:
        raise DataError(NO_REPLIES)
    beside = {LEFT.format(count=len(left)): left} if left else {}
    return json.dumps({**beside, "intents": found}, ensure_ascii=False)
