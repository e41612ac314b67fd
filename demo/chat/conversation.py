"""One visitor's turns, kept on the server, and the messages they amount to.

What a browser sends back as history is never read: this object is the only record.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from demo.errors import BusyError, ContextFullError, InputError
from demo.llama.chat_template import Message
from demo.vision.familiar import without_doubt
from demo.vision.video import Sight

MAX_CHARACTERS = 8_000
ASK_ABOUT_PICTURE = "What is in this picture?"


@dataclass(frozen=True)
class ReplyStats:
    """What a reply cost and how it came about."""

    adapter: str  # "none" for the plain base
    image: bool
    prompt_tokens: int
    reply_tokens: int
    first_token_s: float  # from the request to the first token
    tokens_per_s: float  # of the reply, after its first token
    stopped: Literal["end", "length", "cancelled", "deadline"]
    frames: int = 0  # of a video, when that was what was seen


@dataclass(frozen=True)
class Turn:
    """A user's message, the picture or video that came with it, and the reply ("" for none yet).

    `liked` and `corrected` are the visitor's word on the reply; a corrected one is the visitor's.
    """

    text: str
    picture: Sight | None = None
    reply: str = ""
    stats: ReplyStats | None = None
    liked: bool = False
    corrected: bool = False


def clean(text: str) -> str:
    """A message as it may be used.

    Raises:
        InputError: not text, or longer than 8,000 characters.
    """
    if not isinstance(text, str):
        raise InputError("A message has to be text. Please type it again.")
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"This message has {len(text):,} characters; up to {MAX_CHARACTERS:,} can be read. "
            "Please shorten it or send it in parts."
        )
    # Lone surrogates come from broken clients, cannot be encoded, and stand for nothing.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "").strip()


class Conversation:
    """Turns of one visitor. Every change is one step: a refused one leaves all as it was.

    While a reply is being written (`answering`), a change raises BusyError.
    """

    def __init__(self, system: str = "") -> None:
        self.key = secrets.token_hex(8)  # names it to the scheduler, and to nobody else
        self._lock = threading.RLock()
        self._answering = False
        self._abandoned = False
        self._turns: tuple[Turn, ...] = ()
        self._dropped = 0  # oldest turns that no longer go to the model
        self._unseen = 0  # oldest turns whose pictures were removed from use
        self._system = clean(system)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, those dropped from the model's window included."""
        return self._turns

    @property
    def dropped(self) -> int:
        """How many of the oldest turns no longer go to the model."""
        return self._dropped

    @property
    def picture(self) -> Sight | None:
        """The picture or video in use now: the last one sent, unless it was removed."""
        used = (turn.picture for turn in reversed(self._turns[self._unseen :]) if turn.picture)
        return next(used, None)

    @property
    def system(self) -> str:
        """The system prompt, "" for the model's own."""
        return self._system

    @property
    def abandoned(self) -> bool:
        """Its visitor has left, so nobody waits for a reply."""
        return self._abandoned

    def abandon(self) -> None:
        """The visitor has left."""
        self._abandoned = True

    def ask(self, text: str, picture: Sight | None = None) -> None:
        """Appends a turn to be answered.

        Raises:
            InputError: neither text nor picture, or too long a text.
            BusyError: a reply is being written.
        """
        text = clean(text)
        if not text and picture is None:
            raise InputError("Please type a message or add a picture first.")
        with self._changing():
            # A turn that never got its reply would leave two user messages in a row.
            answered = tuple(turn for turn in self._turns if turn.reply)
            self._keep(answered)
            self._turns = (*answered, Turn(text or ASK_ABOUT_PICTURE, picture))

    def undo(self) -> tuple[str, Sight | None]:
        """Removes the last turn and gives back what was sent."""
        with self._changing():
            if not self._turns:
                raise InputError("There is no turn to undo yet.")
            *kept, last = self._turns
            self._keep(tuple(kept))
            return last.text, last.picture

    def retry(self) -> None:
        """Drops the last reply, so that its turn is answered anew."""
        with self._changing():
            if not self._turns:
                raise InputError("There is no reply to write again yet.")
            last = self._turns[-1]
            self._turns = (*self._turns[:-1], Turn(last.text, last.picture))

    def edit(self, index: int, text: str) -> None:
        """New words for user turn `index`; its reply and all later turns are dropped."""
        text = clean(text)
        if not text:
            raise InputError("An edited message cannot be empty. Undo the turn instead.")
        with self._changing():
            if not 0 <= index < len(self._turns):
                raise InputError("That message is no longer part of this chat.")
            edited = Turn(text, self._turns[index].picture)
            self._keep(self._turns[:index])
            self._turns = (*self._turns, edited)

    def like(self, index: int, liked: bool) -> None:
        """The visitor's word on the reply of turn `index`."""
        with self._changing():
            self._judge(index, liked=liked)

    def correct(self, index: int, text: str) -> None:
        """The visitor's own reply in place of the model's; later turns stay."""
        text = clean(text)
        if not text:
            raise InputError("A corrected reply cannot be empty.")
        with self._changing():
            self._judge(index, reply=text, corrected=True)

    def _judge(self, index: int, **changes: object) -> None:
        if not 0 <= index < len(self._turns) or not self._turns[index].reply:
            raise InputError("That reply is no longer part of this chat.")
        turns = list(self._turns)
        turns[index] = replace(turns[index], **changes)
        self._turns = tuple(turns)

    def remove_picture(self) -> None:
        """Later replies neither see the picture nor read what was answered about it.

        Its turns stay on the page. A small base goes on as the last replies did: after three about
        pictures, the plain base answered 14 of 50 other questions, and all 50 without them.
        """
        with self._changing():
            self._unseen = len(self._turns)

    def set_system(self, text: str) -> None:
        """The system prompt of all later replies."""
        text = clean(text)
        with self._changing():
            self._system = text

    def clear(self) -> None:
        """Back to an empty chat; the system prompt stays."""
        with self._changing():
            self._keep(())

    def begin(self) -> Turn:
        """Marks the last turn as being answered and gives it.

        Raises:
            BusyError: it is being answered already.
            InputError: nothing waits for an answer.
        """
        with self._changing():
            if not self._turns or self._turns[-1].reply:
                raise InputError("There is no message to answer. Please type one.")
            self._answering = True
            return self._turns[-1]

    def finish(self, reply: str, stats: ReplyStats | None) -> None:
        """Ends what `begin` began; an empty reply leaves the turn unanswered."""
        with self._lock:
            self._answering = False
            if reply and self._turns:
                *kept, last = self._turns
                self._turns = (*kept, replace(last, reply=reply, stats=stats))

    def prompt(
        self,
        encode: Callable[[list[Message]], list[int]],
        *,
        window: int,
        reserve: int,
        drop_oldest: bool,
    ) -> list[int]:
        """The token ids that the last turn is answered from, leaving `reserve` for the reply.

        Raises:
            ContextFullError: the window does not hold them; with `drop_oldest`, only when it does
                not hold even the last turn alone.
        """
        with self._lock:
            first = self._dropped
            ids = encode(self._messages(first))
            while len(ids) + reserve > window and drop_oldest and first < len(self._turns) - 1:
                first += 1
                ids = encode(self._messages(first))
            if len(ids) + reserve > window:
                raise ContextFullError(len(ids) + reserve, window)
            self._dropped = first
            return ids

    def _messages(self, first: int) -> list[Message]:
        messages = [Message("system", self._system)] if self._system else []
        for index, turn in enumerate(self._turns[first:], first):
            if index < self._unseen and turn.stats is not None and turn.stats.image:
                continue
            messages.append(Message("user", turn.text))
            if turn.reply:
                messages.append(Message("assistant", without_doubt(turn.reply)))
        return messages

    def _keep(self, turns: tuple[Turn, ...]) -> None:
        """Goes back to earlier turns, with the marks that lie beyond them."""
        self._turns = turns
        self._dropped = min(self._dropped, len(turns))
        self._unseen = min(self._unseen, len(turns))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Holds the lock for one change, which is refused while a reply is being written."""
        with self._lock:
            if self._answering:
                raise BusyError("A reply is still being written here. Stop it or wait for it.")
            yield
