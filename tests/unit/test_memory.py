"""Memory that begins a cache line."""

import numba as nb
import numpy as np
import pytest

from demo.llama import memory
from demo.llama.compiled import JIT
from demo.llama.memory import LINE, scratch

SHAPES = ((1,), (7,), (3, 5), (2, 3, 32))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
def test_an_array_begins_a_line(shape: tuple[int, ...], dtype: type) -> None:
    arrays = [make(shape, dtype) for make in (memory.empty, memory.zeros) for _ in range(5)]
    for array in arrays:
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.ctypes.data % LINE == 0
        assert array.flags.c_contiguous and array.flags.writeable
    assert not arrays[-1].any()


@nb.njit(**{**JIT, "cache": False})
def _places(shape, count):  # where arrays begin within a line, and whether they keep what is put in
    total = 0
    for number in range(count):
        array = scratch(shape)
        array[:] = number
        total += array.ctypes.data % LINE + (array.size != np.sum(array == number))
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_so_does_one_inside_compiled_code(shape: tuple[int, ...]) -> None:
    assert _places(shape, 20) == 0
