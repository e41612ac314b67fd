"""The bytes of an adapter's file: read whole and never mapped, measured before they are used.

Whoever puts a file here may still be writing it. A mapped file that gets shorter kills the process
when it is touched, so nothing here is mapped; safetensors reads a header alone only by mapping.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from demo.errors import CheckpointError

MAX_BYTES = 3 * 2**30  # a bridge from ImageBind alone has 608 million numbers
MAX_HEADER = 2**20  # bytes; ours have about ten thousand
LENGTH = struct.Struct("<Q")  # of the header, at the beginning of the file


@dataclass(frozen=True)
class Header:
    """What a safetensors file says it holds.

    Attributes:
        metadata: texts by name.
        tensors: kind, as safetensors spells it ("F32"), and shape, by name.
    """

    metadata: dict[str, str]
    tensors: dict[str, tuple[str, tuple[int, ...]]]


def read_header(path: Path) -> Header:
    """Read the header alone.

    Raises:
        CheckpointError: too large, or not a whole safetensors file.
    """
    return _read(path, whole=False)[0]


def read_file(path: Path) -> tuple[Header, bytes]:
    """Read the whole file: its header, and all of its bytes.

    Raises:
        CheckpointError: as `read_header`.
    """
    return _read(path, whole=True)


def digest_of(passport: str, tensors: Iterable[tuple[str, bytes]]) -> str:
    """Compute the SHA-256 of a passport's text and of the tensors' bytes with their names."""
    digest = hashlib.sha256(passport.encode())
    for name, data in sorted(tensors):
        digest.update(f"\0{name}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def in_order(data: bytes) -> bytes:
    """Sort the metadata of a file, which safetensors writes in any order: equal files are equal."""
    (length,) = LENGTH.unpack(data[: LENGTH.size])
    rest = data[LENGTH.size + length :]
    raw = json.loads(data[LENGTH.size : LENGTH.size + length])
    raw["__metadata__"] = dict(sorted(raw["__metadata__"].items()))
    text = json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that tensors begin where numbers may
    return LENGTH.pack(len(text)) + text + rest


def _read(path: Path, whole: bool) -> tuple[Header, bytes]:
    try:
        if not path.is_file():  # opening a pipe would wait for its other end, for ever
            raise OSError("no regular file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise CheckpointError(
                    f"'{path.name}' is larger than {MAX_BYTES // 2**30} GB; no adapter is. "
                    "Choose an adapter file, not a model."
                )
            start = _exactly(file, LENGTH.size)
            (length,) = LENGTH.unpack(start)
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length} bytes")
            text = _exactly(file, length)
            header = _parsed(text, size - LENGTH.size - length)
            data = start + text + _exactly(file, size - LENGTH.size - length) if whole else b""
            return header, data
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"'{path.name}' is not a whole safetensors file. Get the adapter again."
        ) from error


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{len(data)} bytes of {size}")
    return data


def _parsed(text: bytes, left: int) -> Header:
    """Read the header's text; its tensors have to fill the `left` bytes behind it."""
    raw = json.loads(text, object_pairs_hook=_once)
    metadata = raw.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("metadata that is no text")
    tensors = {}
    ends = [0]
    for name, tensor in raw.items():
        shape, (begin, end) = tuple(tensor["shape"]), tensor["data_offsets"]
        if len(shape) > 8 or not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError("a shape that cannot be")
        if math.prod(shape) > left or not begin <= end <= left:
            raise ValueError("a tensor beyond the end of the file")
        tensors[name] = (str(tensor["dtype"]), shape)
        ends.append(end)
    if max(ends) != left:
        raise ValueError("another length than its tensors have")
    return Header(metadata, tensors)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that comes twice, of which readers take different ones."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name twice")
    return found
