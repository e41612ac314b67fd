"""A training that is killed again and again ends in the bytes of one that never was.

Real child processes in the program's own queue of runs, on the embedded base.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from demo.background_task import PauseSwitch
from demo.bench.latency_during_training import POLL, eventually, leave, trainings
from demo.bench.report import Bar, BenchReport, Figure
from demo.finetune.data.samples import SAMPLES
from demo.finetune.runs.queue import RunQueue
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.train.config import presets
from demo.finetune.train.events import OVER, Event, RunHistory, Started, Step, read_log
from demo.settings import Settings

OWNER = "bench"
SOONEST = 0.3  # seconds from a child's first step until it is killed, at least
# At most. The state is kept at each look and every 10 s: killed sooner than that each time, a run
# would begin anew each time, and nothing would be taken up.
LATEST = 12.0


@dataclass(frozen=True)
class CompletedRun:
    """A run that is done.

    Attributes:
        adapter: its file.
        seconds: from the click to the end, all starts of its process included.
        kills: how many it survived.
        again: steps that were done a second time.
        resumed_at: the steps that were already done at each start of its process but the first.
        waits: seconds from each start of its process to a step.
    """

    adapter: bytes
    seconds: float
    kills: int
    again: int
    resumed_at: tuple[int, ...]
    waits: tuple[float, ...]


def add_resume_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench resume`."""
    parser.add_argument("--kills", type=int, default=10, help="of the second run")
    parser.add_argument("--steps", type=int, default=60, help="of each run")
    parser.add_argument("--sample", choices=SAMPLES, default="event-json")
    parser.add_argument(
        "--latest", type=float, default=LATEST, help="seconds from its first step to a kill"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments it is killed at")


def run_resume(args: argparse.Namespace) -> BenchReport:
    """Do the same run twice: in one go, then killed at random moments and resumed."""
    if args.kills < 1 or args.latest < SOONEST:
        raise SystemExit(f"Please use --kills from 1 and --latest from {SOONEST:g}.")
    pictures = SAMPLES[args.sample].kind == "pictures"
    choices = replace(presets(pictures=pictures)["balanced"], steps=args.steps)
    request = RunRequest(OWNER, args.sample, choices, Settings(), sample=args.sample)
    with tempfile.TemporaryDirectory() as place, run_queue(Path(place)) as queue:
        whole = carry_out(queue, request, [])
        broken = carry_out(queue, request, moments(args.kills, args.latest, args.seed))
    return BenchReport("resume", *figures(args, whole, broken))


def figures(
    args: argparse.Namespace, whole: CompletedRun, broken: CompletedRun
) -> tuple[list[Figure], list[Bar]]:
    """Return the rows and bars of both."""
    resumed_at = tuple(map(float, broken.resumed_at))
    note = f"{args.sample}, {args.steps} steps"
    rows = [
        Figure("a run, uninterrupted", "s", (whole.seconds,), note),
        Figure("the same, killed and resumed until done", "s", (broken.seconds,)),
        Figure("  kills", "", (float(broken.kills),), f"seed {args.seed}"),
        Figure("  steps done again because of them", "", (float(broken.again),)),
        Figure("  done already when it was taken up", "steps", resumed_at or (0.0,)),
        Figure("  from a start of its process to a step", "s", broken.waits),
    ]
    bars = [
        Bar("bytes that differ", float(differing(whole.adapter, broken.adapter)), most=0),
        Bar("kills before it was done", float(broken.kills), least=args.kills),
        Bar("times taken up past its beginning", float(sum(s > 0 for s in resumed_at)), least=1),
    ]
    return rows, bars


def moments(count: int, latest: float, seed: int) -> list[float]:
    """Return so many times in seconds after a child's first step, the same for the same seed."""
    chance = random.Random(seed)
    return [chance.uniform(SOONEST, latest) for _ in range(count)]


def differing(one: bytes, other: bytes) -> int:
    """Count the bytes that are not the same in both, those that one of them lacks included."""
    both = zip(one, other, strict=False)  # the rest of the longer one is counted behind it
    return sum(a != b for a, b in both) + abs(len(one) - len(other))


def done_again(events: Sequence[Event]) -> int:
    """Count the steps of the log that had to be done once more."""
    told = sum(isinstance(event, Step) for event in events)
    return told - len(RunHistory().with_events(events).steps)


def carry_out(queue: RunQueue, request: RunRequest, kills: Sequence[float]) -> CompletedRun:
    """Do a run, killed at these moments and resumed, until it is done.

    Raises:
        SystemExit: it ends otherwise, or without an adapter.
    """
    start = time.monotonic()
    run_id, survived, waits = queue.submit(request, None), 0, []
    for moment in kills:
        waits.append(until_it_steps(queue, run_id))
        time.sleep(moment)
        kill()
        if until_over(queue, run_id) != "interrupted":
            break  # it was faster
        survived += 1
        queue.resume(OWNER, run_id)
    else:
        waits.append(until_it_steps(queue, run_id))
        until_over(queue, run_id)
    ended, seconds = queue.get(OWNER, run_id), time.monotonic() - start
    if ended.state != "done" or ended.adapter is None:
        raise SystemExit(f"The training is {ended.state}. {ended.message}")
    told = logged(RunFolder(ended.adapter.parent).log)
    resumed_at = tuple(event.step for event in told if isinstance(event, Started))[1:]
    data, again = ended.adapter.read_bytes(), done_again(told)
    return CompletedRun(data, seconds, survived, again, resumed_at, tuple(waits))


def until_it_steps(queue: RunQueue, run_id: str) -> float:
    """Return the seconds until a child that has just been asked for has made a step, or is over."""
    start, before = time.monotonic(), queue.history(OWNER, run_id).started

    def stepped() -> bool:
        seen = queue.history(OWNER, run_id)  # only what is new is read: the run needs the cores
        if seen.started is not None and seen.started is not before:
            return seen.done > seen.started.step or is_over(queue, run_id)
        return is_over(queue, run_id)

    eventually(stepped, "The training does not begin.")
    return time.monotonic() - start


def until_over(queue: RunQueue, run_id: str) -> str:
    """Return the state that a run ends in, once its process has left."""
    while not is_over(queue, run_id):
        time.sleep(POLL)  # as long as it takes: a run has no deadline
    return queue.get(OWNER, run_id).state


def is_over(queue: RunQueue, run_id: str) -> bool:
    """Say whether a run is over and nobody is at work in it any more."""
    seen = queue.get(OWNER, run_id)
    return seen.state in OVER and not seen.ending


def logged(log: Path) -> list[Event]:
    """Return all that a run has logged."""
    told, offset = list[Event](), 0
    while True:
        events, end = read_log(log, offset)
        if end == offset:
            return told
        told, offset = told + events, end


def kill() -> None:
    """Kill the child at once, as when memory runs out; its guardian follows by itself."""
    for process in trainings():
        with suppress(psutil.NoSuchProcess):
            if process.ppid() == os.getpid():
                process.kill()


@contextmanager
def run_queue(folder: Path) -> Iterator[RunQueue]:
    """Open a queue at work in `folder`; afterwards its child has gone, whatever happened."""
    queue = RunQueue(folder, PauseSwitch())
    queue.start()
    try:
        yield queue
    finally:
        leave(queue.close)
