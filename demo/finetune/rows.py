"""A table as it was uploaded or typed: rows of text, each with the number a person sees.

Every reader ends here, so the limits stand in one place. What a row means is not known yet.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from demo.errors import DataError

MAX_ROWS = 50_000
MAX_COLUMNS = 64
MAX_CELL = 8_192  # characters of a text
MAX_NESTED = 65_536  # characters of a cell with a structure in it, such as a conversation
MAX_ROW = 262_144  # characters of a row in its file
MAX_DEPTH = 20
MAX_NAME = 100  # characters of a column's name
SHOWN = 60


class Number(str):
    """A number of a JSON file, spelled as it was there: `1.50` stays `1.50`."""

    __slots__ = ()


@dataclass(frozen=True)
class Row:
    """`number` is counted as the person sees it. A cell without a value is empty.

    A cell with a structure in it is its JSON text. `repairs` says what was made fit.
    """

    number: int
    cells: Mapping[str, str]
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """A row that cannot be read, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Table:
    """What a file holds, in the file's order.

    Attributes:
        counted: what `Row.number` counts: rows of a sheet, lines of a file, items of a list.
        pictures: encoded pictures by name, read when asked for: they may be many.
        folder: where in a zip the table lies; pictures may be named from there.
        notes: what was found out about the file and a person may want to know.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...] = ()
    counted: str = "row"
    pictures: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    folder: str = ""
    notes: tuple[str, ...] = ()


def shown(text: str) -> str:
    """A stranger's text as part of a message: one line, no control characters, not too long."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * SHOWN])
    plain = " ".join(plain.split())
    return plain if len(plain) <= SHOWN and len(text) <= 4 * SHOWN else plain[:SHOWN] + "…"


def make_row(number: int, values: Mapping[str, Any]) -> Row:
    """Values as JSON, CSV or a grid gives them → a row of text.

    Raises:
        DataError: a cell is too long or too deep, or holds characters that are no text.
    """
    cells: dict[str, str] = {}
    repairs = []
    for name, value in values.items():
        text, repair = _cell(name, value)
        cells[name] = text
        if repair:
            repairs.append(f"“{shown(name)}”: {repair}")
    return Row(number, cells, tuple(repairs))


def make_table(
    name: str,
    rows: Iterable[Row | Fault],
    *,
    columns: Sequence[str] = (),
    counted: str = "row",
    notes: Sequence[str] = (),
) -> Table:
    """Collects rows until there are too many, which costs no more than the limit.

    Args:
        columns: their order, when the file says so; otherwise as they first appear.

    Raises:
        DataError: too many rows or columns, no row at all, or none that can be read.
    """
    good: list[Row] = []
    faults: list[Fault] = []
    found = dict.fromkeys(columns)
    for row in rows:
        if isinstance(row, Fault):
            faults.append(row)
        else:
            good.append(row)
            if not row.cells.keys() <= found.keys():
                found.update(dict.fromkeys(row.cells))
                check_columns(tuple(found))
        if len(good) + len(faults) > MAX_ROWS:
            raise DataError(
                f"The data set has more than {MAX_ROWS:,} rows, the most we take. "
                "Please keep the best ones: a few hundred teach a lot."
            )
    if not good:
        if faults:
            first = faults[0]
            raise DataError(
                f"No row of the data set can be read. The first fault is in {counted} "
                f"{first.number}: {first.reason}"
            )
        raise DataError(
            "The data set has no rows. Please use a file with column names and at least one "
            "example, or type some rows."
        )
    return Table(name, tuple(found), tuple(good), tuple(faults), counted, notes=tuple(notes))


def check_columns(columns: Sequence[str]) -> None:
    """Refuse names that are too many, too long, or that a person could not tell apart.

    Raises:
        DataError: any of these.
    """
    if len(columns) > MAX_COLUMNS:
        raise DataError(
            f"The data set has more than {MAX_COLUMNS} columns, the most we take. Please keep "
            "those that are taught: a question and its reply."
        )
    seen: set[str] = set()
    for name in columns:
        if len(name) > MAX_NAME:
            raise DataError(
                f"“{shown(name)}” is too long for the name of a column, which may have {MAX_NAME} "
                "characters. The first row should name the columns, such as question,answer."
            )
        key = name.strip().casefold()
        if key in seen:
            raise DataError(
                f"Two columns have the same name, “{shown(name)}”. Please rename or remove one."
            )
        seen.add(key)


def grid(name: str, columns: Sequence[str], values: Iterable[Sequence[Any]]) -> Table:
    """Rows typed into an editable table. Empty ones are skipped but counted.

    Raises:
        DataError: nothing was typed, or the limits of a file are passed.
    """
    rows = (
        row_or_fault(number, dict(zip(columns, cells, strict=False)))
        for number, cells in enumerate(values, 1)
        if any(cell is not None and str(cell).strip() for cell in cells)
    )
    return make_table(name, rows, columns=columns)


def row_or_fault(number: int, values: Mapping[str, Any]) -> Row | Fault:
    """`make_row`, with what is wrong as a value."""
    try:
        return make_row(number, values)
    except DataError as error:
        return Fault(number, str(error))


def _cell(name: str, value: Any) -> tuple[str, str]:
    """A value as text, and what had to be done for it."""
    repair = ""
    if value is None or value != value:  # null, or a sheet's NaN
        return "", ""
    if isinstance(value, str):
        text, limit = str(value), MAX_CELL
        repair = "a number, read as text" if isinstance(value, Number) else ""
    elif isinstance(value, bool):
        text, limit, repair = str(value).lower(), MAX_CELL, "true or false, read as text"
    elif not isinstance(value, dict | list):
        text, limit, repair = str(value), MAX_CELL, "a number, read as text"
    else:
        if depth(value) > MAX_DEPTH:
            raise DataError(f"“{shown(name)}” is nested more than {MAX_DEPTH} levels deep.")
        text, limit = json.dumps(_plain(value), ensure_ascii=False), MAX_NESTED
        repair = "a structure, taught as its JSON text"
    if len(text) > limit:
        raise DataError(
            f"“{shown(name)}” has {len(text):,} characters, and a cell may have at most {limit:,}. "
            "Please shorten it."
        )
    if not _is_text(text):
        raise DataError(
            f"“{shown(name)}” holds characters that are no text (zero bytes or half a character). "
            "Please save the file again as UTF-8."
        )
    return text, repair


def depth(value: Any, limit: int = MAX_DEPTH) -> int:
    """Levels of lists and objects, counted to just above `limit`."""
    if limit < 0 or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((depth(item, limit - 1) for item in inner), default=0)


def _plain(value: Any) -> Any:
    """Numbers inside a structure as JSON has them, so that its text is the one that was meant."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, Number):
        return value
    whole = value.removeprefix("-").isdigit() and len(value) <= 300
    number = int(value) if whole else float(value)
    return number if whole or math.isfinite(number) else str(value)


def _is_text(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
