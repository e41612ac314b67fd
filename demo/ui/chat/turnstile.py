"""One reply at a time for each visitor, who may stop it, or leave its chat."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from demo.errors import BusyError


class StopSign(threading.Event):
    """Set when a reply has to stop; `left` says that its chat is about to leave the page."""

    left = False


class Turnstile:
    """One place per session. A second click on Send finds it taken and makes no second reply."""

    def __init__(self, busy_message: str) -> None:
        self._busy_message = busy_message
        self._taken: dict[str, StopSign] = {}
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, session: str) -> Iterator[StopSign]:
        """Hold the place of `session`; the event is set when the reply has to stop.

        Raises:
            BusyError: a reply of this session is running.
        """
        stop = StopSign()
        with self._lock:
            if session in self._taken:
                raise BusyError(self._busy_message)
            self._taken[session] = stop
        try:
            yield stop
        finally:
            with self._lock:
                del self._taken[session]

    def is_taken(self, session: str) -> bool:
        """Say whether a reply of `session` is running."""
        with self._lock:
            return session in self._taken

    def stop(self, session: str) -> None:
        """Ask the running reply of `session`, if any, to stop."""
        with self._lock:
            if stop := self._taken.get(session):
                stop.set()

    def wait(self, session: str, seconds: float) -> bool:
        """Stop the running reply of `session`, and leave it → whether it ended in `seconds`."""
        with self._lock:
            if stop := self._taken.get(session):
                stop.left = True
                stop.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.is_taken(session):
                return True
            time.sleep(0.02)
        return False
