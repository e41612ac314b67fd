"""Attention of a tile of tokens on the CPU, and the way back; rotary positions likewise.

Queries lie with tokens last, (d, TOKENS), and bring the 1/√d of the scores with them; keys and
values as (S, d), with ROWS spare rows behind the last that is read, because tiles are read whole.
"""

import numba as nb
import numpy as np

from demo.llama.compiled import LANES_ALIKE
from demo.llama.exp import exp
from demo.llama.tile import ROWS, TOKENS, float_tile


@nb.njit(**LANES_ALIKE)
def rotate(qkv, cos, sin, heads, kv_heads, way):  # a tile ((H + 2 KV) d, TOKENS), in place
    # `way` is 1; or -1, which takes slopes of the outputs to those of the inputs: a rotation's
    # transpose is the rotation back.
    half = cos.shape[0]
    size = 2 * half
    for head in range(heads + kv_heads):
        # Queries take the 1/√d of the scores with them.
        scale = np.float32(1) / np.sqrt(np.float32(size)) if head < heads else np.float32(1)
        for i in range(half):
            a, b = head * size + i, head * size + i + half
            for t in range(TOKENS):
                low, high = qkv[a, t] * scale, qkv[b, t] * scale
                across = way * sin[i, t]
                qkv[a, t] = low * cos[i, t] - high * across
                qkv[b, t] = low * across + high * cos[i, t]


@nb.njit(**LANES_ALIKE)
def _soften(q, key, span, seen, scores, mass):  # -> scores (>= span, TOKENS), unnormalised
    # The first token sees `seen` of `span` keys and each one more than the one before.
    size = q.shape[0]
    for s in range(0, span, ROWS):
        scores[s : s + ROWS] = 0
        float_tile(key, s, 0, q, size, scores[s : s + ROWS])
    for s in range(seen, span):
        for t in range(min(TOKENS, s - seen + 1)):
            scores[s, t] = -1e30  # not seen by the tile's first tokens
    top = np.full(TOKENS, np.float32(-1e30))
    for s in range(span):
        for t in range(TOKENS):
            top[t] = max(top[t], scores[s, t])
    mass[:] = 0
    for s in range(span):
        for t in range(TOKENS):
            scores[s, t] = exp(scores[s, t] - top[t])
            mass[t] += scores[s, t]


@nb.njit(**LANES_ALIKE)
def attend(q, key, value, span, seen, gain, scores, out):  # out (d, TOKENS) += gain · attention
    size = q.shape[0]
    mass = np.empty(TOKENS, np.float32)
    _soften(q, key, span, seen, scores, mass)
    for t in range(TOKENS):
        mass[t] = gain / mass[t]
    tile = np.empty((ROWS, TOKENS), np.float32)
    for i in range(0, size, ROWS):
        tile[:] = 0
        float_tile(value, i, 1, scores, span, tile)
        for j in range(min(ROWS, size - i)):
            for t in range(TOKENS):
                out[i + j, t] += tile[j, t] * mass[t]


@nb.njit(**LANES_ALIKE)
def attend_back(
    q, q_turned, slope, slope_turned, key, value, span, seen, gain, scores, slopes,
    q_slope, key_slope, value_slope,
):  # fmt: skip
    # Adds to the slopes of q (d, TOKENS), and of keys and values (chunks, >= S, TOKENS features);
    # `slope` (d, TOKENS) is that of the output. Turned: (chunks, TOKENS tokens, TOKENS features).
    # Returns the slope of `gain`.
    size, chunks = q.shape[0], q_turned.shape[0]
    mass, mean = np.empty(TOKENS, np.float32), np.zeros(TOKENS, np.float32)
    _soften(q, key, span, seen, scores, mass)
    for s in range(0, span, ROWS):
        slopes[s : s + ROWS] = 0
        float_tile(value, s, 0, slope, size, slopes[s : s + ROWS])
    for t in range(TOKENS):
        mass[t] = np.float32(1) / mass[t]
    for s in range(span):
        for t in range(TOKENS):
            scores[s, t] *= mass[t]
            mean[t] += scores[s, t] * slopes[s, t]
    for s in range(span):
        for t in range(TOKENS):
            scores[s, t] *= gain
            slopes[s, t] = scores[s, t] * (slopes[s, t] - mean[t])
    for s in range(span, (span + ROWS - 1) // ROWS * ROWS):
        scores[s] = 0
        slopes[s] = 0
    for chunk in range(chunks):
        for s in range(0, span, ROWS):
            into = key_slope[chunk, s : s + ROWS]
            float_tile(slopes, s, 0, q_turned[chunk], TOKENS, into)
            into = value_slope[chunk, s : s + ROWS]
            float_tile(scores, s, 0, slope_turned[chunk], TOKENS, into)
    tile = np.empty((ROWS, TOKENS), np.float32)
    for i in range(0, size, ROWS):
        tile[:] = 0
        float_tile(key, i, 1, slopes, span, tile)
        for j in range(min(ROWS, size - i)):
            for t in range(TOKENS):
                q_slope[i + j, t] += tile[j, t]
    return mean.sum()
