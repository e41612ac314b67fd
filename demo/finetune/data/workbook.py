"""Excel workbooks (XLSX) → a table: the first sheet with known columns, and those like it."""

import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import date, datetime, time
from io import BytesIO
from pathlib import Path
from typing import Any

from demo.errors import DataError
from demo.finetune.data.columns import recognise
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
    """Read the first sheet whose first row names known columns, or the first that is not empty.

    Other sheets with the same names are read behind it.

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
            heads = [_head(sheet) for sheet in filled]
            together = _alike(heads)
            records = _records(filled[together[0]], limits)
            if len(together) > 1:
                records = _joined([(filled[at], heads[at]) for at in together], limits)
            table = table_of(records, name, limits=limits)
    except DataError:
        raise
    except Exception as error:  # the library fails with many types on what is no workbook
        raise DataError(
            "The workbook is cut off, damaged or protected. Please save the sheet as CSV."
        ) from error
    sheets = [filled[at] for at in together]
    left = [sheet for at, sheet in enumerate(filled) if at not in together]
    notes = []
    if len(sheets) > 1:
        notes.append(
            f"The sheets {_titles(sheets)} have the same columns and are read one after another; "
            "rows are counted on."
        )
    if left:
        alone = f"The sheet {_titles(sheets)} is read alone; not" if len(sheets) == 1 else "Not"
        notes.append(f"{alone} read: {_titles(left)}.")
    return replace(table, notes=(*table.notes, *notes))


def _titles(sheets: list[Any]) -> str:
    return ", ".join(f"“{excerpt(sheet.title)}”" for sheet in sheets)


def _alike(heads: list[list[str]]) -> list[int]:
    """Give the places of the first sheet with known columns, and of those that ask alike."""
    layouts = [recognise(head) for head in heads]
    first = next((at for at, layout in enumerate(layouts) if layout), None)
    if first is None:
        return [0]
    pairs = [layout and (layout.chat, layout.question, layout.reply) for layout in layouts]
    return [at for at, pair in enumerate(pairs) if pair == pairs[first]]


def _head(sheet: Any) -> list[str]:
    """Give the names of a sheet's columns: below a heading, which fills one cell alone."""
    for row in sheet.iter_rows(values_only=True, max_row=100):
        cells = [_text(cell).strip() for cell in row]
        if sum(map(bool, cells)) > 1:
            while not cells[-1]:
                cells.pop()
            return [cell or f"column {at}" for at, cell in enumerate(cells, 1)]
    return []


def _joined(sheets: list[tuple[Any, list[str]]], limits: DataLimits) -> Iterator[list[str] | str]:
    """Yield the rows of several sheets below all of their columns.

    Rows of names and headings are yielded empty, so that the others keep their numbers.
    """
    names = list(dict.fromkeys(name for _, head in sheets for name in head))
    for place, (sheet, head) in enumerate(sheets):
        below = False
        for record in _records(sheet, limits):
            if below:
                cells = {} if isinstance(record, str) else dict(zip(head, record, strict=False))
                over = [] if isinstance(record, str) else record[len(head) :]
                yield (
                    record
                    if isinstance(record, str)
                    else [
                        *(cells.get(name, "") for name in names),
                        *over,
                    ]
                )
            elif isinstance(record, str) or sum(map(bool, map(str.strip, record))) < 2:
                yield []
            else:
                below = True
                yield [] if place else names


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
