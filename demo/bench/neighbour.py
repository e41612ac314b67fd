"""Decoding while another process spins on one of the cores."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from demo.bench.report import Bar, Report, Row
from demo.bench.worker import Contestant


def neighbour(tokens: int, runs: int) -> Report:
    """One sequence, alone and beside a spinning process in turn.

    A process of ours for each, so that neither profits from what the other's choice of threads has
    learned. The first run beside the neighbour counts, its surprise included.
    """
    command = ["demo.bench.contestant", "ours", "decode", str(tokens), "1"]
    alone, beside = Contestant("ours", command), Contestant("ours", command)
    solo, shared = [], []
    for _ in range(runs):
        solo.append(alone.run()["tokens_per_s"])
        with spinning():
            shared.append(beside.run()["tokens_per_s"])
    alone.close()
    beside.close()
    rows = [
        Row("ours, one sequence", "tok/s", tuple(solo)),
        Row("the same beside a spinning process", "tok/s", tuple(shared)),
    ]
    share = 100 * rows[1].median / rows[0].median
    return Report("neighbour", rows, [Bar("beside a busy process / alone, %", share, least=40)])


@contextmanager
def spinning() -> Iterator[None]:
    """A process that never sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
