"""Products of many tokens with 8-bit matrices on the CPU, tile by tile, forward and backward.

Arithmetic is the cost here, where for a single token it is memory. So activations are rounded to 16
bits, each token by its own largest, and multiplied with the 8-bit weights as integers
(`int8_tile.py`): as fast as bf16 and some hundred times closer to fp32, which would take twice as
long. With `amx` the same integers are multiplied by matrix instructions (`amx.py`), and only the
last bits of fp32 differ: where `int8_tile.py` adds up parts of a sum as fp32, there two whole sums
meet, of the high and of the low bytes of the numbers.

In the backward pass gradients are rounded to 8 bits, each token by its own largest: twice as fast
as 16. That moves the gradient of an adapter in 30 layers of the embedded base by some 10 %.
Autograd over bf16, with its rounding on both ways, is 30 to 40 % from fp32, and one batch differs
from the next by more than that.

Activations lie in tiles of TOKENS with tokens last, (M, features, TOKENS) for M tiles: what is done
to a tile reads memory from one end to the other. Matrices are int8 (O, I) with fp32 scales (O,).

Parallel loops write to arrays, never to a tuple's field: such a store numba drops. Therefore tuples
are unpacked before the loop, and the functions by matrix instructions take arrays.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.amx import (
    HAS_AMX,
    TILE_PAIR,
    TILE_ROWS,
    add_row,
    configure_tiles,
    multiply_2,
    release_tiles,
    set_row,
)
from demo.llama.kernels.compile import LANES_ALIKE, scratch
from demo.llama.kernels.int8_tile import (
    GEMM_ROWS,
    MAX_ACTIVATION,
    MAX_PAIRS,
    TOKENS,
    byte_tile,
    int_tile,
)
from demo.llama.kernels.simd import exp
from demo.llama.kernels.tiles import join, keep_bf16, share_of, tiles_of

L2_WEIGHTS = 2**17  # weights in 16 bits that stay in a core's second cache while tiles go by
MAX_GRADIENT = 127  # of a gradient's integer
MAX_BACKWARD_COLUMNS = 2**31 // (255 * MAX_GRADIENT)  # until a sum could overflow
_BYTES = TILE_ROWS * TILE_ROWS  # sums of one register: from a high byte's sum to the low byte's


class QuantisedTiles(NamedTuple):
    """M tiles of activations as integers of 16 bits, x = number · scale, and room to multiply them.

    `packed` holds pairs of neighbouring features; with `amx` four high bytes, then four low ones.
    """

    packed: np.ndarray  # (M, >= I / 2, TOKENS) int32
    scale: np.ndarray  # (M, TOKENS) fp32
    rows: np.ndarray  # (threads, >= L2_WEIGHTS) int16, weights on their way
    amx: bool  # whether matrix instructions are used


class QuantisedGradients(NamedTuple):
    """M tiles of gradients as integers of 8 bits, gradient = number · scale.

    `offset` makes up for the 128 that is added to each weight, which makes its byte unsigned.
    """

    packed: np.ndarray  # (M, >= O / 4, TOKENS) int32, four features a place
    scale: np.ndarray  # (M, TOKENS) fp32
    offset: np.ndarray  # (M, TOKENS) int32
    rows: np.ndarray  # as in `QuantisedTiles`
    amx: bool


@nb.njit(parallel=True, **LANES_ALIKE)
def gemm(weight, scale, qx, tokens, before, y, threads):
    """Set y (M, O, TOKENS) to W x + before, for a `QuantisedTiles`; no `before` if it has no tiles.

    `before` may be `y`.
    """
    packed, x_scale, workspaces, amx = qx
    share = share_of(len(weight), rows_at_once(amx), threads)
    for thread in nb.prange(threads):
        last = min(len(weight), (thread + 1) * share)
        gemm_rows(
            weight, scale, packed, x_scale, workspaces[thread], amx, tokens, before, y,
            thread * share, last
        )  # fmt: skip


@nb.njit(**LANES_ALIKE)
def rows_at_once(amx):
    """Return of how many rows of W a thread's share consists."""
    return TILE_PAIR if HAS_AMX and amx else GEMM_ROWS


@nb.njit(**LANES_ALIKE)
def gemm_rows(weight, scale, packed, x_scale, workspace, amx, tokens, before, y, first, last):
    """Do one thread's part of `gemm`: outputs `first` to `last`; the fields of a `qx`."""
    if HAS_AMX and amx:
        _gemm_rows_amx(weight, scale, packed, x_scale, tokens, before, y, first, last)
    else:
        _gemm_rows_vectors(
            weight, scale, packed, x_scale, workspace, tokens, before, y, first, last
        )


@nb.njit(**LANES_ALIKE)
def _gemm_rows_vectors(weight, scale, packed, x_scale, workspace, tokens, before, y, first, last):
    outputs, columns = weight.shape
    rows = workspace_rows(workspace, columns)
    out = np.empty((GEMM_ROWS, TOKENS), np.float32)
    for start in range(first, last, len(rows)):
        # As many rows of W as the second cache holds, widened once for all tiles.
        count = min(len(rows) // GEMM_ROWS, (last - start + GEMM_ROWS - 1) // GEMM_ROWS)
        for place in range(count * GEMM_ROWS):
            widen(weight, start + place, rows[place])
        for tile in range(tiles_of(tokens)):
            for place in range(0, count * GEMM_ROWS, GEMM_ROWS):
                # out (GEMM_ROWS, TOKENS) = GEMM_ROWS rows of W (GEMM_ROWS, I) · x (I, TOKENS)
                product(rows[place : place + GEMM_ROWS], packed[tile], columns, out)
                row = start + place
                for i in range(min(GEMM_ROWS, outputs - row)):
                    for t in range(TOKENS):
                        total = out[i, t] * scale[row + i] * x_scale[tile, t]
                        given = before[tile, row + i, t] if len(before) else np.float32(0)
                        y[tile, row + i, t] = given + total


@nb.njit(**LANES_ALIKE)
def _gemm_rows_amx(weight, scale, packed, x_scale, tokens, before, y, first_row, last_row):
    columns, added = weight.shape[1], len(before) > 0
    out = scratch((2, 2, TILE_ROWS, TILE_ROWS)).view(np.int32)
    configure_tiles()
    for row in range(first_row, last_row, TILE_PAIR):
        for tile in range(tiles_of(tokens)):
            for first in range(0, TOKENS, TILE_ROWS):
                # out (32, 16) twice = W[row : row + 32] (32, I) · high and low bytes (I, 16)
                below = columns // 4  # where the low bytes begin
                places = 0, first, below, first
                multiply_2(weight, row, row + TILE_ROWS, packed[tile], places, out)
                given = before[tile] if added else y[tile]
                _finish_tile(out, scale, x_scale[tile], row, first, given, added, y[tile])
    release_tiles()


@nb.njit(**LANES_ALIKE)
def _finish_tile(out, scale, x_scale, row, token, before, added, y):
    # 32 rows of 16 tokens into a tile y (O, TOKENS), to `before` if that is `added`; it may be `y`
    for half in range(2):
        for i in range(TILE_ROWS):
            line, high = row + half * TILE_ROWS + i, (2 * half * TILE_ROWS + i) * TILE_ROWS
            if added:
                add_row(out, high, high + _BYTES, scale[line], x_scale, token, y, line, before)
            else:
                set_row(out, high, high + _BYTES, scale[line], x_scale, token, y, line)


@nb.njit(parallel=True, **LANES_ALIKE)
def gemm_swiglu_amx(weight, scale, packed, x_scale, tokens, kept, y, threads):
    """Set y (M, F, TOKENS) to silu(gate) up, by matrix instructions; W (2 F, I): gates, then ups.

    Gates and ups are kept as bf16 in `kept` (M, 2 F, TOKENS) uint16, unless that has no tiles.
    """
    size, below = y.shape[1], weight.shape[1] // 4
    share = share_of(size, TILE_ROWS, threads)
    for thread in nb.prange(threads):
        out = scratch((2, 2, TILE_ROWS, TILE_ROWS)).view(np.int32)
        near = scratch((2, TILE_ROWS, TOKENS))
        gates, ups = near[0].reshape(-1), near[1].reshape(-1)
        configure_tiles()
        for row in range(thread * share, min(size, (thread + 1) * share), TILE_ROWS):
            for tile in range(tiles_of(tokens)):
                for first in range(0, TOKENS, TILE_ROWS):
                    # near (2, 16, 16 tokens) = the same 16 rows of W's halves (16, I) · x (I, 16)
                    places = 0, first, below, first
                    multiply_2(weight, row, size + row, packed[tile], places, out)
                    for half in range(2):
                        for i in range(TILE_ROWS):
                            high = (2 * half * TILE_ROWS + i) * TILE_ROWS
                            row_scale, into = scale[half * size + row + i], near[half]
                            low, tokens_scale = high + _BYTES, x_scale[tile]
                            set_row(out, high, low, row_scale, tokens_scale, first, into, i)
                _silu_times(gates, ups, y[tile, row : row + TILE_ROWS].reshape(-1))
                if len(kept) > 0:
                    keep_bf16(gates, kept[tile, row : row + TILE_ROWS].reshape(-1))
                    keep_bf16(ups, kept[tile, size + row : size + row + TILE_ROWS].reshape(-1))
        release_tiles()


@nb.njit(**LANES_ALIKE)
def _silu_times(gates, ups, y):  # three of one axis
    for i in range(len(y)):
        y[i] = gates[i] / (np.float32(1) + exp(-gates[i])) * ups[i]


@nb.njit(parallel=True, **LANES_ALIKE)
def norm_and_quantise(x, weight, eps, tokens, qx, threads):
    """Quantise x / rms(x) · weight: tiles x (M, I, TOKENS), weight (I,)."""
    packed, x_scale, _, amx = qx
    for thread in nb.prange(threads):
        factor = np.empty(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            norm_factor(x[tile], eps, factor)
            quantise_tile(x[tile], factor, weight, packed[tile], x_scale[tile], amx)


@nb.njit(parallel=True, **LANES_ALIKE)
def scale_and_quantise(x, weight, tokens, qx, threads):
    """Quantise x · weight: tiles x (M, I, TOKENS), weight (I,)."""
    packed, x_scale, _, amx = qx
    for thread in nb.prange(threads):
        ones = np.ones(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            quantise_tile(x[tile], ones, weight, packed[tile], x_scale[tile], amx)


@nb.njit(**LANES_ALIKE)
def norm_factor(x, eps, factor):
    """Set factor (TOKENS,) to 1 / root mean square of each token of a tile x (D, TOKENS)."""
    size, tokens = x.shape
    factor[:] = 0
    for i in range(size):
        # Not TOKENS: LLVM would unroll this into single tokens, which takes 3.7 times as long.
        for t in range(tokens):
            factor[t] += x[i, t] * x[i, t]
    for t in range(TOKENS):
        factor[t] = np.float32(1) / np.sqrt(factor[t] / np.float32(size) + eps)


@nb.njit(**LANES_ALIKE)
def quantise_tile(x, factor, weight, packed, x_scale, amx):
    """Write a tile x (I, TOKENS) · factor (TOKENS,) · weight (I,) as integers of 16 bits."""
    size = x.shape[0]
    top = np.full(TOKENS, np.float32(1e-30))
    for i in range(size):
        for t in range(TOKENS):
            top[t] = max(top[t], abs(x[i, t] * factor[t] * weight[i]))
    steps = np.empty(TOKENS, np.float32)
    for t in range(TOKENS):
        steps[t] = factor[t] * np.float32(MAX_ACTIVATION) / top[t]
        x_scale[t] = top[t] * np.float32(1 / MAX_ACTIVATION)
    if HAS_AMX and amx:
        _pack_planes(x, steps, weight, packed)
    else:
        _pack_pairs(x, steps, weight, packed)


@nb.njit(**LANES_ALIKE)
def _pack_pairs(x, steps, weight, packed):  # two numbers of 16 bits
    size = x.shape[0]
    for pair in range((size + 1) // 2):
        i, j = 2 * pair, min(2 * pair + 1, size - 1)
        second = weight[j] if j > i else np.float32(0)  # an odd number of features
        for t in range(TOKENS):
            a = np.floor(x[i, t] * steps[t] * weight[i] + np.float32(0.5))
            b = np.floor(x[j, t] * steps[t] * second + np.float32(0.5))
            packed[pair, t] = (np.int32(a) & np.int32(0xFFFF)) | (np.int32(b) << np.int32(16))


@nb.njit(**LANES_ALIKE)
def _rounded(number, step, weight):
    return np.int32(np.floor(number * step * weight + np.float32(0.5)))


@nb.njit(**LANES_ALIKE)
def _pack_planes(x, steps, weight, packed):  # the high bytes of four numbers, then the low ones
    quads, half, eight = x.shape[0] // 4, np.int32(128), np.int32(8)
    for quad in range(quads):
        i = 4 * quad
        for t in range(TOKENS):
            a = _rounded(x[i, t], steps[t], weight[i])
            b = _rounded(x[i + 1, t], steps[t], weight[i + 1])
            c = _rounded(x[i + 2, t], steps[t], weight[i + 2])
            d = _rounded(x[i + 3, t], steps[t], weight[i + 3])
            packed[quads + quad, t] = join(a, b, c, d)
            # The low bytes have a sign as well: the high ones are rounded to the nearest.
            a, b, c, d = a + half, b + half, c + half, d + half
            packed[quad, t] = join(a >> eight, b >> eight, c >> eight, d >> eight)


@nb.njit(**LANES_ALIKE)
def widen(weight, row, into):
    """Copy a row of W (O, I) int8 to into (>= I,) int16, zeros beyond; all zeros for no row."""
    columns = weight.shape[1]
    if row < weight.shape[0]:
        for i in range(columns):
            into[i] = weight[row, i]
        into[columns:] = 0
    else:
        into[:] = 0


@nb.njit(**LANES_ALIKE)
def product(rows, packed, columns, out):
    """Set out (GEMM_ROWS, TOKENS) to rows (GEMM_ROWS, I) int16 times one tile of packed tokens."""
    out[:] = 0
    pairs = (columns + 1) // 2
    for start in range(0, pairs, MAX_PAIRS):
        int_tile(rows, packed, start, min(pairs, start + MAX_PAIRS), out)


@nb.njit(**LANES_ALIKE)
def workspace_rows(workspace, columns):
    """View a thread's workspace (int16, one axis) as rows of so many columns, in whole tiles."""
    length = columns + columns % 2
    count = len(workspace) // (GEMM_ROWS * length) * GEMM_ROWS
    return workspace[: count * length].reshape(count, length)


@nb.njit(**LANES_ALIKE)
def gemm_backward(weight, qg, tokens, y, threads):
    """Set y (M, I, TOKENS) to Wᵀ g, for a `QuantisedGradients` that holds g times W's scales."""
    if HAS_AMX and qg.amx:
        gemm_backward_amx(weight, qg.packed, qg.scale, qg.rows, tokens, y, threads)
    else:
        _gemm_backward_vectors(weight, qg, tokens, y, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _gemm_backward_vectors(weight, qg, tokens, y, threads):
    columns, outputs = weight.shape  # of Wᵀ
    packed, g_scale, offset, workspaces, _ = qg
    quads = (columns + 3) // 4
    share = share_of(outputs, GEMM_ROWS, threads)
    for thread in nb.prange(threads):
        workspace = workspaces[thread].view(np.uint8)
        out = np.empty((GEMM_ROWS, TOKENS), np.float32)
        most = len(workspace) // (GEMM_ROWS * 4 * quads) * GEMM_ROWS
        rows = workspace[: most * 4 * quads].reshape(most, 4 * quads)
        stop = min(outputs, (thread + 1) * share)
        for start in range(thread * share, stop, most):
            # As many columns of W as the second cache holds, as rows of Wᵀ plus 128.
            count = min(most, (stop - start + GEMM_ROWS - 1) // GEMM_ROWS * GEMM_ROWS)
            for place in range(0, count, GEMM_ROWS):
                _unsigned_columns(weight, start + place, rows[place : place + GEMM_ROWS])
            for tile in range(tiles_of(tokens)):
                for place in range(0, count, GEMM_ROWS):
                    # out (GEMM_ROWS, TOKENS) = rows of Wᵀ (GEMM_ROWS, O) · g (O, TOKENS)
                    some = rows[place : place + GEMM_ROWS]
                    byte_tile(some, packed[tile], offset[tile], quads, out)
                    row = start + place
                    for i in range(min(GEMM_ROWS, outputs - row)):
                        for t in range(TOKENS):
                            y[tile, row + i, t] = out[i, t] * g_scale[tile, t]


@nb.njit(parallel=True, **LANES_ALIKE)
def gemm_backward_amx(weight, packed, g_scale, workspaces, tokens, y, threads):
    """Do what `gemm_backward` does, by matrix instructions."""
    columns, outputs = weight.shape  # of Wᵀ
    share, one = share_of(outputs, TILE_PAIR, threads), np.float32(1)
    for thread in nb.prange(threads):
        workspace = workspaces[thread].view(np.int8)
        rows = workspace[: TILE_PAIR * columns].reshape(TILE_PAIR, columns)
        quads = workspace.view(np.int32)[: TILE_PAIR * columns // 4]
        quads = quads.reshape(TILE_PAIR, columns // 4)
        out = scratch((2, 2, TILE_ROWS, TILE_ROWS)).view(np.int32)
        configure_tiles()
        for row in range(thread * share, min(outputs, (thread + 1) * share), TILE_PAIR):
            _transpose_columns(weight, row, quads)
            for tile in range(tiles_of(tokens)):
                # out (32, 32) = Wᵀ[row : row + 32] (32, O) · g (O, 32 tokens)
                multiply_2(rows, 0, TILE_ROWS, packed[tile], (0, 0, 0, TILE_ROWS), out)
                for half in range(2):
                    for i in range(TILE_ROWS):
                        line = row + half * TILE_ROWS + i
                        for block in range(2):
                            place = ((2 * half + block) * TILE_ROWS + i) * TILE_ROWS
                            first = block * TILE_ROWS
                            set_row(out, place, place, one, g_scale[tile], first, y[tile], line)
        release_tiles()


@nb.njit(parallel=True, **LANES_ALIKE)
def quantise_gradients(g, weight, tokens, qg, threads):
    """Quantise g · weight: tiles g (M, O, TOKENS), weight (O,)."""
    packed, g_scale, offset, _, _ = qg
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            quantise_gradient_tile(g[tile], weight, packed[tile], g_scale[tile], offset[tile])


@nb.njit(**LANES_ALIKE)
def quantise_gradient_tile(g, weight, packed, g_scale, offset):
    """Write a tile g (O, TOKENS) · weight (O,) as integers of 8 bits, and their `offset`."""
    size = g.shape[0]
    top = np.full(TOKENS, np.float32(1e-30))
    for i in range(size):
        for t in range(TOKENS):
            top[t] = max(top[t], abs(g[i, t] * weight[i]))
    steps = np.empty(TOKENS, np.float32)
    for t in range(TOKENS):
        steps[t] = np.float32(MAX_GRADIENT) / top[t]
        g_scale[t] = top[t] / np.float32(MAX_GRADIENT)
    offset[:] = 0
    whole = size // 4
    for quad in range(whole):
        for t in range(TOKENS):
            a = _round(g[4 * quad, t] * weight[4 * quad] * steps[t])
            b = _round(g[4 * quad + 1, t] * weight[4 * quad + 1] * steps[t])
            c = _round(g[4 * quad + 2, t] * weight[4 * quad + 2] * steps[t])
            d = _round(g[4 * quad + 3, t] * weight[4 * quad + 3] * steps[t])
            packed[quad, t] = join(a, b, c, d)
            offset[t] -= np.int32(128) * (a + b + c + d)
    if 4 * whole < size:
        packed[whole] = 0
    for i in range(4 * whole, size):
        shift = np.int32(8 * (i - 4 * whole))
        for t in range(TOKENS):
            a = _round(g[i, t] * weight[i] * steps[t])
            packed[whole, t] |= (a & np.int32(0xFF)) << shift
            offset[t] -= np.int32(128) * a


@nb.njit(**LANES_ALIKE)
def _round(number):
    return np.int32(np.floor(number + np.float32(0.5)))


@nb.njit(**LANES_ALIKE)
def _unsigned_columns(weight, column, into):
    # GEMM_ROWS columns of W (O, I) int8, plus 128 -> into (GEMM_ROWS, >= O)
    outputs, inputs = weight.shape
    if column + GEMM_ROWS <= inputs:
        for o in range(outputs):
            for r in range(GEMM_ROWS):
                into[r, o] = np.uint8(np.int32(weight[o, column + r]) + np.int32(128))
    else:
        for o in range(outputs):
            for r in range(min(GEMM_ROWS, inputs - column)):
                into[r, o] = np.uint8(np.int32(weight[o, column + r]) + np.int32(128))


@nb.njit(**LANES_ALIKE)
def _transpose_columns(weight, column, into):
    # TILE_PAIR columns of W (O, I) int8 -> into (TILE_PAIR, O / 4) int32, four rows' bytes at once
    for quad in range(into.shape[1]):
        row = 4 * quad
        for r in range(TILE_PAIR):
            a, b = np.int32(weight[row, column + r]), np.int32(weight[row + 1, column + r])
            c, d = np.int32(weight[row + 2, column + r]), np.int32(weight[row + 3, column + r])
            into[r, quad] = join(a, b, c, d)
