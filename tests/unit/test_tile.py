"""The tiles of a prefill against numpy, as the intrinsics are: no bounds, no checks."""

import numba as nb
import numpy as np
import pytest

from demo.llama.tile import LARGEST, MOST_PAIRS, ROWS, TOKENS, float_tile, int_tile

RANDOM = np.random.default_rng(0)


@nb.njit
def integers(rows, packed, start, stop, out):
    int_tile(rows, packed, start, stop, out)


@nb.njit
def floats(a, row, across, b, count, out):
    float_tile(a, row, across, b, count, out)


def packed(x: np.ndarray) -> np.ndarray:
    """(2 pairs, TOKENS) integers → (pairs, TOKENS) int32."""
    return (x[::2] & 0xFFFF) | (x[1::2] << 16)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 40), (7, 40), (5, 5)])
def test_integers(start, stop):
    rows = RANDOM.integers(-127, 128, (ROWS, 90)).astype(np.int16)
    x = RANDOM.integers(-LARGEST, LARGEST + 1, (80, TOKENS)).astype(np.int32)
    out = np.ones((ROWS, TOKENS), np.float32)
    integers(rows, packed(x), start, stop, out)
    used = slice(2 * start, 2 * stop)
    expected = 1 + rows[:, used].astype(np.int64) @ x[used]
    assert np.allclose(out, expected, rtol=1e-6)


def test_the_largest_sum_there_can_be_does_not_overflow():
    rows = np.full((ROWS, 2 * MOST_PAIRS), 127, np.int16)
    x = np.full((2 * MOST_PAIRS, TOKENS), LARGEST, np.int32)
    out = np.zeros((ROWS, TOKENS), np.float32)
    integers(rows, packed(x), 0, MOST_PAIRS, out)
    assert np.allclose(out, 127 * LARGEST * 2 * MOST_PAIRS)


@pytest.mark.parametrize("across", [0, 1])
def test_floats(across):
    a = RANDOM.standard_normal((40, 24)).astype(np.float32)
    b = RANDOM.standard_normal((40, TOKENS)).astype(np.float32)
    out = np.ones((ROWS, TOKENS), np.float32)
    count = 37 if across else 24
    floats(a, 9, across, b, count, out)
    lines = a[:count, 9 : 9 + ROWS].T if across else a[9 : 9 + ROWS]
    assert np.allclose(out, 1 + lines @ b[:count], atol=1e-4)
