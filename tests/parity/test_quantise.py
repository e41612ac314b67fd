"""8-bit rows against bitsandbytes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from demo.llama.weights.quantise import quantise_rows

Reference = Callable[[Tensor], tuple[Tensor, Tensor, Tensor | None]]


@pytest.fixture(scope="module")
def reference() -> Reference:
    from bitsandbytes.functional import int8_vectorwise_quant  # here, because it takes seconds

    return int8_vectorwise_quant


@pytest.mark.matrix("E10")
def test_rows_are_those_of_bitsandbytes(reference: Reference) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(301, 577) * torch.logspace(-3, 2, 301)[:, None]
    found = quantise_rows(matrix)
    expected, scales, _ = reference(matrix)
    assert torch.equal(found.SCB, scales)
    assert torch.equal(found.CB, expected)


def test_fp16_as_bitsandbytes_takes_it_differs_only_in_ties(reference: Reference) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(64, 256).half()
    found = quantise_rows(matrix.float())
    expected, scales, _ = reference(matrix)
    assert torch.equal(found.SCB, scales)
    difference = (found.CB.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.05


def test_rows_without_a_scale_are_zero() -> None:
    matrix = torch.zeros(3, 8)
    matrix[1] = 1e-45  # denormal: 127 / 1e-45 overflows
    matrix[2, 0] = -2.0
    found = quantise_rows(matrix)
    assert found.CB[0].count_nonzero() == 0
    assert found.CB[1].count_nonzero() == 0
    assert found.CB[2].tolist() == [-127] + [0] * 7
    assert torch.isfinite(found.dequantised()).all()
