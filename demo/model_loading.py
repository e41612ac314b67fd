"""Everything heavy, built in one place: base, decoder and scheduler; the vision tower.

Imported only when loading begins, because torch, numba and open_clip take seconds to import and the
page is served before.
"""

from collections.abc import Callable
from multiprocessing import get_context

import torch

from demo.chat.scheduler import Engine, Scheduler
from demo.errors import InputError
from demo.llama.base import choose_device, load_llama, open_base
from demo.llama.config import LlamaConfig
from demo.llama.decoder import Decoder, SlotSizes, TorchDecoder
from demo.llama.int8 import file_plan
from demo.memory import PROGRAM_BYTES, available
from demo.settings import CHECKPOINTS, Settings
from demo.vision.clip import Tower

MOST_SLOTS = 64
KV_MB = 1024  # for conversations, unless the settings say otherwise or one needs more
APART_BYTES = 2**31  # that must be free for the kernels to be compiled in a process of its own
MAX_PROMPTS = 64  # prompts a layer that a slot of the kernel has room for


def load_language(settings: Settings, progress: Callable[[str, float | None], None]) -> Engine:
    """Open the base, converting it on the first start, and start the thread that owns it."""
    torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available()

    def check(config: LlamaConfig) -> None:
        check_memory(config, settings, free)

    base = open_base(settings.llama, settings.cache, progress, check)
    check(base.config)
    progress("Loading the model", None)
    model = load_llama(base, device, settings.context)
    slots = kept_slots(base.config, settings, free)
    sizes = SlotSizes(slots, settings.context, MAX_PROMPTS, settings.kv_bits)
    if device.type == "cuda":
        decoder: Decoder | TorchDecoder = TorchDecoder(model, sizes)
    else:
        decoder = Decoder(model, sizes, settings.threads)
        progress("Preparing the kernel (it is compiled once, on the first start)", None)
        if decoder.uncompiled and available() > APART_BYTES:
            compile_apart(settings)
        decoder.warm()
    scheduler = Scheduler(decoder, slots=slots, running=settings.slots, queue=settings.queue)
    return Engine(base, model, scheduler)


def compile_apart(settings: Settings) -> bool:
    """Compile the kernels in a process of its own, with which goes what the compiler has taken.

    Else 200 MB of it stayed until the program ends. They are then read from numba's cache.

    Returns:
        Whether that went well; if not, whoever uses the kernels compiles them.
    """
    process = get_context("spawn").Process(target=_compile, args=(settings,), daemon=True)
    try:
        process.start()
    except OSError:  # no more processes may be begun here
        return False
    process.join()
    return process.exitcode == 0


def _compile(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    model = load_llama(base, torch.device("cpu"), settings.context)
    sizes = SlotSizes(1, settings.context, MAX_PROMPTS, settings.kv_bits)
    Decoder(model, sizes, settings.threads).warm()


def check_memory(config: LlamaConfig, settings: Settings, free: int) -> None:
    """Check that the model and one conversation fit, before anything is converted or loaded.

    Args:
        config: of the model.
        settings: say how long a conversation may be.
        free: bytes.

    Raises:
        InputError: they do not; the message says what is needed, and what would fit.
    """
    weights, token = file_plan(config).size, token_bytes(config, settings.kv_bits)
    room = free - weights - PROGRAM_BYTES
    if token * settings.context <= room:
        return
    fitting = room // token // 64 * 64
    advice = (
        f"Free some, or start with --context {fitting}."
        if fitting >= 256
        else "Free some, choose a smaller model, or a machine with more memory."
    )
    parts = (weights, token * settings.context, PROGRAM_BYTES)
    needed, model, talk, rest, there = (f"{n / 2**20:,.0f} MB" for n in (sum(parts), *parts, free))
    raise InputError(
        f"This model needs {needed} of memory: {model} for its weights in 8 bits, {talk} for one "
        f"conversation of {settings.context:,} tokens, {rest} for the program. {there} are free. "
        + advice
    )


def kept_slots(config: LlamaConfig, settings: Settings, free: int | None = None) -> int:
    """Count the KV caches of the whole window that fit `kv_mb`, and what is free.

    Args:
        config: of the model.
        settings: `kv_mb` 0 is 1,024 MB, or as much as one conversation needs.
        free: bytes, with the weights still to be loaded; None for enough.

    Raises:
        InputError: not one; the message says what one needs.
    """
    needed = token_bytes(config, settings.kv_bits) * settings.context
    allowed = settings.kv_mb * 2**20 or max(KV_MB * 2**20, needed)
    if allowed < needed:
        raise InputError(
            f"One conversation of {settings.context:,} tokens needs {needed / 2**20:,.0f} MB and "
            f"--kv-mb allows {settings.kv_mb:,}. Raise it, or choose a smaller --context."
        )
    if free is not None:
        allowed = min(allowed, max(needed, free - file_plan(config).size - PROGRAM_BYTES))
    return min(allowed // needed, MOST_SLOTS)


def token_bytes(config: LlamaConfig, kv_bits: int) -> int:
    """Return the bytes of one token's keys and values in all layers."""
    return 2 * kv_bits // 8 * config.layers * config.kv_heads * config.head_dim


def load_tower(settings: Settings) -> Tower:
    """Open the vision tower that the settings name, the embedded one by default."""
    return Tower.load(settings.clip, choose_device(settings.device), CHECKPOINTS)
