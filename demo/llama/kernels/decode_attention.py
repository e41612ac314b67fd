"""Attention of one token of each of B sequences on the CPU, and the KV caches it reads.

Keys and values of texts are fp32 or bf16: at 2,000 tokens they are a third of what a step of the
embedded base reads. A number of bf16 is the upper half of one of fp32, so reading it is a shift.
Queries, sums and an adapter's prompts are fp32 in either case.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.bf16 import rounded, widened
from demo.llama.kernels.compile import EXACT, JIT
from demo.llama.kernels.simd import exp


class KVSlots(NamedTuple):
    """What sequences leave behind between tokens, one slot each."""

    key: np.ndarray  # (M, N, KV, S, d) fp32, or bf16 as uint16
    value: np.ndarray
    prompt_key: np.ndarray  # (M, N, KV, P, d)
    prompt_value: np.ndarray
    gate: np.ndarray  # (M, N, H), 0 where a layer has no prompts
    prompts: np.ndarray  # (M,) prompts in use, 0 for the plain base


@nb.njit(**EXACT)
def rotate_and_store(layer, batch, w, slots, s, heads):
    """Turn queries and keys by their positions; write keys and values to their slots."""
    kv_heads, size = slots.key.shape[2], slots.key.shape[4]
    half = size // 2
    for b in range(batch.slot.shape[0]):
        p, m = batch.position[b], batch.slot[b]
        # Each head of q and k (H + KV, d): numbers i and i + d/2 turn by the position's angle i.
        for head in range(heads + kv_heads):
            x = s.qkv[b, head * size : (head + 1) * size]
            for i in range(half):
                low, high = x[i], x[i + half]
                x[i] = low * w.cos[p, i] - high * w.sin[p, i]
                x[i + half] = low * w.sin[p, i] + high * w.cos[p, i]
        # Keys and values (KV, d) go to position p of the slot's cache (KV, S, d).
        for kv in range(kv_heads):
            k, v = (heads + kv) * size, (heads + kv_heads + kv) * size
            for i in range(size):
                slots.key[m, layer, kv, p, i] = rounded(s.qkv[b, k + i], slots.key)
                slots.value[m, layer, kv, p, i] = rounded(s.qkv[b, v + i], slots.value)


@nb.njit(parallel=True, **JIT)
def attention(layer, batch, slots, s, heads, threads):
    """Attend to the text and to the prompts: two softmaxes, and the gate scales the second."""
    slot, position, qkv, mixed, scores = batch.slot, batch.position, s.qkv, s.mixed, s.scores
    size = slots.key.shape[4]
    group = heads // slots.key.shape[2]
    work = slot.shape[0] * heads
    step = (work + threads - 1) // threads
    for t in nb.prange(threads):
        for job in range(t * step, min(work, (t + 1) * step)):
            # out (d,) = softmax(q (d,) · keysᵀ (d, position + 1) / √d) · values (position + 1, d)
            b, head = job // heads, job % heads
            m, kv = slot[b], head // group
            q = qkv[b, head * size : (head + 1) * size]
            out = mixed[b, head * size : (head + 1) * size]
            out[:] = 0
            one = np.float32(1)
            key, value = slots.key[m, layer, kv], slots.value[m, layer, kv]
            _attend(q, key, value, position[b] + 1, one, scores[job], out)
            # out (d,) += gate · softmax(q (d,) · prompt keysᵀ (d, prompts) / √d) · prompt values
            gate = slots.gate[m, layer, head]
            if slots.prompts[m] > 0 and gate != 0:
                key, value = slots.prompt_key[m, layer, kv], slots.prompt_value[m, layer, kv]
                _attend(q, key, value, slots.prompts[m], gate, scores[job], out)


@nb.njit(**JIT)
def _attend(q, key, value, count, gain, scores, out):  # (d,), (S, d), (S, d) -> out += (d,)
    size = q.shape[0]
    scale = np.float32(1) / np.sqrt(np.float32(size))
    # scores (count,) = key (count, d) · q (d,) / √d
    top = np.float32(-np.inf)
    for s in range(count):
        total = np.float32(0)
        for i in range(size):
            total += q[i] * widened(key[s, i])
        scores[s] = total * scale
        top = max(top, scores[s])
    # softmax, its sum in `mass`
    mass = np.float32(0)
    for s in range(count):
        scores[s] = exp(scores[s] - top)
        mass += scores[s]
    # out (d,) += gain / mass · scores (count,) · value (count, d)
    for s in range(count):
        share = gain * scores[s] / mass
        for i in range(size):
            out[i] += share * widened(value[s, i])
