"""A prompt's tokens through all layers on the CPU, in one compiled call.

A slice of tokens lies in tiles with tokens last, (M, features, TOKENS), see `gemm.py`. Sizes as in
`decode.py`.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.amx import HAS_AMX
from demo.llama.kernels.attention import attend, rotate
from demo.llama.kernels.bf16 import fp32_rows, rounded
from demo.llama.kernels.compile import LANES_ALIKE
from demo.llama.kernels.gemm import (
    QuantisedTiles,
    gemm,
    gemm_swiglu_amx,
    norm_and_quantise,
    product,
    scale_and_quantise,
    widen,
    workspace_rows,
)
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS
from demo.llama.kernels.simd import exp
from demo.llama.kernels.tiles import share_of, tiles_of

SLICE = 256  # tokens at a time: what they need stays in a core's second cache


class PrefillWorkspace(NamedTuple):
    """Activations of one slice of M tiles, made once."""

    x: np.ndarray  # (M, D, TOKENS)
    qkv: np.ndarray  # (M, (H + 2 KV) d, TOKENS)
    mixed: np.ndarray  # (M, H d, TOKENS)
    inner: np.ndarray  # (M, F, TOKENS)
    qx: QuantisedTiles  # what is multiplied next; its I is the widest input of a matrix
    scores: np.ndarray  # (threads, S, TOKENS)
    widened: np.ndarray  # (threads, 2, S, d), of keys and values in bf16; else S is 0
    cos: np.ndarray  # (M, d / 2, TOKENS)
    sin: np.ndarray


@nb.njit(**LANES_ALIKE)
def prefill(ids, slot, start, w, slots, r, options):
    """Write ids (at most SLICE) after the first `start` of a slot; leave what comes out in `r.x`.

    Arguments are a `KernelWeights`, a `KVSlots`, a `PrefillWorkspace` and a `KernelOptions`.
    """
    heads, eps, threads = options.heads, options.eps, options.threads
    qx = r.qx
    tokens, half = ids.shape[0], r.cos.shape[1]
    # x (M, D, TOKENS) = rows of the embedding (V, D), dequantised; angles of the positions
    r.x[:] = 0
    for token in range(tokens):
        tile, t = token // TOKENS, token % TOKENS
        for i in range(r.x.shape[1]):
            number = np.float32(w.embedding[ids[token], i])
            r.x[tile, i, t] = number * w.embedding_scale[ids[token]]
        for i in range(half):
            r.cos[tile, i, t] = w.cos[start + token, i]
            r.sin[tile, i, t] = w.sin[start + token, i]
    ones, kept = np.ones(2 * qx.packed.shape[1], np.float32), np.empty((0, 0, TOKENS), np.uint16)
    for layer in range(w.qkv.shape[0]):
        # qkv ((H + 2 KV) d, tokens) = W_qkv · norm(x) (D, tokens); keys and values to their slot
        norm_and_quantise(r.x, w.attention_norm[layer], eps, tokens, qx, threads)
        gemm(w.qkv[layer], w.qkv_scale[layer], qx, tokens, r.qkv[:0], r.qkv, threads)
        key, value = slots.key[slot, layer], slots.value[slot, layer]
        rotate_and_store(r.qkv, key, value, start, tokens, r.cos, r.sin, heads, threads)
        # mixed (H d, tokens) = v softmax(kᵀ q/√d) + gate · Pv softmax(Pkᵀ q/√d)
        attention(layer, slot, start, tokens, slots, r, heads, threads)
        # x (D, tokens) += W_o · mixed (H d, tokens)
        scale_and_quantise(r.mixed, ones, tokens, qx, threads)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        gemm(matrix, scale, qx, tokens, r.x, r.x, threads)
        # inner (F, tokens) = silu(W_gate · norm(x)) · (W_up · norm(x)); x += W_down · inner
        norm_and_quantise(r.x, w.ffn_norm[layer], eps, tokens, qx, threads)
        matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
        if HAS_AMX and qx.amx:
            gemm_swiglu_amx(matrix, scale, qx.packed, qx.scale, tokens, kept, r.inner, threads)
        else:
            gemm_swiglu(matrix, scale, qx, tokens, r.inner, threads)
        scale_and_quantise(r.inner, ones, tokens, qx, threads)
        gemm(w.down[layer], w.down_scale[layer], qx, tokens, r.x, r.x, threads)


@nb.njit(parallel=True, **LANES_ALIKE)
def gemm_swiglu(weight, scale, qx, tokens, y, threads):
    """Set y (M, F, TOKENS) to silu(gate) up, by vectors; W (2 F, I): gates, then ups."""
    half, size, columns = GEMM_ROWS // 2, y.shape[1], weight.shape[1]
    packed, x_scale, workspaces, _ = qx
    share = share_of(size, half, threads)
    for thread in nb.prange(threads):
        rows = workspace_rows(workspaces[thread], columns)
        out = np.empty((GEMM_ROWS, TOKENS), np.float32)
        for row in range(thread * share, min(size, (thread + 1) * share), half):
            for i in range(half):  # half a tile of gates beside half a tile of ups
                widen(weight, row + i, rows[i])
                widen(weight, size + row + i, rows[half + i])
            for tile in range(tiles_of(tokens)):
                # out (GEMM_ROWS, TOKENS) = rows of both halves (GEMM_ROWS, I) · x (I, TOKENS)
                product(rows[:GEMM_ROWS], packed[tile], columns, out)
                for i in range(min(half, size - row)):
                    for t in range(TOKENS):
                        gate = out[i, t] * scale[row + i] * x_scale[tile, t]
                        up = out[half + i, t] * scale[size + row + i] * x_scale[tile, t]
                        y[tile, row + i, t] = gate / (np.float32(1) + exp(-gate)) * up


@nb.njit(parallel=True, **LANES_ALIKE)
def rotate_and_store(qkv, key, value, start, tokens, cos, sin, heads, threads):
    """Turn queries and keys; write keys and values to a slot's layer, key and value (KV, S, d)."""
    kv_heads, _, size = key.shape
    for thread in nb.prange(threads):
        for tile in range(thread, tiles_of(tokens), threads):
            rotate(qkv[tile], cos[tile], sin[tile], heads, kv_heads, np.float32(1))
            first = start + tile * TOKENS
            # Tokens last (KV d, TOKENS) become features last, (KV, positions, d).
            for kv in range(kv_heads):
                k, v = (heads + kv) * size, (heads + kv_heads + kv) * size
                for t in range(min(TOKENS, tokens - tile * TOKENS)):
                    for i in range(size):
                        key[kv, first + t, i] = rounded(qkv[tile, k + i, t], key)
                        value[kv, first + t, i] = rounded(qkv[tile, v + i, t], value)


@nb.njit(parallel=True, **LANES_ALIKE)
def attention(layer, slot, start, tokens, slots, r, heads, threads):
    """Attend to the text and to the prompts: two softmaxes, and the gate scales the second."""
    qkv, mixed, room, wide = r.qkv, r.mixed, r.scores, r.widened
    size, tiles = slots.key.shape[4], tiles_of(tokens)
    group, one = heads // slots.key.shape[2], np.float32(1)
    prompts = slots.prompts[slot]
    for thread in nb.prange(threads):
        at = -1
        # Later tokens see more: taking turns, the threads have the same to do. What shares keys and
        # values comes one after the other, so that a thread widens them once.
        for job in range(thread, heads * tiles, threads):
            kv, place = job // (group * tiles), job % (group * tiles)
            head, tile, scores = kv * group + place % group, place // group, room[thread]
            q = qkv[tile, head * size : (head + 1) * size]
            out = mixed[tile, head * size : (head + 1) * size]
            for i in range(size):
                for t in range(TOKENS):
                    out[i, t] = 0
            # out (d, TOKENS) += values (span, d)ᵀ · softmax(keys (span, d) · q (d, TOKENS))
            count = start + tokens if kv != at else 0
            key = fp32_rows(slots.key[slot, layer, kv], count, wide[thread, 0])
            value = fp32_rows(slots.value[slot, layer, kv], count, wide[thread, 1])
            at = kv
            seen = start + tile * TOKENS + 1
            span = start + min(tokens, (tile + 1) * TOKENS)
            attend(q, key, value, span, seen, one, scores, out)
            # The same over the prompts (prompts, d), times the gate.
            gate = slots.gate[slot, layer, head]
            if prompts > 0 and gate != 0:
                key = slots.prompt_key[slot, layer, kv]
                value = slots.prompt_value[slot, layer, kv]
                attend(q, key, value, prompts, prompts, gate, scores, out)
