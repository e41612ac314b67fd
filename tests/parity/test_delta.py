"""What adapters change beside their prompts, beside a plain reference; kinds mixed in a batch."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, DeltaSpec
from demo.finetune.data.examples import Example
from demo.finetune.train.loss import FrozenBase, loss_of
from demo.llama.decoder import Decoder, SlotSizes, TorchDecoder
from demo.llama.model import Llama

pytestmark = [pytest.mark.compiles, pytest.mark.usefixtures("one_thread")]

KINDS = {
    "prompts": {},
    "biases": {"bias": True, "norms": True},
    "paper": {"bias": True, "scale": "after", "norms": True},
    "chat": {"bias": True, "scale": "before", "norms": True},
    "low rank": {"rank": 3},
    "all": {"bias": True, "scale": "before", "norms": True, "rank": 5},
}
IDS = np.random.default_rng(3).integers(3, 250, 40).tolist()
# By bits of keys and values: in steps, in a prompt. What lies between two numbers of 16 bits may be
# rounded to either.
NEAR = {32: (1e-4, 2e-3), 16: (3e-3, 2e-2)}
PARTS = ("qkv", "attention_output", "gate_up", "down")


def make(model: Llama, kind: str, *, opened: bool = True) -> Adapter:
    torch.manual_seed(len(kind))
    config, fields = model.config, KINDS[kind]
    delta = DeltaSpec.for_base(config, **fields) if fields else None
    adapter = Adapter(AdapterSpec.for_base(config, layers=2, prompts=3, delta=delta))
    if opened:
        with torch.no_grad():
            adapter.gate.normal_(0, 0.5)
            for part in adapter.changes.parameters() if adapter.changes else ():
                part.copy_(0.05 * torch.randn_like(part))
    return adapter


def reference(model: Llama, adapter: Adapter, ids: list[int], kv_bits: int = 32) -> Tensor:
    """Compute logits (T, V) by the formulas alone, in fp32 matrices."""
    c, w, state = model.config, model.weights, dict(adapter.named_parameters())
    spec = adapter.spec.delta
    rows = spec.rows(c.width) if spec else {}

    def product(name: str, layer: int, x: Tensor, weight: Tensor, low: bool = True) -> Tensor:
        if not spec:
            return x @ weight.T
        at, out = f"changes.{name}.", []
        for part, end in enumerate(accumulate(rows[name])):
            some = slice(end - rows[name][part], end)
            given = x
            if spec.scale == "before":
                given = x * (1 + state[f"{at}scale"][layer, part])
            y = given @ weight[some].T
            if spec.scale == "after":
                y = (y + state[f"{at}bias"][layer, some]) * (1 + state[f"{at}scale"][layer, some])
            elif spec.bias:
                y = y + state[f"{at}bias"][layer, some]
            if spec.rank and low:
                y = y + x @ state[f"{at}down"][layer, part].T @ state[f"{at}up"][layer, some].T
            out.append(y)
        return torch.cat(out, -1)

    def norm(name: str, weight: Tensor, layer: int | None, x: Tensor) -> Tensor:
        own = state[f"changes.{name}"] if spec and spec.norms else torch.zeros(1)
        own = own[layer] if layer is not None and spec and spec.norms else own
        return x * (x.square().mean(-1, keepdim=True) + c.norm_eps).rsqrt() * (weight + own)

    def heads(x: Tensor, count: int) -> Tensor:
        return x.unflatten(-1, (count, c.head_dim)).transpose(0, 1)  # (heads, T, d)

    def turned(x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        cos, sin = model.cos[: len(ids)], model.sin[: len(ids)]
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    x = w.embedding.dequantised()[ids]
    unseen = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
    query, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    group = c.heads // c.kv_heads
    for layer in range(c.layers):
        normed = norm("attention_norm", w.attention_norm[layer], layer, x)
        fused = w.qkv(layer).dequantised()
        q, k, v = product("qkv", layer, normed, fused).split((query, keys, keys), -1)
        q, k, v = turned(heads(q, c.heads)), turned(heads(k, c.kv_heads)), heads(v, c.kv_heads)
        if kv_bits == 16:
            k, v = k.bfloat16().float(), v.bfloat16().float()
        k, v = k.repeat_interleave(group, 0), v.repeat_interleave(group, 0)
        mixed = (q @ k.mT / c.head_dim**0.5 + unseen).softmax(-1) @ v
        place = layer - (c.layers - adapter.spec.layers)
        if place >= 0:
            prompts = product("qkv", layer, state["prompts"][place], fused, low=False)
            _, pk, pv = prompts.split((query, keys, keys), -1)
            pk, pv = (heads(p, c.kv_heads).repeat_interleave(group, 0) for p in (pk, pv))
            gate = torch.tanh(state["gate"][place])[:, None, None]
            mixed = mixed + gate * ((q @ pk.mT / c.head_dim**0.5).softmax(-1) @ pv)
        mixed = mixed.transpose(0, 1).flatten(1)
        output = w.attention_output(layer).dequantised()
        x = x + product("attention_output", layer, mixed, output)
        normed = norm("ffn_norm", w.ffn_norm[layer], layer, x)
        both = product("gate_up", layer, normed, w.gate_up(layer).dequantised())
        gate_part, up = both.chunk(2, -1)
        x = x + product("down", layer, F.silu(gate_part) * up, w.down(layer).dequantised())
    return norm("output_norm", w.output_norm, None, x) @ w.output.dequantised().T


@pytest.fixture(scope="module", params=[32, 16])
def kernels(request: pytest.FixtureRequest, model: Llama) -> Decoder:
    return Decoder(model, SlotSizes(2 * len(KINDS), 64, 4, request.param), 1)


def stepped(decoder: Decoder, slot: int, ids: list[int]) -> np.ndarray:
    """Run tokens one by one, without what a prefill rounds → logits (T, V)."""
    found = []
    for position, token in enumerate(ids):
        column = (np.array([n]) for n in (token, slot, position))
        found.append(decoder.step(*column)[0].copy())
    return np.stack(found)


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_computes_what_the_formulas_say(model: Llama, kernels: Decoder, kind: str):
    adapter = make(model, kind)
    prefix, delta = adapter.fixed_prefix(model), adapter.fixed_delta(model)
    with torch.no_grad():
        expected = reference(model, adapter, IDS, kernels.sizes.kv_bits).numpy()
    exact, of_prompts = NEAR[kernels.sizes.kv_bits]
    slow = TorchDecoder(model, replace(kernels.sizes, slots=1))
    assert np.abs(slow.prefill(0, IDS, prefix, delta=delta) - expected[-1]).max() <= exact
    kernels.set_prefix(0, prefix)
    kernels.set_delta(0, delta)
    assert np.abs(stepped(kernels, 0, IDS) - expected).max() <= exact
    # A prompt's numbers are rounded to 16 bits, the plain base's too.
    assert np.abs(kernels.prefill(0, IDS, prefix, delta=delta) - expected[-1]).max() <= of_prompts


def test_a_batch_of_all_kinds_equals_each_alone(model: Llama, kernels: Decoder):
    position = np.full(len(KINDS), len(IDS))
    alone, slots = [], np.arange(len(KINDS))
    for slot, kind in enumerate(KINDS):
        adapter = make(model, kind)
        prefix, delta = adapter.fixed_prefix(model), adapter.fixed_delta(model)
        kernels.prefill(slot, IDS, prefix, delta=delta)
        step = (np.array([7]), np.array([slot]), np.array([len(IDS)]))
        alone.append(kernels.step(*step)[0].copy())
    together = kernels.step(np.full(len(KINDS), 7), slots, position)
    assert (together == np.stack(alone)).all()


def test_two_threads_compute_what_one_does(model: Llama, kernels: Decoder):
    both = Decoder(model, kernels.sizes, 2)
    slots, position = np.arange(len(KINDS)), np.full(len(KINDS), len(IDS))
    found = []
    for decoder in (kernels, both):
        prompts = []
        for slot, kind in enumerate(KINDS):
            adapter = make(model, kind)
            prefix, delta = adapter.fixed_prefix(model), adapter.fixed_delta(model)
            prompts.append(decoder.prefill(slot, IDS, prefix, delta=delta))
        step = decoder.step(np.full(len(KINDS), 7), slots, position).copy()
        found.append((np.stack(prompts), step))
    assert all((one == two).all() for one, two in zip(*found, strict=True))


@pytest.mark.parametrize("how", ["untrained", "at strength 0"])
def test_what_is_closed_leaves_the_base_bit_for_bit(model: Llama, kernels: Decoder, how: str):
    adapter = make(model, "all", opened=how != "untrained")
    strength = float(how == "untrained")
    given = adapter.fixed_prefix(model, strength=strength)
    delta = adapter.fixed_delta(model, strength=strength)
    slow = TorchDecoder(model, replace(kernels.sizes, slots=1))
    step = (np.array([7]), np.array([0]), np.array([len(IDS)]))
    for decoder in (kernels, slow):
        plain = decoder.prefill(0, IDS, None), decoder.step(*step).copy()
        closed = decoder.prefill(0, IDS, given, delta=delta), decoder.step(*step).copy()
        assert all((a == b).all() for a, b in zip(plain, closed, strict=True))


@pytest.mark.parametrize("kind", ["paper", "all"])
def test_gradients_are_those_of_the_formulas(model: Llama, kind: str):
    adapter = make(model, kind)
    labels = tuple(IDS[1:21])
    example = Example(tuple(IDS[:20]), labels)
    frozen = FrozenBase(model, adapter.spec.reach(model.config), [example])
    loss_of(frozen, adapter, [example], None).backward()
    found = {name: part.grad.clone() for name, part in adapter.named_parameters()}
    adapter.zero_grad()
    logits = reference(model, adapter, IDS[:20])
    F.cross_entropy(logits, torch.tensor(labels)).backward()
    for name, part in adapter.named_parameters():
        off = (found[name] - part.grad).abs().max() / part.grad.abs().max().clamp_min(1e-6)
        assert off <= 2e-3, name  # the head multiplies 16 bits
