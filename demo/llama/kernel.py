"""One token for each of B sequences through all layers on the CPU, in one compiled call.

Reading the 8-bit weights is what a decoded token costs, so a matrix row is read once for all
sequences, and Python is left only once a step. Activations keep as much as fp32 holds of a row
(`fix`): 8 bits are for weights alone. Attention over the text and over an adapter's gated prompts
happens inside (LLaMA-Adapter, arXiv 2303.16199, section 3.2).

Sizes as in `model.py`; M slots of a pool of KV caches, P the prompts a slot has room for.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.amx import HERE
from demo.llama.compiled import JIT
from demo.llama.dot import BLOCK, MOST_COLUMNS, ROWS, SHIFT, dot_1_1, dot_4_1, dot_4_2, dot_4_4
from demo.llama.exp import exp
from demo.llama.kernel_amx import linear_by_bytes, split, swiglu_by_bytes
from demo.llama.layout import share_of

# Sums in the order they are written. Said, because a function that does not say takes over what the
# one has that it is compiled for.
_EXACT = JIT | {"fastmath": False}


class Slots(NamedTuple):
    """What sequences leave behind between tokens, one slot each."""

    key: np.ndarray  # (M, N, KV, S, d)
    value: np.ndarray
    prompt_key: np.ndarray  # (M, N, KV, P, d)
    prompt_value: np.ndarray
    gate: np.ndarray  # (M, N, H), 0 where a layer has no prompts
    prompts: np.ndarray  # (M,) prompts in use, 0 for the plain base


class Scratch(NamedTuple):
    """Activations of one step, made once. W is the largest of D, H d and F."""

    x: np.ndarray  # (B, D)
    normed: np.ndarray  # (B, D)
    qkv: np.ndarray  # (B, (H + 2 KV) d)
    mixed: np.ndarray  # (B, H d)
    inner: np.ndarray  # (B, F)
    scores: np.ndarray  # (B H, max(S, P))
    high: np.ndarray  # (B, W) int16, the planes of what is multiplied next
    low: np.ndarray  # (B, W) int16
    unit: np.ndarray  # (B,) fp32
    bytes: np.ndarray  # (groups of B, W / 4, 16) int32, the same for matrix instructions
    amx: bool  # whether these are used


@nb.njit(**JIT)
def _norm(x, weight, eps, out):  # (D,), (D,) -> out (D,)
    total = np.float32(0)
    for i in range(x.shape[0]):
        total += x[i] * x[i]
    scale = np.float32(1) / np.sqrt(total / np.float32(x.shape[0]) + eps)
    for i in range(x.shape[0]):
        out[i] = x[i] * scale * weight[i]


@nb.njit(**JIT)
def fix(x, high, low, unit, planes, amx):
    # (B, I) -> high, low (B, >= I), unit (B,): x = (high 2^SHIFT + low) unit; or four bytes each.
    # 30 bits a number, as long as the largest of its row: more than fp32 keeps of a sum.
    for b in range(x.shape[0]):
        top = np.float32(1e-30)
        for i in range(x.shape[1]):
            top = max(top, abs(x[b, i]))
        unit[b] = top / np.float32(1 << 29)
        inverse = np.float32(1 << 29) / top
        if HERE and amx:
            numbers = np.empty(x.shape[1], np.int32)
            for i in range(x.shape[1]):
                numbers[i] = np.int32(x[b, i] * inverse)
            split(numbers, b, planes)
            continue
        for i in range(x.shape[1]):
            number = np.int32(x[b, i] * inverse)
            upper = (number + np.int32(1 << (SHIFT - 1))) >> np.int32(SHIFT)
            high[b, i] = np.int16(upper)
            low[b, i] = np.int16(number - (upper << np.int32(SHIFT)))


@nb.njit(**_EXACT)
def _tile(weight, row, rows, fixed, out):  # (O, I), rows at `row` -> out (ROWS, B), in fp32
    high, low, unit, _, _ = fixed
    batch, columns = unit.shape[0], weight.shape[1]
    whole = columns - columns % BLOCK
    for r in range(rows):
        for b in range(batch):
            out[r, b] = 0
            for i in range(whole, columns):
                number = (np.int32(high[b, i]) << np.int32(SHIFT)) + np.int32(low[b, i])
                out[r, b] += np.float32(weight[row + r, i]) * np.float32(number)
    for start in range(0, whole, MOST_COLUMNS):
        stop = min(whole, start + MOST_COLUMNS)
        if rows < ROWS:
            for r in range(rows):
                for b in range(batch):
                    out[r, b] += dot_1_1(weight, row + r, high, low, b, start, stop)[0]
            continue
        b = 0
        while b + 4 <= batch:
            _add(dot_4_4(weight, row, high, low, b, start, stop), 4, b, out)
            b += 4
        if b + 2 <= batch:
            _add(dot_4_2(weight, row, high, low, b, start, stop), 2, b, out)
            b += 2
        if b < batch:
            _add(dot_4_1(weight, row, high, low, b, start, stop), 1, b, out)


@nb.njit(**_EXACT)
def _add(sums, count, first, out):  # (ROWS * count,) -> += out (ROWS, first to first + count)
    for r in range(ROWS):
        for b in range(count):
            out[r, first + b] += sums[r * count + b]


@nb.njit(**_EXACT)
def _rows(weight, scale, fixed, y, accumulate, first, last):  # (O, I), (O,) -> y (B, O)
    unit = fixed[2]
    sums = np.empty((ROWS, y.shape[0]), np.float32)
    for start in range(first, last, ROWS):
        rows = min(ROWS, last - start)
        _tile(weight, start, rows, fixed, sums)
        for b in range(y.shape[0]):
            for r in range(rows):
                row = start + r
                total = sums[r, b] * scale[row] * unit[b]
                y[b, row] = y[b, row] + total if accumulate else total


@nb.njit(**JIT)
def linear(weight, scale, fixed, y, accumulate, threads):  # y (B, O) = or += x (B, I) W^T
    _, _, unit, planes, amx = fixed
    if HERE and amx:
        linear_by_bytes(weight, scale, planes, unit, y, accumulate, threads)
    else:
        _linear(weight, scale, fixed, y, accumulate, threads)


@nb.njit(parallel=True, **JIT)
def _linear(weight, scale, fixed, y, accumulate, threads):
    # One chunk a thread, not one row: the scheduler would cost more than the row.
    step = share_of(weight.shape[0], ROWS, threads)
    for t in nb.prange(threads):
        last = min(weight.shape[0], (t + 1) * step)
        _rows(weight, scale, fixed, y, accumulate, t * step, last)


@nb.njit(**_EXACT)
def _gated_rows(weight, scale, fixed, y, first, last):  # (2 F, I), (2 F,) -> y (B, F)
    unit, size = fixed[2], y.shape[1]
    gates, ups = np.empty((2, ROWS, y.shape[0]), np.float32)
    for start in range(first, last, ROWS):
        rows = min(ROWS, last - start)
        _tile(weight, start, rows, fixed, gates)
        _tile(weight, size + start, rows, fixed, ups)
        for b in range(y.shape[0]):
            for r in range(rows):
                row = start + r
                gate = gates[r, b] * scale[row] * unit[b]
                up = ups[r, b] * scale[size + row] * unit[b]
                y[b, row] = gate / (np.float32(1) + exp(-gate)) * up


@nb.njit(**JIT)
def _swiglu(weight, scale, fixed, y, threads):  # y (B, F) = silu(gate) up
    _, _, unit, planes, amx = fixed
    if HERE and amx:
        swiglu_by_bytes(weight, scale, planes, unit, y, threads)
    else:
        _swiglu_by_vectors(weight, scale, fixed, y, threads)


@nb.njit(parallel=True, **JIT)
def _swiglu_by_vectors(weight, scale, fixed, y, threads):
    step = share_of(y.shape[1], ROWS, threads)
    for t in nb.prange(threads):
        _gated_rows(weight, scale, fixed, y, t * step, min(y.shape[1], (t + 1) * step))


@nb.njit(**JIT)
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
        scores[s] = exp(scores[s] - top)
        mass += scores[s]
    for s in range(count):
        share = gain * scores[s] / mass
        for i in range(size):
            out[i] += share * value[s, i]


@nb.njit(parallel=True, **JIT)
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


@nb.njit(**JIT)
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


@nb.njit(**JIT)
def _norm_and_fix(s, weight, eps):
    for b in range(s.x.shape[0]):
        _norm(s.x[b], weight, eps, s.normed[b])
    fix(s.normed, s.high, s.low, s.unit, s.bytes, s.amx)


@nb.njit(**JIT)
def step(token, slot, position, w, slots, s, heads, eps, threads, logits):
    fixed = (s.high, s.low, s.unit, s.bytes, s.amx)
    for b in range(token.shape[0]):
        for i in range(s.x.shape[1]):
            s.x[b, i] = np.float32(w.embedding[token[b], i]) * w.embedding_scale[token[b]]
    for layer in range(w.qkv.shape[0]):
        _norm_and_fix(s, w.attention_norm[layer], eps)
        linear(w.qkv[layer], w.qkv_scale[layer], fixed, s.qkv, False, threads)
        _rotate_and_store(layer, slot, position, w, slots, s, heads)
        _attention(layer, slot, position, slots, s, heads, threads)
        fix(s.mixed, *fixed)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        linear(matrix, scale, fixed, s.x, True, threads)
        _norm_and_fix(s, w.ffn_norm[layer], eps)
        _swiglu(w.gate_up[layer], w.gate_up_scale[layer], fixed, s.inner, threads)
        fix(s.inner, *fixed)
        linear(w.down[layer], w.down_scale[layer], fixed, s.x, True, threads)
    _norm_and_fix(s, w.output_norm, eps)
    linear(w.output, w.output_scale, fixed, logits, False, threads)
