"""What an adapter learns beside its prompts, and the `Delta` it gives a frozen base.

Everything is kept as the difference to what the base does, so that an untrained adapter leaves each
number of the base as it is, the strength dial multiplies, and weight decay leads back to the base:
biases 0, scales minus 1, norms minus the base's own, and LoRA's second factor 0.
"""

import torch
from torch import Tensor, nn

from demo.adapter.config import DeltaSpec
from demo.llama.delta import Delta, LinearDelta
from demo.llama.model import Llama


class LinearChanges(nn.Module):
    """The numbers that change one product in N layers; sizes as in `LinearDelta`."""

    bias: Tensor | None
    scale: Tensor | None
    down: Tensor | None
    up: Tensor | None

    def __init__(self, spec: DeltaSpec, rows: tuple[int, ...], columns: int) -> None:
        super().__init__()
        layers, outputs, rank = spec.layers, sum(rows), spec.rank
        self._place = spec.scale
        scaled = (layers, len(rows), columns) if spec.scale == "before" else (layers, outputs)
        self.bias = nn.Parameter(torch.zeros(layers, outputs)) if spec.bias else None
        self.scale = nn.Parameter(torch.zeros(scaled)) if spec.scale else None
        self.down = self.up = None
        if rank:
            self.down = nn.Parameter(torch.randn(layers, len(rows), rank, columns) / columns**0.5)
            self.up = nn.Parameter(torch.zeros(layers, outputs, rank))

    def delta(self, strength: float) -> LinearDelta:
        """Give what is changed, times a strength."""
        scale = None if self.scale is None else 1 + strength * self.scale
        after = scale if self._place == "after" else None
        bias = None if self.bias is None else strength * self.bias
        if bias is not None and after is not None:
            bias = after * bias  # y = s (W x + b), as the paper has it
        up = None if self.up is None else strength * self.up
        before = scale if self._place == "before" else None
        if before is not None and not torch.is_grad_enabled() and (before == before[:, :1]).all():
            before = before[:, :1]  # the parts in one product, as the base has them
        return LinearDelta(before, after, bias, self.down, up)


class Changes(nn.Module):
    """All that is changed beside the prompts, as the spec says.

    Args:
        spec: the shape.
        width: D of the base.
    """

    def __init__(self, spec: DeltaSpec, width: int) -> None:
        super().__init__()
        rows, columns = spec.rows(width), spec.columns(width)
        self.qkv, self.attention_output, self.gate_up, self.down = (
            LinearChanges(spec, rows[name], columns[name]) for name in rows
        )
        self.attention_norm = self.ffn_norm = self.output_norm = None
        if spec.norms:
            self.attention_norm = nn.Parameter(torch.zeros(spec.layers, width))
            self.ffn_norm = nn.Parameter(torch.zeros(spec.layers, width))
            self.output_norm = nn.Parameter(torch.zeros(width))

    def delta(self, model: Llama, strength: float) -> Delta:
        """Compute the value that a base is run with, differentiable in what is learned.

        Args:
            model: the base, whose norms are changed.
            strength: 1 for what was learned, 0 for the base.
        """
        w = model.weights

        def norm(own: Tensor | None, of_base: Tensor) -> Tensor | None:
            return None if own is None else of_base + strength * own

        return Delta(
            self.qkv.delta(strength),
            self.attention_output.delta(strength),
            self.gate_up.delta(strength),
            self.down.delta(strength),
            norm(self.attention_norm, w.attention_norm),
            norm(self.ffn_norm, w.ffn_norm),
            norm(self.output_norm, w.output_norm),
        )
