"""What a person may set: how the program runs, and how a reply is sampled."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import platformdirs

from demo.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"  # what the program ships


def default_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for converted weights: `LLAMA_ADAPTER_CACHE`, else the platform's cache folder."""
    chosen = environment.get("LLAMA_ADAPTER_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("llama-adapter-studio"))


def default_runs() -> Path:
    """The folder for what visitors teach, in the platform's data folder: it is not a cache."""
    return Path(platformdirs.user_data_dir("llama-adapter-studio")) / "runs"


@dataclass(frozen=True)
class Settings:
    """How one run of the program is set up; every field is a flag and an environment variable.

    Raises:
        InputError: a value is out of its range; the message names the field and the range.
    """

    llama: str | None = None  # GGUF file, folder, or Hub id; None is the embedded base
    clip: str | None = None  # MODEL:PRETRAINED of open_clip; None is the embedded tower
    adapters: Path = CHECKPOINTS / "adapters"
    cache: Path = field(default_factory=default_cache)
    device: str = "auto"
    threads: int = field(default_factory=lambda: max(1, len(os.sched_getaffinity(0))))
    context: int = 2048  # tokens a conversation may hold
    slots: int = 8  # replies that are written at once
    queue: int = 16  # replies that may wait
    kv_mb: int = 1024  # megabytes for the KV caches of running and kept conversations
    reply_seconds: float = 120.0  # wall-clock deadline of one reply
    training: bool = True  # whether visitors may teach adapters
    runs: Path = field(default_factory=default_runs)  # their runs, data included
    waiting_runs: int = 8  # runs that may wait for the one under way
    runs_mb: int = 4096  # megabytes for all runs together; the oldest that are over go first

    def __post_init__(self) -> None:
        _check("device", self.device, f"one of {', '.join(DEVICES)}", self.device in DEVICES)
        _check("threads", self.threads, "1 to 256", 1 <= self.threads <= 256)
        _check("context", self.context, "64 to 131072", 64 <= self.context <= 131_072)
        _check("slots", self.slots, "1 to 64", 1 <= self.slots <= 64)
        _check("kv_mb", self.kv_mb, "16 to 1000000", 16 <= self.kv_mb <= 1_000_000)
        _check("queue", self.queue, "1 to 1024", 1 <= self.queue <= 1024)
        _check("waiting_runs", self.waiting_runs, "0 to 1000", 0 <= self.waiting_runs <= 1000)
        _check("runs_mb", self.runs_mb, "256 to 1000000", 256 <= self.runs_mb <= 1_000_000)
        _check("reply_seconds", self.reply_seconds, "above 0", self.reply_seconds > 0)


@dataclass(frozen=True)
class Sampling:
    """How a reply is made. Temperature 0 is greedy, and then only the penalty matters.

    `strength` multiplies the adapter's gates: 0 leaves the plain base, 1 is as it was taught.

    Raises:
        InputError: a value is not a number in its range; the message names the field and the range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps every token
    repetition_penalty: float = 1.0
    max_new_tokens: int = 256
    seed: int = 0
    strength: float = 1.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value, whole = getattr(self, item.name), item.type is int
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and math.isfinite(value) and (not whole or value == int(value))
            _check(item.name, value, "a whole number" if whole else "a number", good)
            object.__setattr__(self, item.name, item.type(value))
        _check("temperature", self.temperature, "0 to 2", 0 <= self.temperature <= 2)
        _check("top_p", self.top_p, "above 0, up to 1", 0 < self.top_p <= 1)
        _check("top_k", self.top_k, "0 to 1000", 0 <= self.top_k <= 1000)
        penalty = self.repetition_penalty
        _check("repetition_penalty", penalty, "1 to 2", 1 <= penalty <= 2)
        _check("max_new_tokens", self.max_new_tokens, "1 to 4096", 1 <= self.max_new_tokens <= 4096)
        _check("seed", self.seed, "0 to 4294967295", 0 <= self.seed < 2**32)
        _check("strength", self.strength, "0 to 2", 0 <= self.strength <= 2)


def _check(name: str, value: object, expected: str, good: bool) -> None:
    if not good:
        shown = repr(value)[:40]
        raise InputError(f"{name.replace('_', ' ')} is {shown}; please use {expected}.")
