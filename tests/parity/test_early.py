"""Early fusion of pictures (arXiv 2304.15010, section 3.2) beside a plain reference."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.llama.decoder import Decoder, SlotSizes, TorchDecoder
from demo.llama.model import Llama

pytestmark = [pytest.mark.compiles, pytest.mark.usefixtures("one_thread")]

EARLY, LATE, K, SEEN = 1, 1, 3, 7  # of three layers the first sees, the last has prompts
IDS = np.random.default_rng(3).integers(3, 250, 30).tolist()


def reference(model: Llama, adapter: Adapter, picture: Tensor | None) -> Tensor:
    """Compute logits (T, V): pictures meet the text in the first layers alone."""
    c, w, count = model.config, model.weights, len(IDS)
    group, sizes = c.heads // c.kv_heads, (c.heads * c.head_dim, *2 * [c.kv_heads * c.head_dim])

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + c.norm_eps).rsqrt() * weight

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, c.head_dim)).transpose(0, 1)

    def turned(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        cos, sin = model.cos[:count], model.sin[:count]
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    x = w.embedding.dequantised()[IDS]
    for layer in range(c.layers):
        fused = w.qkv(layer).dequantised()
        q, k, v = map(heads, (norm(x, w.attention_norm[layer]) @ fused.T).split(sizes, -1))
        q, k, v = turned(q), turned(k).repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        prompts = gate = None
        if layer < EARLY and picture is not None:
            prompts, gate = adapter.prompts[layer] + adapter.visual(picture), adapter.gate[layer]
        if layer >= c.layers - LATE:
            place = EARLY + layer - (c.layers - LATE)
            prompts, gate = adapter.prompts[place], adapter.gate[place]
        if prompts is not None:
            _, pk, pv = map(heads, (prompts @ fused.T).split(sizes, -1))
            pk, pv = (p.repeat_interleave(group, 0) for p in (pk, pv))
            told = F.scaled_dot_product_attention(q, pk, pv)
            mixed = mixed + torch.tanh(gate)[:, None, None] * told
        mixed = mixed.transpose(0, 1).flatten(1)
        x = x + mixed @ w.attention_output(layer).dequantised().T
        both = norm(x, w.ffn_norm[layer]) @ w.gate_up(layer).dequantised().T
        opened, up = both.chunk(2, -1)
        x = x + (F.silu(opened) * up) @ w.down(layer).dequantised().T
    return norm(x, w.output_norm) @ w.output.dequantised().T


@pytest.mark.parametrize("seen", [True, False], ids=["a picture", "none"])
def test_pictures_meet_the_text_in_the_first_layers(model: Llama, seen: bool) -> None:
    torch.manual_seed(4)
    config = model.config
    assert config.layers == EARLY + 1 + LATE  # one between has no prompts at all
    visual = VisualSpec(SEEN, 5)
    spec = AdapterSpec(EARLY + LATE, K, config.width, config.heads, visual, early=EARLY)
    adapter = Adapter(spec).requires_grad_(False)
    adapter.gate.normal_(0, 0.7)
    picture = torch.randn(1, SEEN) if seen else None
    expected = reference(model, adapter, picture).numpy()
    prefix = adapter.fixed_prefix(model, picture)
    slow = TorchDecoder(model, SlotSizes(1, 64, 4, kv_bits=32))
    assert np.abs(slow.prefill(0, IDS, prefix) - expected[-1]).max() <= 1e-4
    kernels = Decoder(model, SlotSizes(1, 64, 4, kv_bits=32), 1, exact=True)
    assert np.abs(kernels.prefill(0, IDS, prefix) - expected[-1]).max() <= 1e-4
    plain = slow.prefill(0, IDS, None)
    assert np.abs(plain - expected[-1]).max() > 0.01
