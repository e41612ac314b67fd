"""The table of rows to be mended, in the step "Check": what is shown in it, and what comes back."""

from typing import Any

import gradio as gr

from demo.errors import InputError
from demo.teaching.drafts import Draft
from demo.teaching.mending import MOST_MENDED, mendable
from demo.teaching.typed_table import NOT_A_TABLE
from demo.ui.html import ComponentUpdates
from demo.ui.teach.tab import DataView
from demo.ui.teach.words import TeachWords


def offered(draft: Draft, data: DataView, words: TeachWords) -> ComponentUpdates:
    """Show the rows that their owner may mend; nothing where all are well."""
    report = draft.checked.report if draft.checked else None
    rows = mendable(draft.table, draft.layout, report) if draft.layout else []
    if not rows or draft.layout is None or draft.sample:
        return hidden(data)
    headers = [words.mend_row, words.mend_reason, *draft.layout.columns]
    cells = [[str(row.number), words.said(row.reason), *row.cells.values()] for row in rows]
    return {
        data.mend: gr.Column(visible=True),
        data.mend_table: {"headers": headers, "data": cells, "metadata": None},
    }


def hidden(data: DataView) -> ComponentUpdates:
    """Take the table off the page."""
    return {data.mend: gr.Column(visible=False)}


def changes(draft: Draft, rows: list[list[Any]]) -> dict[int, dict[str, str]]:
    """Read the table as the browser sends it; only cells of columns in use are taken.

    Raises:
        InputError: it is not the table that was shown.
    """
    names = draft.layout.columns if draft.layout else ()
    if not names or len(rows) > MOST_MENDED:
        raise InputError(NOT_A_TABLE)
    found = {}
    for row in rows:
        if len(row) != len(names) + 2 or not str(row[0]).isdecimal():
            raise InputError(NOT_A_TABLE)
        cells = ("" if cell is None else str(cell) for cell in row[2:])
        found[int(row[0])] = dict(zip(names, cells, strict=True))
    return found
