"""Rows that a check refused, or that contradict each other, are mended by their owner in place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from demo.errors import DataError
from demo.finetune.data.columns import Layout
from demo.finetune.data.report import DatasetReport
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import DataLimits, Table, make_row

MOST_MENDED = 50  # rows that are offered at once
DOUBTFUL = "One question, different replies"


@dataclass(frozen=True)
class Mendable:
    """A row to be mended.

    Attributes:
        number: as the person sees it.
        reason: why it is refused, or doubtful.
        cells: what stands in the columns in use, by their names.
    """

    number: int
    reason: str
    cells: Mapping[str, str]


def mendable(table: Table, layout: Layout, report: DatasetReport | None) -> list[Mendable]:
    """List the rows to be mended, refused ones first; lines that are no rows are not among them.

    Args:
        table: the rows.
        layout: which of its columns means what.
        report: what the check found; None where it could use no row.
    """
    if report:
        reasons = {note.row: note.text for note in report.refused if not note.table}
        places = [place for found in report.conflicts for place in found.places]
        numbers = [int(word) for place in places for word in place.split() if word.isdecimal()]
        reasons = {**dict.fromkeys(numbers, DOUBTFUL), **reasons}
    else:
        reasons = _unread(table, layout)
    rows = [row for row in table.rows if row.number in reasons]
    rows.sort(key=lambda row: reasons[row.number] == DOUBTFUL)
    return [
        Mendable(
            row.number,
            reasons[row.number],
            {name: row.cells.get(name, "") for name in layout.columns},
        )
        for row in rows[:MOST_MENDED]
    ]


def mended(table: Table, changes: Mapping[int, Mapping[str, str]], limits: DataLimits) -> Table:
    """Return the table with other cells in some rows.

    Args:
        table: the rows.
        changes: new cells by column, by the row's number.
        limits: the most that a row may hold.

    Raises:
        DataError: a new cell is too long, or no text.
    """
    return replace(
        table,
        rows=tuple(
            replace(make_row(row.number, {**row.cells, **new}, limits), repairs=row.repairs)
            if (new := changes.get(row.number))
            else row
            for row in table.rows
        ),
    )


def _unread(table: Table, layout: Layout) -> dict[int, str]:
    """Say of the first rows that cannot be read why."""
    reasons: dict[int, str] = {}
    for row in table.rows:
        if len(reasons) == MOST_MENDED:
            break
        try:
            read_row(row, layout)
        except DataError as error:
            reasons[row.number] = str(error)
    return reasons
