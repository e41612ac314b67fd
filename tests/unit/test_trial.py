"""What a run will need is tried by real processes, which stand still while replies are written."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from demo import preparing
from demo.errors import InputError
from demo.finetune import estimate
from demo.finetune.events import Step
from demo.finetune.presets import Choices
from demo.finetune.run_folder import RunFolder
from demo.finetune.train_settings import TrainSettings
from demo.finetune.trial import Trial
from demo.settings import Settings
from demo.teaching import Teaching
from tests.unit.test_runs import SHORT, WORDS, asked, eventually


@pytest.fixture(scope="module")
def settings(
    tiny_llama_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    folder = tiny_llama_folder(max_position_embeddings=1024)
    cache = tmp_path_factory.mktemp("cache")
    return Settings(llama=str(folder), cache=cache, device="cpu", threads=1)


@pytest.fixture
def folder(settings: Settings, tmp_path: Path) -> RunFolder:
    return made(tmp_path, settings, [{"question": word, "answer": word[::-1]} for word in WORDS])


def made(path: Path, settings: Settings, rows: list[dict[str, str]]) -> RunFolder:
    data = path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    folder = RunFolder(path / "run")
    folder.create(asked(choices=SHORT, settings=settings), data)
    return folder


def test_what_a_run_will_need_is_known_before_it(folder: RunFolder) -> None:
    found = Trial(folder).result()
    assert found.parameters == 2 * (3 * 36 + 6) and found.file_bytes > 4 * found.parameters
    assert found.verdict == "fits" and 10 < found.seconds < 60
    assert 100 * 2**20 < found.memory_bytes < 2 * 2**30  # its own, whatever this process has


def test_what_cannot_be_tried_is_told(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose them by hand"):
        Trial(made(tmp_path, settings, [{"a": "1", "b": "2"}])).result()


def test_paused_it_stands_still_and_its_time_does_not_run(folder: RunFolder) -> None:
    trial = Trial(folder, seconds=60)
    trial.pause()
    eventually(lambda: psutil.Process(trial.pid).status() == psutil.STATUS_STOPPED)
    trial._left = 0.5
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.append(trial.result()))
    waiting.start()
    time.sleep(1.0)
    assert psutil.Process(trial.pid).status() == psutil.STATUS_STOPPED
    trial._left = 60
    trial.go_on()
    waiting.join(90)
    assert found


def test_too_slow_it_is_given_up(folder: RunFolder) -> None:
    with pytest.raises(InputError, match="the memory or the time did not do"):
        Trial(folder, seconds=0.3).result()


def test_a_step_in_which_it_stood_still_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def teach(*arguments: object):
        for number, seconds in enumerate((1.0, 50.0, 60.0, 2.0, 3.0), 1):
            if seconds > 10:
                os.kill(os.getpid(), signal.SIGCONT)
            yield Step(number, 1.0, 1e-3, (0.0,), seconds)

    monkeypatch.setattr(estimate, "teach", teach)
    monkeypatch.setattr(estimate, "State", lambda *arguments: None)
    settings = TrainSettings(steps=1)
    assert estimate._steps(None, None, None, settings, 2) == 2.0  # type: ignore[arg-type]
    assert estimate._steps(None, None, None, settings, 1) == 1.0  # type: ignore[arg-type]


class Stand:
    """In place of a trial."""

    def __init__(self, folder: RunFolder) -> None:
        self.told: list[str] = []
        self._over = threading.Event()
        stands.append(self)

    def pause(self) -> None:
        self.told.append("pause")

    def go_on(self) -> None:
        self.told.append("go on")

    def kill(self) -> None:
        self._over.set()

    def result(self) -> object:
        self._over.wait(30)
        return None


stands: list[Stand] = []


def test_a_reply_has_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "Trial", Stand)
    stands.clear()
    teaching = Teaching(Settings(runs=tmp_path / "runs", adapters=tmp_path / "a"), Future())
    teaching.start()
    drafts = teaching.preparing.drafts
    draft = drafts.rows("v", ("question", "answer"), [["a", "b"]], "typed")
    drafts.change("v", draft, checked=SimpleNamespace())
    with teaching.waits():
        work = teaching.preparing.estimate("v", Choices())
        eventually(lambda: stands and stands[0].told == ["pause"])  # begun while one is written
    assert stands[0].told == ["pause", "go on"]
    with teaching.waits():
        assert stands[0].told[2:] == ["pause"]
    stands[0].kill()
    work.result()
    with teaching.waits():
        assert len(stands[0].told) == 4  # it is over
    work = teaching.preparing.estimate("v", Choices())
    eventually(lambda: len(stands) == 2)
    work.call_off()
    work._thread.join(10)
    assert stands[1]._over.is_set()
    teaching.close()
