"""Row-wise 8-bit linear maps in bitsandbytes' format.

A matrix of O rows and I columns is held as `CB` int8 (O, I) and `SCB` fp32 (O,), the largest
magnitude of each row, and stands for `CB * SCB / 127` (bitsandbytes, `int8_vectorwise_quant`).
Activations are not rounded to 8 bits on the CPU. Nothing here is ever trained.
"""

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Int8Weight(NamedTuple):
    """One matrix, `CB` int8 (O, I) and `SCB` fp32 (O,), or N of them stacked along a first axis."""

    CB: Tensor
    SCB: Tensor

    def rows(self, start: int, stop: int) -> "Int8Weight":
        """The map to outputs `start` to `stop` alone, without a copy."""
        return Int8Weight(self.CB[start:stop], self.SCB[start:stop])

    def dequantised(self) -> Tensor:
        """The matrix in fp32 (O, I), for tests and references only."""
        return self.CB.float() * (self.SCB / 127)[:, None]


class _Room(threading.local):
    """A buffer for one matrix, one a thread. Fresh memory would be paged in for each product."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint16)

    def of(self, shape: torch.Size) -> np.ndarray:
        """An array of a shape, valid until the next is asked for."""
        size = shape.numel()
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint16)
        return self._memory[:size].reshape(shape)


class _Linear(torch.autograd.Function):
    """`x @ W.T` on the CPU in `dtype`, with the gradient for `x` only.

    The matrix is converted on the way, in the backward pass once more, and never kept: a whole
    model is never held dequantised.
    """

    @staticmethod
    def forward(ctx, x: Tensor, cb: Tensor, scb: Tensor, dtype: torch.dtype, room: _Room) -> Tensor:
        ctx.save_for_backward(cb, scb)
        ctx.dtype, ctx.given, ctx.room = dtype, x.dtype, room
        return F.linear(x.to(dtype), converted(cb, scb, dtype, room))  # (..., O)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        cb, scb = ctx.saved_tensors
        weight = converted(cb, scb, ctx.dtype, ctx.room)
        return (grad.to(ctx.dtype) @ weight).to(ctx.given), None, None, None, None


def converted(cb: Tensor, scb: Tensor, dtype: torch.dtype, room: _Room) -> Tensor:
    """CB (O, I), SCB (O,) → the matrix in fp32, or in bf16 rounded once, in `room`.

    Rounding to bf16 moves a weight by 0.1 % on average, a tenth of what 8 bits did.
    """
    if dtype != torch.bfloat16:
        return cb.to(dtype) * (scb / 127).to(dtype)[:, None]
    out = room.of(cb.shape)
    _to_bf16(cb.numpy(), (scb / 127).numpy(), np.empty(cb.shape[1], np.float32), out)
    return torch.from_numpy(out).view(torch.bfloat16)


@nb.njit(fastmath=True, nogil=True, cache=True)
def _to_bf16(cb, scale, row, out):  # (O, I) int8, (O,), (I,) scratch → (O, I) bits of bf16
    # Torch does this in three passes over memory. One thread is enough: the product that follows
    # takes twenty times as long.
    bits = row.view(np.uint32)
    for o in range(cb.shape[0]):
        for i in range(cb.shape[1]):
            row[i] = np.float32(cb[o, i]) * scale[o]
        for i in range(cb.shape[1]):
            even = (bits[i] >> np.uint32(16)) & np.uint32(1)  # ties go to the even neighbour
            out[o, i] = np.uint16((bits[i] + np.uint32(0x7FFF) + even) >> np.uint32(16))


@dataclass(frozen=True)
class Int8Linear:
    """Applies 8-bit matrices with the best product a device has.

    Args:
        dtype: of the product, bf16 on a CPU that has it, else fp32. On CUDA fp16 stands for
            bitsandbytes' product, whose activations have 8 bits; fp32 leaves them as they are.
    """

    dtype: torch.dtype
    room: _Room = field(default_factory=_Room, repr=False, compare=False)

    @classmethod
    def for_device(cls, device: torch.device) -> "Int8Linear":
        """fp16 on CUDA, as bitsandbytes wants it; on a CPU bf16 if its GEMM is native."""
        if device.type == "cuda":
            return cls(torch.float16)
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return cls(torch.bfloat16 if native else torch.float32)

    def __call__(self, x: Tensor, weight: Int8Weight) -> Tensor:
        """x (..., I) → (..., O) in `dtype`."""
        if self.dtype == torch.float16:
            return bitsandbytes_linear(x, weight)
        return _Linear.apply(x, weight.CB, weight.SCB, self.dtype, self.room)


def bitsandbytes_linear(x: Tensor, weight: Int8Weight, threshold: float = 6.0) -> Tensor:
    """The same map through bitsandbytes' LLM.int8() product, x (..., I) → (..., O) in x's type.

    Columns of `x` with a magnitude above `threshold` are multiplied in fp16 (arXiv 2208.07339).
    Differentiable in `x`.
    """
    # Imported here: it costs seconds and a CPU run never needs it.
    import bitsandbytes as bnb

    state = bnb.MatmulLtState()
    state.CB, state.SCB = weight
    state.has_fp16_weights = False
    state.threshold = threshold
    rows = x.half().flatten(0, -2) if x.ndim > 1 else x.half()[None]  # it takes two dimensions
    return bnb.matmul(rows, weight.CB, state=state).to(x.dtype).view(*x.shape[:-1], -1)
