"""What a person may set: how the program runs, and how a reply is sampled.

Ranges, help texts and placeholders stand at the fields; pydantic checks them, and `app.py` makes a
flag and an environment variable of each field of `Settings`.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

import platformdirs
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from demo.errors import InputError

ROOT = Path(__file__).parents[1]  # of the repository: what is started and shipped lies below
CHECKPOINTS = ROOT / "checkpoints"
KVBits = Literal[16, 32]
_STRICT = ConfigDict(extra="forbid")
_SHOWN = 40  # characters of a wrong value that a message repeats


def default_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for converted weights.

    `LLAMA_ADAPTER_CACHE` names it; otherwise it is the platform's cache folder.
    """
    chosen = environment.get("LLAMA_ADAPTER_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("llama-adapter-studio"))


def default_runs() -> Path:
    """Return the folder for what visitors teach, in the platform's data folder, not its cache."""
    return Path(platformdirs.user_data_dir("llama-adapter-studio")) / "runs"


def default_chats() -> Path:
    """Return the folder for visitors' chats, beside that for what they teach."""
    return default_runs().with_name("chats")


def available_cores() -> int:
    """Return the number of cores this process may use, as far as the platform tells."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, config=_STRICT)
class Checked:
    """A dataclass whose wrong values end in one sentence that a visitor may read.

    Raises:
        InputError: a value is of another type or out of its range; the message names the field, the
            value and the range.
    """

    __pydantic_fields__: ClassVar[dict[str, FieldInfo]]

    @model_validator(mode="wrap")
    @classmethod
    def _in_a_sentence(cls, values: Any, handler: Any) -> Self:
        fields = cls.__pydantic_fields__
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            # A value that was passed by position has a number for its place.
            at = first["loc"][0]
            name = list(fields)[at] if isinstance(at, int) and at < len(fields) else str(at)
            if name not in fields:
                raise TypeError(f"{cls.__name__} has no {name}") from error
        shown = repr(first["input"])[:_SHOWN]
        expected = _expected(first, fields[name])
        raise InputError(f"{name.replace('_', ' ')} is {shown}; please use {expected}.")


def _expected(error: ErrorDetails, field: FieldInfo) -> str:
    """Say what a field takes: its type if that is what was wrong, else its range."""
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(map(str, get_args(field.annotation)))}"
    limits = {
        end: limit
        for item in field.metadata
        for end in ("ge", "gt", "le")
        if (limit := getattr(item, end, None)) is not None
    }
    if not error["type"].startswith(("greater_than", "less_than")):
        kinds = {int: "a whole number", float: "a number", bool: "yes or no"}
        return kinds.get(field.annotation, "text")  # type: ignore[arg-type]  # None is no kind
    if "gt" in limits:
        return f"above {limits['gt']}" + (f", up to {limits['le']}" if "le" in limits else "")
    return f"{limits['ge']} to {limits['le']}"


@dataclass(frozen=True, config=_STRICT)
class Settings(Checked):
    """How one run of the program is set up; every field is a flag and an environment variable.

    A field's title is the placeholder of its flag's value, its description the flag's help.
    """

    llama: str | None = Field(
        default=None,
        title="PATH|ID",
        description="GGUF file, folder or Hub id of a LLaMA; else the embedded base",
    )
    clip: str | None = Field(
        default=None,
        title="MODEL:PRETRAINED",
        description="open_clip tower, e.g. ViT-L-14:openai; else our own",
    )
    adapters: Path = Field(
        default=CHECKPOINTS / "adapters", title="FOLDER", description="folder of adapters"
    )
    cache: Path = Field(
        default_factory=default_cache, title="FOLDER", description="folder for converted weights"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", title="DEVICE", description="auto, cpu or cuda"
    )
    threads: int = Field(
        default_factory=available_cores,
        title="N",
        description="CPU threads of the model",
        ge=1,
        le=256,
    )
    context: int = Field(
        default=2048,
        title="TOKENS",
        description="tokens that a conversation may hold",
        ge=64,
        le=131_072,
    )
    slots: int = Field(
        default=8, title="N", description="replies that are written at once", ge=1, le=64
    )
    queue: int = Field(default=16, title="N", description="replies that may wait", ge=1, le=1024)
    kv_mb: int = Field(
        default=0,
        title="MB",
        description="memory for running and kept conversations; 0 is 1,024, or what one needs",
        ge=0,
        le=1_000_000,
    )
    kv_bits: KVBits = Field(
        default=16,
        title="16|32",
        description="bits of a number in a conversation's memory; 32 takes twice as much",
    )
    reply_seconds: float = Field(
        default=120.0, title="S", description="time limit of a reply", gt=0
    )
    keep_chats: bool = Field(
        default=True,
        title="ON|OFF",
        description="whether chats are kept here, each for the browser that wrote it",
    )
    chats: Path = Field(
        default_factory=default_chats, title="FOLDER", description="folder of kept chats"
    )
    chats_days: int = Field(
        default=90, title="DAYS", description="days after which an unused chat goes", ge=1, le=3650
    )
    chats_mb: int = Field(
        default=1024, title="MB", description="room for all chats; old ones go", ge=16, le=1_000_000
    )
    training: bool = Field(
        default=True, title="ON|OFF", description="whether visitors may teach adapters"
    )
    runs: Path = Field(
        default_factory=default_runs, title="FOLDER", description="folder of what visitors teach"
    )
    waiting_runs: int = Field(
        default=8, title="N", description="trainings that may wait", ge=0, le=1000
    )
    runs_mb: int = Field(
        default=4096,
        title="MB",
        description="room for all trainings; old ones go",
        ge=256,
        le=1_000_000,
    )
    data_rows: int = Field(
        default=60_000,
        title="N",
        description="rows of a data set that a visitor may bring; a check may last a minute",
        ge=1,
        le=100_000_000,
    )
    data_mb: int = Field(
        default=40,
        title="MB",
        description="of a visitor's table, which is held in memory some five times",
        ge=1,
        le=100_000,
    )
    data_zip_mb: int = Field(
        default=200,
        title="MB",
        description="of a visitor's zip, which lies on the disk while they are there",
        ge=1,
        le=100_000,
    )
    data_pictures: int = Field(
        default=5_000,
        title="N",
        description="files in a visitor's zip; each may cost a check 10 ms",
        ge=1,
        le=10_000_000,
    )


def _number(value: object) -> object:
    """Refuse what pydantic would take for a number: yes and no, text, and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    return value


_Whole = Annotated[int, BeforeValidator(_number)]
_Real = Annotated[float, BeforeValidator(_number)]


@dataclass(frozen=True, config=_STRICT)
class Sampling(Checked):
    """How a reply is made. Temperature 0 is greedy, and then only the penalty matters.

    `strength` multiplies the adapter's gates: 0 leaves the plain base, 1 is as it was taught.
    """

    temperature: _Real = Field(default=0.0, ge=0, le=2)
    top_p: _Real = Field(default=1.0, gt=0, le=1)
    top_k: _Whole = Field(default=0, ge=0, le=1000)  # 0 keeps every token
    repetition_penalty: _Real = Field(default=1.0, ge=1, le=2)
    max_new_tokens: _Whole = Field(default=256, ge=1, le=4096)
    seed: _Whole = Field(default=0, ge=0, le=2**32 - 1)
    strength: _Real = Field(default=1.0, ge=0, le=2)
