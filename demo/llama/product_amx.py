"""The products of `product.py` and `product_back.py` by matrix instructions (`amx.py`).

The same integers, so the same results but for the last bits of fp32: where `tile.py` adds up parts
of a sum as fp32, here two whole sums meet, of the high and of the low bytes of 16-bit numbers.
"""

import numba as nb
import numpy as np

from demo.llama.amx import BOTH, SIDE, begin, end, multiply_2
from demo.llama.amx_sums import add, put, put_plain, put_swiglu
from demo.llama.compiled import LANES_ALIKE
from demo.llama.layout import share_of, tiles_of
from demo.llama.memory import scratch
from demo.llama.tile import TOKENS


@nb.njit(parallel=True, **LANES_ALIKE)
def linear_by_bytes(weight, scale, packed, unit, tokens, before, y, threads):
    # y (M, O, TOKENS) = W x + before, as `product.linear`
    outputs, columns = weight.shape
    share, added = share_of(outputs, BOTH, threads), len(before) > 0
    below = columns // 4  # where the low bytes begin
    for thread in nb.prange(threads):
        sums = scratch((4 * SIDE * SIDE,)).view(np.int32)
        begin()
        for row in range(thread * share, min(outputs, (thread + 1) * share), BOTH):
            for tile in range(tiles_of(tokens)):
                for token in range(0, TOKENS, SIDE):
                    places = 0, token, below, token
                    multiply_2(weight, row, row + SIDE, packed[tile], places, sums)
                    for half in range(2):
                        high, first = 2 * half, row + half * SIDE
                        to = scale, first, unit[tile], token
                        if added:
                            add(sums, high, high + 1, *to, before[tile], y[tile])
                        else:
                            put(sums, high, high + 1, *to, y[tile], y[tile])
        end()


@nb.njit(parallel=True, **LANES_ALIKE)
def swiglu_by_bytes(weight, scale, packed, unit, tokens, y, threads):
    # y (M, F, TOKENS) = silu(gate) up: 16 rows of each side by side
    size, below = y.shape[1], weight.shape[1] // 4
    share = share_of(size, SIDE, threads)
    for thread in nb.prange(threads):
        sums = scratch((4 * SIDE * SIDE,)).view(np.int32)
        begin()
        for row in range(thread * share, min(size, (thread + 1) * share), SIDE):
            for tile in range(tiles_of(tokens)):
                for token in range(0, TOKENS, SIDE):
                    places = 0, token, below, token
                    multiply_2(weight, row, size + row, packed[tile], places, sums)
                    put_swiglu(sums, scale, row, size + row, unit[tile], token, y[tile])
        end()


@nb.njit(**LANES_ALIKE)
def _turn_columns(weight, column, into):  # BOTH columns of (O, I) int8 -> into (BOTH, O)
    for o in range(weight.shape[0]):
        for r in range(BOTH):
            into[r, o] = weight[o, column + r]


@nb.njit(parallel=True, **LANES_ALIKE)
def linear_back_by_bytes(weight, packed, unit, rooms, tokens, y, threads):
    # y (M, I, TOKENS) = Wᵀ g, as `product_back.linear_back`
    columns, outputs = weight.shape
    share = share_of(outputs, BOTH, threads)
    for thread in nb.prange(threads):
        room = rooms[thread].view(np.int8)
        rows = room[: BOTH * columns].reshape(BOTH, columns)
        sums = scratch((4 * SIDE * SIDE,)).view(np.int32)
        begin()
        for row in range(thread * share, min(outputs, (thread + 1) * share), BOTH):
            _turn_columns(weight, row, rows)
            for tile in range(tiles_of(tokens)):
                multiply_2(rows, 0, SIDE, packed[tile], (0, 0, 0, SIDE), sums)
                for half in range(2):
                    for place in range(2):  # of 16 tokens
                        register, first = 2 * half + place, row + half * SIDE
                        put_plain(sums, register, unit[tile], place * SIDE, y[tile], first)
        end()
