"""The frozen transformer, with gated prefix attention.

Follows LLaMA (arXiv 2302.13971) in Hugging Face's convention: pre-norm, rotary positions in half
split, grouped heads, SwiGLU. What an adapter adds comes in as a `Prefix`, a plain value
(LLaMA-Adapter, arXiv 2303.16199, section 3.2), and what it changes beside that as a `Delta`. This
file knows nothing of chat, of images, or of how either is made, and it keeps no state between
calls.

Sizes: B sequences, T tokens, S cached positions, D width, H heads, KV key/value heads, d head size,
P prompts, N layers, L adapted layers, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.llama.config import LlamaConfig, rotary_frequencies
from demo.llama.delta import Delta, LinearDelta
from demo.llama.int8 import Int8Linear, Int8Weight, LlamaWeights
from demo.llama.kernels.amx import TILE_COLUMNS, TILE_PAIR
from demo.llama.kernels.compile import request_amx


class Prefix(NamedTuple):
    """Keys and values of the adaption prompts for the last L layers, and how far each head opens.

    `key`, `value` (L, B, KV, P, d) fp32, B may be 1 for one prefix shared by a batch; `gate` (L, H)
    fp32 is what multiplies the prompt's attention, already through tanh and the strength dial.
    """

    key: Tensor
    value: Tensor
    gate: Tensor


@dataclass
class KVCache:
    """Keys and values (N, KV, S, d) fp32 of one sequence, the first `length` filled."""

    key: Tensor
    value: Tensor
    length: int = 0


class Llama:
    """A LLaMA on 8-bit weights. Read-only: nothing in it requires a gradient or changes.

    Args:
        config: the shape.
        weights: all tensors on one device.
        linear: how an 8-bit matrix is applied, and with it the type of the heavy arithmetic.
        positions: rows of the rotary table, the longest sequence that can be run.
    """

    def __init__(
        self, config: LlamaConfig, weights: LlamaWeights, linear: Int8Linear, positions: int
    ) -> None:
        self.config, self.weights, self.linear = config, weights, linear
        self.device = weights.output_norm.device
        inverse = torch.as_tensor(rotary_frequencies(config), dtype=torch.float64)
        angle = torch.arange(positions, dtype=torch.float64)[:, None] * inverse  # (positions, d/2)
        self.cos = angle.cos().float().to(self.device)
        self.sin = angle.sin().float().to(self.device)
        query_rows, all_rows = config.heads * config.head_dim, weights.stacked_qkv.CB.shape[1]
        # W_k and W_v of each layer, which prompts go through; views, as all that `qkv` gives.
        self._key_value = [
            weights.qkv(layer).rows(query_rows, all_rows) for layer in range(config.layers)
        ]
        self._part_rows = _part_rows(config)

    def empty_cache(self, positions: int, kv_bits: int = 32) -> KVCache:
        """Make room for the keys and values of `positions` tokens.

        Memory is taken as it is filled, not here. Of 16 bits they are kept as they are multiplied
        anyway, or in bf16 where products are in fp32.
        """
        c, dtype = self.config, self.linear.dtype
        if kv_bits == 32:
            dtype = torch.float32
        elif dtype == torch.float32:
            dtype = torch.bfloat16
        shape = (c.layers, c.kv_heads, positions, c.head_dim)
        key, value = (torch.empty(shape, dtype=dtype, device=self.device) for _ in range(2))
        return KVCache(key, value)

    def embed(self, ids: Tensor) -> Tensor:
        """Embed ids (B, T) → (B, T, D) fp32."""
        w = self.weights
        scale = w.embedding.SCB[ids] / 127  # (B, T)
        return w.embedding.CB[ids].float() * scale[..., None]

    def forward(
        self,
        ids: Tensor,
        *,
        prefix: Prefix | None = None,
        cache: KVCache | None = None,
        delta: Delta | None = None,
    ) -> Tensor:
        """Run ids (B, T) → final hidden states (B, T, D) fp32, normalised.

        With a cache, B is 1: the tokens follow what it holds, and it grows by T.
        """
        layers, embedded = range(self.config.layers), self.embed(ids)
        x = self.run(embedded, layers, prefix=prefix, cache=cache, delta=delta)
        if cache:
            cache.length += ids.shape[1]
        return self.finish(x, delta)

    def run(
        self,
        x: Tensor,
        layers: range,
        *,
        prefix: Prefix | None = None,
        cache: KVCache | None = None,
        delta: Delta | None = None,
    ) -> Tensor:
        """Run some of the layers, x (B, T, D) → (B, T, D).

        What lies below an adapter's first layer does not depend on it and may be run once.
        """
        start = cache.length if cache else 0
        for layer in layers:
            x = self.block(layer, x, start, prefix, cache, delta)
        return x

    def finish(self, x: Tensor, delta: Delta | None = None) -> Tensor:
        """Apply the last norm, x (..., D) → (..., D)."""
        own = delta.output_norm if delta else None
        return self.norm(x, self.weights.output_norm if own is None else own)

    def logits(self, hidden: Tensor) -> Tensor:
        """Compute logits: hidden (..., D) → (..., V) fp32."""
        return self.linear(hidden, self.weights.output).float()

    def block(
        self,
        layer: int,
        x: Tensor,
        start: int,
        prefix: Prefix | None,
        cache: KVCache | None,
        delta: Delta | None,
    ) -> Tensor:
        """Run one layer, x (B, T, D) → (B, T, D)."""
        w, own = self.weights, delta or Delta()
        norms = own.attention_norm, own.ffn_norm
        first, second = (
            of_base[layer] if norm is None else norm[layer]
            for norm, of_base in zip(norms, (w.attention_norm, w.ffn_norm), strict=True)
        )
        x = x + self.attention(layer, self.norm(x, first), start, prefix, cache, delta)
        both = self.product(2, layer, self.norm(x, second), w.gate_up(layer), delta)
        gate, up = both.chunk(2, -1)  # 2 x (B, T, F)
        return x + self.product(3, layer, F.silu(gate) * up, w.down(layer), delta)

    def product(
        self, place: int, layer: int, x: Tensor, weight: Int8Weight, delta: Delta | None
    ) -> Tensor:
        """Apply a layer's matrix, the product `place` of its four, as an adapter changes it."""
        change = delta.linears[place] if delta else None
        if change is None or change == LinearDelta():
            return self.linear(x, weight)
        return change.at(layer).apply(self.linear, x, weight, self._part_rows[place])

    def attention(
        self,
        layer: int,
        x: Tensor,
        start: int,
        prefix: Prefix | None,
        cache: KVCache | None,
        delta: Delta | None,
    ) -> Tensor:
        """Attend within x (B, T, D), and to a layer's prompts → (B, T, D).

        W_o (softmax(causal q kᵀ/√d) v + gate · softmax(q Pkᵀ/√d) Pv)
        """
        c, w = self.config, self.weights
        batch, tokens, _ = x.shape
        qkv = self.product(0, layer, x, w.qkv(layer), delta)
        qkv = qkv.view(batch, tokens, -1, c.head_dim).transpose(1, 2)
        rotated = self.rotate(qkv[:, : c.heads + c.kv_heads], start)
        q, k = rotated.split((c.heads, c.kv_heads), dim=1)  # (B, heads, T, d)
        v = qkv[:, c.heads + c.kv_heads :]
        if cache:
            end = start + tokens
            cache.key[layer, :, start:end], cache.value[layer, :, start:end] = k[0], v[0]
            k, v = cache.key[None, layer, :, :end], cache.value[None, layer, :, :end]
        mixed = self.attend(q, k, v, start)  # (B, H, T, d)
        if prefix:
            adapted = layer - (c.layers - prefix.gate.shape[0])
            if adapted >= 0:
                mixed = mixed + self.attend_prompts(q, adapted, prefix)
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, -1)
        return self.product(1, layer, mixed, w.attention_output(layer), delta)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """Attend with q (B, H, T, d) to k, v (B, KV, S, d) → as q; query t sees up to start + t."""
        dtype, tokens = self.linear.dtype, q.shape[2]
        mask = None
        if start or q.requires_grad:
            seen = start + torch.arange(tokens, device=q.device)[:, None]
            mask = torch.arange(k.shape[2], device=q.device) <= seen  # (T, S)
        if q.requires_grad:
            return self.weigh(q, k, v, mask)
        group = self.config.heads // k.shape[1]
        k, v = (x.to(dtype).repeat_interleave(group, 1) for x in (k, v))  # (B, H, S, d)
        return F.scaled_dot_product_attention(
            q.to(dtype), k, v, attn_mask=mask, is_causal=start == 0
        )

    def attend_prompts(self, q: Tensor, adapted: int, prefix: Prefix) -> Tensor:
        """Attend with q (B, H, T, d) to one layer's prompts, times the gates → (B, H, T, d)."""
        gate = prefix.gate[adapted, :, None, None]  # (H, 1, 1)
        return gate.to(self.linear.dtype) * self.weigh(
            q, prefix.key[adapted], prefix.value[adapted], None
        )

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Write softmax(q kᵀ/√d) v out, q (B, H, T, d), k and v (B or 1, KV, S, d), mask (T, S).

        The fused attention is made for long rows. Prompts are a handful and what is taught is
        short: there its backward pass alone takes as long as all of this.
        """
        dtype, shape, kv_heads = self.linear.dtype, q.shape, k.shape[1]
        group = shape[1] // kv_heads
        grouped = q.to(dtype).reshape(shape[0], kv_heads, group * shape[2], shape[3])
        scores = grouped @ k.to(dtype).mT / self.config.head_dim**0.5  # (B, KV, group T, S)
        if mask is not None:
            scores = scores.masked_fill(~mask.repeat(group, 1), -torch.inf)
        weights = scores.float().softmax(-1).to(dtype)
        return (weights @ v.to(dtype)).view(shape)

    def rotate(self, x: Tensor, start: int) -> Tensor:
        """Turn x (B, heads, T, d) by rotary positions → fp32, the first token at `start`."""
        end = start + x.shape[2]
        cos, sin = self.cos[start:end], self.sin[start:end]  # (T, d/2)
        a, b = x.float().chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """Apply a root-mean-square norm over D, in fp32."""
        return F.rms_norm(x, (self.config.width,), weight, self.config.norm_eps)

    def prompt_keys_values(
        self, layer: int, prompts: Tensor, delta: Delta | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run prompts (B, P, D) through the frozen W_k, W_v of a layer → two of (B, KV, P, d).

        Not normalised and not rotated (LLaMA-Adapter, section 3.2). Biases and scales of a delta
        act on prompts as on texts; a LoRA does not, as its authors have it.
        """
        c = self.config
        if delta is None:
            both = self.linear(prompts, self._key_value[layer])
        else:
            change = delta.qkv.at(layer)._replace(down=None, up=None)
            all_rows = change.apply(
                self.linear, prompts, self.weights.qkv(layer), self._part_rows[0]
            )
            both = all_rows[..., c.heads * c.head_dim :]
        both = both.unflatten(-1, (2, c.kv_heads, c.head_dim))  # (B, P, 2, KV, d)
        key, value = both.permute(2, 0, 3, 1, 4)  # (2, B, KV, P, d)
        return key, value


class KernelWeights(NamedTuple):
    """The base as kernels read it: int8 matrices (N, O, I), fp32 scales (N, O) = SCB / 127."""

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


def uses_amx(c: LlamaConfig) -> bool:
    """Return whether all products are done by matrix instructions on this machine."""
    heads = c.heads * c.head_dim
    whole = whole_tiles(c.width, heads, heads + 2 * c.kv_heads * c.head_dim, c.ffn)
    return whole and c.vocab >= TILE_PAIR and request_amx()


def _part_rows(config: LlamaConfig) -> tuple[tuple[int, ...], ...]:
    """Give the rows of each part of the four products, in the order of `Delta.linears`."""
    key_value = config.kv_heads * config.head_dim
    return (
        (config.heads * config.head_dim, key_value, key_value),
        (config.width,),
        (config.ffn, config.ffn),
        (config.width,),
    )


def whole_tiles(*sizes: int) -> bool:
    """Return whether matrices of these sizes are whole registers, without a rest."""
    return all(size > 0 and size % TILE_COLUMNS == 0 for size in sizes)


def kernel_weights(model: Llama) -> KernelWeights:
    """View the model's own tensors as numpy arrays; only the row scales are new."""
    w = model.weights

    def scale(scb: Tensor) -> np.ndarray:
        return (scb / 127).numpy()

    return KernelWeights(
        w.embedding.CB.numpy(), scale(w.embedding.SCB),
        w.output.CB.numpy(), scale(w.output.SCB),
        w.stacked_qkv.CB.numpy(), scale(w.stacked_qkv.SCB),
        w.stacked_attention_output.CB.numpy(), scale(w.stacked_attention_output.SCB),
        w.stacked_gate_up.CB.numpy(), scale(w.stacked_gate_up.SCB),
        w.stacked_down.CB.numpy(), scale(w.stacked_down.SCB),
        w.attention_norm.numpy(), w.ffn_norm.numpy(), w.output_norm.numpy(),
        model.cos.numpy(), model.sin.numpy(),
    )  # fmt: skip
