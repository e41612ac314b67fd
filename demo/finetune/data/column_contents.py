"""What stands in a table's columns, where their names say too little."""

from collections.abc import Iterator

from demo.finetune.data.table import Table

SAMPLED = 50  # rows that are looked into to tell what a column holds
SHORTEST_TEXT = 12  # characters of what is taken for more than a code or a category
MARKS = ("?", "？", "؟")


def filled_columns(table: Table) -> tuple[str, ...]:
    """Give the columns in which something stands, in the table's order."""
    filled: set[str] = set()
    for row in table.rows:
        if len(filled) == len(table.columns):
            break
        filled.update(n for n, cell in row.cells.items() if n not in filled and says(cell))
    return tuple(name for name in table.columns if name in filled)


def cells_of(table: Table, column: str, most: int | None = None) -> Iterator[str]:
    """Yield the cells of a column in which something stands."""
    for row in table.rows[:most]:
        cell = row.cells.get(column, "")
        if says(cell):
            yield cell


def asks(table: Table, column: str) -> bool:
    """Tell whether most cells of a column end with a question mark."""
    cells = [cell.rstrip() for cell in cells_of(table, column, SAMPLED)]
    return sum(cell.endswith(MARKS) for cell in cells) * 10 > 6 * len(cells)


def holds_texts(table: Table, column: str) -> bool:
    """Tell whether most cells of a column are texts of their own: no numbers and no categories."""
    cells = list(cells_of(table, column, SAMPLED))
    worded = sum(len(cell) >= SHORTEST_TEXT for cell in cells)
    return worded * 2 > len(cells) and len(set(cells)) * 10 > 6 * len(cells)


def says(cell: str) -> bool:
    """Tell whether anything stands in a cell."""
    return bool(cell.strip()) and cell.strip() not in ("[]", "{}")
