"""What the check of a data set has found: plain values, for a page to show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowNote:
    """A remark on one row.

    Attributes:
        row: its number as the person sees it.
        text: the remark.
        table: the name of its file when there are two, otherwise empty.
    """

    row: int
    text: str
    table: str = ""


@dataclass(frozen=True)
class Conflict:
    """One question with different replies.

    Attributes:
        question: as its first row asks it.
        places: its rows in words, "row 7".
    """

    question: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Lengths:
    """Tokens of the usable examples, the end of the last reply included."""

    shortest: int
    median: int
    longest: int
    window: int


@dataclass(frozen=True)
class DatasetReport:
    """Every row is counted once: `rows` = usable + refused + duplicates + leaks.

    Attributes:
        rows: of the tables.
        usable: rows to learn or to hold out.
        counted: what row numbers count: row, line or item.
        repaired: usable rows that were made fit, and how.
        refused: rows that cannot be used, and why.
        duplicates: rows left out because an earlier one of the same part says the same.
        conflicts: rows that give different replies to the same question. They stay.
        leaks: rows taken out of training because the held-out part asks the same.
        unused_pictures: names of pictures that no row names.
        lengths: of the usable rows.
        notes: remarks on the whole.
        unused_columns: names of columns that hold something and are not taught.
    """

    rows: int
    usable: int
    counted: str
    repaired: tuple[RowNote, ...]
    refused: tuple[RowNote, ...]
    duplicates: tuple[RowNote, ...]
    conflicts: tuple[Conflict, ...]
    leaks: tuple[RowNote, ...]
    unused_pictures: tuple[str, ...]
    lengths: Lengths
    notes: tuple[str, ...] = ()
    unused_columns: tuple[str, ...] = ()
