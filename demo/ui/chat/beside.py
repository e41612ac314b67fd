"""Beside an adapter's answer: what the base alone says to the same question.

It is written from the same conversation, without the adapter and without pictures, which the base
cannot see. It stands under the reply and never enters the conversation, so nothing that is asked
later is read from it; it is gone with the page.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from threading import Event
from typing import Any
from weakref import WeakKeyDictionary

from demo.adapter.library import owner_of
from demo.chat.conversation import Conversation
from demo.errors import InputError
from demo.runtime import Runtime
from demo.settings import Sampling
from demo.ui.html import BaseAnswer
from demo.ui.strings import Strings


class BaseAnswers:
    """The base's answers to turns that an adapter answered, for all visitors.

    `known` are those of each conversation, by the number of the turn.
    """

    def __init__(self, runtime: Runtime, strings: Strings) -> None:
        self._runtime, self._strings = runtime, strings
        self.known: WeakKeyDictionary[Conversation, dict[int, BaseAnswer]] = WeakKeyDictionary()

    def write(
        self, conversation: Conversation, owner: object, numbers: Sequence[Any], stop: Event
    ) -> Generator[BaseAnswer, None, None]:
        """Let the base answer the last turn, again and again with more of its text.

        Args:
            conversation: stays as it is.
            owner: the browser's secret.
            numbers: the fields of `Sampling`.
            stop: ends it when set.

        Raises:
            InputError: no reply is there to stand beside.
            DemoError: as `ReplyWriter.write` has it.
        """
        last = conversation.turns[-1] if conversation.turns else None
        if last is None or not last.reply:
            raise InputError(self._strings.nothing_here)
        kept = self.known.setdefault(conversation, {})
        replies = self._runtime.replies.write(
            without_adapter(conversation),
            adapter="none",
            sampling=Sampling(*numbers),
            owner=owner_of(str(owner)),
        )
        blind, whole = last.stats is not None and last.stats.image, False
        try:
            with closing(replies):
                for reply in replies:
                    if stop.is_set():
                        return
                    whole = bool(reply.text)
                    shown = reply.text or self._strings.said(reply.waiting) or self._strings.typing
                    kept[last.number] = BaseAnswer(shown, blind)
                    yield kept[last.number]
        finally:
            if not whole:  # what it waited for is no answer
                kept.pop(last.number, None)


def without_adapter(conversation: Conversation) -> Conversation:
    """Copy a conversation as the base alone would be asked its last question."""
    copy = Conversation(conversation.system)
    *before, last = (replace(turn, picture=None) for turn in conversation.turns)
    copy.turns = (*before, replace(last, reply="", stats=None, corrected=False))
    copy.dropped, copy.unseen = conversation.dropped, conversation.unseen
    return copy
