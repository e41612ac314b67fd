"""Teaching for visitors: runs are begun, watched and stopped, their adapters published.

Every run has an owner: a secret of the browser, of which only a digest is kept.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from demo.adapter.owners import owner_file, owners
from demo.errors import BusyError, DemoError, InputError
from demo.files import replace_file
from demo.finetune.events import OVER
from demo.finetune.presets import Choices
from demo.finetune.run_folder import RunFolder
from demo.finetune.runs import Run, Runs
from demo.finetune.shelf import Bounds
from demo.finetune.story import Story
from demo.preparing import Preparing
from demo.settings import Settings

if TYPE_CHECKING:
    from demo.models import Language

log = logging.getLogger(__name__)
SECRET = re.compile(r"[\w-]{43}", re.ASCII)  # a browser's, as `secrets.token_urlsafe(32)` makes it
KEPT_STORIES = 64
PUBLISHED = "published"  # in a run's folder: the name its adapter has among the others
OFF = "Teaching is switched off here. Start the program on your own machine to teach an adapter."
TAKEN = (
    "Another program on this machine uses the same folder of trainings, so nothing can be taught "
    "here. Stop it, or start this one with another --runs."
)
NO_FOLDER = "The folder for trainings cannot be written to. Start with another --runs."


class Teaching:
    """What the page needs to teach. `start` and `close` go with the program."""

    def __init__(self, settings: Settings, language: Future[Language]) -> None:
        self._settings, self._language = settings, language
        self.off = "" if settings.training else OFF  # why nothing can be taught, if so
        self._room = Path(tempfile.gettempdir()) / f"llama-adapter-teach-{secrets.token_hex(8)}"
        self.preparing = Preparing(settings, language, self._room)
        self.bounds = Bounds.of(settings.runs_mb)  # of the runs that are kept
        self._runs = Runs(
            settings.runs,
            most_waiting=settings.waiting_runs,
            bounds=self.bounds,
            on_delete=self._withdraw,
        )
        self._writing = 0  # replies under way
        self._count = threading.Lock()
        self._lock = threading.RLock()
        self._stories: OrderedDict[str, tuple[Story, int]] = OrderedDict()
        self._in_use: FileLock | None = None
        self._started = False

    def start(self) -> None:
        """Takes up the runs of before, unless teaching is off."""
        if self.off:
            return
        try:
            self._room.mkdir(mode=0o700)  # what visitors bring is nobody else's
            self._settings.runs.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._settings.runs / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            self.off = TAKEN
        except OSError:
            log.exception("the folder for trainings cannot be used")
            self.off = NO_FOLDER
        else:
            self._in_use = lock
            self._runs.start()
            self._started = True

    def close(self) -> None:
        """The run under way keeps its state and ends."""
        if self._started:
            self._runs.close()
        if self._in_use:
            self._in_use.release()
        shutil.rmtree(self._room, ignore_errors=True)

    @contextmanager
    def waits(self) -> Iterator[None]:
        """A run under way stands still, and so does a trial, for as long as a reply is written."""
        with self._count:
            self._writing += 1
            if self._writing == 1 and self._started:
                self._runs.hold()
                self.preparing.hold()
        try:
            yield
        finally:
            with self._count:
                self._writing -= 1
                if self._writing == 0 and self._started:
                    self._runs.release()
                    self.preparing.release()

    def begin(
        self,
        owner: str,
        visitor: str,
        choices: Choices,
        name: str,
        *,
        more: str = "",
        probes: tuple[str, ...] = (),
    ) -> str:
        """A run with the visitor's draft → its id. It begins when those before it are over.

        Args:
            more: the id of a run whose adapter is taught more.

        Raises:
            InputError: there is no checked draft, or a name or question cannot be used.
            BusyError: a run of this owner is under way, or too many wait.
        """
        self._check_on()
        draft = self.preparing.drafts.get(visitor)
        if draft.checked is None:
            raise InputError("Please let the data be checked first.")
        start = self._runs.get(owner, more).adapter if more else None
        if more and start is None:
            raise InputError("The adapter to be taught more is no longer there. Start a new one.")
        request = self.preparing.request(owner, name, draft, choices, probes)
        with self._lock:  # two clicks are one run
            if any(run.state not in OVER for run in self._runs.of(owner)):
                raise BusyError(
                    "A training of yours is under way. Wait for its end, or stop it first."
                )
            try:
                return self._runs.submit(request, draft.file, start=start)
            except OSError as error:
                log.exception("a run could not be made")
                raise DemoError(
                    "The training cannot be stored: the disk may be full. Tell whoever runs this."
                ) from error

    def runs(self, owner: str) -> tuple[Run, ...]:
        """An owner's runs, the newest first."""
        return self._runs.of(owner) if self._started else ()

    def run(self, owner: str, id: str) -> Run:  # noqa: A002 - the field's word
        """Raises InputError when it is not this owner's."""
        return self._runs.get(owner, id)

    def story(self, owner: str, id: str) -> Story:  # noqa: A002
        """What its log tells. Cheap: only what is new is read. Raises InputError as `run`."""
        with self._lock:
            story, offset = self._stories.pop(id, (Story(), 0))
            while True:
                events, end = self._runs.events(owner, id, offset)
                if end == offset:
                    break
                story, offset = story.with_events(events), end
            self._stories[id] = (story, offset)
            while len(self._stories) > KEPT_STORIES:
                self._stories.popitem(last=False)
            return story

    def stop(self, owner: str, id: str, *, keep: bool) -> None:  # noqa: A002
        """As `Runs.stop`."""
        self._runs.stop(owner, id, keep=keep)

    def resume(self, owner: str, id: str) -> None:  # noqa: A002
        """As `Runs.resume`, and BusyError while another run of this owner is under way."""
        self._check_on()
        with self._lock:
            if any(run.state not in OVER for run in self._runs.of(owner)):
                raise BusyError("A training of yours is under way already.")
            self._runs.resume(owner, id)

    def delete(self, owner: str, id: str) -> None:  # noqa: A002
        """A run that is over goes, with its data and its adapter, among the others too.

        Raises InputError when it is not this owner's, or is not over.
        """
        self._runs.delete(owner, id)
        with self._lock:
            self._stories.pop(id, None)

    def publish(self, owner: str, id: str) -> str:  # noqa: A002
        """Puts a run's adapter among the others, for its owner alone → the name it has there.

        The second time it is the same name, with what was learned since.

        Raises:
            InputError: the run is not this owner's, or has no adapter.
            CheckpointError: the file is damaged.
        """
        run = self._runs.get(owner, id)
        if run.adapter is None:
            raise InputError("This training has no adapter. Teach a new one.")
        from demo.finetune.publish import publish

        with self._lock:
            note, folder = run.adapter.parent / PUBLISHED, self._settings.adapters
            name = self._name(note.parent)
            there = (folder / f"{name}.safetensors").exists()
            if there and note.stat().st_mtime_ns > run.adapter.stat().st_mtime_ns:
                return name  # else it was resumed since, and has learned more
            try:
                name = publish(
                    run.adapter, folder, name if there else run.name, owner=owner, again=there
                )
                with replace_file(note) as unfinished:
                    unfinished.write_text(name, "utf-8")
            except OSError as error:
                log.exception("an adapter could not be published")
                raise DemoError(
                    "The adapter cannot be put among the others: their folder cannot be written "
                    "to. Download it instead."
                ) from error
            return name

    def published(self, run: Run) -> str:
        """What a run's adapter is called among the others, "" when it is not there."""
        return self._name(run.adapter.parent) if run.adapter else ""

    def forget(self, visitor: str) -> None:
        """A visitor has left: the draft goes, the runs stay."""
        self.preparing.drafts.drop(visitor)

    def _withdraw(self, run: RunFolder) -> None:
        """A run is about to go: so does what it put among the others."""
        name, folder = self._name(run.path), self._settings.adapters
        if name and owners(folder).get(name) == run.request().owner:
            for path in (folder / f"{name}.safetensors", owner_file(folder, name)):
                path.unlink(missing_ok=True)

    @staticmethod
    def _name(run: Path) -> str:
        """What a run's adapter is called among the others, "" when it is not there."""
        note = run / PUBLISHED
        return note.read_text("utf-8") if note.exists() else ""

    def _check_on(self) -> None:
        if self.off:
            raise InputError(self.off)


def owner_of(secret: str) -> str:
    """What is kept of a browser's secret: enough to know it again, not enough to be it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()[:32]
