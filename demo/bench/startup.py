"""A second start of `python app.py`: time to the page, time to the first token, memory."""

import argparse
import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from gradio_client import Client

from demo.bench.report import Bar, Report, Row

APP = Path(__file__).parent.parent.parent / "app.py"


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


@contextlib.contextmanager
def program() -> Iterator[tuple[subprocess.Popen, str]]:
    """`python app.py` on a free port, ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(APP), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_page(process: subprocess.Popen, url: str) -> None:
    """Returns when the page answers."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass  # not served yet
        time.sleep(0.02)
    raise SystemExit("The program ended before it served its page.")


def peak_memory(pid: int) -> float:
    """The most memory that was resident at any time, in megabytes, as the kernel counted."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
