"""What a terminal is told of a data set."""

import json

import pytest

from demo.errors import DataError
from demo.finetune.data.columns import Layout, recognise_table
from demo.finetune.data.dataset import CheckSettings
from demo.finetune.data.read import read_table
from demo.finetune.data.report import RowNote
from demo.finetune.data.summary import as_text, by_reason, summarise
from demo.llama.base import Base

ALL = CheckSettings(window=256, held_out=0)
ROWS = [
    {"question": "Who?", "answer": "I.", "topic": "me"},
    {"question": "", "answer": "x", "topic": ""},
    {"question": "Why?", "answer": "So.", "topic": ""},
    {"question": "Why?", "answer": "So.", "topic": ""},
]


def test_rows_refused_and_unused_are_counted(base: Base) -> None:
    table = read_table(json.dumps(ROWS).encode(), "my.json")
    layout = recognise_table(table)
    assert layout
    found = summarise(table, layout, base.tokenizer, ALL)
    assert json.loads(json.dumps(found)) == found
    expected = {"rows": 4, "usable": 2, "learned": 2, "held_out": 0, "duplicates": 1}
    assert {name: found[name] for name in expected} == expected
    assert found["refused"] == {"The question is empty.": 1}
    assert found["unused_columns"] == ["topic"] and found["error"] is None
    first = found["examples"][0]
    assert first["row"] == 1
    assert first["turns"] == [{"question": "Who?", "reply": "I.", "learn": True}]
    assert any(span["learned"] and "I." in span["text"] for span in first["spans"])
    said = as_text(found)
    assert "my.json: 4 rows, read as “question and reply”" in said
    assert "refused 1: The question is empty." in said
    assert "Columns that are not used: topic" in said and "[[I." in said


def test_a_table_of_which_nothing_can_be_taught(base: Base) -> None:
    table = read_table(b'[{"question": "a", "answer": ""}, {"question": "b", "answer": ""}]')
    layout = Layout(question="question", reply="answer")
    found = summarise(table, layout, base.tokenizer, ALL)
    assert found["usable"] == 0 and "None of the 2 rows can be used" in found["error"]
    assert found["refused"] == {"The reply is empty, so there is nothing to learn.": 2}
    assert as_text(found).endswith(found["error"])
    with pytest.raises(DataError, match="no column “nobody”"):
        summarise(table, Layout(question="question", reply="nobody"), base.tokenizer, ALL)


def test_reasons_that_differ_in_what_a_row_names_are_one() -> None:
    notes = [RowNote(n, f"The picture “{n}.png” has {n} pixels.") for n in range(3)]
    assert by_reason([*notes, RowNote(9, "It is empty.")]) == {
        "The picture “…” has … pixels.": 3,
        "It is empty.": 1,
    }
