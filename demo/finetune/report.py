"""What the check of a data set has found, for a page to show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowNote:
    """A remark on one row. `table` names the file when there are two, otherwise it is empty."""

    row: int
    text: str
    table: str = ""


@dataclass(frozen=True)
class Conflict:
    """One question with different replies; `places` are its rows in words, "row 7"."""

    question: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Lengths:
    """Tokens of the usable examples, the end of the last reply included."""

    shortest: int
    median: int
    longest: int
    window: int

    @classmethod
    def of(cls, lengths: list[int], window: int) -> "Lengths":
        """Raises ValueError for no lengths at all."""
        if not lengths:
            raise ValueError("no lengths")
        ordered = sorted(lengths)
        return cls(ordered[0], ordered[len(ordered) // 2], ordered[-1], window)


@dataclass(frozen=True)
class Report:
    """Every row is counted once: `rows` = usable + refused + duplicates + leaks.

    Attributes:
        counted: what row numbers count: row, line or item.
        repaired: usable rows that were made fit, and how.
        duplicates: rows left out because an earlier one of the same part says the same.
        conflicts: rows that give different replies to the same question. They stay.
        leaks: rows taken out of training because the held-out part asks the same.
        unused_pictures: names of pictures that no row names.
        notes: remarks on the whole.
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
