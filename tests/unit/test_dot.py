"""The innermost loop against numpy, and its promise: company does not change a sum."""

import numba as nb
import numpy as np
import pytest

from demo.llama.kernel import linear as product

RANDOM = np.random.default_rng(0)


def linear(weight: np.ndarray, scale: np.ndarray, x: np.ndarray, threads: int) -> np.ndarray:
    nb.set_num_threads(min(threads, nb.config.NUMBA_NUM_THREADS))
    y = np.empty((len(x), len(weight)), np.float32)
    product(weight, scale, x, y, False, threads)
    return y


def made(rows: int, columns: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weight = RANDOM.integers(-127, 128, (rows, columns)).astype(np.int8)
    scale = RANDOM.random(rows, np.float32) + np.float32(0.5)
    return weight, scale, RANDOM.standard_normal((batch, columns)).astype(np.float32)


@pytest.mark.parametrize("columns", [1, 15, 63, 64, 65, 576, 700])
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7, 8])
def test_it_is_the_product(columns, batch):
    weight, scale, x = made(11, columns, batch)
    expected = x.astype(np.float64) @ (weight * scale[:, None].astype(np.float64)).T
    assert np.abs(linear(weight, scale, x, 2) - expected).max() <= 2e-6 * 127 * columns


@pytest.mark.parametrize("columns", [576, 1536, 100])
def test_a_sequence_sums_the_same_in_any_company_and_on_any_threads(columns):
    weight, scale, x = made(37, columns, 8)
    alone = [linear(weight, scale, x[b : b + 1], 1)[0] for b in range(8)]
    for batch in (2, 3, 4, 5, 8):
        for threads in (1, 2):
            together = linear(weight, scale, x[:batch], threads)
            assert all(np.array_equal(together[b], alone[b]) for b in range(batch))


def test_it_adds_to_what_is_there_when_asked():
    weight, scale, x = made(5, 70, 3)
    y = np.ones((3, 5), np.float32)
    product(weight, scale, x, y, True, 1)
    assert np.allclose(y, 1 + linear(weight, scale, x, 1), atol=1e-3)
