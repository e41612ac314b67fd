"""Background work on behalf of one visitor: watched, awaited, cancelled, paused for replies."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
ProgressCallback = Callable[[str, float | None], None]  # what is being done, the share done 0 to 1
POLL_SECONDS = 0.2  # between two looks at whether a task that waits has been cancelled


class Cancelled(Exception):
    """The result of the task is no longer wanted."""


@dataclass(frozen=True)
class Progress:
    """What is being done, and the share done (0 to 1, None when unknown)."""

    message: str
    share: float | None = None


class BackgroundTask(Generic[T]):
    """Run a function in a thread of its own, at once.

    Args:
        function: the work. It gets the task itself and calls `report`, `acquire` and `wait_for`
            now and then; these raise `Cancelled` once nobody wants the result any more.
    """

    def __init__(self, function: Callable[["BackgroundTask[T]"], T]) -> None:
        self._function = function
        self._progress = Progress("")
        self._results: list[T] = []  # one, once there is one: T itself may be None
        self._error: BaseException | None = None
        self._on_cancel: Callable[[], None] | None = None
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background-task", daemon=True)
        self._thread.start()

    def watch(self, seconds: float = 0.3) -> Iterator[Progress]:
        """Yield the progress every so many seconds until the task is over."""
        while self._thread.is_alive():
            yield self._progress
            self._thread.join(seconds)

    def result(self) -> T:
        """Wait for the end and return the function's value, or raise what it raised."""
        self._thread.join()
        if self._error:
            raise self._error
        return self._results[0]

    def cancel(self) -> None:
        """Make the task end soon; one that is over already stays as it is."""
        self._cancelled.set()
        if self._on_cancel:
            self._on_cancel()

    def report(self, message: str, share: float | None = None) -> None:
        """Publish the progress. For the function; raises Cancelled once that is asked for."""
        if self._cancelled.is_set():
            raise Cancelled
        self._progress = Progress(message, share)

    def on_cancel(self, action: Callable[[], None]) -> None:
        """Call `action` on `cancel`, at once when that has happened. For the function."""
        self._on_cancel = action
        if self._cancelled.is_set():
            action()

    def acquire(self, lock: "threading.Lock | threading.Semaphore", message: str) -> None:
        """Take a lock and report `message` while waiting. For the function; raises Cancelled."""
        while not lock.acquire(timeout=POLL_SECONDS):
            self.report(message)

    def wait_for(self, done: Callable[[], bool], message: str) -> None:
        """Wait for `done` and report `message` meanwhile. For the function; raises Cancelled."""
        while not done():
            self.report(message)
            time.sleep(POLL_SECONDS)

    def _run(self) -> None:
        try:
            self._results.append(self._function(self))
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error


class Pausable(Protocol):
    """What stands still at once and goes on again. Both calls are cheap and may be repeated."""

    def pause(self) -> None:
        """Stand still."""

    def unpause(self) -> None:
        """Go on."""


class PauseSwitch:
    """Hold background work still while something more urgent runs. Safe from several threads.

    Replies run inside `paused`; trainings are attached for as long as they live. Neither needs to
    know the other. Where replies follow each other without end, what is attached still has a turn
    now and then, so that it takes longer and not for ever.

    Args:
        longest: seconds of being held after which a turn comes.
        turn: seconds that it lasts; having been free for as long counts as one.
    """

    def __init__(self, longest: float = 8.0, turn: float = 2.0) -> None:
        self._changed = threading.Condition()
        self._urgent = 0  # how many are inside `paused`
        self._attached: list[Pausable] = []
        self._longest, self._turn = longest, turn
        self._has_turn = False
        self._free_since = self._due = time.monotonic()
        self._timer: threading.Thread | None = None

    @property
    def active(self) -> bool:
        """Whether what is attached stands still now."""
        return self._urgent > 0 and not self._has_turn

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold all that is or gets attached still until the last such block is left."""
        try:
            with self._changed:
                self._urgent += 1
                if self._urgent == 1:
                    if time.monotonic() - self._free_since >= self._turn:
                        self._due = time.monotonic() + self._longest
                    for work in () if self._has_turn else self._attached:
                        work.pause()
                    self._changed.notify_all()
            yield
        finally:
            with self._changed:
                self._urgent -= 1
                if not self._urgent:
                    self._free_since = time.monotonic()
                    for work in self._attached:
                        work.unpause()
                    self._changed.notify_all()

    def attach(self, work: Pausable) -> None:
        """Hold `work` still from now on whenever the switch is active."""
        with self._changed:
            self._attached.append(work)
            if self.active:
                work.pause()
            if self._timer is None:
                self._due = time.monotonic() + self._longest
                self._timer = threading.Thread(target=self._give_turns, daemon=True)
                self._timer.start()

    def detach(self, work: Pausable) -> None:
        """Let `work` go on for good: it is over, or has to end."""
        with self._changed:
            if work in self._attached:
                self._attached.remove(work)
                if self.active:
                    work.unpause()
                self._changed.notify_all()

    def _give_turns(self) -> None:
        """Let what is attached go on for a turn whenever one is due; for the timer's thread."""
        with self._changed:
            while self._attached:
                if not self._urgent:
                    self._changed.wait()
                elif (left := self._due - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    self._take_turn()
            self._timer = None

    def _take_turn(self) -> None:
        self._has_turn = True
        for work in self._attached:
            work.unpause()
        over = time.monotonic() + self._turn
        while self._attached and (left := over - time.monotonic()) > 0:
            self._changed.wait(left)
        self._has_turn = False
        self._due = time.monotonic() + self._longest
        for work in self._attached if self._urgent else ():
            work.pause()
