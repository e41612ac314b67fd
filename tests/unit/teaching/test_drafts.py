"""What a run will need is tried by real processes, which stand still while replies are written."""

import json
import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from demo.background_task import PauseSwitch
from demo.errors import DataError, InputError
from demo.finetune.runs.process import RunProcess
from demo.finetune.runs.run_folder import RunFolder
from demo.finetune.train import trainer
from demo.finetune.train.config import TrainingOptions, TrainSettings
from demo.finetune.train.events import Step
from demo.settings import Settings
from demo.teaching import drafts as drafts_module
from demo.teaching.drafts import Preparing
from demo.teaching.service import Teaching
from tests.processes import SHORT, WORDS, eventually, run_request

pytestmark = pytest.mark.compiles


@pytest.fixture
def folder(run_settings: Settings, tmp_path: Path) -> RunFolder:
    return made(
        tmp_path, run_settings, [{"question": word, "answer": word[::-1]} for word in WORDS]
    )


def made(path: Path, settings: Settings, rows: list[dict[str, str]]) -> RunFolder:
    data = path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    folder = RunFolder(path / "run")
    folder.create(run_request(choices=SHORT, settings=settings), data)
    return folder


def test_what_a_run_will_need_is_known_before_it(folder: RunFolder) -> None:
    process = RunProcess(folder, "estimate")
    process.pause()  # it takes its time, and comes to the same
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.unpause()
    found = process.wait_for_estimate(600)  # where kernels are compiled first
    assert found.parameters == 2 * (3 * 36 + 6) and found.file_bytes > 4 * found.parameters
    assert found.verdict == "fits" and found.seconds > 0
    assert 100 * 2**20 < found.memory_bytes < 2 * 2**30  # its own, whatever this process has


def test_what_cannot_be_tried_is_told(run_settings: Settings, tmp_path: Path) -> None:
    folder = made(tmp_path, run_settings, [{"a": "1", "b": "2"}])
    with pytest.raises(InputError, match="choose them by hand"):
        RunProcess(folder, "estimate").wait_for_estimate()


def test_paused_it_stands_still_and_its_time_does_not_run(folder: RunFolder) -> None:
    process = RunProcess(folder, "estimate")
    process.pause()
    eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    errors: list[Exception] = []

    def wait() -> None:
        try:
            process.wait_for_estimate(0.5)
        except InputError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(1.5)
    assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED and waiting.is_alive()
    process.unpause()  # from here on its half second runs, and does not do
    waiting.join(30)
    assert errors and not psutil.pid_exists(process.pid)


def test_too_slow_it_is_given_up(folder: RunFolder) -> None:
    with pytest.raises(InputError, match="the memory or the time did not do"):
        RunProcess(folder, "estimate").wait_for_estimate(0.3)


def test_a_step_in_which_it_stood_still_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def teach(*arguments: object):
        for number, seconds in enumerate((1.0, 50.0, 60.0, 2.0, 3.0), 1):
            if seconds > 10:
                os.kill(os.getpid(), signal.SIGCONT)
            yield Step(number, 1.0, 1e-3, (0.0,), seconds)

    monkeypatch.setattr(trainer, "training_run", teach)
    monkeypatch.setattr(trainer, "TrainerState", lambda *arguments: None)
    settings = TrainSettings(steps=1)
    assert trainer._steps(None, None, None, settings, 2) == 2.0  # type: ignore[arg-type]
    assert trainer._steps(None, None, None, settings, 1) == 1.0  # type: ignore[arg-type]


class FakeProcess:
    """In place of a process that estimates."""

    def __init__(self, folder: RunFolder, command: str) -> None:
        assert command == "estimate"
        self.told: list[str] = []
        self._over = threading.Event()
        stands.append(self)

    def pause(self) -> None:
        self.told.append("pause")

    def unpause(self) -> None:
        self.told.append("unpause")

    def kill(self) -> None:
        self._over.set()

    def wait_for_estimate(self) -> object:
        self._over.wait(30)
        return None


stands: list[FakeProcess] = []


def test_a_reply_has_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts_module, "RunProcess", FakeProcess)
    stands.clear()
    pause = PauseSwitch()
    teaching = Teaching(Settings(runs=tmp_path / "runs", adapters=tmp_path / "a"), Future(), pause)
    teaching.start()
    drafts = teaching.drafts
    draft = drafts.rows("v", ("question", "answer"), [["a", "b"]], "typed")
    drafts.change("v", draft, checked=SimpleNamespace())
    with pause.paused():
        task = teaching.preparing.estimate("v", TrainingOptions())
        eventually(lambda: stands and stands[0].told == ["pause"])  # begun while one is written
    assert stands[0].told == ["pause", "unpause"]
    with pause.paused():
        assert stands[0].told[2:] == ["pause"]
    stands[0].kill()
    task.result()
    with pause.paused():
        assert len(stands[0].told) == 4  # it is over
    task = teaching.preparing.estimate("v", TrainingOptions())
    eventually(lambda: len(stands) == 2)
    task.cancel()
    task._thread.join(60)
    assert stands[1]._over.is_set()
    teaching.close()


@pytest.mark.matrix("H5")
def test_a_check_has_a_time_and_leaves_a_place_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(draft: object, *others: object) -> None:
        report = others[-1]
        assert callable(report)
        both.wait(60)  # else it was not beside the other
        while True:
            report("Reading the rows", 0.5)
            time.sleep(0.01)

    both = threading.Barrier(2)
    monkeypatch.setattr(drafts_module, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(drafts_module, "_check", slow)
    language: Future = Future()
    language.set_result(SimpleNamespace(base=SimpleNamespace(tokenizer=None)))
    drafts = SimpleNamespace(get=lambda visitor: SimpleNamespace(layout="one"))
    preparing = Preparing(Settings(), language, drafts, PauseSwitch(), tmp_path)
    tasks = [preparing.check(visitor, TrainingOptions()) for visitor in ("me", "you")]
    for task in tasks:
        with pytest.raises(DataError, match="longer than 0 seconds"):
            task.result()
    assert not both.broken
