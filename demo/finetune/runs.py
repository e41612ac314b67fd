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

from demo.errors import BusyError, InputError
from demo.finetune import endings
from demo.finetune.child import Child
from demo.finetune.events import OVER, Stage, State
from demo.finetune.log import Slice, read_log
from demo.finetune.run_folder import Request, RunFolder
from demo.finetune.shelf import Bounds, Shelf

log = logging.getLogger(__name__)

END_SECONDS = 5.0  # in which a run keeps its state when the program ends


@dataclass(frozen=True)
class Run:
    """What its owner sees of a run. `place` is its place in the line, 0 when it does not wait.

    `ending`: it is over, and its process is still leaving; then it may become resumable.
    """

    id: str
    name: str
    state: State
    message: str
    place: int
    resumable: bool
    created: float
    adapter: Path | None
    ending: bool = False


class Runs:
    """The line of runs. `start` begins to work on it in a thread, `close` ends that.

    Calls may come from several threads. An id that is not the owner's is as good as none.

    Args:
        bounds: of what is kept of those that are over.
        on_delete: is told the folder of one that is about to go.
    """

    def __init__(
        self,
        folder: Path,
        *,
        most_waiting: int = 8,
        bounds: Bounds = Bounds(),  # noqa: B008 - it is frozen
        on_delete: Callable[[RunFolder], None] = lambda folder: None,
    ) -> None:
        self._shelf, self._most = Shelf(folder, bounds, on_delete), most_waiting
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[str] = []
        self._current: str | None = None
        self._child: Child | None = None
        self._held = self._closing = False
        self._unwritten: dict[str, Stage] = {}  # what a full disk did not take
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Takes up what the folder holds, and begins with the first in the line."""
        self._shelf.clear_up()
        known = []
        for folder, request in self._shelf.all():
            known.append((request.created, folder.path.name, folder.read().state))
            if folder.discard_asked:  # and then the program died
                self._discard(folder)
        self._waiting = [name for _, name, state in sorted(known) if state == "waiting"]
        self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The run under way keeps its state and ends; those that wait will wait again."""
        with self._changed:
            self._closing = True
            child = self._child
            self._changed.notify_all()
        if child:
            child.end(END_SECONDS)
        if self._thread:
            self._thread.join()

    def submit(
        self,
        request: Request,
        data: Path | None,
        *,
        held_out: Path | None = None,
        start: Path | None = None,
    ) -> str:
        """A new run → its id. It begins when those before it are over.

        Args:
            data, held_out, start: as `RunFolder.create`, which copies them.

        Raises:
            BusyError: too many wait, or there is no room for its data.
            InputError: a file is gone.
            OSError: the disk is full.
        """
        self._check_room()
        coming = sum(path.stat().st_size for path in (data, held_out, start) if path)
        folder = self._shelf.new()
        with self._changed:  # a run that is being made is not yet one that may go
            self._shelf.tidy(self._busy(), request.owner, max(coming, 1))
            try:
                folder.create(request, data, held_out=held_out, start=start)
            except BaseException:
                shutil.rmtree(folder.path, ignore_errors=True)
                raise
            self._enqueue(folder.path.name)
        return folder.path.name

    def of(self, owner: str) -> tuple[Run, ...]:
        """An owner's runs, the newest first."""
        found = []
        for folder, request in self._shelf.all():
            if request.owner == owner:
                with contextlib.suppress(InputError):  # it went meanwhile
                    found.append(self.get(owner, folder.path.name))
        return tuple(sorted(found, key=lambda run: run.created, reverse=True))

    def get(self, owner: str, id: str) -> Run:  # noqa: A002 - the field's word
        """Raises InputError when it is not this owner's."""
        folder, request = self._shelf.own(owner, id)
        with self._changed:
            place = self._waiting.index(id) + 1 if id in self._waiting else 0
            current, stage = id == self._current, self._stage(folder)
        kept = stage.state == "interrupted" or folder.resumable
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

    def events(self, owner: str, id: str, offset: int = 0) -> Slice:  # noqa: A002
        """What was logged after `offset`. Raises InputError when it is not this owner's."""
        return read_log(self._shelf.own(owner, id)[0].log, offset)

    def stop(self, owner: str, id: str, *, keep: bool) -> None:  # noqa: A002
        """Ends a run: `keep` what it has learned, or drop that and the data.

        Of a run that is over already, what it has learned is dropped or kept accordingly.
        """
        folder, _ = self._shelf.own(owner, id)
        with self._changed:
            if id == self._current:
                # First the wish, then the signal: whatever the child is doing, one of them works.
                folder.ask_to_stop(keep=keep)
                if self._child:
                    self._child.go_on() if keep else self._child.kill()
                return
            waited = id in self._waiting
            if waited:
                self._waiting.remove(id)
        if waited or not keep:
            self._discard(folder)

    def delete(self, owner: str, id: str) -> None:  # noqa: A002
        """A run that is over goes, as if it had never been. Raises InputError for another."""
        folder, _ = self._shelf.own(owner, id)
        with self._changed:
            if id in self._busy() or self._stage(folder).state not in OVER:
                raise InputError("This training is not over. Stop it first.")
            self._shelf.delete(folder)

    def resume(self, owner: str, id: str) -> None:  # noqa: A002
        """Takes up a run that is over before its end, from its last checkpoint.

        Raises:
            InputError: it cannot be resumed.
            BusyError: too many wait.
        """
        folder, _ = self._shelf.own(owner, id)
        if not self.get(owner, id).resumable:
            raise InputError("This training cannot be resumed. Start a new one with its data.")
        self._check_room()
        folder.stop.unlink(missing_ok=True)
        folder.write(Stage("waiting"))
        self._unwritten.pop(id, None)
        self._enqueue(id)

    def hold(self) -> None:
        """The run under way stands still, and so does one that begins, until `release`.

        Cheap and safe to call again: for whoever writes replies.
        """
        with self._changed:
            self._held = True
            if self._child and not self._stopping():
                self._child.pause()

    def release(self) -> None:
        """It goes on."""
        with self._changed:
            self._held = False
            if self._child:
                self._child.go_on()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._closing):
                    self._changed.wait()
                if self._closing:
                    return
                self._current = self._waiting.pop(0)
            folder = self._shelf.folder(self._current)
            try:
                self._carry_out(folder)
            except OSError:
                log.exception("a run could not be carried out")
                self._write(folder, Stage("failed", endings.DISK))
            finally:
                with self._changed:
                    self._current = self._child = None
                    self._shelf.tidy(self._busy())

    def _carry_out(self, folder: RunFolder) -> None:
        child = Child(folder)
        with self._changed:
            self._child = child
            if self._held and not self._stopping():
                child.pause()
        if self._closing:
            child.end(END_SECONDS)
        code, closing = child.wait(), self._closing
        if folder.discard_asked:
            self._discard(folder)
        elif code == endings.DISK_FULL:
            self._write(folder, Stage("failed", endings.DISK))
        elif folder.read().state not in OVER:
            cause = endings.KILLED if code < 0 else endings.UNKNOWN
            self._write(folder, Stage("interrupted", endings.RESTARTED if closing else cause))
        if not folder.resumable:
            folder.drop_data()

    def _busy(self) -> set[str]:
        """Those that are under way or wait."""
        return {*self._waiting, *filter(None, [self._current])}

    def _stage(self, folder: RunFolder) -> Stage:
        """The state a run is in now."""
        name = folder.path.name
        if name in self._unwritten:
            return self._unwritten[name]
        stage = folder.read()
        if stage.state in OVER or name in self._waiting:
            return stage
        if name == self._current:
            if folder.stop.exists():
                return Stage("stopping")
            if self._held:
                return Stage("paused", "It goes on when no reply is being written.")
            return Stage("preparing") if stage.state == "waiting" else stage
        # A process of a program that was here before may still be keeping its state.
        return Stage("stopping") if folder.alive() else Stage("interrupted", endings.RESTARTED)

    def _discard(self, folder: RunFolder) -> None:
        folder.discard()
        self._write(folder, Stage("stopped", endings.DISCARDED))

    def _write(self, folder: RunFolder, stage: Stage) -> None:
        try:
            folder.write(stage)
        except OSError:
            self._unwritten[folder.path.name] = stage

    def _stopping(self) -> bool:
        return bool(self._current and self._shelf.folder(self._current).stop.exists())

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
