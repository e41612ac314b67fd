"""The innermost loop: one row of 8-bit weights times the activations of one, two or four sequences.

Written in LLVM's own vectors instead of left to the compiler, for two reasons. A weight is
converted once for all sequences, so company is cheaper than its own step. And the order of a
sequence's sum is the same however many others are beside it, so its text does not depend on them.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16  # fp32 numbers of one AVX-512 register; LLVM splits it where registers are smaller
UNROLL = 4  # sums beside each other, as many as the latency of one addition takes steps
BLOCK = LANES * UNROLL  # columns a turn; what is left over is the caller's

_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR, _BYTES = ir.VectorType(_FLOAT, LANES), ir.VectorType(ir.IntType(8), LANES)


def make_dot(sequences: int) -> Callable[..., tuple[float, ...]]:
    """`dot(weight (O, I) int8, row, x (B, I) fp32, first, columns)` → one sum a sequence.

    Sums over the first `columns` columns, a multiple of BLOCK, of `weight[row]` times
    `x[first]`, `x[first + 1]`, … Both arrays are C-contiguous; nothing is checked.
    """

    @intrinsic
    def dot(typing: Any, weight: Any, row: Any, x: Any, first: Any, columns: Any) -> Any:
        result = types.UniTuple(types.float32, sequences)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            arrays = [
                context.make_array(signature.args[place])(context, builder, args[place])
                for place in (0, 2)
            ]
            rows = [context.cast(builder, args[p], signature.args[p], types.int64) for p in (1, 3)]
            count = context.cast(builder, args[4], signature.args[4], types.int64)
            starts = [
                builder.gep(array.data, [builder.mul(line, _width(builder, array))])
                for array, line in zip(arrays, rows, strict=True)
            ]
            step = _width(builder, arrays[1])
            sums = _loop(builder, starts[0], starts[1], step, count, sequences)
            return context.make_tuple(builder, result, [_total(builder, s) for s in sums])

        return result(weight, row, x, first, columns), generate

    return dot


def _width(builder: ir.IRBuilder, array: Any) -> ir.Value:
    return builder.extract_value(array.shape, 1)


def _loop(
    builder: ir.IRBuilder,
    weight: ir.Value,
    x: ir.Value,
    width: ir.Value,
    count: ir.Value,
    sequences: int,
) -> list[list[ir.Value]]:
    """The vector sums: UNROLL of them for every sequence."""
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    slots = [
        [cgutils.alloca_once_value(builder, zero) for _ in range(UNROLL)] for _ in range(sequences)
    ]
    fma_type = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    fma = cgutils.get_or_insert_function(builder.module, fma_type, f"llvm.fma.v{LANES}f32")
    with cgutils.for_range_slice(
        builder, ir.Constant(_INDEX, 0), count, ir.Constant(_INDEX, BLOCK), _INDEX
    ) as (column, _):
        for u in range(UNROLL):
            place = builder.add(column, ir.Constant(_INDEX, u * LANES))
            eight = _load(builder, weight, place, _BYTES, align=1)
            wide = builder.sitofp(eight, _VECTOR)
            for b in range(sequences):
                there = builder.add(place, builder.mul(width, ir.Constant(_INDEX, b)))
                values = _load(builder, x, there, _VECTOR, align=4)
                added = builder.call(fma, [wide, values, builder.load(slots[b][u])])
                builder.store(added, slots[b][u])
    return [[builder.load(slot) for slot in row] for row in slots]


def _load(
    builder: ir.IRBuilder, start: ir.Value, place: ir.Value, kind: ir.Type, align: int
) -> ir.Value:
    pointer = builder.bitcast(builder.gep(start, [place]), kind.as_pointer())
    return builder.load(pointer, align=align)


def _total(builder: ir.IRBuilder, sums: list[ir.Value]) -> ir.Value:
    """Halves added until one number is left: always in the same order."""
    while len(sums) > 1:
        sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    vector, size = sums[0], LANES
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    index = ir.IntType(32)
    while size > 1:
        size //= 2
        # The upper half moves down; what lies above is no longer looked at.
        order = [size + i if i < size else i for i in range(LANES)]
        mask = ir.Constant(ir.VectorType(index, LANES), order)
        vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, mask))
    return builder.extract_element(vector, ir.Constant(index, 0))


dot_1, dot_2, dot_4 = make_dot(1), make_dot(2), make_dot(4)
