"""Any LLaMA → the 8-bit file of `int8.py`, one matrix at a time."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from demo.atomic_file import replace_file
from demo.background_task import ProgressCallback
from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.int8 import CACHE_LINE, Int8Weight, Part, file_plan


class WeightsSource(Protocol):
    """Weights of a LLaMA in whatever file they came, one part at a time."""

    name: str
    config: LlamaConfig

    def read(self, part: str, layer: int) -> Tensor:
        """Read one part of a layer, fp32; `layer` is 0 for what a model has once.

        `q` and `k` have their rows in Hugging Face's half-split rotary order.

        Raises:
            CheckpointError: the part is missing or cannot be read.
        """
        ...


def quantise_rows(matrix: Tensor) -> Int8Weight:
    """Quantise fp32 (O, I) to 8 bits by row, as bitsandbytes' `int8_vectorwise_quant` does.

    A row of zeros gets SCB 0 and CB 0, which stand for zeros again.
    """
    scale = matrix.abs().amax(dim=1)  # (O,)
    factor = torch.where(scale > 0, 127.0 / scale, 0.0)
    # A denormal row's factor can overflow: such a row is zero for every purpose.
    factor = torch.where(torch.isfinite(factor), factor, 0.0)
    return Int8Weight(torch.round(matrix * factor[:, None]).to(torch.int8), scale)


def write_weights(path: Path, source: WeightsSource, progress: ProgressCallback) -> str:
    """Quantise a model into `path`, holding one matrix of it at a time.

    Returns:
        sha256 of the file, hexadecimal.

    Raises:
        CheckpointError: a part is missing, has another shape, or holds numbers that are not finite.
        OSError: the disk is full or the folder cannot be written to.
    """
    plan = file_plan(source.config)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < len(plan.header) + plan.size:
        raise CheckpointError(
            f"Converting {source.name} needs {plan.size / 1e6:,.0f} MB in the cache folder, and "
            f"{free / 1e6:,.0f} MB are free. Free some, or name another folder in "
            "LLAMA_ADAPTER_CACHE."
        )
    digest, done = hashlib.sha256(), 0
    with replace_file(path) as unfinished, open(unfinished, "wb") as file:
        file.write(plan.header)
        digest.update(plan.header)
        for chunk in _chunks(source, plan.matrices, plan.norms):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(f"Converting {source.name} to 8 bits", done / plan.size)
    return digest.hexdigest()


def _chunks(
    source: WeightsSource, matrices: Sequence[Sequence[Part]], norms: Sequence[Sequence[Part]]
) -> Iterator[bytes]:
    """Yield the tensors of the file in its order, in pieces of one matrix of one layer."""
    for parts in matrices:
        scales, written = [], 0
        for part in parts:
            pair = quantise_rows(_read(source, part))
            scales.append(pair.SCB)
            written += pair.CB.numel()
            yield pair.CB.numpy().tobytes()
        yield bytes(-written % CACHE_LINE)
        yield from _padded(torch.cat(scales))
    for parts in norms:
        yield from _padded(torch.cat([_read(source, part) for part in parts]))


def _padded(tensor: Tensor) -> Iterator[bytes]:
    data = tensor.numpy().tobytes()
    yield data
    yield bytes(-len(data) % CACHE_LINE)


def _read(source: WeightsSource, part: Part) -> Tensor:
    tensor = source.read(part.name, part.layer or 0)
    where = f"{part.name.replace('_', ' ')} weights"
    where += "" if part.layer is None else f" of layer {part.layer}"
    if tuple(tensor.shape) != part.shape:
        raise CheckpointError(
            f"{source.name}: the {where} are {tuple(tensor.shape)}, and the configuration asks for "
            f"{part.shape}. Weights and configuration are of different models: fetch both again."
        )
    if not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{source.name}: the {where} hold numbers that are not finite. "
            "The file is damaged: fetch it again."
        )
    return tensor
