"""A temporary folder of this run, which the next start removes if this one could not.

A process that is killed removes nothing. It holds a lock for as long as it lives, so whoever can
take a folder's lock knows that nobody uses it any more.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
PREFIX = "llama-adapter-studio-"
LOCK = "in-use.lock"
YOUNG_SECONDS = 60.0  # a folder of that age may be about to be locked


@contextmanager
def run_folder() -> Iterator[Path]:
    """Make the folder, in which `tempfile` puts everything meanwhile; it is gone afterwards.

    Raises:
        OSError: there is no room for temporary files.
    """
    remove_leftovers(Path(tempfile.gettempdir()))
    before = tempfile.tempdir
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    try:
        inner = folder / "tmp"
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
        with suppress(OSError, Timeout):  # another one's, or in use
            if time.time() - folder.stat().st_mtime < YOUNG_SECONDS or not _made_here(folder):
                continue
            with FileLock(folder / LOCK, timeout=0):
                pass
            shutil.rmtree(folder)
            log.info("removed what a killed run had left: %s", folder.name)


def _made_here(folder: Path) -> bool:
    return (folder / LOCK).is_file() and not folder.is_symlink()
