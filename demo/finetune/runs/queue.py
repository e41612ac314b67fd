"""All runs of one program: one is carried out at a time, the others wait; each has its owner.

What is known of a run lies in its folder, so a restart of the program loses nothing: runs that
waited wait again, one that was under way is shown as interrupted.
"""

import contextlib
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cachetools import LRUCache
from filelock import FileLock, Timeout

from demo.background_task import PauseSwitch
from demo.errors import BusyError, InputError
from demo.finetune.runs.process import RunProcess
from demo.finetune.runs.run_folder import (
    DISCARDED,
    DISK_FULL,
    EXIT_DISK_FULL,
    KILLED,
    RESTARTED,
    UNKNOWN_ERROR,
    Quota,
    RunFolder,
    RunRequest,
    RunStore,
)
from demo.finetune.train.events import OVER, RunHistory, RunStage, RunState

log = logging.getLogger(__name__)

END_SECONDS = 5.0  # in which a run keeps its state when the program ends
WRITE_AGAIN_SECONDS = 10.0  # between two tries to write what a full disk did not take
KEPT_HISTORIES = 64
TAKEN = (
    "Another program on this machine uses the same folder of trainings, so nothing can be taught "
    "here. Stop it, or start this one with another --runs."
)
NO_FOLDER = "The folder for trainings cannot be written to. Start with another --runs."


@dataclass(frozen=True)
class Run:
    """A run as its owner sees it.

    Attributes:
        place: in the queue, from 1; 0 when it does not wait.
        resumable: it is over and can be taken up from its last checkpoint.
        created: seconds since the epoch.
        adapter: the file that came of it.
        ending: it is over but its process is still leaving; then it may become resumable.
    """

    id: str
    name: str
    state: RunState
    message: str
    place: int
    resumable: bool
    created: float
    adapter: Path | None
    ending: bool = False


class RunQueue:
    """The runs of one folder. `start` begins to work on them in a thread, `close` ends that.

    Calls may come from several threads. An id that is not the owner's is as good as none.

    Args:
        folder: holds the folders of the runs; made when it is missing.
        pauses: holds the run under way still.
        most_waiting: runs that may wait.
        quota: of what is kept of those that are over.
        on_delete: is told the folder of one that is about to go.
    """

    def __init__(
        self,
        folder: Path,
        pauses: PauseSwitch,
        *,
        most_waiting: int = 8,
        quota: Quota = Quota(),  # noqa: B008 - it is frozen
        on_delete: Callable[[RunFolder], None] = lambda folder: None,
    ) -> None:
        self.quota = quota
        self._folder, self._pauses, self._most = folder, pauses, most_waiting
        self._store = RunStore(folder, quota, on_delete)
        self._in_use = FileLock(folder / ".lock", thread_local=False)
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[str] = []
        self._current: RunFolder | None = None
        self._process: RunProcess | None = None
        self._closing = False
        self._unwritten: dict[str, RunStage] = {}  # what a full disk did not take
        self._thread: threading.Thread | None = None
        self._histories: LRUCache[str, RunHistory] = LRUCache(KEPT_HISTORIES)
        self._reading = threading.Lock()  # of a log, once for all who ask

    def start(self) -> None:
        """Take up what the folder holds, and begin with the first in the queue.

        Raises:
            InputError: the folder is another program's, or cannot be written to.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._in_use.acquire(timeout=0)
        except Timeout:
            raise InputError(TAKEN) from None
        except OSError as error:
            log.exception("the folder for trainings cannot be used")
            raise InputError(NO_FOLDER) from error
        self._store.clear_up()
        known = []
        for folder, request in self._store.all():
            known.append((request.created, folder.path.name, folder.read().state))
            if folder.discard_asked:  # and then the program died
                self._discard(folder)
        self._waiting = [name for _, name, state in sorted(known) if state == "waiting"]
        self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the run under way, which keeps its state; those that wait will wait again."""
        with self._changed:
            self._closing = True
            process = self._process
            self._changed.notify_all()
        if process:
            self._pauses.detach(process)
            process.end(END_SECONDS)
        if self._thread:
            self._thread.join()
        self._in_use.release()

    def submit(
        self,
        request: RunRequest,
        data: Path | None,
        *,
        held_out: Path | None = None,
        dataset: Path | None = None,
        start: Path | None = None,
    ) -> str:
        """Make a run and return its id. It begins when those before it are over.

        Args:
            request: what is asked for.
            data: the rows; None when the request names a sample. Files are copied.
            held_out: a second table, only to judge by.
            dataset: the rows, where somebody has checked them already.
            start: an adapter to be taught more.

        Raises:
            BusyError: too many wait, or there is no room for its data.
            InputError: a file is gone.
            OSError: the disk is full.
        """
        self._check_room()
        coming = sum(path.stat().st_size for path in (data, held_out, dataset, start) if path)
        folder = self._store.new()
        with self._changed:  # a run that is being made is not yet one that may go
            self._store.tidy(self._busy(), request.owner, max(coming, 1))
            try:
                folder.create(request, data, held_out=held_out, dataset=dataset, start=start)
            except BaseException:
                shutil.rmtree(folder.path, ignore_errors=True)
                raise
            self._enqueue(folder.path.name)
        return folder.path.name

    def of(self, owner: str) -> tuple[Run, ...]:
        """Return an owner's runs, the newest first; none while the queue is not started."""
        found = []
        for folder, request in self._store.all() if self._thread else ():
            if request.owner == owner:
                with contextlib.suppress(InputError):  # it went meanwhile
                    found.append(self.get(owner, folder.path.name))
        return tuple(sorted(found, key=lambda run: run.created, reverse=True))

    def get(self, owner: str, id: str) -> Run:  # noqa: A002 - the field's word
        """Return a run as it is now. Raises InputError when it is not this owner's."""
        folder, request = self._store.own(owner, id)
        with self._changed:
            place = self._waiting.index(id) + 1 if id in self._waiting else 0
            current, stage = self._is_current(id), self._stage(folder)
        kept = stage.state == "interrupted" or folder.checkpoint.exists()
        return Run(
            id,
            request.name,
            stage.state,
            stage.message,
            place,
            resumable=stage.state in OVER and kept and not current,
            created=request.created,
            adapter=folder.adapter if folder.adapter.exists() else None,
            ending=stage.state in OVER and current,
        )

    def history(self, owner: str, id: str) -> RunHistory:  # noqa: A002
        """Return what its log tells by now. Raises InputError when it is not this owner's."""
        folder, _ = self._store.own(owner, id)
        with self._reading:
            history = self._histories.get(id, RunHistory()).read_on(folder.log)
            self._histories[id] = history
        return history

    def stop(self, owner: str, id: str, *, keep: bool) -> None:  # noqa: A002
        """End a run, or take it out of the queue.

        Args:
            owner: who asks.
            id: of the run.
            keep: what it has learned; otherwise that and the data go, of a run that is over too.

        Raises:
            InputError: it is not this owner's.
        """
        folder, _ = self._store.own(owner, id)
        with self._changed:
            if self._is_current(id):
                # First the wish, then the signal: whatever the child is doing, one of them works.
                folder.ask_to_stop(keep=keep)
                if self._process and keep:
                    self._pauses.detach(self._process)  # it must go on to stop
                elif self._process:
                    self._process.kill()
                return
            waited = id in self._waiting
            if waited:
                self._waiting.remove(id)
        if waited or not keep:
            self._discard(folder)

    def delete(self, owner: str, id: str) -> None:  # noqa: A002
        """Remove a run that is over, with its data and its adapter.

        Raises:
            InputError: it is not this owner's, or not over.
        """
        folder, _ = self._store.own(owner, id)
        with self._changed:
            if id in self._busy() or self._stage(folder).state not in OVER:
                raise InputError("This training is not over. Stop it first.")
            self._store.delete(folder)

    def resume(self, owner: str, id: str) -> None:  # noqa: A002
        """Take up a run that is over before its end, from its last checkpoint.

        Raises:
            InputError: it is not this owner's, or cannot be resumed.
            BusyError: too many wait.
        """
        folder, _ = self._store.own(owner, id)
        if not self.get(owner, id).resumable:
            raise InputError("This training cannot be resumed. Start a new one with its data.")
        self._check_room()
        folder.stop.unlink(missing_ok=True)
        with self._changed:  # or the state of before would be written over this one
            folder.write(RunStage("waiting"))
            self._unwritten.pop(id, None)
        self._enqueue(id)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._write_again()
                while not (self._waiting or self._closing):
                    self._changed.wait(WRITE_AGAIN_SECONDS if self._unwritten else None)
                    self._write_again()
                if self._closing:
                    return
                self._current = folder = RunFolder(self._folder / self._waiting.pop(0))
            try:
                self._carry_out(folder)
            except OSError:
                log.exception("a run could not be carried out")
                self._write(folder, RunStage("failed", DISK_FULL))
            finally:
                with self._changed:
                    self._current = self._process = None
                    self._store.tidy(self._busy())

    def _carry_out(self, folder: RunFolder) -> None:
        process = RunProcess(folder, "run")
        with self._changed:
            self._process = process
            closing = self._closing
            if not closing and not folder.stop.exists():  # else it must go on to end
                self._pauses.attach(process)
        if closing:
            process.end(END_SECONDS)
        code, closing = process.wait(), self._closing
        self._pauses.detach(process)
        if folder.discard_asked:
            self._discard(folder)
        elif code == EXIT_DISK_FULL:
            self._write(folder, RunStage("failed", DISK_FULL))
        elif folder.read().state not in OVER:
            cause = KILLED if code < 0 else UNKNOWN_ERROR
            self._write(folder, RunStage("interrupted", RESTARTED if closing else cause))
        stage = self._unwritten.get(folder.path.name) or folder.read()
        if stage.state != "interrupted" and not folder.checkpoint.exists():
            folder.drop_data()

    def _busy(self) -> set[str]:
        """Return the ids of those that are under way or wait."""
        return {*self._waiting, *([self._current.path.name] if self._current else ())}

    def _is_current(self, id: str) -> bool:  # noqa: A002
        return self._current is not None and self._current.path.name == id

    def _stage(self, folder: RunFolder) -> RunStage:
        """Return the state a run is in now."""
        name = folder.path.name
        if name in self._unwritten:
            return self._unwritten[name]
        stage = folder.read()
        if stage.state in OVER or name in self._waiting:
            return stage
        if self._is_current(name):
            if folder.stop.exists():
                return RunStage("stopping")
            if self._pauses.active:
                return RunStage(
                    "paused",
                    "Replies go first. It goes on between them, and now and then beside them.",
                )
            return RunStage("preparing") if stage.state == "waiting" else stage
        # A process of a program that was here before may still be keeping its state.
        return RunStage("stopping") if folder.alive() else RunStage("interrupted", RESTARTED)

    def _discard(self, folder: RunFolder) -> None:
        folder.discard()
        self._write(folder, RunStage("stopped", DISCARDED))

    def _write(self, folder: RunFolder, stage: RunStage) -> None:
        try:
            folder.write(stage)
        except OSError:
            self._unwritten[folder.path.name] = stage
        else:
            self._unwritten.pop(folder.path.name, None)

    def _write_again(self) -> None:
        """Keep what a full disk did not take, as soon as there is room: a restart must find it."""
        for name, stage in list(self._unwritten.items()):
            folder = RunFolder(self._folder / name)
            if folder.path.exists():
                self._write(folder, stage)
            else:
                del self._unwritten[name]

    def _check_room(self) -> None:
        with self._changed:
            if len(self._waiting) >= self._most:
                raise BusyError(
                    f"{self._most} trainings wait already. Try again when one of them is done."
                )

    def _enqueue(self, id: str) -> None:  # noqa: A002
        with self._changed:
            self._waiting.append(id)
            self._changed.notify_all()
