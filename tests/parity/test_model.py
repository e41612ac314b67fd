"""Our transformer against transformers' `LlamaForCausalLM` on the same dequantised weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.background_task import ProgressCallback
from demo.bench.peers import transformers as hf_model
from demo.llama.base import Base, open_base
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.int8 import Int8Linear, Int8Weight, bitsandbytes_linear
from demo.llama.kernels.prefill import SLICE
from demo.llama.model import Llama, Prefix
from demo.llama.weights.quantise import quantise_rows

EXACT = Int8Linear(torch.float32)
POSITIONS = 64


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"tie_word_embeddings": True, "num_key_value_heads": 6},
        {"num_key_value_heads": 1, "head_dim": 6, "seed": 5},
    ],
    ids=["grouped", "tied", "one-kv-head"],
)
def tiny(
    request: pytest.FixtureRequest,
    tiny_llama_folder: Callable[..., Path],
    no_progress: ProgressCallback,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Base, Llama]:
    folder = tiny_llama_folder(**request.param)
    base = open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)
    return base, Llama(base.config, base.weights, EXACT, POSITIONS)


@pytest.fixture
def ids(tiny: tuple[Base, Llama]) -> torch.Tensor:
    return torch.randint(tiny[0].config.vocab, (2, 23), generator=torch.Generator().manual_seed(1))


def logits(model: Llama, ids: torch.Tensor, **options) -> torch.Tensor:
    with torch.inference_mode():
        return model.logits(model.forward(ids, **options))


def random_prefix(model: Llama, layers: int, prompts: int = 5) -> Prefix:
    c, random = model.config, torch.Generator().manual_seed(2)
    shape = (layers, 1, c.kv_heads, prompts, c.head_dim)
    key, value = (torch.randn(shape, generator=random) for _ in range(2))
    return Prefix(key, value, torch.randn(layers, c.heads, generator=random).tanh())


@pytest.mark.matrix("E8")
def test_logits_are_those_of_transformers(tiny, ids):
    base, model = tiny
    expected = hf_model.from_base(base)(ids).logits
    assert (logits(model, ids) - expected).abs().max() <= 1e-4


@pytest.mark.parametrize("layers", [0, 2, 3])
@pytest.mark.matrix("E8")
def test_a_cache_changes_nothing(tiny, ids, layers):
    base, model = tiny
    prefix = random_prefix(model, layers) if layers else None
    whole = logits(model, ids[:1], prefix=prefix)
    cache = model.empty_cache(POSITIONS)
    parts = [ids[:1, a:b] for a, b in ((0, 7), (7, 8), (8, 20), (20, 23))]
    pieces = [logits(model, part, prefix=prefix, cache=cache) for part in parts]
    assert cache.length == 23
    assert (torch.cat(pieces, 1) - whole).abs().max() <= 1e-4


@pytest.mark.parametrize("layers", [0, 2, 3])
def test_the_kernel_is_the_model(tiny, ids, layers):
    """Two sequences in one call, one of them with gated prompts, each as if alone.

    Token by token the kernel is exact; a prefill rounds activations to nearly 16 bits.
    """
    _, model = tiny
    prefix = random_prefix(model, layers) if layers else None
    decoder = Decoder(
        model, SlotSizes(slots=3, positions=POSITIONS, prompts=8, kv_bits=32), threads=2
    )
    decoder.prefill(2, ids[0, :1].tolist(), prefix)
    decoder.prefill(0, ids[1, :1].tolist(), None)
    slots, first, second = np.array([2, 0]), [], []
    for place in range(20):
        both = decoder.step(ids[:2, place].contiguous().numpy(), slots, np.array([place, place]))
        first.append(both[0].copy())
        second.append(both[1].copy())
    expected = logits(model, ids[:1, :20], prefix=prefix)[0].numpy()
    assert np.abs(np.stack(first) - expected).max() <= 1e-4
    expected = logits(model, ids[1:, :20])[0].numpy()
    assert np.abs(np.stack(second) - expected).max() <= 1e-4


@pytest.mark.parametrize("layers", [0, 2, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_prefill_is_the_model_to_16_bits(tiny, ids, layers, threads):
    _, model = tiny
    prefix = random_prefix(model, layers) if layers else None
    decoder = Decoder(
        model, SlotSizes(slots=2, positions=POSITIONS, prompts=8, kv_bits=32), threads=threads
    )
    decoder.prefill(1, ids[1].tolist(), None)  # what is left in the room must not matter
    expected = model.forward(ids[:1], prefix=prefix)[0].numpy()
    whole = decoder.hidden(1, ids[0].tolist(), prefix)
    assert np.abs(whole - expected).max() <= 3e-3
    decoder.hidden(0, ids[0, :9].tolist(), prefix)
    rest = decoder.hidden(0, ids[0, 9:].tolist(), prefix, start=9)
    assert np.abs(rest - expected[9:]).max() <= 3e-3
    after = decoder.prefill(0, ids[0, 9:].tolist(), prefix, start=9)
    assert np.abs(after - model.logits(torch.from_numpy(expected[-1])).numpy()).max() <= 3e-3


def test_a_prefill_in_slices_is_the_model(tiny):
    """More tokens than a slice holds, an odd number of them."""
    _, model = tiny
    ids = torch.randint(0, model.config.vocab, (1, SLICE + 45), generator=torch.manual_seed(5))
    long = Llama(model.config, model.weights, EXACT, 2 * SLICE)
    decoder = Decoder(
        long, SlotSizes(slots=1, positions=2 * SLICE, prompts=1, kv_bits=32), threads=2
    )
    last = decoder.hidden(0, ids[0].tolist(), None)
    assert np.abs(last - long.forward(ids)[0, SLICE:].numpy()).max() <= 3e-3


def test_gated_attention_is_the_papers(tiny, ids):
    """One layer against the formula written out over heads and positions (section 3.2)."""
    base, model = tiny
    c = base.config
    prefix = random_prefix(model, 1)
    x = torch.randn(1, 6, c.width, generator=torch.Generator().manual_seed(3))
    layer = c.layers - 1
    with torch.inference_mode():
        plain = model.attention(layer, x, 0, None, None, None)
        gated = model.attention(layer, x, 0, prefix, None, None)
        q = model.linear(x, base.weights.qkv(layer))[0, :, : c.heads * c.head_dim]
        q = model.rotate(q.view(1, 6, c.heads, c.head_dim).transpose(1, 2), 0)[0]  # (H, T, d)
        extra = torch.zeros(6, c.heads, c.head_dim)
        for head in range(c.heads):
            kv = head // (c.heads // c.kv_heads)
            key, value = prefix.key[0, 0, kv], prefix.value[0, 0, kv]
            weight = (q[head] @ key.T / c.head_dim**0.5).softmax(-1)
            extra[:, head] = prefix.gate[0, head] * (weight @ value)
        expected = plain + model.linear(
            extra.flatten(1)[None], base.weights.attention_output(layer)
        )
    assert (gated - expected).abs().max() <= 1e-4
    assert (gated - plain).abs().max() > 1e-2


@pytest.mark.matrix("E7")
def test_closed_gates_are_the_base_bit_for_bit(tiny, ids):
    _, model = tiny
    prefix = random_prefix(model, 2)
    closed = prefix._replace(gate=torch.zeros_like(prefix.gate))
    assert torch.equal(logits(model, ids, prefix=closed), logits(model, ids))


def test_gradients_flow_through_8_bit_rows():
    random = torch.Generator().manual_seed(4)
    cb = torch.randint(-127, 128, (7, 5), dtype=torch.int8, generator=random)
    weight = Int8Weight(cb, torch.rand(7, generator=random) + 0.1)
    x = torch.randn(3, 5, generator=random, requires_grad=True)
    grad = torch.randn(3, 7, generator=random)
    EXACT(x, weight).backward(grad)
    assert torch.allclose(x.grad, grad @ weight.dequantised(), atol=1e-5)


def test_bitsandbytes_reads_the_same_rows():
    """What runs on CUDA, on the same CB and SCB; LLM.int8() also rounds activations, hence 2 %."""
    random = torch.Generator().manual_seed(6)
    matrix = torch.randn(96, 64, generator=random)
    weight = quantise_rows(matrix)
    x = torch.randn(9, 64, generator=random)
    ours, theirs = EXACT(x, weight), bitsandbytes_linear(x, weight)
    assert (ours - theirs).abs().max() <= 0.02 * ours.abs().max()
    # A token's state has one dimension and a batch's three; its kernels take two.
    for shape in ((64,), (3, 3, 64)):
        some = x[0] if len(shape) == 1 else x.view(shape)
        expected = theirs[0] if len(shape) == 1 else theirs.view(3, 3, 96)
        assert torch.equal(bitsandbytes_linear(some, weight), expected)


def test_an_adapters_prefix_runs_in_the_kernel_and_in_bf16(tiny):
    """As the program runs it: torch in bf16, the kernel in fp32, one prefix for both."""
    base, _ = tiny
    model = Llama(base.config, base.weights, Int8Linear(torch.bfloat16), POSITIONS)
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=3))
    torch.nn.init.constant_(adapter.gate, 0.5)
    ids = list(range(3, 20))
    with torch.inference_mode():
        prefix = adapter.prefix(model)
    decoder = Decoder(model, SlotSizes(slots=1, positions=POSITIONS, prompts=8), threads=2)
    decoder.prefill(0, ids, prefix)
    stepped = decoder.step(np.array([7]), np.array([0]), np.array([len(ids)]))[0]
    whole = logits(model, torch.tensor([[*ids, 7]]), prefix=prefix)[0, -1]
    assert np.abs(stepped - whole.numpy()).max() <= 0.05 * whole.abs().max()
