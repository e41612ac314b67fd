"""Products of bytes by matrix instructions, where a processor has them (AMX: Xeons since 2023).

One instruction multiplies 16 rows of 64 signed bytes with 64 bytes of 16 tokens, a hundred times
what the vectors of `tile.py` do. Numbers of 16 bits are two planes of bytes: `high * 256 + low`.
Intel's "Architecture Instruction Set Extensions Programming Reference", chapter 3, describes it.

A program has to ask its system for the instructions once (`allowed`), and every thread has to lay
out its registers before it uses them (`begin`) and to free them afterwards (`end`).
"""

import ctypes
import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils, types
from numba.extending import intrinsic

SIDE = 16  # rows, or tokens, of one register
DEPTH = 64  # columns of one register
BOTH = 2 * SIDE  # rows at once

_BYTE, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_POINTER, _NOTHING = _BYTE.as_pointer(), ir.VoidType()
_ASK, _TILE_DATA = 0x1023, 18  # arch_prctl's ARCH_REQ_XCOMP_PERM, and the state to ask for
_SYSCALL = 158  # arch_prctl on x86-64
# Palette 1: eight registers of 16 rows of 64 bytes.
_LAYOUT = bytes([1, *[0] * 15, *[DEPTH, 0] * 8, *[0] * 16, *[SIDE] * 8, *[0] * 8])


def allowed() -> bool:
    """Whether this process may use the instructions; asks the system for them.

    False where the processor has none, or the system or its sandbox refuses.
    """
    if platform.system() != "Linux" or not HERE:
        return False
    return ctypes.CDLL(None).syscall(_SYSCALL, _ASK, _TILE_DATA) == 0


def fits(*sizes: int) -> bool:
    """Whether matrices of these sizes are whole registers, without a rest."""
    return all(size > 0 and size % DEPTH == 0 for size in sizes)


def _there() -> bool:
    features = get_host_cpu_features()
    return bool(features.get("amx-int8") and features.get("amx-tile"))


# A constant to numba, which leaves out what hangs on a false one: a fifth of all that is compiled.
HERE = _there()


@intrinsic
def begin(typing: Any) -> Any:
    """`begin()`: lays out this thread's registers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if HERE:
            layout = context.insert_const_bytes(builder.module, _LAYOUT, "amx")
            _call(builder, "ldtilecfg", builder.bitcast(layout, _POINTER))
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def end(typing: Any) -> Any:
    """`end()`: frees this thread's registers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if HERE:
            _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.none(), generate


def make_multiply(blocks: int) -> Callable[..., None]:
    """Of 32 rows with 16 tokens (1 block) or 32 (2 blocks).

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
            if not HERE:
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
                place = builder.gep(results, [_number(register * SIDE * DEPTH)])
                _call(builder, "tilestored64", register, place, _number(DEPTH))
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
    """Registers from 0 become the sums, 4 and 5 hold rows, 6 and 7 tokens."""
    blocks = len(tokens)
    for register in range(2 * blocks):
        _call(builder, "tilezero", register)
    with cgutils.for_range_slice(builder, _number(0), columns, _number(DEPTH), _I64) as (at, _):
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
