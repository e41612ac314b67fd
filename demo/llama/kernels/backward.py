"""The layers under an adapter for a batch of texts, and their backward pass, on the CPU.

The base is frozen, so no matrix needs a gradient: each is passed once forward and once backward, as
products of integers (`gemm.py`). Only gates, and keys and values of prompts (LLaMA-Adapter, arXiv
2303.16199, section 3.2) get a gradient.

Texts lie one after the other in M tiles of tokens, without padding between them. L layers are run,
the last ones of the base. Other sizes as in `decode.py`; B texts, C chunks of TOKENS features.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.amx import HAS_AMX
from demo.llama.kernels.attention import KeysValues, QueryTile, attend, attend_backward, rotate
from demo.llama.kernels.compile import LANES_ALIKE, scratch
from demo.llama.kernels.gemm import (
    QuantisedGradients,
    QuantisedTiles,
    gemm,
    gemm_backward,
    gemm_swiglu_amx,
    norm_and_quantise,
    norm_factor,
    quantise_gradient_tile,
    quantise_gradients,
    quantise_tile,
    scale_and_quantise,
)
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS
from demo.llama.kernels.simd import exp, flush, restore
from demo.llama.kernels.tiles import (
    add_transposed,
    gather,
    gather_transposed,
    keep_bf16,
    scatter,
    scatter_transposed,
    tiles_of,
    transpose,
)


class TextBatch(NamedTuple):
    """Where each text begins among the tokens, how many it has there, and how many before, (B,).

    All int64. What stands before is the beginning of the first text: many that begin alike, as
    chats with the same system prompt do, need it computed once.
    """

    starts: np.ndarray
    lengths: np.ndarray
    before: np.ndarray  # 0 for the first text


class Prompts(NamedTuple):
    """Keys and values of an adapter's prompts, and gates, of L layers; a kernel takes one layer."""

    key: np.ndarray  # (L, B or 1, KV, P + GEMM_ROWS, d)
    value: np.ndarray
    gate: np.ndarray  # (L, H)


class PromptGradients(NamedTuple):
    """Gradients of `Prompts`, added to: zeros at first."""

    key: np.ndarray  # (L, B, KV, C, P + GEMM_ROWS, TOKENS)
    value: np.ndarray
    gate: np.ndarray  # (L, B, H), set


class Tape(NamedTuple):
    """What the backward pass needs of the forward pass. It is used up by it."""

    x: np.ndarray  # (L + 1, M, D, TOKENS) what enters each layer, and what leaves the last
    qkv: np.ndarray  # (L, M, (H + 2 KV) d, TOKENS) rotated
    middle: np.ndarray  # (L, M, D, TOKENS) after the attention
    gate_up: np.ndarray  # (L, M, 2 F, TOKENS) uint16, bf16 rounded: gradients are not exact
    cos: np.ndarray  # (M, d / 2, TOKENS)
    sin: np.ndarray


class GradientWorkspace(NamedTuple):
    """Room to work in. `qx` and `qg` share their memory."""

    qx: QuantisedTiles  # what is multiplied next; its I is the widest input or output of a matrix
    qg: QuantisedGradients
    mixed: np.ndarray  # (M, H d, TOKENS)
    inner: np.ndarray  # (M, F, TOKENS)
    gate_up: np.ndarray  # (M, 2 F, TOKENS), nothing with matrix instructions
    grad: np.ndarray  # (M, D, TOKENS) of the loss at the layer's output, then at its input
    part: np.ndarray  # (M, D, TOKENS)
    heads: np.ndarray  # (M, (H + 2 KV) d, TOKENS)


@nb.njit(**LANES_ALIKE)
def forward(first, texts, w, prompts, tape, b, options):
    """Run layers from `first` on, as many as `prompts` has: tape.x[0] → tape.x[L].

    Arguments are a `TextBatch`, a `KernelWeights`, `Prompts`, a `Tape`, a `GradientWorkspace` and a
    `KernelOptions`.
    """
    heads, eps, threads = options.heads, options.eps, options.threads
    qx, tokens = b.qx, texts.lengths.sum()
    ones = np.ones(2 * qx.packed.shape[1], np.float32)
    for level in range(prompts.gate.shape[0]):
        layer, x, middle, qkv = first + level, tape.x[level], tape.middle[level], tape.qkv[level]
        # qkv ((H + 2 KV) d, tokens) = W_qkv · norm(x) (D, tokens), q and k rotated
        norm_and_quantise(x, w.attention_norm[layer], eps, tokens, qx, threads)
        gemm(w.qkv[layer], w.qkv_scale[layer], qx, tokens, qkv[:0], qkv, threads)
        _rotate_all(qkv, tape.cos, tape.sin, heads, prompts.key.shape[2], 1, tokens, threads)
        # mixed (H d, tokens) = v softmax(kᵀ q/√d) + gate · Pv softmax(Pkᵀ q/√d)
        of_layer = Prompts(prompts.key[level], prompts.value[level], prompts.gate[level])
        _attention(qkv, texts, of_layer, b.mixed, heads, threads)
        # middle (D, tokens) = x + W_o · mixed (H d, tokens)
        scale_and_quantise(b.mixed, ones, tokens, qx, threads)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        gemm(matrix, scale, qx, tokens, x, middle, threads)
        # inner (F, tokens) = silu(W_gate · norm(middle)) · (W_up · norm(middle))
        norm_and_quantise(middle, w.ffn_norm[layer], eps, tokens, qx, threads)
        matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
        kept, after = tape.gate_up[level], tape.x[level + 1]
        if HAS_AMX and qx.amx:
            gemm_swiglu_amx(matrix, scale, qx.packed, qx.scale, tokens, kept, b.inner, threads)
            scale_and_quantise(b.inner, ones, tokens, qx, threads)
        else:
            gemm(matrix, scale, qx, tokens, b.gate_up[:0], b.gate_up, threads)
            _swiglu_and_quantise(b.gate_up, kept, ones, tokens, b.inner, qx, threads)
        # the next layer's x (D, tokens) = middle + W_down · inner (F, tokens)
        gemm(w.down[layer], w.down_scale[layer], qx, tokens, middle, after, threads)


@nb.njit(**LANES_ALIKE)
def backward(first, texts, w, prompts, tape, b, options, grads):
    """Take `b.grad`, that of tape.x[L], back to `PromptGradients`; arguments as of `forward`."""
    heads, eps, threads = options.heads, options.eps, options.threads
    tokens, qg = texts.lengths.sum(), b.qg
    for level in range(prompts.gate.shape[0] - 1, -1, -1):
        layer, gate_up = first + level, tape.gate_up[level]
        # gradient of inner (F, tokens) = W_downᵀ · grad (D, tokens)
        quantise_gradients(b.grad, w.down_scale[layer], tokens, qg, threads)
        gemm_backward(w.down[layer], qg, tokens, b.inner, threads)
        # of norm(middle) (D, tokens) = W_gate_upᵀ · that of gates and ups (2 F, tokens)
        _swiglu_backward(gate_up, b.inner, w.gate_up_scale[layer], tokens, qg, threads)
        gemm_backward(w.gate_up[layer], qg, tokens, b.part, threads)
        middle, norm = tape.middle[level], w.ffn_norm[layer]
        _norm_backward(middle, norm, eps, b.part, b.grad, tokens, threads)
        # of mixed (H d, tokens) = W_oᵀ · grad (D, tokens); then of q, k, v and the prompts
        quantise_gradients(b.grad, w.attention_output_scale[layer], tokens, qg, threads)
        gemm_backward(w.attention_output[layer], qg, tokens, b.mixed, threads)
        of_layer = Prompts(prompts.key[level], prompts.value[level], prompts.gate[level])
        into = PromptGradients(grads.key[level], grads.value[level], grads.gate[level])
        _attention_backward(
            tape.qkv[level], texts, of_layer, b.mixed, b.heads, into, heads, threads
        )
        if level == 0:  # what lies below learns nothing
            break
        # of norm(x) (D, tokens) = W_qkvᵀ · that of q, k, v ((H + 2 KV) d, tokens)
        _rotate_all(b.heads, tape.cos, tape.sin, heads, prompts.key.shape[2], -1, tokens, threads)
        quantise_gradients(b.heads, w.qkv_scale[layer], tokens, qg, threads)
        gemm_backward(w.qkv[layer], qg, tokens, b.part, threads)
        norm = w.attention_norm[layer]
        _norm_backward(tape.x[level], norm, eps, b.part, b.grad, tokens, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _rotate_all(qkv, cos, sin, heads, kv_heads, direction, tokens, threads):
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            rotate(qkv[tile], cos[tile], sin[tile], heads, kv_heads, np.float32(direction))


@nb.njit(parallel=True, **LANES_ALIKE)
def _swiglu_and_quantise(gate_up, kept, ones, tokens, inner, qx, threads):
    # gate_up (M, 2 F, TOKENS) -> inner (M, F, TOKENS) = silu(gate) up, then its integers
    packed, x_scale, _, amx = qx
    size = inner.shape[1]
    for thread in nb.prange(threads):
        same = np.ones(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            for i in range(size):
                for t in range(TOKENS):
                    gate, up = gate_up[tile, i, t], gate_up[tile, size + i, t]
                    inner[tile, i, t] = gate / (np.float32(1) + exp(-gate)) * up
            keep_bf16(gate_up[tile].reshape(-1), kept[tile].reshape(-1))
            quantise_tile(inner[tile], same, ones, packed[tile], x_scale[tile], amx)


@nb.njit(parallel=True, **LANES_ALIKE)
def _swiglu_backward(gate_up, grad, scale, tokens, qg, threads):
    # gate_up (M, 2 F, TOKENS) as bf16; `grad` (M, F, TOKENS) is that of the product
    packed, g_scale, offset, _, _ = qg
    size, one = grad.shape[1], np.float32(1)
    for thread in nb.prange(threads):
        both = scratch((2 * size, TOKENS))
        bits = both.view(np.uint32)
        for tile in range(thread, tiles_of(tokens), threads):
            for i in range(2 * size):
                for t in range(TOKENS):
                    bits[i, t] = np.uint32(gate_up[tile, i, t]) << np.uint32(16)
            # of gates: grad · up · s (1 + gate (1 - s)), of ups: grad · gate · s; s = sigmoid(gate)
            for i in range(size):
                for t in range(TOKENS):
                    gate, up = both[i, t], both[size + i, t]
                    sigmoid = one / (one + exp(-gate))
                    given = grad[tile, i, t]
                    both[i, t] = given * up * sigmoid * (one + gate * (one - sigmoid))
                    both[size + i, t] = given * gate * sigmoid
            quantise_gradient_tile(both, scale, packed[tile], g_scale[tile], offset[tile])


@nb.njit(parallel=True, **LANES_ALIKE)
def _norm_backward(x, weight, eps, given, grad, tokens, threads):
    # grad (M, D, TOKENS) += `given`, that of norm(x), taken back to x
    size = x.shape[1]
    for thread in nb.prange(threads):
        factor, dot = np.empty(TOKENS, np.float32), np.empty(TOKENS, np.float32)
        for tile in range(thread, tiles_of(tokens), threads):
            norm_factor(x[tile], eps, factor)
            dot[:] = 0
            for i in range(size):
                for t in range(TOKENS):
                    dot[t] += given[tile, i, t] * weight[i] * x[tile, i, t]
            for t in range(TOKENS):
                dot[t] *= factor[t] * factor[t] / np.float32(size)
            for i in range(size):
                for t in range(TOKENS):
                    change = given[tile, i, t] * weight[i] - x[tile, i, t] * dot[t]
                    grad[tile, i, t] += factor[t] * change


@nb.njit(parallel=True, **LANES_ALIKE)
def _attention(qkv, texts, prompts, mixed, heads, threads):
    # qkv (M, (H + 2 KV) d, TOKENS) and one layer's prompts -> mixed (M, H d, TOKENS)
    starts, lengths, before = texts
    key, value, gate = prompts
    kv_heads, size = key.shape[1], key.shape[3]
    group, count, longest = heads // kv_heads, key.shape[2] - GEMM_ROWS, (before + lengths).max()
    one, width, most = np.float32(1), tiles_of(longest), max(longest, count) + GEMM_ROWS
    for thread in nb.prange(threads):
        keys = np.zeros((longest + GEMM_ROWS, size), np.float32)
        values = np.zeros((longest + GEMM_ROWS, size), np.float32)
        scores = scratch((most, TOKENS))
        q = scratch((width, size, TOKENS))
        out = scratch((width, size, TOKENS))
        for job in range(thread, len(starts) * kv_heads, threads):
            # keys, values (early + length, d) of one text and key-value head, for `group` heads
            text, kv = job // kv_heads, job % kv_heads
            start, length, shared = starts[text], lengths[text], min(text, key.shape[0] - 1)
            early, keys_at = before[text], (heads + kv) * size
            values_at = keys_at + kv_heads * size
            gather_transposed(qkv, keys_at, starts[0], early, 0, keys)
            gather_transposed(qkv, keys_at, start, length, early, keys)
            gather_transposed(qkv, values_at, starts[0], early, 0, values)
            gather_transposed(qkv, values_at, start, length, early, values)
            for head in range(kv * group, (kv + 1) * group):
                # out (d, length) = valuesᵀ · softmax(keys (length, d) · q (d, length)) + gate · …
                gather(qkv, head * size, start, length, q)
                out[:] = 0
                for tile in range(tiles_of(length)):
                    seen = early + tile * TOKENS + 1
                    span = early + min(length, (tile + 1) * TOKENS)
                    attend(q[tile], keys, values, span, seen, one, scores, out[tile])
                    if gate[head] != 0:
                        pk, pv, gain = key[shared, kv], value[shared, kv], gate[head]
                        attend(q[tile], pk, pv, count, count, gain, scores, out[tile])
                scatter(out, head * size, start, length, mixed)


@nb.njit(parallel=True, **LANES_ALIKE)
def _attention_backward(qkv, texts, prompts, grad, qkv_grad, into, heads, threads):
    # grad (M, H d, TOKENS), that of `mixed` -> qkv_grad (M, (H + 2 KV) d, TOKENS), as rotated, and
    # into one layer's `PromptGradients`
    starts, lengths, before = texts
    key, value, gate = prompts
    key_grad, value_grad, gate_grad = into
    kv_heads, size = key.shape[1], key.shape[3]
    group, count, longest = heads // kv_heads, key.shape[2] - GEMM_ROWS, (before + lengths).max()
    one, width, chunks = np.float32(1), tiles_of(longest), key_grad.shape[2]
    most = max(longest, count) + GEMM_ROWS
    # What texts add to the first one's keys and values: in one order, whatever the threads.
    early_grad = np.empty((len(starts), kv_heads, 2, chunks, before.max(), TOKENS), np.float32)
    for thread in nb.prange(threads):
        mode = flush()
        keys = np.zeros((longest + GEMM_ROWS, size), np.float32)
        values = np.zeros((longest + GEMM_ROWS, size), np.float32)
        keys_grad = scratch((chunks, longest + GEMM_ROWS, TOKENS))
        values_grad = scratch((chunks, longest + GEMM_ROWS, TOKENS))
        scores = scratch((most, TOKENS))
        score_grads = scratch((most, TOKENS))
        q = scratch((width, size, TOKENS))
        given = scratch((width, size, TOKENS))
        q_grad = scratch((width, size, TOKENS))
        q_transposed = scratch((chunks, TOKENS, TOKENS))
        transposed = scratch((chunks, TOKENS, TOKENS))
        for job in range(thread, len(starts) * kv_heads, threads):
            text, kv = job // kv_heads, job % kv_heads
            start, length, shared = starts[text], lengths[text], min(text, key.shape[0] - 1)
            early, keys_at = before[text], (heads + kv) * size
            values_at = keys_at + kv_heads * size
            gather_transposed(qkv, keys_at, starts[0], early, 0, keys)
            gather_transposed(qkv, keys_at, start, length, early, keys)
            gather_transposed(qkv, values_at, starts[0], early, 0, values)
            gather_transposed(qkv, values_at, start, length, early, values)
            keys_grad[:] = 0
            values_grad[:] = 0
            of_text = KeysValues(keys, values, keys_grad, values_grad)
            of_prompts = KeysValues(
                key[shared, kv], value[shared, kv], key_grad[text, kv], value_grad[text, kv]
            )
            for head in range(kv * group, (kv + 1) * group):
                # A head's queries and the gradient of its output (d, length), a tile at a time,
                # back to its queries, the text's keys and values, and the prompts'.
                gather(qkv, head * size, start, length, q)
                gather(grad, head * size, start, length, given)
                q_grad[:] = 0
                gate_sum = np.float32(0)
                for tile in range(tiles_of(length)):
                    seen = early + tile * TOKENS + 1
                    span = early + min(length, (tile + 1) * TOKENS)
                    transpose(q[tile], q_transposed)
                    transpose(given[tile], transposed)
                    queries = QueryTile(
                        q[tile], q_transposed, given[tile], transposed, q_grad[tile]
                    )
                    attend_backward(queries, of_text, span, seen, one, scores, score_grads)
                    gate_sum += attend_backward(
                        queries, of_prompts, count, count, gate[head], scores, score_grads
                    )
                gate_grad[text, head] = gate_sum
                scatter(q_grad, head * size, start, length, qkv_grad)
            scatter_transposed(keys_grad, early, keys_at, size, start, length, qkv_grad)
            scatter_transposed(values_grad, early, values_at, size, start, length, qkv_grad)
            for chunk in range(chunks):
                for t in range(early):
                    early_grad[text, kv, 0, chunk, t] = keys_grad[chunk, t]
                    early_grad[text, kv, 1, chunk, t] = values_grad[chunk, t]
        restore(mode)
    _add_early(early_grad, starts[0], before, heads, size, qkv_grad, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def _add_early(early_grad, start, before, heads, size, qkv_grad, threads):
    # early_grad (texts, KV, 2, chunks, early, TOKENS) of keys and values that the first text shares
    # with others -> added to that text's in qkv_grad (M, (H + 2 KV) d, TOKENS), text by text
    kv_heads = early_grad.shape[1]
    for thread in nb.prange(threads):
        for job in range(thread, 2 * kv_heads, threads):
            at = (heads + job) * size  # of keys, then of values
            for text in range(1, len(before)):
                part = early_grad[text, job % kv_heads, job // kv_heads]
                add_transposed(part, at, size, start, before[text], qkv_grad)
