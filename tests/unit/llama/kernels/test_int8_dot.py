"""The innermost loop against numpy, and its promise: company does not change a sum."""

import numba as nb
import numpy as np
import pytest

from demo.llama.kernels.amx import TILE_ROWS
from demo.llama.kernels.compile import max_threads, request_amx
from demo.llama.kernels.decode import GROUP_SEQUENCES, QuantisedRows, gemv, quantise_activations
from demo.llama.kernels.simd import exp

pytestmark = pytest.mark.compiles

RANDOM = np.random.default_rng(0)


def quantised(x: np.ndarray, amx: bool = False) -> QuantisedRows:
    # Wider than the numbers, as in use: what lies beyond must not count.
    high, low = (np.full((len(x), x.shape[1] + 40), 99, np.int16) for _ in range(2))
    four = np.full((-(-len(x) // GROUP_SEQUENCES), x.shape[1] // 4 + 9, TILE_ROWS), 99, np.int32)
    qx = QuantisedRows(high, low, np.empty(len(x), np.float32), four, amx)
    quantise_activations(x, qx)
    return qx


def linear(
    weight: np.ndarray, scale: np.ndarray, x: np.ndarray, threads: int, amx: bool = False
) -> np.ndarray:
    nb.set_num_threads(min(threads, max_threads()))
    y = np.empty((len(x), len(weight)), np.float32)
    gemv(weight, scale, quantised(x, amx), y, False, threads)
    return y


def made(rows: int, columns: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weight = RANDOM.integers(-127, 128, (rows, columns)).astype(np.int8)
    scale = RANDOM.random(rows, np.float32) + np.float32(0.5)
    return weight, scale, RANDOM.standard_normal((batch, columns)).astype(np.float32)


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 64, 576, 700, 16_384, 20_000])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 8])
def test_it_is_the_product(columns, batch):
    weight, scale, x = made(11, columns, batch)
    expected = x.astype(np.float64) @ (weight * scale[:, None].astype(np.float64)).T
    assert np.abs(linear(weight, scale, x, 2) - expected).max() <= 3e-7 * np.abs(expected).max()


@pytest.mark.parametrize("columns", [576, 1536, 100])
def test_a_sequence_sums_the_same_in_any_company_and_on_any_threads(columns):
    weight, scale, x = made(37, columns, 8)
    alone = [linear(weight, scale, x[b : b + 1], 1)[0] for b in range(8)]
    for batch in (2, 3, 4, 5, 8):
        for threads in (1, 2):
            together = linear(weight, scale, x[:batch], threads)
            assert all(np.array_equal(together[b], alone[b]) for b in range(batch))


def test_the_largest_sums_there_can_be_do_not_overflow():
    weight = np.full((4, 16_384), -127, np.int8)
    x = np.full((2, 16_384), 3.0, np.float32)
    x[1] *= -1
    result = linear(weight, np.ones(4, np.float32), x, 1)
    assert np.allclose(np.abs(result), 127 * 3.0 * 16_384, rtol=1e-6)


def test_it_adds_to_what_is_there_when_asked():
    weight, scale, x = made(5, 70, 3)
    y = np.ones((3, 5), np.float32)
    gemv(weight, scale, quantised(x), y, True, 1)
    assert np.allclose(y, 1 + linear(weight, scale, x, 1), atol=1e-3)


def test_fixed_point_keeps_what_fp32_keeps_of_a_row():
    x = RANDOM.standard_normal((3, 100)).astype(np.float32)
    x[0, 5] = 1e4  # an outlier, as activations have them
    x[2] = 0
    high, low, scale, *_ = quantised(x)
    back = (high * 2.0**15 + low)[:, :100] * scale[:, None]
    rounded = np.abs(x) * 2.0**-23 + np.abs(x).max(1, keepdims=True) * 2.0**-28
    assert (np.abs(back - x) <= rounded).all()


@nb.njit(fastmath=True)
def exp_of(x, out):
    for i in range(x.shape[0]):
        out[i] = exp(x[i])


def test_exp_is_within_its_bound_and_never_infinite():
    x = np.linspace(-86, 86, 100_001, dtype=np.float32)
    out = np.empty_like(x)
    exp_of(x, out)
    assert (np.abs(out / np.exp(x.astype(np.float64)) - 1) <= 3e-7).all()
    extremes, out = np.array([-1e30, 1e30, -np.inf, np.inf], np.float32), np.empty(4, np.float32)
    exp_of(extremes, out)
    assert (out[::2] < 1e-37).all() and np.isfinite(out).all()


there = pytest.mark.skipif(not request_amx(), reason="this processor has no AMX, or may not use it")


@there
@pytest.mark.parametrize("columns", [64, 576, 16_384])
@pytest.mark.parametrize(
    ("rows", "batch"), [(32, 1), (70, 3), (64, 4), (150, 5), (33, 8), (64, 13)]
)
def test_it_is_the_product_by_matrix_instructions(columns, rows, batch):
    weight, scale, x = made(rows, columns, batch)
    x[:, 5] *= 100
    expected = x.astype(np.float64) @ (weight * scale[:, None].astype(np.float64)).T
    for threads in (1, 2):
        found = linear(weight, scale, x, threads, True)
        assert np.abs(found - expected).max() <= 3e-7 * np.abs(expected).max()


@there
def test_matrix_instructions_sum_a_sequence_the_same_in_any_company():
    weight, scale, x = made(96, 576, 9)
    alone = [linear(weight, scale, x[b : b + 1], 1, True)[0] for b in range(9)]
    for batch in (2, 4, 5, 9):
        for threads in (1, 2):
            together = linear(weight, scale, x[:batch], threads, True)
            assert all(np.array_equal(together[b], alone[b]) for b in range(batch))


@there
def test_the_largest_sums_of_bytes_do_not_overflow():
    weight = np.full((32, 28_672), -127, np.int8)
    x = np.full((2, 28_672), 3.0, np.float32)
    x[1] *= -1
    result = linear(weight, np.ones(32, np.float32), x, 1, True)
    assert np.allclose(np.abs(result), 127 * 3.0 * 28_672, rtol=1e-6)
