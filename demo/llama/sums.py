"""What is made of the sums that matrix instructions leave, one row of 16 at a time.

Written in LLVM's own vectors: a compiler looks anew at each row whether arrays overlap, and that
took as long as the products.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from demo.llama.tile import F32, FLOATS, INTS, Call, splat

PLANE = 256.0  # what 1 in the plane of high bytes stands for


@intrinsic
def set_row(
    typing: Any, sums: Any, high: Any, low: Any, scale: Any, unit: Any, t: Any, y: Any, row: Any
) -> Any:
    """`set_row(sums, high, low, scale, unit (T,), t, y (O, T), row)`.

    Sets 16 of `y[row]` from `t` on to sums · scale · unit. The sums (int32) of two planes begin at
    the places `high` and `low`; there is but one plane if those are the same. Nothing is checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        there = call.pointer(6, call.number(7), call.number(5), FLOATS)
        builder.store(_scaled(call, builder, args[3]), there, align=1)
        return context.get_dummy_value()

    return types.none(sums, high, low, scale, unit, t, y, row), generate


@intrinsic
def add_row(
    typing: Any, sums: Any, high: Any, low: Any, scale: Any, unit: Any, t: Any, y: Any, row: Any,
    before: Any,
) -> Any:  # fmt: skip
    """The same plus `before` (O, T), which may be `y`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        place = call.number(7), call.number(5)
        value = builder.fadd(call.load(8, *place, FLOATS), _scaled(call, builder, args[3]))
        builder.store(value, call.pointer(6, *place, FLOATS), align=1)
        return context.get_dummy_value()

    return types.none(sums, high, low, scale, unit, t, y, row, before), generate


@intrinsic
def gain_row(
    typing: Any, sums: Any, high: Any, low: Any, scale: Any, y: Any, row: Any, at: Any, gain: Any
) -> Any:
    """`gain_row(sums, high, low, scale, y (T, D), row, at, gain)`.

    Sets 16 of `y[row]` from `at` on to gain times themselves plus sums · scale.
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
    unit = call.load(4, None, call.number(5), FLOATS)
    return builder.fmul(_joined(call, builder), builder.fmul(splat(builder, scale), unit))


def _joined(call: Call, builder: ir.IRBuilder) -> ir.Value:
    """16 sums in fp32."""
    high, low = call.number(1), call.number(2)
    upper, lower = (
        builder.sitofp(call.load(0, None, place, INTS), FLOATS) for place in (high, low)
    )
    both = builder.fadd(builder.fmul(upper, splat(builder, ir.Constant(F32, PLANE))), lower)
    return builder.select(builder.icmp_signed("==", high, low), lower, both)
