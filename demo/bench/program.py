"""The real program in a process of its own, as `python app.py`, and what it costs."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

APP = Path(__file__).parent.parent.parent / "app.py"


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """`python app.py` on a free port, ended afterwards."""
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


def resident(pid: int) -> float:
    """Memory that is resident now, in megabytes."""
    return _status(pid, "VmRSS")


def peak_memory(pid: int) -> float:
    """The most memory that was resident at any time, in megabytes, as the kernel counted."""
    return _status(pid, "VmHWM")


def cores_in_use(pid: int, seconds: float) -> float:
    """Processor time over wall-clock time during the next `seconds`; 1.0 is one core."""
    process = psutil.Process(pid)
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / seconds


def _status(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
