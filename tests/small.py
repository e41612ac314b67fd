"""A small random LLaMA behind the real decoder, for tests of what goes on around it."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from demo.adapter.adapter import Adapter, save_adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.adapter.passport import Passport
from demo.chat.scheduler import Engine, Scheduler
from demo.llama.base import Base
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.delta import Delta
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama, Prefix
from demo.vision.image import Picture

WINDOW = 640  # more than two slices of a prompt


class RecordingDecoder(Decoder):
    """Notes which tokens of prompts are computed: (start, count)."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.prefills: list[tuple[int, int]] = []

    def prefill(
        self,
        slot: int,
        ids: Sequence[int],
        prefix: Prefix | None,
        *,
        start: int = 0,
        delta: Delta | None = None,
    ) -> np.ndarray:
        self.prefills.append((start, len(ids)))
        return super().prefill(slot, ids, prefix, start=start, delta=delta)


class SmallTower:
    """A tower whose features are the first pixel; the real ones are tested with their pictures."""

    name, fingerprint, feature_size, token_size = "eyes", "eyes print", 3, None
    preprocessing = SimpleNamespace(size=4)

    def adapter_features(
        self, picture: Picture, *, augmented: bool, coloured: bool = False
    ) -> torch.Tensor:
        assert not coloured  # small adapters have no colours
        return torch.tensor(picture.rgb[0, 0].astype(np.float32) / 255)

    def batch_features(self, pictures: Sequence[Picture], *, augmented: bool) -> torch.Tensor:
        return torch.stack([self.adapter_features(p, augmented=augmented) for p in pictures])

    def in_distribution_score(self, picture: Picture) -> float | None:
        return None


def small_language(base: Base, places: int) -> tuple[Engine, RecordingDecoder]:
    """Writes and keeps `places` replies at once. The scheduler has to be closed."""
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), WINDOW)
    decoder = RecordingDecoder(model, SlotSizes(places, WINDOW, 8), 1)
    scheduler = Scheduler(decoder, slots=places, running=places, queue=8)
    return Engine(base, model, scheduler), decoder


def small_adapter(base: Base, seed: int, *, sees: bool = False) -> Adapter:
    """Random, its gates open."""
    torch.manual_seed(seed)
    visual = VisualSpec(SmallTower.feature_size, 4) if sees else None
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=3, visual=visual))
    torch.nn.init.constant_(adapter.gate, 1.0)
    return adapter


def save_small(folder: Path, base: Base, name: str, seed: int, *, sees: bool = False) -> None:
    """Into a folder of adapters."""
    adapter = small_adapter(base, seed, sees=sees)
    tower = {"tower": SmallTower.name, "tower_fingerprint": SmallTower.fingerprint} if sees else {}
    passport = Passport(name, "", base.name, base.fingerprint, adapter.spec, **tower)
    save_adapter(adapter, passport, folder / f"{name}.safetensors")
