"""What `decode.py` does, where an adapter changes the products of some sequences of the batch.

The frozen matrices are still read once for all sequences. A product goes to memory of its own,
each sequence's is changed there (`delta.py`), and only then is it used. A sequence without changes
gets the same numbers as beside others without: what its products are made of, and in which order,
is the same.
"""

import numba as nb
import numpy as np

from demo.llama.kernels.compile import EXACT, JIT
from demo.llama.kernels.decode import (
    gemv,
    gemv_rows,
    norm_row,
    quantise_activations,
    share_of_rows,
)
from demo.llama.kernels.decode_attention import attention, rotate_and_store
from demo.llama.kernels.delta import (
    ATTENTION_NORM,
    ATTENTION_OUTPUT,
    FFN_NORM,
    GATE_UP,
    NORMS,
    OUTPUT_NORM,
    QKV,
    SCALE_IN,
    change_row,
    floats_of,
    norm_of,
)
from demo.llama.kernels.simd import exp


@nb.njit(**JIT)
def changed_decode_step(batch, w, slots, deltas, s, d, options, logits):
    """Run a `NextTokens` through all layers → `logits` (B, V).

    Arguments are those of `decode_step`, a `DeltaSlots` and a `DeltaWorkspace`.
    """
    threads, slot = options.threads, batch.slot
    for b in range(len(slot)):
        token = batch.token[b]
        for i in range(s.x.shape[1]):
            s.x[b, i] = np.float32(w.embedding[token, i]) * w.embedding_scale[token]
    size = slots.key.shape[4]
    queries, keys = options.heads * size, slots.key.shape[2] * size
    three = np.array([0, queries, queries + keys, queries + 2 * keys])
    one, two = np.array([0, s.x.shape[1]]), np.array([0, s.inner.shape[1], 2 * s.inner.shape[1]])
    for layer in range(w.qkv.shape[0]):
        # One call for all products: compiled into four, it would take minutes to compile.
        for row in range(NORMS):
            if row == QKV:
                _norms(slot, layer, ATTENTION_NORM, w.attention_norm[layer], deltas, options.eps, s)
                matrix, scale, x, y, starts = (
                    w.qkv[layer],
                    w.qkv_scale[layer],
                    s.normed,
                    s.qkv,
                    three,
                )
            elif row == ATTENTION_OUTPUT:
                matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
                x, y, starts = s.mixed, d.out, one
            elif row == GATE_UP:
                _norms(slot, layer, FFN_NORM, w.ffn_norm[layer], deltas, options.eps, s)
                matrix, scale = w.gate_up[layer], w.gate_up_scale[layer]
                x, y, starts = s.normed, d.gate_up, two
            else:
                matrix, scale, x, y, starts = (
                    w.down[layer],
                    w.down_scale[layer],
                    s.inner,
                    d.out,
                    one,
                )
            _product(slot, layer, row, x, matrix, scale, starts, deltas, s.qx, y, threads)
            if row == QKV:
                rotate_and_store(layer, batch, w, slots, s, options.heads)
                attention(layer, batch, slots, s, options.heads, threads)
            elif row == GATE_UP:
                _swiglu(d.gate_up, s.inner)
            else:
                _add(d.out, s.x)
    _norms(slot, 0, OUTPUT_NORM, w.output_norm, deltas, options.eps, s)
    quantise_activations(s.normed, s.qx)
    gemv(w.output, w.output_scale, s.qx, logits, False, threads)


@nb.njit(**JIT)
def _norms(slot, layer, column, weight, deltas, eps, s):  # x (B, D) -> normed (B, D)
    for b in range(len(slot)):
        own = norm_of(deltas, slot[b], layer, column, weight)
        norm_row(s.x[b], own, eps, s.normed[b])


@nb.njit(**JIT)
def _product(slot, layer, row, x, weight, scale, starts, deltas, qx, y, threads):
    # y (B, O) = the product of x (B, I) and W (O, I), for each sequence as its adapter changes it
    apart = _any(slot, row, SCALE_IN, deltas)
    for part in range(len(starts) - 1 if apart else 0):
        # What goes in is another for each part, so each is a product by itself.
        first, last = starts[part], starts[part + 1]
        given, found = np.empty(x.shape, np.float32), np.empty((len(y), last - first), np.float32)
        for b in range(len(slot)):
            _scale(slot[b], layer, row, part, deltas, x[b], given[b])
        quantise_activations(given, qx)
        gemv(weight[first:last], scale[first:last], qx, found, False, threads)
        for b in range(len(slot)):
            y[b, first:last] = found[b]
    if not apart:
        quantise_activations(x, qx)
    _multiply_and_change(slot, layer, row, x, weight, scale, starts, deltas, qx, y, apart, threads)


@nb.njit(**EXACT)
def _any(slot, row, column, deltas):  # whether some sequence changes a product in this way
    found = False
    for m in slot:
        found = found or deltas.layout[m, row, column] >= 0
    return found


@nb.njit(**EXACT)
def _scale(m, layer, row, part, deltas, x, out):  # out (I,) = x, scaled for a part of a product
    out[:] = x
    if deltas.layout[m, row, SCALE_IN] >= 0:
        size = len(x)
        scales = floats_of(deltas, m, layer, row, SCALE_IN, (part + 1) * size)
        for i in range(size):
            out[i] *= scales[part * size + i]


@nb.njit(parallel=True, **EXACT)
def _multiply_and_change(
    slot, layer, row, x, weight, scale, starts, deltas, qx, y, multiplied, threads
):
    # y (B, O) = x (B, I) · Wᵀ (I, O), unless it is that already, and each sequence's change.
    # A thread changes what it has multiplied, and takes the sums of a LoRA's first factor for
    # itself: they cost less than to wait for another thread's.
    size, share = y.shape[1], share_of_rows(y.shape[1], qx, threads)
    for t in nb.prange(threads):
        first, last = min(size, t * share), min(size, (t + 1) * share)
        if not multiplied:
            gemv_rows(weight, scale, qx, y, False, first, last)
        for b in range(len(slot)):
            change_row(deltas, slot[b], layer, row, starts, x[b], y[b], first, last)


@nb.njit(**EXACT)
def _add(given, x):  # (B, D) -> x += (B, D)
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[b, i] += given[b, i]


@nb.njit(**EXACT)
def _swiglu(gate_up, inner):  # (B, 2 F) -> inner (B, F) = silu(gate) up
    size = inner.shape[1]
    for b in range(inner.shape[0]):
        for i in range(size):
            gate, up = gate_up[b, i], gate_up[b, size + i]
            inner[b, i] = gate / (np.float32(1) + exp(-gate)) * up
