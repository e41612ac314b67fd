"""What a run will need, from real steps on this machine, before it is started."""

import copy
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from demo.adapter.adapter import Adapter
from demo.finetune.events import Estimated, Step, Verdict
from demo.finetune.order import Order
from demo.finetune.presets import LOOKS, PROBES
from demo.finetune.state import Course, State
from demo.finetune.train_settings import TrainSettings
from demo.finetune.trainer import teach
from demo.llama.model import Llama

TIGHT, FITS = 0.95, 0.75  # shares of the memory that is free
SPARE = 8  # steps taken in place of those that were interrupted
BESIDES = 15.0  # seconds for the start, the questions and the end
CGROUP = Path("/sys/fs/cgroup")


def estimate(
    model: Llama, adapter: Adapter, settings: TrainSettings, course: Course, judged: int
) -> Estimated:
    """Takes one step on the longest examples, for the memory, and two on usual ones, for the time.

    To be called by the first thread of a process of its own, because what it measures is the most
    memory that this process has ever had.

    Args:
        judged: held-out rows that are passed over twice at the end.
    """
    longest = sorted(course.examples, key=lambda example: len(example.ids))[-settings.batch :]
    _steps(model, adapter, replace(course, examples=longest, held_out=()), settings, 1)
    order = Order([len(e.ids) for e in course.examples], settings.batch, settings.seed)
    usual = [course.examples[place] for place in order.next()]
    seconds = _steps(model, adapter, replace(course, examples=usual, held_out=()), settings, 2)
    # A pass without a way back costs a third of a step.
    passes = (LOOKS + 1) * len(course.held_out) + 2 * judged
    total = seconds * (settings.steps + passes / (3 * settings.batch)) + BESIDES + 1.5 * PROBES
    memory = _peak() + 4 * adapter.spec.parameters  # the best weights are kept as well
    parameters = adapter.spec.parameters
    return Estimated(parameters, 4 * parameters + 4096, memory, round(total, 1), verdict(memory))


def verdict(needed: int) -> Verdict:
    """Whether a process of so many bytes fits beside what runs now, this one apart."""
    share = needed / max(1, _free() + psutil.Process().memory_info().rss)
    return "fits" if share <= FITS else "tight" if share <= TIGHT else "does not fit"


def _steps(
    model: Llama, adapter: Adapter, course: Course, settings: TrainSettings, count: int
) -> float:
    """Seconds of the last of some steps, taken on a copy.

    A step in which this process stood still says nothing, so another one is taken.
    """
    settings = replace(settings, steps=count + SPARE)
    state = State(copy.deepcopy(adapter), settings, course)
    steps = (event for event in teach(model, state, course) if isinstance(event, Step))
    with _pauses() as pauses:
        for number in range(1, count + SPARE + 1):
            before = len(pauses)
            seconds = next(steps).seconds
            if number >= count and len(pauses) == before:
                break
    return seconds


@contextmanager
def _pauses() -> Iterator[list[int]]:
    """A list that grows each time this process goes on after it stood still (`Child.pause`)."""
    seen: list[int] = []
    before = signal.signal(signal.SIGCONT, lambda number, frame: seen.append(number))
    try:
        yield seen
    finally:
        signal.signal(signal.SIGCONT, before)


def _peak() -> int:
    """The most bytes this process has had in memory."""
    with suppress(OSError), open("/proc/self/status") as file:
        # Not what getrusage says: there a child begins with the peak of whoever started it.
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
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
