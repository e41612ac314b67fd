"""A model whose matrices are whole registers, by matrix instructions and by vectors.

Where the processor has no AMX, both would be the same code: then there is nothing to compare.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.llama import decoder as decoder_module
from demo.llama.base import Base, open_base
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.int8 import Int8Linear
from demo.llama.kernels.compile import request_amx
from demo.llama.model import Llama, Prefix, uses_amx
from demo.llama.training import CompiledLayers, TorchLayers
from tests.fixtures import REGISTER_SIZES

pytestmark = pytest.mark.skipif(
    not request_amx(), reason="this processor has no AMX, or may not use it"
)
LENGTHS = torch.tensor([40, 1, 33, 12])


@pytest.fixture(scope="module")
def base(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path_factory: pytest.TempPathFactory
) -> Base:
    folder = tiny_llama_folder(**REGISTER_SIZES)
    return open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)


@pytest.fixture(scope="module")
def model(base: Base) -> Llama:
    return Llama(base.config, base.weights, Int8Linear(torch.float32), 128)


@pytest.fixture
def prefix(base: Base, model: Llama) -> Prefix:
    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=3, prompts=5))
    torch.nn.init.normal_(adapter.gate)
    with torch.no_grad():
        return adapter.prefix(model)


def test_such_a_model_is_run_by_matrix_instructions(model: Llama) -> None:
    assert uses_amx(model.config)
    assert CompiledLayers(model, 1).amx


@pytest.mark.parametrize("threads", [1, 2])
def test_a_text_and_its_next_tokens_are_those_by_vectors(model, prefix, threads, monkeypatch):
    ids, results = torch.arange(3, 43), []
    for way in (True, False):
        monkeypatch.setattr(decoder_module, "uses_amx", lambda config, way=way: way)
        decoder = Decoder(
            model, SlotSizes(slots=6, positions=128, prompts=8, kv_bits=32), threads=threads
        )
        hidden = decoder.hidden(0, ids.tolist(), prefix)
        for slot in range(6):
            decoder.prefill(slot, ids[: 10 + slot].tolist(), prefix if slot % 2 else None)
        slots = np.arange(6)
        results.append((hidden, decoder.step(slots + 4, slots, slots + 10).copy()))
    expected = model.forward(ids[None], prefix=prefix)[0].numpy()
    assert np.abs(results[0][0] - expected).max() <= 3e-3
    for mine, other in zip(*results, strict=True):
        assert np.abs(mine - other).max() <= 3e-4 * np.abs(other).max()


def test_the_backward_pass_is_the_one_by_vectors(model, prefix) -> None:
    torch.manual_seed(1)
    below = torch.randn(len(LENGTHS), int(LENGTHS.max()), model.config.width)
    grad, found = torch.randn(int(LENGTHS.sum()), model.config.width), []
    for way in (True, False, None):
        run = TorchLayers(model) if way is None else CompiledLayers(model, 2)
        run.amx = way
        leaves = Prefix(*(part.clone().requires_grad_() for part in prefix))
        out = run(below, LENGTHS, leaves)
        out.backward(grad)
        found.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for mine, other, exact in zip(*found, strict=True):
        # A last bit decides how a gradient is rounded to 8 bits: they are not alike, but as good.
        off, allowance = ((part - exact).norm() / exact.norm() for part in (mine, other))
        assert off < 1.3 * allowance + 0.02
