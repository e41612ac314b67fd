"""What `prefill.py` does, where an adapter changes the products (`delta.py`).

A product goes to memory of its own and is changed there, a tile at a time, before it is used. What
a LoRA adds is multiplied in fp32: there is little of it, and nothing is rounded.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.compile import LANES_ALIKE, scratch
from demo.llama.kernels.delta import (
    ATTENTION_NORM,
    ATTENTION_OUTPUT,
    BIAS,
    FFN_NORM,
    GATE_UP,
    LOW,
    LOW_SCALE,
    NORMS,
    QKV,
    SCALE_IN,
    SCALE_OUT,
    UP,
    floats_of,
    norm_of,
    shorts_of,
)
from demo.llama.kernels.gemm import gemm, norm_and_quantise, norm_factor, scale_and_quantise
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS, float_tile
from demo.llama.kernels.prefill import attention, rotate_and_store
from demo.llama.kernels.simd import exp
from demo.llama.kernels.tiles import tiles_of


class DeltaTiles(NamedTuple):
    """Room for one slice beside a `PrefillWorkspace`."""

    gate_up: np.ndarray  # (M, 2 F, TOKENS)
    out: np.ndarray  # (M, D, TOKENS)


class ChangedInput(NamedTuple):
    """What goes into a product: tiles, normalised or not, times a weight."""

    x: np.ndarray  # (M, I, TOKENS)
    weight: np.ndarray  # (I,)
    normed: bool
    eps: np.float32


@nb.njit(**LANES_ALIKE)
def changed_prefill(ids, slot, start, w, slots, deltas, r, p, options):
    """Do what `prefill` does; beside its arguments a `DeltaSlots` and a `DeltaTiles`."""
    heads, eps, threads = options.heads, options.eps, options.threads
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
    size, width, ffn = slots.key.shape[4], r.x.shape[1], r.inner.shape[1]
    queries, keys = heads * size, slots.key.shape[2] * size
    three = np.array([0, queries, queries + keys, queries + 2 * keys])
    one, two = np.array([0, width]), np.array([0, ffn, 2 * ffn])
    ones = np.ones(2 * r.qx.packed.shape[1], np.float32)
    for layer in range(w.qkv.shape[0]):
        # One call for all products: compiled into four, it would take minutes to compile.
        for row in range(NORMS):
            own = ones
            if row == QKV:
                own = norm_of(deltas, slot, layer, ATTENTION_NORM, w.attention_norm[layer])
                matrix, scale = w.qkv[layer], w.qkv_scale[layer]
                x, y, starts = r.x, r.qkv, three
            elif row == ATTENTION_OUTPUT:
                matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
                x, y, starts = r.mixed, p.out, one
            elif row == GATE_UP:
                own = norm_of(deltas, slot, layer, FFN_NORM, w.ffn_norm[layer])
                matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
                x, y, starts = r.x, p.gate_up, two
            else:
                matrix, scale, x, y, starts = (
                    w.down[layer],
                    w.down_scale[layer],
                    r.inner,
                    p.out,
                    one,
                )
            normed = row in (QKV, GATE_UP)
            given = ChangedInput(x, own[: x.shape[1]], normed, eps)
            _product(
                slot, layer, row, given, matrix, scale, starts, deltas, r.qx, tokens, y, threads
            )
            if row == QKV:
                key, value = slots.key[slot, layer], slots.value[slot, layer]
                rotate_and_store(r.qkv, key, value, start, tokens, r.cos, r.sin, heads, threads)
                attention(layer, slot, start, tokens, slots, r, heads, threads)
            elif row == GATE_UP:
                _swiglu(p.gate_up, tokens, r.inner, threads)
            else:
                _add(p.out, tokens, r.x)


@nb.njit(**LANES_ALIKE)
def _product(slot, layer, row, given, matrix, scale, starts, deltas, qx, tokens, y, threads):
    # y (M, O, TOKENS) = the product of a `ChangedInput` and W (O, I), as the slot's adapter has it
    layout, size, parts = deltas.layout[slot, row], len(given.weight), len(starts) - 1
    apart = layout[SCALE_IN] >= 0
    for part in range(parts if apart else 1):
        first, last = (starts[part], starts[part + 1]) if apart else (0, y.shape[1])
        weight, found = given.weight, y
        if apart:
            scales = floats_of(deltas, slot, layer, row, SCALE_IN, parts * size)
            weight = weight * scales[part * size : (part + 1) * size]
            found = scratch((len(y), last - first, TOKENS))
        if given.normed:
            norm_and_quantise(given.x, weight, given.eps, tokens, qx, threads)
        else:
            scale_and_quantise(given.x, weight, tokens, qx, threads)
        gemm(matrix[first:last], scale[first:last], qx, tokens, found[:0], found, threads)
        if apart:
            for tile in range(tiles_of(tokens)):
                y[tile, first:last] = found[tile]
    if layout[SCALE_OUT] >= 0 or layout[BIAS] >= 0:
        _scale_and_shift(slot, layer, row, deltas, tokens, y, threads)
    if layout[LOW] >= 0:
        _add_low_rank(slot, layer, row, given, starts, deltas, tokens, y, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _scale_and_shift(slot, layer, row, deltas, tokens, y, threads):
    size = y.shape[1]
    scales, biases = np.ones(size, np.float32), np.zeros(size, np.float32)
    if deltas.layout[slot, row, SCALE_OUT] >= 0:
        scales[:] = floats_of(deltas, slot, layer, row, SCALE_OUT, size)
    if deltas.layout[slot, row, BIAS] >= 0:
        biases[:] = floats_of(deltas, slot, layer, row, BIAS, size)
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            for o in range(size):
                for t in range(TOKENS):
                    y[tile, o, t] = y[tile, o, t] * scales[o] + biases[o]


@nb.njit(**LANES_ALIKE)
def _add_low_rank(slot, layer, row, given, starts, deltas, tokens, y, threads):
    size, outputs, rank = given.x.shape[1], y.shape[1], deltas.rank[slot]
    count = (len(starts) - 1) * rank
    # Both factors in fp32, with spare rows and columns: tiles are read whole.
    down = scratch((count + GEMM_ROWS, size))
    down[count:] = 0
    shorts = shorts_of(deltas, slot, layer, row, LOW, count * size)
    scales = floats_of(deltas, slot, layer, row, LOW_SCALE, count)
    for j in range(count):
        for i in range(size):
            down[j, i] = np.float32(shorts[j * size + i]) * scales[j]
    up = scratch((rank, outputs + GEMM_ROWS))
    shorts = shorts_of(deltas, slot, layer, row, UP, rank * outputs)
    for j in range(rank):
        for o in range(outputs):
            up[j, o] = np.float32(shorts[j * outputs + o])
        up[j, outputs:] = 0
    x, weight = given.x, given.weight
    _low_rank_tiles(x, weight, given.normed, given.eps, starts, down, up, tokens, y, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _low_rank_tiles(x, weight, normed, eps, starts, down, up, tokens, y, threads):
    size, rank = x.shape[1], len(up)
    count = (len(starts) - 1) * rank
    for thread in nb.prange(threads):
        factor, out = np.ones(TOKENS, np.float32), scratch((GEMM_ROWS, TOKENS))
        taken, low = scratch((size, TOKENS)), scratch((count + GEMM_ROWS, TOKENS))
        for tile in range(thread, tiles_of(tokens), threads):
            if normed:
                norm_factor(x[tile], eps, factor)
            for i in range(size):
                for t in range(TOKENS):
                    taken[i, t] = x[tile, i, t] * factor[t] * weight[i]
            # low (C r, TOKENS) = down (C r, I) · x (I, TOKENS)
            low[:] = 0
            for j in range(0, count, GEMM_ROWS):
                float_tile(down, j, 0, taken, size, low[j : j + GEMM_ROWS])
            # y (O, TOKENS) += upᵀ (O, r) · low (r, TOKENS), part by part
            for part in range(len(starts) - 1):
                some = low[part * rank : (part + 1) * rank]
                for o in range(starts[part], starts[part + 1], GEMM_ROWS):
                    out[:] = 0
                    float_tile(up, o, 1, some, rank, out)
                    for k in range(min(GEMM_ROWS, starts[part + 1] - o)):
                        for t in range(TOKENS):
                            y[tile, o + k, t] += out[k, t]


@nb.njit(**LANES_ALIKE)
def _add(given, tokens, x):  # tiles x (M, D, TOKENS) += tiles
    for tile in range(tiles_of(tokens)):
        for i in range(x.shape[1]):
            for t in range(TOKENS):
                x[tile, i, t] += given[tile, i, t]


@nb.njit(parallel=True, **LANES_ALIKE)
def _swiglu(gate_up, tokens, inner, threads):  # (M, 2 F, TOKENS) -> (M, F, TOKENS)
    size = inner.shape[1]
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            for i in range(size):
                for t in range(TOKENS):
                    gate, up = gate_up[tile, i, t], gate_up[tile, size + i, t]
                    inner[tile, i, t] = gate / (np.float32(1) + exp(-gate)) * up
