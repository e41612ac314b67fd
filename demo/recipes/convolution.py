"""Convolutions as matrix products, for the many channels of a tower's last layers.

On a CPU, oneDNN's own kernels for maps of 2 to 6 pixels reach a fraction of what its products do:
the gradient of 512 filters over 3 x 3 maps takes ten times as long as the same product.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 256  # channels in; with fewer, the copies cost more than is gained


def by_products(model: nn.Module, least: int = LEAST) -> None:
    """Lets `model` compute its convolutions of at least so many channels this way, in place."""
    for module in model.modules():
        if type(module) is nn.Conv2d and module.in_channels >= least and _plain(module):
            module.__class__ = ProductConv2d


def _plain(module: nn.Conv2d) -> bool:
    square = all(len({*pair}) == 1 for pair in (module.kernel_size, module.stride, module.padding))
    even = module.padding_mode == "zeros" and module.dilation == (1, 1)
    return square and even and module.groups == 1 and module.bias is None


class ProductConv2d(nn.Conv2d):
    """The same layer, with the same weights under the same names."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        return _Convolution.apply(x, weight, self.stride[0], self.padding[0])


class _Convolution(torch.autograd.Function):
    """(B, C, H, W) and (O, C, K, K) -> (B, O, h, w), all of them channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        columns, (count, high, wide) = _columns(x, weight.shape[2], stride, padding)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        y = columns @ weight.permute(2, 3, 1, 0).reshape(columns.shape[1], -1)
        return y.view(count, high, wide, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        out, into, side, _ = weight.shape
        flat = slope.permute(0, 2, 3, 1).reshape(-1, out)  # (B h w, O)
        columns, _ = _columns(x, side, ctx.stride, ctx.padding)
        of_weight = (flat.T @ columns).view(out, side, side, into).permute(0, 3, 1, 2)
        of_x = None
        if ctx.needs_input_grad[0]:
            spread = _spread(slope, x, weight, ctx.stride, ctx.padding)
            turned = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(-1, into)  # (K K O, C)
            columns, _ = _columns(spread, side, 1, 0)
            of_x = (columns @ turned).view(len(x), *x.shape[2:], into).permute(0, 3, 1, 2)
        return of_x, of_weight, None, None


def _columns(x: Tensor, side: int, stride: int, padding: int) -> tuple[Tensor, tuple[int, ...]]:
    """What each place of the result sees, (B h w, K K C), and B, h, w."""
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, *[padding] * 4)).contiguous()  # (B, H, W, C)
    count, high, wide, channels = x.shape
    high, wide = (high - side) // stride + 1, (wide - side) // stride + 1
    picture, row, place, one = x.stride()
    shape = (count, high, wide, side, side, channels)
    seen = x.as_strided(shape, (picture, row * stride, place * stride, row, place, one))
    return seen.reshape(count * high * wide, side * side * channels), (count, high, wide)


def _spread(slope: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The slopes at the places they belong to, zeros between and around: (B, O, H + K - 1, ...)."""
    side = weight.shape[2]
    high, wide = (size + side - 1 for size in x.shape[2:])
    spread = slope.new_zeros(len(x), high, wide, len(weight)).permute(0, 3, 1, 2)
    start = side - 1 - padding
    rows, columns = (slice(start, start + stride * n, stride) for n in slope.shape[2:])
    spread[:, :, rows, columns] = slope
    return spread
