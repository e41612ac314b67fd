"""The event log of a run: one JSON line an event, appended, so that any number may follow it.

A writer that is killed leaves at most half a line at the end. Readers leave it alone until it is
whole; the next writer ends it, and then it is no event and is passed over.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from demo.finetune.events import Evaluated, Event, Probed, Started, Step, from_json, to_json

CHUNK = 2**20  # bytes read at a time; what is left is read the next time


class EventLog:
    """Appends events. Each is with the system, and so safe from a kill, when `append` returns."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be written to."""
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by `close`
        if self._file.tell() and not self._ends_whole():
            self._write(b"\n")

    def append(self, event: Event) -> None:
        """Raises OSError when the disk is full."""
        self._write(to_json(event).encode() + b"\n")

    def close(self) -> None:
        """The file is closed; the log can be opened again."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]

    def _ends_whole(self) -> bool:
        self._file.seek(-1, 2)
        return self._file.read(1) == b"\n"


class Slice(NamedTuple):
    """Events, and the offset at which the ones after them begin."""

    events: list[Event]
    offset: int


def read_log(path: Path, offset: int = 0) -> Slice:
    """What was logged after `offset`; a log that is not there yet is empty.

    Lines that are no events are passed over.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
    except FileNotFoundError:
        return Slice([], offset)
    whole = data[: data.rfind(b"\n") + 1]
    events = []
    for line in whole.splitlines():
        try:
            events.append(from_json(line.decode()))
        except ValueError:
            continue
    return Slice(events, offset + len(whole))


def without_repeats(events: Iterable[Event]) -> list[Event]:
    """The story of a run without what was done twice.

    A resumed run goes on from its last checkpoint and logs again what came after it; `Started`
    says from where.
    """
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Started):
            kept = [past for past in kept if not _undone(past, event.step)]
        if isinstance(event, Evaluated | Probed) and any(
            type(past) is type(event) and past.step == event.step for past in kept
        ):
            continue
        kept.append(event)
    return kept


def _undone(past: Event, step: int) -> bool:
    return isinstance(past, Step | Evaluated | Probed) and past.step > step
