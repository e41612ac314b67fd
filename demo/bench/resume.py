"""A training that is killed again and again ends in the bytes of one that never was.

Real child processes in the program's own line of runs, on the embedded base.
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

from demo.bench.beside import LOOK, eventually, leave, trainings
from demo.bench.report import Bar, Report, Row
from demo.finetune.events import OVER, Event, Started, Step
from demo.finetune.log import without_repeats
from demo.finetune.presets import presets
from demo.finetune.run_folder import Request
from demo.finetune.runs import Runs
from demo.finetune.samples import SAMPLES
from demo.settings import Settings

OWNER = "bench"
SOONEST = 0.3  # seconds from a child's first step until it is killed, at least
# At most. The state is kept at each look and every 10 s: killed sooner than that each time, a run
# would begin anew each time, and nothing would be taken up.
LATEST = 12.0


@dataclass(frozen=True)
class Ended:
    """A run that is done.

    Attributes:
        adapter: its file.
        seconds: from the click to the end, all starts of its process included.
        kills: how many it survived.
        again: steps that were done a second time.
        taken_up: the steps that were already done at each start of its process but the first.
        waits: seconds from each start of its process to a step.
    """

    adapter: bytes
    seconds: float
    kills: int
    again: int
    taken_up: tuple[int, ...]
    waits: tuple[float, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench resume`."""
    parser.add_argument("--kills", type=int, default=10, help="of the second run")
    parser.add_argument("--steps", type=int, default=60, help="of each run")
    parser.add_argument("--sample", choices=SAMPLES, default="event-json")
    parser.add_argument(
        "--latest", type=float, default=LATEST, help="seconds from its first step to a kill"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments it is killed at")


def run(args: argparse.Namespace) -> Report:
    """The same run twice: in one go, then killed at random moments and resumed."""
    if args.kills < 1 or args.latest < SOONEST:
        raise SystemExit(f"Please use --kills from 1 and --latest from {SOONEST:g}.")
    pictures = SAMPLES[args.sample].kind == "pictures"
    choices = replace(presets(pictures=pictures)["balanced"], steps=args.steps)
    request = Request(OWNER, args.sample, choices, Settings(), sample=args.sample)
    with tempfile.TemporaryDirectory() as place, line_of_runs(Path(place)) as line:
        whole = carry_out(line, request, [])
        broken = carry_out(line, request, moments(args.kills, args.latest, args.seed))
    return Report("resume", *figures(args, whole, broken))


def figures(args: argparse.Namespace, whole: Ended, broken: Ended) -> tuple[list[Row], list[Bar]]:
    """Rows and bars of both."""
    taken_up = tuple(map(float, broken.taken_up))
    note = f"{args.sample}, {args.steps} steps"
    rows = [
        Row("a run, uninterrupted", "s", (whole.seconds,), note),
        Row("the same, killed and resumed until done", "s", (broken.seconds,)),
        Row("  kills", "", (float(broken.kills),), f"seed {args.seed}"),
        Row("  steps done again because of them", "", (float(broken.again),)),
        Row("  done already when it was taken up", "steps", taken_up or (0.0,)),
        Row("  from a start of its process to a step", "s", broken.waits),
    ]
    bars = [
        Bar("bytes that differ", float(differing(whole.adapter, broken.adapter)), most=0),
        Bar("kills before it was done", float(broken.kills), least=args.kills),
        Bar("times taken up past its beginning", float(sum(s > 0 for s in taken_up)), least=1),
    ]
    return rows, bars


def moments(count: int, latest: float, seed: int) -> list[float]:
    """So many times in seconds after a child's first step, the same for the same seed."""
    chance = random.Random(seed)
    return [chance.uniform(SOONEST, latest) for _ in range(count)]


def differing(one: bytes, other: bytes) -> int:
    """Bytes that are not the same in both, those that one of them lacks included."""
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


def done_again(events: Sequence[Event]) -> int:
    """Steps that the log has and that had to be done once more."""
    told, kept = (
        sum(isinstance(event, Step) for event in some) for some in (events, without_repeats(events))
    )
    return told - kept


def carry_out(line: Runs, request: Request, kills: Sequence[float]) -> Ended:
    """A run, killed at these moments and resumed, until it is done.

    Raises:
        SystemExit: it ends otherwise, or without an adapter.
    """
    start = time.monotonic()
    run, survived, waits = line.submit(request, None), 0, []
    for moment in kills:
        waits.append(until_it_steps(line, run))
        time.sleep(moment)
        kill()
        if until_over(line, run) != "interrupted":
            break  # it was faster
        survived += 1
        line.resume(OWNER, run)
    else:
        waits.append(until_it_steps(line, run))
        until_over(line, run)
    ended, seconds = line.get(OWNER, run), time.monotonic() - start
    if ended.state != "done" or ended.adapter is None:
        raise SystemExit(f"The training is {ended.state}. {ended.message}")
    told, _ = logged(line, run)
    taken_up = tuple(event.step for event in told if isinstance(event, Started))[1:]
    data, again = ended.adapter.read_bytes(), done_again(told)
    return Ended(data, seconds, survived, again, taken_up, tuple(waits))


def until_it_steps(line: Runs, run: str) -> float:
    """Seconds until a child that has just been asked for has made a step, or is over."""
    start, (_, offset) = time.monotonic(), logged(line, run)

    def stepped() -> bool:
        nonlocal offset  # only what is new is read: the run needs the cores
        fresh, offset = logged(line, run, offset)
        return any(isinstance(event, Step) for event in fresh) or is_over(line, run)

    eventually(stepped, "The training does not begin.")
    return time.monotonic() - start


def until_over(line: Runs, run: str) -> str:
    """The state that a run ends in, once its process has left."""
    while not is_over(line, run):
        time.sleep(LOOK)  # as long as it takes: a run has no deadline
    return line.get(OWNER, run).state


def is_over(line: Runs, run: str) -> bool:
    """Whether it is, and nobody is at work in it any more."""
    seen = line.get(OWNER, run)
    return seen.state in OVER and not seen.ending


def logged(line: Runs, run: str, offset: int = 0) -> tuple[list[Event], int]:
    """All that it has told after `offset`, and the offset of what comes next."""
    told: list[Event] = []
    while True:
        events, end = line.events(OWNER, run, offset)
        if end == offset:
            return told, offset
        told, offset = told + events, end


def kill() -> None:
    """The child is gone at once, as when memory runs out; its guardian follows by itself."""
    for process in trainings():
        with suppress(psutil.NoSuchProcess):
            if process.ppid() == os.getpid():
                process.kill()


@contextmanager
def line_of_runs(folder: Path) -> Iterator[Runs]:
    """A line at work in `folder`; afterwards its child has gone, whatever happened."""
    line = Runs(folder)
    line.start()
    try:
        yield line
    finally:
        leave(line.close)
