"""The training loop as a generator of events, over plain objects, and what it will need.

Only prompts, gates and the visual projection learn; the 8-bit base stays as it is. No page, thread
or disk here: whoever iterates decides what an event is worth, keeps the state between two of them,
and stops by not asking for the next.

The device is the model's, chosen by accelerate in `demo/finetune/runs/job.py`; only batches are
moved here. Several processes add up their gradients before the clipping (`workers.py`).
"""

import copy
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.data.examples import Example
from demo.finetune.train.config import EVALUATIONS, PROBES, TrainSettings
from demo.finetune.train.evaluate import measure
from demo.finetune.train.events import (
    Assessment,
    Estimated,
    Evaluated,
    Event,
    Finished,
    Probed,
    Started,
    Step,
)
from demo.finetune.train.loss import FrozenBase, gates_of, loss_of
from demo.finetune.train.state import Order, TrainerState, TrainingSet, lengths
from demo.finetune.train.workers import Workers
from demo.llama.model import Llama

TIGHT, FITS = 0.95, 0.75  # shares of the memory that is free
SPARE = 8  # steps taken in place of those that were interrupted
BESIDES = 15.0  # seconds for the start, the questions and the end
CGROUP = Path("/sys/fs/cgroup")
ProbeFunction = Callable[
    [Adapter], tuple[tuple[str, ...], tuple[str, ...]]
]  # questions and replies


def train(
    model: Llama,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    settings: TrainSettings,
) -> Iterator[Step]:
    """Train `adapter` in place with nothing held out; yield after every step.

    Args:
        model: the base.
        adapter: that learns.
        examples: all with a picture or all without.
        features: (pictures, S), what the examples' `picture` counts.
        settings: the recipe.

    Raises:
        ArithmeticError: the loss is no longer finite.
    """
    training_set = TrainingSet(examples, features=features)
    for event in training_run(model, TrainerState(adapter, settings, training_set), training_set):
        if isinstance(event, Step):
            yield event
        elif isinstance(event, Finished) and event.why == "diverged":
            raise ArithmeticError(f"the loss is not finite after step {event.step}")


def training_run(
    model: Llama,
    state: TrainerState,
    training_set: TrainingSet,
    probe: ProbeFunction | None = None,
    workers: Workers | None = None,
) -> Iterator[Event]:
    """Carry out a whole run, or the rest of one; `state` is whole whenever an event is yielded.

    The held-out part is evaluated as the settings say. A step whose loss or gradient is not finite
    is not taken: the run ends with the weights before it. `TrainerState.settle` picks the best.

    Args:
        model: the base.
        state: of the run, changed in place.
        training_set: what is learned from.
        probe: answers questions on the way.
        workers: the processes that share the work; the batch is that of all of them together.
    """
    frozen = FrozenBase(
        model,
        state.adapter.spec.reach(model.config),
        [*training_set.examples, *training_set.held_out, *training_set.rehearsed],
    )
    yield Started(
        parameters=state.adapter.spec.parameters,
        steps=state.settings.steps,
        examples=len(training_set.examples),
        held_out=len(training_set.held_out),
        step=state.step,
    )
    while True:
        if training_set.held_out and state.eval_due():
            yield evaluate(frozen, state, training_set, workers)
        if probe and state.probe_due():
            state.probed = state.step
            yield Probed(state.step, *probe(state.adapter))
        if why := state.over():
            break
        step = _step(frozen, state, training_set, workers)
        if step is None:
            why = "diverged"
            break
        yield step
    yield Finished(why, state.step, state.kept_step)


def _step(
    frozen: FrozenBase, state: TrainerState, training_set: TrainingSet, workers: Workers | None
) -> Step | None:
    """Take one step; return None instead when it would spoil the weights."""
    start = time.perf_counter()
    adapter, optimizer, settings = state.adapter, state.optimizer, state.settings
    scale = settings.scale(state.step)
    batch = [training_set.examples[place] for place in state.order.next()]
    rehearsed = training_set.rehearsed_at(state.step, settings.rehearsed)
    optimizer.zero_grad()
    if workers:
        nats = workers.gradients(frozen, adapter, batch, training_set, rehearsed)
    else:
        weights = 1.0, training_set.rehearsal_weight
        loss = loss_of(frozen, adapter, batch, training_set.features, rehearsed, weights=weights)
        loss.backward()
        nats = loss.item()
    norm = torch.nn.utils.clip_grad_norm_(adapter.parameters(), settings.clip)
    if not (math.isfinite(nats) and math.isfinite(norm.item())):
        return None
    optimizer.step(scale)
    state.step += 1
    seconds = time.perf_counter() - start
    return Step(state.step, nats, settings.rate * scale, gates_of(adapter), seconds)


def evaluate(
    frozen: FrozenBase,
    state: TrainerState,
    training_set: TrainingSet,
    workers: Workers | None = None,
) -> Evaluated:
    """Evaluate the held-out part, each process its share; the best weights are remembered."""
    held_out, features = training_set.held_out, training_set.features
    if workers:
        measured = workers.measured(frozen, state.adapter, held_out, features)
    else:
        measured = measure(frozen, state.adapter, held_out, features)
    if not math.isfinite(measured.loss):
        # Never the best, and fit for a log; the next step will find its own loss not finite.
        return state.record_evaluation(1e9, measured.exact)
    return state.record_evaluation(*measured)


def estimate(
    model: Llama,
    adapter: Adapter,
    settings: TrainSettings,
    training_set: TrainingSet,
    final_rows: int,
) -> Estimated:
    """Take one step on the longest examples, for the memory, and two on usual ones, for the time.

    To be called by the first thread of a process of its own, because what it measures is the most
    memory that this process has ever had.

    Args:
        model: the base.
        adapter: before its first step; it stays as it is.
        settings: of the run.
        training_set: of the run.
        final_rows: held-out rows that are passed over twice at the end.
    """
    longest = sorted(training_set.examples, key=lambda example: len(example.ids))[-settings.batch :]
    again = training_set.rehearsed[: settings.rehearsed]  # so that the second step has met them
    part = replace(training_set, examples=longest, held_out=(), rehearsed=again)
    _steps(model, adapter, part, settings, 1)
    order = Order(lengths(adapter, training_set.examples), settings.batch, settings.seed)
    usual = [training_set.examples[place] for place in order.next()]
    seconds = _steps(model, adapter, replace(part, examples=usual), settings, 2)
    # A forward pass alone costs a third of a step.
    passes = _once(training_set, adapter.spec.layers / model.config.layers)
    passes += (EVALUATIONS + 1) * len(training_set.held_out) + 2 * final_rows
    total = seconds * (settings.steps + passes / (3 * settings.batch)) + BESIDES + 1.5 * PROBES
    memory = _peak() + 4 * adapter.spec.parameters  # the best weights are kept as well
    parameters = adapter.spec.parameters
    return Estimated(parameters, 4 * parameters + 4096, memory, round(total, 1), assess(memory))


def _once(training_set: TrainingSet, adapted: float) -> float:
    """Count the forward passes that a run's first meeting with each of its texts costs.

    The layers below the adapter are run once for each, and all layers as the base has them for each
    that is rehearsed.
    """
    rehearsed = {text.ids for text in training_set.rehearsed}
    learned = {example.ids for example in training_set.examples}
    return (1 - adapted) * len(learned | rehearsed) + adapted * len(rehearsed)


def assess(needed: int) -> Assessment:
    """Tell whether a process of so many bytes fits beside what runs now, this one apart."""
    share = needed / max(1, _free() + psutil.Process().memory_info().rss)
    return "fits" if share <= FITS else "tight" if share <= TIGHT else "does not fit"


def _steps(
    model: Llama, adapter: Adapter, training_set: TrainingSet, settings: TrainSettings, count: int
) -> float:
    """Measure the seconds of the last of some steps, taken on a copy.

    A step in which this process stood still says nothing, so another one is taken.
    """
    settings = replace(settings, steps=count + SPARE)
    state = TrainerState(copy.deepcopy(adapter), settings, training_set)
    steps = (event for event in training_run(model, state, training_set) if isinstance(event, Step))
    with _pauses() as pauses:
        for number in range(1, count + SPARE + 1):
            before = len(pauses)
            seconds = next(steps).seconds
            if number >= count and len(pauses) == before:
                break
    return seconds


@contextmanager
def _pauses() -> Iterator[list[int]]:
    """Give a list that grows each time this process goes on after it stood still."""
    seen: list[int] = []
    if not hasattr(signal, "SIGCONT"):  # on Windows nobody says so; the estimate is then too long
        yield seen
        return
    before = signal.signal(signal.SIGCONT, lambda number, frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGCONT, before)


def _peak() -> int:
    """Measure the most bytes this process has had in memory."""
    with suppress(OSError), open("/proc/self/status") as file:
        # Not what getrusage says: there a child begins with the peak of whoever started it.
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset
    try:
        import resource
    except ImportError:
        return memory.rss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _free(cgroup: Path = CGROUP) -> int:
    """Bytes that may still be taken. In a container the host has more than we may use."""
    free = psutil.virtual_memory().available
    try:
        limit = int((cgroup / "memory.max").read_text())  # "max" where there is none
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return min(free, limit - used)
