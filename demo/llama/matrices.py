"""The base as compiled code reads it: numpy views of the model's own tensors."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

from demo.llama.amx import BOTH, allowed, fits
from demo.llama.config import LlamaConfig
from demo.llama.model import Llama


class Matrices(NamedTuple):
    """The base as the kernel reads it: int8 matrices (N, O, I), fp32 scales (N, O) = SCB / 127."""

    embedding: np.ndarray  # (V, D)
    embedding_scale: np.ndarray
    output: np.ndarray  # (V, D)
    output_scale: np.ndarray
    qkv: np.ndarray
    qkv_scale: np.ndarray
    attention_output: np.ndarray
    attention_output_scale: np.ndarray
    gate_up: np.ndarray
    gate_up_scale: np.ndarray
    down: np.ndarray
    down_scale: np.ndarray
    attention_norm: np.ndarray  # (N, D) fp32
    ffn_norm: np.ndarray  # (N, D) fp32
    output_norm: np.ndarray  # (D,) fp32
    cos: np.ndarray  # (positions, d/2) fp32
    sin: np.ndarray


def by_bytes(c: LlamaConfig) -> bool:
    """Whether the products with all matrices are done by matrix instructions on this machine."""
    heads = c.heads * c.head_dim
    whole = fits(c.width, heads, heads + 2 * c.kv_heads * c.head_dim, c.ffn)
    return whole and c.vocab >= BOTH and allowed()


def matrices_of(model: Llama) -> Matrices:
    """The model's own tensors as numpy views; only the row scales are new."""
    w = model.weights

    def scale(scb: Tensor) -> np.ndarray:
        return (scb / 127).numpy()

    return Matrices(
        w.embedding.CB.numpy(), scale(w.embedding.SCB),
        w.output.CB.numpy(), scale(w.output.SCB),
        w.stacked_qkv.CB.numpy(), scale(w.stacked_qkv.SCB),
        w.stacked_attention_output.CB.numpy(), scale(w.stacked_attention_output.SCB),
        w.stacked_gate_up.CB.numpy(), scale(w.stacked_gate_up.SCB),
        w.stacked_down.CB.numpy(), scale(w.stacked_down.SCB),
        w.attention_norm.numpy(), w.ffn_norm.numpy(), w.output_norm.numpy(),
        model.cos.numpy(), model.sin.numpy(),
    )  # fmt: skip
