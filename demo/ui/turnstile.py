"""Lets one reply at a time through for each visitor, and tells a running one to stop."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from demo.errors import BusyError


class Turnstile:
    """One place per session. A second click on Send finds it taken and makes no second reply."""

    def __init__(self, busy_message: str) -> None:
        self._busy_message = busy_message
        self._taken: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, session: str) -> Iterator[threading.Event]:
        """Holds the place of `session`; the event is set when the reply has to stop.

        Raises:
            BusyError: a reply of this session is running.
        """
        stop = threading.Event()
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
        """Whether a reply of `session` is running."""
        with self._lock:
            return session in self._taken

    def stop(self, session: str) -> None:
        """Asks the running reply of `session`, if any, to stop."""
        with self._lock:
            if stop := self._taken.get(session):
                stop.set()

    def wait(self, session: str, seconds: float) -> bool:
        """Stops the running reply of `session`; whether it ended within `seconds`."""
        self.stop(session)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.is_taken(session):
                return True
            time.sleep(0.02)
        return False
