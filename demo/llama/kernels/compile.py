"""How kernels are compiled, what the processor has for them, and memory that suits them.

Numba compiles a function again when its own file changes, but not when a file does that it calls
into, so an update of one file could leave a program with halves of two versions. `drop_stale` keeps
numba's cache true to all sources of this folder.

Arrays for kernels begin a cache line. numpy and numba begin theirs anywhere, and a vector is as
long as a line, so all of an array would be read and written in two halves: products by matrix
instructions took two and a half times as long.
"""

import ctypes
import hashlib
import math
import mmap
import platform
from pathlib import Path
from typing import NamedTuple

import numba as nb
import numpy as np
from llvmlite.binding import get_host_cpu_features

from demo.atomic_file import replace_file

SOURCES = Path(__file__).parent
STAMP = "kernels.sha256"
CACHE_LINE = 64  # bytes
_NUMBERS = CACHE_LINE // 4  # of fp32 in a line
_ASK, _TILE_DATA = 0x1023, 18  # arch_prctl's ARCH_REQ_XCOMP_PERM, and the state to ask for
_SYSCALL = 158  # arch_prctl on x86-64
# A division is always the processor's own: an estimate of it would be taken for some numbers of an
# array and not for others, and a check for zero would keep it from vectors.
_ALWAYS = {"nogil": True, "cache": True, "error_model": "numpy"}
JIT = _ALWAYS | {"fastmath": {"reassoc", "contract", "nsz", "nnan"}}
# Sums in the order they are written, wherever the function is compiled into: numba lets one that
# does not set `fastmath` inherit that of the function it is compiled for.
EXACT = JIT | {"fastmath": False}
# As written, but for NaN: what a token gets must not depend on the place in a tile that it has.
LANES_ALIKE = _ALWAYS | {"fastmath": {"nsz", "nnan"}}


def _has_amx() -> bool:
    features = get_host_cpu_features()
    return bool(features.get("amx-int8") and features.get("amx-tile"))


# A constant to numba, which leaves out what hangs on a false one: a fifth of all that is compiled.
HAS_AMX = _has_amx()


class KernelOptions(NamedTuple):
    """What every kernel over whole layers is told of the model and the machine."""

    heads: int  # H
    eps: np.float32  # of the norms
    threads: int


def max_threads() -> int:
    """Return the most threads that numba can use; it is fixed when numba is imported."""
    return nb.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set from the environment


def request_amx() -> bool:
    """Ask the system for matrix instructions; return whether this process may use them.

    False where the processor has none, or the system or its sandbox refuses.
    """
    if platform.system() != "Linux" or not HAS_AMX:
        return False
    return ctypes.CDLL(None).syscall(_SYSCALL, _ASK, _TILE_DATA) == 0


def drop_stale(cache: Path, sources: Path = SOURCES) -> bool:
    """Drop what is compiled in `cache` unless it was from these sources; return whether it did.

    To be called before a kernel's first use. A folder that cannot be written is left as it is:
    numba does not write there either.
    """
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        digest.update(path.read_bytes())
    stamp = cache / STAMP
    try:
        if stamp.exists() and stamp.read_text() == digest.hexdigest():
            return False
        for index in cache.glob("*.nbi"):
            index.unlink(missing_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        with replace_file(stamp) as file:
            file.write_text(digest.hexdigest())
    except OSError:
        return False
    return True


def empty(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Allocate an array that is not cleared; the system gives memory when it is written to."""
    return _aligned(np.empty(_bytes(shape, dtype) + CACHE_LINE, np.uint8), shape, dtype)


def zeros(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Allocate an array of zeros."""
    return _aligned(np.zeros(_bytes(shape, dtype) + CACHE_LINE, np.uint8), shape, dtype)


def discard(array: np.ndarray) -> None:
    """Give back the memory of an array that stays; what it held is lost.

    Args:
        array: contiguous, and the only one on its pages but for those at its ends.
    """
    _advise(array, "MADV_DONTNEED")


def without_huge_pages(array: np.ndarray) -> np.ndarray:
    """Let an array that is written to here and there take memory in small pages → the array.

    numpy asks the system for large ones, of which each number that is written takes two megabytes.

    Args:
        array: as in `discard`.
    """
    _advise(array, "MADV_NOHUGEPAGE")
    return array


def _advise(array: np.ndarray, advice: str) -> None:
    """Tell the system how the whole pages of an array are used, where it has such an advice."""
    if not hasattr(mmap, advice):
        return
    page = mmap.PAGESIZE
    start = -(-array.ctypes.data // page) * page
    end = (array.ctypes.data + array.nbytes) // page * page
    if end > start:
        size, number = ctypes.c_size_t(end - start), ctypes.c_int(getattr(mmap, advice))
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), size, number)


@nb.njit(**LANES_ALIKE)
def scratch(shape):
    """Allocate an fp32 array in compiled code, not cleared."""
    count = 1
    for size in shape:
        count *= size
    memory = np.empty(count + _NUMBERS, np.float32)
    start = (-memory.ctypes.data % CACHE_LINE) // 4
    return memory[start : start + count].reshape(shape)


def _bytes(shape: tuple[int, ...], dtype: type) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _aligned(memory: np.ndarray, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start:][: _bytes(shape, dtype)].view(dtype).reshape(shape)
