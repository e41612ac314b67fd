"""The curves of a run as CSV."""

import csv

from demo.finetune.train.curves import as_csv
from demo.finetune.train.events import RunHistory
from tests.unit.ui.snippets import history


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
