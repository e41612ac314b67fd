"""Rotary frequencies against transformers, for each kind of scaling."""

from typing import Any

import numpy as np
import pytest

from demo.llama.config import LlamaConfig, rotary_frequencies

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 4.0},
        {**LLAMA3, "original_max_position_embeddings": 8192},
        {**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 512},
    ],
)
@pytest.mark.parametrize(("theta", "head_dim"), [(10_000.0, 10), (500_000.0, 64)])
def test_frequencies(scaling: dict[str, Any], theta: float, head_dim: int) -> None:
    from transformers import LlamaConfig as Reference
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    sizes = {"hidden_size": 36, "num_attention_heads": 6, "head_dim": head_dim}
    reference = Reference(
        **sizes, rope_parameters={**scaling, "rope_theta": theta}, max_position_embeddings=65536
    )
    expected = LlamaRotaryEmbedding(reference).inv_freq.numpy()
    found = rotary_frequencies(LlamaConfig.from_hf(reference.to_dict()))
    assert found.shape == (head_dim // 2,)
    assert np.allclose(found, expected, rtol=1e-5, atol=0)
