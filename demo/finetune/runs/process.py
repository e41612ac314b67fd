"""A run's child process: it trains or estimates, and can be paused by the program.

The program holds a `RunProcess`; the process itself begins in `run_child` or `estimate_child`.
Nothing heavy is imported before its guardian stands.

Beside it a tiny one, the guardian, sees to it that nothing of a training stays behind when the
program dies. The program stops the training while replies are written. A stopped process cannot see
that the program died and would hold its memory for ever. So the training, before it loads anything
heavy, starts this module, which inherits its standard input: a pipe whose other end the program
holds. The end of that pipe means that the program is gone, however it went. Then the guardian asks
the training to end, and wakes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from demo.errors import DemoError, InputError
from demo.finetune.train.events import Estimated, Event, RunStage, from_json, to_json

if TYPE_CHECKING:
    from demo.finetune.runs.run_folder import RunFolder
    from demo.finetune.train.workers import Workers

MODULE = "demo.finetune.runs.process"  # as which this file is started
NICENESS, LOWEST = 10, 19  # above that of whoever starts it, and the most there is
ESTIMATE_POLL_SECONDS = 0.2  # between two looks at whether an estimate is there
ESTIMATE_SECONDS = 180.0  # that an estimate may run
GUARD_SECONDS = 1.0  # between two looks at whether the training itself is still there
# Where the system cannot stop a process, a training runs on while replies are written.
CAN_SUSPEND = hasattr(signal, "SIGSTOP") or sys.platform == "win32"


class RunProcess:
    """Start `python -m demo.finetune.runs.process COMMAND FOLDER`.

    It ends by itself if this program does (`guard`). What it complains of is appended to the
    folder's `errors`.

    Args:
        folder: the run's.
        command: "run" carries it out; "estimate" only tries what it needs.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, folder: RunFolder, command: Literal["run", "estimate"]) -> None:
        from demo.settings import ROOT  # the guardian does without pydantic

        with open(folder.errors, "ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, command, str(folder.path.resolve())],
                cwd=ROOT,
                stdin=subprocess.PIPE,  # held open: its end tells the guardian that we are gone
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._control = psutil.Process(self._process.pid)
        self._paused = False
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        # The first line says that the guardian stands. Paused before, the process would not wake
        # again if this program died.
        self._stdout.readline()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def pause(self) -> None:
        """Stop the process at once, wherever it is; it keeps its memory."""
        self._paused = True
        if CAN_SUSPEND:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._control.suspend()

    def unpause(self) -> None:
        """Let it go on after `pause`; without one this does nothing."""
        if CAN_SUSPEND:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._control.resume()
        self._paused = False

    def kill(self) -> None:
        """End it at once; what it has kept on disk stays."""
        self._process.kill()

    def end(self, seconds: float) -> None:
        """Let it keep its state and end; kill it after `seconds`."""
        self._process.terminate()
        self.unpause()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        self.kill()

    def wait(self) -> int:
        """Wait for its end and return the exit code, minus a signal's number if one ended it."""
        code = self._process.wait()
        self._stdin.close()
        self._stdout.close()
        return code

    def wait_for_estimate(self, seconds: float = ESTIMATE_SECONDS) -> Estimated:
        """Wait until an "estimate" is over and return what it found.

        Args:
            seconds: after which it is killed; those in which it is paused do not count.

        Raises:
            InputError: data, base or adapter cannot be used, or the memory or the time did not do.
        """
        try:
            while self._process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(ESTIMATE_POLL_SECONDS)
                seconds -= 0 if self._paused else ESTIMATE_POLL_SECONDS
                if seconds <= 0:
                    self.kill()
            line = self._stdout.read().decode("utf-8", "replace")
        finally:
            self.kill()
            self.wait()
        event = from_json(line) if line else None
        if isinstance(event, Estimated):
            return event
        if isinstance(event, RunStage):
            raise InputError(event.message)
        raise InputError(
            "Two steps could not be tried: the memory or the time did not do. Choose a smaller "
            "batch, or fewer layers."
        )


def carry_out(folder: RunFolder, *, show: bool, workers: Workers | None = None) -> int:
    """Carry out one run in this process; `show` prints its events. Returns the exit code.

    Args:
        folder: of the run.
        show: whether its events are printed.
        workers: the processes that share it, if it is not this one alone.
    """
    asked: list[int] = []
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda got, frame: asked.append(got))
    from demo.finetune.runs.job import Job

    def echo(event: Event) -> None:
        if show:
            print(to_json(event), flush=True)

    with contextlib.ExitStack() as stack:
        if workers is None or workers.first:  # another program's process may still be ending in it
            stack.enter_context(folder.lock().acquire(timeout=10))
        return Job(folder, lambda: bool(asked), echo, workers=workers).run()


def run_child(path: Path) -> int:
    """Carry out a run for the program that started this process."""
    _become_child()
    from demo.finetune.runs.run_folder import RunFolder

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on
    return carry_out(RunFolder(path), show=False)


def estimate_child(path: Path) -> int:
    """Try what a run will need for the program that started this process.

    One event on the standard output says it.
    """
    _become_child()
    from demo.finetune.runs.job import begin
    from demo.finetune.runs.run_folder import RunFolder
    from demo.finetune.train.trainer import estimate

    folder = RunFolder(path)
    request = folder.request()
    event: Event
    try:
        tools, data, adapter, _ = begin(folder, request)
        settings = data.choices.settings(data.aim)
        event = estimate(tools.model, adapter, settings, data.training_set, len(data.held_out))
    except DemoError as error:
        event = RunStage("failed", str(error))
    print(to_json(event), flush=True)
    return 0


def _become_child() -> None:
    """Run at low priority, and never longer than the program; say so once that is certain."""
    _start_guardian()
    print("guarded", flush=True)
    process = psutil.Process()
    if psutil.WINDOWS:
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(min(LOWEST, process.nice() + NICENESS))
    logging.basicConfig()


def _start_guardian() -> None:
    """Start the guardian of this process, and wait until it stands."""
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, "guard", str(os.getpid())],
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.readline()


def guard(training: psutil.Process) -> None:
    """Return once `training` is over, by itself or because the program is gone."""
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # the guardian ends with the training, not before
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    print("standing", flush=True)
    threading.Thread(target=_end_with_program, args=(training,), daemon=True).start()
    with contextlib.suppress(psutil.NoSuchProcess):
        while training.is_running() and training.status() != psutil.STATUS_ZOMBIE:
            time.sleep(GUARD_SECONDS)


def _end_with_program(training: psutil.Process) -> None:
    while os.read(0, 1024):
        pass
    with contextlib.suppress(psutil.NoSuchProcess):
        # In this order: whatever is pending is delivered when it goes on.
        training.terminate()
        if CAN_SUSPEND:
            training.resume()


if __name__ == "__main__":
    command, argument = sys.argv[1:]
    if command == "guard":
        guard(psutil.Process(int(argument)))
        os._exit(0)  # the thread may still be reading
    sys.exit((run_child if command == "run" else estimate_child)(Path(argument)))
