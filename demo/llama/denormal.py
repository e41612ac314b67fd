"""Numbers too small for fp32's full precision, taken for 0 while a loop of sums runs.

A product of a small probability and a small slope may be such a number (below 1e-38). Intel's
processors compute with them a hundred times more slowly, and a third of a training step was spent
on what cannot change it. The mode belongs to a thread and must not leak: another program's numbers,
torch's for one, would round differently. "Intel 64 and IA-32 Architectures Software Developer's
Manual", volume 1, section 10.2.3.
"""

import platform
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

BITS = 0x8040  # MXCSR: results flushed to zero, and inputs read as zero

_I32 = ir.IntType(32)


@intrinsic
def flush(typing: Any) -> Any:
    """`flush()` → the thread's mode before, for `restore`. Not on x86, it does nothing."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if not _x86():
            return ir.Constant(_I32, 0)
        place = cgutils.alloca_once(builder, _I32)
        _call(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(_I32, BITS)), place)
        _call(builder, "ldmxcsr", place)
        return before

    return types.uint32(), generate


@intrinsic
def restore(typing: Any, before: Any) -> Any:
    """`restore(before)`: as it was."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if _x86():
            place = cgutils.alloca_once(builder, _I32)
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
