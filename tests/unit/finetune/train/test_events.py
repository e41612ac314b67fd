"""A run as its log tells it."""

import csv

from demo.finetune.train.events import Evaluated, Finished, RunHistory, Started, Step, as_csv


def step(number: int, loss: float = 1.0) -> Step:
    return Step(number, loss, 5e-3, (0.1, 0.2), 2.0)


def history() -> RunHistory:
    evaluated = [Evaluated(0, 2.0, 0.0, True), Evaluated(2, 1.0, 0.5, True)]
    return RunHistory().with_events([Started(99, 4, 11, 1), *evaluated, step(1), step(2)])


def test_a_story_tells_once_what_was_done_twice() -> None:
    told = history().with_events([step(3), Finished("stopped", 3, 2)])
    again = told.with_events([Started(99, 4, 11, 1, 2), Evaluated(2, 1.0, 0.5, True), step(3, 7.0)])
    assert [(past.step, past.loss) for past in again.steps] == [(1, 1.0), (2, 1.0), (3, 7.0)]
    assert [look.step for look in again.evaluations] == [0, 2] and again.finished is None
    assert RunHistory().done == 0 and again.done == 3


def test_each_step_is_a_row_and_what_was_not_measured_is_empty() -> None:
    rows = list(csv.DictReader(as_csv(history()).splitlines()))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert [row["training_loss"] for row in rows] == ["", "1.0", "1.0"]
    assert [row["held_out_loss"] for row in rows] == ["2.0", "", "1.0"]
    assert [row["exact_replies"] for row in rows] == ["0.0", "", "0.5"]
    assert [row["gate_2"] for row in rows] == ["", "0.2", "0.2"]
    assert rows[1]["learning_rate"] == "0.005"


def test_a_run_that_has_not_begun_has_a_head_alone() -> None:
    assert as_csv(RunHistory()).splitlines() == [
        "step,training_loss,held_out_loss,exact_replies,learning_rate"
    ]
