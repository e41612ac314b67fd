"""The layers under an adapter for a batch of texts, and the way back to its prefix, on the CPU.

The base is frozen, so the way back needs no gradient of a matrix: each is passed once forwards and
once backwards, as products of integers (`product.py`, `product_back.py`). Only gates, and keys
and values of prompts (LLaMA-Adapter, arXiv 2303.16199, section 3.2) get a gradient.

Texts lie one after the other in M tiles of tokens, without padding between them. L layers are run,
the last ones of the base. Other sizes as in `kernel.py`.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.amx import HERE
from demo.llama.attention import attend, attend_back, rotate
from demo.llama.compiled import LANES_ALIKE
from demo.llama.denormal import flush, restore
from demo.llama.exp import exp
from demo.llama.layout import (
    gather,
    gather_turned,
    keep_bf16,
    scatter,
    scatter_turned,
    tiles_of,
    turn,
)
from demo.llama.memory import scratch
from demo.llama.product import linear, norm_and_pack, norm_factor, pack, scale_and_pack
from demo.llama.product_amx import swiglu_by_bytes
from demo.llama.product_back import linear_back, pack_all_slopes, pack_slopes
from demo.llama.tile import ROWS, TOKENS


class Tape(NamedTuple):
    """What the way back needs to know. It is used up by it."""

    x: np.ndarray  # (L + 1, M, D, TOKENS) what enters each layer, and what leaves the last
    qkv: np.ndarray  # (L, M, (H + 2 KV) d, TOKENS) rotated
    middle: np.ndarray  # (L, M, D, TOKENS) after the attention
    gate_up: np.ndarray  # (L, M, 2 F, TOKENS) uint16, bf16 rounded: the way back is not exact
    cos: np.ndarray  # (M, d / 2, TOKENS)
    sin: np.ndarray


class Bench(NamedTuple):
    """Room to work in. I is the widest input or output of a matrix."""

    packed: np.ndarray  # (M, I / 2, TOKENS) int32
    unit: np.ndarray  # (M, TOKENS)
    first: np.ndarray  # (M, TOKENS) int32
    rows: np.ndarray  # (threads, NEAR or more) int16
    mixed: np.ndarray  # (M, H d, TOKENS)
    inner: np.ndarray  # (M, F, TOKENS)
    gate_up: np.ndarray  # (M, 2 F, TOKENS), nothing with matrix instructions
    slope: np.ndarray  # (M, D, TOKENS) of the loss at the layer's output, then at its input
    part: np.ndarray  # (M, D, TOKENS)
    heads: np.ndarray  # (M, (H + 2 KV) d, TOKENS)
    amx: bool  # whether matrix instructions are used


@nb.njit(parallel=True, **LANES_ALIKE)
def _rotate_all(qkv, cos, sin, heads, kv_heads, way, tokens, threads):
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            rotate(qkv[tile], cos[tile], sin[tile], heads, kv_heads, np.float32(way))


@nb.njit(parallel=True, **LANES_ALIKE)
def _swiglu_and_pack(gate_up, kept, ones, tokens, inner, packed, unit, amx, threads):
    size = inner.shape[1]
    for thread in nb.prange(threads):
        same = np.ones(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            for i in range(size):
                for t in range(TOKENS):
                    gate, up = gate_up[tile, i, t], gate_up[tile, size + i, t]
                    inner[tile, i, t] = gate / (np.float32(1) + exp(-gate)) * up
            keep_bf16(gate_up[tile].reshape(-1), kept[tile].reshape(-1))
            pack(inner[tile], same, ones, packed[tile], unit[tile], amx)


@nb.njit(parallel=True, **LANES_ALIKE)
def _swiglu_back(gate_up, slope, scale, tokens, packed, unit, first, threads):
    # gate_up (M, 2 F, TOKENS) as bf16; `slope` (M, F, TOKENS) is that of the product
    size, one = slope.shape[1], np.float32(1)
    for thread in nb.prange(threads):
        both = scratch((2 * size, TOKENS))
        bits = both.view(np.uint32)
        for tile in range(thread, tiles_of(tokens), threads):
            for i in range(2 * size):
                for t in range(TOKENS):
                    bits[i, t] = np.uint32(gate_up[tile, i, t]) << np.uint32(16)
            for i in range(size):
                for t in range(TOKENS):
                    gate, up = both[i, t], both[size + i, t]
                    opened = one / (one + exp(-gate))
                    given = slope[tile, i, t]
                    both[i, t] = given * up * opened * (one + gate * (one - opened))
                    both[size + i, t] = given * gate * opened
            pack_slopes(both, scale, packed[tile], unit[tile], first[tile])


@nb.njit(parallel=True, **LANES_ALIKE)
def _norm_back(x, weight, eps, given, slope, tokens, threads):  # slope (M, D, TOKENS) += back
    size = x.shape[1]
    for thread in nb.prange(threads):
        factor, dot = np.empty(TOKENS, np.float32), np.empty(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            norm_factor(x[tile], eps, factor)
            dot[:] = 0
            for i in range(size):
                for t in range(TOKENS):
                    dot[t] += given[tile, i, t] * weight[i] * x[tile, i, t]
            for t in range(TOKENS):
                dot[t] *= factor[t] * factor[t] / np.float32(size)
            for i in range(size):
                for t in range(TOKENS):
                    change = given[tile, i, t] * weight[i] - x[tile, i, t] * dot[t]
                    slope[tile, i, t] += factor[t] * change


@nb.njit(parallel=True, **LANES_ALIKE)
def _attention(qkv, starts, lengths, key, value, gate, mixed, heads, threads):
    # Prompts' key, value (B or 1, KV, P + ROWS, d), gate (H,) of one layer -> mixed
    kv_heads, size = key.shape[1], key.shape[3]
    group, prompts, longest = heads // kv_heads, key.shape[2] - ROWS, lengths.max()
    one, width, most = np.float32(1), tiles_of(longest), max(longest, prompts) + ROWS
    for thread in nb.prange(threads):
        keys = np.zeros((longest + ROWS, size), np.float32)
        values = np.zeros((longest + ROWS, size), np.float32)
        scores = scratch((most, TOKENS))
        q = scratch((width, size, TOKENS))
        out = scratch((width, size, TOKENS))
        for job in range(thread, len(starts) * kv_heads, threads):
            text, kv = job // kv_heads, job % kv_heads
            start, length, shared = starts[text], lengths[text], min(text, key.shape[0] - 1)
            gather_turned(qkv, (heads + kv) * size, start, length, keys)
            gather_turned(qkv, (heads + kv_heads + kv) * size, start, length, values)
            for head in range(kv * group, (kv + 1) * group):
                gather(qkv, head * size, start, length, q)
                out[:] = 0
                for tile in range(tiles_of(length)):
                    seen, span = tile * TOKENS + 1, min(length, (tile + 1) * TOKENS)
                    attend(q[tile], keys, values, span, seen, one, scores, out[tile])
                    if gate[head] != 0:
                        attend(
                            q[tile], key[shared, kv], value[shared, kv], prompts, prompts,
                            gate[head], scores, out[tile],
                        )  # fmt: skip
                scatter(out, head * size, start, length, mixed)


@nb.njit(parallel=True, **LANES_ALIKE)
def _attention_back(
    qkv, starts, lengths, key, value, gate, slope, heads, threads,
    qkv_slope, key_slope, value_slope, gate_slope,
):  # fmt: skip
    # slope (M, H d, TOKENS) of `mixed` -> qkv_slope, as rotated; of prompts (B, KV, C, P + ROWS,
    # TOKENS); of gates (B, H)
    kv_heads, size = key.shape[1], key.shape[3]
    group, prompts, longest = heads // kv_heads, key.shape[2] - ROWS, lengths.max()
    one, width, chunks = np.float32(1), tiles_of(longest), key_slope.shape[2]
    most = max(longest, prompts) + ROWS
    for thread in nb.prange(threads):
        mode = flush()
        keys = np.zeros((longest + ROWS, size), np.float32)
        values = np.zeros((longest + ROWS, size), np.float32)
        keys_slope = scratch((chunks, longest + ROWS, TOKENS))
        values_slope = scratch((chunks, longest + ROWS, TOKENS))
        scores = scratch((most, TOKENS))
        slopes = scratch((most, TOKENS))
        q = scratch((width, size, TOKENS))
        given = scratch((width, size, TOKENS))
        q_slope = scratch((width, size, TOKENS))
        q_turned = scratch((chunks, TOKENS, TOKENS))
        turned = scratch((chunks, TOKENS, TOKENS))
        for job in range(thread, len(starts) * kv_heads, threads):
            text, kv = job // kv_heads, job % kv_heads
            start, length, shared = starts[text], lengths[text], min(text, key.shape[0] - 1)
            gather_turned(qkv, (heads + kv) * size, start, length, keys)
            gather_turned(qkv, (heads + kv_heads + kv) * size, start, length, values)
            keys_slope[:] = 0
            values_slope[:] = 0
            for head in range(kv * group, (kv + 1) * group):
                gather(qkv, head * size, start, length, q)
                gather(slope, head * size, start, length, given)
                q_slope[:] = 0
                opened = np.float32(0)
                for tile in range(tiles_of(length)):
                    seen, span = tile * TOKENS + 1, min(length, (tile + 1) * TOKENS)
                    turn(q[tile], q_turned)
                    turn(given[tile], turned)
                    attend_back(
                        q[tile], q_turned, given[tile], turned, keys, values, span, seen, one,
                        scores, slopes, q_slope[tile], keys_slope, values_slope,
                    )  # fmt: skip
                    opened += attend_back(
                        q[tile], q_turned, given[tile], turned, key[shared, kv], value[shared, kv],
                        prompts, prompts, gate[head], scores, slopes, q_slope[tile],
                        key_slope[text, kv], value_slope[text, kv],
                    )  # fmt: skip
                gate_slope[text, head] = opened
                scatter(q_slope, head * size, start, length, qkv_slope)
            scatter_turned(keys_slope, (heads + kv) * size, size, start, length, qkv_slope)
            values_at = (heads + kv_heads + kv) * size
            scatter_turned(values_slope, values_at, size, start, length, qkv_slope)
        restore(mode)


@nb.njit(**LANES_ALIKE)
def forwards(first, starts, lengths, w, key, value, gate, tape, b, heads, eps, threads):
    """From tape.x[0], what enters layer `first`, to tape.x[L]; prompts (L, B or 1, KV, P, d)."""
    tokens, ones = lengths.sum(), np.ones(2 * b.packed.shape[1], np.float32)
    to, packed = (b.packed, b.unit, b.amx), (b.packed, b.unit, b.rows, b.amx)
    for level in range(gate.shape[0]):
        layer, x, middle, qkv = first + level, tape.x[level], tape.middle[level], tape.qkv[level]
        norm_and_pack(x, w.attention_norm[layer], eps, tokens, *to, threads)
        linear(w.qkv[layer], w.qkv_scale[layer], *packed, tokens, qkv[:0], qkv, threads)
        _rotate_all(qkv, tape.cos, tape.sin, heads, key.shape[2], 1, tokens, threads)
        prompts = key[level], value[level], gate[level]
        _attention(qkv, starts, lengths, *prompts, b.mixed, heads, threads)
        scale_and_pack(b.mixed, ones, tokens, *to, threads)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        linear(matrix, scale, *packed, tokens, x, middle, threads)
        norm_and_pack(middle, w.ffn_norm[layer], eps, tokens, *to, threads)
        matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
        kept, after = tape.gate_up[level], tape.x[level + 1]
        if HERE and b.amx:
            given = b.packed, b.unit, tokens, kept
            swiglu_by_bytes(matrix, scale, *given, b.inner, threads)
            scale_and_pack(b.inner, ones, tokens, *to, threads)
        else:
            linear(matrix, scale, *packed, tokens, b.gate_up[:0], b.gate_up, threads)
            _swiglu_and_pack(b.gate_up, kept, ones, tokens, b.inner, *to, threads)
        linear(w.down[layer], w.down_scale[layer], *packed, tokens, middle, after, threads)


@nb.njit(**LANES_ALIKE)
def backwards(
    first, starts, lengths, w, key, value, gate, tape, b, heads, eps, threads,
    key_slope, value_slope, gate_slope,
):  # fmt: skip
    """From b.slope, that of tape.x[L], to those of prompts and gates.

    key_slope, value_slope (L, B, KV, C, P + ROWS, TOKENS), gate_slope (L, B, H), zeros at first.
    """
    tokens, packed = lengths.sum(), (b.packed, b.unit, b.first)
    for level in range(gate.shape[0] - 1, -1, -1):
        layer, gate_up = first + level, tape.gate_up[level]
        pack_all_slopes(b.slope, w.down_scale[layer], tokens, *packed, threads)
        linear_back(w.down[layer], *packed, b.rows, b.amx, tokens, b.inner, threads)
        scale = w.gate_up_scale[layer]
        _swiglu_back(gate_up, b.inner, scale, tokens, *packed, threads)
        linear_back(w.gate_up[layer], *packed, b.rows, b.amx, tokens, b.part, threads)
        middle, norm = tape.middle[level], w.ffn_norm[layer]
        _norm_back(middle, norm, eps, b.part, b.slope, tokens, threads)
        pack_all_slopes(b.slope, w.attention_output_scale[layer], tokens, *packed, threads)
        linear_back(w.attention_output[layer], *packed, b.rows, b.amx, tokens, b.mixed, threads)
        _attention_back(
            tape.qkv[level], starts, lengths, key[level], value[level], gate[level], b.mixed,
            heads, threads, b.heads, key_slope[level], value_slope[level], gate_slope[level],
        )  # fmt: skip
        if level == 0:  # what lies below learns nothing
            break
        _rotate_all(b.heads, tape.cos, tape.sin, heads, key.shape[2], -1, tokens, threads)
        pack_all_slopes(b.heads, w.qkv_scale[layer], tokens, *packed, threads)
        linear_back(w.qkv[layer], *packed, b.rows, b.amx, tokens, b.part, threads)
        norm = w.attention_norm[layer]
        _norm_back(tape.x[level], norm, eps, b.part, b.slope, tokens, threads)
