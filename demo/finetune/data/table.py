"""A table as it was uploaded or typed: rows of text, each with the number a person sees.

Every reader of a format fills a `TableBuilder`, so the limits stand in one place. What a row means
is not known yet.
"""

import ast
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from demo.errors import DataError
from demo.settings import Settings

YES = frozenset(("true", "yes", "1", "1.0", "+1", "on", "good", "chosen", "desirable", "accepted"))
NO = frozenset(("false", "no", "0", "0.0", "-1", "off", "bad", "rejected", "undesirable"))
MAX_CELL = 8_192  # characters of a stranger's text
MAX_DEPTH = 20
MAX_NAME = 100  # characters of a column's name
MAX_EXCERPT = 60  # characters of a stranger's text in a message


@dataclass(frozen=True)
class DataLimits:
    """The most that is taken of a data set from a stranger; an owner's own files have no limits.

    Attributes:
        rows: a check may last a minute, and a row costs it some 0.4 ms.
        table: bytes of a table, which is held in memory some five times.
        archive: bytes of a zip, which lies on the disk while its visitor is there.
        files: in a zip; a picture may cost a check 10 ms.
        unpacked: bytes of all of a zip's files together.
        cell: characters of a text: four times what a window of 512 tokens holds.
        nested: characters of a cell with a structure in it, such as a conversation.
        row: characters of a row in its file.
        lines: of a sheet, empty ones too.
        columns: that a person could look through.
    """

    rows: int = 60_000
    table: int = 40_000_000
    archive: int = 200_000_000
    files: int = 5_000
    unpacked: int = 500_000_000
    cell: int = MAX_CELL
    nested: int = 65_536
    row: int = 262_144
    lines: int = 1_000_000
    columns: int = 64

    @classmethod
    def of(cls, settings: Settings) -> "DataLimits":
        """Take the limits of visitors that the program was started with."""
        archive = settings.data_zip_mb * 1_000_000
        return cls(
            settings.data_rows,
            settings.data_mb * 1_000_000,
            archive,
            settings.data_pictures,
            max(500_000_000, 2 * archive),
        )


LIMITS = DataLimits()
NO_LIMITS = DataLimits(*[2**62] * 10)


class Number(str):
    """A number of a JSON file, spelled as it was there: `1.50` stays `1.50`."""

    __slots__ = ()


@dataclass(frozen=True)
class TableRow:
    """A row of text.

    Attributes:
        number: counted as the person sees it.
        cells: by column. One without a value is empty, one with a structure in it is its JSON text.
        repairs: what was made fit, in words.
    """

    number: int
    cells: Mapping[str, str]
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowFault:
    """A row that cannot be read, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Table:
    """What a file holds, in the file's order.

    Attributes:
        name: what the person calls the file.
        columns: their names, as the file orders them or as they first appear.
        rows: those that can be read.
        faults: the others.
        counted: what `TableRow.number` counts: rows of a sheet, lines of a file, items of a list.
        pictures: encoded pictures by name, read when asked for: they may be many.
        folder: where in a zip the table lies; pictures may be named from there.
        notes: what was found out about the file and a person may want to know.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    faults: tuple[RowFault, ...] = ()
    counted: str = "row"
    pictures: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    folder: str = ""
    notes: tuple[str, ...] = ()

    @property
    def filled_columns(self) -> tuple[str, ...]:
        """The columns in which something stands, in the file's order."""
        filled: set[str] = set()
        for row in self.rows:
            if len(filled) == len(self.columns):
                break
            filled.update(n for n, cell in row.cells.items() if n not in filled and says(cell))
        return tuple(name for name in self.columns if name in filled)


def says(cell: str) -> bool:
    """Tell whether anything stands in a cell."""
    return bool(cell.strip()) and cell.strip() not in ("[]", "{}")


class TableBuilder:
    """Collect rows until there are too many, which costs no more than the limit.

    Args:
        name: of the table.
        columns: their order, when the file says so; otherwise they are ordered as they appear.
        counted: what row numbers count.
        notes: remarks on the whole.
        limits: the most that is taken.

    Attributes:
        limits: the most that is taken.

    Raises:
        DataError: two columns have the same name, or a name is too long, or there are too many.
    """

    def __init__(
        self,
        name: str,
        *,
        columns: Sequence[str] = (),
        counted: str = "row",
        notes: Sequence[str] = (),
        limits: DataLimits = LIMITS,
    ) -> None:
        self.limits = limits
        _check_columns(columns, limits)
        self._name, self._counted, self._notes = name, counted, tuple(notes)
        self._columns = dict.fromkeys(columns)
        self._rows: list[TableRow] = []
        self._faults: list[RowFault] = []

    def add(self, number: int, values: Mapping[str, Any]) -> None:
        """Add a row; one that `make_row` refuses becomes a fault.

        Args:
            number: as the person sees it.
            values: by column, as JSON or CSV gives them.

        Raises:
            DataError: there are too many rows or columns now.
        """
        try:
            row = make_row(number, values, self.limits)
        except DataError as error:
            self.add_fault(number, str(error))
            return
        if not row.cells.keys() <= self._columns.keys():
            self._columns.update(dict.fromkeys(row.cells))
            _check_columns(tuple(self._columns), self.limits)
        self._rows.append(row)
        self._check_count()

    def add_fault(self, number: int, reason: str) -> None:
        """Add a row that cannot be read.

        Raises:
            DataError: there are too many rows now.
        """
        self._faults.append(RowFault(number, reason))
        self._check_count()

    def note(self, text: str) -> None:
        """Remark on the whole."""
        self._notes += (text,)

    def build(self) -> Table:
        """Make the table.

        Raises:
            DataError: there is no row at all, or none that can be read.
        """
        if not self._rows:
            raise self._nothing()
        return Table(
            self._name,
            tuple(self._columns),
            tuple(self._rows),
            tuple(self._faults),
            self._counted,
            notes=self._notes,
        )

    def _check_count(self) -> None:
        if len(self._rows) + len(self._faults) > self.limits.rows:
            raise DataError(
                f"The data set has more than {self.limits.rows:,} rows, the most we take. "
                "Please keep the best ones: a few hundred teach a lot. The command line takes any."
            )

    def _nothing(self) -> DataError:
        if self._faults:
            first = self._faults[0]
            return DataError(
                f"No row of the data set can be read. The first fault is in {self._counted} "
                f"{first.number}: {first.reason}"
            )
        return DataError(
            "The data set has no rows. Please use a file with column names and at least one "
            "example, or type some rows."
        )


def make_row(number: int, values: Mapping[str, Any], limits: DataLimits = LIMITS) -> TableRow:
    """Turn values, as JSON or CSV gives them, into a row of text.

    Args:
        number: as the person sees it.
        values: by column.
        limits: the most that is taken.

    Raises:
        DataError: a cell is too long or too deep, or holds characters that are no text.
    """
    cells: dict[str, str] = {}
    repairs = []
    for name, value in values.items():
        text, repair = _cell(name, value, limits)
        cells[name] = text
        if repair:
            repairs.append(f"“{excerpt(name)}”: {repair}")
    return TableRow(number, cells, tuple(repairs))


def yes_or_no(value: Any) -> bool | None:
    """Read a mark in any common spelling; None where it says neither.

    A number other than 0 means yes, a negative one no.
    """
    if isinstance(value, bool):
        return value
    said = str(value).strip().casefold()
    if said in YES or said in NO:
        return said in YES
    try:
        number = float(said)
    except ValueError:
        return None
    return number > 0 if number == number else None


def structure(cell: str) -> Any:
    """Read a cell that holds a list or an object, as JSON or as Python prints it; else None."""
    text = cell.strip()
    if not text or text[0] not in "[{":
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list | dict):
            return value
    return None


def plain(value: Any) -> str | None:
    """Give a value as text where it is one text or number, also inside an object."""
    if isinstance(value, dict):
        names = ("answer", "text", "value", "content", "caption", "texto", "texte", "testo")
        found = map(value.get, names)
        return next((text for text in map(plain, found) if text is not None), None)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def commonest(values: list[str]) -> tuple[str, str]:
    """Choose one of several answers: the commonest, of equals the first. Say so in words."""
    counts = Counter(value.strip() for value in values)
    best, count = counts.most_common(1)[0]
    if len(values) == 1:
        return best, ""
    if len(counts) == 1:
        return best, f"{len(values)} times the same answer, taught once"
    most = f"the commonest of {len(values)} answers" if count > 1 else f"the first of {len(values)}"
    return best, f"{most} is taught"


def excerpt(text: str) -> str:
    """Make a stranger's text part of a message: one line, no control characters, not too long."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_EXCERPT])
    plain = " ".join(plain.split())
    short = len(plain) <= MAX_EXCERPT and len(text) <= 4 * MAX_EXCERPT
    return plain if short else plain[:MAX_EXCERPT] + "…"


def _check_columns(columns: Sequence[str], limits: DataLimits) -> None:
    """Refuse names that are too many, too long, or that a person could not tell apart."""
    if len(columns) > limits.columns:
        raise DataError(
            f"The data set has more than {limits.columns} columns, the most we take. Please keep "
            "those that are taught: a question and its reply."
        )
    seen: set[str] = set()
    for name in columns:
        if len(name) > MAX_NAME:
            raise DataError(
                f"“{excerpt(name)}” is too long for the name of a column, which may have "
                f"{MAX_NAME} characters. The first row should name the columns, such as "
                "question,answer."
            )
        key = name.strip().casefold()
        if key in seen:
            raise DataError(
                f"Two columns have the same name, “{excerpt(name)}”. Please rename or remove one."
            )
        seen.add(key)


def _cell(name: str, value: Any, limits: DataLimits) -> tuple[str, str]:
    """Give a value as text, and what had to be done for it."""
    repair = ""
    if value is None or value != value:  # null, or a sheet's NaN
        return "", ""
    if isinstance(value, str):
        text, limit = str(value), limits.cell
        repair = "a number, read as text" if isinstance(value, Number) else ""
    elif isinstance(value, bool):
        text, limit, repair = str(value).lower(), limits.cell, "true or false, read as text"
    elif not isinstance(value, dict | list):
        text, limit, repair = str(value), limits.cell, "a number, read as text"
    else:
        if _depth(value) > MAX_DEPTH:
            raise DataError(f"“{excerpt(name)}” is nested more than {MAX_DEPTH} levels deep.")
        text, limit = json.dumps(_as_json(value), ensure_ascii=False), limits.nested
        repair = "a structure, taught as its JSON text"
    if len(text) > limit:
        raise DataError(
            f"“{excerpt(name)}” has {len(text):,} characters, and a cell may have at most "
            f"{limit:,}. Please shorten it."
        )
    if not _is_text(text):
        raise DataError(
            f"“{excerpt(name)}” holds characters that are no text (zero bytes or half a "
            "character). Please save the file again as UTF-8."
        )
    return text, repair


def _depth(value: Any, limit: int = MAX_DEPTH) -> int:
    """Levels of lists and objects, counted to just above `limit`."""
    if limit < 0 or not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(item, limit - 1) for item in inner), default=0)


def _as_json(value: Any) -> Any:
    """Numbers inside a structure as JSON has them, so that its text is the one that was meant."""
    if isinstance(value, dict):
        return {name: _as_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
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
