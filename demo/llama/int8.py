"""8-bit weights: the file of a base, planned and mapped, and products with its matrices.

A matrix of O rows and I columns is held as `CB` int8 (O, I) and `SCB` fp32 (O,), the largest
magnitude of each row, and stands for `CB * SCB / 127` (bitsandbytes, `int8_vectorwise_quant`).
Activations are not rounded to 8 bits on the CPU. Nothing here is ever trained.

The file: N layers, D width, H query heads, KV key-value heads, d head size, F feed-forward width, V
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
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numba as nb
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.kernels.compile import CACHE_LINE

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


class Int8Weight(NamedTuple):
    """One matrix, `CB` int8 (O, I) and `SCB` fp32 (O,), or N of them stacked along a first axis."""

    CB: Tensor
    SCB: Tensor

    def rows(self, start: int, stop: int) -> "Int8Weight":
        """Take outputs `start` to `stop` alone, without a copy."""
        return Int8Weight(self.CB[start:stop], self.SCB[start:stop])

    def dequantised(self) -> Tensor:
        """Return the matrix in fp32 (O, I), for tests and references only."""
        return self.CB.float() * (self.SCB / 127)[:, None]


class TensorEntry(NamedTuple):
    """One tensor of the file."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Part(NamedTuple):
    """One matrix or norm as a model comes with it, before it is stacked."""

    name: str
    layer: int | None  # None for what a model has once
    shape: tuple[int, ...]


class FilePlan(NamedTuple):
    """What is written, in order: the header, each matrix' parts (CB, then SCB), each norm's."""

    header: bytes
    size: int  # bytes of tensors after the header
    matrices: tuple[tuple[Part, ...], ...]
    norms: tuple[tuple[Part, ...], ...]


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
        """Copy all tensors to another device; tied stays tied."""

        def moved(pair: Int8Weight) -> Int8Weight:
            return Int8Weight(pair.CB.to(device), pair.SCB.to(device))

        embedding = moved(self.embedding)
        return LlamaWeights(
            embedding=embedding,
            output=embedding if self.output is self.embedding else moved(self.output),
            stacked_qkv=moved(self.stacked_qkv),
            stacked_attention_output=moved(self.stacked_attention_output),
            stacked_gate_up=moved(self.stacked_gate_up),
            stacked_down=moved(self.stacked_down),
            attention_norm=self.attention_norm.to(device),
            ffn_norm=self.ffn_norm.to(device),
            output_norm=self.output_norm.to(device),
        )


def _layer(stacked: Int8Weight, layer: int) -> Int8Weight:
    return Int8Weight(stacked.CB[layer], stacked.SCB[layer])


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
        TensorEntry(name, tensor.dtype, tuple(tensor.shape))
        for name, tensor in tensors.items()
        if not name.startswith("padding.")
    }
    if found != set(file_entries(config)):
        raise CheckpointError("The converted weights are not those of this model.")

    def matrix(name: str) -> Int8Weight:
        return Int8Weight(tensors[f"{name}.CB"], tensors[f"{name}.SCB"])

    embedding = matrix("embedding")
    return LlamaWeights(
        embedding=embedding,
        output=embedding if config.tied else matrix("output"),
        stacked_qkv=matrix("qkv"),
        stacked_attention_output=matrix("attention_output"),
        stacked_gate_up=matrix("gate_up"),
        stacked_down=matrix("down"),
        attention_norm=tensors["attention_norm"],
        ffn_norm=tensors["ffn_norm"],
        output_norm=tensors["output_norm"],
    )


def file_plan(config: LlamaConfig) -> FilePlan:
    """Plan the file for a model: all that a writer has to know."""
    header, size = _header(config)
    matrices = tuple(_parts(config, name, MATRICES[name]) for name in _matrix_names(config))
    return FilePlan(header, size, matrices, tuple(_parts(config, n, (n,)) for n in NORMS))


def file_entries(config: LlamaConfig) -> list[TensorEntry]:
    """List the tensors of the file in its order, paddings left out."""
    entries = []
    for name in _matrix_names(config):
        shapes = [_part_shape(config, part) for part in MATRICES[name]]
        stack = () if name in WHOLE else (config.layers,)
        rows = (*stack, sum(shape[0] for shape in shapes))
        entries.append(TensorEntry(f"{name}.CB", torch.int8, (*rows, shapes[0][1])))
        entries.append(TensorEntry(f"{name}.SCB", torch.float32, rows))
    for name in NORMS:
        stack = () if name in WHOLE else (config.layers,)
        entries.append(TensorEntry(name, torch.float32, (*stack, config.width)))
    return entries


def _matrix_names(config: LlamaConfig) -> list[str]:
    return [name for name in MATRICES if not (name == "output" and config.tied)]


def _parts(config: LlamaConfig, name: str, parts: tuple[str, ...]) -> tuple[Part, ...]:
    """List the parts of a tensor in the order of its rows, layer by layer."""
    layers = [None] if name in WHOLE else range(config.layers)
    return tuple(Part(part, layer, _part_shape(config, part)) for layer in layers for part in parts)


def _part_shape(config: LlamaConfig, part: str) -> tuple[int, ...]:
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


def _header(config: LlamaConfig) -> tuple[bytes, int]:
    """Write the safetensors header; return it, and how many bytes of tensors follow."""
    names = {torch.int8: "I8", torch.float32: "F32"}
    fields: dict[str, Any] = {}
    offset = 0
    for entry in file_entries(config):
        end = offset + entry.size
        fields[entry.name] = {
            "dtype": names[entry.dtype],
            "shape": entry.shape,
            "data_offsets": (offset, end),
        }
        offset = end + -end % CACHE_LINE
        if offset > end:
            fields[f"padding.{len(fields)}"] = {
                "dtype": "U8",
                "shape": (offset - end,),
                "data_offsets": (end, offset),
            }
    text = json.dumps(fields, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % CACHE_LINE)
    return len(text).to_bytes(8, "little") + text, offset


def refuse_extras(
    model: str, tensors: Iterable[str], names: Mapping[str, str], layers: int
) -> None:
    """Refuse a bias or an expert: left out, it would make another model without a word.

    Args:
        model: what it is called, for the message.
        tensors: the names of those that it holds.
        names: the patterns of those that a LLaMA has, with a place for the layer.
        layers: how many it has.

    Raises:
        CheckpointError: it holds something else.
    """
    known = {pattern.format(layer) for pattern in names.values() for layer in range(layers)}
    extra = sorted(set(tensors) - known)
    if extra:
        raise CheckpointError(
            f"{model} holds '{extra[0]:.60}', which a LLaMA has not. "
            "Use a LLaMA without biases, experts or other additions."
        )


class _MatrixBuffer(threading.local):
    """A buffer for one matrix, one a thread. Fresh memory would be paged in for each product."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint16)

    def of(self, shape: torch.Size) -> np.ndarray:
        """Return an array of a shape, valid until the next is asked for."""
        size = shape.numel()
        if self._memory.size < size:
            self._memory = np.empty(size, np.uint16)
        return self._memory[:size].reshape(shape)


class _Linear(torch.autograd.Function):
    """`x @ W.T` on the CPU in `dtype`, with the gradient for `x` only.

    The matrix is converted on the way, in the backward pass once more, and never kept: a whole
    model is never held dequantised.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, cb: Tensor, scb: Tensor, dtype: torch.dtype, buffer: _MatrixBuffer
    ) -> Tensor:
        ctx.save_for_backward(cb, scb)
        ctx.dtype, ctx.given, ctx.buffer = dtype, x.dtype, buffer
        return F.linear(x.to(dtype), dequantise(cb, scb, dtype, buffer))  # (..., O)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        cb, scb = ctx.saved_tensors
        weight = dequantise(cb, scb, ctx.dtype, ctx.buffer)
        return (grad.to(ctx.dtype) @ weight).to(ctx.given), None, None, None, None


def dequantise(cb: Tensor, scb: Tensor, dtype: torch.dtype, buffer: _MatrixBuffer) -> Tensor:
    """Convert CB (O, I), SCB (O,) to the matrix in fp32, or in bf16 rounded once, in `buffer`.

    Rounding to bf16 moves a weight by 0.1 % on average, a tenth of what 8 bits did.
    """
    if dtype != torch.bfloat16:
        return cb.to(dtype) * (scb / 127).to(dtype)[:, None]
    out = buffer.of(cb.shape)
    _to_bf16(cb.numpy(), (scb / 127).numpy(), np.empty(cb.shape[1], np.float32), out)
    return torch.from_numpy(out).view(torch.bfloat16)


@nb.njit(fastmath=True, nogil=True, cache=True)
def _to_bf16(cb, scale, row, out):  # (O, I) int8, (O,), (I,) scratch → (O, I) bits of bf16
    # Torch does this in three passes over memory. One thread is enough: the product that follows
    # takes twenty times as long.
    bits = row.view(np.uint32)
    for o in range(cb.shape[0]):
        for i in range(cb.shape[1]):
            row[i] = np.float32(cb[o, i]) * scale[o]
        for i in range(cb.shape[1]):
            even = (bits[i] >> np.uint32(16)) & np.uint32(1)  # ties go to the even neighbour
            out[o, i] = np.uint16((bits[i] + np.uint32(0x7FFF) + even) >> np.uint32(16))


@dataclass(frozen=True)
class Int8Linear:
    """Apply 8-bit matrices with the best product a device has.

    Args:
        dtype: of the product, bf16 on a CPU that has it, else fp32. On CUDA fp16 stands for
            bitsandbytes' product, whose activations have 8 bits; fp32 leaves them as they are.
    """

    dtype: torch.dtype
    buffer: _MatrixBuffer = field(default_factory=_MatrixBuffer, repr=False, compare=False)

    @classmethod
    def for_device(cls, device: torch.device) -> "Int8Linear":
        """Choose fp16 on CUDA, as bitsandbytes wants it; on a CPU bf16 if its GEMM is native."""
        if device.type == "cuda":
            return cls(torch.float16)
        native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return cls(torch.bfloat16 if native else torch.float32)

    def __call__(self, x: Tensor, weight: Int8Weight) -> Tensor:
        """Multiply x (..., I) → (..., O) in `dtype`."""
        if self.dtype == torch.float16:
            return bitsandbytes_linear(x, weight)
        return _Linear.apply(x, weight.CB, weight.SCB, self.dtype, self.buffer)


def bitsandbytes_linear(x: Tensor, weight: Int8Weight, threshold: float = 6.0) -> Tensor:
    """Apply a matrix by bitsandbytes' LLM.int8() product, x (..., I) → (..., O) in x's type.

    Columns of `x` with a magnitude above `threshold` are multiplied in fp16 (arXiv 2208.07339).
    Differentiable in `x`.
    """
    # Imported here: it costs seconds and a CPU run never needs it.
    import bitsandbytes as bnb

    state = bnb.MatmulLtState()
    state.CB, state.SCB = weight
    state.has_fp16_weights = False
    state.threshold = threshold
    rows = x.half().flatten(0, -2) if x.ndim > 1 else x.half()[None]  # it takes two dimensions
    return bnb.matmul(rows, weight.CB, state=state).to(x.dtype).view(*x.shape[:-1], -1)
