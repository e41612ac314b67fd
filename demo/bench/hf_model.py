"""transformers' own LLaMA on weights of ours: what parity tests and benchmarks compare with."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from demo.llama.cache import Base
from demo.llama.config import LlamaConfig
from demo.llama.convert import Source

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

HF_NAMES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
Read = Callable[[str, int], Tensor]


def from_base(base: Base) -> "LlamaForCausalLM":
    """The model that a base's 8-bit rows stand for, in fp32."""
    c, w = base.config, base.weights
    query, key = c.heads * c.head_dim, c.kv_heads * c.head_dim

    def read(part: str, layer: int) -> Tensor:
        if part in ("embedding", "output"):
            return getattr(w, part).dequantised()
        if part == "output_norm":
            return w.output_norm
        if part in ("attention_norm", "ffn_norm"):
            return getattr(w, part)[layer]
        slices = {
            "q": w.qkv(layer).rows(0, query),
            "k": w.qkv(layer).rows(query, query + key),
            "v": w.qkv(layer).rows(query + key, query + 2 * key),
            "gate": w.gate_up(layer).rows(0, c.ffn),
            "up": w.gate_up(layer).rows(c.ffn, 2 * c.ffn),
            "attention_output": w.attention_output(layer),
            "down": w.down(layer),
        }
        return slices[part].dequantised()

    return build(c, read)


def from_source(source: Source) -> "LlamaForCausalLM":
    """The model as it is before any rounding of ours, in fp32."""
    return build(source.config, lambda part, layer: source.read(part, layer).float())


def build(c: LlamaConfig, read: Read) -> "LlamaForCausalLM":
    """transformers' model of a shape, filled part by part."""
    from transformers import LlamaConfig as HFConfig  # here, because it takes seconds
    from transformers import LlamaForCausalLM

    config = HFConfig(
        num_hidden_layers=c.layers,
        hidden_size=c.width,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        head_dim=c.head_dim,
        intermediate_size=c.ffn,
        vocab_size=c.vocab,
        rms_norm_eps=c.norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_theta},
        max_position_embeddings=c.context,
        tie_word_embeddings=c.tied,
    )
    state = {"model.embed_tokens.weight": read("embedding", 0)}
    state["model.norm.weight"] = read("output_norm", 0)
    state["lm_head.weight"] = state["model.embed_tokens.weight"] if c.tied else read("output", 0)
    for layer in range(c.layers):
        for part, name in HF_NAMES.items():
            state[f"model.layers.{layer}.{name}.weight"] = read(part, layer)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.load_state_dict(state, strict=True, assign=True)
    # Buffers are not in a state dict, so the meta device left this one empty.
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval().requires_grad_(False)
