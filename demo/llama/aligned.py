"""Arrays that begin where a line of the cache does.

A vector, or a row of a matrix register, that lies across two lines is read in two halves: products
by matrix instructions took two to three times as long.
"""

import numpy as np
from numpy.typing import DTypeLike

LINE = 64  # bytes


def aligned(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """An array that is not cleared."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start:][:size].view(dtype).reshape(shape)
