"""Any LLaMA → the 8-bit file, one matrix at a time."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from demo.errors import CheckpointError
from demo.files import replace_file
from demo.llama.config import LlamaConfig
from demo.llama.int8 import Int8Weight
from demo.llama.weights import MATRICES, NORMS, WHOLE, gap, header, matrices_of, part_shape

Progress = Callable[[str, float | None], None]  # what is being done, and the share done, 0 to 1


class Source(Protocol):
    """Weights of a LLaMA in whatever file they came, one part at a time."""

    name: str
    config: LlamaConfig

    def read(self, part: str, layer: int) -> Tensor:
        """One part of a layer, fp32; `layer` is 0 for what a model has once.

        `q` and `k` have their rows in Hugging Face's half-split rotary order.

        Raises:
            CheckpointError: the part is missing or cannot be read.
        """
        ...


def quantise_rows(matrix: Tensor) -> Int8Weight:
    """fp32 (O, I) → 8 bit by row, as `bitsandbytes.functional.int8_vectorwise_quant` does.

    A row of zeros gets SCB 0 and CB 0, which stand for zeros again.
    """
    scale = matrix.abs().amax(dim=1)  # (O,)
    factor = torch.where(scale > 0, 127.0 / scale, 0.0)
    # A denormal row's factor can overflow: such a row is zero for every purpose.
    factor = torch.where(torch.isfinite(factor), factor, 0.0)
    return Int8Weight(torch.round(matrix * factor[:, None]).to(torch.int8), scale)


def write_weights(path: Path, source: Source, progress: Progress) -> str:
    """Quantise a model into `path`, holding one matrix of it at a time.

    Returns:
        sha256 of the file, hexadecimal.

    Raises:
        CheckpointError: a part is missing, has another shape, or holds numbers that are not finite.
        OSError: the disk is full or the folder cannot be written to.
    """
    config = source.config
    head, total = header(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < len(head) + total:
        raise CheckpointError(
            f"Converting {source.name} needs {total / 1e6:,.0f} MB in the cache folder, and "
            f"{free / 1e6:,.0f} MB are free. Free some, or name another folder in "
            "LLAMA_ADAPTER_CACHE."
        )
    digest, done = hashlib.sha256(), 0
    with replace_file(path) as unfinished, open(unfinished, "wb") as file:
        file.write(head)
        digest.update(head)
        for chunk in _chunks(source):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(f"Converting {source.name} to 8 bits", done / total)
    return digest.hexdigest()


def _chunks(source: Source) -> Iterator[bytes]:
    """The tensors of the file in its order, in pieces of one matrix of one layer."""
    config = source.config
    for name in matrices_of(config):
        scales, written = [], 0
        for layer in range(1 if name in WHOLE else config.layers):
            for part in MATRICES[name]:
                pair = quantise_rows(_read(source, part, layer))
                scales.append(pair.SCB)
                written += pair.CB.numel()
                yield pair.CB.numpy().tobytes()
        yield bytes(gap(written))
        yield from _padded(torch.cat(scales))
    for name in NORMS:
        layers = range(1 if name in WHOLE else config.layers)
        yield from _padded(torch.cat([_read(source, name, layer) for layer in layers]))


def _padded(tensor: Tensor) -> Iterator[bytes]:
    data = tensor.numpy().tobytes()
    yield data
    yield bytes(gap(len(data)))


def _read(source: Source, part: str, layer: int) -> Tensor:
    tensor, wanted = source.read(part, layer), part_shape(source.config, part)
    where = f"{part.replace('_', ' ')} weights" + ("" if part in WHOLE else f" of layer {layer}")
    if tuple(tensor.shape) != wanted:
        raise CheckpointError(
            f"{source.name}: the {where} are {tuple(tensor.shape)}, and the configuration asks for "
            f"{wanted}. Weights and configuration are of different models: fetch both again."
        )
    if not torch.isfinite(tensor).all():
        raise CheckpointError(
            f"{source.name}: the {where} hold numbers that are not finite. "
            "The file is damaged: fetch it again."
        )
    return tensor
