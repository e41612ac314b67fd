"""Which columns are question and reply where their names do not say both.

A column is a question by its marks, or one of the two is named and a single other column holds
texts of its own: `issue_description, resolution`, `term, description, source`.
"""

import re
from collections.abc import Sequence

from demo.finetune.data.column_cells import (
    asks,
    cells_of,
    has_letters,
    holds_sentences,
    holds_texts,
    holds_words,
)
from demo.finetune.data.column_names import (
    BARRED,
    CHAT,
    INPUT,
    KIND_OF_TEXT,
    OPINION,
    PICTURE,
    QUESTION,
    SPLIT,
    SYSTEM,
    VERDICT,
    all_named,
    asked_alone,
    is_about,
    known_as,
    options_of,
    replies_of,
    with_word,
)
from demo.finetune.data.table import Table

# What sorts, places or describes rows, however much text stands in it.
SORTING = (
    *("category", "categories", "channel", "topic", "scenario", "tag", "tags", "class", "label"),
    *("source", "domain", "subject", "section", "department", "author", "language", "genre"),
    *("url", "link", "id", "date", "template", "origin"),
)
ANSWERS_TITLES = "body"  # of a title that asks, and else what a question is about
SOURCE, TARGET = "source", "target"


def by_question_marks(table: Table, filled: Sequence[str]) -> tuple[str, str] | None:
    """Find a column full of questions, where exactly one other holds texts that could answer.

    Args:
        table: the rows.
        filled: its columns in which something stands.
    """
    known = (*QUESTION, *CHAT, *PICTURE, *OPINION, *VERDICT, *BARRED)
    replies = replies_of(filled)
    about = [name for name in all_named(filled, INPUT) if known_as(name) != ANSWERS_TITLES]
    if about or all_named(filled, known) or len(replies) > 1:
        return None
    free = _free(filled)
    asking = [name for name in free if asks(table, name) and name not in replies]
    texts = [name for name in free if name not in asking and holds_texts(table, name)]
    others = [name for name in texts if not _sorts(name) and name not in options_of(filled)]
    others = replies or others
    if (
        len(asking) != 1
        or len(others) != 1
        or filled.index(asking[0]) > filled.index(others[0])
        or _may_choose(table, filled)
    ):
        return None
    return asking[0], others[0]


def _may_choose(table: Table, filled: Sequence[str]) -> bool:
    """Whether, among columns without names, one of small numbers may say which option is right."""
    unnamed = all(re.fullmatch(r"column \d+", name) for name in filled)
    return unnamed and any(
        all(re.fullmatch(r"\d", cell.strip()) for cell in cells_of(table, name)) for name in filled
    )


def half_named(table: Table, filled: Sequence[str]) -> tuple[str, str] | None:
    """Find the one column of texts beside the only one whose name says that it asks or replies.

    A label is no reply that is named so: whether it is to be said, only a person knows. Nor is a
    question answered by what it is about.

    Args:
        table: the rows.
        filled: its columns in which something stands.
    """
    known = (*CHAT, *PICTURE, *OPINION, *VERDICT, *BARRED, *KIND_OF_TEXT)
    if all_named(filled, known) or asked_alone(filled):
        return None
    questions = all_named(filled, QUESTION) or with_word(filled, "question")
    replies = replies_of(filled) or with_word(filled, "answer")
    if len(questions) + len(replies) != 1:
        return None
    named = (questions or replies)[0]
    translated = bool(replies) and known_as(named) == TARGET
    others = [
        name
        for name in _free(filled)
        if name != named
        and not (questions and _sorts(name))
        and not all_named((name,), INPUT)
        and (not is_about(name) or (translated and known_as(name) == SOURCE))
        and any(holds(table, name) for holds in (holds_texts, holds_words, holds_sentences))
    ]
    if len(others) != 1 or not has_letters(table, named):
        return None
    return (named, others[0]) if questions else (others[0], named)


def _sorts(name: str) -> bool:
    """Tell whether a column's name says that it replies to nothing: `category`, `channel`."""
    return known_as(name) in SORTING


def _free(filled: Sequence[str]) -> list[str]:
    """Give the columns that could be either."""
    return [name for name in filled if not all_named((name,), (*SPLIT, *SYSTEM))]
