"""Products of many tokens in 8 bits with 8-bit matrices on the CPU: twice as fast as in 16.

Each token is rounded by its own largest number. Where that is near enough is said by who calls:
what attention mixes is an average and has no outliers, so read in 8 bits it moves the embedded
base's next-token distribution by 0.0003 nats; the inputs of other matrices by 0.008 to 0.011.
Layout as in `product.py`.
"""

import numba as nb
import numpy as np

from demo.llama.compiled import LANES_ALIKE
from demo.llama.product import share_of, tiles_of
from demo.llama.tile import ROWS, TOKENS, byte_tile

LARGEST = 127
MOST_COLUMNS = 2**31 // (255 * LARGEST)  # until a sum could overflow


@nb.njit(**LANES_ALIKE)
def _round(number):
    return np.int32(np.floor(number + np.float32(0.5)))


@nb.njit(**LANES_ALIKE)
def _join(a, b, c, d):  # four numbers of 8 bits as one of 32, the first lowest
    byte, low, high = np.int32(0xFF), np.int32(8), np.int32(16)
    pair, other = (a & byte) | ((b & byte) << low), (c & byte) | ((d & byte) << low)
    return pair | (other << high)


@nb.njit(**LANES_ALIKE)
def pack_bytes(x, weight, packed, unit, first):
    # A tile of x (I, TOKENS) · weight (I,) -> packed (quads, TOKENS). `first` makes up for the 128
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
            packed[quad, t] = _join(a, b, c, d)
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
def pack_all_bytes(x, weight, tokens, packed, unit, first, threads):  # x (M, I, TOKENS)
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            pack_bytes(x[tile], weight, packed[tile], unit[tile], first[tile])


@nb.njit(**LANES_ALIKE)
def _raise(weight, row, into):  # ROWS rows of (O, I) int8, plus 128 -> into (ROWS, >= I) uint8
    outputs, inputs = weight.shape
    for r in range(min(ROWS, outputs - row)):
        for i in range(inputs):
            into[r, i] = np.uint8(np.int32(weight[row + r, i]) + np.int32(128))


@nb.njit(parallel=True, **LANES_ALIKE)
def linear_bytes(weight, scale, packed, unit, first, rooms, tokens, before, y, threads):
    # y (M, O, TOKENS) = W x + before, x from `pack_all_bytes`; as `product.linear`
    outputs, columns = weight.shape
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
                _raise(weight, start + place, rows[place : place + ROWS])
            for tile in range(tiles_of(tokens)):
                for place in range(0, count, ROWS):
                    byte_tile(rows[place : place + ROWS], packed[tile], first[tile], quads, out)
                    row = start + place
                    for i in range(min(ROWS, outputs - row)):
                        for t in range(TOKENS):
                            total = out[i, t] * scale[row + i] * unit[tile, t]
                            y[tile, row + i, t] = before[tile, row + i, t] + total
