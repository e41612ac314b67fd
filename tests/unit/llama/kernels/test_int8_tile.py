"""The tiles of a prefill against numpy, as the intrinsics are: no bounds, no checks."""

import numba as nb
import numpy as np
import pytest

from demo.llama.kernels import int8_tile
from demo.llama.kernels.int8_tile import (
    GEMM_ROWS,
    MAX_ACTIVATION,
    MAX_PAIRS,
    TOKENS,
    byte_tile,
    float_tile,
    int_tile,
)

pytestmark = pytest.mark.compiles

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
    rows = RANDOM.integers(-127, 128, (GEMM_ROWS, 90)).astype(np.int16)
    x = RANDOM.integers(-MAX_ACTIVATION, MAX_ACTIVATION + 1, (80, TOKENS)).astype(np.int32)
    out = np.ones((GEMM_ROWS, TOKENS), np.float32)
    integers(rows, packed(x), start, stop, out)
    used = slice(2 * start, 2 * stop)
    expected = 1 + rows[:, used].astype(np.int64) @ x[used]
    assert np.allclose(out, expected, rtol=1e-6)


def test_the_largest_sum_there_can_be_does_not_overflow():
    rows = np.full((GEMM_ROWS, 2 * MAX_PAIRS), 127, np.int16)
    x = np.full((2 * MAX_PAIRS, TOKENS), MAX_ACTIVATION, np.int32)
    out = np.zeros((GEMM_ROWS, TOKENS), np.float32)
    integers(rows, packed(x), 0, MAX_PAIRS, out)
    assert np.allclose(out, 127 * MAX_ACTIVATION * 2 * MAX_PAIRS)


@pytest.mark.parametrize("across", [0, 1])
def test_floats(across):
    a = RANDOM.standard_normal((40, 24)).astype(np.float32)
    b = RANDOM.standard_normal((40, TOKENS)).astype(np.float32)
    out = np.ones((GEMM_ROWS, TOKENS), np.float32)
    count = 37 if across else 24
    floats(a, 9, across, b, count, out)
    lines = a[:count, 9 : 9 + GEMM_ROWS].T if across else a[9 : 9 + GEMM_ROWS]
    assert np.allclose(out, 1 + lines @ b[:count], atol=1e-4)


@pytest.mark.parametrize("processor", ["this one", "without VNNI"])
def test_bytes(processor, monkeypatch):
    if processor == "without VNNI":
        monkeypatch.setattr(int8_tile, "get_host_cpu_features", dict)

    @nb.njit
    def bytewise(rows, packed, first, quads, out):
        byte_tile(rows, packed, first, quads, out)

    rows = RANDOM.integers(0, 256, (GEMM_ROWS, 72)).astype(np.uint8)
    x = RANDOM.integers(-127, 128, (68, TOKENS)).astype(np.int8)
    rows[0, :68], x[:, 0] = 255, 127
    quads = np.ascontiguousarray(x.reshape(17, 4, TOKENS).swapaxes(1, 2)).view(np.int32)[..., 0]
    first = RANDOM.integers(-(10**6), 10**6, TOKENS).astype(np.int32)
    out = np.full((GEMM_ROWS, TOKENS), np.nan, np.float32)
    bytewise(rows, quads, first, 17, out)
    assert np.array_equal(out, first + rows[:, :68].astype(np.int64) @ x.astype(np.int64))
