"""Rows become columns, 16 by 16 numbers of 32 bits, in vectors.

Number by number, each written to another line of the cache, that took three times as long.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from demo.llama.vectors import INTS, LANES, Call, index


@intrinsic
def turn_block(
    typing: Any, source: Any, row: Any, column: Any, target: Any, into_row: Any, into_column: Any
) -> Any:
    """`target[into_row + b, into_column + a] = source[row + a, column + b]` for a, b < LANES.

    Both are C-contiguous, of two axes and any type of 32 bits. Nothing is checked.
    """

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        call = Call(context, builder, signature, args)
        first, column, into, into_column = (call.number(place) for place in (1, 2, 4, 5))
        lines = [call.load(0, builder.add(first, index(a)), column, INTS) for a in range(LANES)]
        for step in (1, 2, 4, 8):
            for a in range(LANES):
                if not a & step:
                    pair = lines[a], lines[a + step]
                    lines[a], lines[a + step] = _crossed(builder, *pair, step)
        for b, line in enumerate(lines):
            place = call.pointer(3, builder.add(into, index(b)), into_column, INTS)
            builder.store(line, place, align=1)
        return context.get_dummy_value()

    return types.none(source, row, column, target, into_row, into_column), generate


def _crossed(
    builder: ir.IRBuilder, upper: ir.Value, lower: ir.Value, step: int
) -> tuple[ir.Value, ir.Value]:
    """Two rows, `step` apart, exchange the lanes that are as far apart."""

    def pick(places: list[int]) -> ir.Value:
        return builder.shuffle_vector(upper, lower, ir.Constant(INTS, places))

    lanes = range(LANES)
    return (
        pick([LANES + i - step if i & step else i for i in lanes]),
        pick([LANES + i if i & step else i + step for i in lanes]),
    )
