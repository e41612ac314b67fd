"""How far an adapter's gates are open, read from its file without the rest of it."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from demo.adapter.passport import LENGTH, MAX_HEADER
from demo.errors import CheckpointError

KEPT = 2_000  # files whose gates are remembered


def gates_of_file(path: Path, stamp: tuple[int, int], *, tanh: bool = True) -> tuple[float, ...]:
    """Give the mean over heads of what each layer's gates let through, (L,), lowest layer first.

    Args:
        path: of an adapter's file.
        stamp: its modification time and size; while they stay it is not read again.
        tanh: whether a gate acts through tanh.

    Raises:
        CheckpointError: the file is gone or damaged.
    """
    try:
        return _read(path, stamp, tanh)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"'{path.name}' cannot be read. Get the adapter again.") from error


@lru_cache(KEPT)
def _read(path: Path, stamp: tuple[int, int], tanh: bool) -> tuple[float, ...]:
    with path.open("rb") as file:
        (length,) = LENGTH.unpack(file.read(LENGTH.size))
        if length > MAX_HEADER:
            raise ValueError(f"a header of {length} bytes")
        gate = json.loads(file.read(length))["gate"]
        begin, end = gate["data_offsets"]
        file.seek(LENGTH.size + length + begin)
        numbers = np.frombuffer(file.read(end - begin), "<f4").reshape(gate["shape"])
    opened = np.abs(np.tanh(numbers) if tanh else numbers)
    return tuple(round(float(mean), 4) for mean in opened.mean(1)) if len(opened) else ()
