"""Owns everything below the page: settings, loading, conversations, replies.

The page and the endpoints get a `Runtime` and nothing else. Loading runs behind the page in a
thread of its own; what asks for a reply before it is done waits and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import psutil

from demo.adapter.library import Library
from demo.chat.conversation import Conversation
from demo.errors import DemoError
from demo.replies import Replies, Reply
from demo.settings import Sampling, Settings
from demo.teaching import Teaching
from demo.vision.video import Sight

if TYPE_CHECKING:
    from demo.models import Language
    from demo.vision.clip import Tower

log = logging.getLogger(__name__)
State = Literal["loading", "ready", "failed"]
KEPT_CONVERSATIONS = 1000
GRACE_SECONDS = 0.5  # in which a message that waited for the model begins to be answered
PATIENCE_SECONDS = 20.0  # that the vision tower lets such replies go first


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


class Runtime:
    """Everything the page needs. `start` returns at once; `close` ends all that runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._language: Future[Language] = Future()
        self._tower: Future[Tower] = Future()
        self.teaching = Teaching(settings, self._language)
        self._library = Library(settings.adapters)
        self._progress: tuple[State, str, float | None] = ("loading", "Starting", None)
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()
        self._replies = Replies(
            settings, self._library, self._language, self._tower, lambda: self._progress[1:]
        )
        self._lock = threading.Lock()
        self._process = psutil.Process()

    def start(self) -> None:
        """Begins to load in a thread, and takes up the trainings of before."""
        self.teaching.start()
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def close(self) -> None:
        """Ends running replies, the model's thread, and the training, which keeps its state."""
        self.teaching.close()
        language = self._loaded()
        if language:
            language.scheduler.close()

    def status(self) -> Status:
        """Cheap; may be asked every second."""
        state, message, progress = self._progress
        base, device = "", self.settings.device
        language = self._loaded()
        if language:
            base, device = language.base.name, language.model.device.type
        clip = ""
        if self._tower.done():
            clip = "not available" if self._tower.exception() else self._tower.result().name
        memory = self._process.memory_info().rss / 2**20
        threads = self.settings.threads
        return Status(state, message, progress, base, clip, device, 8, threads, round(memory, 1))

    def sees(self) -> str:
        """What the vision tower was taught with, "" while it loads or where nobody says."""
        tower = self._eyes()
        return tower.sees if tower else ""

    def adapters(self, owner: str = "") -> tuple[AdapterCard, ...]:
        """The adapters of the folder, whether or not the model is there yet.

        One that sees through another vision tower is left out as soon as ours is there: here it
        would be blind, and what it says without a picture is nothing it was taught.

        Args:
            owner: whose own are among them; those that other visitors made never are.
        """
        tower = self._eyes()
        offered = [entry.passport for entry in self._library.offered(owner)]
        return tuple(
            AdapterCard(p.name, p.description, p.modalities, p.spec.parameters, p.base)
            for p in offered
            if tower is None or p.tower_fingerprint in (None, tower.fingerprint)
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
        """Drops a visitor's conversation and data, and ends the reply that it waits for."""
        self.teaching.forget(session)
        with self._lock:
            found = self._conversations.pop(session, None)
        if found:
            found.abandon()

    def active(self) -> int:
        """Replies that are being written or wait for their turn."""
        language = self._loaded()
        return language.scheduler.active() if language else 0

    def answer(
        self,
        message: str,
        picture: Sight | None,
        *,
        adapter: str,
        system: str,
        sampling: Sampling,
        owner: str = "",
    ) -> Iterator[Reply]:
        """One question without a history, as `reply`."""
        conversation = Conversation(system)
        conversation.ask(message, picture)
        yield from self.reply(conversation, adapter=adapter, sampling=sampling, owner=owner)

    def reply(
        self,
        conversation: Conversation,
        *,
        adapter: str,
        sampling: Sampling,
        owner: str = "",
        drop_oldest: bool = False,
    ) -> Iterator[Reply]:
        """Answers the last user turn, as `Replies.write`. A training stands still meanwhile."""
        with self.teaching.waits():
            yield from self._replies.write(
                conversation,
                adapter=adapter,
                sampling=sampling,
                owner=owner,
                drop_oldest=drop_oldest,
            )

    def _eyes(self) -> Tower | None:
        done = self._tower.done() and not self._tower.exception()
        return self._tower.result() if done else None

    def _loaded(self) -> Language | None:
        done = self._language.done() and not self._language.exception()
        return self._language.result() if done else None

    def _load(self) -> None:
        from demo.models import load_language, load_tower

        try:
            self._language.set_result(load_language(self.settings, self._report))
        except Exception as error:
            self._failed(error, self._language)
            return
        # Messages are answered from here on; "ready" is when nothing holds them up any more.
        self._report("Loading the vision tower", None)
        self._let_first_words_pass()
        try:
            self._tower.set_result(load_tower(self.settings))
        except Exception as error:
            trace = not isinstance(error, DemoError)  # a message of ours says what to do
            log.error("the vision tower could not be loaded: %s", error, exc_info=trace)
            self._tower.set_exception(error)
        self._progress = ("ready", "Ready", None)

    def _let_first_words_pass(self) -> None:
        """Waits for replies that began while the model was loading.

        Importing open_clip holds the interpreter for seconds, and a reply would stand still.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        time.sleep(GRACE_SECONDS)
        while self.active() and time.monotonic() < end:
            time.sleep(0.1)

    def _failed(self, error: Exception, part: Future) -> None:
        if isinstance(error, DemoError):
            message = str(error)  # which whoever started the program is shown as well
        else:
            log.exception("the model could not be loaded")
            message = "The model could not be loaded; the log says why."
        self._progress = ("failed", message, None)
        part.set_exception(error)

    def _report(self, message: str, progress: float | None) -> None:
        self._progress = ("loading", message, progress)
