"""Own everything below the page: settings, loading, conversations, replies, trainings.

The page and the endpoints get a `Runtime` and nothing else. Loading runs behind the page in a
thread of its own; what asks for a reply before it is done waits and says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from demo.adapter.library import Compatibility, Library, clear_up
from demo.adapter.shelf import Shelf
from demo.background_task import PauseSwitch
from demo.chat.conversation import Conversation, ConversationStore
from demo.chat.generation import Reply, ReplyWriter
from demo.chat.kept import KeptChats
from demo.chat.picture_question import refuse_unshown
from demo.errors import DemoError, NotReadyError
from demo.memory import IMPORT_BYTES, PROGRAM_BYTES, require, settle
from demo.settings import Sampling, Settings
from demo.teaching.service import Teaching
from demo.vision.video import VisualInput

if TYPE_CHECKING:
    from demo.chat.scheduler import Engine
    from demo.vision.clip import Tower

log = logging.getLogger(__name__)
LoadingState = Literal["loading", "ready", "failed"]
GRACE_SECONDS = 0.5  # in which a message that waited for the model begins to be answered
PATIENCE_SECONDS = 20.0  # that the vision tower lets such replies go first


@dataclass(frozen=True)
class Status:
    """What the program is doing, and on what it runs; `progress` is 0 to 1, None when unknown."""

    state: LoadingState
    message: str
    progress: float | None
    base: str
    clip: str
    device: str
    bits: int
    threads: int
    memory_mb: float


class Runtime:
    """Everything the page needs. `start` returns at once; `close` ends all that runs.

    Attributes:
        library: the adapters of the folder.
        shelf: what visitors do to them.
        conversations: of all visitors, by their secret sessions.
        chats: what of these outlives the program.
        tower: sees pictures; None while it loads, and where it could not be loaded.
        replies: writes replies, to those conversations among others.
        teaching: runs of visitors; they stand still while a reply is written.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._language: Future[Engine] = Future()
        self._tower: Future[Tower] = Future()
        self.library = Library(settings.adapters)
        self.shelf = Shelf(self.library)
        self._progress: tuple[LoadingState, str, float | None] = ("loading", "Starting", None)
        self.conversations = ConversationStore()
        self.chats = KeptChats(
            settings.chats if settings.keep_chats else None,
            megabytes=settings.chats_mb,
            days=settings.chats_days,
        )
        self.tower: Tower | None = None
        self._process = psutil.Process()
        pauses = PauseSwitch()
        self.teaching = Teaching(settings, self._language, pauses)
        self.replies = ReplyWriter(
            settings,
            self.library,
            self._language,
            self._tower,
            lambda: self._progress[1:],
            pauses,
        )

    def start(self) -> None:
        """Begin to load in a thread, and take up the trainings of before."""
        clear_up(self.settings.adapters)
        self.teaching.start()
        threading.Thread(target=self._load, name="load", daemon=True).start()

    def end_replies(self) -> None:
        """End the replies that are under way, each with a sentence, and the model's thread."""
        language = self._engine
        if language:
            language.scheduler.close()

    def close(self) -> None:
        """End running replies, the model's thread, and the training, which keeps its state."""
        self.teaching.close()
        self.end_replies()

    def status(self) -> Status:
        """Say what is loading or loaded; cheap enough to be asked every second."""
        state, message, progress = self._progress
        base, device = "", str(self.settings.device)
        language = self._engine
        if language:
            base, device = language.base.name, language.model.device.type
        clip = ""
        if self._tower.done():
            clip = self.tower.name if self.tower else "not available"
        memory = self._process.memory_info().rss / 2**20
        threads = self.settings.threads
        return Status(state, message, progress, base, clip, device, 8, threads, round(memory, 1))

    def fit(self) -> Compatibility | None:
        """Say what is loaded that an adapter has to fit, None until the base is."""
        language, tower = self._engine, self.tower
        if language is None:
            return None
        base = language.base
        if tower is None:
            return Compatibility(base.name, base.fingerprint, base.config, None, None)
        return Compatibility(
            base.name,
            base.fingerprint,
            base.config,
            tower.name,
            tower.fingerprint,
            tower.feature_size,
            tower.token_size,
        )

    def bring(self, file: Path, owner: str) -> str:
        """Put an uploaded adapter among its owner's → the name it has there.

        Raises:
            NotReadyError: it cannot be checked before the model is there.
            InputError, CheckpointError, BusyError: as `Shelf.add`.
        """
        language, fit = self._engine, self.fit()
        if language is None or fit is None or not self._tower.done():
            raise NotReadyError(
                "The model is still loading, and a file is checked against it. Please try again "
                "in a moment."
            )
        return self.shelf.add(file, owner, fit, language.base, self.tower)

    def forget(self, session: str) -> None:
        """Drop a visit's conversation, and end the reply that it waits for."""
        self.teaching.drafts.sweep()  # those of browsers, which outlive a visit
        self.teaching.row_pictures.sweep()
        self.conversations.drop(session)

    def active(self) -> int:
        """Count the replies that are being written or wait for their turn."""
        language = self._engine
        return language.scheduler.active() if language else 0

    def answer(
        self,
        message: str,
        picture: VisualInput | None,
        *,
        adapter: str,
        system: str,
        sampling: Sampling,
        owner: str = "",
    ) -> Generator[Reply, None, None]:
        """Answer one question without a history.

        Args:
            message: may be empty where there is a picture.
            picture: a picture or video, or None.
            adapter: "auto", "none", or a name, as `ReplyWriter.write`.
            system: the system prompt, "" for the model's own.
            sampling: how tokens are drawn, and how many at most.
            owner: whose adapters exist beside everybody's.
        """
        conversation = Conversation(system)
        if picture is None:
            refuse_unshown(message, conversation, adapter)
        conversation.ask(message, picture)
        yield from self.replies.write(
            conversation, adapter=adapter, sampling=sampling, owner=owner, kept=False
        )

    @property
    def _engine(self) -> Engine | None:
        done = self._language.done() and not self._language.exception()
        return self._language.result() if done else None

    def _load(self) -> None:
        try:
            require(IMPORT_BYTES + PROGRAM_BYTES)
            # Imported in here: what is missing or broken is a reason to be said like any other.
            from demo.model_loading import load_language, load_tower

            self._language.set_result(load_language(self.settings, self._report))
        except Exception as error:
            self._failed(error, self._language)
            return
        # Messages are answered from here on; "ready" is when nothing holds them up any more.
        self._report("Loading the vision tower", None)
        self._let_first_words_pass()
        try:
            tower = load_tower(self.settings)
            self.replies.chooser.preload(self._language.result(), tower)
        except Exception as error:
            trace = not isinstance(error, DemoError)  # a message of ours says what to do
            log.error("the vision tower could not be loaded: %s", error, exc_info=trace)
            self._tower.set_exception(error)
        else:
            self.tower = tower
            self._tower.set_result(tower)
        settle()
        self._progress = ("ready", "Ready", None)

    def _let_first_words_pass(self) -> None:
        """Wait for replies that began while the model was loading.

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
