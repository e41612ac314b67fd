"""A LLaMA in a GGUF file, of any quantisation the `gguf` library can undo."""

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig, half_split
from demo.llama.int8 import refuse_extras
from demo.llama.tokenizer.loading import from_gguf
from demo.llama.tokenizer.tokenizer import TokenizerFiles

if TYPE_CHECKING:
    from gguf import GGUFReader

NAMES = {
    "embedding": "token_embd.weight",
    "output": "output.weight",
    "output_norm": "output_norm.weight",
    "q": "blk.{}.attn_q.weight",
    "k": "blk.{}.attn_k.weight",
    "v": "blk.{}.attn_v.weight",
    "attention_output": "blk.{}.attn_output.weight",
    "gate": "blk.{}.ffn_gate.weight",
    "up": "blk.{}.ffn_up.weight",
    "down": "blk.{}.ffn_down.weight",
    "attention_norm": "blk.{}.attn_norm.weight",
    "ffn_norm": "blk.{}.ffn_norm.weight",
}
FACTORS = "rope_freqs.weight"
PART = re.compile(r"-(\d{5})-of-(\d{5})$")  # of a model that llama.cpp has split


class GGUFSource:
    """Reads one model; satisfies `demo.llama.base.BaseSource`.

    Args:
        path: the file, or any of those that the model is split into.
        name: what to call the model, the file's name without its ending by default.

    Raises:
        CheckpointError: not a GGUF, cut off, or not a LLaMA.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        first, *others = parts_of(path)
        self.path, self.name = first, name or PART.sub("", path.stem)
        self._reader, self.metadata = _open(first)
        readers = [self._reader, *(_open(part)[0] for part in others)]
        self.tensors = {tensor.name: tensor for reader in readers for tensor in reader.tensors}
        self.config = self._config()
        refuse_extras(self.name, set(self.tensors) - {FACTORS}, NAMES, self.config.layers)

    def _config(self) -> LlamaConfig:
        factors = self.tensors.get(FACTORS)
        embedding = self.tensors.get(NAMES["embedding"])
        return LlamaConfig.from_gguf(
            self.metadata,
            vocab=int(embedding.shape[1]) if embedding else 0,
            tied=NAMES["output"] not in self.tensors,
            rope_factors=tuple(float(x) for x in factors.data) if factors else None,
        )

    def read(self, part: str, layer: int) -> Tensor:
        """Read one part, fp32, rotary rows in half-split order; see `WeightsSource.read`."""
        # Imported here: only a conversion needs it, and it is slow to import.
        from gguf.quants import dequantize

        name = NAMES[part].format(layer)
        tensor = self.tensors.get(name)
        if tensor is None:
            raise CheckpointError(
                f"{self.name} lacks '{name}'. The file is damaged, or of another model: fetch it "
                "again."
            )
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise CheckpointError(
                f"{self.name} is quantised as {tensor.tensor_type.name}, which cannot be undone "
                "here. Use a Q8_0, Q4_1, Q4_K_M, F16 or BF16 file."
            ) from error
        # A copy: what dequantize returns for fp32 is the mapped file itself, read-only.
        matrix = torch.from_numpy(np.array(values, np.float32))
        if part in ("q", "k"):
            heads = self.config.heads if part == "q" else self.config.kv_heads
            return half_split(matrix, heads)
        return matrix

    @cached_property
    def tokenizer(self) -> TokenizerFiles:
        """The tokenizer that the file describes."""
        return from_gguf(self.path, self.metadata, self._reader)


def parts_of(path: Path) -> list[Path]:
    """List the files of the model that a file belongs to, by their numbers; most have one alone.

    Raises:
        CheckpointError: one is missing.
    """
    part = PART.search(path.stem)
    if not part:
        return [path]
    start, count = path.stem[: part.start()], int(part[2])
    parts = [path.with_name(f"{start}-{n:05}-of-{count:05}.gguf") for n in range(1, count + 1)]
    missing = [one.name for one in parts if not one.is_file()]
    if missing or not parts:
        raise CheckpointError(
            f"{start} is split into {count} files, and {(missing or [path.name])[0]} is not beside "
            "the others. Fetch it too."
        )
    return parts


def _open(path: Path) -> tuple["GGUFReader", dict[str, Any]]:
    """Open the file, and read its metadata without the long lists of the vocabulary."""
    with open(path, "rb") as file:
        if file.read(4) != b"GGUF":
            raise CheckpointError(
                f"{path.name} is not a GGUF file. Name a GGUF file, a folder with a model, "
                "or a Hub id."
            )
    # Imported here: only a conversion needs it, and it is slow to import.
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        metadata = {
            key: field.contents()
            for key, field in reader.fields.items()
            if not re.match(r"tokenizer\.ggml\.(tokens|merges|scores|token_type)$", key)
        }
    # The reader maps the file and trusts its sizes, so a short file fails wherever it happens to.
    except Exception as error:
        raise CheckpointError(
            f"{path.name} is cut off or damaged ({path.stat().st_size / 1e6:,.1f} MB). "
            "Fetch it again."
        ) from error
    return reader, metadata
