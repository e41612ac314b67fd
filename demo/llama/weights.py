"""The 8-bit file: what is in it, how it is mapped.

N layers, D width, H query heads, KV key-value heads, d head size, F feed-forward width, V
vocabulary. Matrices of all layers are stacked, so the decode kernel takes each as one array:

    embedding.CB int8 (V, D)              embedding.SCB fp32 (V)
    output.CB, output.SCB                 the same, only when the output is not the embedding
    qkv.CB int8 (N, (H + 2 KV) d, D)      qkv.SCB fp32 (N, rows): rows of q, then k, then v
    attention_output.CB (N, D, H d)       attention_output.SCB (N, D)
    gate_up.CB (N, 2 F, D)                gate_up.SCB (N, 2 F): rows of gate, then up
    down.CB (N, D, F)                     down.SCB (N, D)
    attention_norm, ffn_norm fp32 (N, D)  output_norm fp32 (D)

Every tensor begins at a multiple of 64 bytes in the file, a cache line: the header is padded with
spaces, and where a size is no such multiple a `padding.k` tensor follows, because the format allows
no holes.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.int8 import Int8Weight

LINE = 64  # bytes of a cache line
MATRICES = {  # a matrix of the file, and the parts of a model whose rows it holds
    "embedding": ("embedding",),
    "output": ("output",),
    "qkv": ("q", "k", "v"),
    "attention_output": ("attention_output",),
    "gate_up": ("gate", "up"),
    "down": ("down",),
}
NORMS = ("attention_norm", "ffn_norm", "output_norm")
WHOLE = ("embedding", "output", "output_norm")  # not one a layer


class Entry(NamedTuple):
    """One tensor of the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class LlamaWeights:
    """All tensors of a base, mapped from its file. Nothing may write to them.

    A `stacked_` matrix has the layers first: `CB` (N, O, I), `SCB` (N, O). The methods give one
    layer's, without a copy. `output` is `embedding` when the two are tied.
    """

    embedding: Int8Weight  # (V, D)
    output: Int8Weight  # (V, D)
    stacked_qkv: Int8Weight
    stacked_attention_output: Int8Weight
    stacked_gate_up: Int8Weight
    stacked_down: Int8Weight
    attention_norm: Tensor  # (N, D)
    ffn_norm: Tensor  # (N, D)
    output_norm: Tensor  # (D,)

    def qkv(self, layer: int) -> Int8Weight:
        """((H + 2 KV) d, D): queries, keys, values."""
        return _layer(self.stacked_qkv, layer)

    def attention_output(self, layer: int) -> Int8Weight:
        """(D, H d)."""
        return _layer(self.stacked_attention_output, layer)

    def gate_up(self, layer: int) -> Int8Weight:
        """(2 F, D): gate, up."""
        return _layer(self.stacked_gate_up, layer)

    def down(self, layer: int) -> Int8Weight:
        """(D, F)."""
        return _layer(self.stacked_down, layer)

    def to(self, device: torch.device) -> "LlamaWeights":
        """The same on another device; tied stays tied."""
        moved: dict[int, Int8Weight | Tensor] = {}
        for value in vars(self).values():
            if id(value) not in moved:
                both = isinstance(value, Int8Weight)
                moved[id(value)] = (
                    Int8Weight(*(tensor.to(device) for tensor in value))
                    if both
                    else value.to(device)
                )
        return LlamaWeights(**{name: moved[id(value)] for name, value in vars(self).items()})


def _layer(stacked: Int8Weight, layer: int) -> Int8Weight:
    return Int8Weight(stacked.CB[layer], stacked.SCB[layer])


def part_shape(config: LlamaConfig, part: str) -> tuple[int, ...]:
    """The shape of one part of one layer, before it is stacked."""
    c = config
    query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim
    shapes = {
        "embedding": (c.vocab, c.width),
        "output": (c.vocab, c.width),
        "q": (query, c.width),
        "k": (key, c.width),
        "v": (key, c.width),
        "attention_output": (c.width, query),
        "gate": (c.ffn, c.width),
        "up": (c.ffn, c.width),
        "down": (c.width, c.ffn),
    }
    return shapes.get(part, (c.width,))


def template(config: LlamaConfig) -> list[Entry]:
    """Names, types and shapes of the file, in its order, paddings left out."""
    entries = []
    for name in matrices_of(config):
        shapes = [part_shape(config, part) for part in MATRICES[name]]
        stack = () if name in WHOLE else (config.layers,)
        rows = (*stack, sum(shape[0] for shape in shapes))
        entries.append(Entry(f"{name}.CB", torch.int8, (*rows, shapes[0][1])))
        entries.append(Entry(f"{name}.SCB", torch.float32, rows))
    for name in NORMS:
        stack = () if name in WHOLE else (config.layers,)
        entries.append(Entry(name, torch.float32, (*stack, config.width)))
    return entries


def load_weights(path: Path, config: LlamaConfig) -> LlamaWeights:
    """Map the file. Pages are read when they are first used, and shared between processes.

    Raises:
        CheckpointError: the file is cut off, or its tensors are not those of `config`.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError("The converted weights cannot be read.") from error
    found = {
        Entry(name, tensor.dtype, tuple(tensor.shape))
        for name, tensor in tensors.items()
        if not name.startswith("padding.")
    }
    if found != set(template(config)):
        raise CheckpointError("The converted weights are not those of this model.")
    matrices = {
        name: Int8Weight(tensors[f"{name}.CB"], tensors[f"{name}.SCB"])
        for name in matrices_of(config)
    }
    embedding = matrices.pop("embedding")
    output = matrices.pop("output", embedding)
    stacks = {f"stacked_{name}": pair for name, pair in matrices.items()}
    norms = {name: tensors[name] for name in NORMS}
    return LlamaWeights(embedding=embedding, output=output, **stacks, **norms)


def matrices_of(config: LlamaConfig) -> list[str]:
    """Names of the matrices that a file for `config` holds."""
    return [name for name in MATRICES if not (name == "output" and config.tied)]


def gap(size: int) -> int:
    """Bytes from `size` up to the next multiple of a cache line."""
    return -size % LINE


def header(config: LlamaConfig) -> tuple[bytes, int]:
    """The safetensors header, and how many bytes of tensors follow it."""
    names = {torch.int8: "I8", torch.float32: "F32"}
    fields, offset = {}, 0
    for entry in template(config):
        end = offset + entry.size
        fields[entry.name] = {
            "dtype": names[entry.dtype],
            "shape": entry.shape,
            "data_offsets": (offset, end),
        }
        offset = end + gap(end)
        if offset > end:
            fields[f"padding.{len(fields)}"] = {
                "dtype": "U8",
                "shape": (offset - end,),
                "data_offsets": (end, offset),
            }
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * gap(8 + len(text))
    return len(text).to_bytes(8, "little") + text, offset
