"""A prompt's tokens through all layers on the CPU, in one compiled call.

Here arithmetic is the cost, where for a single token it is memory. So activations are rounded to 16
bits, each token by its own largest, and multiplied with the 8-bit weights as integers (`tile.py`):
as fast as bf16 and some hundred times closer to fp32, which would take twice as long.

Activations lie in tiles of TOKENS with tokens last, (W / TOKENS, features, TOKENS) for a slice of W
tokens: what is done to a tile reads memory from one end to the other. Sizes as in `kernel.py`.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernel import exp
from demo.llama.tile import LARGEST, MOST_PAIRS, ROWS, TOKENS, float_tile, int_tile

SLICE = 256  # tokens at a time: what they need stays in a core's second cache
_JIT = {"fastmath": True, "nogil": True, "cache": True}


class Room(NamedTuple):
    """Activations of one slice of M tiles, made once. I is the widest input of a matrix."""

    x: np.ndarray  # (M, D, TOKENS)
    qkv: np.ndarray  # (M, (H + 2 KV) d, TOKENS)
    mixed: np.ndarray  # (M, H d, TOKENS)
    inner: np.ndarray  # (M, F, TOKENS)
    packed: np.ndarray  # (M, I / 2, TOKENS) int32, pairs of what is multiplied next
    unit: np.ndarray  # (M, TOKENS) what 1 in `packed` stands for
    rows: np.ndarray  # (threads, ROWS, I) int16, weights on their way
    scores: np.ndarray  # (threads, S, TOKENS)
    cos: np.ndarray  # (M, d / 2, TOKENS)
    sin: np.ndarray


@nb.njit(**_JIT)
def _tiles(tokens):  # how many tiles hold so many tokens
    return (tokens + TOKENS - 1) // TOKENS


@nb.njit(**_JIT)
def _pack(x, factor, weight, packed, unit):  # a tile of x (I, TOKENS) · factor (TOKENS,) · weight
    size = x.shape[0]
    top = np.full(TOKENS, np.float32(1e-30))
    for i in range(size):
        for t in range(TOKENS):
            top[t] = max(top[t], abs(x[i, t] * factor[t] * weight[i]))
    steps = np.empty(TOKENS, np.float32)
    for t in range(TOKENS):
        steps[t] = factor[t] * np.float32(LARGEST) / top[t]
        unit[t] = top[t] / np.float32(LARGEST)
    for pair in range((size + 1) // 2):
        i, j = 2 * pair, min(2 * pair + 1, size - 1)
        second = weight[j] if j > i else np.float32(0)  # an odd number of features
        for t in range(TOKENS):
            a = np.floor(x[i, t] * steps[t] * weight[i] + np.float32(0.5))
            b = np.floor(x[j, t] * steps[t] * second + np.float32(0.5))
            packed[pair, t] = (np.int32(a) & np.int32(0xFFFF)) | (np.int32(b) << np.int32(16))


@nb.njit(parallel=True, **_JIT)
def _norm_and_pack(x, weight, eps, tokens, packed, unit, threads):
    size = x.shape[1]
    for thread in nb.prange(threads):
        for tile in range(thread, _tiles(tokens), threads):
            factor = np.zeros(TOKENS, np.float32)
            for i in range(size):
                for t in range(TOKENS):
                    factor[t] += x[tile, i, t] * x[tile, i, t]
            for t in range(TOKENS):
                factor[t] = np.float32(1) / np.sqrt(factor[t] / np.float32(size) + eps)
            _pack(x[tile], factor, weight, packed[tile], unit[tile])


@nb.njit(parallel=True, **_JIT)
def _only_pack(x, tokens, packed, unit, threads):
    for thread in nb.prange(threads):
        ones, same = np.ones(TOKENS, np.float32), np.ones(x.shape[1], np.float32)
        for tile in range(thread, _tiles(tokens), threads):
            _pack(x[tile], ones, same, packed[tile], unit[tile])


@nb.njit(**_JIT)
def _widen(weight, row, into, place):  # row of (O, I) int8 -> into (ROWS, >= I) int16
    columns = weight.shape[1]
    if row < weight.shape[0]:
        for i in range(columns):
            into[place, i] = weight[row, i]
    else:
        into[place] = 0
    if columns % 2:
        into[place, columns] = 0


@nb.njit(**_JIT)
def _product(rows, packed, columns, out):  # one tile of tokens -> out (ROWS, TOKENS)
    out[:] = 0
    pairs = (columns + 1) // 2
    for start in range(0, pairs, MOST_PAIRS):
        int_tile(rows, packed, start, min(pairs, start + MOST_PAIRS), out)


@nb.njit(**_JIT)
def _share(rows, tile, threads):  # rows a thread takes, whole tiles
    return (rows + threads * tile - 1) // (threads * tile) * tile


@nb.njit(parallel=True, **_JIT)
def _linear(weight, scale, r, tokens, y, accumulate, threads):  # y (M, O, TOKENS) = or += W x
    outputs, columns = weight.shape
    share = _share(outputs, ROWS, threads)
    for thread in nb.prange(threads):
        rows, out = r.rows[thread], np.empty((ROWS, TOKENS), np.float32)
        for row in range(thread * share, min(outputs, (thread + 1) * share), ROWS):
            for i in range(ROWS):
                _widen(weight, row + i, rows, i)
            for tile in range(_tiles(tokens)):
                _product(rows, r.packed[tile], columns, out)
                for i in range(min(ROWS, outputs - row)):
                    for t in range(TOKENS):
                        total = out[i, t] * scale[row + i] * r.unit[tile, t]
                        before = y[tile, row + i, t] if accumulate else np.float32(0)
                        y[tile, row + i, t] = before + total


@nb.njit(parallel=True, **_JIT)
def _swiglu(weight, scale, r, tokens, y, threads):  # y (M, F, TOKENS) = silu(gate) up
    # `y` and not r.inner: what a parallel loop stores through a tuple's field, numba drops.
    half, size, columns = ROWS // 2, y.shape[1], weight.shape[1]
    share = _share(size, half, threads)
    for thread in nb.prange(threads):
        rows, out = r.rows[thread], np.empty((ROWS, TOKENS), np.float32)
        for row in range(thread * share, min(size, (thread + 1) * share), half):
            for i in range(half):  # half a tile of gates beside half a tile of ups
                _widen(weight, row + i, rows, i)
                _widen(weight, size + row + i, rows, half + i)
            for tile in range(_tiles(tokens)):
                _product(rows, r.packed[tile], columns, out)
                for i in range(min(half, size - row)):
                    for t in range(TOKENS):
                        gate = out[i, t] * scale[row + i] * r.unit[tile, t]
                        up = out[half + i, t] * scale[size + row + i] * r.unit[tile, t]
                        y[tile, row + i, t] = gate / (np.float32(1) + exp(-gate)) * up


@nb.njit(**_JIT)
def _rotate(qkv, cos, sin, heads, kv_heads):  # a tile ((H + 2 KV) d, TOKENS), in place
    half = cos.shape[0]
    size = 2 * half
    for head in range(heads + kv_heads):
        # Queries take the 1/√d of the scores with them.
        scale = np.float32(1) / np.sqrt(np.float32(size)) if head < heads else np.float32(1)
        for i in range(half):
            a, b = head * size + i, head * size + i + half
            for t in range(TOKENS):
                low, high = qkv[a, t] * scale, qkv[b, t] * scale
                qkv[a, t] = low * cos[i, t] - high * sin[i, t]
                qkv[b, t] = low * sin[i, t] + high * cos[i, t]


@nb.njit(parallel=True, **_JIT)
def _rotate_and_store(qkv, key, value, start, tokens, cos, sin, heads, threads):
    # key, value (KV, S, d) of a slot's layer
    kv_heads, _, size = key.shape
    for thread in nb.prange(threads):
        for tile in range(thread, _tiles(tokens), threads):
            _rotate(qkv[tile], cos[tile], sin[tile], heads, kv_heads)
            first = start + tile * TOKENS
            for kv in range(kv_heads):
                k, v = (heads + kv) * size, (heads + kv_heads + kv) * size
                for t in range(min(TOKENS, tokens - tile * TOKENS)):
                    for i in range(size):
                        key[kv, first + t, i] = qkv[tile, k + i, t]
                        value[kv, first + t, i] = qkv[tile, v + i, t]


@nb.njit(**_JIT)
def _attend(q, key, value, span, seen, gain, scores, out):
    # q (d, TOKENS) / √d, key and value (S, d): the first token sees `seen` of `span` keys and each
    # one more than the one before -> out (d, TOKENS) += gain · attention.
    size = q.shape[0]
    for s in range(0, span, ROWS):
        scores[s : s + ROWS] = 0
        float_tile(key, s, 0, q, size, scores[s : s + ROWS])
    for s in range(seen, span):
        for t in range(s - seen + 1):
            scores[s, t] = -1e30  # not seen by the tile's first tokens
    top = np.full(TOKENS, np.float32(-1e30))
    for s in range(span):
        for t in range(TOKENS):
            top[t] = max(top[t], scores[s, t])
    mass = np.zeros(TOKENS, np.float32)
    for s in range(span):
        for t in range(TOKENS):
            scores[s, t] = exp(scores[s, t] - top[t])
            mass[t] += scores[s, t]
    tile = np.empty((ROWS, TOKENS), np.float32)
    for i in range(0, size, ROWS):
        tile[:] = 0
        float_tile(value, i, 1, scores, span, tile)
        for j in range(min(ROWS, size - i)):
            for t in range(TOKENS):
                out[i + j, t] += gain * tile[j, t] / mass[t]


@nb.njit(parallel=True, **_JIT)
def _attention(layer, slot, start, tokens, slots, r, heads, threads):
    # Text and prompts are two softmaxes over the same query; the gate scales the second.
    size = slots.key.shape[4]
    group, one = heads // slots.key.shape[2], np.float32(1)
    prompts = slots.prompts[slot]
    for thread in nb.prange(threads):
        # Later tokens see more: taking turns, the threads have the same to do.
        for job in range(thread, heads * _tiles(tokens), threads):
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
            _attend(q, key, value, span, seen, one, scores, out)
            gate = slots.gate[slot, layer, head]
            if prompts > 0 and gate != 0:
                key = slots.prompt_key[slot, layer, kv]
                value = slots.prompt_value[slot, layer, kv]
                _attend(q, key, value, prompts, prompts, gate, scores, out)


@nb.njit(**_JIT)
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
    for layer in range(w.qkv.shape[0]):
        _norm_and_pack(r.x, w.attention_norm[layer], eps, tokens, r.packed, r.unit, threads)
        _linear(w.qkv[layer], w.qkv_scale[layer], r, tokens, r.qkv, False, threads)
        key, value = slots.key[slot, layer], slots.value[slot, layer]
        _rotate_and_store(r.qkv, key, value, start, tokens, r.cos, r.sin, heads, threads)
        _attention(layer, slot, start, tokens, slots, r, heads, threads)
        _only_pack(r.mixed, tokens, r.packed, r.unit, threads)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        _linear(matrix, scale, r, tokens, r.x, True, threads)
        _norm_and_pack(r.x, w.ffn_norm[layer], eps, tokens, r.packed, r.unit, threads)
        _swiglu(w.gate_up[layer], w.gate_up_scale[layer], r, tokens, r.inner, threads)
        _only_pack(r.inner, tokens, r.packed, r.unit, threads)
        _linear(w.down[layer], w.down_scale[layer], r, tokens, r.x, True, threads)
