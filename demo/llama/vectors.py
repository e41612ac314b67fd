"""What the inner loops share that are written in LLVM's own vectors."""

from typing import Any

from llvmlite import ir
from numba.core import types

LANES = 16  # 32-bit numbers of one AVX-512 register; LLVM splits it where registers are smaller

INDEX, I32, F32 = ir.IntType(64), ir.IntType(32), ir.FloatType()
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)


class Call:
    """The arguments of an intrinsic: numbers, and C-contiguous arrays of one or two axes."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> None:
        self._context, self._builder = context, builder
        self._types, self._args = signature.args, args

    def number(self, place: int) -> ir.Value:
        """An argument as an index."""
        kind = self._types[place]
        return self._context.cast(self._builder, self._args[place], kind, types.int64)

    def pointer(
        self, place: int, row: ir.Value | None, column: ir.Value, kind: ir.Type
    ) -> ir.Value:
        """Where an array holds `[row, column]`, or `[column]` if it has one axis."""
        builder = self._builder
        make = self._context.make_array(self._types[place])
        array = make(self._context, builder, self._args[place])
        if row is not None:
            line = builder.mul(row, builder.extract_value(array.shape, 1))
            column = builder.add(line, column)
        there = builder.gep(array.data, [column])
        return builder.bitcast(there, kind.as_pointer())

    def load(self, place: int, row: ir.Value | None, column: ir.Value, kind: ir.Type) -> ir.Value:
        """What is there, read as `kind`."""
        return self._builder.load(self.pointer(place, row, column, kind), align=1)


def index(number: int) -> ir.Constant:
    """A place in an array."""
    return ir.Constant(INDEX, number)


def splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """A vector of one number."""
    kind = ir.VectorType(number.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    return builder.shuffle_vector(one, one, mask)
