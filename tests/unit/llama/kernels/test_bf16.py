"""Numbers kept in 16 bits: torch's bf16, to the bit, and fp32 left as it is."""

import numba as nb
import numpy as np
import pytest
import torch

from demo.llama.kernels.bf16 import fp32_rows, rounded, widened

# Ties to either side, the smallest and the largest of both types, and what has no number.
EDGES = (
    *(1.0, 1.00390625, 1.01171875, -1.00390625, 0.0, -0.0, 65504.0, 1e-40, 1e-45, 3e38, 3.4e38),
    *(np.inf, -np.inf),
)


@nb.njit
def keep(numbers, kept):
    for i in range(len(numbers)):
        kept[i] = rounded(numbers[i], kept)


@nb.njit
def widen(kept, numbers):
    for i in range(len(kept)):
        numbers[i] = widened(kept[i])


@nb.njit
def as_fp32(kept, count, room):
    return fp32_rows(kept, count, room)


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, np.uint32)
    some = bits.view(np.float32)
    return np.concatenate([np.array(EDGES, np.float32), some[~np.isnan(some)]])


def test_16_bits_are_torchs_bf16(numbers: np.ndarray) -> None:
    kept, again = np.zeros(len(numbers), np.uint16), np.zeros(len(numbers), np.float32)
    keep(numbers, kept)
    widen(kept, again)
    expected = torch.from_numpy(numbers).bfloat16()
    assert (kept == expected.view(torch.uint16).numpy()).all()
    assert (again == expected.float().numpy()).all()


def test_32_bits_stay_as_they_are(numbers: np.ndarray) -> None:
    kept, again = np.zeros(len(numbers), np.float32), np.zeros(len(numbers), np.float32)
    keep(numbers, kept)
    widen(kept, again)
    assert (kept == numbers).all()
    assert (again == numbers).all()


@pytest.mark.parametrize("rows_of", [fp32_rows, as_fp32], ids=["numpy", "compiled"])
def test_rows_are_widened_as_far_as_they_are_read(rows_of) -> None:
    full = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    kept, room = np.zeros(24, np.uint16), np.full((8, 4), 7, np.float32)
    keep(full.ravel(), kept)
    rows = rows_of(kept.reshape(6, 4), 5, room)
    assert (rows[:5] == torch.from_numpy(full[:5]).bfloat16().float().numpy()).all()
    assert (rows[5:] == 7).all()
    assert np.shares_memory(rows, room)
    assert np.shares_memory(rows_of(full, 5, room), full)
