"""Memory: how much there is, and what is given back of it.

The C library and torch keep what they once had, and an hour of mixed use otherwise leaves a server
that nobody talks to with the caches of everybody who did. Where the system has none of these calls,
nothing happens.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from demo.errors import InputError

GROUPS = Path("/sys/fs/cgroup")  # where Linux says what a container may take
OWN_GROUPS = Path("/proc/self/cgroup")  # and in which of them this program is
PAGE_BYTES = 192 * 2**20  # that serving the page takes, without a model
IMPORT_BYTES = 384 * 2**20  # that torch and the kernels' compiler take, before a model is known
PROGRAM_BYTES = 384 * 2**20  # and all else, besides the model and its conversations
# Of a group's limit, of what it takes, and of its statistics: files, and those in memory alone.
GROUP_FILES = {
    "2": ("memory.max", "memory.current", "file", "shmem"),
    "1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", "total_shmem"),
}
ARENAS = 2  # of malloc; by default it makes eight a core and keeps the holes in each
CONVOLUTIONS = 192  # of oneDNN, one for each shape and number of pictures; else it keeps 1,024
M_ARENA_MAX = -8  # as <malloc.h> numbers it


def available(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> int:
    """Return the bytes that this program may still take, of machine, container and `ulimit`.

    Args:
        groups: the folder of all control groups.
        own: the file that names those of this program.
    """
    left = [psutil.virtual_memory().available, *_left_in_groups(groups, own), *_left_by_ulimit()]
    return max(0, min(left))


def require(needed: int) -> None:
    """Check that so many bytes may still be taken: whoever takes more is ended without a word.

    Raises:
        InputError: they may not; the message says how many there are.
    """
    if (free := available()) < needed:
        raise InputError(
            f"This program needs {needed / 2**20:,.0f} MB of memory, and {free / 2**20:,.0f} MB "
            "are free. End other programs, or give the machine or its container more."
        )


def _left_in_groups(groups: Path, own: Path) -> Iterator[int]:
    """Yield what each group leaves that this program is in: a group's limit holds for those in it.

    Both kinds of Linux's control groups are looked at, at this program's place and above it, since
    a container may show its own place alone.
    """
    for kind, place in _places(own):
        top = groups if kind == "2" else groups / "memory"
        for folder in (top / place, *(top / place).parents):
            if folder.is_relative_to(top):
                yield from _left_in_group(folder, GROUP_FILES[kind])


def _places(own: Path) -> Iterator[tuple[str, str]]:
    """Yield the kind of group, 1 or 2, that bounds memory, and this program's place in it."""
    yield from (("2", ""), ("1", ""))
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            number, parts, place = line.split(":", 2)
            if number == "0":
                yield "2", place.strip("/")
            elif "memory" in parts.split(","):
                yield "1", place.strip("/")


def _left_in_group(folder: Path, names: tuple[str, str, str, str]) -> Iterator[int]:
    most, taken, files, in_memory = names
    with suppress(OSError, ValueError, KeyError):  # no such group, or one without a limit
        lines = (folder / "memory.stat").read_text().splitlines()
        stat = dict(line.split() for line in lines)
        # Files that were read are forgotten when memory is needed.
        spare = int(stat[files]) - int(stat.get(in_memory, 0))
        yield int((folder / most).read_text()) - int((folder / taken).read_text()) + spare


def _left_by_ulimit() -> Iterator[int]:
    with suppress(ImportError):  # Windows has none
        import resource

        held = psutil.Process().memory_info()
        for kind, taken in (("RLIMIT_AS", held.vms), ("RLIMIT_DATA", getattr(held, "data", 0))):
            if hasattr(resource, kind):
                most = resource.getrlimit(getattr(resource, kind))[0]
                if most != resource.RLIM_INFINITY:
                    yield most - taken


def bound_libraries() -> None:
    """Let threads share a few arenas, and torch keep few compiled convolutions.

    Called before there are threads, and before torch computes.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(CONVOLUTIONS))
    if library := _library("mallopt"):
        library.mallopt(M_ARENA_MAX, ARENAS)


def trim() -> None:
    """Give back what was freed."""
    if library := _library("malloc_trim"):
        library.malloc_trim(0)


def settle() -> None:
    """Take what is here now for what stays: the collector looks at millions of objects no more.

    Called once all is loaded, of which much was needed for that alone. Whatever made many objects,
    such as the text of a request, otherwise held everybody up while each of these was looked at,
    again and again.
    """
    gc.collect()
    gc.freeze()
    trim()


def _library(name: str) -> ctypes.CDLL | None:
    """Return the C library where it has a function of that name."""
    if sys.platform == "win32":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, name) else None
