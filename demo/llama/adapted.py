"""An adapter's layers for a batch of texts as one differentiable step: `adapted_layers`."""

from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.llama.aligned import LINE, aligned
from demo.llama.amx import BOTH
from demo.llama.compiled import drop_stale
from demo.llama.gradient import Bench, Tape, backwards, forwards
from demo.llama.layout import fill_all, flatten_all
from demo.llama.matrices import by_bytes, matrices_of
from demo.llama.model import Llama, Prefix
from demo.llama.product import NEAR
from demo.llama.tile import ROWS, TOKENS


class CompiledLayers:
    """Runs the last layers of a model for a batch of texts; the gradient goes to the prefix alone.

    Does what `Llama.run` does, in one compiled call each way, about twice as fast as autograd over
    torch's operations. For one thread at a time, and one batch: the way back of a batch has to be
    taken before the next is run, because both use the same memory.

    Args:
        threads: at most; the result does not depend on it.
    """

    def __init__(self, model: Llama, threads: int) -> None:
        drop_stale(Path(forwards.stats.cache_path))
        self.model, self.matrices = model, matrices_of(model)
        self.threads = min(threads, nb.config.NUMBA_NUM_THREADS)
        self.amx = by_bytes(model.config)
        self.batches = 0
        self._memory = np.empty(0, np.float32)

    def __call__(self, below: Tensor, lengths: Tensor, prefix: Prefix) -> Tensor:
        """What leaves the last layer, (N, D) fp32: the texts one after the other, no padding.

        Args:
            below: (B, T, D) what enters the first layer that has prompts.
            lengths: (B,) tokens of each text, 1 to T.
            prefix: of as many layers as are run; only it may require a gradient.
        """
        return _Run.apply(self, below.detach(), lengths, *prefix)

    def plain(self, embedded: Tensor, lengths: Tensor, layers: int) -> Tensor:
        """What leaves the first `layers` layers without any prompts, (N, D) fp32, no padding.

        Args:
            embedded: (B, T, D).
            lengths: (B,) tokens of each text, 1 to T.
        """
        c = self.model.config
        none = np.zeros((layers, 1, c.kv_heads, ROWS, c.head_dim), np.float32)
        prompts = none, none, np.zeros((layers, c.heads), np.float32)
        return self.forwards(embedded, lengths, 0, *prompts)[0]

    def forwards(
        self,
        below: Tensor,
        lengths: Tensor,
        first: int,
        key: np.ndarray,
        value: np.ndarray,
        gate: np.ndarray,
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """A batch through as many layers from `first` on as `gate` has rows.

        Prompts are as `gradient.forwards` takes them. What it was called with comes second: the way
        back needs it.
        """
        c, sizes = self.model.config, lengths.numpy().astype(np.int64)
        starts = np.cumsum(sizes) - sizes
        tape, bench = self.room(len(gate), int(sizes.sum()))
        positions = np.concatenate([np.arange(size) for size in sizes])
        nb.set_num_threads(self.threads)
        fill_all(self.model.cos.numpy()[positions], tape.cos, self.threads)
        fill_all(self.model.sin.numpy()[positions], tape.sin, self.threads)
        flat = np.concatenate([below[i, :n].numpy() for i, n in enumerate(sizes)])
        fill_all(flat, tape.x[0], self.threads)
        given = (
            first, starts, sizes, self.matrices, key, value, gate, tape, bench,
            c.heads, np.float32(c.norm_eps), self.threads,
        )  # fmt: skip
        forwards(*given)
        self.batches += 1
        out = np.empty_like(flat)
        flatten_all(tape.x[-1], out, self.threads)
        return torch.from_numpy(out), given

    def room(self, levels: int, tokens: int) -> tuple[Tape, Bench]:
        """Memory for a batch; fresh memory would be paged in for each. It is not cleared."""
        c, tiles = self.model.config, -(-tokens // TOKENS)
        heads = (c.heads + 2 * c.kv_heads) * c.head_dim
        widest = -(-(max(c.width, heads, 2 * c.ffn) + 1) // LINE) * LINE
        shapes = [
            *((n, tiles, width, TOKENS) for n, width in (
                (levels + 1, c.width), (levels, heads), (levels, c.width), (levels, c.ffn),
            )),
            *2 * [(tiles, c.head_dim // 2, TOKENS)],
            (tiles, (widest + 1) // 2, TOKENS),
            *2 * [(tiles, TOKENS)],
            (self.threads, max(NEAR, BOTH * widest // 2) // 2),
            *((tiles, width, TOKENS) for width in (
                c.heads * c.head_dim, c.ffn, 0 if self.amx else 2 * c.ffn, c.width, c.width, heads,
            )),
        ]  # fmt: skip
        sizes = [int(np.prod(shape)) for shape in shapes]
        if self._memory.size < sum(sizes):
            self._memory = np.empty(0, np.float32)  # let go first
            self._memory = aligned((sum(sizes),))
        parts = np.split(self._memory[: sum(sizes)], np.cumsum(sizes)[:-1])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        packed, unit, first, rows, *others = arrays[6:]
        whole = packed.view(np.int32), unit, first.view(np.int32), rows.view(np.int16)
        x, qkv, middle, gate_up, cos, sin = arrays[:6]
        halves = gate_up.view(np.uint16).reshape(levels, tiles, 2 * c.ffn, TOKENS)
        bench = Bench(*whole, *others, self.amx)
        # What is written text by text leaves the places behind the last one as they were.
        bench.mixed[-1], bench.heads[-1] = 0, 0
        return Tape(x, qkv, middle, halves, cos, sin), bench


class TorchLayers:
    """The same over torch's operations and autograd, on any device."""

    def __init__(self, model: Llama) -> None:
        self.model = model

    def __call__(self, below: Tensor, lengths: Tensor, prefix: Prefix) -> Tensor:
        """As `CompiledLayers`."""
        layers = self.model.config.layers
        x = self.model.run(below, range(layers - len(prefix.gate), layers), prefix=prefix)
        return _packed(x, lengths)

    @torch.no_grad()
    def plain(self, embedded: Tensor, lengths: Tensor, layers: int) -> Tensor:
        """As `CompiledLayers.plain`."""
        return _packed(self.model.run(embedded, range(layers)), lengths)


def _packed(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, D) → (N, D), one text after the other, no padding."""
    places = torch.arange(x.shape[1], device=x.device)
    return x[places < lengths[:, None].to(x.device)]


def adapted_layers(model: Llama) -> "CompiledLayers | TorchLayers":
    """What runs an adapter's layers where the model is, on a CPU with as many threads as torch."""
    if model.device.type == "cpu":
        return CompiledLayers(model, torch.get_num_threads())
    return TorchLayers(model)


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: CompiledLayers, below: Tensor, lengths: Tensor, *prefix: Tensor
    ) -> Tensor:
        spare = (0, 0, 0, ROWS)  # tiles are read whole
        key, value = (F.pad(part.detach(), spare).numpy() for part in prefix[:2])
        first, gate = run.model.config.layers - len(prefix[2]), prefix[2].detach().numpy()
        out, ctx.given = run.forwards(below, lengths, first, key, value, gate)
        ctx.run, ctx.batch = run, run.batches
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.batch != ctx.run.batches:
            raise RuntimeError("another batch was run, or this one went back already")
        ctx.run.batches += 1
        _, _, sizes, _, key, _, gate, _, bench, *_, threads = ctx.given
        levels, shared, kv_heads, rows, size = key.shape
        shape = levels, len(sizes), kv_heads, -(-size // TOKENS), rows, TOKENS
        slopes = [np.zeros(shape, np.float32) for _ in range(2)]
        gates = np.zeros((levels, len(sizes), gate.shape[1]), np.float32)
        nb.set_num_threads(threads)
        fill_all(slope.contiguous().numpy(), bench.slope, threads)
        backwards(*ctx.given, *slopes, gates)
        keys, values = (_prompts(part, size, shared) for part in slopes)
        return None, None, None, keys, values, torch.from_numpy(gates.sum(1))


def _prompts(slopes: np.ndarray, size: int, shared: int) -> Tensor:
    """(L, B, KV, C, P + ROWS, TOKENS) → (L, B, KV, P, d), summed over B if it was shared."""
    layers, batch, kv_heads, _, rows, _ = slopes.shape
    turned = slopes.transpose(0, 1, 2, 4, 3, 5).reshape(layers, batch, kv_heads, rows, -1)
    turned = turned[..., : rows - ROWS, :size]
    return torch.from_numpy(turned.sum(1, keepdims=True) if shared == 1 else turned.copy())
