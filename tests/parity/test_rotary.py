"""Rotary positions against transformers, for each kind of scaling."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.background_task import ProgressCallback
from demo.bench.peers import transformers as hf_model
from demo.llama.base import open_base
from demo.llama.config import LlamaConfig, rotary_frequencies
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama

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


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {**LLAMA3, "original_max_position_embeddings": 16},
    ],
    ids=["linear", "llama3"],
)
def test_logits_beyond_the_length_that_was_trained(
    scaling: dict[str, Any],
    tiny_llama_folder: Callable[..., Path],
    no_progress: ProgressCallback,
    tmp_path: Path,
) -> None:
    from transformers import LlamaConfig as Reference
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    folder = tiny_llama_folder(rope_parameters={**scaling, "rope_theta": 100.0})
    base = open_base(str(folder), tmp_path, no_progress)
    model, plain = (Llama(base.config, base.weights, Int8Linear(torch.float32), 64) for _ in "ab")
    reference = hf_model.from_base(base)
    # From the folder's own words, not from what we made of them.
    reference.model.rotary_emb = LlamaRotaryEmbedding(Reference.from_pretrained(folder))
    ids = torch.randint(base.config.vocab, (1, 48), generator=torch.Generator().manual_seed(1))
    unscaled = LlamaConfig.from_hf(
        Reference.from_pretrained(folder).to_dict()
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}
    )
    turns = np.outer(np.arange(64), rotary_frequencies(unscaled)).astype(np.float32)
    plain.cos, plain.sin = torch.from_numpy(np.cos(turns)), torch.from_numpy(np.sin(turns))
    with torch.inference_mode():
        found = model.logits(model.forward(ids))
        assert (found - reference(ids).logits).abs().max() <= 1e-4
        assert (found - plain.logits(plain.forward(ids))).abs().max() > 0.01
