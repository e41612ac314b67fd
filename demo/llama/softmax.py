"""The softmax over the vocabulary, and what it expects, without ever holding the logits.

A next token's loss and its slope need three things of a token's logits: the logarithm of their
exponentials' sum, one of them, and the output matrix' rows added up by their probabilities. That is
attention with the matrix as both keys and values, so it is done like flash attention (arXiv
2205.14135): chunk by chunk of the rows, with a running maximum.

The vocabulary is cut into PARTS, which threads share; parts are put together in their order, so the
result does not depend on the number of threads. M tiles of tokens, V rows, D features.
"""

import numba as nb
import numpy as np

from demo.llama.amx import SIDE, begin, end
from demo.llama.chunk import CHUNK, SHARE, add_rows, lay_out, pack_shares, score
from demo.llama.chunk_amx import (
    add_rows_by_bytes,
    lay_out_quads,
    pack_share_bytes,
    score_by_bytes,
)
from demo.llama.compiled import LANES_ALIKE
from demo.llama.exp import exp
from demo.llama.layout import share_of, tiles_of
from demo.llama.product import scale_and_pack
from demo.llama.tile import TOKENS

PARTS = 16
NOTHING = np.float32(-1e30)  # below any logit


@nb.njit(**LANES_ALIKE)
def _soften(logits, scale, count, top, mass, before):
    # logits (>= count, TOKENS) -> e^(logit - top) · scale (>= count,); returns their largest.
    # `top` and `mass` (TOKENS,) go on; what was added up until now counts `before` times.
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
        top[t] = best[t]
    return largest


@nb.njit(**LANES_ALIKE)
def _pick(logits, start, count, labels, picked):  # labels, picked (TOKENS,)
    for t in range(TOKENS):
        if start <= labels[t] < start + count:
            picked[t] = logits[labels[t] - start, t]


@nb.njit(parallel=True, **LANES_ALIKE)
def _parts(weight, scale, packed, unit, labels, amx, threads, top, mass, sums, picked):
    # -> top, mass (PARTS, M, TOKENS), sums (PARTS, M, TOKENS, >= D), picked (M, TOKENS)
    size, columns = weight.shape
    share = share_of(size, CHUNK, PARTS)
    for thread in nb.prange(threads):
        rows = np.empty((0 if amx else CHUNK, columns + columns % 2), np.int16)
        values = np.empty((tiles_of(columns), CHUNK // 2, TOKENS), np.int32)
        shares = np.empty((TOKENS, CHUNK // 2), np.int32)
        planes = shares.reshape(2, TOKENS, CHUNK // 4)
        logits = np.empty((CHUNK, TOKENS), np.float32)
        before, steps = np.empty(TOKENS, np.float32), np.empty(TOKENS, np.float32)
        one = np.empty(TOKENS, np.float32)
        out = np.empty((2, 2, SIDE, SIDE), np.int32)
        if amx:
            begin()
        for part in range(thread, PARTS, threads):
            top[part] = NOTHING
            mass[part] = 0
            sums[part] = 0
            for start in range(part * share, min(size, (part + 1) * share), CHUNK):
                count = min(CHUNK, size - start)
                scales = scale[start : start + count]
                if amx:
                    lay_out_quads(weight, start, count, values)
                else:
                    lay_out(weight, start, count, rows, values)
                for tile in range(len(packed)):
                    given = packed[tile], unit[tile]
                    if amx:
                        score_by_bytes(weight, scale, start, count, *given, out, logits)
                    else:
                        score(rows, scales, count, *given, columns, logits)
                    _pick(logits, start, count, labels[tile], picked[tile])
                    largest = _soften(
                        logits, scales, count, top[part, tile], mass[part, tile], before
                    )
                    for t in range(TOKENS):
                        steps[t], one[t] = SHARE / largest[t], largest[t] / SHARE
                    if amx:
                        pack_share_bytes(logits, count, steps, planes)
                        add_rows_by_bytes(planes, values, one, before, out, sums[part, tile])
                    else:
                        pack_shares(logits, count, steps, shares)
                        add_rows(shares, count, values, one, before, sums[part, tile])
        if amx:
            end()


@nb.njit(parallel=True, **LANES_ALIKE)
def _together(top, mass, sums, threads, logs, mean):  # -> logs (M, TOKENS), mean (N, D)
    tokens, size = mean.shape
    for thread in nb.prange(threads):
        gain = np.empty(PARTS, np.float32)
        for token in range(thread, tokens, threads):
            tile, t = token // TOKENS, token % TOKENS
            best = top[:, tile, t].max()
            total = np.float32(0)
            for part in range(PARTS):
                gain[part] = exp(top[part, tile, t] - best)
                total += gain[part] * mass[part, tile, t]
            logs[tile, t] = best + np.log(total)
            mean[token] = 0
            for part in range(PARTS):
                for i in range(size):
                    mean[token, i] += gain[part] / total * sums[part, tile, t, i]


@nb.njit(**LANES_ALIKE)
def expect(x, weight, scale, labels, amx, threads, logs, picked, mean):
    """x (M, D, TOKENS) of N tokens; labels, logs, picked (M, TOKENS); mean (N, D).

    `picked` gets the logits of labels; a token's stays as it was if no row is its label's.
    """
    tiles, size = x.shape[0], x.shape[1]
    packed = np.empty((tiles, (size + 1) // 2, TOKENS), np.int32)
    unit = np.empty((tiles, TOKENS), np.float32)
    ones = np.ones(size, np.float32)
    scale_and_pack(x, ones, tiles * TOKENS, packed, unit, amx, threads)
    top = np.empty((PARTS, tiles, TOKENS), np.float32)
    mass = np.empty((PARTS, tiles, TOKENS), np.float32)
    sums = np.empty((PARTS, tiles, TOKENS, tiles_of(size) * TOKENS), np.float32)
    _parts(weight, scale, packed, unit, labels, amx, threads, top, mass, sums, picked)
    _together(top, mass, sums, threads, logs, mean)
