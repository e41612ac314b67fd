"""Products of bytes by matrix instructions, where a processor has them (AMX: Xeons since 2023).

One instruction multiplies 16 rows of 64 signed bytes with 64 bytes of 16 tokens, a hundred times
what the vectors of `int8_tile.py` do. Numbers of 16 bits are two planes of bytes,
`high * 256 + low`. Intel's "Architecture Instruction Set Extensions Programming Reference",
chapter 3, describes it.

A program has to ask its system for the instructions once (`compile.py`), and every thread has to
lay out its registers before it uses them (`configure_tiles`) and to free them afterwards
(`release_tiles`).

The last part is what is made of the sums, one row of 16 at a time. It is written in LLVM's own
vectors: a compiler looks anew at each row whether arrays overlap, and that took as long as the
products. These take up to ten plain arguments: they stand in innermost loops, and a tuple would
have to be taken apart in LLVM.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from demo.llama.kernels.compile import HAS_AMX
from demo.llama.kernels.simd import F32, FLOATS, INTS, Call, splat

TILE_ROWS = 16  # rows, or tokens, of one register
TILE_COLUMNS = 64  # columns of one register
TILE_PAIR = 2 * TILE_ROWS  # rows at once
PLANE = 256.0  # what 1 in the plane of high bytes stands for

_BYTE, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER, _NOTHING = _BYTE.as_pointer(), ir.VoidType()
# Palette 1: eight registers of 16 rows of 64 bytes.
_LAYOUT = bytes([1, *[0] * 15, *[TILE_COLUMNS, 0] * 8, *[0] * 16, *[TILE_ROWS] * 8, *[0] * 8])


@intrinsic
def configure_tiles(typing: Any) -> Any:
    """Lay out this thread's registers: `configure_tiles()`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if HAS_AMX:
            layout = context.insert_const_bytes(builder.module, _LAYOUT, "amx")
            _call(builder, "ldtilecfg", builder.bitcast(layout, _POINTER))
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def release_tiles(typing: Any) -> Any:
    """Free this thread's registers: `release_tiles()`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if HAS_AMX:
            _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.none(), generate


def make_multiply(blocks: int) -> Callable[..., None]:
    """Make a product of 32 rows with 16 tokens (1 block) or 32 (2 blocks).

    `multiply(weight (O, I) int8, row, other_row, packed (..., T) int32, places, out)` sets `out`
    (2, blocks, 16, 16) int32 to the products of 16 rows from `row`, and of 16 from `other_row`,
    with 16 tokens from each of `places`: (quad, token) of a block, one after the other.
    `packed[q, t]` holds four columns of a token as signed bytes, the first lowest; I is a multiple
    of 64. All arrays are C-contiguous; nothing is checked. Without AMX it does nothing.
    """

    @intrinsic
    def multiply(
        typing: Any, weight: Any, row: Any, other_row: Any, packed: Any, places: Any, out: Any
    ) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            if not HAS_AMX:
                return context.get_dummy_value()
            arrays = {
                place: context.make_array(signature.args[place])(context, builder, args[place])
                for place in (0, 3, 5)
            }

            def number(place: int) -> ir.Value:
                return context.cast(builder, args[place], signature.args[place], types.int64)

            given = cgutils.unpack_tuple(builder, args[4])
            kinds = signature.args[4].types
            spots = [
                context.cast(builder, value, kind, types.int64)
                for value, kind in zip(given, kinds, strict=True)
            ]
            columns = builder.extract_value(arrays[0].shape, 1)
            line = builder.mul(builder.extract_value(arrays[3].shape, 1), _number(4))  # bytes
            weights = [_at(builder, arrays[0], builder.mul(columns, number(i))) for i in (1, 2)]
            tokens = []
            for quad, token in zip(spots[::2], spots[1::2], strict=True):
                place = builder.add(builder.mul(line, quad), builder.mul(token, _number(4)))
                tokens.append(_at(builder, arrays[3], place))
            _products(builder, weights, columns, tokens, line)
            results = _at(builder, arrays[5], _number(0))
            for register in range(2 * blocks):
                place = builder.gep(results, [_number(register * TILE_ROWS * TILE_COLUMNS)])
                _call(builder, "tilestored64", register, place, _number(TILE_COLUMNS))
            return context.get_dummy_value()

        return types.none(weight, row, other_row, packed, places, out), generate

    return multiply


def _products(
    builder: ir.IRBuilder,
    weights: list[ir.Value],
    columns: ir.Value,
    tokens: list[ir.Value],
    line: ir.Value,
) -> None:
    """Write the loop over columns. Registers from 0 are sums, 4 and 5 hold rows, 6 and 7 tokens."""
    blocks = len(tokens)
    for register in range(2 * blocks):
        _call(builder, "tilezero", register)
    step = _number(TILE_COLUMNS)
    with cgutils.for_range_slice(builder, _number(0), columns, step, _I64) as (at, _):
        for register, start in enumerate(weights, 4):
            _call(builder, "tileloadd64", register, builder.gep(start, [at]), columns)
        below = builder.mul(builder.udiv(at, _number(4)), line)
        for register, start in enumerate(tokens, 6):
            _call(builder, "tileloadd64", register, builder.gep(start, [below]), line)
        for register in range(2 * blocks):
            _call(builder, "tdpbssd", register, 4 + register // blocks, 6 + register % blocks)


def _at(builder: ir.IRBuilder, array: Any, place: ir.Value) -> ir.Value:
    """So many bytes after an array's beginning."""
    return builder.gep(builder.bitcast(array.data, _POINTER), [place])


def _call(builder: ir.IRBuilder, name: str, *arguments: Any) -> None:
    """One instruction; registers are given by number."""
    values = [ir.Constant(_BYTE, a) if isinstance(a, int) else a for a in arguments]
    kind = ir.FunctionType(_NOTHING, [value.type for value in values])
    code = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}")
    builder.call(code, values)


def _number(number: int) -> ir.Constant:
    return ir.Constant(_I64, number)


multiply_1, multiply_2 = make_multiply(1), make_multiply(2)


@intrinsic
def set_row(
    typing: Any, sums: Any, high: Any, low: Any, scale: Any, x_scale: Any, t: Any, y: Any, row: Any
) -> Any:
    """Set 16 of `y[row]` from `t` on to sums · scale · x_scale.

    `set_row(sums, high, low, scale, x_scale (T,), t, y (O, T), row)`. The sums (int32) of two
    planes begin at the places `high` and `low`; there is but one plane if those are the same.
    Nothing is checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        there = call.pointer(6, call.number(7), call.number(5), FLOATS)
        builder.store(_scaled(call, builder, args[3]), there, align=1)
        return context.get_dummy_value()

    return types.none(sums, high, low, scale, x_scale, t, y, row), generate


@intrinsic
def add_row(
    typing: Any, sums: Any, high: Any, low: Any, scale: Any, x_scale: Any, t: Any, y: Any, row: Any,
    before: Any,
) -> Any:  # fmt: skip
    """Do what `set_row` does, plus `before` (O, T), which may be `y`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        place = call.number(7), call.number(5)
        value = builder.fadd(call.load(8, *place, FLOATS), _scaled(call, builder, args[3]))
        builder.store(value, call.pointer(6, *place, FLOATS), align=1)
        return context.get_dummy_value()

    return types.none(sums, high, low, scale, x_scale, t, y, row, before), generate


@intrinsic
def gain_row(
    typing: Any, sums: Any, high: Any, low: Any, scale: Any, y: Any, row: Any, at: Any, gain: Any
) -> Any:
    """Set 16 of `y[row]` from `at` on to gain times themselves plus sums · scale.

    `gain_row(sums, high, low, scale, y (T, D), row, at, gain)`.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        there = call.pointer(4, call.number(5), call.number(6), FLOATS)
        before = builder.fmul(builder.load(there, align=1), splat(builder, args[7]))
        value = builder.fmul(_joined(call, builder), splat(builder, args[3]))
        builder.store(builder.fadd(before, value), there, align=1)
        return context.get_dummy_value()

    return types.none(sums, high, low, scale, y, row, at, gain), generate


def _scaled(call: Call, builder: ir.IRBuilder, scale: ir.Value) -> ir.Value:
    tokens = call.load(4, None, call.number(5), FLOATS)
    return builder.fmul(_joined(call, builder), builder.fmul(splat(builder, scale), tokens))


def _joined(call: Call, builder: ir.IRBuilder) -> ir.Value:
    """16 sums in fp32."""
    high, low = call.number(1), call.number(2)
    upper, lower = (
        builder.sitofp(call.load(0, None, place, INTS), FLOATS) for place in (high, low)
    )
    both = builder.fadd(builder.fmul(upper, splat(builder, ir.Constant(F32, PLANE))), lower)
    return builder.select(builder.icmp_signed("==", high, low), lower, both)
