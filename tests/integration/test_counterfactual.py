"""The counterfactual view as the command, with what the program ships."""

from pathlib import Path

import pytest

from demo.recipes import counterfactual

SAMPLES = Path(__file__).parents[2] / "assets" / "samples"


def test_replies_follow_the_picture(capsys: pytest.CaptureFixture) -> None:
    counterfactual.main(
        [
            str(SAMPLES / "red-circle.png"),
            "What shape is in this picture?",
            "--other",
            str(SAMPLES / "teal-triangle.png"),
        ]
    )
    rows = capsys.readouterr().out.splitlines()
    assert any(row.startswith("the picture") and "=" in row for row in rows)
    assert any(row.startswith("swapped for teal-triangle.png  ≠") for row in rows)
    assert any(row.startswith("removed") for row in rows)
