"""Pasted text → rows for the editable table, where it is no more than questions and replies.

Cells that are copied out of a spreadsheet seldom bring the names of their columns along: two
columns are then the question and the reply, from the first row on.
"""

import csv
from io import StringIO

from demo.errors import DataError
from demo.finetune.csv_rows import separator_of
from demo.finetune.layouts import Layout, recognise
from demo.finetune.tables import read_table

MOST_TYPED = 500  # rows that a person may still want to look through


def pasted_pairs(text: str) -> list[list[str]] | None:
    """Question and reply of each row; None where the text holds more, so that it is a file's kind.

    Raises:
        DataError: it is no table.
    """
    if text.lstrip()[:1] not in ("[", "{"):
        text = _with_names(text)
    table = read_table(text.encode("utf-8", "replace"))
    layout = recognise(table.columns)
    if layout is None or table.faults or len(table.rows) > MOST_TYPED or not _plain(layout):
        return None
    return [
        [row.cells.get(layout.question, ""), row.cells.get(layout.reply, "")] for row in table.rows
    ]


def _plain(layout: Layout) -> bool:
    """Whether there is nothing but a question and a reply to it."""
    return len(layout.columns) == 2 and None not in (layout.question, layout.reply)


def _with_names(text: str) -> str:
    """A table of two columns, their names above it if they were missing."""
    body, separator = separator_of(text)
    try:
        first = next(csv.reader(StringIO(body, ""), delimiter=separator))
    except (csv.Error, StopIteration) as error:
        raise DataError("The first row cannot be read. Please paste the cells again.") from error
    names = [cell.strip() for cell in first]
    if len(names) != 2 or recognise(names):
        return text
    return f"question{separator}answer\n{body}"
