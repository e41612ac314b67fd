"""Tensors from a file that `torch.save` wrote, without running anything that is in it.

Such a file is a zip with a pickle inside, and a pickle is a program. torch's `weights_only` reads
the few instructions that make tensors and refuses all others; there is no second try without it.
"""

import zipfile
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from demo.errors import CheckpointError


def read_torch_zip(path: Path, *, mapped: bool) -> dict[str, Any]:
    """Read the dictionary that a file holds.

    Args:
        path: of the file.
        mapped: leave the numbers in the file until they are used, rather than copy them now.

    Raises:
        CheckpointError: not a stored zip, damaged, a pickle that does anything but make tensors,
            or something else than a dictionary.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
            # torch does not check the sums that a zip keeps, and a flipped bit is a silent wrong.
            if not stored or archive.testzip() is not None:
                raise ValueError("compressed or damaged")
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        if not isinstance(found, dict):
            raise ValueError("not a dictionary of tensors")
    # torch.load fails with at least four unrelated types on files it refuses.
    except Exception as error:
        size = f" ({path.stat().st_size / 1e6:,.1f} MB)" if path.is_file() else ""
        raise CheckpointError(
            f"{path.name} is not a plain PyTorch file of tensors, or it is damaged{size}. "
            "Fetch it again."
        ) from error
    return found


def is_plain(value: object) -> TypeGuard[Tensor]:
    """Return whether it is a dense tensor whose numbers are all in the file, none shown twice."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and value.is_contiguous()
    )
