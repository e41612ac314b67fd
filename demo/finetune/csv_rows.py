"""CSV and its kin → rows. The separator is found by trying which one makes a table."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice

from demo.errors import DataError
from demo.finetune.rows import (
    MAX_ROW,
    Fault,
    Row,
    Table,
    check_columns,
    make_table,
    row_or_fault,
)

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
LOOKED_AT = 50  # records, to find the separator
MAX_LINES = 1_000_000  # empty ones too
LONGEST_NAME = 60  # characters; what is longer is no column's name


def read_csv(text: str, name: str) -> Table:
    """The rows of a CSV file, numbered as a spreadsheet shows them: the names are row 1.

    A first row that looks like an example is taken for one; the columns are then called
    "column 1" and so on. Empty rows are skipped.

    Raises:
        DataError: not a table, two columns of the same name, or a limit of `make_table`.
    """
    text, separator = separator_of(text)
    records = enumerate(_records(text, separator), 1)
    filled = (pair for pair in records if isinstance(pair[1], str) or any(map(str.strip, pair[1])))
    number, first = next(filled, (0, None))
    if not isinstance(first, list):
        raise DataError(
            f"The first row of the file cannot be read: {first} The first row should name the "
            "columns, such as question,answer."
        )
    while first and not first[-1].strip():
        first.pop()
    names = _names(first)
    notes = [f"Columns are separated by {SEPARATORS[separator]}."] if separator != "," else []
    if names is None:
        names = [f"column {i}" for i in range(1, len(first) + 1)]
        notes.append("The first row does not name the columns, so it is taken as an example.")
        filled = chain([(number, first)], filled)
    check_columns(names)
    rows = (_row(number, names, record) for number, record in filled)
    return make_table(name, rows, columns=names, notes=notes)


def _row(number: int, names: Sequence[str], record: list[str] | str) -> Row | Fault:
    if isinstance(record, str):
        return Fault(number, record)
    if any(cell.strip() for cell in record[len(names) :]):
        return Fault(
            number,
            f"It has {len(record)} cells, and there are {len(names)} columns. A text with the "
            "separator in it needs double quotes around it.",
        )
    return row_or_fault(number, dict(zip(names, record, strict=False)))


def separator_of(text: str) -> tuple[str, str]:
    """The text without Excel's line `sep=;`, and the separator it names or that fits best.

    Raises DataError when none makes a table of it.
    """
    named = re.match(r"sep=([,;\t])\r?\n", text, re.IGNORECASE)
    if named:
        return text[named.end() :], named[1]

    def fit(separator: str) -> tuple[bool, float, int]:
        widths: list[int] = []
        reader = csv.reader(io.StringIO(text[: 4 * MAX_ROW], ""), delimiter=separator)
        with suppress(csv.Error):  # what is wrong with a row is told when it is read
            widths.extend(len(record) for record in islice(reader, LOOKED_AT) if record)
        columns = widths[0] if widths else 0
        alike = sum(width == columns for width in widths) / max(1, len(widths))
        return columns > 1, alike, columns

    best = max(SEPARATORS, key=fit)
    if not fit(best)[0]:
        raise DataError(
            "This file is text, but no table: its first row has only one column. Expected is a "
            "first row with names, such as question,answer, and one example a row; or JSON."
        )
    return text, best


def _records(text: str, separator: str) -> Iterator[list[str] | str]:
    """Each record as its cells, or as the reason why it cannot be read."""
    reader = csv.reader(_lines(text), delimiter=separator, strict=True)
    while True:
        before = reader.line_num
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _reason(str(error), reader.line_num - before)


def _reason(error: str, lines: int) -> str:
    """The module's own words name its parts; a visitor needs what is wrong with the text."""
    over = f" It runs over {lines:,} lines." if lines > 1 else ""
    if "limit" in error:
        return f"A cell is much too long; perhaps a double quote is never closed.{over}"
    if "end of data" in error:
        return f"A double quote is opened and never closed.{over}"
    return (
        "After a closing double quote comes more text. A quote inside a cell is written "
        f'twice: "He said ""ahoy""".{over}'
    )


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(io.StringIO(text, ""), 1):
        if len(line) > MAX_ROW:
            raise DataError(
                f"Line {number} has more than {MAX_ROW:,} characters, the most we take. "
                "Please shorten its texts."
            )
        if number > MAX_LINES:
            raise DataError(
                f"The file has more than {MAX_LINES:,} lines, most of them empty. Please remove "
                "the empty ones."
            )
        yield line


def _names(record: Sequence[str]) -> list[str] | None:
    """The columns' names, or None where the record reads like an example."""
    names = [cell.strip() for cell in record]
    sentence = re.compile(r"[.?!…。？！]$|\n")
    if any(len(name) > LONGEST_NAME or sentence.search(name) for name in names):
        return None
    return [name or f"column {index}" for index, name in enumerate(names, 1)]
