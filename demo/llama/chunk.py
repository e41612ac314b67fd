"""A chunk of the output matrix' rows: their logits for a tile of tokens, and their sums.

A softmax over the vocabulary needs the matrix twice: rows times tokens are logits, and what the
softmax expects is the rows added up, each by its probability. Both products are of integers of 8
and 16 bits (`tile.py`), and a chunk's rows are made ready for both once for several tiles.
"""

import numba as nb
import numpy as np

from demo.llama.compiled import LANES_ALIKE
from demo.llama.product import product, widen
from demo.llama.tile import LARGEST, ROWS, TOKENS, int_tile

CHUNK = 256  # rows; with what they are made into they stay in a core's second cache
SHARE = np.float32(LARGEST)  # integer of a tile's largest probability: nearly 16 bits


@nb.njit(**LANES_ALIKE)
def lay_out(weight, start, count, rows, values):
    # Rows from `start` of (V, D) int8 -> rows (CHUNK, >= D) int16; values (D tiles, CHUNK / 2 or
    # more, TOKENS) int32, pairs of rows with features last. Zeros behind the last row and feature.
    for place in range((count + ROWS - 1) // ROWS * ROWS):
        widen(weight, start + place, rows[place])
    features, low = weight.shape[1], np.int32(0xFFFF)
    for pair in range((count + 1) // 2):
        for tile in range(len(values)):
            first = tile * TOKENS
            for i in range(min(TOKENS, features - first)):
                a, b = rows[2 * pair, first + i], rows[2 * pair + 1, first + i]
                values[tile, pair, i] = (np.int32(a) & low) | (np.int32(b) << np.int32(16))
            for i in range(features - first, TOKENS):
                values[tile, pair, i] = 0


@nb.njit(**LANES_ALIKE)
def score_rows(rows, scale, count, packed, unit, columns, logits):  # -> logits (>= count, TOKENS)
    out = np.empty((ROWS, TOKENS), np.float32)
    for place in range(0, count, ROWS):
        product(rows[place : place + ROWS], packed, columns, out)
        for i in range(min(ROWS, count - place)):
            for t in range(TOKENS):
                logits[place + i, t] = out[i, t] * (scale[place + i] * unit[t])


@nb.njit(**LANES_ALIKE)
def _whole(shares, row, count, inverse, t):  # as an integer; zero behind the last row
    return np.int32(shares[row, t] * inverse[t] + np.float32(0.5)) if row < count else np.int32(0)


@nb.njit(**LANES_ALIKE)
def pack_shares(shares, count, one, packed):
    # shares (CHUNK, TOKENS), none below 0, in whole `one` (TOKENS,) -> packed (TOKENS, CHUNK / 2)
    # int32, pairs of rows
    inverse = np.float32(1) / one
    for pair in range((count + 1) // 2):
        for t in range(TOKENS):
            a = _whole(shares, 2 * pair, count, inverse, t)
            b = _whole(shares, 2 * pair + 1, count, inverse, t)
            packed[t, pair] = a | (b << np.int32(16))


@nb.njit(**LANES_ALIKE)
def add_rows(packed, count, values, unit, before, sums):
    # sums (TOKENS, >= D) · before (TOKENS,) += the rows' sums · unit (TOKENS,)
    shares, out = packed.view(np.int16), np.empty((ROWS, TOKENS), np.float32)
    for tile in range(len(values)):
        for first in range(0, TOKENS, ROWS):
            out[:] = 0
            int_tile(shares[first : first + ROWS], values[tile], 0, (count + 1) // 2, out)
            for i in range(ROWS):
                t = first + i
                for d in range(TOKENS):
                    total = out[i, d] * unit[t]
                    sums[t, tile * TOKENS + d] = sums[t, tile * TOKENS + d] * before[t] + total
