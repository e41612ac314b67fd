"""The products of `chunk.py` by matrix instructions (`amx.py`): the same integers.

Rows are read as they lie for logits. For their sums four rows are side by side, and probabilities
are two planes of bytes.
"""

import numba as nb
import numpy as np

from demo.llama.amx import BOTH, SIDE, multiply_2
from demo.llama.compiled import LANES_ALIKE
from demo.llama.layout import join
from demo.llama.sums import gain_row, set_row
from demo.llama.tile import TOKENS
from demo.llama.turn import turn_block
from demo.llama.vectors import LANES


@nb.njit(**LANES_ALIKE)
def lay_out_quads(weight, start, count, values):
    # Rows from `start` of (V, D) int8 -> values (D tiles, CHUNK / 4 or more, TOKENS) int32
    last = len(weight) - 1
    for quad in range((count + 3) // 4):
        row = start + 4 * quad
        a, b = weight[row], weight[min(row + 1, last)]
        c, d = weight[min(row + 2, last)], weight[min(row + 3, last)]
        for tile in range(len(values)):
            first = tile * TOKENS
            for i in range(TOKENS):
                at = first + i
                values[tile, quad, i] = join(
                    np.int32(a[at]), np.int32(b[at]), np.int32(c[at]), np.int32(d[at])
                )


@nb.njit(**LANES_ALIKE)
def score_by_bytes(weight, scale, start, count, packed, unit, out, logits):
    # -> logits (>= count, TOKENS); scale (V,)
    below = weight.shape[1] // 4  # where the low bytes begin
    for place in range(0, count, BOTH):
        row = min(start + place, len(weight) - BOTH)  # the last rows twice, if they are fewer
        for token in range(0, TOKENS, SIDE):
            multiply_2(weight, row, row + SIDE, packed, (0, token, below, token), out)
            for half in range(2):
                for i in range(SIDE):
                    line, high = row + half * SIDE + i, (2 * half * SIDE + i) * SIDE
                    if line >= start:
                        set_row(
                            out, high, high + SIDE * SIDE, scale[line], unit, token, logits,
                            line - start,
                        )  # fmt: skip


@nb.njit(**LANES_ALIKE)
def _whole(shares, row, count, inverse, t):  # as an integer; zero behind the last row
    return np.int32(shares[row, t] * inverse[t] + np.float32(0.5)) if row < count else np.int32(0)


@nb.njit(**LANES_ALIKE)
def pack_share_bytes(shares, count, one, packed):
    # shares (CHUNK, TOKENS), none below 0, in whole `one` (TOKENS,) -> packed (2, TOKENS,
    # CHUNK / 4) int32: the high bytes of four rows, then the low ones
    half, eight, inverse = np.int32(128), np.int32(8), np.float32(1) / one
    quads = packed.shape[2]
    high, low = np.empty((quads, TOKENS), np.int32), np.empty((quads, TOKENS), np.int32)
    for quad in range(quads):
        row = 4 * quad
        for t in range(TOKENS):
            a = _whole(shares, row, count, inverse, t)
            b = _whole(shares, row + 1, count, inverse, t)
            c = _whole(shares, row + 2, count, inverse, t)
            d = _whole(shares, row + 3, count, inverse, t)
            low[quad, t] = join(a, b, c, d)
            # The low bytes have a sign as well: the high ones are rounded to the nearest.
            a, b, c, d = a + half, b + half, c + half, d + half
            high[quad, t] = join(a >> eight, b >> eight, c >> eight, d >> eight)
    for quad in range(0, quads, LANES):
        for t in range(0, TOKENS, LANES):
            turn_block(high, quad, t, packed[0], t, quad)
            turn_block(low, quad, t, packed[1], t, quad)


@nb.njit(**LANES_ALIKE)
def add_rows_by_bytes(packed, values, unit, before, out, sums):
    # sums (TOKENS, D) · before (TOKENS,) += the rows' sums · unit (TOKENS,)
    shares = packed.view(np.int8).reshape(2 * TOKENS, -1)
    for tile in range(len(values)):
        for first in range(0, TOKENS, SIDE):
            multiply_2(shares, first, TOKENS + first, values[tile], (0, 0, 0, SIDE), out)
            for block in range(2):
                for i in range(SIDE):
                    t, high = first + i, (block * SIDE + i) * SIDE
                    gain_row(
                        out, high, high + 2 * SIDE * SIDE, unit[t], sums, t,
                        tile * TOKENS + block * SIDE, before[t],
                    )  # fmt: skip
