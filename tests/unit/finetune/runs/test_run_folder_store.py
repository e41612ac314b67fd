"""Runs that are over are kept up to a bound, for each visitor and in total."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.background_task import PauseSwitch
from demo.errors import BusyError, InputError
from demo.finetune.runs import queue as runs
from demo.finetune.runs.queue import RunQueue
from demo.finetune.runs.run_folder import FinishedRun, Quota, RunStore, surplus
from demo.finetune.train.events import RunStage
from tests.processes import FakeProcess, eventually, nth_process, run_request

QUOTA = Quota(own_runs=3, own_bytes=100, all_runs=5, all_bytes=150)
DAY = 86_400.0


def finished(
    name: str, ended: float, size: int = 1, *, owner: str = "me", fixed: bool = False
) -> FinishedRun:
    return FinishedRun(name, owner, ended, size, fixed)


@pytest.mark.parametrize(
    ("known_runs", "gone"),
    [
        ([finished("a", 1), finished("b", 2), finished("c", 3)], []),
        ([finished("c", 3), finished("a", 1), finished("b", 2), finished("d", 4)], ["a"]),
        (
            [finished("a", 1, fixed=True), finished("b", 2), finished("c", 3), finished("d", 4)],
            ["b"],
        ),
        (
            [finished("a", 1, 5), finished("b", 2, 60), finished("c", 3, 60)],
            ["a", "b"],
        ),  # the oldest first
        ([finished("a", 1, 500, fixed=True), finished("b", 2, 500, fixed=True)], []),
        (
            [finished(n, i, owner=n[0]) for i, n in enumerate(("a1", "b1", "a2", "b2", "c", "d"))],
            ["a1"],
        ),
        ([finished("a", 1, 90, owner="you"), finished("b", 2, 90)], ["a"]),
        ([finished(str(i), i) for i in range(9)], ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_the_oldest_go_first_and_what_is_fixed_stays(
    known_runs: list[FinishedRun], gone: list[str]
) -> None:
    assert surplus(known_runs, QUOTA) == gone


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunQueue]:
    monkeypatch.setattr(runs, "RunProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "started", [])
    quota = Quota(own_runs=2, own_bytes=10**6, all_runs=3, all_bytes=2 * 10**6)
    made = RunQueue(
        tmp_path / "runs", PauseSwitch(), most_waiting=9, quota=quota, on_delete=gone.append
    )
    gone.clear()
    made.start()
    yield made
    made.close()


gone: list[object] = []


def done(line: RunQueue, owner: str = "me", state: str = "done", weight: int = 0) -> str:
    """A run that is over."""
    number = len(FakeProcess.started)
    run = line.submit(run_request(owner), None)
    child = nth_process(number)
    child.folder.adapter.write_bytes(bytes(weight))
    child.finish(0, RunStage(state))
    eventually(lambda: line._current is None)
    return run


def known(line: RunQueue, owner: str = "me") -> list[str]:
    return [run.id for run in line.of(owner)]


def aged(tmp_path: Path, run: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(tmp_path / "runs" / run / "state.json", (then, then))


@pytest.mark.matrix("D13")
def test_what_kills_have_left_is_cleared_up(tmp_path: Path) -> None:
    store = RunStore(tmp_path, QUOTA, lambda run: None)
    whole, half, busy = (store.new() for _ in range(3))
    for run in (whole, busy):
        run.create(run_request(), None)
    (half.data).mkdir(parents=True)
    parts = [run.path / ".checkpoint.safetensors.01234567.part" for run in (whole, busy)]
    for part in parts:
        part.touch()
    (tmp_path / ("0" * 16)).touch()  # no folder at all
    with busy.lock().acquire():
        RunStore(tmp_path, QUOTA, lambda run: None).clear_up()
    assert [part.exists() for part in parts] == [False, True]
    assert not half.path.exists()
    assert {run.path.name for run, _ in store.all()} == {whole.path.name, busy.path.name}


def test_of_one_visitor_only_so_many_are_kept(line: RunQueue, tmp_path: Path) -> None:
    first, second, third = (done(line) for _ in range(3))
    assert known(line) == [third, second] and not (tmp_path / "runs" / first).exists()
    assert [folder.path.name for folder in gone] == [first]
    with pytest.raises(InputError, match="no such training"):
        line.get("me", first)


def test_of_all_together_only_so_many_are_kept(line: RunQueue) -> None:
    made = [done(line, owner) for owner in ("a", "b", "c", "d")]
    assert [known(line, owner) for owner in "abcd"] == [[], *([run] for run in made[1:])]


def test_they_fill_no_more_than_so_many_bytes(line: RunQueue, tmp_path: Path) -> None:
    first, second = done(line, weight=600_000), done(line, weight=600_000)
    assert known(line) == [second] and not (tmp_path / "runs" / first).exists()


def test_what_is_under_way_waits_or_was_cut_off_today_stays(line: RunQueue, tmp_path: Path) -> None:
    cut = done(line, state="interrupted")
    others = [line.submit(run_request(), None) for _ in range(3)]
    nth_process(1)
    assert known(line) == [*reversed(others), cut]
    aged(tmp_path, cut, 2 * DAY)
    last = line.submit(run_request(), None)
    assert known(line) == [last, *reversed(others)]


def test_when_nothing_may_go_no_more_is_taken(line: RunQueue, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(bytes(1_900_000))
    line.submit(run_request("a"), data)
    with pytest.raises(BusyError, match="no room for more trainings"):
        line.submit(run_request("b"), data)
    left = [path for path in (tmp_path / "runs").iterdir() if path.name != ".lock"]
    assert known(line, "b") == [] and len(left) == 1


def test_data_that_nobody_reads_again_goes_at_the_end(line: RunQueue, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("question,answer\na,b\n")
    run = line.submit(run_request(), data)
    folder = nth_process(0).folder
    nth_process(0).finish(0, RunStage("done"))
    eventually(lambda: line._current is None)
    assert not folder.data.exists() and line.get("me", run).state == "done"
    run = line.submit(run_request(), data)
    folder = nth_process(1).folder
    folder.checkpoint.write_bytes(b"x")
    nth_process(1).finish(0, RunStage("stopped"))
    eventually(lambda: line._current is None)
    assert folder.data.exists() and line.get("me", run).resumable


def test_its_owner_deletes_a_run_that_is_over(line: RunQueue, tmp_path: Path) -> None:
    run, under_way = done(line), line.submit(run_request("you"), None)
    waits = line.submit(run_request(), None)
    nth_process(1)
    with pytest.raises(InputError, match="no such training"):
        line.delete("you", run)
    for owner, busy in (("you", under_way), ("me", waits)):
        with pytest.raises(InputError, match="Stop it first"):
            line.delete(owner, busy)
    line.delete("me", run)
    assert known(line) == [waits] and not (tmp_path / "runs" / run).exists()
    with pytest.raises(InputError, match="no such training"):
        line.delete("me", run)


def test_a_restart_removes_what_was_half_made_or_half_deleted(
    line: RunQueue, tmp_path: Path
) -> None:
    half, foreign = tmp_path / "runs" / ("0" * 16), tmp_path / "runs" / "notes"
    for folder in (half, foreign):
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"x")
    again = RunQueue(tmp_path / "runs", PauseSwitch())
    line.close()
    again.start()
    again.close()
    assert not half.exists() and foreign.exists()
