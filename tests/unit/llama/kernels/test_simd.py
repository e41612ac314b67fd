"""Numbers below fp32's precision are 0 in that mode, on x86, and only in it."""

import numba as nb
import numpy as np
import pytest

from demo.llama.kernels.simd import _x86, flush, restore


@nb.njit
def products(a, b, out):
    out[0] = a[0] * b[0]
    mode = flush()
    out[1] = a[0] * b[0]
    restore(mode)
    out[2] = a[0] * b[0]


@pytest.mark.skipif(not _x86(), reason="the mode is x86's")
def test_small_products_are_nothing_until_the_mode_is_restored():
    out = np.full(3, -1, np.float32)
    products(np.full(1, 1e-30, np.float32), np.full(1, 1e-10, np.float32), out)
    assert out[1] == 0
    assert 0 < out[0] < 1.2e-38 and out[2] == out[0]
