"""The line of runs: its order and its owners with a stand-in for the child, its faults for real."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.background_task import PauseSwitch
from demo.errors import BusyError, InputError
from demo.finetune.runs import queue as runs
from demo.finetune.runs.queue import Run, RunQueue
from demo.finetune.runs.run_folder import (
    DISCARDED,
    DISK_FULL,
    EXIT_DISK_FULL,
    KILLED,
    RESTARTED,
    UNKNOWN_ERROR,
    RunFolder,
)
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import OVER, RunStage, Step, read_log
from demo.settings import ROOT
from tests.processes import PATIENCE, WORDS, FakeProcess, eventually, nth_process, run_request

pytestmark = pytest.mark.compiles

MIDDLE = TrainingOptions(prompts=3, layers=2, rate=2e-3, steps=120, batch=4, held_out=0.25)
LONG = TrainingOptions(prompts=3, layers=2, rate=3e-2, steps=20_000, batch=2, held_out=0)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"question": word, "answer": word[::-1]}) for word in WORDS]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def pauses() -> PauseSwitch:
    return PauseSwitch()


@pytest.fixture
def line(
    pauses: PauseSwitch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunQueue]:
    monkeypatch.setattr(runs, "RunProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "started", [])
    made = RunQueue(tmp_path / "runs", pauses, most_waiting=2)
    made.start()
    yield made
    made.close()


@pytest.mark.matrix("D10")
def test_one_at_a_time_in_order_and_each_sees_their_own(line, rows):
    first = line.submit(run_request("me"), rows)
    nth_process(0)  # it no longer counts among those that wait
    second, third = (line.submit(run_request(owner), rows) for owner in ("you", "me"))
    assert line.get("me", first).state == "running" and len(FakeProcess.started) == 1
    assert [line.get("you", second).place, line.get("me", third).place] == [1, 2]
    assert [run.id for run in line.of("me")] == [third, first] and line.of("nobody") == ()
    for call in (line.get, line.history, line.resume, line.delete):
        for strange in (second, "0" * 16, "../me", ""):
            with pytest.raises(InputError, match="no such training of yours"):
                call("me", strange)
    with pytest.raises(InputError, match="no such training"):
        line.stop("me", second, keep=False)
    with pytest.raises(BusyError, match="2 trainings wait already"):
        line.submit(run_request(), rows)
    nth_process(0).finish(0, RunStage("done"))
    assert nth_process(1).folder.path.name == second
    assert line.get("me", first).state == "done" and line.get("me", third).place == 1
    with pytest.raises(InputError, match="cannot be resumed"):
        line.resume("me", first)


def test_a_run_that_waits_can_be_taken_out(line, rows):
    line.submit(run_request(), rows)
    waiting = line.submit(run_request(), rows)
    line.stop("me", waiting, keep=True)
    run = line.get("me", waiting)
    assert (run.state, run.message, run.place) == ("stopped", DISCARDED, 0)
    nth_process(0).finish(0, RunStage("done"))
    eventually(lambda: line._current is None)
    assert len(FakeProcess.started) == 1


@pytest.mark.matrix("D9")
def test_a_reply_has_precedence(line, rows, pauses):
    with pauses.paused():
        run = line.submit(run_request(), rows)
        eventually(lambda: nth_process(0).signals == ["pause"])
        assert line.get("me", run).state == "paused"
    assert nth_process(0).signals == ["pause", "unpause"]
    assert line.get("me", run).state == "running"
    with pauses.paused():
        assert nth_process(0).signals[-1] == "pause"
        line.stop("me", run, keep=True)  # it must wake to stop, and is not held again
        assert nth_process(0).signals[-1] == "unpause"
    told = list(nth_process(0).signals)
    with pauses.paused():
        assert nth_process(0).signals == told and line.get("me", run).state == "stopping"


def test_stopped_before_its_process_stands_it_is_not_paused(line, rows, pauses, monkeypatch):
    may = threading.Event()

    class Slow(FakeProcess):
        def __init__(self, folder: RunFolder, command: str) -> None:
            may.wait(PATIENCE)
            super().__init__(folder, command)

    monkeypatch.setattr(runs, "RunProcess", Slow)
    with pauses.paused():
        run = line.submit(run_request(), rows)
        eventually(lambda: line._current)
        line.stop("me", run, keep=True)
        may.set()
        eventually(lambda: line._process)
        assert nth_process(0).signals == []


def test_over_it_is_not_paused_any_more(line, rows, pauses):
    line.submit(run_request(), rows)
    nth_process(0).finish(0, RunStage("done"))
    eventually(lambda: line._current is None)
    told = list(nth_process(0).signals)
    with pauses.paused():
        assert nth_process(0).signals == told


@pytest.mark.parametrize(
    ("code", "stage", "message"),
    [
        (-9, "interrupted", KILLED),
        (1, "interrupted", UNKNOWN_ERROR),
        (EXIT_DISK_FULL, "failed", DISK_FULL),
    ],
)
@pytest.mark.matrix("D11", "D17")
def test_a_child_that_cannot_say_how_it_ended(line, rows, code, stage, message):
    run = line.submit(run_request(), rows)
    nth_process(0).finish(code)
    eventually(lambda: line.get("me", run).state in OVER)
    assert (line.get("me", run).state, line.get("me", run).message) == (stage, message)


def test_when_the_disk_takes_nothing_the_state_is_still_told(line, rows, monkeypatch):
    run = line.submit(run_request(), rows)
    child = nth_process(0)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write", full)
    child.finish(EXIT_DISK_FULL)
    eventually(lambda: line.get("me", run).state == "failed")
    assert line.get("me", run).message == DISK_FULL


@pytest.mark.matrix("H6", "D14")
def test_what_a_full_disk_cut_off_can_be_resumed(line, rows, monkeypatch):
    monkeypatch.setattr(runs, "WRITE_AGAIN_SECONDS", 0.02)
    run = line.submit(run_request(), rows)
    child = nth_process(0)
    child.folder.write(RunStage("running"))
    child.folder.checkpoint.write_bytes(b"x")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(RunFolder, "write", full)
        child.finish(EXIT_DISK_FULL)
        eventually(lambda: line.get("me", run).resumable)
        assert child.folder.data.exists() and child.folder.read().state == "running"
    eventually(lambda: child.folder.read() == RunStage("failed", DISK_FULL))
    assert line.get("me", run).resumable
    line.resume("me", run)
    nth_process(1)


def test_a_discarded_run_leaves_nothing_but_its_name(line, rows):
    run = line.submit(run_request(), rows)
    folder = nth_process(0).folder
    folder.checkpoint.write_bytes(b"x")
    line.stop("me", run, keep=False)
    eventually(lambda: line.get("me", run).state == "stopped")
    assert line.get("me", run).message == DISCARDED
    assert not folder.data.exists() and not folder.checkpoint.exists()
    eventually(lambda: line._current is None)
    assert not line.get("me", run).resumable


@pytest.mark.matrix("D10")
def test_a_restart_takes_up_the_line_and_shows_what_was_cut_off(line, rows, tmp_path):
    cut, waits = line.submit(run_request(), rows), line.submit(run_request("you"), rows)
    nth_process(0)
    (tmp_path / "runs" / "junk").mkdir()
    (tmp_path / "runs" / "junk" / "run.json").write_text("{}")
    line.close()
    assert line.get("me", cut).state == "interrupted"
    again = RunQueue(tmp_path / "runs", PauseSwitch())
    again.start()
    try:
        assert nth_process(1).folder.path.name == waits
        run = again.get("me", cut)
        assert (run.state, run.message, run.resumable) == ("interrupted", RESTARTED, True)
        again.resume("me", cut)
        assert again.get("me", cut).place == 1
        nth_process(1).finish(0, RunStage("done"))
        assert nth_process(2).folder.path.name == cut
    finally:
        again.close()


# From here on with real processes.


@pytest.fixture
def real(tmp_path: Path, pauses: PauseSwitch) -> Iterator[RunQueue]:
    before = set(psutil.Process().children(recursive=True))
    made = RunQueue(tmp_path / "runs", pauses)
    made.start()
    yield made
    made.close()
    assert set(psutil.Process().children(recursive=True)) <= before, "a process is left"


def steps(line: RunQueue, run: str) -> int:
    """The last step that was logged."""
    return line.history("me", run).done


def over(line: RunQueue, run: str) -> Run:
    eventually(lambda: line.get("me", run).state in OVER and line._current is None)
    return line.get("me", run)


@pytest.mark.matrix("D13", "D15")
def test_killed_again_and_again_it_ends_in_the_same_file(real, run_settings, rows):
    whole = real.submit(run_request(choices=MIDDLE, settings=run_settings), rows)
    assert over(real, whole).state == "done", real.get("me", whole)
    broken = real.submit(run_request(choices=MIDDLE, settings=run_settings), rows)
    for count in (1, 45):
        eventually(lambda count=count: steps(real, broken) >= count)
        os.kill(real._process.pid, signal.SIGKILL)
        run = over(real, broken)
        assert (run.state, run.message) == ("interrupted", KILLED) and run.resumable
        real.resume("me", broken)
    run = over(real, broken)
    told, straight = real.history("me", broken), real.history("me", whole)
    assert run.state == "done" and told.started.step >= 36
    assert run.adapter.read_bytes() == real.get("me", whole).adapter.read_bytes()
    assert (told.evaluations, told.judged) == (straight.evaluations, straight.judged)
    assert told.evaluations and told.judged and [e.step for e in told.steps] == [*range(1, 121)]


def test_paused_it_stands_still_goes_on_and_stops_when_asked(real, run_settings, rows, pauses):
    run = real.submit(run_request(choices=LONG, settings=run_settings), rows)
    eventually(lambda: steps(real, run) > 2)
    assert psutil.Process(real._process.pid).nice() == min(19, psutil.Process().nice() + 10)
    with pauses.paused():
        eventually(lambda: psutil.Process(real._process.pid).status() == psutil.STATUS_STOPPED)
        before = steps(real, run)
        time.sleep(0.5)
        assert steps(real, run) == before and real.get("me", run).state == "paused"
    eventually(lambda: steps(real, run) > before)
    with pauses.paused():  # it wakes to stop while a reply is written
        real.stop("me", run, keep=True)
        ended = over(real, run)
    assert ended.state == "stopped" and ended.adapter and ended.resumable


@pytest.mark.parametrize("when", ["before its start", "at a step"])
@pytest.mark.matrix("D17")
def test_when_the_program_dies_a_paused_child_ends(run_settings, rows, tmp_path, when):
    at_once = when == "before its start"
    program = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from tests_asked import request
        from demo.background_task import PauseSwitch
        from demo.finetune.runs.queue import RunQueue
        pauses = PauseSwitch()
        line = RunQueue(Path({str(tmp_path / "runs")!r}), pauses)
        line.start()
        if {at_once}:
            held = pauses.paused()
            held.__enter__()
        run = line.submit(request, Path({str(rows)!r}))
        while not line._process:
            time.sleep(0.02)
        def learning():
            return line.history("me", run).steps
        while not ({at_once} or learning()):
            time.sleep(0.02)
        again = pauses.paused()
        again.__enter__()
        print(line._process.pid, run, flush=True)
        time.sleep(600)
    """)
    module = tmp_path / "tests_asked.py"
    request = run_request(choices=LONG, settings=run_settings)
    module.write_text(
        "from demo.finetune.runs.run_folder import RunRequest\n"
        f"request = RunRequest.from_json({request.to_json()!r})\n"
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
        assert folder.read() == RunStage("interrupted", RESTARTED)
        assert folder.checkpoint.exists()
        assert any(isinstance(event, Step) for event in read_log(folder.log).events)
    assert RunQueue(tmp_path / "runs", PauseSwitch()).get("me", run).state in (
        "interrupted",
        "waiting",
    )


def test_the_command_line_prints_the_same_events(run_settings, rows, tmp_path):
    environment = {**os.environ, "LLAMA_ADAPTER_CACHE": str(run_settings.cache)}
    command = [sys.executable, "-m", "demo.finetune", str(rows), "--preset", "taste"]
    command += ["--out", "Mirror", "--steps", "4", "--prompts", "3", "--layers", "2"]
    command += ["--llama", run_settings.llama, "--adapters", str(tmp_path / "adapters")]
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
    assert refused.returncode == 2
    assert f"There is no file “{tmp_path / 'gone'}”" in refused.stderr
