"""The innermost loop of a decode step: a few rows of 8-bit weights times up to four sequences.

Activations are fixed-point numbers of 30 bits, held as two planes of 16
(`decode.quantise_activations`), so that all products are of small integers: the processor
multiplies 32 pairs and adds neighbours in one instruction (`vpdpwssd` on x86 with VNNI, `vpmaddwd`
and an addition before that). That is twice as many as in fp32, and a weight is converted once for
four sequences.

Written in LLVM's own vectors instead of left to the compiler, which does not find that pattern.
Integers add up to the same number in any order, and the last additions, in fp32, are in the same
order for any number of rows and sequences: a sequence's text does not depend on who is beside it.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from demo.llama.kernels.simd import LANES

DOT_COLUMNS = 2 * LANES  # columns an instruction; what is left over is the caller's
DOT_ROWS = 4  # at once: they share the last additions of their sums
DOT_MAX_COLUMNS = 16_384  # a lane's sum stays under 2^31: 127 * 2^14 * 16,384 / 16
LOW_BITS = 15  # bits of the lower plane
# Bytes that are asked for before they are read: what the processor fetches by itself stops at every
# page of 4 KB. One sequence became a fifth faster; from 1.5 to 3 KB it hardly matters.
AHEAD = 2048

_INDEX = ir.IntType(64)
_INT, _FLOAT = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.FloatType(), LANES)
_WIDE = ir.VectorType(ir.IntType(32), DOT_COLUMNS)
_BYTES, _PLANE = (
    ir.VectorType(ir.IntType(8), DOT_COLUMNS),
    ir.VectorType(ir.IntType(16), DOT_COLUMNS),
)


def make_dot(rows: int, sequences: int) -> Callable[..., tuple[float, ...]]:
    """Make a product of some rows with some sequences; it returns all sums.

    `dot(weight (O, I) int8, row, high, low (B, W) int16, first, start, stop)` sums over the columns
    `start` to `stop`, both multiples of DOT_COLUMNS and at most DOT_MAX_COLUMNS apart, of
    `weight[row]`, `weight[row + 1]`, … times the fixed-point numbers of the sequences `first`,
    `first + 1`, …, without their scales; first come all sums of the first row. All arrays are
    C-contiguous; nothing is checked.
    """

    @intrinsic
    def dot(
        typing: Any, weight: Any, row: Any, high: Any, low: Any, first: Any, start: Any, stop: Any
    ) -> Any:
        result = types.UniTuple(types.float32, rows * sequences)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            def number(place: int) -> ir.Value:
                return context.cast(builder, args[place], signature.args[place], types.int64)

            def lines(place: int, first: ir.Value, count: int) -> list[ir.Value]:
                array = context.make_array(signature.args[place])(context, builder, args[place])
                width = builder.extract_value(array.shape, 1)
                indices = [builder.add(first, ir.Constant(_INDEX, i)) for i in range(count)]
                return [builder.gep(array.data, [builder.mul(width, i)]) for i in indices]

            weights = lines(0, number(1), rows)
            planes = [*lines(2, number(4), sequences), *lines(3, number(4), sequences)]
            sums = [s for w in weights for s in _loop(builder, w, planes, number(5), number(6))]
            return context.make_tuple(builder, result, _totals(builder, sums))

        return result(weight, row, high, low, first, start, stop), generate

    return dot


def _loop(
    builder: ir.IRBuilder,
    weight: ir.Value,
    planes: list[ir.Value],
    start: ir.Value,
    stop: ir.Value,
) -> list[ir.Value]:
    """Sum one row: a vector of fp32 sums for each sequence. Planes: the high ones, then the low.

    Rows follow one another although they could share what they read of the planes: memory is read
    fastest from one end to the other, and the processor begins a row before the last has ended.
    """
    sums = [cgutils.alloca_once(builder, _INT) for _ in planes]
    for place in sums:
        builder.store(ir.Constant(_INT, [0] * LANES), place)
    step = ir.Constant(_INDEX, DOT_COLUMNS)
    with cgutils.for_range_slice(builder, start, stop, step, _INDEX) as (column, _):
        _fetch(builder, builder.gep(weight, [builder.add(column, ir.Constant(_INDEX, AHEAD))]))
        wide = builder.sext(_load(builder, weight, column, _BYTES), _WIDE)
        for plane, place in zip(planes, sums, strict=True):
            numbers = builder.sext(_load(builder, plane, column, _PLANE), _WIDE)
            added = builder.add(builder.load(place), _neighbours(builder, wide, numbers))
            builder.store(added, place)
    values = [builder.sitofp(builder.load(place), _FLOAT) for place in sums]
    high_one, half = ir.Constant(_FLOAT, [float(1 << LOW_BITS)] * LANES), len(values) // 2
    return [
        builder.fadd(builder.fmul(upper, high_one), lower)
        for upper, lower in zip(values[:half], values[half:], strict=True)
    ]


def _fetch(builder: ir.IRBuilder, place: ir.Value) -> None:
    """Ask for a line of memory, to be read once (0), kept in all caches (3), of data (1)."""
    flags = [ir.Constant(ir.IntType(32), flag) for flag in (0, 3, 1)]
    kind = ir.FunctionType(ir.VoidType(), [place.type, *(flag.type for flag in flags)])
    code = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(code, [place, *flags])


def _load(builder: ir.IRBuilder, line: ir.Value, column: ir.Value, kind: ir.Type) -> ir.Value:
    pointer = builder.bitcast(builder.gep(line, [column]), kind.as_pointer())
    return builder.load(pointer, align=1)


def _neighbours(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Add neighbours of a * b, (DOT_COLUMNS,) → (LANES,): what LLVM knows as one instruction."""
    product = builder.mul(a, b, flags=["nsw"])
    halves = [_pick(builder, product, product, range(odd, DOT_COLUMNS, 2)) for odd in (0, 1)]
    return builder.add(*halves)


def _totals(builder: ir.IRBuilder, sums: list[ir.Value]) -> list[ir.Value]:
    """Sum all lanes of each vector: halves are added until one number is left.

    Several vectors share the later additions, which changes nothing in the order of any.
    """
    vectors, size = list(sums), LANES
    while size > 1:
        size //= 2
        pairs = [vectors[i : i + 2] for i in range(0, len(vectors), 2)]  # or one, with itself
        vectors = [_fold(builder, pair[0], pair[-1], size) for pair in pairs]
    return [
        builder.extract_element(vectors[0], ir.Constant(ir.IntType(32), lane))
        for lane in range(len(sums))
    ]


def _fold(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, size: int) -> ir.Value:
    """Add the halves of every run of `2 * size` lanes in `a`, then in `b`, side by side."""
    runs = [start + i for start in range(0, 2 * LANES, 2 * size) for i in range(size)]
    lower = _pick(builder, a, b, runs)
    upper = _pick(builder, a, b, [place + size for place in runs])
    return builder.fadd(lower, upper)


def _pick(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, places: Any) -> ir.Value:
    places = list(places)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
    return builder.shuffle_vector(a, b, mask)


dot_4_4, dot_4_2, dot_4_1 = make_dot(DOT_ROWS, 4), make_dot(DOT_ROWS, 2), make_dot(DOT_ROWS, 1)
dot_1_1 = make_dot(1, 1)
