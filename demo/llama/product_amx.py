"""The products of `product.py` and `product_back.py` by matrix instructions (`amx.py`).

The same integers, so the same results but for the last bits of fp32: where `tile.py` adds up parts
of a sum as fp32, here two whole sums meet, of the high and of the low bytes of 16-bit numbers.
"""

import numba as nb
import numpy as np

from demo.llama.amx import BOTH, SIDE, begin, end, multiply_2
from demo.llama.compiled import LANES_ALIKE
from demo.llama.exp import exp
from demo.llama.layout import join, keep_bf16, share_of, tiles_of
from demo.llama.memory import scratch
from demo.llama.sums import add_row, set_row
from demo.llama.tile import TOKENS


@nb.njit(**LANES_ALIKE)
def _put(out, scale, unit, row, token, y):  # 32 rows of 16 tokens into a tile y (O, TOKENS)
    for half in range(2):
        for i in range(SIDE):
            line, high = row + half * SIDE + i, (2 * half * SIDE + i) * SIDE
            set_row(out, high, high + SIDE * SIDE, scale[line], unit, token, y, line)


@nb.njit(**LANES_ALIKE)
def _add(out, scale, unit, row, token, before, y):  # as `_put`; `before` may be `y`
    for half in range(2):
        for i in range(SIDE):
            line, high = row + half * SIDE + i, (2 * half * SIDE + i) * SIDE
            add_row(out, high, high + SIDE * SIDE, scale[line], unit, token, y, line, before)


@nb.njit(parallel=True, **LANES_ALIKE)
def linear_by_bytes(weight, scale, packed, unit, tokens, before, y, threads):
    # y (M, O, TOKENS) = W x + before, as `product.linear`
    outputs, columns = weight.shape
    share, added = share_of(outputs, BOTH, threads), len(before) > 0
    for thread in nb.prange(threads):
        out = scratch((2, 2, SIDE, SIDE)).view(np.int32)
        begin()
        for row in range(thread * share, min(outputs, (thread + 1) * share), BOTH):
            for tile in range(tiles_of(tokens)):
                for first in range(0, TOKENS, SIDE):
                    below = columns // 4  # where the low bytes begin
                    places = 0, first, below, first
                    multiply_2(weight, row, row + SIDE, packed[tile], places, out)
                    if added:
                        _add(out, scale, unit[tile], row, first, before[tile], y[tile])
                    else:
                        _put(out, scale, unit[tile], row, first, y[tile])
        end()


@nb.njit(**LANES_ALIKE)
def _silu_times(gates, ups, y):  # three of one axis
    for i in range(len(y)):
        y[i] = gates[i] / (np.float32(1) + exp(-gates[i])) * ups[i]


@nb.njit(parallel=True, **LANES_ALIKE)
def swiglu_by_bytes(weight, scale, packed, unit, tokens, kept, y, threads):
    # y (M, F, TOKENS) = silu(gate) up: 16 rows of each side by side. They are kept as bf16 in
    # `kept` (M, 2 F, TOKENS) uint16, unless that has no tiles.
    size, below = y.shape[1], weight.shape[1] // 4
    share = share_of(size, SIDE, threads)
    for thread in nb.prange(threads):
        out = scratch((2, 2, SIDE, SIDE)).view(np.int32)
        near = scratch((2, SIDE, TOKENS))
        gates, ups = near[0].reshape(-1), near[1].reshape(-1)
        begin()
        for row in range(thread * share, min(size, (thread + 1) * share), SIDE):
            for tile in range(tiles_of(tokens)):
                for first in range(0, TOKENS, SIDE):
                    places = 0, first, below, first
                    multiply_2(weight, row, size + row, packed[tile], places, out)
                    for half in range(2):
                        for i in range(SIDE):
                            line, high = half * size + row + i, (2 * half * SIDE + i) * SIDE
                            set_row(
                                out, high, high + SIDE * SIDE, scale[line], unit[tile], first,
                                near[half], i,
                            )  # fmt: skip
                _silu_times(gates, ups, y[tile, row : row + SIDE].reshape(-1))
                if len(kept) > 0:
                    keep_bf16(gates, kept[tile, row : row + SIDE].reshape(-1))
                    keep_bf16(ups, kept[tile, size + row : size + row + SIDE].reshape(-1))
        end()


@nb.njit(**LANES_ALIKE)
def _turn_columns(weight, column, into):
    # BOTH columns of (O, I) int8 -> into (BOTH, O / 4) int32, four rows' bytes at once
    for quad in range(into.shape[1]):
        row = 4 * quad
        for r in range(BOTH):
            a, b = np.int32(weight[row, column + r]), np.int32(weight[row + 1, column + r])
            c, d = np.int32(weight[row + 2, column + r]), np.int32(weight[row + 3, column + r])
            into[r, quad] = join(a, b, c, d)


@nb.njit(parallel=True, **LANES_ALIKE)
def linear_back_by_bytes(weight, packed, unit, rooms, tokens, y, threads):
    # y (M, I, TOKENS) = Wᵀ g, as `product_back.linear_back`
    columns, outputs = weight.shape
    share, one = share_of(outputs, BOTH, threads), np.float32(1)
    for thread in nb.prange(threads):
        room = rooms[thread].view(np.int8)
        rows = room[: BOTH * columns].reshape(BOTH, columns)
        quads = room.view(np.int32)[: BOTH * columns // 4].reshape(BOTH, columns // 4)
        out = scratch((2, 2, SIDE, SIDE)).view(np.int32)
        begin()
        for row in range(thread * share, min(outputs, (thread + 1) * share), BOTH):
            _turn_columns(weight, row, quads)
            for tile in range(tiles_of(tokens)):
                multiply_2(rows, 0, SIDE, packed[tile], (0, 0, 0, SIDE), out)
                for half in range(2):
                    for i in range(SIDE):
                        line = row + half * SIDE + i
                        for block in range(2):
                            place = ((2 * half + block) * SIDE + i) * SIDE
                            set_row(out, place, place, one, unit[tile], block * SIDE, y[tile], line)
        end()
