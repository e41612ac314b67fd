"""Eight visitors for minutes: nothing fails, company changes no reply, memory stays flat.

Each is a `gradio_client.Client`, so that each is one session, as it would be for a program.
"""

import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gradio_client import Client

from demo.bench.fairness import LONG, SHORT
from demo.bench.program import resident
from demo.bench.report import Bar, Row
from demo.bench.served import Served

CLIENTS = 8
WARM = 0.2  # share of the time in which caches fill
EACH = 0.5  # seconds between two looks at the memory
Question = tuple[str, str, int]  # message, adapter, tokens


@dataclass
class Tally:
    """What the clients saw; every change is one append, so no lock is needed."""

    good: list[Question] = field(default_factory=list)
    other: list[Question] = field(default_factory=list)  # not the text of the solo run
    failed: list[str] = field(default_factory=list)


def steadiness(program: Served, minutes: float) -> tuple[list[Row], list[Bar]]:
    """Every greedy reply is held against what the same question was answered alone."""
    questions = list(itertools.product((*LONG, SHORT), program.adapters, (20, 60)))
    clients = [Client(program.url, verbose=False) for _ in range(CLIENTS)]
    alone = {question: reply(clients[0], question) for question in questions}
    tally, stop = Tally(), threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number, client in enumerate(clients):
            turn = questions[number * 3 :] + questions[: number * 3]
            pool.submit(visit, client, turn, alone, tally, stop)
        samples = watch(program.pid, 60 * minutes)
        stop.set()
    count = len(tally.good) + len(tally.other) + len(tally.failed)
    note = f"{count} replies to {CLIENTS} clients in {minutes:g} min"
    if tally.failed:
        note += f"; first failure: {tally.failed[0][:80]}"
    growth = slope(samples[int(len(samples) * WARM) :])
    rows = [
        Row("replies that failed", "", (float(len(tally.failed)),), note),
        Row("replies unlike their solo run", "", (float(len(tally.other)),)),
        Row("memory growth after warm-up", "MB/min", (growth,), f"{samples[-1][1]:.0f} MB at last"),
    ]
    bars = [
        Bar("replies as in their solo run", len(tally.good), least=1),
        Bar("replies that failed", len(tally.failed), most=0),
        Bar("replies unlike their solo run", len(tally.other), most=0),
        Bar("memory growth, MB/min", growth, most=1),
    ]
    return rows, bars


def reply(client: Client, question: Question) -> str:
    """One greedy reply."""
    message, adapter, tokens = question
    return client.predict(message, adapter=adapter, max_new_tokens=tokens, api_name="/chat")


def visit(
    client: Client,
    questions: Sequence[Question],
    alone: dict[Question, str],
    tally: Tally,
    stop: threading.Event,
) -> None:
    """A client: one question after the other until told to stop."""
    for question in itertools.cycle(questions):
        if stop.is_set():
            return
        try:
            same = reply(client, question) == alone[question]
            (tally.good if same else tally.other).append(question)
        except Exception as error:  # whatever a visitor meets is a failure to be counted
            tally.failed.append(f"{type(error).__name__}: {error}")
            time.sleep(0.1)


def watch(pid: int, seconds: float) -> list[tuple[float, float]]:
    """(minutes, megabytes resident), sampled for so long."""
    start, samples = time.monotonic(), []
    while (now := time.monotonic() - start) < seconds:
        samples.append((now / 60, resident(pid)))
        time.sleep(EACH)
    return samples


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Megabytes a minute, by least squares."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope
