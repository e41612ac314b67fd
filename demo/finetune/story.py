"""A run as its log tells it, read on bit by bit: what a page draws."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from demo.finetune.events import (
    Evaluated,
    Event,
    Finished,
    Judged,
    Probed,
    Started,
    Step,
)

RECENT = 20  # steps by which the time of the coming ones is judged
Counted = TypeVar("Counted", Step, Evaluated, Probed)


@dataclass(frozen=True)
class Story:
    """What has happened so far; what a resumed run does again stands once."""

    started: Started | None = None
    steps: tuple[Step, ...] = ()
    looks: tuple[Evaluated, ...] = ()  # at the held-out part
    probes: tuple[Probed, ...] = ()
    finished: Finished | None = None
    judged: Judged | None = None

    @property
    def done(self) -> int:
        """Steps that are done."""
        return self.steps[-1].step if self.steps else (self.started.step if self.started else 0)

    @property
    def seconds_left(self) -> float | None:
        """Of training, None before it has begun or when it is over. Pauses are not foreseen."""
        if not self.steps or not self.started or self.finished:
            return None
        usual = statistics.median(step.seconds for step in self.steps[-RECENT:])
        return usual * (self.started.steps - self.done)

    def with_events(self, events: Iterable[Event]) -> "Story":
        """The story after more of the log."""
        story, steps = self, list(self.steps)
        looks, probes = list(self.looks), list(self.probes)
        for event in events:
            if isinstance(event, Started):
                # A resumed run goes on from its last checkpoint and logs again what came after.
                steps, looks, probes = (_until(event.step, kept) for kept in (steps, looks, probes))
                story = replace(story, started=event, finished=None, judged=None)
            elif isinstance(event, Step):
                steps.append(event)
            elif isinstance(event, Evaluated):
                looks = [*_until(event.step - 1, looks), event]
            elif isinstance(event, Probed):
                probes = [*_until(event.step - 1, probes), event]
            elif isinstance(event, Finished):
                story = replace(story, finished=event)
            elif isinstance(event, Judged):
                story = replace(story, judged=event)
        return replace(story, steps=tuple(steps), looks=tuple(looks), probes=tuple(probes))


def _until(step: int, events: Iterable[Counted]) -> list[Counted]:
    return [event for event in events if event.step <= step]
