"""Excel workbooks (XLSX) → a table: the first sheet in which something stands."""

import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import date, datetime, time
from io import BytesIO
from pathlib import Path
from typing import Any

from demo.errors import DataError
from demo.finetune.data.csv_reader import table_of
from demo.finetune.data.table import LIMITS, DataLimits, Table, excerpt

BOOK = "xl/workbook.xml"  # what makes a zip a workbook


def is_workbook(source: bytes | Path) -> bool:
    """Tell whether a zip is an Excel workbook."""
    with (
        suppress(Exception),
        zipfile.ZipFile(source if isinstance(source, Path) else BytesIO(source)) as archive,
    ):
        return BOOK in archive.namelist()
    return False


def read_workbook(source: bytes | Path, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read the first sheet that is not empty; its first row names the columns.

    Formulas are read as what they came to when the workbook was saved.

    Args:
        source: the bytes, or the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: damaged, nothing in it, or it passes a limit.
    """
    import openpyxl  # seldom needed

    opened = BytesIO(source) if isinstance(source, bytes) else source
    try:
        with zipfile.ZipFile(opened) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > limits.unpacked:
            raise DataError(
                f"The workbook unpacks to more than {limits.unpacked // 1_000_000} MB, the most "
                "we take. Please save the sheet as CSV, with the best rows alone."
            )
        book = openpyxl.load_workbook(opened, read_only=True, data_only=True)
        with closing(book):
            filled = [sheet for sheet in book.worksheets if _is_filled(sheet)]
            if not filled:
                raise DataError("The workbook is empty. Its first row should name the columns.")
            table = table_of(_records(filled[0], limits), name, limits=limits)
    except DataError:
        raise
    except Exception as error:  # the library fails with many types on what is no workbook
        raise DataError(
            "The workbook is cut off, damaged or protected. Please save the sheet as CSV."
        ) from error
    others = ", ".join(f"“{excerpt(sheet.title)}”" for sheet in filled[1:])
    if not others:
        return table
    note = f"The sheet “{excerpt(filled[0].title)}” is read alone; not read: {others}."
    return replace(table, notes=(*table.notes, note))


def _is_filled(sheet: Any) -> bool:
    sheet.reset_dimensions()  # what a file says of its size may be wrong
    rows = sheet.iter_rows(values_only=True, max_row=100)
    return any(cell is not None for row in rows for cell in row)


def _records(sheet: Any, limits: DataLimits) -> Iterator[list[str] | str]:
    for number, row in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > limits.lines:
            raise DataError(
                f"The sheet has more than {limits.lines:,} rows, most of them empty. Please remove "
                "the empty ones."
            )
        cells = [_text(cell) for cell in row[: limits.columns + 1]]
        long = sum(map(len, cells)) > limits.row
        yield f"It has more than {limits.row:,} characters, the most we take." if long else cells


def _text(cell: Any) -> str:
    """Give a cell as the sheet shows it, as far as its value tells."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, datetime | date | time):
        return cell.isoformat(*([" "] if isinstance(cell, datetime) else []))
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    return str(cell)
