"""What a training step runs of the base, differentiable: an adapter's layers, and the losses.

Each comes compiled for the CPU and in torch for any device; `adapted_layers` and `make_head`
choose.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.llama.delta import Delta
from demo.llama.kernels.amx import TILE_PAIR, TILE_ROWS
from demo.llama.kernels.backward import (
    GradientWorkspace,
    PromptGradients,
    Prompts,
    Tape,
    TextBatch,
    backward,
    forward,
)
from demo.llama.kernels.compile import CACHE_LINE, KernelOptions, drop_stale, empty, max_threads
from demo.llama.kernels.cross_entropy import (
    CHUNK,
    GROUP,
    PARTS,
    CrossEntropyWorkspace,
    OutputMatrix,
    SoftmaxSums,
    softmax_statistics,
)
from demo.llama.kernels.gemm import L2_WEIGHTS, QuantisedGradients, QuantisedTiles
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS
from demo.llama.kernels.tiles import fill_all, flatten_all
from demo.llama.model import KernelWeights, Llama, Prefix, kernel_weights, uses_amx


class _ForwardPass(NamedTuple):
    """What the forward kernel was called with, which its backward pass needs."""

    first: int
    texts: TextBatch
    weights: KernelWeights
    prompts: Prompts
    tape: Tape
    workspace: GradientWorkspace
    options: KernelOptions


class CompiledLayers:
    """Run the last layers of a model for a batch of texts; the gradient goes to the prefix alone.

    Does what `Llama.run` does, in one compiled call each way, about twice as fast as autograd over
    torch's operations. For one thread at a time, and one batch: the backward pass of a batch has to
    be done before the next is run, because both use the same memory.

    Args:
        model: the frozen base, on the CPU.
        threads: at most; the result does not depend on it.
    """

    def __init__(self, model: Llama, threads: int) -> None:
        drop_stale(Path(forward.stats.cache_path))
        self.model, self.weights = model, kernel_weights(model)
        self.threads = min(threads, max_threads())
        self.amx = uses_amx(model.config)
        self.batches = 0
        self._memory = np.empty(0, np.float32)

    def __call__(
        self, below: Tensor, lengths: Tensor, prefix: Prefix, alike: Tensor | None = None
    ) -> Tensor:
        """Run as many of the last layers as `prefix` has.

        Args:
            below: (B, T, D) what enters the first layer that has prompts.
            lengths: (B,) tokens of each text, 1 to T.
            prefix: only it may require a gradient.
            alike: (B,) tokens at the beginning of each text that are those of the first one, fewer
                than it has; they are computed once, which changes no bit of the result.

        Returns:
            What leaves the last layer, (N, D) fp32: the texts one after the other, no padding.
        """
        return _Run.apply(self, below.detach(), lengths, alike, *prefix)

    def without_prompts(
        self, embedded: Tensor, lengths: Tensor, layers: int, alike: Tensor | None = None
    ) -> Tensor:
        """Run the first `layers` layers as the base does.

        Args:
            embedded: (B, T, D).
            lengths: (B,) tokens of each text, 1 to T.
            layers: how many.
            alike: as in `__call__`.

        Returns:
            What leaves them, (N, D) fp32, no padding.
        """
        c = self.model.config
        none = np.zeros((layers, 1, c.kv_heads, GEMM_ROWS, c.head_dim), np.float32)
        prompts = Prompts(none, none, np.zeros((layers, c.heads), np.float32))
        return self.forward(embedded, lengths, alike, 0, prompts)[0]

    def forward(
        self, below: Tensor, lengths: Tensor, alike: Tensor | None, first: int, prompts: Prompts
    ) -> tuple[Tensor, _ForwardPass]:
        """Run a batch through as many layers from `first` on as `prompts` has.

        Returns (N, D), and what the backward pass needs.
        """
        c, whole = self.model.config, lengths.numpy().astype(np.int64)
        before = np.zeros_like(whole) if alike is None else alike.numpy().astype(np.int64)
        before[0] = 0
        sizes = whole - before
        starts = np.cumsum(sizes) - sizes
        tape, workspace = self._allocate(len(prompts.gate), int(sizes.sum()))
        spans = list(zip(before, whole, strict=True))
        positions = np.concatenate([np.arange(early, end) for early, end in spans])
        nb.set_num_threads(self.threads)
        fill_all(self.model.cos.numpy()[positions], tape.cos, self.threads)
        fill_all(self.model.sin.numpy()[positions], tape.sin, self.threads)
        flat = np.concatenate([below[i, a:b].numpy() for i, (a, b) in enumerate(spans)])
        fill_all(flat, tape.x[0], self.threads)
        options = KernelOptions(c.heads, np.float32(c.norm_eps), self.threads)
        texts = TextBatch(starts, sizes, before)
        given = _ForwardPass(first, texts, self.weights, prompts, tape, workspace, options)
        forward(*given)
        self.batches += 1
        out = np.empty_like(flat)
        flatten_all(tape.x[-1], out, self.threads)
        return torch.from_numpy(_with_beginnings(out, texts)), given

    def _allocate(self, levels: int, tokens: int) -> tuple[Tape, GradientWorkspace]:
        """Memory for a batch; fresh memory would be paged in for each. It is not cleared."""
        c, tiles = self.model.config, -(-tokens // TOKENS)
        heads = (c.heads + 2 * c.kv_heads) * c.head_dim
        widest = -(-(max(c.width, heads, 2 * c.ffn) + 1) // CACHE_LINE) * CACHE_LINE
        gates_ups = 0 if self.amx else 2 * c.ffn
        x, qkv, middle, halves, cos, sin, packed, scale, offset, rows, *activations = self._split(
            (levels + 1, tiles, c.width, TOKENS),
            (levels, tiles, heads, TOKENS),
            (levels, tiles, c.width, TOKENS),
            (levels, tiles, c.ffn, TOKENS),  # as fp32; 2 F as bf16
            (tiles, c.head_dim // 2, TOKENS),
            (tiles, c.head_dim // 2, TOKENS),
            (tiles, (widest + 1) // 2, TOKENS),
            (tiles, TOKENS),
            (tiles, TOKENS),
            (self.threads, max(L2_WEIGHTS, TILE_PAIR * widest // 2) // 2),
            (tiles, c.heads * c.head_dim, TOKENS),
            (tiles, c.ffn, TOKENS),
            (tiles, gates_ups, TOKENS),
            (tiles, c.width, TOKENS),
            (tiles, c.width, TOKENS),
            (tiles, heads, TOKENS),
        )
        packed, offset, rows = packed.view(np.int32), offset.view(np.int32), rows.view(np.int16)
        mixed, inner, gate_up, grad, part, of_heads = activations
        # What is written text by text leaves the places behind the last one as they were.
        mixed[-1], of_heads[-1] = 0, 0
        gate_up_bf16 = halves.view(np.uint16).reshape(levels, tiles, 2 * c.ffn, TOKENS)
        return Tape(x, qkv, middle, gate_up_bf16, cos, sin), GradientWorkspace(
            QuantisedTiles(packed, scale, rows, self.amx),
            QuantisedGradients(packed, scale, offset, rows, self.amx),
            mixed, inner, gate_up, grad, part, of_heads,
        )  # fmt: skip

    def _split(self, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """Arrays of these shapes from one piece of memory, which grows when it has to."""
        sizes = [int(np.prod(shape)) for shape in shapes]
        if self._memory.size < sum(sizes):
            self._memory = np.empty(0, np.float32)  # let go first
            self._memory = empty((sum(sizes),))
        parts = np.split(self._memory[: sum(sizes)], np.cumsum(sizes)[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


class _Run(torch.autograd.Function):
    """`CompiledLayers` as one differentiable step."""

    @staticmethod
    def forward(
        ctx: Any, run: CompiledLayers, below: Tensor, lengths: Tensor, alike: Tensor | None,
        *prefix: Tensor,
    ) -> Tensor:  # fmt: skip
        spare = (0, 0, 0, GEMM_ROWS)  # tiles are read whole
        key, value = (F.pad(part.detach(), spare).numpy() for part in prefix[:2])
        first, gate = run.model.config.layers - len(prefix[2]), prefix[2].detach().numpy()
        out, ctx.given = run.forward(below, lengths, alike, first, Prompts(key, value, gate))
        ctx.run, ctx.batch = run, run.batches
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.batch != ctx.run.batches:
            raise RuntimeError("another batch was run, or this one went back already")
        ctx.run.batches += 1
        given: _ForwardPass = ctx.given
        levels, shared, kv_heads, rows, size = given.prompts.key.shape
        texts, threads = len(given.texts.lengths), given.options.threads
        shape = levels, texts, kv_heads, -(-size // TOKENS), rows, TOKENS
        key, value = (np.zeros(shape, np.float32) for _ in range(2))
        gate = np.zeros((levels, texts, given.prompts.gate.shape[1]), np.float32)
        nb.set_num_threads(threads)
        fill_all(_without_beginnings(grad.numpy(), given.texts), given.workspace.grad, threads)
        backward(*given, PromptGradients(key, value, gate))
        keys, values = (_prompt_rows(part, size, shared) for part in (key, value))
        return None, None, None, None, keys, values, torch.from_numpy(gate.sum(1))


def _with_beginnings(out: np.ndarray, texts: TextBatch) -> np.ndarray:
    """Repeat what texts have of the first one before each of them, (N, D)."""
    if not texts.before.any():
        return out
    parts = zip(texts.starts, texts.lengths, texts.before, strict=True)
    return np.concatenate([x for a, n, b in parts for x in (out[:b], out[a : a + n])])


def _without_beginnings(grad: np.ndarray, texts: TextBatch) -> np.ndarray:
    """Take the gradient of `_with_beginnings` (N, D) back: a beginning's parts are added."""
    if not texts.before.any():
        return np.ascontiguousarray(grad)
    whole = texts.lengths + texts.before
    ends, shared = np.cumsum(whole), texts.before
    starts = ends - whole
    parts = [grad[a : a + n] for a, n in zip(starts, shared, strict=True)]
    own = np.concatenate([grad[a + n : b] for a, n, b in zip(starts, shared, ends, strict=True)])
    for part in parts:
        own[: len(part)] += part
    return own


def _prompt_rows(grads: np.ndarray, size: int, shared: int) -> Tensor:
    """(L, B, KV, C, P + GEMM_ROWS, TOKENS) → (L, B, KV, P, d), summed over B if it was shared."""
    layers, batch, kv_heads, _, rows, _ = grads.shape
    flat = grads.transpose(0, 1, 2, 4, 3, 5).reshape(layers, batch, kv_heads, rows, -1)
    flat = flat[..., : rows - GEMM_ROWS, :size]
    return torch.from_numpy(flat.sum(1, keepdims=True) if shared == 1 else flat.copy())


class TorchLayers:
    """Do what `CompiledLayers` does with torch's operations and autograd, on any device."""

    def __init__(self, model: Llama) -> None:
        self.model = model

    def __call__(
        self,
        below: Tensor,
        lengths: Tensor,
        prefix: Prefix,
        alike: Tensor | None = None,
        delta: Delta | None = None,
    ) -> Tensor:
        """See `CompiledLayers.__call__`; what is alike is computed again for each text.

        A `delta` changes all layers, and `below` is then embedded.
        """
        layers = self.model.config.layers
        first = 0 if delta else layers - len(prefix.gate)
        x = self.model.run(below, range(first, layers), prefix=prefix, delta=delta)
        return _without_padding(x, lengths)

    @torch.no_grad()
    def without_prompts(
        self, embedded: Tensor, lengths: Tensor, layers: int, alike: Tensor | None = None
    ) -> Tensor:
        """See `CompiledLayers.without_prompts`."""
        return _without_padding(self.model.run(embedded, range(layers)), lengths)


def _without_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, D) → (N, D), one text after the other."""
    places = torch.arange(x.shape[1], device=x.device)
    return x[places < lengths[:, None].to(x.device)]


def adapted_layers(model: Llama) -> CompiledLayers | TorchLayers:
    """Make what runs an adapter's layers where the model is, on a CPU with torch's threads."""
    if model.device.type == "cpu":
        return CompiledLayers(model, torch.get_num_threads())
    return TorchLayers(model)


class SoftmaxStats(NamedTuple):
    """Of N tokens' softmax over the vocabulary."""

    log_sum: Tensor  # (N,) logarithm of the exponentials' sum
    top: Tensor  # (N,) the largest logit
    picked: Tensor  # (N,) the logit of a label
    mean: Tensor  # (N, D) the output matrix' rows, each by its probability; none if not asked for


class CompiledHead:
    """Losses on the CPU from softmaxes that are never held, see `cross_entropy.py`.

    What is multiplied has 16 bits, hidden states as well as probabilities, so the gradient is
    closer to fp32 than autograd over bf16. It is known with the loss: the backward pass only scales
    it.

    Args:
        model: the frozen base, on the CPU.
        threads: at most; the result does not depend on it.
    """

    def __init__(self, model: Llama, threads: int) -> None:
        drop_stale(Path(softmax_statistics.stats.cache_path))
        weight = model.weights.output
        self._weight, self._scale = weight.CB, weight.SCB / 127
        self._threads = min(threads, max_threads())
        self.amx = uses_amx(model.config)
        self._workspace = _cross_entropy_workspace(weight.CB.shape[1], self._threads)

    def cross_entropy(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Return nats of each label, (N,), differentiable in `hidden` (N, D); labels (N,)."""
        found = self.softmax_stats(hidden, labels)
        rows = self._weight[labels].float() * self._scale[labels, None]
        return _KnownGradient.apply(hidden, found.log_sum - found.picked, found.mean - rows)

    def teacher_summary(self, hidden: Tensor) -> Tensor:
        """Return what `kl_divergence` needs of a teacher's `hidden` (N, D), a row each."""
        found = self.softmax_stats(hidden)
        return torch.cat((hidden, found.mean, found.log_sum[:, None]), 1)

    def kl_divergence(self, hidden: Tensor, teacher: Tensor) -> Tensor:
        """Return KL (N,) from a teacher's next tokens to those of `hidden` (N, D), differentiable.

        Logits are linear in hidden states, so a `teacher_summary` says what they differ by.
        """
        width, mine = hidden.shape[1], self.softmax_stats(hidden)
        other, mean, log_sum = teacher.split((width, width, 1), 1)
        apart = ((hidden.detach() - other) * mean).sum(1)
        values = mine.log_sum - log_sum[:, 0] - apart
        return _KnownGradient.apply(hidden, values, mine.mean - mean)

    def losses_and_hits(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return `cross_entropy` without a gradient, and which labels are likeliest, (N,) bool."""
        found = self.softmax_stats(hidden, labels, mean=False)
        return found.log_sum - found.picked, found.picked >= found.top

    def softmax_stats(
        self, hidden: Tensor, labels: Tensor | None = None, *, mean: bool = True
    ) -> SoftmaxStats:
        """Compute what the losses need, not differentiable. What is not finite stays so."""
        count, width = hidden.shape
        tiles, x = -(-count // TOKENS), np.ascontiguousarray(hidden.detach().numpy(), np.float32)
        places = np.full(tiles * TOKENS, -1)
        if labels is not None:
            places[:count] = labels.numpy()
        found = np.zeros((3, tiles, TOKENS), np.float32)
        rows = np.empty((count if mean else 0, width), np.float32)
        matrix = OutputMatrix(self._weight.numpy(), self._scale.numpy())
        nb.set_num_threads(self._threads)
        for start in range(0, tiles, GROUP):
            first, part = start * TOKENS, slice(start, start + GROUP)
            some = slice(first, first + GROUP * TOKENS)
            sums = SoftmaxSums(found[0, part], found[1, part], found[2, part], rows[some])
            softmax_statistics(
                x[some], matrix, places.reshape(-1, TOKENS)[part], self.amx, self._threads,
                self._workspace, sums,
            )  # fmt: skip
        log_sum, top, picked = torch.from_numpy(found).flatten(1)[:, :count]
        # Compiled code does not know numbers that are none.
        log_sum[~hidden.detach().isfinite().all(1)] = torch.nan
        return SoftmaxStats(log_sum, top, picked, torch.from_numpy(rows))


def _cross_entropy_workspace(width: int, threads: int) -> CrossEntropyWorkspace:
    """Allocate room for a model's D and so many threads."""
    tiles = -(-width // TOKENS)
    return CrossEntropyWorkspace(
        packed=empty((GROUP, (width + 1) // 2, TOKENS), np.int32),
        x_scale=empty((GROUP, TOKENS)),
        rows=empty((threads, CHUNK, width + width % 2), np.int16),
        values=empty((threads, tiles, CHUNK // 2, TOKENS), np.int32),
        weights=empty((threads, TOKENS, CHUNK // 2), np.int32),
        logits=empty((threads, CHUNK, TOKENS)),
        products=empty((threads, 2, 2, TILE_ROWS, TILE_ROWS), np.int32),
        top=empty((PARTS, GROUP, TOKENS)),
        mass=empty((PARTS, GROUP, TOKENS)),
        sums=empty((PARTS, GROUP, TOKENS, tiles * TOKENS)),
    )


class _KnownGradient(torch.autograd.Function):
    """Values (N,) whose gradients (N, D) are known already."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, values: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        return values.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return grad[:, None] * gradients, None, None


class TorchHead:
    """Do what `CompiledHead` does with torch's operations and autograd, on any device."""

    def __init__(self, model: Llama) -> None:
        self._logits = model.logits

    def cross_entropy(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """See `CompiledHead.cross_entropy`."""
        return F.cross_entropy(self._logits(hidden), labels, reduction="none")

    def teacher_summary(self, hidden: Tensor) -> Tensor:
        """Return the hidden states themselves, because logits would take too much memory."""
        return hidden

    def kl_divergence(self, hidden: Tensor, teacher: Tensor) -> Tensor:
        """See `CompiledHead.kl_divergence`."""
        with torch.no_grad():
            given = self._logits(teacher).log_softmax(-1)
        mine = self._logits(hidden).log_softmax(-1)
        return F.kl_div(mine, given, log_target=True, reduction="none").sum(-1)

    def losses_and_hits(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """See `CompiledHead.losses_and_hits`."""
        logits = self._logits(hidden)
        return F.cross_entropy(logits, labels, reduction="none"), logits.argmax(-1) == labels


def make_head(model: Llama) -> CompiledHead | TorchHead:
    """Make what a model's next tokens are judged by, on a CPU with torch's threads."""
    if model.device.type == "cpu":
        return CompiledHead(model, torch.get_num_threads())
    return TorchHead(model)
