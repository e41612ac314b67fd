"""The folders of all runs: whose each is, and which of those that are over must go.

What is kept is bounded, for each owner and in total, so that no visitor fills the disk.
"""

import contextlib
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.errors import BusyError, InputError
from demo.finetune.run_folder import Request, RunFolder

log = logging.getLogger(__name__)

ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
TODAY = 86_400.0  # seconds in which an interrupted run waits for its owner
UNREADABLE = (OSError, ValueError, KeyError, TypeError, InputError)


@dataclass(frozen=True)
class Bounds:
    """How many runs are kept and how many bytes they fill: of one owner, and all together."""

    own_runs: int = 20
    own_bytes: int = 2**30
    all_runs: int = 200
    all_bytes: int = 4 * 2**30

    @classmethod
    def of(cls, megabytes: int) -> "Bounds":
        """For so much room in all, of which one owner has at most a quarter."""
        return cls(own_bytes=megabytes * 2**18, all_bytes=megabytes * 2**20)


@dataclass(frozen=True)
class Past:
    """A run as a bound sees it. `fixed`: it counts and must stay."""

    id: str
    owner: str
    ended: float  # seconds since the epoch
    size: int  # bytes
    fixed: bool


def surplus(pasts: Sequence[Past], bounds: Bounds) -> list[str]:
    """The ids of runs that are too many, the oldest first."""
    gone: list[str] = []
    for owner in dict.fromkeys(past.owner for past in pasts):
        own = [past for past in pasts if past.owner == owner]
        gone += _oldest(own, bounds.own_runs, bounds.own_bytes)
    rest = [past for past in pasts if past.id not in gone]
    return gone + _oldest(rest, bounds.all_runs, bounds.all_bytes)


def _oldest(pasts: Sequence[Past], most: int, most_bytes: int) -> list[str]:
    count, size, gone = len(pasts), sum(past.size for past in pasts), []
    for past in sorted((past for past in pasts if not past.fixed), key=lambda past: past.ended):
        if count <= most and size <= most_bytes:
            break
        gone.append(past.id)
        count, size = count - 1, size - past.size
    return gone


class Shelf:
    """All runs of one program, by id.

    Args:
        on_delete: is told the folder of a run that is about to go.
    """

    def __init__(self, path: Path, bounds: Bounds, on_delete: Callable[[RunFolder], None]) -> None:
        self._path, self._bounds, self._on_delete = path, bounds, on_delete

    def folder(self, id: str) -> RunFolder:  # noqa: A002 - the field's word
        """Of a run that is known to be there."""
        return RunFolder(self._path / id)

    def new(self) -> RunFolder:
        """Of a run that is about to be made."""
        return self.folder(secrets.token_hex(8))

    def all(self) -> Iterator[tuple[RunFolder, Request]]:
        """Every run that can be read."""
        for path in self._path.glob("*/run.json"):
            folder = RunFolder(path.parent)
            try:
                folder.read()
                yield folder, folder.request()
            except UNREADABLE:
                log.warning("left out of the runs: %s", path.parent.name)

    def own(self, owner: str, id: str) -> tuple[RunFolder, Request]:  # noqa: A002
        """Raises InputError for what is not this owner's, which is as good as none."""
        with contextlib.suppress(*UNREADABLE):
            if ID.fullmatch(id) and (request := self.folder(id).request()).owner == owner:
                return self.folder(id), request
        raise InputError("There is no such training of yours. Reload the page to see your own.")

    def clear_up(self) -> None:
        """What was half made or half deleted goes. Only while nothing is being made."""
        for path in self._path.glob("*"):
            if ID.fullmatch(path.name) and not (path / "run.json").exists():
                shutil.rmtree(path, ignore_errors=True)

    def delete(self, folder: RunFolder) -> None:
        """A run that is over goes, with all that came of it."""
        self._on_delete(folder)
        (folder.path / "run.json").unlink(missing_ok=True)  # from here on it is no run
        shutil.rmtree(folder.path, ignore_errors=True)

    def tidy(self, busy: Collection[str], owner: str = "", coming: int = 0) -> None:
        """Runs go until what is left is within the bounds.

        Args:
            busy: ids of those that are under way or wait.
            owner, coming: of a run that is about to be made, and its bytes; 0 for none.

        Raises:
            BusyError: there is no room for it even so.
        """
        pasts = [self._past(folder, request, busy) for folder, request in self.all()]
        if coming:
            pasts.append(Past("", owner, time.time(), coming, fixed=True))
        gone = surplus(pasts, self._bounds)
        for id in gone:  # noqa: A001
            self.delete(self.folder(id))
        left = sum(past.size for past in pasts if past.id not in gone)
        if coming and left > self._bounds.all_bytes:
            raise BusyError(
                "There is no room for more trainings here. Try again when one of them is done."
            )

    def _past(self, folder: RunFolder, request: Request, busy: Collection[str]) -> Past:
        ended = (folder.path / "state.json").stat().st_mtime
        cut_off = folder.read().state == "interrupted" and time.time() - ended < TODAY
        fixed = folder.path.name in busy or cut_off or folder.alive()
        return Past(folder.path.name, request.owner, ended, _size(folder.path), fixed)


def _size(folder: Path) -> int:
    """Bytes of all files; one that is replaced meanwhile may be missed."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size
