"""One token for each of B sequences through all layers on the CPU, in one compiled call.

Reading the 8-bit weights is what a decoded token costs, so a matrix row is read once for all
sequences, and Python is left only once a step. Arithmetic is fp32 on int8 rows: activations are not
rounded. Attention over the text and over an adapter's gated prompts happens inside
(LLaMA-Adapter, arXiv 2303.16199, section 3.2).

Sizes as in `model.py`; M slots of a pool of KV caches, P the prompts a slot has room for.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.dot import BLOCK, dot_1, dot_2, dot_4

_JIT = {"fastmath": True, "nogil": True, "cache": True}
_EXACT = {"nogil": True, "cache": True}  # sums in the order they are written


class Matrices(NamedTuple):
    """The base as the kernel reads it: int8 matrices (N, O, I), fp32 scales (N, O) = SCB / 127."""

    embedding: np.ndarray  # (V, D)
    embedding_scale: np.ndarray
    output: np.ndarray  # (V, D)
    output_scale: np.ndarray
    qkv: np.ndarray
    qkv_scale: np.ndarray
    attention_output: np.ndarray
    attention_output_scale: np.ndarray
    gate_up: np.ndarray
    gate_up_scale: np.ndarray
    down: np.ndarray
    down_scale: np.ndarray
    attention_norm: np.ndarray  # (N, D) fp32
    ffn_norm: np.ndarray  # (N, D) fp32
    output_norm: np.ndarray  # (D,) fp32
    cos: np.ndarray  # (positions, d/2) fp32
    sin: np.ndarray


class Slots(NamedTuple):
    """What sequences leave behind between tokens, one slot each."""

    key: np.ndarray  # (M, N, KV, S, d)
    value: np.ndarray
    prompt_key: np.ndarray  # (M, N, KV, P, d)
    prompt_value: np.ndarray
    gate: np.ndarray  # (M, N, H), 0 where a layer has no prompts
    prompts: np.ndarray  # (M,) prompts in use, 0 for the plain base


class Scratch(NamedTuple):
    """Activations of one step, made once."""

    x: np.ndarray  # (B, D)
    normed: np.ndarray  # (B, D)
    qkv: np.ndarray  # (B, (H + 2 KV) d)
    mixed: np.ndarray  # (B, H d)
    gate_up: np.ndarray  # (B, 2 F)
    inner: np.ndarray  # (B, F)
    scores: np.ndarray  # (B H, max(S, P))


@nb.njit(**_JIT)
def _norm(x, weight, eps, out):  # (D,), (D,) -> out (D,)
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    scale = np.float32(1) / np.sqrt(total / np.float32(x.shape[0]) + eps)
    for i in range(x.shape[0]):
        out[i] = x[i] * scale * weight[i]


@nb.njit(**_EXACT)
def _rows(weight, scale, x, y, accumulate, first, last):  # (O, I), (O,), (B, I) -> y (B, O)
    batch, columns = x.shape
    whole = columns - columns % BLOCK
    for row in range(first, last):
        b = 0
        while b + 4 <= batch:
            d0, d1, d2, d3 = dot_4(weight, row, x, b, whole)
            _put(weight, scale, x, y, accumulate, row, b, whole, d0)
            _put(weight, scale, x, y, accumulate, row, b + 1, whole, d1)
            _put(weight, scale, x, y, accumulate, row, b + 2, whole, d2)
            _put(weight, scale, x, y, accumulate, row, b + 3, whole, d3)
            b += 4
        while b + 2 <= batch:
            d0, d1 = dot_2(weight, row, x, b, whole)
            _put(weight, scale, x, y, accumulate, row, b, whole, d0)
            _put(weight, scale, x, y, accumulate, row, b + 1, whole, d1)
            b += 2
        if b < batch:
            (d0,) = dot_1(weight, row, x, b, whole)
            _put(weight, scale, x, y, accumulate, row, b, whole, d0)


@nb.njit(**_EXACT)
def _put(weight, scale, x, y, accumulate, row, b, whole, total):
    for i in range(whole, x.shape[1]):
        total += np.float32(weight[row, i]) * x[b, i]
    total *= scale[row]
    y[b, row] = y[b, row] + total if accumulate else total


@nb.njit(parallel=True, **_JIT)
def linear(weight, scale, x, y, accumulate, threads):  # y (B, O) = or += x (B, I) W^T
    # One chunk a thread, not one row: the scheduler would cost more than the row.
    step = (weight.shape[0] + threads - 1) // threads
    for t in nb.prange(threads):
        _rows(weight, scale, x, y, accumulate, t * step, min(weight.shape[0], (t + 1) * step))


@nb.njit(**_JIT)
def _attend(q, key, value, count, gain, scores, out):  # (d,), (S, d), (S, d) -> out += (d,)
    size = q.shape[0]
    scale = np.float32(1) / np.sqrt(np.float32(size))
    top = np.float32(-np.inf)
    for s in range(count):
        total = np.float32(0)
        for i in range(size):
            total += q[i] * key[s, i]
        scores[s] = total * scale
        top = max(top, scores[s])
    mass = np.float32(0)
    for s in range(count):
        scores[s] = np.exp(scores[s] - top)
        mass += scores[s]
    for s in range(count):
        share = gain * scores[s] / mass
        for i in range(size):
            out[i] += share * value[s, i]


@nb.njit(parallel=True, **_JIT)
def _attention(layer, slot, position, slots, s, heads, threads):
    # Text and prompts are two softmaxes over the same query; the gate scales the second.
    size = slots.key.shape[4]
    group = heads // slots.key.shape[2]
    work = slot.shape[0] * heads
    step = (work + threads - 1) // threads
    for t in nb.prange(threads):
        for job in range(t * step, min(work, (t + 1) * step)):
            b, head = job // heads, job % heads
            m, kv = slot[b], head // group
            q = s.qkv[b, head * size : (head + 1) * size]
            out = s.mixed[b, head * size : (head + 1) * size]
            out[:] = 0
            one = np.float32(1)
            key, value = slots.key[m, layer, kv], slots.value[m, layer, kv]
            _attend(q, key, value, position[b] + 1, one, s.scores[job], out)
            gate = slots.gate[m, layer, head]
            if slots.prompts[m] > 0 and gate != 0:
                key, value = slots.prompt_key[m, layer, kv], slots.prompt_value[m, layer, kv]
                _attend(q, key, value, slots.prompts[m], gate, s.scores[job], out)


@nb.njit(**_JIT)
def _rotate_and_store(layer, slot, position, w, slots, s, heads):
    kv_heads, size = slots.key.shape[2], slots.key.shape[4]
    half = size // 2
    for b in range(slot.shape[0]):
        p, m = position[b], slot[b]
        for head in range(heads + kv_heads):
            x = s.qkv[b, head * size : (head + 1) * size]
            for i in range(half):
                low, high = x[i], x[i + half]
                x[i] = low * w.cos[p, i] - high * w.sin[p, i]
                x[i + half] = low * w.sin[p, i] + high * w.cos[p, i]
        for kv in range(kv_heads):
            k, v = (heads + kv) * size, (heads + kv_heads + kv) * size
            for i in range(size):
                slots.key[m, layer, kv, p, i] = s.qkv[b, k + i]
                slots.value[m, layer, kv, p, i] = s.qkv[b, v + i]


@nb.njit(**_JIT)
def _swiglu(gate_up, out):  # (B, 2 F) -> (B, F)
    size = out.shape[1]
    for b in range(out.shape[0]):
        for i in range(size):
            gate = gate_up[b, i]
            out[b, i] = gate / (np.float32(1) + np.exp(-gate)) * gate_up[b, size + i]


@nb.njit(**_JIT)
def step(token, slot, position, w, slots, s, heads, eps, threads, logits):
    batch = token.shape[0]
    for b in range(batch):
        for i in range(s.x.shape[1]):
            s.x[b, i] = np.float32(w.embedding[token[b], i]) * w.embedding_scale[token[b]]
    for layer in range(w.qkv.shape[0]):
        for b in range(batch):
            _norm(s.x[b], w.attention_norm[layer], eps, s.normed[b])
        linear(w.qkv[layer], w.qkv_scale[layer], s.normed, s.qkv, False, threads)
        _rotate_and_store(layer, slot, position, w, slots, s, heads)
        _attention(layer, slot, position, slots, s, heads, threads)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        linear(matrix, scale, s.mixed, s.x, True, threads)
        for b in range(batch):
            _norm(s.x[b], w.ffn_norm[layer], eps, s.normed[b])
        linear(w.gate_up[layer], w.gate_up_scale[layer], s.normed, s.gate_up, False, threads)
        _swiglu(s.gate_up, s.inner)
        linear(w.down[layer], w.down_scale[layer], s.inner, s.x, True, threads)
    for b in range(batch):
        _norm(s.x[b], w.output_norm, eps, s.normed[b])
    linear(w.output, w.output_scale, s.normed, logits, False, threads)
