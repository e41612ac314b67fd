"""Rows are mended in place, by their numbers."""

from pathlib import Path

import pytest

from demo.errors import DataError, InputError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.table import LIMITS, MAX_CELL
from demo.teaching.drafts import Drafts
from demo.teaching.mending import MOST_MENDED, mendable, mended

CSV = b"id,question,answer\n1,Who?,I\n2,Why?,\n3,,So\n"


def test_refused_rows_are_offered_with_the_columns_in_use() -> None:
    table = read_table(CSV)
    layout = recognise_table(table)
    assert layout
    rows = mendable(table, layout, None)
    assert [(row.number, dict(row.cells)) for row in rows] == [
        (3, {"question": "Why?", "answer": ""}), (4, {"question": "", "answer": "So"}),
    ]  # fmt: skip
    assert "reply is empty" in rows[0].reason
    many = read_table(b"question,answer\n" + b"Why?,\n" * 200)
    assert len(mendable(many, layout, None)) == MOST_MENDED


def test_other_cells_stay_and_long_ones_are_refused() -> None:
    table = mended(read_table(CSV), {3: {"answer": "So"}, 99: {"answer": "?"}}, LIMITS)
    assert [tuple(row.cells.values()) for row in table.rows] == [
        ("1", "Who?", "I"), ("2", "Why?", "So"), ("3", "", "So"),
    ]  # fmt: skip
    with pytest.raises(DataError, match="8,193 characters"):
        mended(table, {2: {"answer": "x" * (MAX_CELL + 1)}}, LIMITS)


def test_mended_data_has_to_be_checked_again(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    with pytest.raises(InputError, match="no longer here"):
        drafts.mend("me", {3: {"answer": "So"}})
    before = drafts.text("me", CSV.decode(), "rows.csv")
    drafts.change("me", before, dataset=tmp_path / "old")
    after = drafts.mend("me", {3: {"answer": "So"}})
    assert after.dataset is None and after.checked is None and after.layout == before.layout
    assert drafts.get("me").table.rows[1].cells["answer"] == "So"
