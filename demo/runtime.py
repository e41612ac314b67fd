"""Owns everything below the page: settings, loading, conversations, replies.

The page and the endpoints get a `Runtime` and nothing else. Loading runs behind the page in a
thread of its own; what asks for a reply before it is done waits and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import psutil

from demo.adapter.library import Fit, Library
from demo.chat.conversation import Conversation, ReplyStats
from demo.errors import DemoError, InputError, NotReadyError
from demo.settings import Sampling, Settings
from demo.vision.media import Picture

if TYPE_CHECKING:
    from demo.adapter.adapter import Adapter
    from demo.chat.scheduler import Stream
    from demo.llama.model import Prefix
    from demo.models import Language
    from demo.vision.clip import Tower

log = logging.getLogger(__name__)
T = TypeVar("T")
State = Literal["loading", "ready", "failed"]
UPDATE_SECONDS = 0.05  # between two looks at a growing reply: fluent, and cheap for the browser
RESERVE = 64  # tokens of the window kept free for a reply
KEPT_PREFIXES = 64
KEPT_CONVERSATIONS = 1000


@dataclass(frozen=True)
class Status:
    """What the program is doing and on what it runs."""

    state: State
    message: str
    progress: float | None  # 0 to 1, None when unknown
    base: str
    clip: str
    device: str
    bits: int
    threads: int
    memory_mb: float


@dataclass(frozen=True)
class AdapterCard:
    """What a visitor sees of an adapter."""

    name: str
    description: str
    modalities: tuple[str, ...]
    parameters: int
    base: str


@dataclass(frozen=True)
class Reply:
    """A reply so far. `waiting` is a sentence while it has not begun; `stats` come at the end."""

    text: str = ""
    done: bool = False
    waiting: str = ""
    stats: ReplyStats | None = None


@dataclass(frozen=True)
class _Plan:
    """Which adapter answers, and what it looks at."""

    name: str  # "none" for the plain base
    key: tuple[object, ...] = ()
    adapter: Adapter | None = None
    tower: Tower | None = None
    picture: Picture | None = None


class Runtime:
    """Everything the page needs. `start` returns at once; `close` ends all that runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._library = Library(settings.adapters)
        self._language: Future[Language] = Future()
        self._tower: Future[Tower] = Future()
        self._progress: tuple[State, str, float | None] = ("loading", "Starting", None)
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()
        self._prefixes: OrderedDict[tuple[object, ...], Prefix] = OrderedDict()
        self._lock = threading.Lock()
        self._process = psutil.Process()

    def start(self) -> None:
        """Begins to load in a thread."""
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def close(self) -> None:
        """Ends running replies and the model's thread."""
        if self._language.done() and not self._language.exception():
            self._language.result().scheduler.close()

    def status(self) -> Status:
        """Cheap; may be asked every second."""
        state, message, progress = self._progress
        base, device = "", self.settings.device
        if state == "ready":
            language = self._language.result()
            base, device = language.base.name, language.model.device.type
        clip = ""
        if self._tower.done():
            clip = "not available" if self._tower.exception() else self._tower.result().name
        memory = self._process.memory_info().rss / 2**20
        threads = self.settings.threads
        return Status(state, message, progress, base, clip, device, 8, threads, round(memory, 1))

    def adapters(self) -> tuple[AdapterCard, ...]:
        """The adapters of the folder, whether or not the model is there yet."""
        return tuple(
            AdapterCard(p.name, p.description, p.modalities, p.spec.parameters, p.base)
            for p in (entry.passport for entry in self._library.entries())
        )

    def conversation(self, session: str) -> Conversation:
        """A visitor's conversation, made on first use. The least recently used are forgotten."""
        with self._lock:
            found = self._conversations.pop(session, None) or Conversation()
            self._conversations[session] = found
            while len(self._conversations) > KEPT_CONVERSATIONS:
                self._conversations.popitem(last=False)
            return found

    def forget(self, session: str) -> None:
        """Drops a visitor's conversation and ends the reply that it waits for."""
        with self._lock:
            found = self._conversations.pop(session, None)
        if found:
            found.abandon()

    def active(self) -> int:
        """Replies that are being written or wait for their turn."""
        return self._language.result().scheduler.active() if self._language.done() else 0

    def answer(
        self,
        message: str,
        picture: Picture | None,
        *,
        adapter: str,
        system: str,
        sampling: Sampling,
    ) -> Iterator[Reply]:
        """One question without a history, as `reply`."""
        conversation = Conversation(system)
        conversation.ask(message, picture)
        yield from self.reply(conversation, adapter=adapter, sampling=sampling)

    def reply(
        self,
        conversation: Conversation,
        *,
        adapter: str,
        sampling: Sampling,
        drop_oldest: bool = False,
    ) -> Iterator[Reply]:
        """Answers the last user turn; closing the generator ends the reply within one token.

        Args:
            adapter: "auto" (an image adapter when a picture is in use, else the plain base),
                "none", or a name.
            drop_oldest: leave out the oldest turns when the window is full.

        Raises:
            InputError: the adapter does not exist or cannot see the picture in use.
            ContextFullError: the conversation does not fit the window.
            BusyError: this conversation is being answered, or the queue is full.
            NotReadyError: the model could not be loaded.
        """
        conversation.begin()
        stream, plan, text = None, _Plan("none"), ""
        try:
            language = yield from self._wait(self._language)
            plan = yield from self._plan(adapter, conversation.picture)
            stream = self._submit(language, plan, conversation, sampling, drop_oldest)
            decoder, known = language.base.tokenizer.stream(), 0
            while not stream.done or known < len(stream.ids):
                stream.wait(known, UPDATE_SECONDS)
                fresh, known = stream.ids[known:], len(stream.ids)
                text += "".join(decoder.push(token) for token in fresh)
                if conversation.abandoned:
                    stream.cancel()
                yield Reply(text, waiting="" if known else self._place(language, stream))
                if not stream.done:
                    time.sleep(UPDATE_SECONDS)
            text += decoder.finish()
            if stream.error:
                raise stream.error
            yield Reply(text, done=True, stats=_stats(stream, plan))
        finally:
            if stream:
                stream.cancel()
            conversation.finish(text, _stats(stream, plan) if stream and text else None)

    def _submit(
        self,
        language: Language,
        plan: _Plan,
        conversation: Conversation,
        sampling: Sampling,
        drop_oldest: bool,
    ) -> Stream:
        from demo.chat.scheduler import Request

        tokenizer, window = language.base.tokenizer, self.settings.context
        reserve = min(sampling.max_new_tokens, RESERVE)
        ids = conversation.prompt(
            tokenizer.chat, window=window, reserve=reserve, drop_oldest=drop_oldest
        )
        limit = min(sampling.max_new_tokens, window - len(ids))
        return language.scheduler.submit(
            Request(
                ids,
                lambda: self._prefix(language, plan),
                sampling,
                tokenizer.stop_ids,
                limit,
                self.settings.reply_seconds,
            )
        )

    def _plan(self, choice: str, picture: Picture | None) -> Generator[Reply, None, _Plan]:
        """Which adapter answers; a generator, because a picture may have to wait for the tower."""
        if choice == "none" and picture:
            raise InputError(
                "The plain base cannot see pictures. Choose auto or an image adapter, or remove "
                "the picture."
            )
        if choice == "none" or (choice == "auto" and picture is None):
            return _Plan("none")
        if choice != "auto":
            card = {c.name: c for c in self.adapters()}.get(choice)
            if card and picture and "image" not in card.modalities:
                raise InputError(
                    f"The adapter '{choice}' was taught on text and cannot see pictures. Choose "
                    "auto or an image adapter, or remove the picture."
                )
        tower = (yield from self._wait(self._tower)) if picture else None
        fit = self._fit(tower)
        name = self._library.for_images(fit) if choice == "auto" else choice
        adapter, entry = self._library.get(name, fit)
        key = (name, entry.stamp, picture.digest if picture else "")
        return _Plan(name, key, adapter, tower, picture)

    def _fit(self, tower: Tower | None) -> Fit:
        base = self._language.result().base
        return Fit(
            base.name,
            base.fingerprint,
            base.config,
            tower.name if tower else None,
            tower.fingerprint if tower else None,
        )

    def _prefix(self, language: Language, plan: _Plan) -> Prefix | None:
        """Run by the model's thread. A prefix is computed once for an adapter and a picture."""
        if plan.adapter is None:
            return None
        import torch

        found = self._prefixes.pop(plan.key, None)
        if found is None:
            features = None
            if plan.picture and plan.tower:
                features = plan.tower.features(plan.picture)[None]
            with torch.inference_mode():
                found = plan.adapter.to(language.model.device).prefix(language.model, features)
        self._prefixes[plan.key] = found
        while len(self._prefixes) > KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        return found

    def _wait(self, part: Future[T]) -> Generator[Reply, None, T]:
        """Yields what is being done until a part is there, and returns it."""
        while not part.done():
            _, message, progress = self._progress
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

    def _place(self, language: Language, stream: Stream) -> str:
        place = language.scheduler.position(stream)
        return f"Busy: you are number {place} in the queue" if place else "Reading your message"

    def _load(self) -> None:
        from demo.models import load_language, load_tower

        try:
            self._language.set_result(load_language(self.settings, self._report))
            self._progress = ("ready", "Ready", None)
        except Exception as error:
            self._failed(error, self._language)
        try:
            self._tower.set_result(load_tower(self.settings))
        except Exception as error:
            log.exception("the vision tower could not be loaded")
            self._tower.set_exception(error)

    def _failed(self, error: Exception, part: Future) -> None:
        log.exception("the model could not be loaded")
        known = isinstance(error, DemoError)
        message = str(error) if known else "The model could not be loaded; the log says why."
        self._progress = ("failed", message, None)
        part.set_exception(error)

    def _report(self, message: str, progress: float | None) -> None:
        self._progress = ("loading", message, progress)


def _stats(stream: Stream, plan: _Plan) -> ReplyStats:
    count, first, last = len(stream.ids), stream.first, stream.last
    speed = (count - 1) / (last - first) if first and last and last > first else 0.0
    return ReplyStats(
        adapter=plan.name,
        image=plan.picture is not None,
        prompt_tokens=len(stream.request.ids),
        reply_tokens=count,
        first_token_s=(first - stream.submitted) if first else 0.0,
        tokens_per_s=speed,
        stopped=stream.stopped or "cancelled",
    )
