"""Decoding on the CPU: a pool of KV caches, and the kernel that runs on it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numba as nb
import numpy as np

from demo.llama.amx import SIDE
from demo.llama.compiled import drop_stale
from demo.llama.config import LlamaConfig
from demo.llama.kernel import Scratch, Slots, fix, linear, step
from demo.llama.kernel_amx import groups_of
from demo.llama.matrices import by_bytes, matrices_of
from demo.llama.memory import LINE, empty, zeros
from demo.llama.model import Llama, Prefix
from demo.llama.prefill import SLICE, Room, prefill
from demo.llama.product import NEAR
from demo.llama.threads import ThreadChoice
from demo.llama.tile import ROWS, TOKENS


@dataclass(frozen=True)
class SlotSizes:
    """How many sequences, positions and prompts a decoder has room for."""

    slots: int
    positions: int
    prompts: int


class Decoder:
    """Owns a pool of KV caches and runs the kernel on it. For one thread at a time.

    An unused slot costs nothing: its memory is taken when it is first written to, in pages that may
    be as large as the slot.
    """

    def __init__(self, model: Llama, sizes: SlotSizes, threads: int) -> None:
        drop_stale(Path(step.stats.cache_path))
        c = model.config
        self.model, self.config, self.sizes = model, c, sizes
        self.threads = ThreadChoice(min(threads, nb.config.NUMBA_NUM_THREADS))
        self._matrices = matrices_of(model)
        # Tiles read whole, so there is room for one beyond the last row.
        text = (sizes.slots, c.layers, c.kv_heads, sizes.positions + 2 * ROWS, c.head_dim)
        prompt = (sizes.slots, c.layers, c.kv_heads, sizes.prompts + 2 * ROWS, c.head_dim)
        self._slots = Slots(
            key=empty(text),
            value=empty(text),
            prompt_key=zeros(prompt),
            prompt_value=zeros(prompt),
            gate=zeros((sizes.slots, c.layers, c.heads)),
            prompts=np.zeros(sizes.slots, np.int64),
        )
        self._prompt_room = _prompt_room(c, sizes, self.threads.threads)
        self._scratch: dict[int, tuple[Scratch, np.ndarray]] = {}

    def warm(self) -> None:
        """Compiles what numba compiles, on the first start ever; later it is read from a cache.

        Else the first reply would stand still for as long as that takes. Nothing may be kept in
        slot 0.
        """
        self.prefill(0, [0], None)
        self.step(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1, np.int64))

    def prefill(
        self, slot: int, ids: Sequence[int], prefix: Prefix | None, *, start: int = 0
    ) -> np.ndarray:
        """Writes tokens after the first `start` of a slot → logits (V,) fp32 for what follows.

        The first `start` tokens must have been computed with the same prefix.
        """
        hidden = self.hidden(slot, ids, prefix, start=start)
        return self._logits(np.ascontiguousarray(hidden[-1:]))

    def hidden(
        self, slot: int, ids: Sequence[int], prefix: Prefix | None, *, start: int = 0
    ) -> np.ndarray:
        """As `prefill` → final hidden states (T, D) fp32, normalised, of the last slice."""
        self.set_prefix(slot, prefix)
        w, eps, threads = self._matrices, np.float32(self.config.norm_eps), self.threads.current
        nb.set_num_threads(threads)
        for first in range(0, len(ids), SLICE):
            part = np.array(ids[first : first + SLICE], np.int64)
            prefill(
                part, slot, start + first, w, self._slots, self._prompt_room,
                self.config.heads, eps, threads,
            )  # fmt: skip
        tiles = self._prompt_room.x  # (M, D, TOKENS)
        x = tiles.transpose(0, 2, 1).reshape(-1, tiles.shape[1])[: len(part)]  # (T, D)
        mean = np.square(x).mean(1, keepdims=True)
        return x / np.sqrt(mean + eps) * w.output_norm

    def set_prefix(self, slot: int, prefix: Prefix | None) -> None:
        """What the tokens of a slot attend to beside the text from now on, None for the base.

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
        """One token a sequence: three of (B,) int64 → logits (B, V) fp32, valid until the next.

        `position[b]` tokens of `slot[b]` are filled already; the token is written after them.
        """
        scratch, logits = self._room(len(token))
        threads = self.threads.pick(len(token))
        nb.set_num_threads(threads)
        eps = np.float32(self.config.norm_eps)
        start = time.perf_counter()
        step(
            token, slot, position, self._matrices, self._slots, scratch,
            self.config.heads, eps, threads, logits,
        )  # fmt: skip
        self.threads.record(threads, len(token), time.perf_counter() - start)
        return logits

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        """One row: converting the largest matrix for it would take longer than the kernel."""
        w, threads = self._matrices, self.threads.current
        out = empty((1, self.config.vocab))
        scratch, _ = self._room(1)
        fixed = scratch.high, scratch.low, scratch.unit, scratch.bytes, scratch.amx
        nb.set_num_threads(threads)
        fix(hidden, *fixed)
        linear(w.output, w.output_scale, fixed, out, False, threads)
        return out[0]

    def _room(self, batch: int) -> tuple[Scratch, np.ndarray]:
        if batch not in self._scratch:
            self._scratch[batch] = _scratch(self.config, self.sizes, batch)
        return self._scratch[batch]


def _scratch(c: LlamaConfig, sizes: SlotSizes, batch: int) -> tuple[Scratch, np.ndarray]:
    widest = _up(max(c.width, c.heads * c.head_dim, c.ffn), LINE // 2)
    scratch = Scratch(
        x=empty((batch, c.width)),
        normed=empty((batch, c.width)),
        qkv=empty((batch, (c.heads + 2 * c.kv_heads) * c.head_dim)),
        mixed=empty((batch, c.heads * c.head_dim)),
        inner=empty((batch, c.ffn)),
        scores=empty((batch * c.heads, max(sizes.positions, sizes.prompts))),
        high=empty((batch, widest), np.int16),
        low=empty((batch, widest), np.int16),
        unit=empty((batch,)),
        bytes=zeros((groups_of(batch), widest // 4, SIDE), np.int32),
        amx=by_bytes(c),
    )
    return scratch, empty((batch, c.vocab))


def _prompt_room(c: LlamaConfig, sizes: SlotSizes, threads: int) -> Room:
    widest = _up(max(c.width, c.heads * c.head_dim, c.ffn), 2)
    longest = max(sizes.positions, sizes.prompts) + 2 * ROWS
    tiles = SLICE // TOKENS
    return Room(
        x=zeros((tiles, c.width, TOKENS)),
        qkv=zeros((tiles, (c.heads + 2 * c.kv_heads) * c.head_dim, TOKENS)),
        mixed=zeros((tiles, c.heads * c.head_dim, TOKENS)),
        inner=zeros((tiles, c.ffn, TOKENS)),
        packed=zeros((tiles, widest // 2, TOKENS), np.int32),
        unit=zeros((tiles, TOKENS)),
        rows=zeros((threads, _up(max(NEAR, ROWS * widest), LINE // 2)), np.int16),
        scores=zeros((threads, longest, TOKENS)),
        cos=zeros((tiles, c.head_dim // 2, TOKENS)),
        sin=zeros((tiles, c.head_dim // 2, TOKENS)),
        amx=by_bytes(c),
    )


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
