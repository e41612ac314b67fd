"""The softmax over the vocabulary, and what it expects, without ever holding the logits.

A next token's loss and its slope need three things of a token's logits: the logarithm of their
exponentials' sum, one of them, and the output matrix' rows added up by their probabilities. That is
attention with the matrix as both keys and values, so it is done like flash attention (arXiv
2205.14135): chunk by chunk of the rows, with a running maximum.

The vocabulary is cut into PARTS, which threads share; parts are put together in their order, so the
result does not depend on the number of threads. M tiles of tokens, V rows, D features.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.amx import HERE, SIDE, begin, end
from demo.llama.chunk import CHUNK, SHARE, add_rows, lay_out, pack_shares, score_rows
from demo.llama.chunk_amx import (
    add_rows_by_bytes,
    lay_out_quads,
    pack_share_bytes,
    score_by_bytes,
)
from demo.llama.compiled import LANES_ALIKE
from demo.llama.exp import exp
from demo.llama.layout import fill, share_of, tiles_of
from demo.llama.memory import empty
from demo.llama.product import pack
from demo.llama.tile import TOKENS

PARTS = 16
GROUP = 8  # tiles at once: what is added up for them stays in a core's second cache
NOTHING = np.float32(-1e30)  # below any logit


class Bench(NamedTuple):
    """Room to work in."""

    packed: np.ndarray  # (GROUP, (D + 1) / 2, TOKENS) int32
    unit: np.ndarray  # (GROUP, TOKENS)
    rows: np.ndarray  # (threads, CHUNK, D or D + 1) int16
    values: np.ndarray  # (threads, D tiles, CHUNK / 2, TOKENS) int32
    shares: np.ndarray  # (threads, TOKENS, CHUNK / 2) int32
    logits: np.ndarray  # (threads, CHUNK, TOKENS)
    products: np.ndarray  # (threads, 2, 2, SIDE, SIDE) int32
    top: np.ndarray  # (PARTS, GROUP, TOKENS)
    mass: np.ndarray  # (PARTS, GROUP, TOKENS)
    sums: np.ndarray  # (PARTS, GROUP, TOKENS, >= D)


def bench_for(width: int, threads: int) -> Bench:
    """Room for a model's D and so many threads."""
    tiles = -(-width // TOKENS)
    return Bench(
        packed=empty((GROUP, (width + 1) // 2, TOKENS), np.int32),
        unit=empty((GROUP, TOKENS)),
        rows=empty((threads, CHUNK, width + width % 2), np.int16),
        values=empty((threads, tiles, CHUNK // 2, TOKENS), np.int32),
        shares=empty((threads, TOKENS, CHUNK // 2), np.int32),
        logits=empty((threads, CHUNK, TOKENS)),
        products=empty((threads, 2, 2, SIDE, SIDE), np.int32),
        top=empty((PARTS, GROUP, TOKENS)),
        mass=empty((PARTS, GROUP, TOKENS)),
        sums=empty((PARTS, GROUP, TOKENS, tiles * TOKENS)),
    )


@nb.njit(**LANES_ALIKE)
def _soften(logits, scale, count, top, mass, before, one):
    # logits (>= count, TOKENS) -> e^(logit - top) · scale (>= count,), in whole numbers of `one`.
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
        top[t], one[t] = best[t], largest[t] / SHARE


@nb.njit(**LANES_ALIKE)
def _pick(logits, start, count, labels, picked):  # labels, picked (TOKENS,)
    for t in range(TOKENS):
        if start <= labels[t] < start + count:
            picked[t] = logits[labels[t] - start, t]


@nb.njit(parallel=True, **LANES_ALIKE)
def _parts(
    weight, scale, packed, unit, labels, amx, wanted, threads,
    rows, values, shares, logits, products, top, mass, sums, picked,
):  # fmt: skip
    # packed (M, ...), as in `Bench` -> top, mass, sums; picked (M, TOKENS)
    size, columns = weight.shape
    share = share_of(size, CHUNK, PARTS)
    for thread in nb.prange(threads):
        near, wide, out = rows[thread], values[thread], products[thread]
        score, whole = logits[thread], shares[thread]
        bytes_of = whole.reshape(2, TOKENS, CHUNK // 4)
        before, one = np.empty(TOKENS, np.float32), np.empty(TOKENS, np.float32)
        if HERE and amx:
            begin()
        for part in range(thread, PARTS, threads):
            top[part], mass[part], sums[part] = NOTHING, 0, 0
            for start in range(part * share, min(size, (part + 1) * share), CHUNK):
                count = min(CHUNK, size - start)
                scales = scale[start : start + count]
                if HERE and amx:
                    lay_out_quads(weight, start, count, wide)
                else:
                    lay_out(weight, start, count, near, wide)
                for tile in range(len(packed)):
                    tokens, total = (packed[tile], unit[tile]), sums[part, tile]
                    if HERE and amx:
                        score_by_bytes(weight, scale, start, count, *tokens, out, score)
                    else:
                        score_rows(near, scales, count, *tokens, columns, score)
                    _pick(score, start, count, labels[tile], picked[tile])
                    state = top[part, tile], mass[part, tile], before
                    _soften(score, scales, count, *state, one)
                    if not wanted:
                        continue
                    if HERE and amx:
                        pack_share_bytes(score, count, one, bytes_of)
                        add_rows_by_bytes(bytes_of, wide, one, before, out, total)
                    else:
                        pack_shares(score, count, one, whole)
                        add_rows(whole, count, wide, one, before, total)
        if HERE and amx:
            end()


@nb.njit(parallel=True, **LANES_ALIKE)
def _together(tops, mass, sums, tokens, threads, log_sum, top, mean):  # of all parts
    for thread in nb.prange(threads):
        gain = np.empty(PARTS, np.float32)
        for token in range(thread, tokens, threads):
            tile, t = token // TOKENS, token % TOKENS
            best, total = tops[:, tile, t].max(), np.float32(0)
            for part in range(PARTS):
                gain[part] = exp(tops[part, tile, t] - best)
                total += gain[part] * mass[part, tile, t]
            log_sum[tile, t], top[tile, t] = best + np.log(total), best
            if len(mean) == 0:
                continue
            mean[token] = 0
            for part in range(PARTS):
                share = gain[part] / total
                for i in range(mean.shape[1]):
                    mean[token, i] += share * sums[part, tile, t, i]


@nb.njit(parallel=True, **LANES_ALIKE)
def _pack(x, amx, threads, packed, unit):  # x (N, D)
    tokens, size = x.shape
    for thread in nb.prange(threads):
        ones, near = np.ones(max(size, TOKENS), np.float32), np.empty((size, TOKENS), np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            fill(x[tile * TOKENS :], near)
            pack(near, ones[:TOKENS], ones, packed[tile], unit[tile], amx)


@nb.njit(**LANES_ALIKE)
def expect(x, weight, scale, labels, amx, threads, b, log_sum, top, picked, mean):
    """x (N, D) of at most GROUP tiles; labels, log_sum, top, picked (M, TOKENS); mean (N, D),
    or no rows where it is not wanted.

    `picked` gets the logits of labels; a token's stays as it was if no row is its label's.
    """
    packed, unit = b.packed[: len(labels)], b.unit[: len(labels)]
    _pack(x, amx, threads, packed, unit)
    _parts(
        weight, scale, packed, unit, labels, amx, len(mean) > 0, threads,
        b.rows, b.values, b.shares, b.logits, b.products, b.top, b.mass, b.sums, picked,
    )  # fmt: skip
    _together(b.top, b.mass, b.sums, len(x), threads, log_sum, top, mean)
