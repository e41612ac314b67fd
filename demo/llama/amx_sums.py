"""What becomes of the sums that `amx.py` leaves, 16 rows of 16 tokens a register, in fp32.

Written in LLVM's own vectors, as `tile.py`: what the compiler made of loops over 16 numbers took
longer than the products themselves. All arrays are C-contiguous; nothing is checked.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from demo.llama.amx import SIDE
from demo.llama.exp import exp_of
from demo.llama.vectors import F32, FLOATS, INTS, Call, index, splat

PLANE = 256.0  # what 1 in the plane of high bytes stands for


def make_put(add: bool) -> Callable[..., None]:
    """`put(sums, high, low, scale (O,), row, unit (TOKENS,), token, before, y (O, TOKENS))`.

    Sets 16 rows of `y` from `row`, 16 tokens from `token`, to the number that registers `high` and
    `low` of `sums` hold as two planes of bytes, times the row's scale and the token's unit; with
    `add`, to that of `before`, which may be `y`, and it.
    """

    @intrinsic
    def put(
        typing: Any, sums: Any, high: Any, low: Any, scale: Any, row: Any, unit: Any, token: Any,
        before: Any, y: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            call = Call(context, builder, signature, args)
            units = call.load(5, None, call.number(6), FLOATS)
            with cgutils.for_range(builder, index(SIDE)) as loop:
                line = builder.add(call.number(4), loop.index)
                factor = splat(builder, call.load(3, None, line, F32))
                joined = _joined(builder, call, (call.number(1), call.number(2)), loop.index)
                value = builder.fmul(joined, builder.fmul(factor, units))
                if add:
                    value = builder.fadd(call.load(7, line, call.number(6), FLOATS), value)
                builder.store(value, call.pointer(8, line, call.number(6), FLOATS), align=1)
            return context.get_dummy_value()

        return types.none(sums, high, low, scale, row, unit, token, before, y), generate

    return put


put, add = make_put(False), make_put(True)


@intrinsic
def put_swiglu(
    typing: Any, sums: Any, scale: Any, row: Any, other_row: Any, unit: Any, token: Any, y: Any
) -> Any:
    """`put_swiglu(sums, scale (2 F,), row, other_row, unit (TOKENS,), token, y (F, TOKENS))`.

    Registers 0 and 1 of `sums` hold the planes of 16 rows of gates, from `row`, and 2 and 3 those
    of ups, from `other_row`: sets 16 rows of `y` from `row` to silu(gate) up.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        units, one = call.load(4, None, call.number(5), FLOATS), ir.Constant(FLOATS, [1.0] * SIDE)
        with cgutils.for_range(builder, index(SIDE)) as loop:

            def of(first: int, row: int) -> ir.Value:
                line = builder.add(call.number(row), loop.index)
                factor = builder.fmul(splat(builder, call.load(1, None, line, F32)), units)
                planes = index(first), index(first + 1)
                return builder.fmul(_joined(builder, call, planes, loop.index), factor)

            gate, up = of(0, 2), of(2, 3)
            below = builder.fadd(one, exp_of(builder, builder.fneg(gate)))
            value = builder.fmul(builder.fdiv(gate, below), up)
            line = builder.add(call.number(2), loop.index)
            builder.store(value, call.pointer(6, line, call.number(5), FLOATS), align=1)
        return context.get_dummy_value()

    return types.none(sums, scale, row, other_row, unit, token, y), generate


@intrinsic
def put_plain(
    typing: Any, sums: Any, register: Any, unit: Any, token: Any, y: Any, row: Any
) -> Any:
    """`put_plain(sums, register, unit (TOKENS,), token, y (O, TOKENS), row)`.

    Sets 16 rows of `y` to one register, times the token's unit.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        units = call.load(2, None, call.number(3), FLOATS)
        with cgutils.for_range(builder, index(SIDE)) as loop:
            value = builder.fmul(_register(builder, call, call.number(1), loop.index), units)
            line = builder.add(call.number(5), loop.index)
            builder.store(value, call.pointer(4, line, call.number(3), FLOATS), align=1)
        return context.get_dummy_value()

    return types.none(sums, register, unit, token, y, row), generate


def _joined(
    builder: ir.IRBuilder, call: Call, planes: tuple[ir.Value, ir.Value], row: ir.Value
) -> ir.Value:
    """One row of two registers as the numbers whose high and low bytes they are of."""
    high, low = (_register(builder, call, plane, row) for plane in planes)
    return builder.fadd(builder.fmul(high, ir.Constant(FLOATS, [PLANE] * SIDE)), low)


def _register(builder: ir.IRBuilder, call: Call, register: ir.Value, row: ir.Value) -> ir.Value:
    """One row of a register of `sums`, the first argument, in fp32."""
    line = builder.add(builder.mul(register, index(SIDE)), row)
    place = builder.mul(line, index(SIDE))
    return builder.sitofp(call.load(0, None, place, INTS), FLOATS)
