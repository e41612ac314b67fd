"""What the benchmarks of trainings make of what they see; no model and no process here."""

import argparse
import itertools
from collections.abc import Iterator

import pytest

from demo.bench import latency_during_training as latency
from demo.bench import resume
from demo.finetune.train.events import Evaluated, Started, Step


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REST", "QUIET", "POLL"):
        monkeypatch.setattr(latency, name, 0.001)
    monkeypatch.setattr(latency, "PATIENCE", 0.05)


@pytest.mark.parametrize(
    ("count", "percent", "value"),
    [(1, 95, 1), (20, 95, 19), (30, 95, 29), (100, 95, 95), (30, 50, 15), (30, 0, 1), (3, 100, 3)],
)
def test_a_percentile_is_one_of_the_values(count, percent, value):
    assert latency.percentile(range(count, 0, -1), percent) == value


def test_the_slow_ones_are_compared():
    idle = [100.0] * 18 + [200.0, 900.0]
    seen = latency.TrainingLatencies((*[100.0] * 18, 300.0, 800.0), (3.0, 2.0), 2.5, 2.0)
    rows, [bar] = latency.figures(idle, seen)
    assert (bar.value, bar.most, bar.met) == (1.5, 2, True)
    medians = [row.median for row in rows]
    assert medians == [100.0, 200.0, 100.0, 300.0, 2.5, 2.0, 2.5]


def test_questions_differ_and_there_are_enough():
    questions = latency.questions_for(30)
    assert len(questions) == len(set(questions)) == 31
    for count in (0, 1, 1000):
        with pytest.raises(SystemExit, match="please use 2 to 166"):
            latency.questions_for(count)


def test_no_question_beside_a_run_that_stands_still(at_once):
    with pytest.raises(SystemExit, match="no step between two questions"):
        latency.steps_between_questions(lambda: 7)
    made = itertools.chain([7], itertools.repeat(9))
    assert latency.steps_between_questions(lambda: next(made)) == 2


def test_the_pace_is_taken_from_step_to_step(at_once, monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(latency.time, "monotonic", lambda: next(clock) / 100)
    monkeypatch.setattr(latency.time, "sleep", lambda seconds: None)
    steps = iter([0, 1, 1, 4, 5, 5])
    assert latency.steps_a_second(lambda: next(steps)) == pytest.approx(4 / 0.02)
    with pytest.raises(SystemExit, match="does not go on"):
        latency.steps_a_second(lambda: 3)


def test_the_same_seed_kills_at_the_same_moments():
    first, again, other = (resume.moments(50, 3.0, seed) for seed in (0, 0, 1))
    assert first == again != other and len(set(first)) == 50
    assert all(resume.SOONEST <= moment <= 3.0 for moment in first)
    assert resume.moments(0, 3.0, 0) == []


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [(b"", b"", 0), (b"abc", b"abc", 0), (b"abc", b"abd", 1), (b"abc", b"xb", 2), (b"", b"ab", 2)],
)
def test_bytes_that_differ_are_counted(one, other, count):
    assert resume.differing(one, other) == resume.differing(other, one) == count


def steps(*numbers: int) -> Iterator[Step]:
    return (Step(number, 1.0, 0.1, (0.5,), 0.2) for number in numbers)


def test_only_steps_that_were_lost_are_done_again():
    begun, went_on = (Started(10, 8, 4, 2, step) for step in (0, 2))
    look = Evaluated(2, 1.0, 0.0, True)
    told = [begun, *steps(1, 2), look, *steps(3, 4), went_on, *steps(3), went_on, *steps(3, 4, 5)]
    assert resume.done_again(told) == 3
    assert resume.done_again([begun, *steps(1, 2, 3)]) == 0


def test_a_run_that_only_ever_began_anew_shows_nothing():
    args = argparse.Namespace(sample="event-json", steps=60, kills=2, seed=0)
    whole = resume.CompletedRun(b"ab", 9.0, 0, 0, (), (4.0,))
    for resumed_at, met in (((0, 0), False), ((0, 6), True)):
        broken = resume.CompletedRun(b"ab", 20.0, 2, 7, resumed_at, (4.0, 4.5, 4.0))
        rows, bars = resume.figures(args, whole, broken)
        assert [bar.met for bar in bars] == [True, True, met]
        assert [row.median for row in rows[:4]] == [9.0, 20.0, 2.0, 7.0]
    faster = resume.CompletedRun(b"xb", 9.0, 0, 0, (), (4.0,))
    assert [bar.met for bar in resume.figures(args, whole, faster)[1]] == [False, False, False]


def test_flags_that_make_no_sense_are_refused():
    parser = argparse.ArgumentParser()
    resume.add_resume_arguments(parser)
    for flags in (["--kills", "0"], ["--latest", "0.1"]):
        with pytest.raises(SystemExit, match="Please use --kills from 1"):
            resume.run_resume(parser.parse_args(flags))
