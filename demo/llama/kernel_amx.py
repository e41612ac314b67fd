"""The products of `kernel.py` by matrix instructions (`amx.py`): up to four sequences a register.

A number of 30 bits is four signed bytes, and a sequence is four tokens to the instruction, one for
each byte. Their sums are exact in fp64, so a sequence's text does not depend on who is beside it.
"""

import numba as nb
import numpy as np

from demo.llama.amx import BOTH, SIDE, begin, end, multiply_1, multiply_2
from demo.llama.compiled import JIT
from demo.llama.exp import exp
from demo.llama.layout import join, share_of
from demo.llama.memory import scratch

BYTES = 4  # of a number
TOGETHER = SIDE // BYTES  # sequences of a register
_EXACT = JIT | {"fastmath": False}


def groups_of(batch: int) -> int:
    """Registers for so many sequences."""
    return -(-batch // TOGETHER)


@nb.njit(**_EXACT)
def split(numbers, b, planes):  # of sequence b, (I,) int32 -> planes (groups, I / 4, SIDE) int32
    group, place = b // TOGETHER, b % TOGETHER
    half, eight = np.int32(128), np.int32(8)
    for quad in range(numbers.shape[0] // 4):
        n = numbers[4 * quad : 4 * quad + 4]
        i, j, k, m = n[0], n[1], n[2], n[3]
        for byte in range(BYTES):
            planes[group, quad, byte * TOGETHER + place] = join(i, j, k, m)
            # Rounded, because the byte that was taken has a sign.
            i, j = (i + half) >> eight, (j + half) >> eight
            k, m = (k + half) >> eight, (m + half) >> eight


@nb.njit(**_EXACT)
def _products(weight, row, other_row, planes, group, out):  # of one or two groups; whether two
    flat = planes.reshape(-1, SIDE)
    first = group * planes.shape[1]
    if group + 1 < planes.shape[0]:
        multiply_2(weight, row, other_row, flat, (first, 0, first + planes.shape[1], 0), out)
        return 2
    multiply_1(weight, row, other_row, flat, (first, 0), out)
    return 1


@nb.njit(**_EXACT)
def _sum(out, blocks, half, block, row, place):  # of one row and sequence, in fp32
    start = ((half * blocks + block) * SIDE + row) * SIDE + place
    total = np.float64(out[start + 3 * TOGETHER])
    for byte in range(2, -1, -1):
        total = total * np.float64(256) + np.float64(out[start + byte * TOGETHER])
    return np.float32(total)


@nb.njit(parallel=True, **_EXACT)
def linear_by_bytes(weight, scale, planes, unit, y, accumulate, threads):
    # y (B, O) = or += x (B, I) W^T, as `kernel.linear`
    outputs, batch = weight.shape[0], y.shape[0]
    share = share_of(outputs, BOTH, threads)
    for thread in nb.prange(threads):
        out = scratch((4 * SIDE * SIDE,)).view(np.int32)
        begin()
        for start in range(thread * share, min(outputs, (thread + 1) * share), BOTH):
            row = min(start, outputs - BOTH)  # the last rows twice, if they are fewer
            for group in range(0, planes.shape[0], 2):
                blocks = _products(weight, row, row + SIDE, planes, group, out)
                first = group * TOGETHER
                for b in range(first, min(batch, first + blocks * TOGETHER)):
                    block, place = b // TOGETHER - group, b % TOGETHER
                    for half in range(2):
                        for i in range(SIDE):
                            line = row + half * SIDE + i
                            total = _sum(out, blocks, half, block, i, place)
                            total = total * scale[line] * unit[b]
                            y[b, line] = y[b, line] + total if accumulate else total
        end()


@nb.njit(parallel=True, **_EXACT)
def swiglu_by_bytes(weight, scale, planes, unit, y, threads):  # y (B, F) = silu(gate) up
    batch, size = y.shape
    share = share_of(size, SIDE, threads)
    for thread in nb.prange(threads):
        out = scratch((4 * SIDE * SIDE,)).view(np.int32)
        begin()
        for row in range(thread * share, min(size, (thread + 1) * share), SIDE):
            for group in range(0, planes.shape[0], 2):
                blocks = _products(weight, row, size + row, planes, group, out)
                first = group * TOGETHER
                for b in range(first, min(batch, first + blocks * TOGETHER)):
                    block, place = b // TOGETHER - group, b % TOGETHER
                    for i in range(SIDE):
                        gate = _sum(out, blocks, 0, block, i, place) * scale[row + i] * unit[b]
                        up = _sum(out, blocks, 1, block, i, place) * scale[size + row + i] * unit[b]
                        y[b, row + i] = gate / (np.float32(1) + exp(-gate)) * up
        end()
