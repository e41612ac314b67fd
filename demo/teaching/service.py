"""Teaching for visitors: runs are begun, watched and stopped, their adapters published.

Every run has an owner: a secret of the browser, of which only a digest is kept.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from demo.adapter.library import owner_file, owners
from demo.atomic_file import replace_file
from demo.background_task import PauseSwitch
from demo.errors import BusyError, DemoError, InputError
from demo.finetune.data.table import DataLimits
from demo.finetune.runs.queue import NO_FOLDER, Run, RunQueue
from demo.finetune.runs.run_folder import Quota, RunFolder
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import OVER
from demo.settings import Settings
from demo.teaching.drafts import Drafts, Preparing
from demo.teaching.row_pictures import RowPictures

if TYPE_CHECKING:
    from demo.chat.scheduler import Engine

log = logging.getLogger(__name__)
PUBLISHED = "published"  # in a run's folder: the name its adapter has among the others
OFF = "Teaching is switched off here. Start the program on your own machine to teach an adapter."


class Teaching:
    """What the page needs to teach. `start` and `close` go with the program.

    Args:
        settings: of the program.
        language: the base, once it is loaded.
        pauses: holds trainings still while replies are written.

    Attributes:
        off: why nothing can be taught, "" if it can.
        drafts: what visitors are about to teach.
        row_pictures: those of rows that they type.
        preparing: the check and the estimate of a draft.
        runs: the trainings.
    """

    def __init__(self, settings: Settings, language: Future[Engine], pauses: PauseSwitch) -> None:
        self._settings = settings
        self.off = "" if settings.training else OFF
        self._room = Path(tempfile.gettempdir()) / f"llama-adapter-teach-{secrets.token_hex(8)}"
        self.drafts = Drafts(self._room / "drafts", DataLimits.of(settings))
        self.row_pictures = RowPictures(self._room / "pictures")
        self.preparing = Preparing(settings, language, self.drafts, pauses, self._room)
        self.runs = RunQueue(
            settings.runs,
            pauses,
            most_waiting=settings.waiting_runs,
            quota=Quota.of(settings.runs_mb),
            on_delete=self._withdraw,
        )
        self._lock = threading.RLock()

    def start(self) -> None:
        """Take up the runs of before, unless teaching is off."""
        if self.off:
            return
        try:
            self._room.mkdir(mode=0o700)  # what visitors bring is nobody else's
            self.runs.start()
        except OSError:
            log.exception("the folder for drafts cannot be made")
            self.off = NO_FOLDER
        except InputError as error:
            self.off = str(error)

    def close(self) -> None:
        """End the run under way, which keeps its state; drafts go."""
        self.runs.close()
        shutil.rmtree(self._room, ignore_errors=True)

    def begin(
        self,
        owner: str,
        visitor: str,
        choices: TrainingOptions,
        name: str,
        *,
        more: str = "",
        start: Path | None = None,
        probes: tuple[str, ...] = (),
    ) -> str:
        """Start a run with a visitor's draft and return its id. It waits for those before it.

        Args:
            owner: whose the run is.
            visitor: whose draft is taught.
            choices: how.
            name: of the adapter.
            more: the id of a run whose adapter is taught more.
            start: the file of an adapter that is taught more, from elsewhere than a run.
            probes: questions to be answered on the way.

        Raises:
            InputError: there is no checked draft, or a name or question cannot be used.
            BusyError: a run of this owner is under way, or too many wait.
        """
        self._check_on()
        draft = self.drafts.get(visitor)
        if draft.checked is None:
            raise InputError("Please let the data be checked first.")
        if more:
            start = self.runs.get(owner, more).adapter
        if (more and start is None) or (start and not start.is_file()):
            raise InputError("The adapter to be taught more is no longer there. Start a new one.")
        request = self.preparing.request(owner, name, draft, choices, probes)
        with self._lock:  # two clicks are one run
            self._check_idle(
                owner, "A training of yours is under way. Wait for its end, or stop it first."
            )
            try:
                return self.runs.submit(request, draft.file, dataset=draft.dataset, start=start)
            except OSError as error:
                log.exception("a run could not be made")
                raise DemoError(
                    "The training cannot be stored: the disk may be full. Tell whoever runs this."
                ) from error

    def resume(self, owner: str, id: str) -> None:  # noqa: A002 - the field's word
        """Take up a run as `RunQueue.resume`. Raises BusyError while one of its owner goes on."""
        self._check_on()
        with self._lock:
            self._check_idle(owner, "A training of yours is under way already.")
            self.runs.resume(owner, id)

    def publish(self, owner: str, id: str) -> str:  # noqa: A002
        """Put a run's adapter among the others, for its owner alone, and return its name there.

        The second time it is the same name, with what was learned since.

        Raises:
            InputError: the run is not this owner's, or has no adapter.
            CheckpointError: the file is damaged.
        """
        run = self.runs.get(owner, id)
        if run.adapter is None:
            raise InputError("This training has no adapter. Teach a new one.")
        from demo.adapter.library import publish

        with self._lock:
            note, folder = run.adapter.parent / PUBLISHED, self._settings.adapters
            name = self.published(run)
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
        """Return what a run's adapter is called among the others, "" when it is not there."""
        return _published_name(run.adapter.parent) if run.adapter else ""

    def _withdraw(self, run: RunFolder) -> None:
        """Remove what a run that is about to go has put among the others."""
        name, folder = _published_name(run.path), self._settings.adapters
        if name and owners(folder).get(name) == run.request().owner:
            for path in (folder / f"{name}.safetensors", owner_file(folder, name)):
                path.unlink(missing_ok=True)

    def _check_on(self) -> None:
        if self.off:
            raise InputError(self.off)

    def _check_idle(self, owner: str, otherwise: str) -> None:
        if any(run.state not in OVER for run in self.runs.of(owner)):
            raise BusyError(otherwise)


def _published_name(run: Path) -> str:
    note = run / PUBLISHED
    return note.read_text("utf-8") if note.exists() else ""
