"""What adapters change of the base's products, for kernels: packed, and added to rows of a batch.

Each sequence of a batch may have another adapter, of another kind and rank, or none. So a kernel is
given addresses: a `Delta` is packed once into two arrays of its own, and a slot keeps where they
are and what is in them. Whoever fills a slot keeps the arrays alive.

Of a LoRA both factors are held as integers of 16 bits with a scale for each of their r directions:
half of the memory that fp32 would read for every token, and a thousand times closer than the base's
own 8 bits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from demo.llama.kernels.compile import EXACT, JIT, empty, zeros

QKV, ATTENTION_OUTPUT, GATE_UP, DOWN, NORMS = range(5)  # rows of a layout
SCALE_IN, SCALE_OUT, BIAS, LOW_SCALE, LOW, UP = range(6)  # its columns, of a product
ATTENTION_NORM, FFN_NORM, OUTPUT_NORM = range(3)  # its columns, of the norms
_LARGEST = 32_767  # of an integer of 16 bits


class PackedParts(NamedTuple):
    """What is changed of one product in N layers: as `LinearDelta` in numpy, fp32."""

    scale_in: np.ndarray | None  # (N, C, I)
    scale_out: np.ndarray | None  # (N, O)
    bias: np.ndarray | None  # (N, O)
    down: np.ndarray | None  # (N, C, r, I)
    up: np.ndarray | None  # (N, O, r)


class PackedDelta(NamedTuple):
    """Two arrays, and where in a layer's share of them each part begins, -1 where there is none."""

    floats: np.ndarray  # (N * floats of a layer + those of the last norm,) fp32
    shorts: np.ndarray  # (N * shorts of a layer,) int16
    layout: np.ndarray  # (5, 6) int64
    strides: np.ndarray  # (2,) int64, of a layer in either array
    rank: int

    def output_norm(self, weight: np.ndarray) -> np.ndarray:
        """Give its own last norm (D,), or the base's."""
        start = int(self.layout[NORMS, OUTPUT_NORM])
        return weight if start < 0 else self.floats[start : start + len(weight)]


class DeltaSlots(NamedTuple):
    """What is changed for the sequence of each slot, an address of 0 where nothing is."""

    floats: np.ndarray  # (M,) int64 addresses
    shorts: np.ndarray  # (M,) int64 addresses
    layout: np.ndarray  # (M, 5, 6)
    strides: np.ndarray  # (M, 2)
    rank: np.ndarray  # (M,)


class DeltaWorkspace(NamedTuple):
    """Room for a step of B sequences beside a `DecodeWorkspace`."""

    gate_up: np.ndarray  # (B, 2 F)
    out: np.ndarray  # (B, D)


def set_slot(slots: DeltaSlots, slot: int, packed: PackedDelta | None) -> None:
    """Let a slot point to what is packed, which has to be kept alive as long, or to nothing."""
    slots.floats[slot] = packed.floats.ctypes.data if packed else 0
    slots.shorts[slot] = packed.shorts.ctypes.data if packed else 0
    slots.layout[slot] = packed.layout if packed else -1
    slots.strides[slot] = packed.strides if packed else 0
    slots.rank[slot] = packed.rank if packed else 0


def pack(
    products: Sequence[PackedParts],
    norms: tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None],
) -> PackedDelta:
    """Lay what is changed out layer by layer.

    Args:
        products: the four, in the order of a layer.
        norms: (N, D), (N, D) and (D,), None for the base's own.
    """
    floats: list[np.ndarray] = []  # (N, any)
    shorts: list[np.ndarray] = []
    layout = np.full((5, 6), -1, np.int64)

    def put(into: list[np.ndarray], part: np.ndarray, row: int, column: int) -> None:
        layout[row, column] = sum(each.shape[1] for each in into)
        into.append(part.reshape(len(part), -1))

    rank = 0
    for row, parts in enumerate(products):
        plain = (parts.scale_in, parts.scale_out, parts.bias)
        for column, part in zip((SCALE_IN, SCALE_OUT, BIAS), plain, strict=True):
            if part is not None:
                put(floats, part, row, column)
        if parts.down is not None and parts.up is not None:
            rank = parts.up.shape[2]
            low, low_scale = _short(parts.down, 3)  # (N, C, r, I), (N, C, r, 1)
            up, up_scale = _short(parts.up.transpose(0, 2, 1), 2)  # (N, r, O), (N, r, 1)
            put(floats, low_scale[..., 0] * up_scale[:, None, :, 0], row, LOW_SCALE)
            put(shorts, low, row, LOW)
            put(shorts, up, row, UP)
    for column, part in enumerate(norms[:2]):
        if part is not None:
            put(floats, part, NORMS, column)
    strides = np.array([sum(part.shape[1] for part in each) for each in (floats, shorts)])
    stacked = np.concatenate(floats, 1).ravel() if floats else np.zeros(0, np.float32)
    if norms[2] is not None:
        layout[NORMS, OUTPUT_NORM] = len(stacked)
        stacked = np.concatenate((stacked, norms[2]))
    whole = empty((max(1, len(stacked)),))
    whole[: len(stacked)] = stacked
    halves = np.concatenate(shorts, 1).ravel() if shorts else np.zeros(1, np.int16)
    return PackedDelta(whole, np.ascontiguousarray(halves, np.int16), layout, strides, rank)


def _short(numbers: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Round to integers of 16 bits by the largest along an axis → integers, scales."""
    top = np.maximum(np.abs(numbers).max(axis, keepdims=True), 1e-30)
    scale = (top / _LARGEST).astype(np.float32)
    return np.rint(numbers / scale).astype(np.int16), scale


def delta_workspace(batch: int, width: int, ffn: int) -> DeltaWorkspace:
    """Make room for steps of `batch` sequences."""
    return DeltaWorkspace(zeros((batch, 2 * ffn)), zeros((batch, width)))


def _pointer_to(kind: Any) -> Any:
    """Make a function that takes an address for a pointer to numbers of a kind."""

    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(types.CPointer(kind)))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_floats_at, _shorts_at = _pointer_to(types.float32), _pointer_to(types.int16)


@nb.njit(**EXACT)
def floats_of(deltas, m, layer, row, column, size):
    """View `size` numbers of a slot's part; there has to be one."""
    place = layer * deltas.strides[m, 0] + deltas.layout[m, row, column]
    return nb.carray(_floats_at(deltas.floats[m] + 4 * place), (size,))


@nb.njit(**EXACT)
def shorts_of(deltas, m, layer, row, column, size):
    """View `size` integers of a slot's LoRA; there has to be one."""
    place = layer * deltas.strides[m, 1] + deltas.layout[m, row, column]
    return nb.carray(_shorts_at(deltas.shorts[m] + 2 * place), (size,))


@nb.njit(**EXACT)
def norm_of(deltas, m, layer, column, weight):
    """Give the slot's own norm (D,), or the base's."""
    if deltas.floats[m] == 0 or deltas.layout[m, NORMS, column] < 0:
        return weight
    return floats_of(deltas, m, layer, NORMS, column, len(weight))


@nb.njit(**JIT)
def _low_rank(deltas, m, layer, row, x, parts, part, low):
    # low (r,) = the first factor of one part's LoRA (r, I) · x (I,), scaled
    size, rank = x.shape[0], len(low)
    down = shorts_of(deltas, m, layer, row, LOW, parts * rank * size)
    scales = floats_of(deltas, m, layer, row, LOW_SCALE, parts * rank)
    for j in range(rank):
        place = part * rank + j
        line, total = down[place * size : (place + 1) * size], np.float32(0)
        for i in range(size):
            total += np.float32(line[i]) * x[i]
        low[j] = total * scales[place]


@nb.njit(**EXACT)
def change_row(deltas, m, layer, row, starts, x, y, first, last):
    """Change outputs `first` to `last` of y (O,), a product of slot m and what x (I,) went into.

    `starts` (C + 1,) says where the product's parts begin. Of a LoRA the sums of its first factor
    are taken for those parts alone that the outputs lie in.
    """
    if deltas.floats[m] == 0:
        return
    # Views that begin at 0: numba cannot know that `first` is no place from an array's end, and
    # would take number by number.
    size, mine = y.shape[0], y[first:last]
    if deltas.layout[m, row, SCALE_OUT] >= 0:
        scale = floats_of(deltas, m, layer, row, SCALE_OUT, size)[first:last]
        for o in range(len(mine)):
            mine[o] *= scale[o]
    if deltas.layout[m, row, BIAS] >= 0:
        bias = floats_of(deltas, m, layer, row, BIAS, size)[first:last]
        for o in range(len(mine)):
            mine[o] += bias[o]
    if deltas.layout[m, row, UP] >= 0:
        rank, parts = deltas.rank[m], len(starts) - 1
        low = np.empty(rank, np.float32)
        up = shorts_of(deltas, m, layer, row, UP, rank * size)
        for part in range(parts):
            begin, end = max(first, starts[part]), min(last, starts[part + 1])
            if begin < end:
                _low_rank(deltas, m, layer, row, x, parts, part, low)
                for j in range(rank):
                    _add_line(low[j], up[j * size + begin : j * size + end], y[begin:end])


@nb.njit(**EXACT)
def _add_line(share, line, y):  # y (n,) += share · line (n,) int16
    for o in range(len(y)):
        y[o] += share * np.float32(line[o])
