"""The same as `decode.py` in plain torch: for CUDA, and to hold the kernel against."""

from collections.abc import Sequence

import numpy as np
import torch

from demo.llama.decode import SlotSizes
from demo.llama.model import KVCache, Llama, Prefix


class TorchDecoder:
    """KV caches on the model's device, one a slot, made when a slot is first used."""

    def __init__(self, model: Llama, sizes: SlotSizes) -> None:
        self.model, self.sizes = model, sizes
        self._caches: dict[int, KVCache] = {}
        self._prefixes: dict[int, Prefix | None] = {}

    def prefill(
        self, slot: int, ids: Sequence[int], prefix: Prefix | None, *, start: int = 0
    ) -> np.ndarray:
        """Writes tokens after the first `start` of a slot → logits (V,) fp32 for what follows."""
        if slot not in self._caches:
            config, positions = self.model.config, self.sizes.positions
            self._caches[slot] = KVCache.empty(config, positions, self.model.device)
        self._prefixes[slot] = prefix
        return self._run(slot, list(ids), start)

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray:
        """One token a sequence: three of (B,) int64 → logits (B, V) fp32."""
        rows = zip(token, slot, position, strict=True)
        return np.stack([self._run(int(m), [int(t)], int(p)) for t, m, p in rows])

    def _run(self, slot: int, ids: list[int], start: int) -> np.ndarray:
        cache = self._caches[slot]
        cache.length = start
        with torch.inference_mode():
            tokens = torch.tensor([ids], device=self.model.device)
            hidden = self.model.forward(tokens, prefix=self._prefixes[slot], cache=cache)
            return self.model.logits(hidden[0, -1]).float().numpy(force=True)
