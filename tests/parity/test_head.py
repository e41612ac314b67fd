"""Losses from softmaxes that are never held, and their gradients, against autograd over fp32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from demo.llama.base import Base, open_base
from demo.llama.int8 import Int8Linear, Int8Weight
from demo.llama.kernels.compile import request_amx
from demo.llama.kernels.cross_entropy import CHUNK, GROUP
from demo.llama.kernels.int8_tile import TOKENS
from demo.llama.model import Llama
from demo.llama.training import CompiledHead, TorchHead, make_head
from tests.fixtures import REGISTER_SIZES

COUNT = GROUP * TOKENS + 37  # more than a group, and a part of a tile
ROWS = 3 * CHUNK + 77  # a part of a chunk, and no whole number of rows at once


@pytest.fixture(scope="module", params=["odd by vectors", "whole by vectors", "whole by amx"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param.endswith("amx") and not request_amx():
        pytest.skip("no matrix instructions on this processor")
    return request.param


@pytest.fixture(scope="module")
def model(
    way: str,
    tiny_llama_folder: Callable[..., Path],
    no_progress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Llama:
    """With matrices of odd sizes, or of whole registers; more rows than its tokenizer has."""
    sizes = REGISTER_SIZES if way.startswith("whole") else {}
    folder = tiny_llama_folder(**sizes)
    base: Base = open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)
    torch.manual_seed(5)
    rows = torch.randint(-127, 128, (ROWS, base.config.width), dtype=torch.int8)
    output = Int8Weight(rows, 20 * torch.rand(ROWS) / base.config.width**0.5)
    weights = replace(base.weights, output=output)
    return Llama(base.config, weights, Int8Linear(torch.float32), 64)


@pytest.fixture
def amx(way: str) -> bool:
    return way.endswith("amx")


def head(model: Llama, amx: bool, threads: int = 2) -> CompiledHead:
    made = CompiledHead(model, threads)
    made.amx = amx
    return made


def tokens(model: Llama, count: int = COUNT) -> tuple[Tensor, Tensor]:
    torch.manual_seed(6)
    return torch.randn(count, model.config.width), torch.randint(0, ROWS, (count,))


def both_ways(loss: Callable[[Tensor], Tensor], hidden: Tensor) -> tuple[Tensor, Tensor]:
    leaf = hidden.clone().requires_grad_()
    nats = loss(leaf)
    weights = torch.linspace(0.5, 1.5, len(nats))
    (nats * weights).sum().backward()
    return nats.detach(), leaf.grad


def distance(one: Tensor, two: Tensor) -> float:
    return ((one - two).norm() / two.norm()).item()


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("count", [COUNT, 1])
def test_cross_entropy(model, amx, learned, count):
    hidden, labels = tokens(model, count)
    if learned:  # most labels are nearly certain
        hidden += model.weights.output.dequantised()[labels]
    nats, grad = both_ways(lambda x: head(model, amx).cross_entropy(x, labels), hidden)
    exact, exact_grad = both_ways(lambda x: TorchHead(model).cross_entropy(x, labels), hidden)
    assert (nats - exact).abs().max() < 2e-3 and nats.min() >= -1e-6
    assert (grad - exact_grad).norm() < 2e-3 * exact_grad.norm() + 1e-5


def test_kl_divergence(model, amx):
    hidden, _ = tokens(model)
    other = hidden + 0.1 * torch.randn_like(hidden)
    mine, torchs = head(model, amx), TorchHead(model)
    there, exactly = mine.teacher_summary(other), torchs.teacher_summary(other)
    nats, grad = both_ways(lambda x: mine.kl_divergence(x, there), hidden)
    exact, exact_grad = both_ways(lambda x: torchs.kl_divergence(x, exactly), hidden)
    assert (nats - exact).abs().max() < 2e-3
    assert distance(grad, exact_grad) < 1e-2
    none, flat = both_ways(lambda x: mine.kl_divergence(x, mine.teacher_summary(hidden)), hidden)
    assert none.abs().max() == 0 and not flat.any()


def test_what_is_judged_is_what_is_learned(model, amx):
    hidden, labels = tokens(model)
    hidden[::2] += 3 * model.weights.output.dequantised()[labels[::2]]
    losses, hits = head(model, amx).losses_and_hits(hidden, labels)
    assert torch.equal(losses, head(model, amx).cross_entropy(hidden, labels))
    _, expected = TorchHead(model).losses_and_hits(hidden, labels)
    assert torch.equal(hits, expected) and 0.2 < hits.float().mean() < 0.8


def test_threads_and_company_change_no_bit(model, amx):
    hidden, labels = tokens(model)
    found = [
        both_ways(lambda x, n=n: head(model, amx, n).cross_entropy(x, labels), hidden)
        for n in (1, 2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    place = TOKENS + 5
    alone = head(model, amx).softmax_stats(hidden[place : place + 1], labels[place : place + 1])
    together = head(model, amx).softmax_stats(hidden, labels)
    assert all(torch.equal(a[0], b[place]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_is_not_hidden(model, amx, bad):
    hidden, labels = tokens(model, 40)
    hidden[33, 2] = bad
    nats = head(model, amx).cross_entropy(hidden, labels)
    assert nats.isfinite().sum() == 39 and not nats[33].isfinite()


def test_a_model_on_a_cpu_has_the_compiled_one(model):
    assert isinstance(make_head(model), CompiledHead)
