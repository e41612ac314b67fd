"""A thousand adapters in the folder: the start, the picker, and requests that are for all of them.

Starts and the picker are those of `python app.py`, from outside, in turn with a folder of four.
Requests run in process, on the runtime that the page uses: as many for one adapter, in between
those that go evenly over all, so what else the machine does meets both alike.
"""

import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil

from demo.bench.app_process import join, program, read, wait_for_page, wait_until_ready
from demo.bench.peers.ours import fill
from demo.bench.report import Bar, BenchReport, Figure
from demo.llama.base import Base
from demo.runtime import Runtime
from demo.settings import Sampling, Settings

FEW, CLIENTS = 4, 16
QUESTION = "Which animals live in a forest?"
TOKENS = 16  # of a reply: most are longer, and an adapter then matters less
TURNS = 10  # that requests are divided into; each begins with those for one adapter
ALONE = 0.2  # of a turn's requests as many for one adapter


def many_adapters(base: Base, files: int, requests: int, starts: int) -> BenchReport:
    """Measure starts, the picker and requests with so many files.

    Args:
        base: that adapters are made for and that answers.
        files: random adapters in the folder.
        requests: evenly over all of them.
        starts: of each folder, in turn.
    """
    with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
        fill(Path(few), base, FEW)
        names = fill(Path(many), base, files)
        rows, bars = started(few, many, files, starts)
        more_rows, more_bars = served(many, names, requests)
    return BenchReport("adapters", rows + more_rows, bars + more_bars)


def started(few: str, many: str, files: int, starts: int) -> tuple[list[Figure], list[Bar]]:
    """Compare seconds to the page, to the first of it, and to what the picker offers."""
    pairs = [(one_start(few), one_start(many)) for _ in range(starts + 1)][1:]  # one warms
    rows, bars = [], []
    for place, what in enumerate(("start, until its page is there", "the page", "the picker")):
        with_few = tuple(a[place] for a, _ in pairs)
        with_many = tuple(b[place] for _, b in pairs)
        rows.append(Figure(f"{what}, {FEW} adapters", "s", with_few))
        rows.append(Figure(f"  with {files:,}", "s", with_many))
        slower = statistics.median(b - a for a, b in zip(with_few, with_many, strict=True))
        bars.append(Bar(f"{what} with {files:,} adapters, s slower", slower, most=0.2))
    return rows, bars


def one_start(folder: str) -> tuple[float, float, float]:
    """Start the program; its seconds to the page, then of a page and of a list once it is ready."""
    begun = time.perf_counter()
    with program("--adapters", folder) as (process, url):
        wait_for_page(process, url)
        start = time.perf_counter() - begun
        wait_until_ready(url)
        begun = time.perf_counter()
        with urllib.request.urlopen(url, timeout=60) as answer:
            answer.read()
        page = time.perf_counter() - begun
        begun = time.perf_counter()
        with closing(join(url, "adapters")) as stream:
            list(read(stream))
        return start, page, time.perf_counter() - begun


def served(folder: str, names: Sequence[str], requests: int) -> tuple[list[Figure], list[Bar]]:
    """Compare requests a second, of one adapter and of all in turn, and watch the memory."""
    each = requests // TURNS
    one, all_of_them, memory = [], [], []
    with loaded(Path(folder)) as runtime:
        rate(runtime, list(names[:1]) * (2 * CLIENTS))  # compiles and warms
        for turn in range(TURNS):
            asked = [names[number % len(names)] for number in range(turn * each, (turn + 1) * each)]
            one.append(rate(runtime, [names[0]] * max(CLIENTS, int(ALONE * each))))
            all_of_them.append(rate(runtime, asked))
            memory.append(psutil.Process().memory_info().rss / 2**20)
    share = statistics.median(b / a for a, b in zip(one, all_of_them, strict=True))
    settled = memory[len(memory) // 2 :]
    note = f"{CLIENTS} who ask at once, {TOKENS} tokens a reply"
    rows = [
        Figure("requests of one adapter", "1/s", tuple(one), note),
        Figure(f"  {requests:,} evenly over {len(names):,}", "1/s", tuple(all_of_them)),
        Figure("memory in the second half", "MB", tuple(settled)),
    ]
    bars = [
        Bar(f"requests over {len(names):,} adapters / of one, %", 100 * share, least=80),
        Bar("memory that grows in the second half, MB", settled[-1] - settled[0], most=50),
    ]
    return rows, bars


def rate(runtime: Runtime, names: Sequence[str]) -> float:
    """Ask one question of each named adapter, `CLIENTS` at once; return the requests a second."""
    sampling = Sampling(temperature=0, max_new_tokens=TOKENS)

    def asked(name: str) -> None:
        *_, end = runtime.answer(QUESTION, None, adapter=name, system="", sampling=sampling)
        if not end.text:
            raise SystemExit(f"'{name}' gave no reply.")

    begun = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(asked, names))
    return len(names) / (time.perf_counter() - begun)


@contextmanager
def loaded(folder: Path) -> Iterator[Runtime]:
    """Load a runtime with the adapters of a folder; close it afterwards."""
    runtime = Runtime(replace(Settings(), adapters=folder, keep_chats=False, training=False))
    runtime.start()
    try:
        while (state := runtime.status().state) == "loading":
            time.sleep(0.1)
        if state == "failed":
            raise SystemExit("The model could not be loaded.")
        yield runtime
    finally:
        runtime.close()
