"""The base's answer beside an adapter's, which leaves the conversation as it is."""

from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from demo.chat.conversation import Conversation, ReplyStats
from demo.errors import InputError
from demo.runtime import Reply
from demo.ui.chat.beside import BaseAnswers, without_adapter
from demo.ui.strings import ENGLISH
from demo.vision.image import Picture

SEEN = ReplyStats("sight", True, 9, 3, 0.1, 50.0, "end")
NUMBERS = (0.0, 1.0, 0, 1.0, 256, 0, 1.0)  # the fields of Sampling


class Writer:
    """Writes what it was given, and notes how it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = replies
        self.asked: list[tuple[Conversation, dict[str, Any]]] = []

    def write(self, conversation: Conversation, **options: Any) -> Iterator[Reply]:
        self.asked.append((conversation, options))
        yield from self._replies


def answered(picture: Picture) -> Conversation:
    conversation = Conversation("Be kind.")
    conversation.ask("What is this?", picture)
    conversation.begin()
    conversation.finish("A house.", SEEN)
    return conversation


def test_the_base_is_asked_the_same_without_adapter_and_picture(picture: Picture) -> None:
    conversation = answered(picture)
    writer = Writer(Reply(waiting="Reading your message"), Reply("A what"), Reply("A what?"))
    bases = BaseAnswers(SimpleNamespace(replies=writer), ENGLISH)  # type: ignore[arg-type]
    said = [
        (answer.text, answer.blind) for answer in bases.write(conversation, "", NUMBERS, Event())
    ]
    assert said == [("Reading your message", True), ("A what", True), ("A what?", True)]
    asked, options = writer.asked[0]
    assert options["adapter"] == "none"
    assert (asked.system, asked.picture) == ("Be kind.", None)
    assert [(turn.text, turn.picture, turn.reply) for turn in asked.turns] == [
        ("What is this?", None, "")
    ]
    # The conversation is what it was; the answer stands beside it.
    assert [(turn.text, turn.reply, turn.picture) for turn in conversation.turns] == [
        ("What is this?", "A house.", picture)
    ]
    assert bases.known[conversation][conversation.turns[0].number].text == "A what?"


def test_what_was_stopped_before_its_first_word_is_no_answer(picture: Picture) -> None:
    conversation = answered(picture)
    writer = Writer(Reply(waiting="Reading your message"))
    bases = BaseAnswers(SimpleNamespace(replies=writer), ENGLISH)  # type: ignore[arg-type]
    assert len(list(bases.write(conversation, "", NUMBERS, Event()))) == 1
    assert bases.known[conversation] == {}
    with pytest.raises(InputError, match="no longer part"):
        next(bases.write(Conversation(), "", NUMBERS, Event()))


def test_earlier_turns_stay_in_the_question(picture: Picture) -> None:
    conversation = answered(picture)
    conversation.ask("And now?")
    conversation.begin()
    conversation.finish("Still one.", SEEN)
    copy = without_adapter(conversation)
    assert [(turn.text, turn.reply) for turn in copy.turns] == [
        ("What is this?", "A house."),
        ("And now?", ""),
    ]


def test_it_ends_when_it_is_stopped(picture: Picture) -> None:
    conversation, stop = answered(picture), Event()
    writer = Writer(Reply("A"), Reply("A what?"))
    bases = BaseAnswers(SimpleNamespace(replies=writer), ENGLISH)  # type: ignore[arg-type]
    writing = bases.write(conversation, "", NUMBERS, stop)
    assert next(writing).text == "A"
    stop.set()
    assert list(writing) == []
    assert bases.known[conversation][conversation.turns[0].number].text == "A"
