"""Keys and values in 16 bits: near the fp32 reference, and as exact as 32 in all else.

Whatever is bit for bit at 32 bits is so at 16; what only the rounding may change has a tolerance of
its own, measured on these models with a margin of two.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.background_task import ProgressCallback
from demo.llama.base import open_base
from demo.llama.decoder import Decoder, SlotSizes, TorchDecoder
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama, Prefix

pytestmark = pytest.mark.compiles
POSITIONS, LENGTH = 320, 300  # of a text: more than a slice of a prompt
NEAR = 0.0085  # of the largest logit
BITS = pytest.mark.parametrize("kv_bits", [16, 32])


@pytest.fixture(scope="module")
def model(
    tiny_llama_folder: Callable[..., Path],
    no_progress: ProgressCallback,
    tmp_path_factory: pytest.TempPathFactory,
) -> Llama:
    base = open_base(str(tiny_llama_folder()), tmp_path_factory.mktemp("cache"), no_progress)
    return Llama(base.config, base.weights, Int8Linear(torch.float32), POSITIONS)


@pytest.fixture(scope="module")
def prefix(model: Llama) -> Prefix:
    torch.manual_seed(0)
    adapter = Adapter(AdapterSpec.for_base(model.config, layers=2, prompts=3))
    torch.nn.init.constant_(adapter.gate, 1.0)
    return adapter.fixed_prefix(model)


@pytest.fixture(scope="module")
def ids(model: Llama) -> list[int]:
    random = torch.Generator().manual_seed(1)
    return torch.randint(model.config.vocab, (LENGTH,), generator=random).tolist()


def kernels(model: Llama, kv_bits: int, *, exact: bool = False) -> Decoder:
    return Decoder(model, SlotSizes(3, POSITIONS, 8, kv_bits), 2, exact=exact)


def step(decoder: Decoder, tokens: list[int], slots: list[int], place: int) -> np.ndarray:
    return decoder.step(np.array(tokens), np.array(slots), np.full(len(slots), place)).copy()


def off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapter"])
def test_every_way_is_near_the_reference(model, prefix, ids, adapted):
    given = prefix if adapted else None
    with torch.inference_mode():
        expected = model.logits(model.forward(torch.tensor([ids]), prefix=given))[0, -1].numpy()
    found = {
        "torch": TorchDecoder(model, SlotSizes(1, POSITIONS, 8)).prefill(0, ids, given),
        "steps": kernels(model, 16, exact=True).prefill(0, ids, given),
        "prefill": kernels(model, 16).prefill(0, ids, given),
    }
    for way, logits in found.items():
        print(way, off(logits, expected))
        assert 0 < off(logits, expected) <= NEAR, way
        assert off(logits, found["steps"]) <= NEAR, way


def test_torch_and_the_kernels_round_alike(model, ids):
    """One token's keys and values are rounded from the same numbers, or nearly."""
    slow, quick = TorchDecoder(model, SlotSizes(1, POSITIONS, 8)), kernels(model, 16, exact=True)
    slow.prefill(0, ids[:8], None)
    quick.prefill(0, ids[:8], None)
    kept = slow._caches[0]
    assert kept.key.dtype == torch.bfloat16
    for theirs, mine in ((kept.key, quick._slots.key), (kept.value, quick._slots.value)):
        mine = torch.from_numpy(mine[0, :, :, :8].copy()).view(torch.bfloat16)
        same = (mine == theirs[:, :, :8]).float().mean()
        assert same >= 0.9


@BITS
def test_company_changes_nothing(model, prefix, ids, kv_bits):
    decoder, alone = kernels(model, kv_bits), []
    for slot, given in enumerate((prefix, None, prefix)):
        decoder.prefill(slot, ids[: LENGTH - slot], given)
    for slot in range(3):
        alone.append(step(decoder, [7 + slot], [slot], LENGTH - slot)[0])
    places = np.array([LENGTH, LENGTH - 1, LENGTH - 2])
    together = decoder.step(np.array([7, 8, 9]), np.arange(3), places)
    assert (together == np.stack(alone)).all()


@BITS
def test_closed_gates_are_the_base_bit_for_bit(model, prefix, ids, kv_bits):
    closed, found = prefix._replace(gate=torch.zeros_like(prefix.gate)), []
    for given in (None, closed):
        decoder = kernels(model, kv_bits)
        found.append((decoder.prefill(0, ids, given), step(decoder, [7], [0], LENGTH)))
    assert all((a == b).all() for a, b in zip(*found, strict=True))


@BITS
def test_what_is_kept_is_gone_on_from_bit_for_bit(model, prefix, ids, kv_bits):
    """A second turn reads what is new alone, after another text was in the next slot."""
    decoder, cut = kernels(model, kv_bits), 256
    decoder.prefill(0, ids[:cut], prefix)
    decoder.prefill(1, ids[::-1], None)
    again = decoder.prefill(0, ids[cut:], prefix, start=cut)
    assert (again == kernels(model, kv_bits).prefill(0, ids, prefix)).all()


def test_16_bits_take_half(model):
    caches = [kernels(model, kv_bits)._slots for kv_bits in (16, 32)]
    assert 2 * caches[0].key.nbytes == caches[1].key.nbytes
    assert 2 * caches[0].value.nbytes == caches[1].value.nbytes


@pytest.mark.parametrize(
    ("product", "kept"),
    [
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16),
    ],
)
def test_torch_keeps_16_bits_as_they_are_multiplied(model, product, kept):
    other = Llama(model.config, model.weights, Int8Linear(product), POSITIONS)
    assert other.empty_cache(8, 16).key.dtype == kept
    assert other.empty_cache(8, 32).value.dtype == torch.float32


def test_products_of_16_bits_lose_nothing(model, prefix, ids):
    """As on CUDA: keys and values are rounded before they are multiplied in any case."""
    other, found = Llama(model.config, model.weights, Int8Linear(torch.bfloat16), POSITIONS), []
    for kv_bits in (16, 32):
        decoder = TorchDecoder(other, SlotSizes(1, POSITIONS, 8, kv_bits))
        found.append((decoder.prefill(0, ids, prefix), step(decoder, [7], [0], LENGTH)))
    assert all((a == b).all() for a, b in zip(*found, strict=True))


@BITS
@pytest.mark.matrix("D18")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems give nothing back")
def test_a_slot_given_back_keeps_no_prompts_and_answers_as_a_new_one(model, ids, kv_bits):
    torch.manual_seed(2)
    adapter = Adapter(AdapterSpec.for_base(model.config, layers=2, prompts=2000))
    torch.nn.init.constant_(adapter.gate, 1.0)
    prefix = adapter.fixed_prefix(model)
    decoder = Decoder(model, SlotSizes(2, POSITIONS, 2000, kv_bits), 2)
    decoder.prefill(1, ids, prefix)
    kept = (decoder._slots.prompt_key[1], decoder._slots.prompt_value[1], decoder._slots.key[1])
    filled = [np.count_nonzero(part) for part in kept]
    decoder.release([1])
    for part, before in zip(kept, filled, strict=True):
        assert before and np.count_nonzero(part) < before / 10  # what shares a page with others
    for given in (None, prefix):
        fresh = Decoder(model, SlotSizes(2, POSITIONS, 2000, kv_bits), 2)
        assert (decoder.prefill(1, ids, given) == fresh.prefill(1, ids, given)).all()
