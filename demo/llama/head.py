"""What comes after the last layer: how unlikely a token is, differentiable, without its logits."""

from pathlib import Path
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.llama.compiled import drop_stale
from demo.llama.matrices import by_bytes
from demo.llama.model import Llama
from demo.llama.softmax import GROUP, bench_for, expect
from demo.llama.tile import TOKENS


class Expected(NamedTuple):
    """Of N tokens' softmax over the vocabulary."""

    log_sum: Tensor  # (N,) logarithm of the exponentials' sum
    top: Tensor  # (N,) the largest logit
    picked: Tensor  # (N,) the logit of a label
    mean: Tensor  # (N, D) the output matrix' rows, each by its probability; none if not asked for


class CompiledHead:
    """Losses on the CPU from softmaxes that are never held, see `softmax.py`.

    What is multiplied has 16 bits, hidden states as well as probabilities, so the gradient is
    closer to fp32 than autograd over bf16. It is known with the loss: the way back only scales it.

    Args:
        threads: at most; the result does not depend on it.
    """

    def __init__(self, model: Llama, threads: int) -> None:
        drop_stale(Path(expect.stats.cache_path))
        weight = model.weights.output
        self._weight, self._scale = weight.CB, weight.SCB / 127
        self._threads = min(threads, nb.config.NUMBA_NUM_THREADS)
        self.amx = by_bytes(model.config)
        self._bench = bench_for(weight.CB.shape[1], self._threads)

    def surprise(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Nats of each label, (N,), differentiable in `hidden` (N, D); labels (N,)."""
        found = self.expect(hidden, labels)
        rows = self._weight[labels].float() * self._scale[labels, None]
        return _Known.apply(hidden, found.log_sum - found.picked, found.mean - rows)

    def foreseen(self, hidden: Tensor) -> Tensor:
        """What `divergence` needs of the next tokens after `hidden` (N, D), a row each."""
        found = self.expect(hidden)
        return torch.cat((hidden, found.mean, found.log_sum[:, None]), 1)

    def divergence(self, hidden: Tensor, foreseen: Tensor) -> Tensor:
        """KL from the next tokens `foreseen` to those of `hidden` (N, D), (N,), differentiable.

        Logits are linear in hidden states, so what is foreseen says what they differ by.
        """
        width, mine = hidden.shape[1], self.expect(hidden)
        other, mean, log_sum = foreseen.split((width, width, 1), 1)
        apart = ((hidden.detach() - other) * mean).sum(1)
        return _Known.apply(hidden, mine.log_sum - log_sum[:, 0] - apart, mine.mean - mean)

    def judge(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """`surprise` without a way back, and whether a label is the likeliest token, (N,) bool."""
        found = self.expect(hidden, labels, mean=False)
        return found.log_sum - found.picked, found.picked >= found.top

    def expect(
        self, hidden: Tensor, labels: Tensor | None = None, *, mean: bool = True
    ) -> Expected:
        """Of N tokens' softmax, not differentiable. What is not finite stays so."""
        count, width = hidden.shape
        tiles, x = -(-count // TOKENS), np.ascontiguousarray(hidden.detach().numpy(), np.float32)
        places = np.full(tiles * TOKENS, -1)
        if labels is not None:
            places[:count] = labels.numpy()
        found = np.zeros((3, tiles, TOKENS), np.float32)
        rows = np.empty((count if mean else 0, width), np.float32)
        nb.set_num_threads(self._threads)
        for start in range(0, tiles, GROUP):
            first, part = start * TOKENS, slice(start, start + GROUP)
            expect(
                x[first : first + GROUP * TOKENS], self._weight.numpy(), self._scale.numpy(),
                places.reshape(-1, TOKENS)[part], self.amx, self._threads, self._bench,
                *found[:, part], rows[first : first + GROUP * TOKENS],
            )  # fmt: skip
        log_sum, top, picked = torch.from_numpy(found).flatten(1)[:, :count]
        # Compiled code does not know numbers that are none.
        log_sum[~hidden.detach().isfinite().all(1)] = torch.nan
        return Expected(log_sum, top, picked, torch.from_numpy(rows))


class TorchHead:
    """The same over torch's operations and autograd, on any device."""

    def __init__(self, model: Llama) -> None:
        self._logits = model.logits

    def surprise(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """As `CompiledHead`."""
        return F.cross_entropy(self._logits(hidden), labels, reduction="none")

    def foreseen(self, hidden: Tensor) -> Tensor:
        """As `CompiledHead`: hidden states, because logits would take too much memory."""
        return hidden

    def divergence(self, hidden: Tensor, foreseen: Tensor) -> Tensor:
        """As `CompiledHead`."""
        with torch.no_grad():
            given = self._logits(foreseen).log_softmax(-1)
        mine = self._logits(hidden).log_softmax(-1)
        return F.kl_div(mine, given, log_target=True, reduction="none").sum(-1)

    def judge(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As `CompiledHead`."""
        logits = self._logits(hidden)
        return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(-1) == labels


def head_of(model: Llama) -> CompiledHead | TorchHead:
    """What a model's next tokens are judged by, on a CPU with as many threads as torch."""
    if model.device.type == "cpu":
        return CompiledHead(model, torch.get_num_threads())
    return TorchHead(model)


class _Known(torch.autograd.Function):
    """Values (N,) whose slopes (N, D) are known already."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, values: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(slopes)
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return slope[:, None] * slopes, None, None
