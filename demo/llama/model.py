"""The frozen transformer, with gated prefix attention.

Follows LLaMA (arXiv 2302.13971) in Hugging Face's convention: pre-norm, rotary positions in half
split, grouped heads, SwiGLU. What an adapter adds comes in as a `Prefix`, a plain value
(LLaMA-Adapter, arXiv 2303.16199, section 3.2). This file knows nothing of chat, of images, or of
how a prefix is made, and it keeps no state between calls.

Sizes: B sequences, T tokens, S cached positions, D width, H heads, KV key/value heads, d head size,
P prompts, N layers, L adapted layers, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from demo.llama.config import LlamaConfig, rotary_frequencies
from demo.llama.int8 import Int8Linear
from demo.llama.weights import LlamaWeights


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

    @classmethod
    def empty(cls, config: LlamaConfig, positions: int, device: torch.device) -> "KVCache":
        """Room for `positions` tokens. Memory is taken as it is filled, not here."""
        shape = (config.layers, config.kv_heads, positions, config.head_dim)
        return cls(torch.empty(shape, device=device), torch.empty(shape, device=device))


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

    def embed(self, ids: Tensor) -> Tensor:
        """ids (B, T) → (B, T, D) fp32."""
        w = self.weights
        scale = w.embedding.SCB[ids] / 127  # (B, T)
        return w.embedding.CB[ids].float() * scale[..., None]

    def forward(
        self, ids: Tensor, *, prefix: Prefix | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """ids (B, T) → final hidden states (B, T, D) fp32, normalised.

        With a cache, B is 1: the tokens follow what it holds, and it grows by T.
        """
        x = self.run(self.embed(ids), range(self.config.layers), prefix=prefix, cache=cache)
        if cache:
            cache.length += ids.shape[1]
        return self.finish(x)

    def run(
        self,
        x: Tensor,
        layers: range,
        *,
        prefix: Prefix | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Some of the layers, x (B, T, D) → (B, T, D).

        What lies below an adapter's first layer does not depend on it and may be run once.
        """
        start = cache.length if cache else 0
        for layer in layers:
            x = self.block(layer, x, start, prefix, cache)
        return x

    def finish(self, x: Tensor) -> Tensor:
        """The last norm, x (..., D) → (..., D)."""
        return self.norm(x, self.weights.output_norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden (..., D) → (..., V) fp32."""
        return self.linear(hidden, self.weights.output).float()

    def block(
        self, layer: int, x: Tensor, start: int, prefix: Prefix | None, cache: KVCache | None
    ) -> Tensor:
        """One layer, x (B, T, D) → (B, T, D)."""
        w = self.weights
        normed = self.norm(x, w.attention_norm[layer])
        x = x + self.attention(layer, normed, start, prefix, cache)
        normed = self.norm(x, w.ffn_norm[layer])
        gate, up = self.linear(normed, w.gate_up(layer)).chunk(2, -1)  # 2 x (B, T, F)
        return x + self.linear(F.silu(gate) * up, w.down(layer))

    def attention(
        self, layer: int, x: Tensor, start: int, prefix: Prefix | None, cache: KVCache | None
    ) -> Tensor:
        """softmax(causal q kᵀ/√d) v + gate · softmax(q Pkᵀ/√d) Pv, then W_o; (B, T, D) → same."""
        c, w = self.config, self.weights
        batch, tokens, _ = x.shape
        qkv = self.linear(x, w.qkv(layer)).view(batch, tokens, -1, c.head_dim).transpose(1, 2)
        rotated = self.rotate(qkv[:, : c.heads + c.kv_heads], start)
        q, k = rotated.split((c.heads, c.kv_heads), dim=1)  # (B, heads, T, d)
        v = qkv[:, c.heads + c.kv_heads :]
        if cache:
            end = start + tokens
            cache.key[layer, :, start:end], cache.value[layer, :, start:end] = k[0], v[0]
            k, v = cache.key[None, layer, :, :end], cache.value[None, layer, :, :end]
        mixed = self.attend(q, k, v, start)  # (B, H, T, d)
        adapted = layer - (c.layers - prefix.gate.shape[0]) if prefix else -1
        if adapted >= 0:
            mixed = mixed + self.attend_prompts(q, adapted, prefix)
        return self.linear(
            mixed.transpose(1, 2).reshape(batch, tokens, -1), w.attention_output(layer)
        )

    def attend(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """q (B, H, T, d) over k, v (B, KV, S, d) → (B, H, T, d). Query t sees up to `start + t`."""
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
        """q (B, H, T, d) over the prompts of one layer, times the gates → (B, H, T, d)."""
        gate = prefix.gate[adapted, :, None, None]  # (H, 1, 1)
        return gate.to(self.linear.dtype) * self.weigh(
            q, prefix.key[adapted], prefix.value[adapted], None
        )

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """softmax(q kᵀ/√d) v written out, q (B, H, T, d), k and v (B or 1, KV, S, d), mask (T, S).

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
        """Rotary positions on x (B, heads, T, d) → fp32, the first token at `start`."""
        end = start + x.shape[2]
        cos, sin = self.cos[start:end], self.sin[start:end]  # (T, d/2)
        a, b = x.float().chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """Root-mean-square norm over D, in fp32."""
        return F.rms_norm(x, (self.config.width,), weight, self.config.norm_eps)

    def prompt_keys_values(self, layer: int, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts (B, P, D) through the frozen W_k, W_v of a layer → two of (B, KV, P, d).

        Not normalised and not rotated (LLaMA-Adapter, section 3.2).
        """
        c = self.config
        weight = self.weights.qkv(layer)
        rows = weight.rows(c.heads * c.head_dim, weight.CB.shape[0])
        both = self.linear(prompts, rows).unflatten(-1, (2, c.kv_heads, c.head_dim))
        key, value = both.permute(2, 0, 3, 1, 4)  # (2, B, KV, P, d)
        return key, value
