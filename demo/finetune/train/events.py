"""Events of a run: plain values that say how it goes, their log, and the history it tells.

An event is one JSON object, a line of the log. The names of events and fields stand in logs on disk
and therefore stay.

Events are appended, so any number of readers may follow. A writer that is killed leaves at most
half a line at the end. Readers leave it alone until it is whole; the next writer ends it, and then
it is no event and is passed over.
"""

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

ENOUGH_OTHERWISE, ENOUGH_KEPT = 0.6, 0.85  # shares below which something is to be done
RunState = Literal[
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
Assessment = Literal["fits", "tight", "does not fit"]
EndReason = Literal["done", "early stop", "diverged", "stopped"]


@dataclass(frozen=True)
class RunStage:
    """The run enters a state; `message` is for its owner."""

    state: RunState
    message: str = ""


@dataclass(frozen=True)
class Estimated:
    """What a run will need: trained numbers, size of the file, memory of the process, time."""

    parameters: int
    file_bytes: int
    memory_bytes: int
    seconds: float
    verdict: Assessment


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on after `step` steps done before."""

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

    why: EndReason
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
class FinalEvaluation:
    """The end: measures with and without the adapter, and held-out rows side by side."""

    metrics: dict[str, float]
    rows: tuple[Compared, ...]


Event = RunStage | Estimated | Started | Step | Evaluated | Probed | Finished | FinalEvaluation
# The names that stand in logs.
_NAMES: dict[type, str] = {kind: kind.__name__.lower() for kind in get_args(Event)}
_NAMES |= {RunStage: "stage", FinalEvaluation: "judged"}
_KINDS: dict[str, type] = {name: kind for kind, name in _NAMES.items()}


def facts_verdict(metrics: Mapping[str, float]) -> str:
    """Say how many of the facts taught it knows, what else has changed, and what to do next."""
    if "taught" not in metrics:
        return ""
    count, known = int(metrics["taught"]), int(metrics["taught_known"])
    said = f" Knows {known:,} of {count:,} as taught"
    others, found = int(metrics.get("otherwise", 0)), int(metrics.get("otherwise_known", 0))
    if others:
        said += f", {found:,} of {others:,} asked otherwise"
    kept = metrics.get("ordinary_kept", 1.0)
    if "ordinary_kept" in metrics:
        said += f"; ordinary answers unchanged in {math.floor(100 * kept)} %"
    said += "."
    if known < count:
        said += " The others come first below; a longer training teaches them."
    elif found < ENOUGH_OTHERWISE * others:
        said += " Rows with the same answer and the question in your own words teach it more."
    if kept < ENOUGH_KEPT:
        said += " It changes ordinary answers too: use it at a lower strength, or teach fewer rows."
    return said


def to_json(event: Event) -> str:
    """Write an event as one line, `{"event": "step", ...}`."""
    raw = {"event": _NAMES[type(event)], **asdict(event)}
    return json.dumps(raw, ensure_ascii=False, allow_nan=False)


def from_json(line: str) -> Event:
    """Read a line of a log.

    Raises:
        ValueError: it is not an event's line.
    """
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


CHUNK = 2**20  # bytes read at a time; what is left is read the next time
RECENT = 20  # steps by which the time of the coming ones is judged
Counted = TypeVar("Counted", Step, Evaluated, Probed)


class EventLog:
    """Append events to a file. Each is with the system, safe from a kill, when `append` returns.

    Raises:
        OSError: the file cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - closed by `close`
        if self._file.tell() and not self._ends_whole():
            self._write(b"\n")

    def append(self, event: Event) -> None:
        """Write one event. Raises OSError when the disk is full."""
        self._write(to_json(event).encode() + b"\n")

    def close(self) -> None:
        """Close the file; the log can be opened again."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        while data:
            data = data[self._file.write(data) :]

    def _ends_whole(self) -> bool:
        self._file.seek(-1, 2)
        return self._file.read(1) == b"\n"


class Slice(NamedTuple):
    """Events, and the offset at which the ones after them begin."""

    events: list[Event]
    offset: int


def read_log(path: Path, offset: int = 0) -> Slice:
    """Read what was logged after `offset`, at most `CHUNK` bytes of it.

    A log that is not there yet is empty. Lines that are no events are passed over.
    """
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read(CHUNK)
    except FileNotFoundError:
        return Slice([], offset)
    whole = data[: data.rfind(b"\n") + 1]
    events = []
    for line in whole.splitlines():
        try:
            events.append(from_json(line.decode()))
        except ValueError:
            continue
    return Slice(events, offset + len(whole))


@dataclass(frozen=True)
class RunHistory:
    """What has happened in a run so far.

    A resumed run goes on from its last checkpoint and logs again what came after it; here that
    stands once.

    Attributes:
        evaluations: of the held-out part, in the order of their steps.
        offset: bytes of the log that are accounted for.
    """

    started: Started | None = None
    steps: tuple[Step, ...] = ()
    evaluations: tuple[Evaluated, ...] = ()
    probes: tuple[Probed, ...] = ()
    finished: Finished | None = None
    judged: FinalEvaluation | None = None
    offset: int = 0

    @property
    def done(self) -> int:
        """How many steps are done."""
        return self.steps[-1].step if self.steps else (self.started.step if self.started else 0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds of training to come, pauses apart; None before it has begun and after its end."""
        if not self.steps or not self.started or self.finished:
            return None
        usual = statistics.median(step.seconds for step in self.steps[-RECENT:])
        return usual * (self.started.steps - self.done)

    def read_on(self, log: Path) -> "RunHistory":
        """Return the history with all that the log holds by now; only what is new is read."""
        history = self
        while True:
            events, end = read_log(log, history.offset)
            if end == history.offset:
                return history
            history = replace(history.with_events(events), offset=end)

    def with_events(self, events: Iterable[Event]) -> "RunHistory":
        """Return the history after more of the log."""
        history, steps = self, list(self.steps)
        evaluations, probes = list(self.evaluations), list(self.probes)
        for event in events:
            if isinstance(event, Started):
                steps = _until(event.step, steps)
                evaluations, probes = _until(event.step, evaluations), _until(event.step, probes)
                history = replace(history, started=event, finished=None, judged=None)
            elif isinstance(event, Step):
                steps.append(event)
            elif isinstance(event, Evaluated):
                evaluations = [*_until(event.step - 1, evaluations), event]
            elif isinstance(event, Probed):
                probes = [*_until(event.step - 1, probes), event]
            elif isinstance(event, Finished):
                history = replace(history, finished=event)
            elif isinstance(event, FinalEvaluation):
                history = replace(history, judged=event)
        return replace(
            history, steps=tuple(steps), evaluations=tuple(evaluations), probes=tuple(probes)
        )


def _until(step: int, events: Iterable[Counted]) -> list[Counted]:
    return [event for event in events if event.step <= step]


CURVES = ("step", "training_loss", "held_out_loss", "exact_replies", "learning_rate")


def as_csv(history: RunHistory) -> str:
    """Write a row a step: losses in nats a token, the share of exact replies, rate, gates.

    What was not measured at a step stays empty. A gate is its layer's mean |tanh(gate)|, the lowest
    adapted layer first.
    """
    steps = {step.step: step for step in history.steps}
    looks = {look.step: look for look in history.evaluations}
    layers = max((len(step.gates) for step in history.steps), default=0)
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write([*CURVES, *(f"gate_{layer}" for layer in range(1, layers + 1))])
    for number in sorted(steps.keys() | looks.keys()):
        step, look = steps.get(number), looks.get(number)
        held = (look.loss, look.exact) if look else ("", "")
        gates = step.gates if step else ("",) * layers
        write([number, step.loss if step else "", *held, step.rate if step else "", *gates])
    return out.getvalue()
