"""Keys and values that are kept in 16 bits: bf16, the upper half of an fp32, as uint16.

bf16 and not fp16, because widening is a shift on any processor and no number is too large. Each
function here takes arrays and numbers of fp32 as well and leaves them as they are: numba compiles
every kernel for the type that it meets, so a program has one of the two forms only.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from demo.llama.kernels.simd import F32, I32

_I16 = ir.IntType(16)


@intrinsic
def widened(typing: Any, number: Any) -> Any:
    """Turn a number that is kept, fp32 or bf16, into fp32."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if signature.args[0] == types.float32:
            return args[0]
        bits = builder.shl(builder.zext(args[0], I32), ir.Constant(I32, 16))
        return builder.bitcast(bits, F32)

    return (types.float32(number), generate) if number in (types.float32, types.uint16) else None


@intrinsic
def rounded(typing: Any, number: Any, kept: Any) -> Any:
    """Round an fp32 number to what the array `kept` holds; ties go to the even neighbour."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        if signature.return_type == types.float32:
            return args[0]
        bits, half = builder.bitcast(args[0], I32), ir.Constant(I32, 16)
        even = builder.and_(builder.lshr(bits, half), ir.Constant(I32, 1))
        bits = builder.add(builder.add(bits, ir.Constant(I32, 0x7FFF)), even)
        return builder.trunc(builder.lshr(bits, half), _I16)

    known = number == types.float32 and kept.dtype in (types.float32, types.uint16)
    return (kept.dtype(number, kept), generate) if known else None


def fp32_rows(kept: np.ndarray, count: int, room: np.ndarray) -> np.ndarray:
    """Return rows (S, d) in fp32: themselves, or the first `count` widened into `room` (S, d).

    The rows of `room` behind them stay as they were.
    """
    if kept.dtype == np.float32:
        return kept
    room[:count] = (kept[:count].astype(np.uint32) << 16).view(np.float32)
    return room


@overload(fp32_rows)
def _fp32_rows(kept: Any, count: Any, room: Any) -> Any:
    """Give compiled code the half of `fp32_rows` that its types ask for."""

    # Numba compares the names of arguments, and their annotations too.
    def same(kept: Any, count: Any, room: Any) -> Any:
        return kept

    def widen(kept: Any, count: Any, room: Any) -> Any:
        for s in range(count):
            for i in range(room.shape[1]):
                room[s, i] = widened(kept[s, i])
        return room

    return same if kept.dtype == types.float32 else widen
