"""One visitor's turns, kept on the server, and the messages they amount to.

What a browser sends back as history is never read: this object is the only record.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from demo.errors import BusyError, ContextFullError, InputError
from demo.llama.tokenizer.chat_template import Message
from demo.vision.video import Video, VisualInput, decoded_bytes, smaller

if TYPE_CHECKING:
    from demo.chat.adapter_choice import AdapterChoice
    from demo.chat.scheduler import Stream

KEPT_CONVERSATIONS = 1000
KEPT_BYTES = 32 * 2**20  # of decoded pictures of all chats: ten photos or a hundred copies
KEPT_PATHS = 100  # other ways that a conversation has taken
KEPT_SIDE = 384  # pixels of what is kept beyond that; no tower of ours looks closer
MAX_CHARACTERS = 8_000
ALL = 2**31  # more answers than a chat has
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
    stopped: Literal["end", "length", "cancelled", "deadline", "repeated"]
    frames: int = 0  # of a video, when that was what was seen
    unfamiliar: bool = False  # what was seen is unlike what the vision tower was trained on
    recalled: str = ""  # the taught question that was asked, in whatever words
    read_as: str = ""  # what the model read in the place of the visitor's words

    @classmethod
    def of(cls, stream: Stream, choice: AdapterChoice, shown: VisualInput | None) -> ReplyStats:
        """Take stock of a reply, or of what there is of it."""
        count, first, last = len(stream.ids), stream.first, stream.last
        return cls(
            adapter=choice.name,
            image=shown is not None,
            frames=len(shown.frames) if isinstance(shown, Video) else 0,
            prompt_tokens=len(stream.request.ids),
            reply_tokens=count,
            first_token_s=first - stream.request.begun if first else 0.0,
            tokens_per_s=(count - 1) / (last - first) if first and last and last > first else 0.0,
            stopped=stream.stopped or "cancelled",
            unfamiliar=choice.unfamiliar,
            recalled=choice.recalled.question if choice.recalled else "",
            read_as=choice.read_as,
        )


@dataclass(frozen=True)
class Turn:
    """A user's message, the picture or video that came with it, and the reply ("" for none yet).

    `liked` and `corrected` (it is then the visitor's own) are the visitor's word on the reply,
    `unfamiliar` that the picture is unlike those its tower learned from. `number` names the turn.
    """

    text: str
    picture: VisualInput | None = None
    reply: str = ""
    stats: ReplyStats | None = None
    liked: bool = False
    corrected: bool = False
    unfamiliar: bool = False
    number: int = 0


def clean(text: str) -> str:
    """Give a message as it may be used.

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
    # Lone surrogates of broken clients cannot be encoded. All else stays as it was typed.
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
    return text if text.strip() else ""


class Conversation:
    """Turns of one visitor. Every change is one step: a refused one leaves all as it was.

    While a reply is being written, a change raises BusyError. What a retry or an edit replaces is
    another path through the conversation, to which `show_version` goes back.

    Attributes:
        key, id: name it to the scheduler alone, and where it is kept ("" where it is not).
        title: its name in the list of chats, "" for the first question.
        on_change: called with it after each change that is worth keeping.
        paths: all turns of each other way that it has taken.
        turns: all of them, those dropped from the model's window included.
        dropped: how many of the oldest turns no longer go to the model.
        picture: the picture or video in use, the last one sent, unless it was removed.
        system: the system prompt, "" for the model's own.
        abandoned: its visitor has left, so nobody waits for a reply.
        answering: a reply is being written.
        unseen: how many of the oldest turns had pictures that were removed from use.
    """

    def __init__(self, system: str = "") -> None:
        self.key = secrets.token_hex(8)
        self.id = self.title = ""
        self.on_change: Callable[[Conversation], None] | None = None
        self.turns: tuple[Turn, ...] = ()
        self.paths: tuple[tuple[Turn, ...], ...] = ()
        self.dropped = self.unseen = 0
        self.picture: VisualInput | None = None
        self.system = clean(system)
        self.abandoned = False
        self._lock = threading.RLock()
        self.answering = self._continuing = False
        self._weighed: tuple[tuple[Turn, ...], int] = ((), 0)

    @property
    def picture_bytes(self) -> int:
        """Decoded pixels of all turns, in bytes."""
        turns = self.turns
        if self._weighed[0] is not turns:
            every = (turn.picture for path in (turns, *self.paths) for turn in path)
            shown = {id(picture): picture for picture in every if picture}
            self._weighed = (turns, sum(map(decoded_bytes, shown.values())))
        return self._weighed[1]

    def shrink_pictures(self, *, used: bool) -> None:
        """Keep small copies of all pictures; of the one in use only when `used` says so."""
        with self._lock:
            small: dict[int, VisualInput] = {}

            def shrunken(path: tuple[Turn, ...]) -> tuple[Turn, ...]:
                for turn in path:
                    if turn.picture and (used or turn.picture is not self.picture):
                        small.setdefault(id(turn.picture), smaller(turn.picture, KEPT_SIDE))
                return tuple(
                    replace(turn, picture=small.get(id(turn.picture), turn.picture))
                    for turn in path
                )

            self.paths = tuple(map(shrunken, self.paths))
            self.turns = shrunken(self.turns)
            self.picture = small.get(id(self.picture), self.picture)

    def restore(
        self,
        turns: tuple[Turn, ...],
        paths: tuple[tuple[Turn, ...], ...],
        dropped: int,
        unseen: int,
    ) -> None:
        """Become what was kept: its turns, its other paths, and the marks on its oldest turns."""
        with self._lock:
            self.paths, self.dropped, self.unseen = tuple(paths), dropped, unseen
            self._keep(turns)

    def ask(self, text: str, picture: VisualInput | None = None) -> None:
        """Append a turn to be answered, in the place of the same one that got no reply.

        Raises:
            InputError: neither text nor picture, or too long a text.
        """
        text = clean(text)
        if not text and picture is None:
            raise InputError("Please type a message or add a picture first.")
        new = Turn(text or ASK_ABOUT_PICTURE, picture)
        with self._changing():
            waits = self.turns and replace(self.turns[-1], number=0) == new
            self._keep(self.turns[:-1] if waits else self.turns, new)

    def undo(self) -> tuple[str, VisualInput | None]:
        """Remove the last turn and give back what was sent."""
        with self._changing():
            if not self.turns:
                raise InputError("There is no turn to undo yet.")
            *kept, last = self.turns
            self._keep(kept)
            return last.text, last.picture

    def retry(self) -> int:
        """Ask the last turn again; return how many answers it has had, which all stay."""
        with self._changing():
            if not self.turns:
                raise InputError("There is no reply to write again yet.")
            *kept, last = self.turns
            answers = sum(bool(turn.reply) for turn in self.versions(len(kept)))
            self._set_aside()
            self.turns = (*kept, Turn(last.text, last.picture, number=self._next()))
            return answers

    def go_on(self) -> None:
        """Let the last reply, which was cut or stopped, be written on from where it ends."""
        with self._changing(keep=False):
            last = self.turns[-1] if self.turns else None
            if last is None or last.stats is None or last.stats.stopped == "end" or last.corrected:
                raise InputError("There is no reply to continue. Please type a message.")
            self._continuing = True

    def versions(self, index: int) -> list[Turn]:
        """Give all turns that were tried at the place of turn `index`, the oldest first."""
        with self._lock:
            before = _numbers(self.turns[:index])
            found = {
                path[index].number: path[index]
                for path in (*self.paths, self.turns)
                if len(path) > index and _numbers(path[:index]) == before
            }
            return [found[number] for number in sorted(found)]

    def places(self) -> list[tuple[int, int]]:
        """Give of each turn which of its versions it is, from 1, and how many there are."""
        with self._lock:
            tried = [(turn, _numbers(self.versions(at))) for at, turn in enumerate(self.turns)]
            return [(numbers.index(turn.number) + 1, len(numbers)) for turn, numbers in tried]

    def show_version(self, index: int, step: int) -> None:
        """Go from turn `index` to an earlier or later version, and to what came after that."""
        with self._changing():
            if not 0 <= index < len(self.turns):
                raise InputError("That message is no longer part of this chat.")
            numbers = [turn.number for turn in self.versions(index)]
            at = numbers.index(self.turns[index].number) + step
            if not 0 <= at < len(numbers):
                raise InputError("There is no other version of this reply.")
            self._set_aside()
            wanted = (*_numbers(self.turns[:index]), numbers[at])
            # The newest path comes first: it is what was seen last after that version.
            path = next(p for p in reversed(self.paths) if _numbers(p[: index + 1]) == wanted)
            self.paths = tuple(other for other in self.paths if other is not path)
            self.unseen, self.dropped = min(self.unseen, index), min(self.dropped, index)
            self._keep((*self.turns[:index], *path[index:]))

    def edit(self, index: int, text: str) -> None:
        """Ask user turn `index` in new words; its reply and all later turns are another path."""
        text = clean(text)
        if not text:
            raise InputError("An edited message cannot be empty. Undo the turn instead.")
        with self._changing():
            if not 0 <= index < len(self.turns):
                raise InputError("That message is no longer part of this chat.")
            self._set_aside()
            self._keep(self.turns[:index], Turn(text, self.turns[index].picture))

    def like(self, index: int, liked: bool) -> None:
        """Take the visitor's word on the reply of turn `index`."""
        with self._changing():
            self._judge(index, liked=liked)

    def correct(self, index: int, text: str) -> None:
        """Put the visitor's own reply in place of the model's; later turns stay."""
        text = clean(text)
        if not text:
            raise InputError("A corrected reply cannot be empty.")
        with self._changing():
            self._judge(index, reply=text, corrected=True, unfamiliar=False)

    def remove_picture(self) -> None:
        """Let later replies neither see the picture nor read what was answered about it.

        Its turns stay on the page. After three replies about pictures, the small plain base
        answered 14 of 50 other questions, and all 50 without them.
        """
        with self._changing():
            self.unseen = len(self.turns)
            self.picture = None

    def set_system(self, text: str) -> None:
        """Set the system prompt of all later replies."""
        text = clean(text)
        with self._changing(keep=False):
            self.system = text

    def begin(self) -> Turn:
        """Mark the last turn as being answered and give it; it has a reply when that goes on.

        Raises:
            BusyError: it is being answered already.
            InputError: nothing waits for an answer.
        """
        with self._changing(keep=False):
            if not self.turns or (self.turns[-1].reply and not self._continuing):
                raise InputError("There is no message to answer. Please type one.")
            self.answering = True
            return self.turns[-1]

    def finish(self, reply: str, stats: ReplyStats | None) -> None:
        """End what `begin` began; an empty reply leaves the turn unanswered."""
        with self._lock:
            self.answering = self._continuing = False
            if reply and self.turns:
                *kept, last = self.turns
                doubt = stats is not None and stats.unfamiliar
                self.turns = (*kept, replace(last, reply=reply, stats=stats, unfamiliar=doubt))
                if self.on_change:
                    self.on_change(self)

    def prompt(
        self,
        encode: Callable[[list[Message]], list[int]],
        *,
        window: int,
        reserve: int,
        drop_oldest: bool,
        about_pictures: int = ALL,
    ) -> list[int]:
        """Give the token ids that the last turn is answered from.

        Args:
            encode: messages → token ids.
            window: tokens that the model holds.
            reserve: tokens of the window that are left for the reply.
            drop_oldest: leave out the oldest turns when the window is full.
            about_pictures: how many of the last answers about pictures are read.

        Raises:
            ContextFullError: the window does not hold them (with `drop_oldest`, not even the last).
        """
        with self._lock:
            first = self.dropped
            ids = encode(self._messages(first, about_pictures))
            while len(ids) + reserve > window and drop_oldest and first < len(self.turns) - 1:
                first += 1
                ids = encode(self._messages(first, about_pictures))
            if len(ids) + reserve > window:
                raise ContextFullError(len(ids) + reserve, window)
            self.dropped = first
            return ids

    def _messages(self, first: int, read: int = ALL) -> list[Message]:
        seen = [i for i, turn in enumerate(self.turns[:-1]) if turn.stats and turn.stats.image]
        left = {i for n, i in enumerate(seen, read) if n < len(seen) or i < self.unseen}
        messages = [Message("system", self.system)] if self.system else []
        for index, turn in enumerate(self.turns[first:], first):
            last = index == len(self.turns) - 1
            if index in left or not (turn.reply or last):
                continue  # what got no reply would leave two user messages in a row
            messages.append(Message("user", turn.text.strip()))
            if turn.reply and not (self._continuing and last):
                messages.append(Message("assistant", turn.reply.strip()))
        return messages

    def _judge(self, index: int, **changes: Any) -> None:
        if not 0 <= index < len(self.turns) or not self.turns[index].reply:
            raise InputError("That reply is no longer part of this chat.")
        changed = replace(self.turns[index], **changes)
        self.turns = (*self.turns[:index], changed, *self.turns[index + 1 :])

    def _keep(self, kept: Sequence[Turn], new: Turn | None = None) -> None:
        """Go back to earlier turns, with the marks that lie beyond them, and add a new one."""
        if new:
            new = replace(new, number=self._next())
        self.turns = (*kept, new) if new else tuple(kept)
        self.dropped = min(self.dropped, len(kept))
        self.unseen = min(self.unseen, len(kept))
        used = [turn.picture for turn in self.turns[self.unseen :] if turn.picture]
        self.picture = used[-1] if used else None

    def _set_aside(self) -> None:
        """Keep the present path among the others, if it ends in a reply; the oldest ones go."""
        answered = self.turns if self.turns and self.turns[-1].reply else self.turns[:-1]
        numbers = _numbers(answered)
        others = tuple(p for p in self.paths if _numbers(p)[: len(numbers)] != numbers)
        if answered and len(others) == len(self.paths):
            self.paths = (*self.paths, answered)[-KEPT_PATHS:]

    def _next(self) -> int:
        return 1 + max((t.number for path in (*self.paths, self.turns) for t in path), default=0)

    @contextmanager
    def _changing(self, *, keep: bool = True) -> Iterator[None]:
        """Hold the lock for one change, which is refused while a reply is being written."""
        with self._lock:
            if self.answering:
                raise BusyError("A reply is still being written here. Stop it or wait for it.")
            yield
            if keep and self.on_change:
                self.on_change(self)


def _numbers(path: Sequence[Turn]) -> tuple[int, ...]:
    return tuple(turn.number for turn in path)


class ConversationStore:
    """The conversations of all visitors, by number and by bytes of their pictures.

    When these are too many, pictures that are no longer in use become small, those of the least
    recently used conversations first, then those in use; then conversations are forgotten.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Conversation] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, session: str) -> Conversation:
        """Find a visitor's conversation, or make one on first use."""
        with self._lock:
            found = self._kept.setdefault(session, Conversation())
            self._kept.move_to_end(session)
            if len(self._kept) > KEPT_CONVERSATIONS:
                self._kept.popitem(last=False)
            if self._is_full():
                self._make_room()
            return found

    def show(self, session: str, conversation: Conversation) -> None:
        """Let a visitor go on with another conversation; two tabs may share one."""
        conversation.abandoned = False
        with self._lock:
            self._kept[session] = conversation

    def drop(self, session: str) -> None:
        """Forget a visitor's conversation, and end the reply that it alone waits for."""
        with self._lock:
            found = self._kept.pop(session, None)
            if found and found not in self._kept.values():
                found.abandoned = True

    def _is_full(self) -> bool:
        return sum(kept.picture_bytes for kept in self._kept.values()) > KEPT_BYTES

    def _make_room(self) -> None:
        for used in (False, True):
            for conversation in (kept for kept in self._kept.values() if kept.picture_bytes):
                conversation.shrink_pictures(used=used)
                if not self._is_full():
                    return
        while len(self._kept) > 1 and self._is_full():
            self._kept.popitem(last=False)
