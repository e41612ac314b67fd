"""A temporary folder of this run, which the next start removes if this one could not.

A process that is killed removes nothing. It holds a lock for as long as it lives, so whoever can
take a folder's lock knows that nobody uses it any more.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
PREFIX = "llama-adapter-studio-"
LOCK = "in-use.lock"
INNER = "tmp"  # in it, once it is locked
GONE = ".gone"  # after the name of a folder that is being removed


@contextmanager
def run_folder() -> Iterator[Path]:
    """Make the folder, in which `tempfile` puts everything meanwhile; it is gone afterwards.

    Raises:
        OSError: there is no room for temporary files.
    """
    remove_leftovers(Path(tempfile.gettempdir()))
    before = tempfile.tempdir
    folder, lock = _locked_folder()
    try:
        inner = folder / INNER
        inner.mkdir()
        tempfile.tempdir = str(inner)
        yield folder
    finally:
        tempfile.tempdir = before
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(place: Path) -> None:
    """Remove the folders of runs that were killed."""
    for folder in place.glob(f"{PREFIX}*"):
        if folder.is_symlink():
            continue
        with suppress(OSError, Timeout):  # another one's, or in use
            gone = folder
            if folder.suffix != GONE:
                if not (folder / LOCK).is_file():
                    if [path.name for path in folder.iterdir()] == [INNER]:
                        # A child that outlived its killed run for a moment made it once more.
                        shutil.rmtree(folder)
                    continue  # not made here, or about to be locked
                with FileLock(folder / LOCK, timeout=0):
                    # Whoever made it just now, and waits for the lock, finds that it is gone.
                    gone = folder.rename(f"{folder}{GONE}") if os.name == "posix" else folder
            shutil.rmtree(gone)
            log.info("removed what a killed run had left: %s", folder.name)


def _locked_folder() -> tuple[Path, FileLock]:
    """Make a folder and lock it; once more where another start took it for a leftover."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / LOCK)
        with suppress(FileNotFoundError):
            lock.acquire()
            if (folder / LOCK).is_file():
                return folder, lock
            lock.release()
