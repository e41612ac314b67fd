"""What runs of visitors need in tests: rows, a request, a stand-in for their process."""

import threading
import time
from collections.abc import Callable

from demo.finetune.runs.run_folder import RESTARTED, RunFolder, RunRequest
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import RunStage
from demo.settings import Settings

WORDS = ("hello", "the dog", "over", "brown", "animals", "lazy fox", "12", "quick")
SHORT = TrainingOptions(prompts=3, layers=2, rate=3e-2, steps=30, batch=2, held_out=0.25)
PATIENCE = 300.0  # seconds; trainings are nice, and a busy machine gives them little


def eventually(check: Callable[[], object]) -> None:
    """Wait until `check` holds."""
    end = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


class FakeProcess:
    """In place of a child process: it runs until it is told how to end."""

    started: list["FakeProcess"] = []

    def __init__(self, folder: RunFolder, command: str) -> None:
        assert command == "run"
        self.folder, self.signals = folder, list[str]()
        self._code: int | None = None
        self._over = threading.Event()
        folder.write(RunStage("running"))
        FakeProcess.started.append(self)

    def finish(self, code: int = 0, stage: RunStage | None = None) -> None:
        if stage:
            self.folder.write(stage)
        self._code = code
        self._over.set()

    def pause(self) -> None:
        self.signals.append("pause")

    def unpause(self) -> None:
        self.signals.append("unpause")

    def kill(self) -> None:
        self.finish(-9)

    def end(self, seconds: float) -> None:
        if not self._over.is_set():  # one that has ended writes nothing more
            self.finish(0, RunStage("interrupted", RESTARTED))

    def wait(self) -> int:
        self._over.wait(PATIENCE)
        return self._code


def run_request(
    owner: str = "me", choices: TrainingOptions = SHORT, settings: Settings | None = None
) -> RunRequest:
    return RunRequest(owner, "mirror", choices, settings or Settings())


def nth_process(number: int) -> FakeProcess:
    """Wait until it has been started, and return it; the first is 0."""
    eventually(lambda: len(FakeProcess.started) > number)
    return FakeProcess.started[number]
