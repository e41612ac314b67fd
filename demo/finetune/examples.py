"""What is taught: conversations as token ids, with the replies to learn marked."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from demo.finetune.lessons import Lesson
from demo.llama.chat_template import Message
from demo.llama.tokenizer import Tokenizer

IGNORED = -100  # a position whose next token is not learned


@dataclass(frozen=True)
class Example:
    """`ids` (T,) and `labels` (T,): `labels[t]` is the token to predict after `ids[t]`, or -100.

    `picture` is the row of the picture's features, None without a picture.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    picture: int | None = None

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.labels):
            raise ValueError(f"{len(self.ids)} ids, {len(self.labels)} labels")
        if all(label == IGNORED for label in self.labels):
            raise ValueError("an example without anything to learn would make the loss undefined")


def encode(
    tokenizer: Tokenizer,
    lessons: Sequence[Lesson],
    picture: int | None = None,
    *,
    system: str | None = None,
) -> Example:
    """A conversation of several turns → one example. The token that ends a reply is learned too.

    Args:
        picture: the row of the picture's features, if the lessons are about one.
        system: what stands before the first turn; without it, what the template puts there.
    """
    messages = [] if system is None else [Message("system", system)]
    ids: list[int] = []
    marks: list[tuple[int, int]] = []
    for lesson in lessons:
        messages.append(Message("user", lesson.question))
        before = len(tokenizer.chat(messages))
        messages.append(Message("assistant", lesson.reply))
        ids = tokenizer.chat(messages, generate=False)
        end = next(i for i in range(before, len(ids)) if ids[i] in tokenizer.stop_ids)
        if lesson.learn:
            marks.append((before, end + 1))
    labels = [IGNORED] * len(ids)
    for first, last in marks:
        labels[first - 1 : last - 1] = ids[first:last]
    length = marks[-1][1] - 1 if marks else len(ids)
    return Example(tuple(ids[:length]), tuple(labels[:length]), picture)


def template_fingerprint(tokenizer: Tokenizer) -> str:
    """sha256 over what the chat template makes of one turn: the form in which lessons were read."""
    turn = [Message("user", "?"), Message("assistant", "!")]
    ids = tokenizer.chat(turn, generate=False)
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()
