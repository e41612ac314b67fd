"""The way back of a product with 8-bit matrices: slopes of outputs to slopes of inputs, on the CPU.

Slopes are rounded to 8 bits, each token by its own largest: twice as fast as 16. That moves the
gradient of an adapter in 30 layers of the embedded base by some 10 %. Autograd over bf16, with its
rounding on both ways, is 30 to 40 % from fp32, and one batch differs from the next by more than
that. Packed by `product_bytes.py`; layout as in `product.py`.
"""

import numba as nb
import numpy as np

from demo.llama.compiled import LANES_ALIKE
from demo.llama.product import share_of, tiles_of
from demo.llama.tile import ROWS, TOKENS, byte_tile


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


@nb.njit(parallel=True, **LANES_ALIKE)
def linear_back(weight, packed, unit, first, rooms, tokens, y, threads):
    # y (M, I, TOKENS) = Wᵀ g, where g was packed times the scales of W.
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
