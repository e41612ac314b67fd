"""A prompt's tokens through all layers on the CPU, in one compiled call.

A slice of W tokens lies in tiles with tokens last, (W / TOKENS, features, TOKENS), see
`product.py`. Sizes as in `kernel.py`.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.amx import HERE
from demo.llama.attention import attend, rotate
from demo.llama.compiled import LANES_ALIKE
from demo.llama.exp import exp
from demo.llama.layout import share_of, tiles_of
from demo.llama.product import linear, norm_and_pack, product, scale_and_pack, wide_rows, widen
from demo.llama.product_amx import swiglu_by_bytes
from demo.llama.tile import ROWS, TOKENS

SLICE = 256  # tokens at a time: what they need stays in a core's second cache


class Room(NamedTuple):
    """Activations of one slice of M tiles, made once. I is the widest input of a matrix."""

    x: np.ndarray  # (M, D, TOKENS)
    qkv: np.ndarray  # (M, (H + 2 KV) d, TOKENS)
    mixed: np.ndarray  # (M, H d, TOKENS)
    inner: np.ndarray  # (M, F, TOKENS)
    packed: np.ndarray  # (M, I / 2, TOKENS) int32, integers of what is multiplied next
    unit: np.ndarray  # (M, TOKENS) what 1 in `packed` stands for
    rows: np.ndarray  # (threads, NEAR) int16, weights on their way
    scores: np.ndarray  # (threads, S, TOKENS)
    cos: np.ndarray  # (M, d / 2, TOKENS)
    sin: np.ndarray
    amx: bool  # whether matrix instructions are used


@nb.njit(parallel=True, **LANES_ALIKE)
def _swiglu(weight, scale, r, tokens, y, threads):  # y (M, F, TOKENS) = silu(gate) up
    # `y` and not r.inner: what a parallel loop stores through a tuple's field, numba drops.
    half, size, columns = ROWS // 2, y.shape[1], weight.shape[1]
    share = share_of(size, half, threads)
    for thread in nb.prange(threads):
        rows, out = wide_rows(r.rows[thread], columns), np.empty((ROWS, TOKENS), np.float32)
        for row in range(thread * share, min(size, (thread + 1) * share), half):
            for i in range(half):  # half a tile of gates beside half a tile of ups
                widen(weight, row + i, rows[i])
                widen(weight, size + row + i, rows[half + i])
            for tile in range(tiles_of(tokens)):
                product(rows[:ROWS], r.packed[tile], columns, out)
                for i in range(min(half, size - row)):
                    for t in range(TOKENS):
                        gate = out[i, t] * scale[row + i] * r.unit[tile, t]
                        up = out[half + i, t] * scale[size + row + i] * r.unit[tile, t]
                        y[tile, row + i, t] = gate / (np.float32(1) + exp(-gate)) * up


@nb.njit(parallel=True, **LANES_ALIKE)
def _rotate_and_store(qkv, key, value, start, tokens, cos, sin, heads, threads):
    # key, value (KV, S, d) of a slot's layer
    kv_heads, _, size = key.shape
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            rotate(qkv[tile], cos[tile], sin[tile], heads, kv_heads, np.float32(1))
            first = start + tile * TOKENS
            for kv in range(kv_heads):
                k, v = (heads + kv) * size, (heads + kv_heads + kv) * size
                for t in range(min(TOKENS, tokens - tile * TOKENS)):
                    for i in range(size):
                        key[kv, first + t, i] = qkv[tile, k + i, t]
                        value[kv, first + t, i] = qkv[tile, v + i, t]


@nb.njit(parallel=True, **LANES_ALIKE)
def _attention(layer, slot, start, tokens, slots, r, heads, threads):
    # Text and prompts are two softmaxes over the same query; the gate scales the second.
    size = slots.key.shape[4]
    group, one = heads // slots.key.shape[2], np.float32(1)
    prompts = slots.prompts[slot]
    for thread in nb.prange(threads):
        # Later tokens see more: taking turns, the threads have the same to do.
        for job in range(thread, heads * tiles_of(tokens), threads):
            head, tile = job % heads, job // heads
            kv, scores = head // group, r.scores[thread]
            q = r.qkv[tile, head * size : (head + 1) * size]
            out = r.mixed[tile, head * size : (head + 1) * size]
            for i in range(size):
                for t in range(TOKENS):
                    out[i, t] = 0
            key, value = slots.key[slot, layer, kv], slots.value[slot, layer, kv]
            seen = start + tile * TOKENS + 1
            span = start + min(tokens, (tile + 1) * TOKENS)
            attend(q, key, value, span, seen, one, scores, out)
            gate = slots.gate[slot, layer, head]
            if prompts > 0 and gate != 0:
                key = slots.prompt_key[slot, layer, kv]
                value = slots.prompt_value[slot, layer, kv]
                attend(q, key, value, prompts, prompts, gate, scores, out)


@nb.njit(**LANES_ALIKE)
def prefill(ids, slot, start, w, slots, r, heads, eps, threads):
    """At most W ids after the first `start` of a slot: fills its cache, leaves r.x."""
    tokens, half = ids.shape[0], r.cos.shape[1]
    r.x[:] = 0
    for token in range(tokens):
        tile, t = token // TOKENS, token % TOKENS
        for i in range(r.x.shape[1]):
            number = np.float32(w.embedding[ids[token], i])
            r.x[tile, i, t] = number * w.embedding_scale[ids[token]]
        for i in range(half):
            r.cos[tile, i, t] = w.cos[start + token, i]
            r.sin[tile, i, t] = w.sin[start + token, i]
    to, ones = (r.packed, r.unit, r.amx), np.ones(2 * r.packed.shape[1], np.float32)
    packed, kept = (r.packed, r.unit, r.rows, r.amx), np.empty((0, 0, TOKENS), np.uint16)
    for layer in range(w.qkv.shape[0]):
        norm_and_pack(r.x, w.attention_norm[layer], eps, tokens, *to, threads)
        linear(w.qkv[layer], w.qkv_scale[layer], *packed, tokens, r.qkv[:0], r.qkv, threads)
        key, value = slots.key[slot, layer], slots.value[slot, layer]
        _rotate_and_store(r.qkv, key, value, start, tokens, r.cos, r.sin, heads, threads)
        _attention(layer, slot, start, tokens, slots, r, heads, threads)
        scale_and_pack(r.mixed, ones, tokens, *to, threads)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        linear(matrix, scale, *packed, tokens, r.x, r.x, threads)
        norm_and_pack(r.x, w.ffn_norm[layer], eps, tokens, *to, threads)
        matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
        if HERE and r.amx:
            given = r.packed, r.unit, tokens, kept
            swiglu_by_bytes(matrix, scale, *given, r.inner, threads)
        else:
            _swiglu(matrix, scale, r, tokens, r.inner, threads)
        scale_and_pack(r.inner, ones, tokens, *to, threads)
        linear(w.down[layer], w.down_scale[layer], *packed, tokens, r.x, r.x, threads)
