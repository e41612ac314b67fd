"""The innermost loop of a prefill: eight rows times thirty-two tokens, sums held in registers.

Activations are laid out with tokens last, so a vector is one feature of sixteen tokens, whatever
is computed: products, norms, rotary positions, both softmaxes. Rows of weights (or keys, or values)
are read one number at a time and broadcast.

Written in LLVM's own vectors, as `int8_dot.py`, which says why products are of 16-bit integers.
"""

from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

from demo.llama.kernels.simd import F32, FLOATS, I32, INDEX, INTS, LANES, Call, index, splat

VECTORS = 2
TOKENS = LANES * VECTORS  # a tile's columns
GEMM_ROWS = 8  # a tile's rows: 16 registers of sums
MAX_ACTIVATION = 29_000  # of an activation's integer: nearly 16 bits
MAX_PAIRS = 2**31 // (2 * 127 * MAX_ACTIVATION)  # of columns, until a sum could overflow: 291

_I16 = ir.IntType(16)
_PAIRS, _WIDE = ir.VectorType(_I16, 2 * LANES), ir.VectorType(I32, 2 * LANES)


@intrinsic
def int_tile(typing: Any, rows: Any, packed: Any, start: Any, stop: Any, out: Any) -> Any:
    """Add to `out` (GEMM_ROWS, TOKENS) fp32 the product of rows and packed tokens of 16 bits.

    `int_tile(rows (GEMM_ROWS, I) int16, packed (pairs, TOKENS) int32, start, stop, out)` runs over
    the pairs of columns `start` to `stop`, at most MAX_PAIRS. `packed[p, t]` holds columns 2 p (its
    lower 16 bits) and 2 p + 1 of token t. Nothing is checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)

        def term(pair: ir.Value) -> tuple[list[ir.Value], list[ir.Value]]:
            column = builder.mul(pair, index(2))
            weights = []
            for r in range(GEMM_ROWS):
                both = call.load(0, index(r), column, I32)
                weights.append(_sext(builder, builder.bitcast(splat(builder, both), _PAIRS)))
            places = [index(LANES * v) for v in range(VECTORS)]
            tokens = [_sext(builder, call.load(1, pair, place, _PAIRS)) for place in places]
            return weights, tokens

        def multiply(total: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
            return builder.add(total, _pairs_of(builder, a, b))

        sums = _sums(builder, INTS, call.number(2), call.number(3), term, multiply)
        floats = [[builder.sitofp(s, FLOATS) for s in line] for line in sums]
        _store(builder, call, 4, floats, add=True)
        return context.get_dummy_value()

    return types.none(rows, packed, start, stop, out), generate


@intrinsic
def byte_tile(typing: Any, rows: Any, packed: Any, first: Any, quads: Any, out: Any) -> Any:
    """Set `out` (GEMM_ROWS, TOKENS) fp32 to `first` plus the product of rows and tokens of bytes.

    `byte_tile(rows (GEMM_ROWS, I) uint8, packed (quads, TOKENS) int32, first (TOKENS,) int32,
    quads, out)`: `packed[q, t]` holds columns 4 q to 4 q + 3 of token t as signed bytes, the first
    lowest.
    Nothing is checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        multiply, row_of, tokens_of = _byte_arithmetic(builder)
        places = [index(LANES * v) for v in range(VECTORS)]

        def term(quad: ir.Value) -> tuple[list[Any], list[Any]]:
            column = builder.mul(quad, index(4))
            four = [call.load(0, index(r), column, I32) for r in range(GEMM_ROWS)]
            weights = [row_of(splat(builder, number)) for number in four]
            return weights, [tokens_of(call.load(1, quad, place, INTS)) for place in places]

        begin = [call.load(2, None, place, INTS) for place in places]
        sums = _sums(builder, INTS, index(0), call.number(3), term, multiply, begin)
        floats = [[builder.sitofp(s, FLOATS) for s in line] for line in sums]
        _store(builder, call, 4, floats, add=False)
        return context.get_dummy_value()

    return types.none(rows, packed, first, quads, out), generate


def _byte_arithmetic(builder: ir.IRBuilder) -> tuple[Any, Any, Any]:
    """Choose how four unsigned bytes times four signed ones are added to each lane of a sum.

    One instruction where a processor has it (VNNI). Written out it is as fast as 16 bits are, and
    gives the same integers.
    """
    if get_host_cpu_features().get("avx512vnni"):
        kind = ir.FunctionType(INTS, [INTS] * 3)
        name = "llvm.x86.avx512.vpdpbusd.512"
        code = cgutils.get_or_insert_function(builder.module, kind, name)
        return (lambda total, a, b: builder.call(code, [total, a, b])), _same, _same

    eight = ir.Constant(_PAIRS, [8] * 2 * LANES)

    def unsigned(wide: ir.Value) -> list[ir.Value]:
        pairs = builder.bitcast(wide, _PAIRS)
        low = builder.lshr(builder.shl(pairs, eight), eight)
        return [_sext(builder, half) for half in (low, builder.lshr(pairs, eight))]

    def signed(wide: ir.Value) -> list[ir.Value]:
        pairs = builder.bitcast(wide, _PAIRS)
        low = builder.ashr(builder.shl(pairs, eight), eight)
        return [_sext(builder, half) for half in (low, builder.ashr(pairs, eight))]

    def multiply(total: ir.Value, a: list[ir.Value], b: list[ir.Value]) -> ir.Value:
        for x, y in zip(a, b, strict=True):
            total = builder.add(total, _pairs_of(builder, x, y))
        return total

    return multiply, unsigned, signed


@intrinsic
def float_tile(typing: Any, a: Any, row: Any, across: Any, b: Any, count: Any, out: Any) -> Any:
    """Add to `out` (GEMM_ROWS, TOKENS) fp32 the product of rows, or columns, and tokens in fp32.

    `float_tile(a (A, B) fp32, row, across, b (K, TOKENS) fp32, count, out)` runs over the first
    `count` rows of `b`. `a` gives its rows `row`, `row + 1`, …; or, when `across` is 1, columns.
    Nothing is checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        first, turned = call.number(1), builder.icmp_signed("!=", call.number(2), index(0))
        kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")

        def term(k: ir.Value) -> tuple[list[ir.Value], list[ir.Value]]:
            numbers = []
            for r in range(GEMM_ROWS):
                line = builder.add(first, index(r))
                place = builder.select(turned, k, line), builder.select(turned, line, k)
                numbers.append(splat(builder, call.load(0, *place, F32)))
            places = [index(LANES * v) for v in range(VECTORS)]
            return numbers, [call.load(3, k, place, FLOATS) for place in places]

        def multiply(total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
            return builder.call(fma, [x, y, total])

        sums = _sums(builder, FLOATS, index(0), call.number(4), term, multiply)
        _store(builder, call, 5, sums, add=True)
        return context.get_dummy_value()

    return types.none(a, row, across, b, count, out), generate


def _store(
    builder: ir.IRBuilder, call: Call, place: int, values: list[list[ir.Value]], add: bool
) -> None:
    """Fill an array (GEMM_ROWS, TOKENS), or add to it."""
    for r, line in enumerate(values):
        for v, value in enumerate(line):
            pointer = call.pointer(place, index(r), index(LANES * v), FLOATS)
            if add:
                value = builder.fadd(builder.load(pointer, align=1), value)
            builder.store(value, pointer, align=1)


def _sums(
    builder: ir.IRBuilder,
    kind: ir.Type,
    start: ir.Value,
    stop: ir.Value,
    term: Any,
    multiply: Any,
    begin: list[ir.Value] | None = None,
) -> list[list[ir.Value]]:
    """Add up every row's number times every vector of tokens, from `start` to `stop`.

    A row's sums begin with the vectors `begin`, or with 0.
    """
    begin = begin or [ir.Constant(kind, [0] * LANES)] * VECTORS
    sums = [[cgutils.alloca_once(builder, kind) for _ in range(VECTORS)] for _ in range(GEMM_ROWS)]
    for line in sums:
        for value, place in zip(begin, line, strict=True):
            builder.store(value, place)
    with cgutils.for_range_slice(builder, start, stop, index(1), INDEX) as (k, _):
        rows, tokens = term(k)
        for row, line in zip(rows, sums, strict=True):
            for vector, place in zip(tokens, line, strict=True):
                builder.store(multiply(builder.load(place), row, vector), place)
    return [[builder.load(place) for place in line] for line in sums]


def _same(value: ir.Value) -> ir.Value:
    return value


def _pairs_of(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Add each product of 16-bit numbers to its neighbour's: one instruction."""
    product = builder.mul(a, b, flags=["nsw"])
    return builder.add(*(_every_other(builder, product, odd) for odd in (0, 1)))


def _sext(builder: ir.IRBuilder, pairs: ir.Value) -> ir.Value:
    return builder.sext(pairs, _WIDE)


def _every_other(builder: ir.IRBuilder, wide: ir.Value, first: int) -> ir.Value:
    mask = ir.Constant(INTS, list(range(first, 2 * LANES, 2)))
    return builder.shuffle_vector(wide, wide, mask)
