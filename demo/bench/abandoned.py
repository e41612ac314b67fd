"""Visitors who leave: what they asked for must cost nothing more."""

import time
from concurrent.futures import ThreadPoolExecutor

from demo.bench.client import ask, join
from demo.bench.fairness import LONG
from demo.bench.program import cores_in_use
from demo.bench.report import Bar, Row
from demo.bench.served import Served

VISITORS = 50
STAY = 0.5  # seconds
PATIENCE = 30.0  # seconds that the last visitor goes on trying
IDLE = 0.2  # cores that a program without visitors uses at most


def abandoned(program: Served) -> tuple[list[Row], list[Bar]]:
    """Fifty leave after half a second, all at once; one more asks and stays."""
    with ThreadPoolExecutor(VISITORS) as pool:
        refused = list(pool.map(lambda number: leave(program, number), range(VISITORS))).count(True)
    seconds, tries = insist(program)
    cores = cores_in_use(program.pid, 2.0)
    note = f"{refused} of them were refused at once; the last one asked {tries} times"
    rows = [
        Row(f"20-token reply after {VISITORS} who left", "s", (seconds,), note),
        Row("  cores in use afterwards", "", (cores,)),
    ]
    bars = [
        Bar("reply after the abandoned ones, s", seconds, most=5),
        Bar("cores in use once all is answered", cores, most=IDLE),
    ]
    return rows, bars


def leave(program: Served, number: int) -> bool:
    """Asks for a long reply and closes the connection; whether it was refused."""
    adapter = program.adapters[number % len(program.adapters)]
    message = LONG[number % len(LONG)]
    try:
        stream = join(program.url, "chat", message=message, adapter=adapter, max_new_tokens=400)
    except OSError:
        return True
    time.sleep(STAY)
    stream.close()
    return False


def insist(program: Served) -> tuple[float, int]:
    """Seconds until a short reply is whole, and how often it was asked for.

    The first tries may still meet the queue that those who left have not quite given back.
    """
    start, tries = time.perf_counter(), 0
    while True:
        tries += 1
        try:
            reply = ask(program.url, LONG[0], adapter=program.adapters[0], max_new_tokens=20)
        except (OSError, RuntimeError):
            if time.perf_counter() - start > PATIENCE:
                raise
            time.sleep(0.1)
            continue
        return reply.last - start, tries
