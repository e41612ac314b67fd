"""Our decoder as a contestant: every sequence with an adapter of its own, active in all layers."""

import time

import numpy as np
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.spec import AdapterSpec
from demo.llama.cache import Base
from demo.llama.decode import Decoder, SlotSizes
from demo.models import load_llama
from demo.settings import Settings

MOST = 8
PROMPTS = 10


class Ours:
    """The CPU kernel as the scheduler runs it."""

    def __init__(self, base: Base, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        model = load_llama(base, torch.device("cpu"), settings.context)
        sizes = SlotSizes(MOST, settings.context, PROMPTS)
        self._decoder = Decoder(model, sizes, settings.threads)
        spec = AdapterSpec.for_base(base.config, layers=base.config.layers, prompts=PROMPTS)
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

    def prefill(self, ids: list[int]) -> float:
        """Seconds for one prompt."""
        start = time.perf_counter()
        self._decoder.prefill(0, ids, self._prefixes[0])
        return time.perf_counter() - start
