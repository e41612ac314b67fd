"""Excel workbooks, as people save them."""

import datetime
import io
from typing import Any

import openpyxl
import pytest

from demo.errors import DataError
from demo.finetune.data.read import read_table
from demo.finetune.data.table import DataLimits
from tests.files import packed


def workbook(*sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"Sheet{number}")
        for row in rows:
            sheet.append(row)
    room = io.BytesIO()
    book.save(room)
    return room.getvalue()


def test_the_first_filled_sheet_is_read_and_the_others_are_named() -> None:
    day = datetime.date(2026, 11, 30)
    rows = [["question", "answer", ""], ["How many?", 3.0], ["When?", day], [], ["True?", True]]
    table = read_table(workbook([], rows, [["more"]]))
    assert table.columns == ("question", "answer")
    assert [(row.number, row.cells["answer"]) for row in table.rows] == [
        (2, "3"),
        (3, "2026-11-30"),
        (5, "true"),
    ]
    assert table.notes == ("The sheet “Sheet2” is read alone; not read: “Sheet3”.",)


def test_sheets_with_the_same_names_are_read_together_behind_a_cover() -> None:
    names = ["Question", "Answer", "File"]
    cover, costs = [["Contents"], ["Opening"]], [["item", "price"], ["tea", 2]]
    one = [["About us"], names, ["a", "b"]]
    two = [["No.", "Question", "Answer "], [1, "c", "d"], [2, "f", "g"]]
    table = read_table(workbook(cover, one, costs, two))
    assert [row.cells["Answer"] for row in table.rows] == ["b", "d", "g"]
    assert table.columns == ("Question", "Answer", "File", "No.")
    assert [row.number for row in table.rows] == [3, 5, 6]
    assert "“Sheet2”, “Sheet4” have the same columns" in table.notes[0]
    assert table.notes[1] == "Not read: “Sheet1”, “Sheet3”."


def test_rows_without_names_are_examples() -> None:
    table = read_table(workbook([["What is it?", "A test."], ["Who?", "I."]]))
    assert len(table.rows) == 2 and "taken as an example" in table.notes[0]


def test_what_cannot_be_read_is_refused() -> None:
    for data, words in (
        (workbook([]), "workbook is empty"),
        (workbook([["question", "answer"]]), "has no rows"),
        (packed({"xl/workbook.xml": "<a/>"}), "cut off, damaged or protected"),
    ):
        with pytest.raises(DataError, match=words):
            read_table(data)
    with pytest.raises(DataError, match="unpacks to more than 0 MB"):
        read_table(workbook([["a", "b"], [1, 2]]), limits=DataLimits(unpacked=10))
    with pytest.raises(DataError, match="more than 3 rows, most of them empty"):
        read_table(workbook([["a", "b"]] * 5), limits=DataLimits(lines=3))
