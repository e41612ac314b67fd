"""Decoding: a pool of KV caches, and the kernels or torch that run tokens on it.

`Decoder` runs on the CPU in compiled kernels; `TorchDecoder` does the same in plain torch, for CUDA
and to hold the kernels against.

How many threads a step uses follows what else runs on the machine. A step has some 150 parallel
regions and every one ends at a barrier. While another busy process holds a core, one of our threads
is off the processor for a time slice (about 8 ms) and all others wait for it, so two threads can be
a hundred times slower than one. The program cannot see its neighbours, but it can time its own
steps.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numba as nb
import numpy as np
import torch

from demo.llama.config import LlamaConfig
from demo.llama.delta import Delta
from demo.llama.kernels.amx import TILE_ROWS
from demo.llama.kernels.compile import (
    CACHE_LINE,
    KernelOptions,
    discard,
    drop_stale,
    empty,
    max_threads,
    without_huge_pages,
    zeros,
)
from demo.llama.kernels.decode import (
    GROUP_SEQUENCES,
    DecodeWorkspace,
    NextTokens,
    QuantisedRows,
    decode_step,
    gemv,
    quantise_activations,
)
from demo.llama.kernels.decode_attention import KVSlots
from demo.llama.kernels.decode_delta import changed_decode_step
from demo.llama.kernels.delta import (
    DeltaSlots,
    DeltaWorkspace,
    PackedDelta,
    delta_workspace,
    set_slot,
)
from demo.llama.kernels.gemm import L2_WEIGHTS, QuantisedTiles
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS
from demo.llama.kernels.prefill import SLICE, PrefillWorkspace, prefill
from demo.llama.kernels.prefill_delta import changed_prefill
from demo.llama.model import KVCache, Llama, Prefix, kernel_weights, uses_amx

FIRST_PROBE, LAST_PROBE = 32, 1024  # steps between two trials of the other choice
STEP_SLICE = 32  # tokens of a prompt at a time that go through the kernels of steps
MEMORY = 0.7  # weight of the past in the running mean of a step's seconds


class TokenDecoder(Protocol):
    """Runs tokens through a base and keeps their keys and values, a slot for each sequence."""

    def prefill(
        self,
        slot: int,
        ids: Sequence[int],
        prefix: Prefix | None,
        *,
        start: int = 0,
        delta: Delta | None = None,
    ) -> np.ndarray:
        """Write tokens after the first `start` of a slot → logits (V,) fp32 for what follows.

        The first `start` tokens must have been computed with the same prefix and delta.
        """
        ...

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Run one token of each of B sequences: three of (B,) int64 → logits (B, V) fp32.

        `position[b]` tokens of `slot[b]` are filled already; the token is written after them. The
        logits are valid until the next step.
        """
        ...

    def release(self, slots: Iterable[int]) -> None:
        """Give back the memory of slots, as far as it can be; what they held is lost."""
        ...


@dataclass(frozen=True)
class SlotSizes:
    """How many sequences, positions and prompts a decoder has room for."""

    slots: int
    positions: int
    prompts: int
    kv_bits: int = 16  # of each kept number: bf16, or fp32 to compare with references


class Decoder:
    """A `TokenDecoder` in compiled kernels: a pool of KV caches. For one thread at a time.

    An unused slot costs nothing: its memory is taken when it is first written to, in pages that may
    be as large as the slot.

    Args:
        model: the base, on the CPU.
        sizes: how much there is room for.
        threads: at most.
        exact: prompts go through the kernels of steps, whose activations have 30 bits, not through
            those of prefills, whose have 16: some five times as slow, for comparisons.

    Attributes:
        uncompiled: the kernels have changed, or were never used here: `warm` takes a minute.
    """

    def __init__(
        self, model: Llama, sizes: SlotSizes, threads: int, *, exact: bool = False
    ) -> None:
        cache = Path(decode_step.stats.cache_path)
        self.uncompiled = drop_stale(cache) or not any(cache.glob("*.nbi"))
        c = model.config
        self.model, self.config, self.sizes, self.exact = model, c, sizes, exact
        self.threads = ThreadChoice(min(threads, max_threads()))
        self._weights = kernel_weights(model)
        # Tiles are read whole, so there is room for one beyond the last row.
        text = (sizes.slots, c.layers, c.kv_heads, sizes.positions + 2 * GEMM_ROWS, c.head_dim)
        prompt = (sizes.slots, c.layers, c.kv_heads, sizes.prompts + 2 * GEMM_ROWS, c.head_dim)
        kept = np.float32 if sizes.kv_bits == 32 else np.uint16  # numpy has no bf16
        self._slots = KVSlots(
            key=without_huge_pages(empty(text, kept)),
            value=without_huge_pages(empty(text, kept)),
            prompt_key=without_huge_pages(zeros(prompt)),
            prompt_value=without_huge_pages(zeros(prompt)),
            gate=zeros((sizes.slots, c.layers, c.heads)),
            prompts=np.zeros(sizes.slots, np.int64),
        )
        self._prefill_workspace = _prefill_workspace(c, sizes, self.threads.threads)
        self._workspaces: dict[int, tuple[DecodeWorkspace, np.ndarray]] = {}  # by batch
        # Of slots whose adapter changes products: where, and the arrays that are pointed to.
        self._deltas = _unchanged_slots(sizes.slots)
        self._packed: dict[int, PackedDelta] = {}
        self._delta_workspaces: dict[int, DeltaWorkspace] = {}  # by batch

    def warm(self) -> None:
        """Compile what numba compiles on the first start ever; later it is read from a cache.

        Else the first reply would stand still for as long as that takes. Nothing may be kept in
        slot 0.
        """
        self.prefill(0, [0], None)
        self.step(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, np.int64))

    def prefill(
        self,
        slot: int,
        ids: Sequence[int],
        prefix: Prefix | None,
        *,
        start: int = 0,
        delta: Delta | None = None,
    ) -> np.ndarray:
        """See `TokenDecoder.prefill`."""
        if self.exact:
            return self._prefill_by_steps(slot, ids, prefix, start, delta)
        hidden = self.hidden(slot, ids, prefix, start=start, delta=delta)
        return self._logits(np.ascontiguousarray(hidden[-1:]))

    def _prefill_by_steps(
        self,
        slot: int,
        ids: Sequence[int],
        prefix: Prefix | None,
        start: int,
        delta: Delta | None,
    ) -> np.ndarray:
        """Step with neighbours in a text as if they were sequences of the same slot.

        A layer writes the keys and values of all of them before any attends to those before it.
        """
        self.set_prefix(slot, prefix)
        self.set_delta(slot, delta)
        for first in range(0, len(ids), STEP_SLICE):
            part = np.array(ids[first : first + STEP_SLICE], np.int64)
            position = start + first + np.arange(len(part))
            logits = self.step(part, np.full(len(part), slot), position)
        return logits[-1].copy()

    def hidden(
        self,
        slot: int,
        ids: Sequence[int],
        prefix: Prefix | None,
        *,
        start: int = 0,
        delta: Delta | None = None,
    ) -> np.ndarray:
        """Run a prefill → final hidden states (T, D) fp32, normalised, of the last slice."""
        self.set_prefix(slot, prefix)
        self.set_delta(slot, delta)
        w, options = self._weights, self._options(self.threads.current)
        nb.set_num_threads(options.threads)
        for first in range(0, len(ids), SLICE):
            part = np.array(ids[first : first + SLICE], np.int64)
            self._run_slice(part, slot, start + first, options)
        tiles = self._prefill_workspace.x  # (M, D, TOKENS)
        x = tiles.transpose(0, 2, 1).reshape(-1, tiles.shape[1])[: len(part)]  # (T, D)
        mean = np.square(x).mean(1, keepdims=True)
        norm = w.output_norm if delta is None else delta.packed.output_norm(w.output_norm)
        return x / np.sqrt(mean + options.eps) * norm

    def _run_slice(self, ids: np.ndarray, slot: int, start: int, options: KernelOptions) -> None:
        w, room = self._weights, self._prefill_workspace
        if slot not in self._packed:
            prefill(ids, slot, start, w, self._slots, room, options)
            return
        changed_prefill(ids, slot, start, w, self._slots, self._deltas, room, options)

    def set_delta(self, slot: int, delta: Delta | None) -> None:
        """Set what is changed for the tokens of a slot from now on, None for nothing."""
        if delta:
            self._packed[slot] = delta.packed
            set_slot(self._deltas, slot, delta.packed)
        elif self._packed.pop(slot, None):
            set_slot(self._deltas, slot, None)

    def set_prefix(self, slot: int, prefix: Prefix | None) -> None:
        """Set what the tokens of a slot attend to beside the text from now on, None for the base.

        Raises:
            ValueError: it has more prompts than a slot has room for.
        """
        s = self._slots
        s.gate[slot] = 0
        s.prompts[slot] = 0
        if prefix is None:
            return
        adapted, _, _, prompts, _ = prefix.key.shape
        if prompts > self.sizes.prompts:
            raise ValueError(f"{prompts} prompts, room for {self.sizes.prompts}")
        first = self.config.layers - adapted
        s.prompt_key[slot, first:, :, :prompts] = prefix.key[:, 0].numpy(force=True)
        s.prompt_value[slot, first:, :, :prompts] = prefix.value[:, 0].numpy(force=True)
        s.gate[slot, first:] = prefix.gate.numpy(force=True)
        s.prompts[slot] = prompts

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray:
        """See `TokenDecoder.step`."""
        workspace, logits = self._workspace(len(token))
        options = self._options(self.threads.pick(len(token)))
        nb.set_num_threads(options.threads)
        batch = NextTokens(token, slot, position)
        start = time.perf_counter()
        if any(m in self._packed for m in slot.tolist()):
            deltas, more = self._deltas, self._delta_workspace(len(token))
            changed_decode_step(
                batch, self._weights, self._slots, deltas, workspace, more, options, logits
            )
        else:
            decode_step(batch, self._weights, self._slots, workspace, options, logits)
        self.threads.record(options.threads, len(token), time.perf_counter() - start)
        return logits

    def release(self, slots: Iterable[int]) -> None:
        """See `TokenDecoder.release`."""
        s = self._slots
        for slot in slots:
            s.prompts[slot] = 0
            for kept in (s.key, s.value, s.prompt_key, s.prompt_value):
                discard(kept[slot])

    def _options(self, threads: int) -> KernelOptions:
        return KernelOptions(self.config.heads, np.float32(self.config.norm_eps), threads)

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        """hidden (1, D) → (V,). Torch would convert the largest matrix for one row."""
        w, threads = self._weights, self.threads.current
        workspace, logits = self._workspace(1)
        nb.set_num_threads(threads)
        quantise_activations(hidden, workspace.qx)
        gemv(w.output, w.output_scale, workspace.qx, logits, False, threads)
        return logits[0].copy()  # the next step writes there

    def _workspace(self, batch: int) -> tuple[DecodeWorkspace, np.ndarray]:
        if batch not in self._workspaces:
            self._workspaces[batch] = _decode_workspace(self.config, self.sizes, batch)
        return self._workspaces[batch]

    def _delta_workspace(self, batch: int) -> DeltaWorkspace:
        if batch not in self._delta_workspaces:
            c = self.config
            self._delta_workspaces[batch] = delta_workspace(batch, c.width, c.ffn)
        return self._delta_workspaces[batch]


def _unchanged_slots(slots: int) -> DeltaSlots:
    """Make slots in which nothing is changed."""
    return DeltaSlots(
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
        np.full((slots, 5, 6), -1, np.int64),
        np.zeros((slots, 2), np.int64),
        np.zeros(slots, np.int64),
    )


def _decode_workspace(
    c: LlamaConfig, sizes: SlotSizes, batch: int
) -> tuple[DecodeWorkspace, np.ndarray]:
    """Memory for a step of `batch` sequences, and for its logits (B, V)."""
    widest = _round_up(max(c.width, c.heads * c.head_dim, c.ffn), CACHE_LINE // 2)
    workspace = DecodeWorkspace(
        x=empty((batch, c.width)),
        normed=empty((batch, c.width)),
        qkv=empty((batch, (c.heads + 2 * c.kv_heads) * c.head_dim)),
        mixed=empty((batch, c.heads * c.head_dim)),
        inner=empty((batch, c.ffn)),
        scores=empty((batch * c.heads, max(sizes.positions, sizes.prompts))),
        qx=QuantisedRows(
            high=empty((batch, widest), np.int16),
            low=empty((batch, widest), np.int16),
            scale=empty((batch,)),
            bytes=zeros((-(-batch // GROUP_SEQUENCES), widest // 4, TILE_ROWS), np.int32),
            amx=uses_amx(c),
        ),
    )
    return workspace, empty((batch, c.vocab))


def _prefill_workspace(c: LlamaConfig, sizes: SlotSizes, threads: int) -> PrefillWorkspace:
    widest = _round_up(max(c.width, c.heads * c.head_dim, c.ffn), 2)
    longest = max(sizes.positions, sizes.prompts) + 2 * GEMM_ROWS
    tiles = SLICE // TOKENS
    near = _round_up(max(L2_WEIGHTS, GEMM_ROWS * widest), CACHE_LINE // 2)
    return PrefillWorkspace(
        x=zeros((tiles, c.width, TOKENS)),
        qkv=zeros((tiles, (c.heads + 2 * c.kv_heads) * c.head_dim, TOKENS)),
        mixed=zeros((tiles, c.heads * c.head_dim, TOKENS)),
        inner=zeros((tiles, c.ffn, TOKENS)),
        qx=QuantisedTiles(
            packed=zeros((tiles, widest // 2, TOKENS), np.int32),
            scale=zeros((tiles, TOKENS)),
            rows=zeros((threads, near), np.int16),
            amx=uses_amx(c),
        ),
        scores=zeros((threads, longest, TOKENS)),
        widened=empty((threads, 2, 0 if sizes.kv_bits == 32 else longest, c.head_dim)),
        cos=zeros((tiles, c.head_dim // 2, TOKENS)),
        sin=zeros((tiles, c.head_dim // 2, TOKENS)),
    )


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


class TorchDecoder:
    """A `TokenDecoder` in torch: KV caches on the model's device, made when first used."""

    def __init__(self, model: Llama, sizes: SlotSizes) -> None:
        self.model, self.sizes = model, sizes
        self._caches: dict[int, KVCache] = {}
        self._adapters: dict[int, tuple[Prefix | None, Delta | None]] = {}

    def prefill(
        self,
        slot: int,
        ids: Sequence[int],
        prefix: Prefix | None,
        *,
        start: int = 0,
        delta: Delta | None = None,
    ) -> np.ndarray:
        """See `TokenDecoder.prefill`."""
        if slot not in self._caches:
            self._caches[slot] = self.model.empty_cache(self.sizes.positions, self.sizes.kv_bits)
        self._adapters[slot] = prefix, delta
        return self._run(slot, list(ids), start)

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray:
        """See `TokenDecoder.step`."""
        rows = zip(token, slot, position, strict=True)
        return np.stack([self._run(int(m), [int(t)], int(p)) for t, m, p in rows])

    def release(self, slots: Iterable[int]) -> None:
        """See `TokenDecoder.release`."""
        for slot in slots:
            self._caches.pop(slot, None)

    def _run(self, slot: int, ids: list[int], start: int) -> np.ndarray:
        cache = self._caches[slot]
        cache.length = start
        with torch.inference_mode():
            tokens = torch.tensor([ids], device=self.model.device)
            prefix, delta = self._adapters[slot]
            hidden = self.model.forward(tokens, prefix=prefix, cache=cache, delta=delta)
            return self.model.logits(hidden[0, -1]).float().numpy(force=True)


class ThreadChoice:
    """Choose all threads or one, whichever was faster of late, and try the other now and then.

    A trial that loses doubles the time to the next one, so that a neighbour which stays costs
    little, and one that leaves is noticed within some seconds.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._seconds: dict[tuple[int, int], float] = {}  # (threads, batch) → running mean
        self._until_probe = self._interval = FIRST_PROBE
        self._current = threads

    @property
    def current(self) -> int:
        """The choice in force, without a trial of the other."""
        return self._current

    def pick(self, batch: int) -> int:
        """Return the number of threads for a step of `batch` sequences."""
        other = self._other()
        if (other, batch) not in self._seconds and (self._current, batch) in self._seconds:
            return other
        self._until_probe -= 1
        return other if self._until_probe <= 0 else self._current

    def record(self, threads: int, batch: int, seconds: float) -> None:
        """Note how long a step of `batch` sequences took."""
        probed = threads != self._current
        known = self._seconds.get((threads, batch))
        # A trial starts afresh: what the other choice cost long ago says nothing about now.
        mean = seconds if known is None or probed else MEMORY * known + (1 - MEMORY) * seconds
        self._seconds[threads, batch] = mean
        other = self._seconds.get((self._other(), batch))
        here = self._seconds.get((self._current, batch))
        won = other is not None and here is not None and other < here
        if won:
            self._current = self._other()
        if probed or won:
            self._interval = FIRST_PROBE if won else min(2 * self._interval, LAST_PROBE)
            self._until_probe = self._interval

    def _other(self) -> int:
        return 1 if self._current > 1 else self.threads
