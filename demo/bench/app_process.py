"""The real program in a process of its own, what it costs, and visitors who ask over `/chat`."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import psutil

from demo.settings import ROOT

SECONDS = 300.0  # that a visitor waits for news at most
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class TimedAnswer:
    """A whole reply; the times are of `time.perf_counter`."""

    text: str
    asked: float
    first: float  # the first word was there
    last: float  # the reply was whole

    @property
    def wait(self) -> float:
        """Return the seconds from the question to the first word."""
        return self.first - self.asked


def join(url: str, endpoint: str, **inputs: Any) -> HTTPResponse:
    """Ask, and open the stream of what comes back. Closing it is leaving.

    Raises:
        OSError: the program refused, or is not there.
    """
    path = f"{url}/gradio_api/call/v2/{endpoint}"
    request = urllib.request.Request(path, json.dumps(inputs).encode(), JSON)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        event = json.load(answer)["event_id"]
    return urllib.request.urlopen(f"{path}/{event}", timeout=SECONDS)


def read(stream: HTTPResponse) -> Iterator[Any]:
    """Yield what an endpoint gives, as it comes.

    Raises:
        RuntimeError: it ended with an error; the message is the program's.
    """
    event = ""
    for line in stream:
        kind, _, value = line.decode().rstrip("\n").partition(": ")
        if kind == "event":
            event = value
        elif kind == "data" and event == "error":
            raise RuntimeError(value)
        elif kind == "data" and event in ("generating", "complete"):
            yield from json.loads(value)[:1]


def ask(
    url: str, message: str, *, began: threading.Event | None = None, **options: Any
) -> TimedAnswer:
    """Ask one question and return its whole reply; `began` is set at its first word."""
    asked, first, text = time.perf_counter(), 0.0, ""
    with closing(join(url, "chat", message=message, **options)) as stream:
        for text in read(stream):
            if text and not first:
                first = time.perf_counter()
                if began:
                    began.set()
    last = time.perf_counter()
    return TimedAnswer(text, asked, first or last, last)


def wait_until_ready(url: str) -> None:
    """Return when nothing is left to load."""
    while True:
        with closing(join(url, "status")) as stream:
            state = next(read(stream))["state"]
        if state == "ready":
            return
        if state == "failed":
            raise SystemExit("The model could not be loaded.")
        time.sleep(0.2)


APP = ROOT / "app.py"


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run `python app.py` on a free port, ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(APP), "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for_page(process: subprocess.Popen, url: str) -> None:
    """Return when the page answers."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            pass  # not served yet
        time.sleep(0.02)
    raise SystemExit("The program ended before it served its page.")


def resident(pid: int) -> float:
    """Return the memory that is resident now, in megabytes."""
    return _status(pid, "VmRSS")


def peak_memory(pid: int) -> float:
    """Return the most memory that was resident at any time, in megabytes, as the kernel counted."""
    return _status(pid, "VmHWM")


def cores_in_use(pid: int, seconds: float) -> float:
    """Return processor time over wall-clock time during the next `seconds`; 1.0 is one core."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / seconds


def _status(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
