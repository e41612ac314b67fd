"""The line of runs: its order and its owners with a stand-in for the child, its faults for real."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from demo.errors import BusyError, InputError
from demo.finetune import endings, runs
from demo.finetune.child import ROOT
from demo.finetune.events import OVER, Evaluated, Judged, Stage, Started, Step
from demo.finetune.log import read_log, without_repeats
from demo.finetune.presets import Choices
from demo.finetune.run_folder import Request, RunFolder
from demo.finetune.runs import Run, Runs
from demo.settings import Settings

WORDS = ("hello", "the dog", "over", "brown", "animals", "lazy fox", "12", "quick")
SHORT = Choices(prompts=3, layers=2, rate=3e-2, steps=30, batch=2, held_out=0.25)
MIDDLE = Choices(prompts=3, layers=2, rate=2e-3, steps=200, batch=4, held_out=0.25)
LONG = Choices(prompts=3, layers=2, rate=3e-2, steps=20_000, batch=2, held_out=0)
PATIENCE = 90.0  # seconds; a child needs some four to import what it needs, on a busy machine more


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"question": word, "answer": word[::-1]}) for word in WORDS]
    path.write_text("\n".join(lines))
    return path


def eventually(check: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


class Stand:
    """In place of a child process: it runs until it is told how to end."""

    started: list["Stand"] = []

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.signals = folder, []
        self._code: int | None = None
        self._over = threading.Event()
        folder.write(Stage("running"))
        Stand.started.append(self)

    def finish(self, code: int = 0, stage: Stage | None = None) -> None:
        if stage:
            self.folder.write(stage)
        self._code = code
        self._over.set()

    def pause(self) -> None:
        self.signals.append("pause")

    def go_on(self) -> None:
        self.signals.append("go on")

    def kill(self) -> None:
        self.finish(-9)

    def end(self, seconds: float) -> None:
        if not self._over.is_set():  # one that has ended writes nothing more
            self.finish(0, Stage("interrupted", endings.RESTARTED))

    def wait(self) -> int:
        self._over.wait(PATIENCE)
        return self._code


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setattr(runs, "Child", Stand)
    monkeypatch.setattr(Stand, "started", [])
    made = Runs(tmp_path / "runs", most_waiting=2)
    made.start()
    yield made
    made.close()


def asked(owner: str = "me", choices: Choices = SHORT, settings: Settings | None = None) -> Request:
    return Request(owner, "mirror", choices, settings or Settings())


def stand(number: int) -> Stand:
    eventually(lambda: len(Stand.started) > number)
    return Stand.started[number]


def test_one_at_a_time_in_order_and_each_sees_their_own(line, rows):
    first, second, third = (line.submit(asked(owner), rows) for owner in ("me", "you", "me"))
    stand(0)
    assert line.get("me", first).state == "running" and len(Stand.started) == 1
    assert [line.get("you", second).place, line.get("me", third).place] == [1, 2]
    assert [run.id for run in line.of("me")] == [third, first] and line.of("nobody") == ()
    for call in (line.get, line.events, line.resume):
        for strange in (second, "0" * 16, "../me", ""):
            with pytest.raises(InputError, match="no such training of yours"):
                call("me", strange)
    with pytest.raises(InputError, match="no such training"):
        line.stop("me", second, keep=False)
    with pytest.raises(BusyError, match="2 trainings wait already"):
        line.submit(asked(), rows)
    stand(0).finish(0, Stage("done"))
    assert stand(1).folder.path.name == second
    assert line.get("me", first).state == "done" and line.get("me", third).place == 1
    with pytest.raises(InputError, match="cannot be resumed"):
        line.resume("me", first)


def test_a_run_that_waits_can_be_taken_out(line, rows):
    line.submit(asked(), rows)
    waiting = line.submit(asked(), rows)
    line.stop("me", waiting, keep=True)
    run = line.get("me", waiting)
    assert (run.state, run.message, run.place) == ("stopped", endings.DISCARDED, 0)
    stand(0).finish(0, Stage("done"))
    eventually(lambda: line._current is None)
    assert len(Stand.started) == 1


def test_a_reply_has_precedence(line, rows):
    line.hold()
    run = line.submit(asked(), rows)
    assert stand(0).signals == ["pause"]
    assert line.get("me", run).state == "paused"
    line.hold()
    line.release()
    assert stand(0).signals == ["pause", "pause", "go on"]
    assert line.get("me", run).state == "running"
    line.hold()
    line.stop("me", run, keep=True)  # it must wake to stop, and is not held again
    line.hold()
    assert stand(0).signals[-1] == "go on" and line.get("me", run).state == "stopping"


@pytest.mark.parametrize(
    ("code", "stage", "message"),
    [
        (-9, "interrupted", endings.KILLED),
        (1, "interrupted", endings.UNKNOWN),
        (endings.DISK_FULL, "failed", endings.DISK),
    ],
)
def test_a_child_that_cannot_say_how_it_ended(line, rows, code, stage, message):
    run = line.submit(asked(), rows)
    stand(0).finish(code)
    eventually(lambda: line.get("me", run).state in OVER)
    assert (line.get("me", run).state, line.get("me", run).message) == (stage, message)


def test_when_the_disk_takes_nothing_the_state_is_still_told(line, rows, monkeypatch):
    run = line.submit(asked(), rows)
    child = stand(0)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write", full)
    child.finish(endings.DISK_FULL)
    eventually(lambda: line.get("me", run).state == "failed")
    assert line.get("me", run).message == endings.DISK


def test_a_discarded_run_leaves_nothing_but_its_name(line, rows):
    run = line.submit(asked(), rows)
    folder = stand(0).folder
    folder.checkpoint.write_bytes(b"x")
    line.stop("me", run, keep=False)
    eventually(lambda: line.get("me", run).state == "stopped")
    assert line.get("me", run).message == endings.DISCARDED
    assert not folder.data.exists() and not folder.checkpoint.exists()
    eventually(lambda: line._current is None)
    assert not line.get("me", run).resumable


def test_a_restart_takes_up_the_line_and_shows_what_was_cut_off(line, rows, tmp_path):
    cut, waits = line.submit(asked(), rows), line.submit(asked("you"), rows)
    stand(0)
    (tmp_path / "runs" / "junk").mkdir()
    (tmp_path / "runs" / "junk" / "run.json").write_text("{}")
    line.close()
    assert line.get("me", cut).state == "interrupted"
    again = Runs(tmp_path / "runs")
    again.start()
    try:
        assert stand(1).folder.path.name == waits
        run = again.get("me", cut)
        assert (run.state, run.message, run.resumable) == ("interrupted", endings.RESTARTED, True)
        again.resume("me", cut)
        assert again.get("me", cut).place == 1
        stand(1).finish(0, Stage("done"))
        assert stand(2).folder.path.name == cut
    finally:
        again.close()


# From here on with real processes.


@pytest.fixture(scope="module")
def settings(
    tiny_llama_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    folder = tiny_llama_folder(max_position_embeddings=1024)
    cache = tmp_path_factory.mktemp("cache")
    return Settings(llama=str(folder), cache=cache, device="cpu", threads=1)


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Runs]:
    before = set(psutil.Process().children(recursive=True))
    made = Runs(tmp_path / "runs")
    made.start()
    yield made
    made.close()
    assert set(psutil.Process().children(recursive=True)) <= before, "a process is left"


def steps(line: Runs, run: str) -> int:
    """The last step that was logged."""
    events = line.events("me", run).events
    return max((event.step for event in events if isinstance(event, Step)), default=0)


def over(line: Runs, run: str) -> Run:
    eventually(lambda: line.get("me", run).state in OVER and line._current is None)
    return line.get("me", run)


def test_killed_again_and_again_it_ends_in_the_same_file(real, settings, rows):
    whole = real.submit(asked(choices=MIDDLE, settings=settings), rows)
    assert over(real, whole).state == "done", real.get("me", whole)
    broken = real.submit(asked(choices=MIDDLE, settings=settings), rows)
    for count in (1, 45, 85):
        eventually(lambda count=count: steps(real, broken) >= count)
        os.kill(real._child.pid, signal.SIGKILL)
        run = over(real, broken)
        assert (run.state, run.message) == ("interrupted", endings.KILLED) and run.resumable
        real.resume("me", broken)
    run = over(real, broken)
    told, straight = (real.events("me", name).events for name in (broken, whole))
    assert run.state == "done" and [e.step for e in told if isinstance(e, Started)][-1] >= 80
    assert run.adapter.read_bytes() == real.get("me", whole).adapter.read_bytes()
    told = without_repeats(told)
    for kind in (Evaluated, Judged):
        assert [e for e in told if type(e) is kind] == [e for e in straight if type(e) is kind]


def test_paused_it_stands_still_goes_on_and_stops_when_asked(real, settings, rows):
    run = real.submit(asked(choices=LONG, settings=settings), rows)
    eventually(lambda: steps(real, run) > 2)
    assert psutil.Process(real._child.pid).nice() == min(19, psutil.Process().nice() + 10)
    real.hold()
    eventually(lambda: psutil.Process(real._child.pid).status() == psutil.STATUS_STOPPED)
    before = steps(real, run)
    time.sleep(0.5)
    assert steps(real, run) == before and real.get("me", run).state == "paused"
    real.release()
    eventually(lambda: steps(real, run) > before)
    real.stop("me", run, keep=True)
    ended = over(real, run)
    assert ended.state == "stopped" and ended.adapter and ended.resumable


@pytest.mark.parametrize("when", ["before its start", "at a step"])
def test_when_the_program_dies_a_paused_child_ends(settings, rows, tmp_path, when):
    at_once = when == "before its start"
    program = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from tests_asked import request
        from demo.finetune.runs import Runs
        line = Runs(Path({str(tmp_path / "runs")!r}))
        line.start()
        if {at_once}:
            line.hold()
        run = line.submit(request, Path({str(rows)!r}))
        while not line._child:
            time.sleep(0.02)
        def learning():
            return any(type(e).__name__ == "Step" for e in line.events("me", run).events)
        while not ({at_once} or learning()):
            time.sleep(0.02)
        line.hold()
        print(line._child.pid, run, flush=True)
        time.sleep(600)
    """)
    module = tmp_path / "tests_asked.py"
    module.write_text(
        "from demo.finetune.run_folder import Request\n"
        f"request = Request.from_json({asked(choices=LONG, settings=settings).to_json()!r})\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    pid, run = parent.stdout.readline().split()
    child = psutil.Process(int(pid))
    family = [child, *child.children()]
    assert len(family) == 2  # itself and its guardian
    eventually(lambda: child.status() == psutil.STATUS_STOPPED)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not any(process.is_running() for process in family))
    folder = RunFolder(tmp_path / "runs" / run)
    if not at_once:  # it had something to keep
        assert folder.read() == Stage("interrupted", endings.RESTARTED)
        assert folder.checkpoint.exists()
        assert any(isinstance(event, Step) for event in read_log(folder.log).events)
    assert Runs(tmp_path / "runs").get("me", run).state in ("interrupted", "waiting")


def test_the_command_line_prints_the_same_events(settings, rows, tmp_path):
    environment = {**os.environ, "LLAMA_ADAPTER_CACHE": str(settings.cache)}
    command = [sys.executable, "-m", "demo.finetune", str(rows), "--preset", "taste"]
    command += ["--out", "Mirror", "--steps", "4", "--prompts", "3", "--layers", "2"]
    command += ["--llama", settings.llama, "--adapters", str(tmp_path / "adapters")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert told[0] == "stage" and told.count("step") == 4 and "judged" in told
    assert done.stderr.splitlines()[-1] == "mirror"
    assert (tmp_path / "adapters" / "mirror.safetensors").exists()
    refused = subprocess.run(
        [*command[:3], str(tmp_path / "gone"), "--out", "x"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode == 2 and "no longer there" in refused.stderr
