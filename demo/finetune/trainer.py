"""The training loop as a generator of events, over plain objects.

Only prompts, gates and the visual projection learn; the 8-bit base stays as it is. No page, thread
or disk here: whoever iterates decides what an event is worth, keeps the state between two of them,
and stops by not asking for the next.

The device is the model's, chosen by accelerate in `demo/finetune/__main__.py`; only batches are
moved here. Several processes would need no more than the gradients' mean before the clipping.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.finetune.evaluate import measure
from demo.finetune.events import Evaluated, Event, Finished, Probed, Started, Step
from demo.finetune.examples import Example
from demo.finetune.frozen import Frozen
from demo.finetune.loss import gates_of, loss_of
from demo.finetune.state import Course, State
from demo.finetune.train_settings import TrainSettings
from demo.llama.model import Llama

Probe = Callable[[Adapter], tuple[tuple[str, ...], tuple[str, ...]]]  # questions and replies


def train(
    model: Llama,
    adapter: Adapter,
    examples: Sequence[Example],
    features: Tensor | None,
    settings: TrainSettings,
) -> Iterator[Step]:
    """Teaches `adapter` in place, nothing held out; yields after every step.

    Args:
        features: (pictures, S), what the examples' `picture` rows point to.

    Raises:
        ArithmeticError: the loss is no longer finite.
    """
    course = Course(examples, features=features)
    for event in teach(model, State(adapter, settings, course), course):
        if isinstance(event, Step):
            yield event
        elif isinstance(event, Finished) and event.why == "diverged":
            raise ArithmeticError(f"the loss is not finite after step {event.step}")


def teach(
    model: Llama, state: State, course: Course, probe: Probe | None = None
) -> Iterator[Event]:
    """A whole run, or the rest of one; `state` is whole whenever an event is yielded.

    The held-out part is looked at as the settings say. A step whose loss or gradient is not finite
    is not taken: the run ends with the weights before it. `State.settle` then picks the best.
    """
    frozen = Frozen(
        model, state.adapter.spec.layers, [*course.examples, *course.held_out, *course.rehearsed]
    )
    yield Started(
        parameters=state.adapter.spec.parameters,
        steps=state.settings.steps,
        examples=len(course.examples),
        held_out=len(course.held_out),
        step=state.step,
    )
    while True:
        if course.held_out and state.look_due():
            yield look(frozen, state, course)
        if probe and state.probe_due():
            state.probed = state.step
            yield Probed(state.step, *probe(state.adapter))
        if why := state.over():
            break
        step = _step(frozen, state, course)
        if step is None:
            why = "diverged"
            break
        yield step
    yield Finished(why, state.step, state.kept_step)


def _step(frozen: Frozen, state: State, course: Course) -> Step | None:
    """One step, or None when it would spoil the weights."""
    start = time.perf_counter()
    adapter, optimizer, settings = state.adapter, state.optimizer, state.settings
    scale = settings.scale(state.step)
    part = [course.examples[place] for place in state.order.next()]
    rehearsed = course.rehearsed_at(state.step, settings.rehearsed)
    loss = loss_of(frozen, adapter, part, course.features, rehearsed)
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(adapter.parameters(), settings.clip)
    nats = loss.item()
    if not (math.isfinite(nats) and math.isfinite(norm.item())):
        return None
    optimizer.step(scale)
    state.step += 1
    seconds = time.perf_counter() - start
    return Step(state.step, nats, settings.rate * scale, gates_of(adapter), seconds)


def look(frozen: Frozen, state: State, course: Course) -> Evaluated:
    """The held-out part as it is now; the best weights are remembered."""
    measured = measure(frozen, state.adapter, course.held_out, course.features)
    if not math.isfinite(measured.loss):
        # Never the best, and fit for a log; the next step will find its own loss not finite.
        return state.look(1e9, measured.exact)
    return state.look(*measured)
