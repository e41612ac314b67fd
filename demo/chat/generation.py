"""One reply from beginning to end: which adapter answers, what the model reads, the text so far.

A reply is a generator: closing it ends the work. While the model or the tower is still loading it
says what it waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from demo.adapter.library import Library
from demo.background_task import PauseSwitch
from demo.chat.adapter_choice import PLAIN_BASE, AdapterChoice, AdapterChooser
from demo.chat.conversation import ALL, Conversation, ReplyStats
from demo.errors import DemoError, NotReadyError
from demo.llama.tokenizer.chat_template import Message
from demo.questions.taxonomy import settled_part
from demo.settings import Sampling, Settings

if TYPE_CHECKING:
    from demo.chat.scheduler import Engine, GenerationRequest, Stream
    from demo.vision.clip import Tower
    from demo.vision.video import VisualInput

T = TypeVar("T")
UPDATE_SECONDS = 0.05  # between two looks at a growing reply: fluent, and cheap for the browser
RESERVE = 64  # tokens of the window kept free for a reply


@dataclass(frozen=True)
class Reply:
    """A reply so far.

    Attributes:
        text: what the model has written, and nothing else; of a picture the verdict, yes or no,
            that follows from what it names (`Taxonomy`).
        waiting: a sentence while the reply has not begun.
        stats: come at the end.
        unfamiliar: the picture it is about is unlike those that the tower was trained on.
    """

    text: str = ""
    done: bool = False
    waiting: str = ""
    stats: ReplyStats | None = None
    unfamiliar: bool = False


class ReplyWriter:
    """Writes replies with what is loaded behind `language` and `tower`.

    Args:
        settings: the window of the model, and how long a reply may take.
        library: the adapters that may answer.
        language: the base that answers, once it is loaded.
        tower: sees pictures, once it is loaded.
        loading: says what is being done until then, and how far it is (0 to 1, None when unknown).
        pauses: every reply is written inside it, so that trainings stand still meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        library: Library,
        language: Future[Engine],
        tower: Future[Tower],
        loading: Callable[[], tuple[str, float | None]],
        pauses: PauseSwitch,
    ) -> None:
        self._settings, self._loading, self._pauses = settings, loading, pauses
        self._language, self._tower = language, tower
        self.chooser = AdapterChooser(library)

    def write(
        self,
        conversation: Conversation,
        *,
        adapter: str,
        sampling: Sampling,
        owner: str = "",
        drop_oldest: bool = False,
        kept: bool = True,
    ) -> Generator[Reply, None, None]:
        """Answer the last user turn; closing the generator ends the reply within one token.

        Args:
            conversation: its last turn has no reply yet.
            adapter: "auto" (while a picture is in use, the adapter that was taught with pictures
                most like it, else the plain base), "none", or a name.
            sampling: how tokens are drawn, and how many at most.
            owner: who asks; adapters that others made do not exist for them.
            drop_oldest: leave out the oldest turns when the window is full.
            kept: whether the conversation may go on; of others no keys and values are kept.

        Raises:
            InputError: the adapter does not exist or cannot see the picture in use.
            ContextFullError: the conversation does not fit the window.
            BusyError: this conversation is being answered, or the queue is full.
            NotReadyError: the model could not be loaded.
        """
        turn = conversation.begin()
        begun = turn.reply  # of a reply that goes on
        stream, text, choice, shown = None, begun, AdapterChoice(), conversation.picture
        ended = False  # at a text that the adapter's form ends with
        try:
            with self._pauses.paused():
                choice, request = yield from self._prepare(
                    conversation, adapter, sampling, owner, drop_oldest, begun
                )
                shown = None if choice.name == PLAIN_BASE else shown
                engine, request = self._language.result(), replace(request, kept=kept)
                decoder, known = engine.base.tokenizer.stream(), 0
                end = choice.form.stop if choice.form else ""
                stream = engine.scheduler.submit(request)
                while not stream.done or known < len(stream.ids):
                    stream.wait(known, UPDATE_SECONDS)
                    fresh, known = stream.ids[known:], len(stream.ids)
                    text += "" if ended else "".join(decoder.push(token) for token in fresh)
                    if end and end in text:
                        text, ended = text.partition(end)[0], True
                    if conversation.abandoned or ended:
                        stream.cancel()
                    waiting = "" if known else "Reading your message"
                    if not known and (place := engine.scheduler.position(stream)):
                        waiting = f"Busy: you are number {place} in the queue"
                    sure = settled(text, end) if end and not ended else text
                    sure = settled_part(sure) if choice.taxonomy else sure
                    yield Reply(sure, waiting=waiting, unfamiliar=choice.unfamiliar)
                    if not stream.done:
                        time.sleep(UPDATE_SECONDS)
                text += "" if ended else decoder.finish()
                if stream.error:
                    raise stream.error
                text = choice.taxonomy.agreed(turn.text, text) if choice.taxonomy else text
                stats = _stats(stream, choice, shown, ended)
                yield Reply(text, done=True, stats=stats, unfamiliar=choice.unfamiliar)
        finally:
            if stream and not stream.done:
                stream.cancel()
            if stream and text != begun:
                conversation.finish(text, _stats(stream, choice, shown, ended))
            else:
                conversation.finish("", None)

    def _prepare(
        self,
        conversation: Conversation,
        adapter: str,
        sampling: Sampling,
        owner: str,
        drop_oldest: bool,
        begun: str,
    ) -> Generator[Reply, None, tuple[AdapterChoice, GenerationRequest]]:
        """Choose an adapter, compute its prefix, and encode the conversation.

        On the reply's own thread, so that the model's thread does nothing but decode. A generator,
        because it may have to wait for the model, and a picture for the tower.
        """
        talked = after_talk(conversation)
        engine: Engine = yield from self._wait(self._language)
        tower, shown = None, conversation.picture
        if shown is not None:
            self.chooser.refuse_blind(adapter, owner, shown)
            tower = yield from self._wait(self._tower)
        # Imported here: the page is served before torch and numba are there.
        from demo.chat.scheduler import GenerationRequest

        asked, window = time.monotonic(), self._settings.context
        *earlier, turn = conversation.turns
        told = earlier[-1].stats if earlier else None
        before = told.recalled if told else ""
        choice = self.chooser.choose(
            engine, adapter, owner, sampling.strength, shown, tower, turn.text, before,
            talked,
        )  # fmt: skip
        tokenizer = engine.base.tokenizer
        so_far = tokenizer.encode_text(begun) if begun else []

        def encode(messages: list[Message]) -> list[int]:
            if choice.read_as:
                messages = [*messages[:-1], Message("user", choice.read_as)]
            return tokenizer.chat(messages, form=choice.form)

        # A small base goes on as it did: after five yes and no even a description ended in "no".
        read = 1 if choice.taxonomy else ALL
        read = 0 if shown is not None and choice.name == PLAIN_BASE else read
        ids = conversation.prompt(
            encode,
            window=window,
            reserve=min(sampling.max_new_tokens, RESERVE) + len(so_far),
            drop_oldest=drop_oldest,
            about_pictures=read,
        )
        ids = [*ids, *so_far]
        return choice, GenerationRequest(
            ids,
            choice.prefix,
            choice.key,
            conversation.key,
            sampling,
            tokenizer.stop_ids,
            min(sampling.max_new_tokens, window - len(ids)),
            self._settings.reply_seconds,
            asked,
            choice.delta,
        )

    def _wait(self, part: Future[T]) -> Generator[Reply, None, T]:
        """Yield what is being done until a part is there, and return it."""
        while not part.done():
            message, progress = self._loading()
            share = "" if progress is None else f", {progress:.0%}"
            what = message if part is self._language else "Loading the vision tower"
            yield Reply(waiting=f"{what}{share}")
            time.sleep(0.2)
        error = part.exception()
        if isinstance(error, DemoError):
            raise NotReadyError(str(error))
        if error:
            raise NotReadyError("The model could not be loaded. Please tell whoever runs this.")
        return part.result()


def after_talk(conversation: Conversation) -> bool:
    """Say whether the last turn but one was about something else than the picture in use."""
    before = [turn for turn in conversation.turns[conversation.unseen : -1] if turn.reply]
    stats = before[-1].stats if before else None
    return stats is not None and not stats.image and any(turn.picture for turn in before)


def settled(text: str, end: str) -> str:
    """Leave out what may be the beginning of `end`, at which a reply that grows is cut."""
    most = min(len(text), len(end) - 1)
    held = next((size for size in range(most, 0, -1) if text.endswith(end[:size])), 0)
    return text[: len(text) - held]


def _stats(
    stream: Stream, choice: AdapterChoice, shown: VisualInput | None, ended: bool
) -> ReplyStats:
    """Take stock of a reply; what ended at its form's own text was not stopped by anybody."""
    stats = ReplyStats.of(stream, choice, shown)
    return replace(stats, stopped="end") if ended else stats
