"""The chat beside a training: time to first token while a run is under way, against idle.

In process, on the runtime that the page uses; the run is a child process as a visitor begins it.
It stands still while a reply is written, so what is measured is how fast it makes way.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from demo.bench.report import Bar, BenchReport, Figure
from demo.finetune.data.samples import load_sample
from demo.finetune.train.config import RANGES, presets
from demo.finetune.train.events import OVER
from demo.runtime import Runtime
from demo.settings import Sampling, Settings

SAMPLE, OWNER = "pirate", "bench"
SHORT = Sampling(max_new_tokens=24)
REST = 1.0  # seconds between a reply and the next question
QUIET = 10.0  # seconds in which nobody asks and the run's own pace is taken
PATIENCE = 300.0  # seconds until what has to happen must have happened
POLL = 0.02  # seconds between two looks at whether it has


@dataclass(frozen=True)
class TrainingLatencies:
    """What was measured while the run was under way.

    Attributes:
        waits: time to first token, in ms.
        gained: steps made between two questions.
        before, after: steps a second while nobody asks, before the first question and after the
            last.
    """

    waits: tuple[float, ...]
    gained: tuple[float, ...]
    before: float
    after: float


def add_beside_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench beside`."""
    parser.add_argument("--questions", type=int, default=30, help="asked idle, and beside a run")


def run_beside(args: argparse.Namespace) -> BenchReport:
    """Ask half of the questions idle, all of them beside a run, then the other half idle."""
    warm, *questions = questions_for(args.questions)
    half = len(questions) // 2
    with tempfile.TemporaryDirectory() as place, loaded(Path(place)) as runtime:
        idle = idle_latencies(runtime, warm, questions[:half])
        training = begin_training(runtime)
        beside = measure(runtime, training, warm, questions)
        end_training(runtime, training)
        idle += idle_latencies(runtime, warm, questions[half:])
    return BenchReport("beside", *figures(idle, beside))


def figures(idle: Sequence[float], beside: TrainingLatencies) -> tuple[list[Figure], list[Bar]]:
    """Return the rows and bars of both."""
    slow_idle, slow_beside = percentile(idle, 95), percentile(beside.waits, 95)
    rows = [
        Figure(
            "first token, idle", "ms", tuple(idle), "half of them before the run, half after it"
        ),
        Figure("  p95", "ms", (slow_idle,)),
        Figure("first token beside a training", "ms", beside.waits, f"{SAMPLE}, preset balanced"),
        Figure("  p95", "ms", (slow_beside,)),
        Figure("steps a second while nobody asks", "steps/s", (beside.before,)),
        Figure("  after the last question", "steps/s", (beside.after,)),
        Figure("  steps between two questions", "", beside.gained),
    ]
    ratio = slow_beside / slow_idle
    return rows, [Bar("time to first token p95 beside a training / idle", ratio, most=2)]


def questions_for(count: int) -> list[str]:
    """Return one question to warm up with, and so many to be measured, all different.

    Raises:
        SystemExit: there are not so many, or too few for a half before and a half after.
    """
    known = [row.cells["prompt"] for row in load_sample(SAMPLE).rows]
    if not 2 <= count < len(known):
        raise SystemExit(f"--questions: please use 2 to {len(known) - 1}.")
    return [known[-1], *known[:count]]


def idle_latencies(runtime: Runtime, warm: str, questions: Sequence[str]) -> list[float]:
    """Return times to first token in ms, with the same rests as beside a run."""
    first_token(runtime, warm)
    waits = []
    for question in questions:
        time.sleep(REST)
        waits.append(first_token(runtime, question))
    return waits


def measure(
    runtime: Runtime, training: str, warm: str, questions: Sequence[str]
) -> TrainingLatencies:
    """Ask all questions beside the run; SystemExit when it does not go on between two."""

    def steps() -> int:
        return steps_done(runtime, training)

    before = steps_a_second(steps)
    first_token(runtime, warm)
    waits, gained = [], []
    for question in questions:
        gained.append(float(steps_between_questions(steps)))
        waits.append(first_token(runtime, question))
    return TrainingLatencies(tuple(waits), tuple(gained), before, steps_a_second(steps))


def first_token(runtime: Runtime, question: str) -> float:
    """Return the milliseconds to the first token of a reply in a conversation of its own."""
    *_, last = runtime.answer(question, None, adapter="none", system="", sampling=SHORT)
    if last.stats is None or not last.stats.first_token_s:
        raise SystemExit(f"“{question}” got no reply.")
    return 1000 * last.stats.first_token_s


def begin_training(runtime: Runtime) -> str:
    """Begin a run as the page does, too long to end here, and return its id once it makes steps."""
    teaching = runtime.teaching
    choices = replace(presets(pictures=False)["balanced"], steps=int(RANGES["steps"][1]))
    teaching.drafts.sample(OWNER, SAMPLE)
    teaching.preparing.check(OWNER, choices).result()
    training = teaching.begin(OWNER, OWNER, choices, "Beside")
    eventually(lambda: steps_done(runtime, training), "The training made no step.")
    return training


def end_training(runtime: Runtime, training: str) -> None:
    """Stop and discard the run; return when its process has gone."""
    leave(lambda: runtime.teaching.runs.stop(OWNER, training, keep=False))

    def over() -> bool:
        seen = runtime.teaching.runs.get(OWNER, training)
        return seen.state in OVER and not seen.ending

    eventually(over, "The training was not discarded.")


def steps_done(runtime: Runtime, training: str) -> int:
    """Return the steps that the run has made; SystemExit when it has ended."""
    seen = runtime.teaching.runs.get(OWNER, training)
    if seen.state in OVER:
        raise SystemExit(f"The training ended too early. {seen.message}")
    return runtime.teaching.runs.history(OWNER, training).done


def steps_between_questions(steps: Callable[[], int]) -> int:
    """Wait `REST` seconds, or longer until the run has made a step; return the steps that it made.

    Raises:
        SystemExit: it made none, so the next question would be asked beside nothing.
    """
    before = steps()
    time.sleep(REST)
    eventually(lambda: steps() > before, "The training made no step between two questions.")
    return steps() - before


def steps_a_second(steps: Callable[[], int]) -> float:
    """Return the steps a second while nobody asks, from one step's end to another's."""

    def next_step() -> tuple[int, float]:
        before = steps()
        eventually(lambda: steps() > before, "The training does not go on.")
        return steps(), time.monotonic()

    first, start = next_step()
    time.sleep(QUIET)
    last, stop = next_step()
    return (last - first) / (stop - start)


@contextmanager
def loaded(place: Path) -> Iterator[Runtime]:
    """Open a runtime with adapters and runs in `place`; afterwards no process of it is left."""
    (place / "adapters").mkdir()
    # One place for keys and values: every question meets another one there. With several it might
    # meet itself, asked before, and have nothing left to read.
    settings = Settings(adapters=place / "adapters", runs=place / "runs", slots=1, kv_mb=128)
    runtime = Runtime(settings)
    try:
        runtime.start()
        eventually(lambda: runtime.status().state != "loading", "The model was not loaded.")
        if runtime.status().state == "failed":
            raise SystemExit("The model could not be loaded.")
        if runtime.teaching.off:
            raise SystemExit(runtime.teaching.off)
        yield runtime
    finally:
        leave(runtime.close)


def leave(close: Callable[[], None]) -> None:
    """Call `close`, which ends trainings, and returns when none of their processes is left.

    All are looked up before: a training's guardian outlives it by a second, and is nobody's child
    by then.
    """
    family = trainings()
    close()
    eventually(lambda: not any(map(alive, family)), "A process of the training is left.")


def trainings() -> list[psutil.Process]:
    """Return the processes that this one has begun to train, and their guardians."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any(part.startswith("demo.finetune") for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue  # it has just ended
    return found


def alive(process: psutil.Process) -> bool:
    """Say whether it still runs; what is dead and was not fetched by its parent does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(check: Callable[[], object], otherwise: str) -> None:
    """Return once `check` holds; SystemExit with `otherwise` after `PATIENCE` seconds."""
    end = time.monotonic() + PATIENCE
    while not check():
        if time.monotonic() > end:
            raise SystemExit(otherwise)
        time.sleep(POLL)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(1, math.ceil(percent / 100 * len(ordered))) - 1]
