"""What kernels say in LLVM's own vectors: loads and stores, a transpose, e^x, and a mode of floats.

A transpose of 16 by 16 numbers goes through registers: number by number, each written to another
line of the cache, it took three times as long.

e^x is written so that a loop over it becomes vectors with few instructions. libm's cannot become
vectors, and what numba makes of the same steps in Python takes three times as many: it may not fuse
products and sums by itself (`compile.LANES_ALIKE`), and widens integers. Softmaxes are a third of
the time that attention takes.

`flush` takes numbers too small for fp32's full precision for 0 while a loop of sums runs. A product
of a small probability and a small gradient may be such a number (below 1e-38). Intel's processors
compute with them a hundred times more slowly, and a third of a training step was spent on what
cannot change it. The mode belongs to a thread and must not leak: another program's numbers, torch's
for one, would round differently. "Intel 64 and IA-32 Architectures Software Developer's Manual",
volume 1, section 10.2.3.
"""

import platform
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16  # 32-bit numbers of one AVX-512 register; LLVM splits it where registers are smaller
INDEX, I32, F32 = ir.IntType(64), ir.IntType(32), ir.FloatType()
FLOATS, INTS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
BITS = 0x8040  # MXCSR: results flushed to zero, and inputs read as zero
LOWEST, HIGHEST = -87.0, 88.0  # beyond, e^x is no normal number of fp32
# 1 / ln 2 in two parts; 2^r - 1 = r p(r) for r at most a half (Cephes' exp2f), highest power first.
LOG2_E, REST = 1.44269502162933349609375, 1.925963033500011e-8
POWERS = (
    *(1.535336188319500e-4, 1.339887440266574e-3, 9.618437357674640e-3),
    *(5.550332471162809e-2, 2.402264791363012e-1, 6.931472028550421e-1),
    1.0,
)


@intrinsic
def flush(typing: Any) -> Any:
    """Set the mode; `flush()` returns the thread's mode before. Not on x86, it does nothing."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if not _x86():
            return ir.Constant(I32, 0)
        place = cgutils.alloca_once(builder, I32)
        _call(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(I32, BITS)), place)
        _call(builder, "ldmxcsr", place)
        return before

    return types.uint32(), generate


@intrinsic
def restore(typing: Any, before: Any) -> Any:
    """Set the thread's mode to what `flush` returned: `restore(before)`."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if _x86():
            place = cgutils.alloca_once(builder, I32)
            builder.store(args[0], place)
            _call(builder, "ldmxcsr", place)
        return context.get_dummy_value()

    return types.none(types.uint32), generate


def _x86() -> bool:
    return platform.machine() in ("x86_64", "AMD64")


def _call(builder: ir.IRBuilder, name: str, place: ir.Value) -> None:
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer])
    code = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(code, [builder.bitcast(place, pointer)])


class Call:
    """The arguments of an intrinsic: numbers, and C-contiguous arrays of one or two axes."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> None:
        self._context, self._builder = context, builder
        self._types, self._args = signature.args, args

    def number(self, place: int) -> ir.Value:
        """Return an argument as an index."""
        kind = self._types[place]
        return self._context.cast(self._builder, self._args[place], kind, types.int64)

    def pointer(
        self, place: int, row: ir.Value | None, column: ir.Value, kind: ir.Type
    ) -> ir.Value:
        """Return where an array holds `[row, column]`, or `[column]` if it has one axis."""
        builder = self._builder
        make = self._context.make_array(self._types[place])
        array = make(self._context, builder, self._args[place])
        if row is not None:
            line = builder.mul(row, builder.extract_value(array.shape, 1))
            column = builder.add(line, column)
        there = builder.gep(array.data, [column])
        return builder.bitcast(there, kind.as_pointer())

    def load(self, place: int, row: ir.Value | None, column: ir.Value, kind: ir.Type) -> ir.Value:
        """Read what is there as `kind`."""
        return self._builder.load(self.pointer(place, row, column, kind), align=1)


def index(number: int) -> ir.Constant:
    """Make a constant place in an array."""
    return ir.Constant(INDEX, number)


def splat(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """Repeat one number in a vector."""
    kind = ir.VectorType(number.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.Constant(I32, 0))
    mask = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
    return builder.shuffle_vector(one, one, mask)


@intrinsic
def transpose_block(
    typing: Any, source: Any, row: Any, column: Any, target: Any, into_row: Any, into_column: Any
) -> Any:
    """Set `target[into_row + b, into_column + a] = source[row + a, column + b]`, a, b < LANES.

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
    """Exchange between two rows, `step` apart, the lanes that are as far apart."""

    def pick(places: list[int]) -> ir.Value:
        return builder.shuffle_vector(upper, lower, ir.Constant(INTS, places))

    lanes = range(LANES)
    return (
        pick([LANES + i - step if i & step else i for i in lanes]),
        pick([LANES + i if i & step else i + step for i in lanes]),
    )


@intrinsic
def exp(typing: Any, x: Any) -> Any:
    """Compute e^x in fp32, within 3e-7 of it; the same wherever in a vector x stands."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        def number(value: float) -> ir.Constant:
            return ir.Constant(F32, value)

        def call(name: str, *given: ir.Value) -> ir.Value:
            kind = ir.FunctionType(F32, [F32] * len(given))
            code = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.f32")
            return builder.call(code, given)

        x = context.cast(builder, args[0], signature.args[0], types.float32)
        x = call("minnum", call("maxnum", x, number(LOWEST)), number(HIGHEST))
        whole = call("rint", builder.fmul(x, number(LOG2_E)))
        rest = call("fma", x, number(LOG2_E), builder.fneg(whole))
        rest = call("fma", x, number(REST), rest)
        power = number(POWERS[0])
        for factor in POWERS[1:]:
            power = call("fma", power, rest, number(factor))
        # Times 2^whole: that much more in the exponent's bits.
        bits = builder.bitcast(power, I32)
        shift = builder.shl(builder.fptosi(whole, I32), ir.Constant(I32, 23))
        return builder.bitcast(builder.add(bits, shift), F32)

    return types.float32(x), generate
