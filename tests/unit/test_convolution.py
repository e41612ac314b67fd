"""Convolutions as products: the same numbers as torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from demo.recipes.convolution import ProductConv2d, by_products


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("side", "padding"), [(3, 1), (1, 0), (5, 0), (5, 2), (2, 1)])
@pytest.mark.parametrize(("high", "wide"), [(7, 7), (6, 9)])
def test_results_and_slopes_are_torchs(stride, side, padding, high, wide) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 4, side, stride, padding, bias=False).double()
    x = torch.randn(3, 5, high, wide).double().to(memory_format=torch.channels_last)
    x.requires_grad_()
    expected = layer(x)
    slope = torch.randn_like(expected)
    slopes = torch.autograd.grad(expected, (x, layer.weight), slope)
    by_products(layer, least=5)
    assert type(layer) is ProductConv2d
    found = layer(x)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(torch.autograd.grad(found, (x, layer.weight), slope), slopes)


def test_autocast_halves_it_and_gives_the_weights_their_own_slopes() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 6, 3, padding=1, bias=False)
    x = torch.randn(2, 8, 5, 5)
    expected = F.conv2d(x, layer.weight, padding=1)
    by_products(layer, least=8)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    found.float().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(8, 8, 3, groups=2, bias=False),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, (3, 1), bias=False),
        nn.Conv2d(8, 8, 3, dilation=2, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv2d(4, 8, 3, bias=False),
        nn.ConvTranspose2d(8, 8, 3, bias=False),
    ],
)
def test_other_layers_stay_what_they_are(other: nn.Module) -> None:
    kind = type(other)
    by_products(other, least=8)
    assert type(other) is kind
