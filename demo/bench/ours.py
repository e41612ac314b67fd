"""Our program as a contestant: every sequence with an adapter of its own, and active."""

import time
from collections.abc import Iterator

import numpy as np
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.spec import AdapterSpec
from demo.bench.adapters import PROMPTS
from demo.finetune.events import Step
from demo.finetune.examples import IGNORED, Example
from demo.finetune.train_settings import TrainSettings
from demo.finetune.trainer import train
from demo.llama.cache import Base
from demo.llama.decode import Decoder, SlotSizes
from demo.models import load_llama
from demo.settings import Settings

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
        """Seconds for `count` tokens of each sequence."""
        rows = [self._decoder.prefill(slot, ids, self._prefixes[slot]) for slot in range(batch)]
        logits, slots = np.stack(rows), np.arange(batch)
        place = np.full(batch, len(ids))
        start = time.perf_counter()
        for _ in range(count):
            logits = self._decoder.step(logits.argmax(1), slots, place)
            place += 1
        return time.perf_counter() - start

    def train(self, texts: list[list[int]], reply: int) -> float:
        """Seconds for one step; what lies below the adapter is known after the first."""
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
        """Seconds for one prompt."""
        start = time.perf_counter()
        self._decoder.prefill(0, ids, self._prefixes[0])
        return time.perf_counter() - start
