"""What is checked of each tensor of an adapter's file before it is used."""

import torch
from torch import Tensor

from demo.errors import CheckpointError

MAX_VALUE = 1e4  # no trained prompt, gate or projection comes near; overflow starts beyond


def check_names(expected: set[str], found: set[str], file: str) -> None:
    """Compare the names of a file's tensors with those it is to have.

    Raises:
        CheckpointError: one is missing or unknown; the message names the first.
    """
    odd = sorted(expected ^ found)
    if odd:
        word = "lacks" if odd[0] in expected else "has the unknown"
        raise CheckpointError(f"'{file}' {word} tensor '{odd[0][:80]}'. It is not a whole adapter.")


def check_shape(name: str, kind: str, shape: tuple[int, ...], expected: Tensor, file: str) -> None:
    """Compare a tensor's shape and type with what its passport says.

    Raises:
        CheckpointError: they differ.
    """
    if shape != expected.shape or kind != "F32":
        raise CheckpointError(
            f"'{file}' holds '{name}' as {kind[:10]} {shape}; its passport says "
            f"F32 {tuple(expected.shape)}. The file is damaged."
        )


def check_values(name: str, found: Tensor, file: str) -> None:
    """Refuse values that no training gives.

    Raises:
        CheckpointError: one is not finite, or far too large.
    """
    if not torch.isfinite(found).all() or (found.abs() > MAX_VALUE).any():
        raise CheckpointError(
            f"'{file}' holds values in '{name}' that are not finite or far too large. "
            "The file is damaged or its training diverged."
        )
