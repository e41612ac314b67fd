"""The softmax over the vocabulary, and what it expects, without ever holding the logits.

A next token's loss and its gradient need three things of a token's logits: the logarithm of their
exponentials' sum, one of them, and the output matrix' rows added up by their probabilities. That is
attention with the matrix as both keys and values, so it is done like flash attention (arXiv
2205.14135): chunk by chunk of the rows, with a running maximum. Rows times tokens are logits, rows
added up by probabilities are what is expected: both are products of integers of 8 and 16 bits, by
vectors (`int8_tile.py`) or matrix instructions (`amx.py`), and a chunk's rows are laid out for both
once for several tiles.

The vocabulary is cut into PARTS, which threads share; parts are put together in their order, so the
result does not depend on the number of threads. M tiles of tokens, V rows, D features.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.amx import (
    HAS_AMX,
    TILE_PAIR,
    TILE_ROWS,
    configure_tiles,
    gain_row,
    multiply_2,
    release_tiles,
    set_row,
)
from demo.llama.kernels.compile import LANES_ALIKE
from demo.llama.kernels.gemm import product, quantise_tile, widen
from demo.llama.kernels.int8_tile import GEMM_ROWS, MAX_ACTIVATION, TOKENS, int_tile
from demo.llama.kernels.simd import LANES, exp, transpose_block
from demo.llama.kernels.tiles import fill, join, share_of, tiles_of

CHUNK = 256  # rows; with what they are made into they stay in a core's second cache
PARTS = 16  # of the vocabulary
GROUP = 8  # tiles at once: what is added up for them stays in a core's second cache
MAX_WEIGHT = np.float32(MAX_ACTIVATION)  # integer of a tile's largest weight: nearly 16 bits
LOWEST_LOGIT = np.float32(-1e30)  # below any logit
_BYTES = TILE_ROWS * TILE_ROWS  # sums of one register


class OutputMatrix(NamedTuple):
    """The matrix that makes logits."""

    weight: np.ndarray  # (V, D) int8
    scale: np.ndarray  # (V,) fp32


class SoftmaxSums(NamedTuple):
    """What is computed of N tokens in M tiles.

    `mean` is not computed where it has no rows. `picked` holds logits of labels; a token's stays as
    it was if no row is its label's.
    """

    log_sum: np.ndarray  # (M, TOKENS) logarithm of the exponentials' sum
    top: np.ndarray  # (M, TOKENS) largest logit
    picked: np.ndarray  # (M, TOKENS)
    mean: np.ndarray  # (N, D) rows of the matrix, each by its probability


class CrossEntropyWorkspace(NamedTuple):
    """Room to work in. Weights are e^(logit - top) · scale, a row's share of the expected row."""

    packed: np.ndarray  # (GROUP, (D + 1) / 2, TOKENS) int32
    x_scale: np.ndarray  # (GROUP, TOKENS)
    rows: np.ndarray  # (threads, CHUNK, D or D + 1) int16
    values: np.ndarray  # (threads, D tiles, CHUNK / 2, TOKENS) int32
    weights: np.ndarray  # (threads, TOKENS, CHUNK / 2) int32
    logits: np.ndarray  # (threads, CHUNK, TOKENS)
    products: np.ndarray  # (threads, 2, 2, TILE_ROWS, TILE_ROWS) int32
    top: np.ndarray  # (PARTS, GROUP, TOKENS)
    mass: np.ndarray  # (PARTS, GROUP, TOKENS)
    sums: np.ndarray  # (PARTS, GROUP, TOKENS, >= D)


@nb.njit(**LANES_ALIKE)
def softmax_statistics(x, matrix, labels, amx, threads, b, out):
    """Fill `SoftmaxSums` for x (N, D) of at most GROUP tiles; labels (M, TOKENS).

    `matrix` is an `OutputMatrix`, `b` a `CrossEntropyWorkspace`, `amx` whether matrix instructions
    are used.
    """
    _quantise(x, amx, threads, b.packed[: len(labels)], b.x_scale[: len(labels)])
    _scan_vocabulary(matrix, labels, amx, len(out.mean) > 0, threads, b, out.picked)
    _combine_parts(b.top, b.mass, b.sums, len(x), threads, out.log_sum, out.top, out.mean)


@nb.njit(parallel=True, **LANES_ALIKE)
def _quantise(x, amx, threads, packed, x_scale):  # x (N, D) -> tiles (M, D / 2, TOKENS)
    tokens, size = x.shape
    for thread in nb.prange(threads):
        ones, near = np.ones(max(size, TOKENS), np.float32), np.empty((size, TOKENS), np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            fill(x[tile * TOKENS :], near)
            quantise_tile(near, ones[:TOKENS], ones, packed[tile], x_scale[tile], amx)


@nb.njit(parallel=True, **LANES_ALIKE)
def _scan_vocabulary(matrix, labels, amx, wanted, threads, b, picked):
    # Each part's running maximum, mass and sums of rows (see the workspace); picked (M, TOKENS).
    # Unpacked here: a store through a tuple's field is lost in a parallel loop.
    weight, scale = matrix
    packed, x_scale, rows, values, integers, logits, products, top, mass, sums = b
    size, columns = weight.shape
    share = share_of(size, CHUNK, PARTS)
    for thread in nb.prange(threads):
        near, wide, out = rows[thread], values[thread], products[thread]
        score, whole = logits[thread], integers[thread]
        bytes_of = whole.reshape(2, TOKENS, CHUNK // 4)
        before, one = np.empty(TOKENS, np.float32), np.empty(TOKENS, np.float32)
        if HAS_AMX and amx:
            configure_tiles()
        for part in range(thread, PARTS, threads):
            top[part], mass[part], sums[part] = LOWEST_LOGIT, 0, 0
            for start in range(part * share, min(size, (part + 1) * share), CHUNK):
                count = min(CHUNK, size - start)
                scales = scale[start : start + count]
                if HAS_AMX and amx:
                    lay_out_amx(weight, start, count, wide)
                else:
                    lay_out(weight, start, count, near, wide)
                for tile in range(len(labels)):
                    # score (count, TOKENS) = W[start : start + count] (count, D) · x (D, TOKENS)
                    tokens, total = (packed[tile], x_scale[tile]), sums[part, tile]
                    if HAS_AMX and amx:
                        score_amx(weight, scale, start, count, *tokens, out, score)
                    else:
                        score_rows(near, scales, count, *tokens, columns, score)
                    _pick_labels(score, start, count, labels[tile], picked[tile])
                    state = top[part, tile], mass[part, tile], before
                    _online_softmax(score, scales, count, *state, one)
                    if not wanted:
                        continue
                    # total (TOKENS, D) = before · total + weightsᵀ (TOKENS, count) · W (count, D)
                    if HAS_AMX and amx:
                        pack_weights_amx(score, count, one, bytes_of)
                        add_rows_amx(bytes_of, wide, one, before, out, total)
                    else:
                        pack_weights(score, count, one, whole)
                        add_rows(whole, count, wide, one, before, total)
        if HAS_AMX and amx:
            release_tiles()


@nb.njit(parallel=True, **LANES_ALIKE)
def _combine_parts(tops, mass, sums, tokens, threads, log_sum, top, mean):
    for thread in nb.prange(threads):
        gain = np.empty(PARTS, np.float32)
        for token in range(thread, tokens, threads):
            # log Σ e^(top of a part - largest top) · mass of the part
            tile, t = token // TOKENS, token % TOKENS
            best, total = tops[:, tile, t].max(), np.float32(0)
            for part in range(PARTS):
                gain[part] = exp(tops[part, tile, t] - best)
                total += gain[part] * mass[part, tile, t]
            log_sum[tile, t], top[tile, t] = best + np.log(total), best
            if len(mean) == 0:
                continue
            # mean (D,) = Σ gain (PARTS,) · sums (PARTS, D) / total
            mean[token] = 0
            for part in range(PARTS):
                share = gain[part] / total
                for i in range(mean.shape[1]):
                    mean[token, i] += share * sums[part, tile, t, i]


@nb.njit(**LANES_ALIKE)
def _pick_labels(logits, start, count, labels, picked):  # labels, picked (TOKENS,)
    for t in range(TOKENS):
        if start <= labels[t] < start + count:
            picked[t] = logits[labels[t] - start, t]


@nb.njit(**LANES_ALIKE)
def _online_softmax(logits, scale, count, top, mass, before, one):
    # logits (>= count, TOKENS) -> weights e^(logit - top) · scale (>= count,); `one` (TOKENS,) is
    # what 1 of a token's integers will stand for. `top` and `mass` (TOKENS,) go on; what was added
    # up until now counts `before` times.
    best, total = top.copy(), np.zeros(TOKENS, np.float32)
    for row in range(count):
        for t in range(TOKENS):
            best[t] = max(best[t], logits[row, t])
    largest = np.full(TOKENS, np.float32(1e-30))
    for row in range(count):
        for t in range(TOKENS):
            share = exp(logits[row, t] - best[t])
            total[t] += share
            logits[row, t] = share * scale[row]
            largest[t] = max(largest[t], logits[row, t])
    for t in range(TOKENS):
        before[t] = exp(top[t] - best[t])
        mass[t] = mass[t] * before[t] + total[t]
        top[t], one[t] = best[t], largest[t] / MAX_WEIGHT


@nb.njit(**LANES_ALIKE)
def lay_out(weight, start, count, rows, values):
    """Lay out a chunk of W (V, D) int8 for both products by vectors.

    `rows` (CHUNK, >= D) int16 as they are; `values` (D tiles, CHUNK / 2 or more, TOKENS) int32,
    pairs of rows with features last. Zeros behind the last row and feature.
    """
    for place in range((count + GEMM_ROWS - 1) // GEMM_ROWS * GEMM_ROWS):
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
def score_rows(rows, scale, count, packed, x_scale, columns, logits):
    """Set logits (>= count, TOKENS) to rows (count, D) times a tile of tokens, by vectors."""
    out = np.empty((GEMM_ROWS, TOKENS), np.float32)
    for place in range(0, count, GEMM_ROWS):
        product(rows[place : place + GEMM_ROWS], packed, columns, out)
        for i in range(min(GEMM_ROWS, count - place)):
            for t in range(TOKENS):
                logits[place + i, t] = out[i, t] * (scale[place + i] * x_scale[t])


@nb.njit(**LANES_ALIKE)
def _quantised(weights, row, count, inverse, t):  # as an integer; zero behind the last row
    return np.int32(weights[row, t] * inverse[t] + np.float32(0.5)) if row < count else np.int32(0)


@nb.njit(**LANES_ALIKE)
def pack_weights(weights, count, one, packed):
    """Pack weights (CHUNK, TOKENS), none below 0, in whole `one` (TOKENS,), as pairs of rows.

    `packed` is (TOKENS, CHUNK / 2) int32.
    """
    inverse = np.float32(1) / one
    for pair in range((count + 1) // 2):
        for t in range(TOKENS):
            a = _quantised(weights, 2 * pair, count, inverse, t)
            b = _quantised(weights, 2 * pair + 1, count, inverse, t)
            packed[t, pair] = a | (b << np.int32(16))


@nb.njit(**LANES_ALIKE)
def add_rows(packed, count, values, one, before, sums):
    """Set sums (TOKENS, >= D) to `before` times themselves plus weightsᵀ W · one, by vectors."""
    weights, out = packed.view(np.int16), np.empty((GEMM_ROWS, TOKENS), np.float32)
    for tile in range(len(values)):
        for first in range(0, TOKENS, GEMM_ROWS):
            # out (GEMM_ROWS tokens, TOKENS) = weights (GEMM_ROWS, count) · W (count, TOKENS)
            out[:] = 0
            int_tile(weights[first : first + GEMM_ROWS], values[tile], 0, (count + 1) // 2, out)
            for i in range(GEMM_ROWS):
                t = first + i
                for d in range(TOKENS):
                    total = out[i, d] * one[t]
                    sums[t, tile * TOKENS + d] = sums[t, tile * TOKENS + d] * before[t] + total


@nb.njit(**LANES_ALIKE)
def lay_out_amx(weight, start, count, values):
    """Lay out a chunk of W (V, D) int8 for its sums by matrix instructions.

    `values` (D tiles, CHUNK / 4 or more, TOKENS) int32 holds four rows a place; logits read W.
    """
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
def score_amx(weight, scale, start, count, packed, x_scale, out, logits):
    """Do what `score_rows` does, by matrix instructions; scale (V,)."""
    below = weight.shape[1] // 4  # where the low bytes begin
    for place in range(0, count, TILE_PAIR):
        row = min(start + place, len(weight) - TILE_PAIR)  # the last rows twice, if they are fewer
        for token in range(0, TOKENS, TILE_ROWS):
            # out (32, 16) twice = W[row : row + 32] (32, D) · high and low bytes (D, 16 tokens)
            multiply_2(weight, row, row + TILE_ROWS, packed, (0, token, below, token), out)
            for half in range(2):
                for i in range(TILE_ROWS):
                    line, high = row + half * TILE_ROWS + i, (2 * half * TILE_ROWS + i) * TILE_ROWS
                    if line >= start:
                        low, row_scale = high + _BYTES, scale[line]
                        set_row(out, high, low, row_scale, x_scale, token, logits, line - start)


@nb.njit(**LANES_ALIKE)
def pack_weights_amx(weights, count, one, packed):
    """Pack weights (CHUNK, TOKENS) as `pack_weights` does, in bytes for matrix instructions.

    `packed` is (2, TOKENS, CHUNK / 4) int32: the high bytes of four rows, then the low ones.
    """
    half, eight, inverse = np.int32(128), np.int32(8), np.float32(1) / one
    quads = packed.shape[2]
    high, low = np.empty((quads, TOKENS), np.int32), np.empty((quads, TOKENS), np.int32)
    for quad in range(quads):
        row = 4 * quad
        for t in range(TOKENS):
            a = _quantised(weights, row, count, inverse, t)
            b = _quantised(weights, row + 1, count, inverse, t)
            c = _quantised(weights, row + 2, count, inverse, t)
            d = _quantised(weights, row + 3, count, inverse, t)
            low[quad, t] = join(a, b, c, d)
            # The low bytes have a sign as well: the high ones are rounded to the nearest.
            a, b, c, d = a + half, b + half, c + half, d + half
            high[quad, t] = join(a >> eight, b >> eight, c >> eight, d >> eight)
    for quad in range(0, quads, LANES):
        for t in range(0, TOKENS, LANES):
            transpose_block(high, quad, t, packed[0], t, quad)
            transpose_block(low, quad, t, packed[1], t, quad)


@nb.njit(**LANES_ALIKE)
def add_rows_amx(packed, values, one, before, out, sums):
    """Do what `add_rows` does, by matrix instructions."""
    weights = packed.view(np.int8).reshape(2 * TOKENS, -1)
    for tile in range(len(values)):
        for first in range(0, TOKENS, TILE_ROWS):
            # out (high and low, 16 tokens, 32 features) = weights (16, CHUNK) · W (CHUNK, 32)
            multiply_2(weights, first, TOKENS + first, values[tile], (0, 0, 0, TILE_ROWS), out)
            for block in range(2):
                for i in range(TILE_ROWS):
                    t, high = first + i, (block * TILE_ROWS + i) * TILE_ROWS
                    low, at = high + 2 * _BYTES, tile * TOKENS + block * TILE_ROWS
                    gain_row(out, high, low, one[t], sums, t, at, before[t])
