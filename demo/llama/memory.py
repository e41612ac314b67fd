"""Memory whose first number begins a cache line.

numpy and numba begin theirs anywhere. A vector is as long as a line, so all of an array would be
read and written in two halves: products by matrix instructions took two and a half times as long.
"""

import math

import numba as nb
import numpy as np

from demo.llama.compiled import LANES_ALIKE

LINE = 64  # bytes
_NUMBERS = LINE // 4  # of fp32 in a line


def empty(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Not cleared, and not taken from the system before it is written to."""
    return _within(np.empty(_bytes(shape, dtype) + LINE, np.uint8), shape, dtype)


def zeros(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """All zero."""
    return _within(np.zeros(_bytes(shape, dtype) + LINE, np.uint8), shape, dtype)


@nb.njit(**LANES_ALIKE)
def scratch(shape):  # fp32 in compiled code, not cleared
    count = 1
    for size in shape:
        count *= size
    memory = np.empty(count + _NUMBERS, np.float32)
    start = (-memory.ctypes.data % LINE) // 4
    return memory[start : start + count].reshape(shape)


def _bytes(shape: tuple[int, ...], dtype: type) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _within(memory: np.ndarray, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    start = -memory.ctypes.data % LINE
    return memory[start:][: _bytes(shape, dtype)].view(dtype).reshape(shape)
