"""The shape of a LLaMA from each format, and what is refused by name."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig, RopeScaling, rotary_frequencies

HF = {
    "model_type": "llama",
    "num_hidden_layers": 3,
    "hidden_size": 36,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 50,
    "vocab_size": 300,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 256,
}
GGUF = {
    "general.architecture": "llama",
    "llama.block_count": 3,
    "llama.embedding_length": 36,
    "llama.attention.head_count": 6,
    "llama.attention.head_count_kv": 2,
    "llama.feed_forward_length": 50,
    "llama.attention.layer_norm_rms_epsilon": float(np.float32(1e-5)),
    "llama.context_length": 256,
}
PARAMS_7B = {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-6}


def test_hf() -> None:
    config = LlamaConfig.from_hf(HF)
    assert (config.width, config.heads, config.kv_heads, config.head_dim) == (36, 6, 2, 6)
    assert config.rope_theta == 10_000.0
    assert not config.tied


def test_hf_rotary_settings_of_transformers_4_and_5_are_the_same() -> None:
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"rope_type": "llama3", "original_max_position_embeddings": 64}
    old = LlamaConfig.from_hf({**HF, "rope_theta": 5e5, "rope_scaling": scaling})
    new = LlamaConfig.from_hf({**HF, "rope_parameters": {**scaling, "rope_theta": 5e5}})
    assert old == new
    assert old.rope_theta == 5e5
    assert old.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 64)


def test_gguf_is_the_same_model() -> None:
    found = LlamaConfig.from_gguf(GGUF, vocab=300, tied=False)
    assert found == LlamaConfig.from_hf(HF)


def test_gguf_keeps_the_factors_of_llama3() -> None:
    config = LlamaConfig.from_gguf(GGUF, vocab=300, tied=True, rope_factors=(1.0, 2.0, 8.0))
    plain = rotary_frequencies(dataclasses.replace(config, rope_factors=None))
    assert np.allclose(rotary_frequencies(config), plain / [1, 2, 8])


@pytest.mark.parametrize(
    "keys",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
    ],
)
def test_gguf_linear_scaling(keys: dict[str, Any]) -> None:
    config = LlamaConfig.from_gguf({**GGUF, **keys}, vocab=300, tied=False)
    assert config.rope_scaling == RopeScaling("linear", 4.0)


@pytest.mark.parametrize(
    ("params", "ffn", "context"),
    [
        (PARAMS_7B, 11_008, 2048),
        ({**PARAMS_7B, "norm_eps": 1e-5}, 11_008, 4096),
        # Llama 3.1 8B and 3.2 1B, as Meta wrote them.
        (
            {"dim": 4096, "ffn_dim_multiplier": 1.3, "multiple_of": 1024, "n_heads": 32}
            | {"n_kv_heads": 8, "n_layers": 32, "norm_eps": 1e-5, "rope_theta": 5e5}
            | {"use_scaled_rope": True},
            14_336,
            131_072,
        ),
        (
            {"dim": 2048, "ffn_dim_multiplier": 1.5, "multiple_of": 256, "n_heads": 32}
            | {"n_kv_heads": 8, "n_layers": 16, "norm_eps": 1e-5, "rope_theta": 5e5}
            | {"use_scaled_rope": True},
            8192,
            131_072,
        ),
    ],
)
def test_params(params: dict[str, Any], ffn: int, context: int) -> None:
    config = LlamaConfig.from_params({**params, "vocab_size": -1}, vocab=32_000)
    assert (config.ffn, config.context, config.vocab) == (ffn, context, 32_000)
    if params.get("use_scaled_rope"):
        assert config.rope_scaling is not None
        assert config.rope_scaling.factor == (8.0 if params["dim"] == 4096 else 32.0)


def test_json_round_trip() -> None:
    plain = LlamaConfig.from_hf(HF)
    scaled = dataclasses.replace(
        plain, rope_scaling=RopeScaling("linear", 2.0), rope_factors=(1.0, 2.0, 3.0)
    )
    for config in (plain, scaled):
        assert LlamaConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen2"}, "This is a qwen2 model; only the LLaMA architecture"),
        ({"attention_bias": True}, "has biases (attention_bias)"),
        ({"mlp_bias": True}, "has biases (mlp_bias)"),
        ({"hidden_act": "gelu"}, "activation is 'gelu'; only silu"),
        ({"num_key_value_heads": 4}, "6 heads cannot share 4 key-value heads evenly"),
        ({"num_attention_heads": 7}, "a width of 36 cannot be split into 7 heads"),
        ({"head_dim": 5}, "head_dim is 5, and rotary positions need an even one"),
        ({"vocab_size": None}, "it lacks 'vocab_size'"),
        ({"num_hidden_layers": 0}, "layers is 0, not a whole number above 0"),
        ({"rms_norm_eps": float("nan")}, "norm_eps is nan"),
        ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "by 'yarn'; linear and llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 0.0}}, "scaling factor is 0.0"),
        (
            {"rope_scaling": {"type": "llama3", "factor": 2.0, "low_freq_factor": 4.0}},
            "rotary band is 4.0 to 4.0",
        ),
    ],
)
def test_refused_from_hf(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        LlamaConfig.from_hf({**HF, **changes})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.architecture": "gemma2"}, "This is a gemma2 model; only the LLaMA"),
        ({"llama.expert_count": 8}, "This is a mixture-of-experts llama model"),
        ({"llama.rope.dimension_count": 4, "llama.attention.key_length": 6}, "rotates 4 of 6"),
        ({"llama.attention.value_length": 8}, "its keys and values differ in length"),
        ({"llama.rope.scaling.type": "yarn"}, "by 'yarn'; linear and llama3"),
    ],
)
def test_refused_from_gguf(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        LlamaConfig.from_gguf({**GGUF, **changes}, vocab=300, tied=False)
    assert message in str(caught.value)


def test_refused_from_json() -> None:
    with pytest.raises(CheckpointError, match="its fields are not those of a LLaMA"):
        LlamaConfig.from_json({"layers": 1})


def test_refused_factors() -> None:
    with pytest.raises(CheckpointError, match="2 rotary factors where 3 belong"):
        LlamaConfig.from_gguf(GGUF, vocab=300, tied=False, rope_factors=(1.0, 2.0))
