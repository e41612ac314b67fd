"""Everything heavy, built in one place: base, decoder and scheduler; the vision tower.

Imported only when loading begins, because torch, numba and open_clip take seconds to import and the
page is served before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from demo.chat.scheduler import Scheduler
from demo.errors import InputError
from demo.llama.base import Base, open_base
from demo.llama.config import LlamaConfig
from demo.llama.decode import Decoder, SlotSizes
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from demo.llama.torch_decode import TorchDecoder
from demo.settings import CHECKPOINTS, Settings
from demo.vision.clip import Tower

MOST_SLOTS = 64
MAX_PROMPTS = 64  # prompts a layer that a slot of the kernel has room for


@dataclass(frozen=True)
class Language:
    """A base that answers."""

    base: Base
    model: Llama
    scheduler: Scheduler


def choose_device(wanted: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`.

    Raises:
        InputError: CUDA was asked for and is not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here. Start with --device cpu, or auto.")
    cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if cuda else "cpu")


def load_language(settings: Settings, progress: Callable[[str, float | None], None]) -> Language:
    """Opens the base, converting it on the first start, and starts the thread that owns it."""
    torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    base = open_base(settings.llama, settings.cache, progress)
    progress("Loading the model", None)
    model = load_llama(base, device, settings.context)
    slots = kept_slots(base.config, settings)
    sizes = SlotSizes(slots, settings.context, MAX_PROMPTS)
    if device.type == "cuda":
        decoder: Decoder | TorchDecoder = TorchDecoder(model, sizes)
    else:
        decoder = Decoder(model, sizes, settings.threads)
        progress("Preparing the kernel (it is compiled once, on the first start)", None)
        decoder.warm()
    scheduler = Scheduler(decoder, slots=slots, running=settings.slots, queue=settings.queue)
    return Language(base, model, scheduler)


def kept_slots(config: LlamaConfig, settings: Settings) -> int:
    """How many KV caches of the whole window fit `kv_mb`.

    Raises:
        InputError: not one; the message says what one needs.
    """
    token = 2 * 4 * config.layers * config.kv_heads * config.head_dim  # bytes
    needed = token * settings.context
    if settings.kv_mb * 2**20 < needed:
        raise InputError(
            f"One conversation of {settings.context:,} tokens needs {needed / 2**20:,.0f} MB and "
            f"--kv-mb allows {settings.kv_mb:,}. Raise it, or choose a smaller --context."
        )
    return min(settings.kv_mb * 2**20 // needed, MOST_SLOTS)


def load_llama(
    base: Base, device: torch.device, positions: int, linear: Int8Linear | None = None
) -> Llama:
    """The base as a model that takes sequences up to `positions` tokens."""
    weights = base.weights if device.type == "cpu" else base.weights.to(device)
    return Llama(base.config, weights, linear or Int8Linear.for_device(device), positions)


def load_tower(settings: Settings) -> Tower:
    """The vision tower the settings name, the embedded one by default."""
    return Tower.load(settings.clip, choose_device(settings.device), CHECKPOINTS)
