"""Runs that are over are kept up to a bound, for each visitor and in total."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.errors import BusyError, InputError
from demo.finetune import runs
from demo.finetune.events import Stage
from demo.finetune.runs import Runs
from demo.finetune.shelf import Bounds, Past, surplus
from tests.unit.test_runs import Stand, asked, eventually, stand

BOUNDS = Bounds(own_runs=3, own_bytes=100, all_runs=5, all_bytes=150)
DAY = 86_400.0


def past(name: str, ended: float, size: int = 1, *, owner: str = "me", fixed: bool = False) -> Past:
    return Past(name, owner, ended, size, fixed)


@pytest.mark.parametrize(
    ("pasts", "gone"),
    [
        ([past("a", 1), past("b", 2), past("c", 3)], []),
        ([past("c", 3), past("a", 1), past("b", 2), past("d", 4)], ["a"]),
        ([past("a", 1, fixed=True), past("b", 2), past("c", 3), past("d", 4)], ["b"]),
        ([past("a", 1, 5), past("b", 2, 60), past("c", 3, 60)], ["a", "b"]),  # the oldest first
        ([past("a", 1, 500, fixed=True), past("b", 2, 500, fixed=True)], []),
        (
            [past(n, i, owner=n[0]) for i, n in enumerate(("a1", "b1", "a2", "b2", "c", "d"))],
            ["a1"],
        ),
        ([past("a", 1, 90, owner="you"), past("b", 2, 90)], ["a"]),
        ([past(str(i), i) for i in range(9)], ["0", "1", "2", "3", "4", "5"]),
    ],
)
def test_the_oldest_go_first_and_what_is_fixed_stays(pasts: list[Past], gone: list[str]) -> None:
    assert surplus(pasts, BOUNDS) == gone


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setattr(runs, "Child", Stand)
    monkeypatch.setattr(Stand, "started", [])
    bounds = Bounds(own_runs=2, own_bytes=10**6, all_runs=3, all_bytes=2 * 10**6)
    made = Runs(tmp_path / "runs", most_waiting=9, bounds=bounds, on_delete=gone.append)
    gone.clear()
    made.start()
    yield made
    made.close()


gone: list[object] = []


def done(line: Runs, owner: str = "me", state: str = "done", weight: int = 0) -> str:
    """A run that is over."""
    number = len(Stand.started)
    run = line.submit(asked(owner), None)
    child = stand(number)
    child.folder.adapter.write_bytes(bytes(weight))
    child.finish(0, Stage(state))
    eventually(lambda: line._current is None)
    return run


def known(line: Runs, owner: str = "me") -> list[str]:
    return [run.id for run in line.of(owner)]


def aged(tmp_path: Path, run: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(tmp_path / "runs" / run / "state.json", (then, then))


def test_of_one_visitor_only_so_many_are_kept(line: Runs, tmp_path: Path) -> None:
    first, second, third = (done(line) for _ in range(3))
    assert known(line) == [third, second] and not (tmp_path / "runs" / first).exists()
    assert [folder.path.name for folder in gone] == [first]
    with pytest.raises(InputError, match="no such training"):
        line.get("me", first)


def test_of_all_together_only_so_many_are_kept(line: Runs) -> None:
    made = [done(line, owner) for owner in ("a", "b", "c", "d")]
    assert [known(line, owner) for owner in "abcd"] == [[], *([run] for run in made[1:])]


def test_they_fill_no_more_than_so_many_bytes(line: Runs, tmp_path: Path) -> None:
    first, second = done(line, weight=600_000), done(line, weight=600_000)
    assert known(line) == [second] and not (tmp_path / "runs" / first).exists()


def test_what_is_under_way_waits_or_was_cut_off_today_stays(line: Runs, tmp_path: Path) -> None:
    cut = done(line, state="interrupted")
    others = [line.submit(asked(), None) for _ in range(3)]
    stand(1)
    assert known(line) == [*reversed(others), cut]
    aged(tmp_path, cut, 2 * DAY)
    last = line.submit(asked(), None)
    assert known(line) == [last, *reversed(others)]


def test_when_nothing_may_go_no_more_is_taken(line: Runs, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes(bytes(1_900_000))
    line.submit(asked("a"), data)
    with pytest.raises(BusyError, match="no room for more trainings"):
        line.submit(asked("b"), data)
    assert known(line, "b") == [] and len(list((tmp_path / "runs").iterdir())) == 1


def test_data_that_nobody_reads_again_goes_at_the_end(line: Runs, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("question,answer\na,b\n")
    run = line.submit(asked(), data)
    folder = stand(0).folder
    stand(0).finish(0, Stage("done"))
    eventually(lambda: line._current is None)
    assert not folder.data.exists() and line.get("me", run).state == "done"
    run = line.submit(asked(), data)
    folder = stand(1).folder
    folder.checkpoint.write_bytes(b"x")
    stand(1).finish(0, Stage("stopped"))
    eventually(lambda: line._current is None)
    assert folder.data.exists() and line.get("me", run).resumable


def test_its_owner_deletes_a_run_that_is_over(line: Runs, tmp_path: Path) -> None:
    run, under_way = done(line), line.submit(asked("you"), None)
    waits = line.submit(asked(), None)
    stand(1)
    with pytest.raises(InputError, match="no such training"):
        line.delete("you", run)
    for owner, busy in (("you", under_way), ("me", waits)):
        with pytest.raises(InputError, match="Stop it first"):
            line.delete(owner, busy)
    line.delete("me", run)
    assert known(line) == [waits] and not (tmp_path / "runs" / run).exists()
    with pytest.raises(InputError, match="no such training"):
        line.delete("me", run)


def test_a_restart_removes_what_was_half_made_or_half_deleted(line: Runs, tmp_path: Path) -> None:
    half, foreign = tmp_path / "runs" / ("0" * 16), tmp_path / "runs" / "notes"
    for folder in (half, foreign):
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(b"x")
    again = Runs(tmp_path / "runs")
    again.start()
    again.close()
    assert not half.exists() and foreign.exists()
