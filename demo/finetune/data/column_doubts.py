"""Why nobody but a person knows what a table's columns mean, and what to do about it."""

from collections.abc import Sequence

from demo.finetune.data.column_names import (
    CAPTION,
    CHAT,
    KIND_OF_TEXT,
    PICTURE,
    QUESTION,
    TEXT,
    VERDICT,
    all_named,
    first_named,
    opinions_of,
    replies_of,
    with_word,
)
from demo.finetune.data.conversation import normalise_name
from demo.finetune.data.dialogflow import ALONE, is_part
from demo.finetune.data.table import excerpt


def why_unknown(columns: Sequence[str]) -> str:
    """Say why nobody but a person knows what these columns mean."""
    if is_part(columns):
        return ALONE
    opinions, replies = opinions_of(columns), replies_of(columns)
    questions = all_named(columns, QUESTION) or with_word(columns, "question")
    text = first_named(columns, (*TEXT, *CAPTION) if first_named(columns, PICTURE) else TEXT)
    for several, what in ((questions, "the question"), (replies, "the reply")):
        if len(several) > 1:
            names = " and ".join(f"“{excerpt(name)}”" for name in several[:3])
            return f"The columns {names} could both be {what}. Please choose one by hand."
    told = all_named(columns, KIND_OF_TEXT)
    if not told and not opinions and [*map(normalise_name, replies)] == ["label"]:
        told = replies
    others = [name for name in columns if name not in told and not all_named((name,), CHAT)]
    text = text or (others[0] if len(others) == len(columns) - 1 == 1 else None)
    if text and told:
        return (
            f"“{excerpt(told[0])}” may be what is to be said of each “{excerpt(text)}”. Please "
            f"choose “{excerpt(text)}” as the question and “{excerpt(told[0])}” as the reply by "
            "hand."
        )
    if opinions or first_named(columns, VERDICT):
        name = excerpt((opinions or all_named(columns, VERDICT))[0])
        return (
            f"The column “{name}” may say which replies are good. Please choose question and reply "
            f"by hand; “{name}” is then not used, and all replies are taught alike."
        )
    replies = replies or with_word(columns, "answer")
    if text and not questions and not replies:
        return (
            f"Of questions and replies the column “{excerpt(text)}” seems to hold one half alone. "
            "Please put the other beside it, in columns called question and answer; or choose the "
            "columns by hand."
        )
    for found, what, other in (
        (questions, "question", "reply"),
        (replies, "reply", "question"),
    ):
        if found and len(questions) + len(replies) == 1:
            return (
                f"“{excerpt(found[0])}” may be the {what}, and no column's name says which holds "
                f"the {other}. Call it {'answer' if other == 'reply' else other}, or choose it by "
                "hand."
            )
    return (
        "The columns' names do not say which is the question and which the reply. Call them "
        "question and answer, or choose them by hand."
    )
