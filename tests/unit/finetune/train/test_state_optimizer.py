"""AdamW for an adapter: torch's own numbers, what is kept of it, and what it does without."""

import subprocess
import sys

import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.finetune.train.config import TrainSettings
from demo.finetune.train.state import AdamW
from demo.settings import ROOT

SETTINGS = TrainSettings(9, rate=3e-2, gate_rate=1e-2, visual_rate=2e-3, weight_decay=0.1)


def made(seed: int = 0) -> Adapter:
    torch.manual_seed(seed)
    spec = AdapterSpec(layers=2, prompts=3, width=8, heads=2, visual=VisualSpec(5, 4))
    return Adapter(spec).requires_grad_(True)


def pulled(adapter: Adapter, step: int, *, gates: bool = True) -> None:
    """Gradients as some loss would leave them."""
    generator = torch.Generator().manual_seed(step)
    for part in adapter.parameters():
        part.grad = torch.randn(part.shape, generator=generator)
    if not gates:
        adapter.gate.grad = None


def numbers(adapter: Adapter) -> torch.Tensor:
    return torch.cat([part.detach().flatten() for part in adapter.parameters()])


def test_it_is_torchs_adamw_with_three_rates():
    ours, theirs = made(), made()
    groups = [
        {"params": [theirs.prompts], "lr": 3e-2},
        {"params": [theirs.gate], "lr": 1e-2},
        {"params": list(theirs.visual.parameters()), "lr": 2e-3},
    ]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.1)
    optimizer = AdamW(ours, SETTINGS)
    for step in range(5):
        for adapter in (ours, theirs):
            pulled(adapter, step)
        optimizer.step(1.0)
        reference.step()
        assert torch.equal(numbers(ours), numbers(theirs))
    optimizer.zero_grad()
    assert all(part.grad is None for part in ours.parameters())


def test_a_step_at_half_the_rates_goes_half_as_far():
    start, (whole, half) = numbers(made()), (made(), made())
    for adapter, scale in ((whole, 1.0), (half, 0.5)):
        pulled(adapter, 0)
        AdamW(adapter, SETTINGS).step(scale)
    gone = [numbers(adapter) - start for adapter in (whole, half)]
    assert torch.allclose(gone[0], 2 * gone[1], atol=1e-6)


def test_what_has_no_gradient_stays_as_it_is():
    adapter = made()
    gates = adapter.gate.detach().clone()
    optimizer = AdamW(adapter, SETTINGS)
    pulled(adapter, 0, gates=False)
    optimizer.step(1.0)
    assert torch.equal(adapter.gate, gates)
    kept = {int(name.split(".")[0]) for name in optimizer.tensors()}
    assert kept == set(range(len(list(adapter.parameters())))) - {1}


def test_taken_up_it_goes_on_as_if_it_had_not_stopped():
    straight, broken = made(), made()
    optimizer, other = AdamW(straight, SETTINGS), AdamW(broken, SETTINGS)
    for step in range(6):
        if step == 3:
            kept, other = other.tensors(), AdamW(broken, SETTINGS)
            other.load({name: x.clone() for name, x in kept.items()})
        for adapter, each in ((straight, optimizer), (broken, other)):
            pulled(adapter, step, gates=step > 3)  # gates have moments only later
            each.step(1.0)
    assert torch.equal(numbers(straight), numbers(broken))


def test_moments_that_do_not_fit_are_refused():
    adapter = made()
    optimizer = AdamW(adapter, SETTINGS)
    pulled(adapter, 0)
    optimizer.step(1.0)
    kept = optimizer.tensors()
    with pytest.raises(KeyError):
        AdamW(made(), SETTINGS).load({n: x for n, x in kept.items() if n != "1.exp_avg"})
    with pytest.raises(ValueError, match="exp_avg of part 0"):
        AdamW(made(), SETTINGS).load({**kept, "0.exp_avg": torch.zeros(2)})


def test_torchs_compiler_is_not_imported():
    code = """
import sys, torch
from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.finetune.train.state import AdamW
from demo.finetune.train.config import TrainSettings
adapter = Adapter(AdapterSpec(layers=2, prompts=3, width=8, heads=2)).requires_grad_(True)
adapter.prompts.grad = torch.ones_like(adapter.prompts)
AdamW(adapter, TrainSettings(1)).step(1.0)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
