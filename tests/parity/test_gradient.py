"""The compiled forward and backward pass against autograd over fp32, on tiny odd models."""

import numpy as np
import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.llama.kernels.gemm import (
    MAX_BACKWARD_COLUMNS,
    MAX_GRADIENT,
    QuantisedGradients,
    gemm_backward,
    quantise_gradients,
)
from demo.llama.kernels.int8_tile import GEMM_ROWS, TOKENS
from demo.llama.model import Llama, Prefix
from demo.llama.training import CompiledLayers, TorchLayers

LENGTHS = torch.tensor([40, 1, 7, 33, 64, 12])  # ends within a tile, at one, one token


@pytest.fixture
def prefix_of(base, model):
    def make(layers: int, texts: int) -> Prefix:
        torch.manual_seed(layers)
        adapter = Adapter(AdapterSpec.for_base(base.config, layers=layers, prompts=5))
        torch.nn.init.normal_(adapter.gate)
        with torch.no_grad():
            prefix = adapter.prefix(model)
            noise = 1 + 0.3 * torch.randn(1, texts, 1, 1, 1)  # as if each text had a picture
        return Prefix(prefix.key * noise, prefix.value * noise, prefix.gate)

    return make


def both_ways(run, below, prefix, grad, alike=None) -> list[torch.Tensor]:
    leaves = Prefix(*(part.clone().requires_grad_() for part in prefix))
    out = run(below, LENGTHS, leaves, alike)
    out.backward(grad)
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return ((one - two).norm() / two.norm()).item()


@pytest.mark.parametrize("texts", [1, len(LENGTHS)])
@pytest.mark.parametrize("layers", [1, 3])
def test_forward_and_backward(model: Llama, prefix_of, layers, texts):
    torch.manual_seed(1)
    below = torch.randn(len(LENGTHS), int(LENGTHS.max()), model.config.width)
    grad = torch.randn(int(LENGTHS.sum()), model.config.width)
    prefix = prefix_of(layers, texts)
    expected = both_ways(TorchLayers(model), below, prefix, grad)
    for threads in (1, 2):
        found = both_ways(CompiledLayers(model, threads), below, prefix, grad)
        assert distance(found[0], expected[0]) < 1e-3
        for part, exact in zip(found[1:], expected[1:], strict=True):
            assert part.shape == exact.shape
            assert distance(part, exact) < 0.05  # gradients have 8 bits


@pytest.mark.parametrize("layers", [1, 2])
def test_the_layers_below_have_no_prompts(model: Llama, layers):
    torch.manual_seed(4)
    embedded = torch.randn(len(LENGTHS), int(LENGTHS.max()), model.config.width)
    expected = TorchLayers(model).without_prompts(embedded, LENGTHS, layers)
    run = CompiledLayers(model, 2)
    found = run.without_prompts(embedded, LENGTHS, layers)
    assert distance(found, expected) < 1e-3
    alone = run.without_prompts(embedded[4:5], LENGTHS[4:5], layers)
    assert torch.equal(alone, found.split(LENGTHS.tolist())[4])


def test_threads_and_company_change_no_bit(model: Llama, prefix_of):
    torch.manual_seed(2)
    below = torch.randn(len(LENGTHS), int(LENGTHS.max()), model.config.width)
    grad = torch.randn(int(LENGTHS.sum()), model.config.width)
    prefix = prefix_of(2, 1)
    one, two = (both_ways(CompiledLayers(model, n), below, prefix, grad) for n in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    run = CompiledLayers(model, 2)
    with torch.no_grad():
        alone = run(below[3:4], LENGTHS[3:4], prefix)
        together = run(below, LENGTHS, prefix).split(LENGTHS.tolist())[3]
    assert torch.equal(alone, together)


def test_what_texts_have_alike_is_computed_once(model: Llama, prefix_of):
    torch.manual_seed(5)
    alike = torch.tensor([0, 0, 5, 20, 39, 11])  # of the first text's 40 tokens
    below = torch.randn(len(LENGTHS), int(LENGTHS.max()), model.config.width)
    for text, size in enumerate(alike):
        below[text, :size] = below[0, :size]
    grad = torch.randn(int(LENGTHS.sum()), model.config.width)
    prefix = prefix_of(3, 1)
    expected = both_ways(TorchLayers(model), below, prefix, grad, alike)
    whole = both_ways(CompiledLayers(model, 2), below, prefix, grad)
    one, two = (both_ways(CompiledLayers(model, n), below, prefix, grad, alike) for n in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(one[0], whole[0])
    run = CompiledLayers(model, 2)
    again = run.without_prompts(below, LENGTHS, 2, alike)
    assert torch.equal(again, run.without_prompts(below, LENGTHS, 2))
    for part, exact in zip(one[1:], expected[1:], strict=True):
        assert distance(part, exact) < 0.05


def test_the_backward_pass_must_come_before_another_batch(model: Llama, prefix_of):
    run, prefix = CompiledLayers(model, 1), prefix_of(1, 1)
    prefix = Prefix(*(part.requires_grad_() for part in prefix))
    below, lengths = torch.randn(1, 4, model.config.width), torch.tensor([4])
    first, second = (run(below, lengths, prefix).sum() for _ in range(2))
    with pytest.raises(RuntimeError, match="another batch"):
        first.backward()
    second.backward()
    with pytest.raises(RuntimeError, match="another batch"):
        second.backward()


@pytest.mark.parametrize(("outputs", "inputs"), [(70, 36), (33, 19), (5, 8)])
def test_a_backward_product(outputs, inputs):
    random = np.random.default_rng(3)
    weight = random.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    x = random.standard_normal((2, outputs, TOKENS)).astype(np.float32)
    scale = random.random(outputs, np.float32)
    qg = QuantisedGradients(
        np.zeros((2, (outputs + 3) // 4, TOKENS), np.int32),
        np.zeros((2, TOKENS), np.float32),
        np.zeros((2, TOKENS), np.int32),
        np.zeros((2, 4 * GEMM_ROWS * outputs), np.int16),
        False,
    )
    quantise_gradients(x, scale, 2 * TOKENS, qg, 2)
    y = np.zeros((2, inputs, TOKENS), np.float32)
    gemm_backward(weight, qg, 2 * TOKENS, y, 2)
    unit = qg.scale
    rounded = np.floor(x * scale[:, None] / unit[:, None] + 0.5) * unit[:, None]
    assert np.abs(rounded).max(axis=1) == pytest.approx(MAX_GRADIENT * unit, rel=1e-5)
    assert np.allclose(y, weight.T.astype(np.float32) @ rounded, atol=1e-2 * unit.max())


def test_no_sum_overflows_in_the_largest_model():
    assert MAX_BACKWARD_COLUMNS > 2 * 28_672  # gate and up of a 70B
