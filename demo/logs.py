"""The program's log: bounded, and without visitors' words.

An error's text may hold what a visitor sent, a megabyte of it. So of errors that are not ours the
log keeps their type and where they were raised, and the text only of those that speak of the
machine: a full disk, no memory, a missing library.
"""

import logging
import sys
import time
import traceback
from types import TracebackType
from typing import TypeAlias

from demo.errors import DemoError

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LONGEST = 8_000  # characters of an entry
A_MINUTE = 120  # entries; what is more is counted
OF_THE_MACHINE = (DemoError, OSError, MemoryError, ImportError, RuntimeError)
Failure: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)

log = logging.getLogger(__name__)


class Formatter(logging.Formatter):
    """Writes entries of bounded length."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one entry."""
        text = super().format(record)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"

    def formatException(self, ei: Failure) -> str:
        """Write where an error and those that led to it were raised, without their words."""
        lines: list[str] = []
        error, seen = ei[1], set[int]()
        while error and id(error) not in seen:
            seen.add(id(error))
            lines += traceback.format_tb(error.__traceback__)
            lines += [f"{type(error).__name__}{_words(error)}\n"]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "".join(lines).rstrip()


class Bound(logging.Filter):
    """Lets `most` entries of a minute pass, and says how many did not."""

    def __init__(self, most: int = A_MINUTE) -> None:
        super().__init__()
        self._most, self._begun, self._count = most, 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether an entry passes."""
        now = time.monotonic()
        if now - self._begun >= 60:
            left_out = max(0, self._count - self._most)
            self._begun, self._count = now, 0
            if left_out:
                record.msg, record.args = f"{record.getMessage()} ({left_out} before left out)", ()
        self._count += 1
        return self._count <= self._most


def set_up_logs() -> None:
    """Let all loggers write through one bounded handler to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter(FORMAT))
    handler.addFilter(Bound())
    logging.basicConfig(handlers=[handler])


def log_failure(*_: object) -> None:
    """Log the error that is being handled."""
    log.error("a call failed: %s", getattr(sys.exc_info()[0], "__name__", ""), exc_info=True)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f": {error.strerror}"  # and not of which file
    return f": {str(error)[:300]}" if isinstance(error, OF_THE_MACHINE) else ""
