"""Copies between tiles of a batch's tokens, one text after the other, and heads of one text.

Tiles are (M, features, TOKENS), see `gemm.py`; a text begins at any token. A head's numbers are
wanted with tokens last, in tiles of their own, or transposed, with features last.
"""

import numba as nb
import numpy as np

from demo.llama.kernels.compile import LANES_ALIKE
from demo.llama.kernels.int8_tile import TOKENS
from demo.llama.kernels.simd import LANES, transpose_block

_HALF = np.uint32(0x8000)  # of the last bit of a bf16


@nb.njit(**LANES_ALIKE)
def tiles_of(tokens):
    """Return how many tiles hold so many tokens."""
    return (tokens + TOKENS - 1) // TOKENS


@nb.njit(**LANES_ALIKE)
def share_of(rows, tile, threads):
    """Return how many rows a thread takes, whole tiles of them."""
    return (rows + threads * tile - 1) // (threads * tile) * tile


@nb.njit(**LANES_ALIKE)
def join(a, b, c, d):
    """Join the lowest bytes of four numbers to one number, the first lowest."""
    byte, low, high = np.int32(0xFF), np.int32(8), np.int32(16)
    pair, other = (a & byte) | ((b & byte) << low), (c & byte) | ((d & byte) << low)
    return pair | (other << high)


@nb.njit(**LANES_ALIKE)
def keep_bf16(numbers, kept):
    """Round fp32 `numbers` to bf16 as uint16 `kept`, both of one axis."""
    bits = numbers.view(np.uint32)
    for i in range(len(kept)):
        kept[i] = np.uint16((bits[i] + _HALF) >> np.uint32(16))


@nb.njit(**LANES_ALIKE)
def fill(flat, tile):
    """Copy the first tokens of (N, D) to a tile (D, TOKENS), zero behind the last."""
    count = min(TOKENS, len(flat))
    for i in range(tile.shape[0]):
        for t in range(count):
            tile[i, t] = flat[t, i]
        for t in range(count, TOKENS):
            tile[i, t] = 0


@nb.njit(parallel=True, **LANES_ALIKE)
def fill_all(flat, tiles, threads):
    """Copy tokens (N, D) to tiles (M, D, TOKENS), zero behind the last."""
    for thread in nb.prange(threads):
        for tile in range(thread, len(tiles), threads):
            fill(flat[tile * TOKENS :], tiles[tile])


@nb.njit(parallel=True, **LANES_ALIKE)
def flatten_all(tiles, flat, threads):
    """Copy the first N tokens of tiles (M, D, TOKENS) to (N, D)."""
    for thread in nb.prange(threads):
        for tile in range(thread, len(tiles), threads):
            first = tile * TOKENS
            for t in range(min(TOKENS, len(flat) - first)):
                for i in range(flat.shape[1]):
                    flat[first + t, i] = tiles[tile, i, t]


@nb.njit(**LANES_ALIKE)
def gather(tiles, feature, start, length, out):
    """Copy d features of a text from `feature` on to out (tiles, d, TOKENS), zero behind it."""
    for place in range((length + TOKENS - 1) // TOKENS):
        first = start + place * TOKENS
        tile, lane = first // TOKENS, first % TOKENS
        count = min(TOKENS, length - place * TOKENS)
        here = min(count, TOKENS - lane)  # the rest lies in the next tile
        for i in range(out.shape[1]):
            for t in range(here):
                out[place, i, t] = tiles[tile, feature + i, lane + t]
            for t in range(here, count):
                out[place, i, t] = tiles[tile + 1, feature + i, t - here]
            for t in range(count, TOKENS):
                out[place, i, t] = 0


@nb.njit(**LANES_ALIKE)
def scatter(given, feature, start, length, tiles):
    """Copy a text (tiles, d, TOKENS) to where `gather` takes it from."""
    for place in range((length + TOKENS - 1) // TOKENS):
        first = start + place * TOKENS
        tile, lane = first // TOKENS, first % TOKENS
        count = min(TOKENS, length - place * TOKENS)
        here = min(count, TOKENS - lane)
        for i in range(given.shape[1]):
            for t in range(here):
                tiles[tile, feature + i, lane + t] = given[place, i, t]
            for t in range(here, count):
                tiles[tile + 1, feature + i, t - here] = given[place, i, t]


@nb.njit(**LANES_ALIKE)
def gather_transposed(tiles, feature, start, length, row, out):
    """Copy d features of a text from `feature` on to out (>= row + length, d), from `row` on."""
    for t in range(length):
        tile, lane = (start + t) // TOKENS, (start + t) % TOKENS
        for i in range(out.shape[1]):
            out[row + t, i] = tiles[tile, feature + i, lane]


@nb.njit(**LANES_ALIKE)
def scatter_transposed(chunks, row, feature, size, start, length, tiles):
    """Copy a text in chunks of features (C, >= row + length, TOKENS) to where `gather` takes it."""
    for t in range(length):
        tile, lane = (start + t) // TOKENS, (start + t) % TOKENS
        for i in range(size):
            tiles[tile, feature + i, lane] = chunks[i // TOKENS, row + t, i % TOKENS]


@nb.njit(**LANES_ALIKE)
def add_transposed(chunks, feature, size, start, length, tiles):
    """Add a text in chunks of features (C, >= length, TOKENS) to where `gather` takes it from."""
    for t in range(length):
        tile, lane = (start + t) // TOKENS, (start + t) % TOKENS
        for i in range(size):
            tiles[tile, feature + i, lane] += chunks[i // TOKENS, t, i % TOKENS]


@nb.njit(**LANES_ALIKE)
def transpose(tile, out):
    """Transpose (d, TOKENS) to out (C, TOKENS tokens, TOKENS features), zeros in the last chunk."""
    size = tile.shape[0]
    whole = size - size % LANES
    for i in range(0, whole, LANES):
        for t in range(0, TOKENS, LANES):
            transpose_block(tile, i, t, out[i // TOKENS], t, i % TOKENS)
    for i in range(whole, out.shape[0] * TOKENS):
        for t in range(TOKENS):
            out[i // TOKENS, t, i % TOKENS] = tile[i, t] if i < size else 0
