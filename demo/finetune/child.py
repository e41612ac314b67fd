"""The training as a child process of the program: started, paused, ended."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from demo.errors import InputError
from demo.finetune.events import Estimated, Stage, from_json
from demo.finetune.run_folder import RunFolder

ROOT = Path(__file__).parents[2]  # where `python -m demo.finetune` finds the package


def estimate(
    folder: RunFolder,
    seconds: float = 180.0,
    begun: Callable[[Callable[[], None]], None] = lambda end: None,
) -> Estimated:
    """What a run will need, from real steps in a process of its own.

    Args:
        begun: is given what ends it before its time.

    Raises:
        InputError: data, base or adapter cannot be used, or the memory or the time did not do.
        OSError: the process cannot be started.
    """
    with open(folder.errors, "ab") as errors:
        process = subprocess.Popen(
            _command("estimate", folder),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    begun(process.kill)
    try:
        # Not `communicate`: it would end the pipe that the guardian waits on.
        line = process.stdout.readline().decode()
        process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    event = from_json(line) if line else None
    if isinstance(event, Estimated):
        return event
    if isinstance(event, Stage):
        raise InputError(event.message)
    raise InputError(
        "Two steps could not be tried: the memory or the time did not do. Choose a smaller batch, "
        "or fewer layers."
    )


def _command(what: str, folder: RunFolder) -> list[str]:
    return [sys.executable, "-m", "demo.finetune", what, str(folder.path.resolve())]


class Child:
    """One process in one run's folder. It ends by itself if this program does (`guardian.py`)."""

    def __init__(self, folder: RunFolder) -> None:
        """Raises OSError when it cannot be started."""
        with open(folder.errors, "ab") as errors:
            self._process = subprocess.Popen(
                _command("run", folder),
                cwd=ROOT,
                stdin=subprocess.PIPE,  # held open: its end tells the guardian that we are gone
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        # Its first line says that the guardian stands. Stopped before, it would not wake again if
        # this program died.
        self._process.stdout.readline()
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def pause(self) -> None:
        """It stands still at once, wherever it is, and keeps its memory."""
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """After `pause`; without one it does nothing."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone; what it had kept on disk stays."""
        self._send(signal.SIGKILL)

    def end(self, seconds: float) -> None:
        """It keeps its state and ends; after `seconds` it is killed."""
        self._send(signal.SIGTERM)
        self.go_on()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def wait(self) -> int:
        """Its exit code, minus the signal's number when one ended it."""
        code = self._process.wait()
        self._process.stdin.close()
        return code

    def _send(self, number: signal.Signals) -> None:
        # Popen looks first whether the process has been reaped, so no stranger is hit.
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
