"""One token for each of B sequences through all layers on the CPU, in one compiled call.

Reading the 8-bit weights is what a decoded token costs, so a matrix row is read once for all
sequences, and Python is left only once a step. Activations are fixed-point numbers of 30 bits,
which keep as much as fp32 holds of a row: 8 bits are for weights alone. Attention over the text and
over an adapter's gated prompts happens inside (LLaMA-Adapter, arXiv 2303.16199, section 3.2).

Products run on vectors (`int8_dot.py`) or, where the processor has them, on matrix instructions
(`amx.py`). A number of 30 bits is then four signed bytes, and a sequence is four tokens to the
instruction, one for each byte, so a register holds four sequences. Either way a sum is exact before
it is rounded once, so a sequence's text does not depend on who is beside it.

Sizes as in `model.py`; M slots of a pool of KV caches, P the prompts a slot has room for.
"""

from typing import NamedTuple

import numba as nb
import numpy as np

from demo.llama.kernels.amx import (
    HAS_AMX,
    TILE_PAIR,
    TILE_ROWS,
    configure_tiles,
    multiply_1,
    multiply_2,
    release_tiles,
)
from demo.llama.kernels.compile import EXACT, JIT, scratch
from demo.llama.kernels.decode_attention import attention, rotate_and_store
from demo.llama.kernels.int8_dot import (
    DOT_COLUMNS,
    DOT_MAX_COLUMNS,
    DOT_ROWS,
    LOW_BITS,
    dot_1_1,
    dot_4_1,
    dot_4_2,
    dot_4_4,
)
from demo.llama.kernels.simd import exp
from demo.llama.kernels.tiles import join, share_of

BYTES = 4  # of a number
GROUP_SEQUENCES = TILE_ROWS // BYTES  # of a register


class QuantisedRows(NamedTuple):
    """B rows of I activations as fixed-point numbers of 30 bits, x = number · scale.

    A number is `high · 2^LOW_BITS + low`, or with `amx` its four bytes in `bytes`. W >= I.
    """

    high: np.ndarray  # (B, W) int16
    low: np.ndarray  # (B, W) int16
    scale: np.ndarray  # (B,) fp32
    bytes: np.ndarray  # (groups, W / 4, TILE_ROWS) int32, see `split_bytes`
    amx: bool  # whether matrix instructions are used


class DecodeWorkspace(NamedTuple):
    """Activations of one step, made once."""

    x: np.ndarray  # (B, D)
    normed: np.ndarray  # (B, D)
    qkv: np.ndarray  # (B, (H + 2 KV) d)
    mixed: np.ndarray  # (B, H d)
    inner: np.ndarray  # (B, F)
    scores: np.ndarray  # (B H, max(S, P))
    qx: QuantisedRows  # what is multiplied next; its W is the largest of D, H d and F


class NextTokens(NamedTuple):
    """One token of each of B sequences, three times (B,) int64."""

    token: np.ndarray
    slot: np.ndarray
    position: np.ndarray  # how many tokens of the slot are filled


@nb.njit(**JIT)
def decode_step(batch, w, slots, s, options, logits):
    """Run a `NextTokens` through all layers → `logits` (B, V).

    Arguments are a `KernelWeights`, a `KVSlots`, a `DecodeWorkspace` and a `KernelOptions`.
    """
    threads, eps, qx = options.threads, options.eps, s.qx
    # x (B, D) = rows of the embedding (V, D), dequantised
    for b in range(batch.token.shape[0]):
        token = batch.token[b]
        for i in range(s.x.shape[1]):
            s.x[b, i] = np.float32(w.embedding[token, i]) * w.embedding_scale[token]
    for layer in range(w.qkv.shape[0]):
        # qkv (B, (H + 2 KV) d) = norm(x) (B, D) · W_qkvᵀ; rotated, keys and values to their slots
        _norm_and_quantise(s, w.attention_norm[layer], eps)
        gemv(w.qkv[layer], w.qkv_scale[layer], qx, s.qkv, False, threads)
        rotate_and_store(layer, batch, w, slots, s, options.heads)
        # mixed (B, H d) = softmax(q kᵀ/√d) v + gate · softmax(q Pkᵀ/√d) Pv
        attention(layer, batch, slots, s, options.heads, threads)
        # x (B, D) += mixed (B, H d) · W_oᵀ
        quantise_activations(s.mixed, qx)
        matrix, scale = w.attention_output[layer], w.attention_output_scale[layer]
        gemv(matrix, scale, qx, s.x, True, threads)
        # inner (B, F) = silu(norm(x) W_gateᵀ) · (norm(x) W_upᵀ); x (B, D) += inner · W_downᵀ
        _norm_and_quantise(s, w.ffn_norm[layer], eps)
        gemv_swiglu(w.gate_up[layer], w.gate_up_scale[layer], qx, s.inner, threads)
        quantise_activations(s.inner, qx)
        gemv(w.down[layer], w.down_scale[layer], qx, s.x, True, threads)
    # logits (B, V) = norm(x) (B, D) · W_outputᵀ
    _norm_and_quantise(s, w.output_norm, eps)
    gemv(w.output, w.output_scale, qx, logits, False, threads)


@nb.njit(**JIT)
def quantise_activations(x, qx):
    """Turn rows x (B, I) into a `QuantisedRows`, each by its own largest number.

    30 bits a number are more than fp32 keeps of a sum.
    """
    high, low, x_scale, byte_planes, amx = qx
    for b in range(x.shape[0]):
        top = np.float32(1e-30)
        for i in range(x.shape[1]):
            top = max(top, abs(x[b, i]))
        x_scale[b] = top / np.float32(1 << 29)
        inverse = np.float32(1 << 29) / top
        if HAS_AMX and amx:
            numbers = np.empty(x.shape[1], np.int32)
            for i in range(x.shape[1]):
                numbers[i] = np.int32(x[b, i] * inverse)
            split_bytes(numbers, b, byte_planes)
            continue
        for i in range(x.shape[1]):
            number = np.int32(x[b, i] * inverse)
            upper = (number + np.int32(1 << (LOW_BITS - 1))) >> np.int32(LOW_BITS)
            high[b, i] = np.int16(upper)
            low[b, i] = np.int16(number - (upper << np.int32(LOW_BITS)))


@nb.njit(parallel=True, **JIT)
def gemv(weight, scale, qx, y, accumulate, threads):
    """Set or add to y (B, O) the product x Wᵀ of a `QuantisedRows` (B, I) and W (O, I), (O,)."""
    # One chunk a thread, not one row: numba's own division would cost more than the row.
    share = share_of_rows(weight.shape[0], qx, threads)
    for t in nb.prange(threads):
        last = min(weight.shape[0], (t + 1) * share)
        gemv_rows(weight, scale, qx, y, accumulate, t * share, last)


@nb.njit(**EXACT)
def share_of_rows(outputs, qx, threads):
    """Return how many rows of a product a thread takes."""
    return share_of(outputs, TILE_PAIR if HAS_AMX and qx.amx else DOT_ROWS, threads)


@nb.njit(**EXACT)
def gemv_rows(weight, scale, qx, y, accumulate, first, last):
    """Do one thread's part of `gemv`: outputs `first` to `last`."""
    if HAS_AMX and qx.amx:
        _gemv_rows_amx(weight, scale, qx.bytes, qx.scale, y, accumulate, first, last)
    else:
        _gemv_rows_vectors(weight, scale, qx, y, accumulate, first, last)


@nb.njit(**JIT)
def gemv_swiglu(weight, scale, qx, y, threads):
    """Set y (B, F) to silu(gate) up, where x (B, I) · Wᵀ are gates, then ups: W (2 F, I)."""
    if HAS_AMX and qx.amx:
        gemv_swiglu_amx(weight, scale, qx.bytes, qx.scale, y, threads)
    else:
        _gemv_swiglu_vectors(weight, scale, qx, y, threads)


@nb.njit(**EXACT)
def _gemv_rows_vectors(weight, scale, qx, y, accumulate, first, last):  # (O, I), (O,) -> y (B, O)
    x_scale = qx.scale
    sums = np.empty((DOT_ROWS, y.shape[0]), np.float32)
    for start in range(first, last, DOT_ROWS):
        # sums (DOT_ROWS, B) = W[start : start + DOT_ROWS] (DOT_ROWS, I) · xᵀ (I, B)
        rows = min(DOT_ROWS, last - start)
        _dot_rows(weight, start, rows, qx, sums)
        for b in range(y.shape[0]):
            for r in range(rows):
                row = start + r
                total = sums[r, b] * scale[row] * x_scale[b]
                y[b, row] = y[b, row] + total if accumulate else total


@nb.njit(parallel=True, **JIT)
def _gemv_swiglu_vectors(weight, scale, qx, y, threads):
    step = share_of(y.shape[1], DOT_ROWS, threads)
    for t in nb.prange(threads):
        _gemv_swiglu_rows(weight, scale, qx, y, t * step, min(y.shape[1], (t + 1) * step))


@nb.njit(**EXACT)
def _gemv_swiglu_rows(weight, scale, qx, y, first, last):  # (2 F, I), (2 F,) -> y (B, F)
    x_scale, size = qx.scale, y.shape[1]
    gates, ups = np.empty((2, DOT_ROWS, y.shape[0]), np.float32)
    for start in range(first, last, DOT_ROWS):
        # gates, ups (DOT_ROWS, B) = the same rows of W's two halves (DOT_ROWS, I) · xᵀ (I, B)
        rows = min(DOT_ROWS, last - start)
        _dot_rows(weight, start, rows, qx, gates)
        _dot_rows(weight, size + start, rows, qx, ups)
        for b in range(y.shape[0]):
            for r in range(rows):
                row = start + r
                gate = gates[r, b] * scale[row] * x_scale[b]
                up = ups[r, b] * scale[size + row] * x_scale[b]
                y[b, row] = gate / (np.float32(1) + exp(-gate)) * up


@nb.njit(**EXACT)
def _dot_rows(weight, row, rows, qx, out):  # (O, I), rows at `row` -> out (DOT_ROWS, B), in fp32
    high, low, x_scale, _, _ = qx
    batch, columns = x_scale.shape[0], weight.shape[1]
    whole = columns - columns % DOT_COLUMNS
    # out (rows, B) = W (rows, I - whole) · xᵀ: the columns that fill no vector
    for r in range(rows):
        for b in range(batch):
            out[r, b] = 0
            for i in range(whole, columns):
                number = (np.int32(high[b, i]) << np.int32(LOW_BITS)) + np.int32(low[b, i])
                out[r, b] += np.float32(weight[row + r, i]) * np.float32(number)
    # out (rows, B) += W (rows, whole) · xᵀ (whole, B): four sequences at once, then two, then one
    for start in range(0, whole, DOT_MAX_COLUMNS):
        stop = min(whole, start + DOT_MAX_COLUMNS)
        if rows < DOT_ROWS:
            for r in range(rows):
                for b in range(batch):
                    out[r, b] += dot_1_1(weight, row + r, high, low, b, start, stop)[0]
            continue
        b = 0
        while b + 4 <= batch:
            _add_sums(dot_4_4(weight, row, high, low, b, start, stop), 4, b, out)
            b += 4
        if b + 2 <= batch:
            _add_sums(dot_4_2(weight, row, high, low, b, start, stop), 2, b, out)
            b += 2
        if b < batch:
            _add_sums(dot_4_1(weight, row, high, low, b, start, stop), 1, b, out)


@nb.njit(**EXACT)
def _add_sums(sums, count, first, out):  # (DOT_ROWS count,) -> += out (DOT_ROWS, count from first)
    for r in range(DOT_ROWS):
        for b in range(count):
            out[r, first + b] += sums[r * count + b]


# Exact, as is the turn below: where it is compiled into another function, its sum would else be
# taken in that one's order, and a closed adapter would not leave the base bit for bit.
@nb.njit(**EXACT)
def norm_row(x, weight, eps, out):
    """Set out (D,) to x / rms(x) · weight."""
    size = x.shape[0]
    # Four sums beside each other, for one would wait for itself at each number.
    one, two, three, four = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for i in range(0, size - size % 4, 4):
        one += x[i] * x[i]
        two += x[i + 1] * x[i + 1]
        three += x[i + 2] * x[i + 2]
        four += x[i + 3] * x[i + 3]
    total = (one + two) + (three + four)
    for i in range(size - size % 4, size):
        total += x[i] * x[i]
    scale = np.float32(1) / np.sqrt(total / np.float32(size) + eps)
    for i in range(size):
        out[i] = x[i] * scale * weight[i]


@nb.njit(**JIT)
def _norm_and_quantise(s, weight, eps):  # x (B, D) -> normed (B, D) -> qx
    for b in range(s.x.shape[0]):
        norm_row(s.x[b], weight, eps, s.normed[b])
    quantise_activations(s.normed, s.qx)


@nb.njit(**EXACT)
def split_bytes(numbers, b, byte_planes):
    """Write sequence b's numbers (I,) int32 as bytes into `byte_planes` (groups, I / 4, TILE_ROWS).

    A place holds one byte of four neighbouring numbers; the lowest byte of all sequences of a group
    comes first.
    """
    group, place = b // GROUP_SEQUENCES, b % GROUP_SEQUENCES
    half, eight = np.int32(128), np.int32(8)
    for quad in range(numbers.shape[0] // 4):
        n = numbers[4 * quad : 4 * quad + 4]
        i, j, k, m = n[0], n[1], n[2], n[3]
        for byte in range(BYTES):
            byte_planes[group, quad, byte * GROUP_SEQUENCES + place] = join(i, j, k, m)
            # Rounded, because the byte that was taken has a sign.
            i, j = (i + half) >> eight, (j + half) >> eight
            k, m = (k + half) >> eight, (m + half) >> eight


@nb.njit(**EXACT)
def _multiply_groups(weight, row, other_row, byte_planes, group, out):
    # out (2, groups, TILE_ROWS, TILE_ROWS) = 16 rows from `row`, and 16 from `other_row`, (16, I) ·
    # bytes (I, 16) of one or two groups of sequences. Returns how many groups.
    flat = byte_planes.reshape(-1, TILE_ROWS)
    first = group * byte_planes.shape[1]
    if group + 1 < byte_planes.shape[0]:
        places = first, 0, first + byte_planes.shape[1], 0
        multiply_2(weight, row, other_row, flat, places, out)
        return 2
    multiply_1(weight, row, other_row, flat, (first, 0), out)
    return 1


@nb.njit(**EXACT)
def _sum_bytes(out, blocks, half, block, row, place):  # of one row and sequence, in fp32
    # Exact in fp64: four sums of bytes, each 256 times the one before.
    start = ((half * blocks + block) * TILE_ROWS + row) * TILE_ROWS + place
    total = np.float64(out[start + 3 * GROUP_SEQUENCES])
    for byte in range(2, -1, -1):
        total = total * np.float64(256) + np.float64(out[start + byte * GROUP_SEQUENCES])
    return np.float32(total)


@nb.njit(**EXACT)
def _gemv_rows_amx(weight, scale, byte_planes, x_scale, y, accumulate, first_row, last_row):
    outputs, batch = weight.shape[0], y.shape[0]
    out = scratch((4 * TILE_ROWS * TILE_ROWS,)).view(np.int32)
    configure_tiles()
    for start in range(first_row, last_row, TILE_PAIR):
        row = min(start, outputs - TILE_PAIR)  # the last rows twice, if they are fewer
        for group in range(0, byte_planes.shape[0], 2):
            # y (8 sequences, 32 rows) = x (8, I) · W[row : row + 32]ᵀ (I, 32)
            blocks = _multiply_groups(weight, row, row + TILE_ROWS, byte_planes, group, out)
            first = group * GROUP_SEQUENCES
            for b in range(first, min(batch, first + blocks * GROUP_SEQUENCES)):
                block, place = b // GROUP_SEQUENCES - group, b % GROUP_SEQUENCES
                for half in range(2):
                    for i in range(TILE_ROWS):
                        line = row + half * TILE_ROWS + i
                        total = _sum_bytes(out, blocks, half, block, i, place)
                        total = total * scale[line] * x_scale[b]
                        y[b, line] = y[b, line] + total if accumulate else total
    release_tiles()


@nb.njit(parallel=True, **EXACT)
def gemv_swiglu_amx(weight, scale, byte_planes, x_scale, y, threads):
    """Do what `gemv_swiglu` does, by matrix instructions."""
    batch, size = y.shape
    share = share_of(size, TILE_ROWS, threads)
    for thread in nb.prange(threads):
        out = scratch((4 * TILE_ROWS * TILE_ROWS,)).view(np.int32)
        configure_tiles()
        for row in range(thread * share, min(size, (thread + 1) * share), TILE_ROWS):
            for group in range(0, byte_planes.shape[0], 2):
                # gates, ups (8 sequences, 16 rows) = x (8, I) · the same rows of W's halves (I, 16)
                blocks = _multiply_groups(weight, row, size + row, byte_planes, group, out)
                first = group * GROUP_SEQUENCES
                for b in range(first, min(batch, first + blocks * GROUP_SEQUENCES)):
                    block, place = b // GROUP_SEQUENCES - group, b % GROUP_SEQUENCES
                    for i in range(TILE_ROWS):
                        line, other = row + i, size + row + i
                        gate = _sum_bytes(out, blocks, 0, block, i, place)
                        gate = gate * scale[line] * x_scale[b]
                        up = _sum_bytes(out, blocks, 1, block, i, place)
                        up = up * scale[other] * x_scale[b]
                        y[b, line] = gate / (np.float32(1) + exp(-gate)) * up
        release_tiles()
