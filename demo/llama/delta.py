"""What an adapter changes of the base's own products and norms, beside its prompts.

LLaMA-Adapter V2 (arXiv 2304.15010, section 3.1) gives every linear layer a bias and a scale and
tunes the norms; its paper scales what comes out, its released chat model what goes in. Others add
a product of low rank (LoRA, arXiv 2106.09685). All of it is one value, a `Delta`, which acts beside
the frozen 8-bit matrices: nothing of the base is changed, and a `Delta` of zeros and ones leaves
every number as it is.

Sizes as in `model.py`; F the width between, r the rank. Matrices that the base keeps in one come in
one here: queries, keys and values in `qkv` (C = 3 parts), gates and ups in `gate_up` (C = 2).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from demo.llama.int8 import Int8Linear, Int8Weight
from demo.llama.kernels.delta import PackedDelta, PackedParts, pack

PARTS = (3, 1, 2, 1)  # C of a layer's products, in their order


class LinearDelta(NamedTuple):
    """y = scale_out · W (scale_in · x) + bias + up (down x), of one layer or stacked for N of them.

    None is what the base does. A LoRA's own factor, alpha / r, is in `up` already.
    """

    scale_in: Tensor | None = None  # (C, I), for each part one, or (1, I) for all
    scale_out: Tensor | None = None  # (O,)
    bias: Tensor | None = None  # (O,)
    down: Tensor | None = None  # (C, r, I)
    up: Tensor | None = None  # (O, r)

    def at(self, layer: int) -> "LinearDelta":
        """Take one layer's out of what is stacked."""
        return LinearDelta(*(None if part is None else part[layer] for part in self))

    def apply(
        self, linear: Int8Linear, x: Tensor, weight: Int8Weight, rows: tuple[int, ...]
    ) -> Tensor:
        """Multiply x (..., I) → (..., O) in the product's own type, of one layer.

        Args:
            linear: how the frozen matrix is applied.
            x: what goes in.
            weight: the frozen matrix.
            rows: of each part.
        """
        if self.scale_in is None:
            y = linear(x, weight)
        elif len(self.scale_in) == 1:
            y = linear(x.float() * self.scale_in[0], weight)
        else:
            ends = np.cumsum(rows).tolist()
            y = torch.cat(
                [
                    linear(x.float() * scale, weight.rows(end - count, end))
                    for scale, count, end in zip(self.scale_in, rows, ends, strict=True)
                ],
                -1,
            )
        out = y.float()
        if self.scale_out is not None:
            out = out * self.scale_out
        if self.bias is not None:
            out = out + self.bias
        if self.down is not None and self.up is not None:
            low = torch.einsum("...i,cri->...cr", x.float(), self.down)
            parts = self.up.split(rows)  # C of (rows, r)
            out = out + torch.cat([low[..., c, :] @ part.T for c, part in enumerate(parts)], -1)
        return out.to(y.dtype)


@dataclass(frozen=True)
class Delta:
    """Everything that an adapter changes beside the prompts, for all N layers of a base.

    A value: made once for an adapter and a strength, and passed in with every call. Differentiable
    in what it was made of.

    Attributes:
        qkv: of W_q, W_k and W_v.
        attention_output: of W_o.
        gate_up: of the two matrices that a SwiGLU multiplies.
        down: of the matrix after it.
        attention_norm: (N, D) instead of the base's, or None.
        ffn_norm: (N, D), likewise.
        output_norm: (D,), likewise.
    """

    qkv: LinearDelta = LinearDelta()
    attention_output: LinearDelta = LinearDelta()
    gate_up: LinearDelta = LinearDelta()
    down: LinearDelta = LinearDelta()
    attention_norm: Tensor | None = None
    ffn_norm: Tensor | None = None
    output_norm: Tensor | None = None

    @property
    def linears(self) -> tuple[LinearDelta, LinearDelta, LinearDelta, LinearDelta]:
        """The four, in the order of a layer's products."""
        return self.qkv, self.attention_output, self.gate_up, self.down

    @cached_property
    def packed(self) -> PackedDelta:
        """As compiled kernels read it, made when first asked for."""

        def array(part: Tensor | None) -> np.ndarray | None:
            return None if part is None else np.asarray(part.float().numpy(force=True))

        products = [PackedParts(*(array(part) for part in linear)) for linear in self.linears]
        for place, (parts, count) in enumerate(zip(products, PARTS, strict=True)):
            if (scale := parts.scale_in) is not None:
                shape = (len(scale), count, scale.shape[2])
                products[place] = parts._replace(scale_in=np.broadcast_to(scale, shape))
        return pack(
            products,
            (array(self.attention_norm), array(self.ffn_norm), array(self.output_norm)),
        )
