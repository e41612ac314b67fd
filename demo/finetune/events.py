"""What a run says of itself while it goes on: plain values, one JSON object each in its log."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

State = Literal[
    "waiting",  # for its turn
    "preparing",  # the base is opened, the data is read
    "running",
    "paused",  # while replies are written
    "stopping",  # asked to stop, not there yet
    "done",
    "stopped",  # by its owner
    "failed",  # the message says why and what to do
    "interrupted",  # by a crash, by a restart, or from outside; it can be resumed
]
OVER = frozenset(("done", "stopped", "failed", "interrupted"))
Verdict = Literal["fits", "tight", "does not fit"]
Why = Literal["done", "early stop", "diverged", "stopped"]


@dataclass(frozen=True)
class Stage:
    """The run enters a state; `message` is for its owner."""

    state: State
    message: str = ""


@dataclass(frozen=True)
class Estimated:
    """What a run will need: trained numbers, size of the file, memory of the process, time."""

    parameters: int
    file_bytes: int
    memory_bytes: int
    seconds: float
    verdict: Verdict


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on after `step` steps done before."""

    parameters: int
    steps: int
    examples: int
    held_out: int
    step: int = 0


@dataclass(frozen=True)
class Step:
    """One step done: its number from 1, loss in nats a token, the rate of the prompts.

    `gates` is the mean |tanh(gate)| of each adapted layer, the lowest first.
    """

    step: int
    loss: float
    rate: float
    gates: tuple[float, ...]
    seconds: float

    @property
    def gate(self) -> float:
        """Mean |tanh(gate)| of all layers."""
        return sum(self.gates) / len(self.gates)


@dataclass(frozen=True)
class Evaluated:
    """The held-out part after `step` steps: loss in nats a token, share of exact replies.

    Exactness means something where a question has one right answer; a voice has none.
    """

    step: int
    loss: float
    exact: float
    best: bool


@dataclass(frozen=True)
class Probed:
    """The probe questions and what the adapter answers after `step` steps.

    `pictures` are small WebPs of what the questions are about, in base64, "" for none; they stand
    in the first of a run's log alone.
    """

    step: int
    questions: tuple[str, ...]
    replies: tuple[str, ...]
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """Training is over after `step` steps; the weights after `kept` steps are kept."""

    why: Why
    step: int
    kept: int


@dataclass(frozen=True)
class Compared:
    """A held-out question, the expected reply, the base's and the adapter's.

    `picture` is the small WebP of what the question is about, in base64; "" for none.
    """

    question: str
    expected: str
    base: str
    adapter: str
    picture: str = ""


@dataclass(frozen=True)
class Judged:
    """The end: measures with and without the adapter, and held-out rows side by side."""

    metrics: dict[str, float]
    rows: tuple[Compared, ...]


Event = Stage | Estimated | Started | Step | Evaluated | Probed | Finished | Judged
_KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Event)}


def to_json(event: Event) -> str:
    """One line, `{"event": "step", ...}`."""
    raw = {"event": type(event).__name__.lower(), **asdict(event)}
    return json.dumps(raw, ensure_ascii=False, allow_nan=False)


def from_json(line: str) -> Event:
    """Raises ValueError for anything that is not an event's line."""
    raw = json.loads(line)
    try:
        kind = _KINDS[raw.pop("event")]
        names = [item.name for item in fields(kind) if item.name in raw]
        return kind(**{name: _value(name, raw[name]) for name in names})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("not an event") from error


def _value(name: str, value: Any) -> Any:
    if name == "rows":
        return tuple(Compared(**row) for row in value)
    return tuple(value) if isinstance(value, list) else value
