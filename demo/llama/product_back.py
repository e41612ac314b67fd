"""The way back of a product with 8-bit matrices: slopes of outputs to slopes of inputs, on the CPU.

Slopes are rounded to 8 bits, each token by its own largest: twice as fast as 16. That moves the
gradient of an adapter in 30 layers of the embedded base by some 10 %. Autograd over bf16, with its
rounding on both ways, is 30 to 40 % from fp32, and one batch differs from the next by more than
that. Layout as in `product.py`.
"""

import numba as nb
import numpy as np

from demo.llama.amx import HERE
from demo.llama.compiled import LANES_ALIKE
from demo.llama.layout import join, share_of, tiles_of
from demo.llama.product_amx import linear_back_by_bytes
from demo.llama.tile import ROWS, TOKENS, byte_tile

LARGEST = 127
MOST_COLUMNS = 2**31 // (255 * LARGEST)  # until a sum could overflow


@nb.njit(**LANES_ALIKE)
def _round(number):
    return np.int32(np.floor(number + np.float32(0.5)))


@nb.njit(**LANES_ALIKE)
def pack_slopes(x, weight, packed, unit, first):
    # A tile of x (O, TOKENS) · weight (O,) -> packed (quads, TOKENS). `first` makes up for the 128
    # that is added to each weight.
    size = x.shape[0]
    top = np.full(TOKENS, np.float32(1e-30))
    for i in range(size):
        for t in range(TOKENS):
            top[t] = max(top[t], abs(x[i, t] * weight[i]))
    steps = np.empty(TOKENS, np.float32)
    for t in range(TOKENS):
        steps[t] = np.float32(LARGEST) / top[t]
        unit[t] = top[t] / np.float32(LARGEST)
    first[:] = 0
    whole = size // 4
    for quad in range(whole):
        for t in range(TOKENS):
            a = _round(x[4 * quad, t] * weight[4 * quad] * steps[t])
            b = _round(x[4 * quad + 1, t] * weight[4 * quad + 1] * steps[t])
            c = _round(x[4 * quad + 2, t] * weight[4 * quad + 2] * steps[t])
            d = _round(x[4 * quad + 3, t] * weight[4 * quad + 3] * steps[t])
            packed[quad, t] = join(a, b, c, d)
            first[t] -= np.int32(128) * (a + b + c + d)
    if 4 * whole < size:
        packed[whole] = 0
    for i in range(4 * whole, size):
        shift = np.int32(8 * (i - 4 * whole))
        for t in range(TOKENS):
            a = _round(x[i, t] * weight[i] * steps[t])
            packed[whole, t] |= (a & np.int32(0xFF)) << shift
            first[t] -= np.int32(128) * a


@nb.njit(parallel=True, **LANES_ALIKE)
def pack_all_slopes(x, weight, tokens, packed, unit, first, threads):  # x (M, O, TOKENS)
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            pack_slopes(x[tile], weight, packed[tile], unit[tile], first[tile])


@nb.njit(**LANES_ALIKE)
def _raise_columns(
    weight, column, into
):  # ROWS columns of (O, I) int8, plus 128 -> into (ROWS, >= O)
    outputs, inputs = weight.shape
    if column + ROWS <= inputs:
        for o in range(outputs):
            for r in range(ROWS):
                into[r, o] = np.uint8(np.int32(weight[o, column + r]) + np.int32(128))
    else:
        for o in range(outputs):
            for r in range(min(ROWS, inputs - column)):
                into[r, o] = np.uint8(np.int32(weight[o, column + r]) + np.int32(128))


@nb.njit(**LANES_ALIKE)
def linear_back(weight, packed, unit, first, rooms, amx, tokens, y, threads):
    # y (M, I, TOKENS) = Wᵀ g, where g was packed times the scales of W.
    if HERE and amx:
        linear_back_by_bytes(weight, packed, unit, rooms, tokens, y, threads)
    else:
        _linear_back(weight, packed, unit, first, rooms, tokens, y, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _linear_back(weight, packed, unit, first, rooms, tokens, y, threads):
    columns, outputs = weight.shape
    quads = (columns + 3) // 4
    share = share_of(outputs, ROWS, threads)
    for thread in nb.prange(threads):
        room, out = rooms[thread].view(np.uint8), np.empty((ROWS, TOKENS), np.float32)
        most = len(room) // (ROWS * 4 * quads) * ROWS
        rows = room[: most * 4 * quads].reshape(most, 4 * quads)
        stop = min(outputs, (thread + 1) * share)
        for start in range(thread * share, stop, most):
            count = min(most, (stop - start + ROWS - 1) // ROWS * ROWS)
            for place in range(0, count, ROWS):
                _raise_columns(weight, start + place, rows[place : place + ROWS])
            for tile in range(tiles_of(tokens)):
                for place in range(0, count, ROWS):
                    byte_tile(rows[place : place + ROWS], packed[tile], first[tile], quads, out)
                    row = start + place
                    for i in range(min(ROWS, outputs - row)):
                        for t in range(TOKENS):
                            y[tile, row + i, t] = out[i, t] * unit[tile, t]
