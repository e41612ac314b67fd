"""Attention of a tile of tokens on the CPU, its backward pass, and rotary positions.

Queries lie with tokens last, (d, TOKENS), and bring the 1/√d of the scores with them; keys and
values as (S, d), with GEMM_ROWS spare rows behind the last that is read, because tiles are read
whole. Of S rows the first `span` are keys; the tile's first token attends to the first `seen` of
them, and each token to one more than the token before.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.compile import LANES_ALIKE
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS, float_tile
from demo.llama.kernels.simd import exp


class QueryTile(NamedTuple):
    """A head's queries for a tile of tokens, the gradient of what they attended to, and theirs.

    C chunks of TOKENS features; transposed is (C, TOKENS tokens, TOKENS features).
    """

    q: np.ndarray  # (d, TOKENS)
    q_transposed: np.ndarray
    out_grad: np.ndarray  # (d, TOKENS), of the attention's output
    out_grad_transposed: np.ndarray
    q_grad: np.ndarray  # (d, TOKENS), added to


class KeysValues(NamedTuple):
    """A head's keys and values and their gradients, which are added to."""

    key: np.ndarray  # (S, d)
    value: np.ndarray
    key_grad: np.ndarray  # (C, >= S, TOKENS features)
    value_grad: np.ndarray


@nb.njit(**LANES_ALIKE)
def rotate(qkv, cos, sin, heads, kv_heads, direction):
    """Turn queries and keys of a tile ((H + 2 KV) d, TOKENS) by their positions, in place.

    `direction` is 1; or -1, which takes gradients of the outputs to those of the inputs: a
    rotation's transpose is the rotation back.
    """
    half = cos.shape[0]
    size = 2 * half
    for head in range(heads + kv_heads):
        # Queries take the 1/√d of the scores with them.
        scale = np.float32(1) / np.sqrt(np.float32(size)) if head < heads else np.float32(1)
        # (a, b) = (a cos - b sin, a sin + b cos), numbers i and i + d/2 of a head (d, TOKENS)
        for i in range(half):
            a, b = head * size + i, head * size + i + half
            for t in range(TOKENS):
                low, high = qkv[a, t] * scale, qkv[b, t] * scale
                across = direction * sin[i, t]
                qkv[a, t] = low * cos[i, t] - high * across
                qkv[b, t] = low * across + high * cos[i, t]


@nb.njit(**LANES_ALIKE)
def _exp_scores(q, key, span, seen, scores, mass):
    # -> scores (>= span, TOKENS), softmax without its division, whose sums go to mass (TOKENS,)
    size = q.shape[0]
    # scores (span, TOKENS) = key (span, d) · q (d, TOKENS)
    for s in range(0, span, GEMM_ROWS):
        scores[s : s + GEMM_ROWS] = 0
        float_tile(key, s, 0, q, size, scores[s : s + GEMM_ROWS])
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
def attend(q, key, value, span, seen, gain, scores, out):
    """Add gain · softmax(q keyᵀ) value to out (d, TOKENS)."""
    size = q.shape[0]
    mass = np.empty(TOKENS, np.float32)
    _exp_scores(q, key, span, seen, scores, mass)
    for t in range(TOKENS):
        mass[t] = gain / mass[t]
    # out (d, TOKENS) += valueᵀ (d, span) · scores (span, TOKENS) · gain / mass (TOKENS,)
    tile = np.empty((GEMM_ROWS, TOKENS), np.float32)
    for i in range(0, size, GEMM_ROWS):
        tile[:] = 0
        float_tile(value, i, 1, scores, span, tile)
        for j in range(min(GEMM_ROWS, size - i)):
            for t in range(TOKENS):
                out[i + j, t] += tile[j, t] * mass[t]


@nb.njit(**LANES_ALIKE)
def attend_backward(queries, pairs, span, seen, gain, scores, score_grads):
    """Take a `QueryTile`'s output gradient back to its queries and to `KeysValues`.

    `span`, `seen` and `gain` are as in `attend`; `scores` and `score_grads` (>= span, TOKENS) are
    room to work in. Returns the gradient of `gain`.
    """
    q, q_transposed, out_grad, out_grad_transposed, q_grad = queries
    key, value, key_grad, value_grad = pairs
    size, chunks = q.shape[0], q_transposed.shape[0]
    mass, mean = np.empty(TOKENS, np.float32), np.zeros(TOKENS, np.float32)
    _exp_scores(q, key, span, seen, scores, mass)
    # gradient of the weights (span, TOKENS) = value (span, d) · out_grad (d, TOKENS)
    for s in range(0, span, GEMM_ROWS):
        score_grads[s : s + GEMM_ROWS] = 0
        float_tile(value, s, 0, out_grad, size, score_grads[s : s + GEMM_ROWS])
    # through the softmax: weight · (gradient - their mean by weight), a token at a time
    for t in range(TOKENS):
        mass[t] = np.float32(1) / mass[t]
    for s in range(span):
        for t in range(TOKENS):
            scores[s, t] *= mass[t]
            mean[t] += scores[s, t] * score_grads[s, t]
    for s in range(span):
        for t in range(TOKENS):
            scores[s, t] *= gain
            score_grads[s, t] = scores[s, t] * (score_grads[s, t] - mean[t])
    for s in range(span, (span + GEMM_ROWS - 1) // GEMM_ROWS * GEMM_ROWS):
        scores[s] = 0
        score_grads[s] = 0
    # key_grad (span, d) += score_grads (span, TOKENS) · qᵀ (TOKENS, d);
    # value_grad (span, d) += scores (span, TOKENS) · out_gradᵀ (TOKENS, d)
    for chunk in range(chunks):
        for s in range(0, span, GEMM_ROWS):
            into = key_grad[chunk, s : s + GEMM_ROWS]
            float_tile(score_grads, s, 0, q_transposed[chunk], TOKENS, into)
            into = value_grad[chunk, s : s + GEMM_ROWS]
            float_tile(scores, s, 0, out_grad_transposed[chunk], TOKENS, into)
    # q_grad (d, TOKENS) += keyᵀ (d, span) · score_grads (span, TOKENS)
    tile = np.empty((GEMM_ROWS, TOKENS), np.float32)
    for i in range(0, size, GEMM_ROWS):
        tile[:] = 0
        float_tile(key, i, 1, score_grads, span, tile)
        for j in range(min(GEMM_ROWS, size - i)):
            for t in range(TOKENS):
                q_grad[i + j, t] += tile[j, t]
    return mean.sum()
