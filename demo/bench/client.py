"""Visitors of the running program: they ask over `/chat`, read the stream, or leave."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

SECONDS = 300.0  # that a visitor waits for news at most
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """A whole reply; the times are of `time.perf_counter`."""

    text: str
    asked: float
    first: float  # the first word was there
    last: float  # the reply was whole

    @property
    def wait(self) -> float:
        """Seconds from the question to the first word."""
        return self.first - self.asked


def join(url: str, endpoint: str, **inputs: Any) -> HTTPResponse:
    """Asks, and opens the stream of what comes back. Closing it is leaving.

    Raises:
        OSError: the program refused, or is not there.
    """
    path = f"{url}/gradio_api/call/v2/{endpoint}"
    request = urllib.request.Request(path, json.dumps(inputs).encode(), JSON)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        event = json.load(answer)["event_id"]
    return urllib.request.urlopen(f"{path}/{event}", timeout=SECONDS)


def read(stream: HTTPResponse) -> Iterator[Any]:
    """What an endpoint gives, as it comes.

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


def ask(url: str, message: str, *, began: threading.Event | None = None, **options: Any) -> Answer:
    """One question and its whole reply; `began` is set at its first word."""
    asked, first, text = time.perf_counter(), 0.0, ""
    with closing(join(url, "chat", message=message, **options)) as stream:
        for text in read(stream):
            if text and not first:
                first = time.perf_counter()
                if began:
                    began.set()
    last = time.perf_counter()
    return Answer(text, asked, first or last, last)


def wait_until_ready(url: str) -> None:
    """Returns when nothing is left to load."""
    while True:
        with closing(join(url, "status")) as stream:
            state = next(read(stream))["state"]
        if state == "ready":
            return
        if state == "failed":
            raise SystemExit("The model could not be loaded.")
        time.sleep(0.2)
