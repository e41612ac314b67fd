"""Row-wise 8-bit linear maps in bitsandbytes' format.

A matrix of O rows and I columns is held as `CB` int8 (O, I) and `SCB` fp32 (O,), the largest
magnitude of each row, and stands for `CB * SCB / 127` (bitsandbytes, `int8_vectorwise_quant`).
Activations are not rounded to 8 bits on the CPU. Nothing here is ever trained.
"""

from dataclasses import dataclass
from typing import NamedTuple

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


class _Linear(torch.autograd.Function):
    """`x @ W.T` on the CPU, with the gradient for `x` only.

    int8 values are exact in bf16 (8 significant bits), so a GEMM in `dtype` rounds the activations
    and nothing else; the row scale is applied to its result. The converted matrix is made again in
    the backward pass instead of being kept, so a whole model is never held dequantised.
    """

    @staticmethod
    def forward(ctx, x: Tensor, cb: Tensor, scb: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(cb, scb)
        ctx.dtype = dtype
        product = F.linear(x.to(dtype), cb.to(dtype))  # (..., O)
        return product * (scb / 127)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None]:
        cb, scb = ctx.saved_tensors
        scaled = (grad * (scb / 127)).to(ctx.dtype)
        return (scaled @ cb.to(ctx.dtype)).float(), None, None, None


@dataclass(frozen=True)
class Int8Linear:
    """Applies 8-bit matrices with the best product a device has.

    Args:
        dtype: of the product on the CPU, bf16 where the processor has it, else fp32.
    """

    dtype: torch.dtype

    @classmethod
    def for_device(cls, device: torch.device) -> "Int8Linear":
        """fp16 on CUDA, as bitsandbytes wants it; on a CPU bf16 if its GEMM is native."""
        if device.type == "cuda":
            return cls(torch.float16)
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return cls(torch.bfloat16 if native else torch.float32)

    def __call__(self, x: Tensor, weight: Int8Weight) -> Tensor:
        """x (..., I) fp32 → (..., O) fp32."""
        if x.device.type == "cuda":
            return bitsandbytes_linear(x, weight)
        return _Linear.apply(x, weight.CB, weight.SCB, self.dtype)


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
    return bnb.matmul(x.half(), weight.CB, state=state).to(x.dtype)
