"""What is taught, as text: no torch, no tokens, so a page can show it."""

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "test"]
PART_NAMES: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "learn"), "train"),
    **dict.fromkeys(("test", "testing", "validation", "valid", "val", "dev", "eval"), "test"),
    **dict.fromkeys(("heldout", "holdout"), "test"),
}


def plain(name: str) -> str:
    """A name in a form to compare: without case, spaces, "_" and "-"."""
    return re.sub(r"[\s_-]+", "", name).casefold()


@dataclass(frozen=True)
class Lesson:
    """One question and its reply; `learn` is False where the reply is only context."""

    question: str
    reply: str
    learn: bool = True


@dataclass(frozen=True)
class Conversation:
    """What one row of a table teaches.

    Attributes:
        lessons: its turns, at least one of them to be learned.
        system: what stands before them, None for what the model's template has.
        picture: the picture's name as the row spells it.
        part: which part the row says it belongs to, None if it does not say.
        repairs: what was made fit, in words.
    """

    lessons: tuple[Lesson, ...]
    system: str | None = None
    picture: str | None = None
    part: Part | None = None
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(lesson.learn for lesson in self.lessons):
            raise ValueError("a conversation without anything to learn")
        if not all(lesson.question and lesson.reply for lesson in self.lessons):
            raise ValueError("a question or a reply is empty")
