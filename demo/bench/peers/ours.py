"""Our program as a peer: every sequence with an adapter of its own, and active.

The adapters are random prompts in all layers, gates a little open. What they write is still text,
and each writes another one; what they cost is what a taught adapter of that shape costs.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import AdapterSpec
from demo.adapter.passport import Passport
from demo.finetune.data.examples import IGNORED, Example
from demo.finetune.train.config import TrainSettings
from demo.finetune.train.events import Step
from demo.finetune.train.trainer import train
from demo.llama.base import Base, load_llama
from demo.llama.config import LlamaConfig
from demo.llama.decoder import Decoder, SlotSizes
from demo.settings import CHECKPOINTS, Settings

PROMPTS = 10
GATE = 0.01  # before tanh; prompts that were not taught shout
MOST = 8


class Ours:
    """The CPU kernel as the scheduler runs it, and the trainer as a run does."""

    def __init__(self, base: Base, settings: Settings, layers: int) -> None:
        torch.set_num_threads(settings.threads)
        self._layers = layers
        self._steps: Iterator[Step] | None = None
        self._model = model = load_llama(base, torch.device("cpu"), settings.context)
        sizes = SlotSizes(MOST, settings.context, PROMPTS)
        self._decoder = Decoder(model, sizes, settings.threads)
        spec = AdapterSpec.for_base(base.config, layers=layers, prompts=PROMPTS)
        self._prefixes = []
        for seed in range(MOST):
            torch.manual_seed(seed)
            adapter = Adapter(spec)
            torch.nn.init.constant_(adapter.gate, 0.05)
            with torch.inference_mode():
                self._prefixes.append(adapter.prefix(model))

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Return the seconds for `count` tokens of each sequence."""
        rows = [self._decoder.prefill(slot, ids, self._prefixes[slot]) for slot in range(batch)]
        logits, slots = np.stack(rows), np.arange(batch)
        place = np.full(batch, len(ids))
        start = time.perf_counter()
        for _ in range(count):
            logits = self._decoder.step(logits.argmax(1), slots, place)
            place += 1
        return time.perf_counter() - start

    def train(self, texts: list[list[int]], reply: int) -> float:
        """Return the seconds for one step; what lies below the adapter is known after the first."""
        if self._steps is None:
            spec = AdapterSpec.for_base(self._model.config, layers=self._layers, prompts=PROMPTS)
            examples = [
                Example(tuple(ids[:-1]), (IGNORED,) * (len(ids) - 1 - reply) + tuple(ids[-reply:]))
                for ids in texts
            ]
            settings = TrainSettings(steps=1000, batch=len(texts))
            self._steps = train(self._model, Adapter(spec), examples, None, settings)
        start = time.perf_counter()
        next(self._steps)
        return time.perf_counter() - start

    def prefill(self, ids: list[int]) -> float:
        """Return the seconds for one prompt."""
        start = time.perf_counter()
        self._decoder.prefill(0, ids, self._prefixes[0])
        return time.perf_counter() - start


def random_adapter(config: LlamaConfig, seed: int) -> Adapter:
    """Return an adapter of random prompts, the same for the same seed."""
    torch.manual_seed(seed)
    adapter = Adapter(AdapterSpec.for_base(config, layers=config.layers, prompts=PROMPTS))
    torch.nn.init.constant_(adapter.gate, GATE)
    return adapter.requires_grad_(False)


def fill(folder: Path, base: Base, count: int) -> list[str]:
    """Write `count` random adapters beside copies of the shipped ones; return their names."""
    shutil.copytree(CHECKPOINTS / "adapters", folder, dirs_exist_ok=True)
    names = [f"random-{seed}" for seed in range(count)]
    for seed, name in enumerate(names):
        adapter = random_adapter(base.config, seed)
        passport = Passport(name, "", base.name, base.fingerprint, adapter.spec)
        save_adapter(adapter, passport, folder / f"{name}.safetensors")
    return names
