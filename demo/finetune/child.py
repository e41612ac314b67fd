"""The training as a child process of the program: started, paused, ended."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from demo.finetune.run_folder import RunFolder

ROOT = Path(__file__).parents[2]  # where `python -m demo.finetune` finds the package


class Child:
    """One process in one run's folder. It ends by itself if this program does (`guardian.py`)."""

    def __init__(self, folder: RunFolder, what: str = "run") -> None:
        """Begins to `what`, "run" or "estimate". Raises OSError when it cannot be started."""
        with open(folder.errors, "ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "demo.finetune", what, str(folder.path.resolve())],
                cwd=ROOT,
                stdin=subprocess.PIPE,  # held open: its end tells the guardian that we are gone
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        # Its first line says that the guardian stands. Stopped before, it would not wake again if
        # this program died.
        self._process.stdout.readline()

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

    def over(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def wait(self) -> int:
        """Its exit code, minus the signal's number when one ended it."""
        code = self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        return code

    def said(self) -> str:
        """What it has printed, once it has ended and before `wait`; no more than a pipe holds."""
        return self._process.stdout.read().decode("utf-8", "replace")

    def _send(self, number: signal.Signals) -> None:
        # Popen looks first whether the process has been reaped, so no stranger is hit.
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
