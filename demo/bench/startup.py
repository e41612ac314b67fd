"""A second start of `python app.py`: time to the page, time to the first token, memory."""

import argparse
import time

from gradio_client import Client

from demo.bench.program import peak_memory, program, wait_for_page
from demo.bench.report import Bar, Report, Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench startup`."""
    parser.add_argument("--runs", type=int, default=3, help="starts that are measured")


def run(args: argparse.Namespace) -> Report:
    """Starts the program once to fill its caches, then measures."""
    starts = [measure() for _ in range(args.runs + 1)][1:]
    served, token, memory = zip(*starts, strict=True)
    rows = [
        Row("page served", "s", served),
        Row("first token", "s", token),
        Row("peak memory", "MB", memory, "resident, after the first reply"),
    ]
    bars = [
        Bar("page served, s", rows[0].median, most=5),
        Bar("first token, s", rows[1].median, most=12),
    ]
    return Report("startup", rows, bars)


def measure() -> tuple[float, float, float]:
    """Seconds until the page, seconds until the first token, peak megabytes."""
    start = time.perf_counter()
    with program() as (process, url):
        wait_for_page(process, url)
        served = time.perf_counter() - start
        client = Client(url, verbose=False)
        job = client.submit(message="Say hello.", max_new_tokens=8, api_name="/chat")
        next(text for text in job if text)
        token = time.perf_counter() - start
        job.result()
        return served, token, peak_memory(process.pid)
