"""Products of many tokens with 8-bit matrices on the CPU, tile by tile, and what goes around them.

Arithmetic is the cost here, where for a single token it is memory. So activations are rounded to 16
bits, each token by its own largest, and multiplied with the 8-bit weights as integers (`tile.py`):
as fast as bf16 and some hundred times closer to fp32, which would take twice as long. `amx` says
whether that is done by matrix instructions (`product_amx.py`).

Activations lie in tiles of TOKENS with tokens last, (M, features, TOKENS) for M tiles: what is done
to a tile reads memory from one end to the other. Matrices are int8 (O, I) with fp32 scales (O,).
"""

import numba as nb
import numpy as np

from demo.llama.amx import HERE
from demo.llama.compiled import LANES_ALIKE
from demo.llama.layout import join, share_of, tiles_of
from demo.llama.product_amx import linear_by_bytes
from demo.llama.tile import LARGEST, MOST_PAIRS, ROWS, TOKENS, int_tile

NEAR = 2**17  # weights in 16 bits that stay in a core's second cache while tiles go by


@nb.njit(**LANES_ALIKE)
def pack(x, factor, weight, packed, unit, amx):
    # A tile of x (I, TOKENS) · factor (TOKENS,) · weight, as integers of 16 bits
    size = x.shape[0]
    top = np.full(TOKENS, np.float32(1e-30))
    for i in range(size):
        for t in range(TOKENS):
            top[t] = max(top[t], abs(x[i, t] * factor[t] * weight[i]))
    steps = np.empty(TOKENS, np.float32)
    for t in range(TOKENS):
        steps[t] = factor[t] * np.float32(LARGEST) / top[t]
        unit[t] = top[t] * np.float32(1 / LARGEST)
    if HERE and amx:
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
def norm_factor(x, eps, factor):  # a tile of x (D, TOKENS) -> 1 / root mean square of each token
    size = x.shape[0]
    factor[:] = 0
    for i in range(size):
        for t in range(TOKENS):
            factor[t] += x[i, t] * x[i, t]
    for t in range(TOKENS):
        factor[t] = np.float32(1) / np.sqrt(factor[t] / np.float32(size) + eps)


@nb.njit(parallel=True, **LANES_ALIKE)
def norm_and_pack(x, weight, eps, tokens, packed, unit, amx, threads):
    for thread in nb.prange(threads):
        factor = np.empty(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            norm_factor(x[tile], eps, factor)
            pack(x[tile], factor, weight, packed[tile], unit[tile], amx)


@nb.njit(parallel=True, **LANES_ALIKE)
def scale_and_pack(x, weight, tokens, packed, unit, amx, threads):  # x (M, I, TOKENS) · weight (I,)
    for thread in nb.prange(threads):
        ones = np.ones(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            pack(x[tile], ones, weight, packed[tile], unit[tile], amx)


@nb.njit(**LANES_ALIKE)
def widen(weight, row, into):  # row of (O, I) int8 -> into (>= I,) int16, zero beyond
    columns = weight.shape[1]
    if row < weight.shape[0]:
        for i in range(columns):
            into[i] = weight[row, i]
        into[columns:] = 0
    else:
        into[:] = 0


@nb.njit(**LANES_ALIKE)
def product(rows, packed, columns, out):  # one tile of tokens -> out (ROWS, TOKENS)
    out[:] = 0
    pairs = (columns + 1) // 2
    for start in range(0, pairs, MOST_PAIRS):
        int_tile(rows, packed, start, min(pairs, start + MOST_PAIRS), out)


@nb.njit(**LANES_ALIKE)
def wide_rows(room, columns):  # a thread's room (NEAR,) int16 as rows of so many columns, in tiles
    length = columns + columns % 2
    count = len(room) // (ROWS * length) * ROWS
    return room[: count * length].reshape(count, length)


@nb.njit(**LANES_ALIKE)
def linear(weight, scale, packed, unit, rooms, amx, tokens, before, y, threads):
    # y (M, O, TOKENS) = W x + before; nothing is before when that has no tiles
    if HERE and amx:
        linear_by_bytes(weight, scale, packed, unit, tokens, before, y, threads)
    else:
        _linear(weight, scale, packed, unit, rooms, tokens, before, y, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _linear(weight, scale, packed, unit, rooms, tokens, before, y, threads):
    outputs, columns = weight.shape
    share = share_of(outputs, ROWS, threads)
    for thread in nb.prange(threads):
        rows, out = wide_rows(rooms[thread], columns), np.empty((ROWS, TOKENS), np.float32)
        stop = min(outputs, (thread + 1) * share)
        for first in range(thread * share, stop, len(rows)):
            count = min(len(rows) // ROWS, (stop - first + ROWS - 1) // ROWS)
            for place in range(count * ROWS):
                widen(weight, first + place, rows[place])
            for tile in range(tiles_of(tokens)):
                for place in range(0, count * ROWS, ROWS):
                    product(rows[place : place + ROWS], packed[tile], columns, out)
                    row = first + place
                    for i in range(min(ROWS, outputs - row)):
                        for t in range(TOKENS):
                            total = out[i, t] * scale[row + i] * unit[tile, t]
                            given = before[tile, row + i, t] if len(before) else np.float32(0)
                            y[tile, row + i, t] = given + total
