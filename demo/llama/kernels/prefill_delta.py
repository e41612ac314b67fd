"""What `prefill.py` does, where an adapter changes the products (`delta.py`).

Some rows of a product at a time stay in a core's cache: they are multiplied, changed and used by
the same thread, whatever is changed. What a LoRA adds is multiplied in fp32: there is little of it,
and nothing is rounded.
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
from demo.llama.kernels.gemm import (
    gemm_rows,
    norm_and_quantise,
    norm_factor,
    rows_at_once,
    scale_and_quantise,
)
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS, float_tile
from demo.llama.kernels.prefill import attention, rotate_and_store
from demo.llama.kernels.simd import exp
from demo.llama.kernels.tiles import share_of, tiles_of

NEAR_ROWS = 64  # of a product that are changed at a time
SET, ADD, SILU_TIMES = range(3)  # what becomes of a product: y; x + y; silu(x) y


class ChangedInput(NamedTuple):
    """What goes into a product: tiles, normalised or not, times a weight."""

    x: np.ndarray  # (M, I, TOKENS)
    weight: np.ndarray  # (I,)
    normed: bool
    eps: np.float32


class OutputChange(NamedTuple):
    """What is changed of what comes out of a product; with spare rows, for tiles are read whole."""

    scaled: bool
    scale: np.ndarray  # (O,)
    bias: np.ndarray  # (O,)
    low: np.ndarray  # (M, > C r, TOKENS), a LoRA's first factor · what goes in; or no tiles
    up: np.ndarray  # (r, > O), its second factor


@nb.njit(**LANES_ALIKE)
def changed_prefill(ids, slot, start, w, slots, deltas, r, options):
    """Do what `prefill` does; beside its arguments a `DeltaSlots`."""
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
                x, y, starts = r.mixed, r.x, one
            elif row == GATE_UP:
                own = norm_of(deltas, slot, layer, FFN_NORM, w.ffn_norm[layer])
                matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
                x, y, starts = r.x, r.inner, two
            else:
                matrix, scale = w.down[layer], w.down_scale[layer]
                x, y, starts = r.inner, r.x, one
            given = ChangedInput(x, own[: x.shape[1]], row in (QKV, GATE_UP), eps)
            _product(
                slot, layer, row, given, matrix, scale, starts, deltas, r.qx, tokens, y, threads
            )
            if row == QKV:
                key, value = slots.key[slot, layer], slots.value[slot, layer]
                rotate_and_store(r.qkv, key, value, start, tokens, r.cos, r.sin, heads, threads)
                attention(layer, slot, start, tokens, slots, r, heads, threads)


@nb.njit(**LANES_ALIKE)
def _product(slot, layer, row, given, matrix, scale, starts, deltas, qx, tokens, y, threads):
    # y (M, any, TOKENS) becomes, or is added, what W (O, I) · a `ChangedInput` is for the slot
    size, parts = len(given.weight), len(starts) - 1
    apart = deltas.layout[slot, row, SCALE_IN] >= 0  # another input for each part
    change = _output_change(
        slot, layer, row, given, matrix.shape[0], parts, deltas, tokens, threads
    )
    # Gates and ups one after the other: the second finds the first where it comes to lie.
    steps = parts if apart or row == GATE_UP else 1
    for step in range(steps):
        first, last = (starts[step], starts[step + 1]) if steps > 1 else (0, matrix.shape[0])
        if apart or step == 0:
            weight = given.weight
            if apart:
                scales = floats_of(deltas, slot, layer, row, SCALE_IN, parts * size)
                weight = weight * scales[step * size : (step + 1) * size]
            if given.normed:
                norm_and_quantise(given.x, weight, given.eps, tokens, qx, threads)
            else:
                scale_and_quantise(given.x, weight, tokens, qx, threads)
        use, place = SET, first
        if row == GATE_UP:
            use, place = (SET, SILU_TIMES)[step], 0
        elif row != QKV:
            use = ADD
        _changed_rows(
            matrix, scale, qx, tokens, change, starts, first, last, use, place, y, threads
        )


@nb.njit(**LANES_ALIKE)
def _output_change(slot, layer, row, given, outputs, parts, deltas, tokens, threads):
    # An `OutputChange` of a product; `low` is computed here, from what no part has scaled
    layout, rank, size = deltas.layout[slot, row], deltas.rank[slot], len(given.weight)
    scaled = layout[SCALE_OUT] >= 0 or layout[BIAS] >= 0
    scale, bias = np.ones(outputs, np.float32), np.zeros(outputs, np.float32)
    if layout[SCALE_OUT] >= 0:
        scale[:] = floats_of(deltas, slot, layer, row, SCALE_OUT, outputs)
    if layout[BIAS] >= 0:
        bias[:] = floats_of(deltas, slot, layer, row, BIAS, outputs)
    if layout[LOW] < 0:
        return OutputChange(scaled, scale, bias, scratch((0, 0, TOKENS)), scratch((0, 0)))
    count = parts * rank
    down, up = scratch((count + GEMM_ROWS, size)), scratch((rank, outputs + GEMM_ROWS))
    shorts = shorts_of(deltas, slot, layer, row, LOW, count * size)
    low_scale = floats_of(deltas, slot, layer, row, LOW_SCALE, count)
    for j in range(count):
        _widen_line(shorts[j * size : (j + 1) * size], low_scale[j], given.weight, down[j])
    down[count:] = 0
    ones, shorts = (
        np.ones(outputs, np.float32),
        shorts_of(deltas, slot, layer, row, UP, rank * outputs),
    )
    for j in range(rank):
        _widen_line(shorts[j * outputs : (j + 1) * outputs], np.float32(1), ones, up[j])
        up[j, outputs:] = 0
    low = scratch((tiles_of(tokens), count + GEMM_ROWS, TOKENS))
    _low_rank_tiles(given.x, given.normed, given.eps, down, low, threads)
    return OutputChange(scaled, scale, bias, low, up)


@nb.njit(**LANES_ALIKE)
def _widen_line(shorts, scale, weight, floats):
    for i in range(len(shorts)):
        floats[i] = np.float32(shorts[i]) * scale * weight[i]


@nb.njit(parallel=True, **LANES_ALIKE)
def _low_rank_tiles(x, normed, eps, down, low, threads):
    # low (M, > C r, TOKENS) = down (> C r, I), times the weights · x (M, I, TOKENS), over its norm
    for thread in nb.prange(threads):
        factor = np.ones(TOKENS, np.float32)
        for tile in range(thread, len(low), threads):
            low[tile] = 0
            for j in range(0, low.shape[1] - GEMM_ROWS, GEMM_ROWS):
                float_tile(down, j, 0, x[tile], x.shape[1], low[tile, j : j + GEMM_ROWS])
            if normed:
                norm_factor(x[tile], eps, factor)
                for j in range(low.shape[1] - GEMM_ROWS):
                    for t in range(low.shape[2]):
                        low[tile, j, t] *= factor[t]


@nb.njit(parallel=True, **LANES_ALIKE)
def _changed_rows(matrix, scale, qx, tokens, change, starts, first, last, use, place, y, threads):
    # Rows `first` to `last` of W (O, I) times a `QuantisedTiles`, changed -> y from row `place`
    packed, x_scale, workspaces, amx = qx
    scaled, out_scale, bias, low, up = change
    share = share_of(last - first, rows_at_once(amx), threads)
    ones, zeros = np.ones(NEAR_ROWS, np.float32), np.zeros(NEAR_ROWS, np.float32)
    # Allocated out here: views of arrays that come into a parallel loop count no references, and
    # to count each view of a tile takes as long as to change it.
    rooms = scratch((threads, tiles_of(tokens), NEAR_ROWS, TOKENS))
    spares = scratch((threads, GEMM_ROWS, TOKENS))
    for thread in nb.prange(threads):
        near, spare = rooms[thread], spares[thread]
        begin, end = first + thread * share, min(last, first + (thread + 1) * share)
        for row in range(begin, end, NEAR_ROWS):
            rows = min(NEAR_ROWS, end - row)
            some = slice(row, row + rows)
            gemm_rows(
                matrix[some], scale[some], packed, x_scale, workspaces[thread], amx, tokens,
                near[:0], near, 0, rows
            )  # fmt: skip
            for tile in range(len(near)):
                at = place + row - first
                into = y[tile, at : at + rows]
                if len(low) == 0:
                    _use(near[tile], out_scale[some], bias[some], use, into)
                    continue
                if scaled:
                    _use(near[tile], out_scale[some], bias[some], SET, near[tile, :rows])
                _add_low_rank(low[tile], up, starts, row, rows, spare, near[tile])
                _use(near[tile], ones, zeros, use, into)


@nb.njit(**LANES_ALIKE)
def _add_low_rank(low, up, starts, row, rows, spare, y):
    # y (> rows, TOKENS) += the product's rows from `row` of upᵀ (O, r) · low (r, TOKENS) of a part
    rank = len(up)
    for part in range(len(starts) - 1):
        begin, end = max(row, starts[part]), min(row + rows, starts[part + 1])
        some = low[part * rank : (part + 1) * rank]
        for o in range(begin, end, GEMM_ROWS):
            if o + GEMM_ROWS <= end:
                float_tile(up, o, 1, some, rank, y[o - row : o - row + GEMM_ROWS])
            else:
                spare[:] = 0
                float_tile(up, o, 1, some, rank, spare)
                for i in range(end - o):
                    for t in range(TOKENS):
                        y[o - row + i, t] += spare[i, t]


@nb.njit(**LANES_ALIKE)
def _use(given, scale, bias, use, y):  # (> O, TOKENS) scale (> O,) + bias (> O,) -> y (O, TOKENS)
    rows, tokens = y.shape  # not TOKENS, which LLVM would unroll into single numbers
    for o in range(rows):
        times, plus = scale[o], bias[o]
        if use == SET:
            for t in range(tokens):
                y[o, t] = given[o, t] * times + plus
        elif use == ADD:
            for t in range(tokens):
                y[o, t] += given[o, t] * times + plus
        else:
            for t in range(tokens):
                gate, up = y[o, t], given[o, t] * times + plus
                y[o, t] = gate / (np.float32(1) + exp(-gate)) * up
