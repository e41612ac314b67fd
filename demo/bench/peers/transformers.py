"""transformers' own LLaMA on weights of ours, for parity tests, and as a peer of the benchmarks.

As a peer it runs on bitsandbytes' 8-bit layers or in bf16, alone or with PEFT's adapter.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from demo.bench.peers.ours import PROMPTS
from demo.llama.base import Base
from demo.llama.config import LlamaConfig
from demo.llama.weights.quantise import WeightsSource
from demo.settings import Settings

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
    """Return the model that a base's 8-bit rows stand for, in fp32."""
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


def from_source(source: WeightsSource) -> "LlamaForCausalLM":
    """Return the model as it is before any rounding of ours, in fp32."""
    return build(source.config, lambda part, layer: source.read(part, layer).float())


def build(c: LlamaConfig, read: Read) -> "LlamaForCausalLM":
    """Return transformers' model of a shape, filled part by part."""
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


def padded(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
    """Return (B, T), each row's end filled up."""
    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filling)


class Transformers:
    """`generate`, greedy, and a training step, on the CPU; bf16 outside the 8-bit layers.

    Args:
        layers: of these many, the last ones, PEFT's AdaptionPrompt with gates open; 0 for none.
        int8: bitsandbytes' 8-bit layers, else all in bf16.
    """

    def __init__(self, base: Base, settings: Settings, *, layers: int, int8: bool) -> None:
        torch.set_num_threads(settings.threads)
        with tempfile.TemporaryDirectory() as folder:
            from_base(base).bfloat16().save_pretrained(folder)
            model: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.bfloat16,
                device_map="cpu",
                quantization_config=BitsAndBytesConfig(load_in_8bit=True) if int8 else None,
            )
        if layers:
            from peft import AdaptionPromptConfig, get_peft_model

            config = AdaptionPromptConfig(
                adapter_len=PROMPTS, adapter_layers=layers, task_type="CAUSAL_LM"
            )
            model = get_peft_model(model, config)
            for name, parameter in model.named_parameters():
                if name.endswith("adaption_gate"):
                    torch.nn.init.constant_(parameter, 0.05)
        self._model = model.eval()
        learned = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(learned, lr=5e-3) if layers else None

    def train(self, texts: list[list[int]], reply: int) -> float:
        """Return the seconds for one step."""
        ids = torch.tensor(texts)
        labels = ids.clone()
        labels[:, :-reply] = -100
        if self._optimizer is None:
            raise ValueError("only a model with an adapter learns")
        start = time.perf_counter()
        loss = self._model(input_ids=ids, labels=labels).loss
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return time.perf_counter() - start

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Return the seconds for `count` tokens of each sequence, the prompt left out."""
        prompt = torch.tensor([ids] * batch)
        return self._generate(prompt, count + 1) - self._generate(prompt, 1)

    def prefill(self, ids: list[int]) -> float:
        """Return the seconds for one prompt."""
        return self._generate(torch.tensor([ids]), 1)

    def _generate(self, prompt: torch.Tensor, count: int) -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                pad_token_id=2,
            )
        assert out.shape[1] == prompt.shape[1] + count
        return time.perf_counter() - start
