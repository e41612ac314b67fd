"""A small random LLaMA behind the real decoder, for tests of what goes on around it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import save_adapter
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.chat.scheduler import Scheduler
from demo.llama.cache import Base
from demo.llama.decode import Decoder, SlotSizes
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama, Prefix
from demo.models import Language
from demo.vision.media import Picture

WINDOW = 640  # more than two slices of a prompt


class Spy(Decoder):
    """Notes which tokens of prompts are computed: (start, count)."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.prefills: list[tuple[int, int]] = []

    def prefill(
        self, slot: int, ids: Sequence[int], prefix: Prefix | None, *, start: int = 0
    ) -> np.ndarray:
        self.prefills.append((start, len(ids)))
        return super().prefill(slot, ids, prefix, start=start)


class Eyes:
    """A tower of three numbers; the real ones are tested with their pictures."""

    name, fingerprint, feature_size = "eyes", "eyes print", 3

    def seen(self, picture: Picture, kind: str) -> torch.Tensor:
        return torch.tensor(picture.rgb[0, 0].astype(np.float32) / 255)

    def seen_size(self, kind: str) -> int:
        return 3

    def familiarity(self, picture: Picture) -> float | None:
        return None


def small_language(base: Base, places: int) -> tuple[Language, Spy]:
    """Writes and keeps `places` replies at once. The scheduler has to be closed."""
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), WINDOW)
    decoder = Spy(model, SlotSizes(places, WINDOW, 8), 1)
    scheduler = Scheduler(decoder, slots=places, running=places, queue=8)
    return Language(base, model, scheduler), decoder


def small_adapter(base: Base, seed: int, *, sees: bool = False) -> Adapter:
    """Random, its gates open."""
    torch.manual_seed(seed)
    visual = VisualSpec(Eyes.feature_size, 4) if sees else None
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=2, prompts=3, visual=visual))
    torch.nn.init.constant_(adapter.gate, 1.0)
    return adapter


def save_small(folder: Path, base: Base, name: str, seed: int, *, sees: bool = False) -> None:
    """Into a folder of adapters."""
    adapter = small_adapter(base, seed, sees=sees)
    tower = {"tower": Eyes.name, "tower_fingerprint": Eyes.fingerprint} if sees else {}
    passport = Passport(name, "", base.name, base.fingerprint, adapter.spec, **tower)
    save_adapter(adapter, passport, folder / f"{name}.safetensors")
