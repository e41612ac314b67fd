"""Files appear whole or not at all, so a crash or a full disk never costs the old one."""

import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.part")
ABANDONED_SECONDS = 600.0  # without a byte, after which nobody is writing a file any more


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give an empty file beside `path` to write to; it takes `path`'s place when the block ends.

    The folder is made when missing. If the block raises, the new file is removed and `path` stays
    as it was. Two writers at once do not mix: the last to finish wins.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix changes too: a search for `*.safetensors` must not find the half-written file.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with open(unfinished, "xb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    try:
        yield unfinished
        # safetensors swaps in a file of its own that only its owner may read: give back our mode.
        unfinished.chmod(mode)
        _flush(unfinished, os.O_RDWR)
        os.replace(unfinished, path)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise
    _flush(path.parent, os.O_RDONLY)


def remove_unfinished(folder: Path, age: float = ABANDONED_SECONDS) -> None:
    """Remove what programs that were killed had begun to write in a folder.

    Args:
        folder: whose files are looked at, not those of folders in it.
        age: seconds since the last byte; 0 where it is certain that nobody writes there.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):  # it goes just now
                if UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime >= age:
                    path.unlink()


def _flush(path: Path, flags: int) -> None:
    """Force a file, or a folder's list of names, onto the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
