"""Something slow for one visitor, in a thread of its own: watched, awaited, called off."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class CalledOff(Exception):
    """Whoever wanted it has left."""


@dataclass(frozen=True)
class Progress:
    """What is being done, and the share done (0 to 1, None when unknown)."""

    message: str
    share: float | None = None


class Work(Generic[T]):
    """Begins at once.

    Args:
        do: the work; tells its progress to what it is given, which raises CalledOff in time.
    """

    def __init__(self, do: Callable[["Work[T]"], T]) -> None:
        self._do = do
        self._progress = Progress("")
        self._value: T | None = None
        self._error: BaseException | None = None
        self._end: Callable[[], None] | None = None
        self._off = threading.Event()
        self._thread = threading.Thread(target=self._run, name="work", daemon=True)
        self._thread.start()

    def watch(self, seconds: float = 0.3) -> Iterator[Progress]:
        """What is being done, every so often, until it is over."""
        while self._thread.is_alive():
            yield self._progress
            self._thread.join(seconds)

    def result(self) -> T:
        """What came of it, once it is over. Raises what it raised."""
        self._thread.join()
        if self._error:
            raise self._error
        return self._value  # type: ignore[return-value]

    def call_off(self) -> None:
        """It ends soon; for one that is over this does nothing."""
        self._off.set()
        if self._end:
            self._end()

    def tell(self, message: str, share: float | None = None) -> None:
        """Called by the work itself. Raises CalledOff when nobody wants it any more."""
        if self._off.is_set():
            raise CalledOff
        self._progress = Progress(message, share)

    def endable(self, end: Callable[[], None]) -> None:
        """Called by the work itself: from now on it can be ended so."""
        self._end = end
        if self._off.is_set():
            end()

    def turn(self, lock: threading.Lock, message: str) -> None:
        """Called by the work itself: waits for a lock, and can be called off meanwhile."""
        while not lock.acquire(timeout=0.2):
            self.tell(message)

    def wait(self, done: Callable[[], bool], message: Callable[[], str]) -> None:
        """Called by the work itself: waits for `done`, and can be called off meanwhile."""
        while not done():
            self.tell(message())
            time.sleep(0.2)

    def _run(self) -> None:
        try:
            self._value = self._do(self)
        except BaseException as error:  # handed to whoever asks for the result
            self._error = error
