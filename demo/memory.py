"""Memory: how much there is, and what is given back of it.

The C library and numpy keep what they once had, and an hour of mixed use otherwise leaves a server
that nobody talks to with the caches of everybody who did. Where the system has none of these calls,
nothing happens.
"""

import ctypes
import gc
import mmap
import sys
from pathlib import Path

import numpy as np
import psutil

CONTAINER = Path("/sys/fs/cgroup")  # where Linux says what a container may take
ARENAS = 4  # of malloc; by default it makes eight a core and keeps the holes in each
M_ARENA_MAX = -8  # as <malloc.h> numbers it


def available(container: Path = CONTAINER) -> int:
    """Return the bytes that this program may still take, of the machine and of its container."""
    free = psutil.virtual_memory().available
    try:
        most = int((container / "memory.max").read_text())
        taken = int((container / "memory.current").read_text())
        lines = (container / "memory.stat").read_text().splitlines()
        stat = dict(line.split() for line in lines)
        # Files that were read are forgotten when memory is needed.
        return max(0, min(free, most - taken + int(stat["file"])))
    except (OSError, ValueError, KeyError):  # no container, or one without a limit
        return free


def bound_arenas() -> None:
    """Let threads share a few arenas; called before there are threads."""
    if library := _library("mallopt"):
        library.mallopt(M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give back what was freed."""
    if library := _library("malloc_trim"):
        library.malloc_trim(0)


def settle() -> None:
    """Take what is here now for what stays: the collector looks at millions of objects no more.

    Called once all is loaded. Whatever made many objects, such as the text of a request, otherwise
    held everybody up while each of these was looked at, again and again.
    """
    gc.collect()
    gc.freeze()


def discard(array: np.ndarray) -> None:
    """Give back the memory of an array that stays; what it held is lost.

    Args:
        array: contiguous, and the only one on its pages but for those at its ends.
    """
    library = _library("madvise")
    if not library or not hasattr(mmap, "MADV_DONTNEED"):
        return
    page = mmap.PAGESIZE
    start = -(-array.ctypes.data // page) * page
    end = (array.ctypes.data + array.nbytes) // page * page
    if end > start:
        library.madvise(
            ctypes.c_void_p(start), ctypes.c_size_t(end - start), ctypes.c_int(mmap.MADV_DONTNEED)
        )


def _library(name: str) -> ctypes.CDLL | None:
    """Return the C library where it has a function of that name."""
    if sys.platform == "win32":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, name) else None
