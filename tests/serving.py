"""The real program in a process of its own, for the tests that use it from outside."""

import atexit
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from demo.settings import ROOT
from demo.ui.strings import ENGLISH

PAGE_SECONDS = 300.0  # on a busy machine
READY_SECONDS = 900.0  # a first start fetches and converts the base


@dataclass(frozen=True)
class Served:
    """A running `python app.py`.

    `compiled` are the kernels that it had compiled when it was first seen ready, where it found
    none at its start.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    compiled: tuple[str, ...] = ()

    def status(self) -> dict[str, object]:
        """What `/status` says."""
        return self.call("status")

    def call(self, name: str, *data: object) -> object:
        """One call of a named endpoint over plain HTTP; the last event's first value."""
        path, text = f"{self.url}/gradio_api/call/{name}", ENGLISH.call_gone
        while ENGLISH.call_gone in text:  # on a busy machine the second request may come too late
            event = httpx.post(path, json={"data": list(data)}, timeout=60).json()["event_id"]
            text = httpx.get(f"{path}/{event}", timeout=60).text
        *_, last = (line[6:] for line in text.splitlines() if line.startswith("data: "))
        return json.loads(last)[0]

    def told(self, name: str, **arguments: object) -> str:
        """The events of one call as text, with what an error says."""
        path = f"{self.url}/gradio_api/call/v2/{name}"
        event = httpx.post(path, json=arguments, timeout=60).json()["event_id"]
        return httpx.get(f"{path}/{event}", timeout=60).text

    def busy(self, seconds: float) -> float:
        """Cores in use during the next `seconds`, 0.0 to the number of cores."""
        process = psutil.Process(self.process.pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(seconds)
        return (sum(process.cpu_times()[:2]) - before) / seconds

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=30)


def start(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    port: int = 0,
    before: Sequence[str] = (),
) -> Served:
    """Starts the program and returns once the page is there.

    Args:
        arguments: its flags.
        environment: its variables, besides those of the tests.
        port: where it is served; 0 is a free one.
        before: words of the command that come before it.
    """
    port = port or free_port()
    log = Path(tempfile.mkstemp(prefix="studio-", suffix=".log")[1])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*before, sys.executable, "app.py", "--port", str(port), *arguments],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        until(lambda: _answers(served), PAGE_SECONDS, served)
    except BaseException:
        process.kill()
        raise
    return served


@functools.cache
def shared() -> Served:
    """One server for all tests of a run, ready to answer; what is taught there is thrown away."""
    cold, room = not kernels(ROOT), Path(tempfile.mkdtemp(prefix="studio-"))
    atexit.register(shutil.rmtree, room, ignore_errors=True)
    shutil.copytree(ROOT / "checkpoints" / "adapters", room / "adapters")
    served = start(
        *("--adapters", str(room / "adapters")),
        *("--runs", str(room / "runs")),
        *("--chats", str(room / "chats")),
    )
    atexit.register(served.stop)
    until(lambda: served.status()["state"] == "ready", READY_SECONDS, served)
    return replace(served, compiled=kernels(ROOT)) if cold else served


def kernels(folder: Path) -> tuple[str, ...]:
    """Compiled forms of the decode kernel that lie somewhere below a folder."""
    return tuple(path.name for path in folder.rglob("decode.decode_step-*.nbc"))


def until(done: Callable[[], bool], seconds: float, served: Served) -> None:
    """Waits for `done`; fails with the end of the program's log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and served.process.poll() is None:
        if done():
            return
        time.sleep(0.1)
    raise AssertionError(f"gave up after {seconds} s:\n{served.log.read_text()[-3000:]}")


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(served: Served) -> bool:
    try:
        return httpx.get(served.url).is_success
    except httpx.TransportError:
        return False
