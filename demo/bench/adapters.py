"""Adapters to measure with: random prompts in all layers, gates a little open.

What they write is still text, and each writes another one; what they cost is what a taught adapter
of that shape costs.
"""

import shutil
from pathlib import Path

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import save_adapter
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec
from demo.llama.cache import Base
from demo.llama.config import LlamaConfig
from demo.settings import CHECKPOINTS

PROMPTS = 10
GATE = 0.01  # before tanh; prompts that were not taught shout


def random_adapter(config: LlamaConfig, seed: int) -> Adapter:
    """The same adapter for the same seed."""
    torch.manual_seed(seed)
    adapter = Adapter(AdapterSpec.for_base(config, layers=config.layers, prompts=PROMPTS))
    torch.nn.init.constant_(adapter.gate, GATE)
    return adapter.requires_grad_(False)


def fill(folder: Path, base: Base, count: int) -> list[str]:
    """Writes `count` random adapters beside copies of the shipped ones; the names of the random."""
    shutil.copytree(CHECKPOINTS / "adapters", folder, dirs_exist_ok=True)
    names = [f"random-{seed}" for seed in range(count)]
    for seed, name in enumerate(names):
        adapter = random_adapter(base.config, seed)
        passport = Passport(name, "", base.name, base.fingerprint, adapter.spec)
        save_adapter(adapter, passport, folder / f"{name}.safetensors")
    return names
