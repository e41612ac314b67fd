"""A conversation in a cell (`messages`, or ShareGPT's `conversations`) → lessons."""

import json
from itertools import takewhile
from typing import Any

from demo.errors import DataError
from demo.finetune.cleaning import Cleaner
from demo.finetune.lessons import Lesson
from demo.finetune.rows import MAX_CELL, shown

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
}
MAX_TURNS = 64
EXPECTED = 'Expected is [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}].'


def read_chat(cell: str, clean: Cleaner) -> tuple[str | None, tuple[Lesson, ...]]:
    """The system prompt, None without one, and the turns. Every reply is learned.

    A reply with `"weight": 0`, as in OpenAI's files, is context only. A last question without a
    reply is left out.

    Raises:
        DataError: no list of turns, roles that do not alternate, an empty turn, no reply to learn.
    """
    turns = [_turn(index, turn, clean) for index, turn in enumerate(_turns(cell), 1)]
    before = list(takewhile(lambda turn: turn[0] == "system", turns))
    spoken = turns[len(before) :]
    if len(spoken) % 2 and spoken[-1][0] == "user":
        spoken.pop()
        clean.note("the last question had no reply and was left out")
    for index, (role, _, _) in enumerate(spoken):
        wanted = ("user", "assistant")[index % 2]
        if role != wanted:
            raise DataError(
                f"Turn {len(before) + index + 1} is from the {role} and should be the {wanted}'s. "
                "User and assistant must take turns, the user first; system turns come before."
            )
    lessons = tuple(
        Lesson(question[1], reply[1], reply[2])
        for question, reply in zip(spoken[::2], spoken[1::2], strict=True)
    )
    if not any(lesson.learn for lesson in lessons):
        raise DataError("The conversation has no reply of the assistant to learn.")
    return "\n\n".join(text for _, text, _ in before) or None, lessons


def _turns(cell: str) -> list[Any]:
    try:
        turns = json.loads(cell)
    except (ValueError, RecursionError):
        turns = None
    if not isinstance(turns, list) or not turns:
        raise DataError(f"The conversation is no list of turns. {EXPECTED}")
    if len(turns) > MAX_TURNS:
        raise DataError(
            f"The conversation has {len(turns):,} turns, and {MAX_TURNS} is the most we take. "
            "Please cut it into several rows."
        )
    return turns


def _turn(index: int, turn: Any, clean: Cleaner) -> tuple[str, str, bool]:
    """Role, text, and whether the text is to be learned."""
    if not isinstance(turn, dict):
        raise DataError(f"Turn {index} has no role and no content. {EXPECTED}")
    said, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise DataError(
            f"Turn {index} is from “{shown(str(said))}”. Known are system, user and assistant; "
            "turns of tools cannot be taught."
        )
    if isinstance(content, int | float):
        clean.note(f"turn {index}: a number, read as text")
        content = json.dumps(content)
    text = clean.text(_content(index, content), f"turn {index}")
    if not text and role != "system":
        raise DataError(f"Turn {index}, the {role}'s, is empty.")
    if len(text) > MAX_CELL:
        raise DataError(
            f"Turn {index} has {len(text):,} characters, and {MAX_CELL:,} is the most we take."
        )
    return role, text, turn.get("weight") != 0


def _content(index: int, content: Any) -> str:
    """A turn's text; OpenAI's files may hold it in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise DataError(
        f"Turn {index} holds something else than text. For pictures please use the columns image, "
        "question and answer."
    )
