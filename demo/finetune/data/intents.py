"""What chatbots are built from: several ways to ask, one or several replies → a row for each way.

Known are `patterns` and `responses` (`intents.json`), `questions` and `answer`, Kaggle's `text` and
`responses`. Where an intent has several replies, its questions take them in turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from demo.errors import DataError
from demo.finetune.data.column_names import known_as
from demo.finetune.data.table import DataLimits, RowFault, Table, TableRow, structure

PATTERNS = ("patterns", "pattern", "utterances", "trainingphrases", "phrases", "examples", "text")
RENAMED = ("phrases", "examples", "text")  # they do not say that somebody asks
ASKING = (*PATTERNS, "question")
ANSWERING = ("responses", "response", "replies", "answer", "answers", "reply")
SPREAD = (
    "Several ways to ask stand in “{asking}”: {intents:,} rows became {rows:,}, one for each way."
)
IN_TURN = " Where there are several replies, the questions take them in turn."
LEFT = " {left:,} replies are not used, because there are fewer questions than replies."
NOBODY = "Nothing says how people would ask for this."


def is_intent(value: Mapping[str, Any]) -> bool:
    """Tell whether an object has a list of ways to ask, and replies."""
    found = _columns(list(value))
    return found is not None and any(isinstance(value[name], list) for name in found[0])


def spread(table: Table, limits: DataLimits) -> Table:
    """Return a table with a row for each way to ask, where a column lists several; else itself.

    Raises:
        DataError: these are more rows than the limit.
    """
    found = _columns(table.columns)
    if found is None:
        return table
    able, answering = found
    listing = (n for n in able if any(_ways(row, n, answering) is not None for row in table.rows))
    asking = next(listing, None)
    if asking is None:
        return table
    clash = any(known_as(name) == "question" for name in table.columns if name != asking)
    column = "question" if known_as(asking) in RENAMED and not clash else asking
    rows: list[TableRow] = []
    faults, left, several = list(table.faults), 0, False
    for row in table.rows:
        ways = _ways(row, asking, answering)
        if ways is None:
            rows += _rows(row, (asking, answering), column, [row.cells.get(asking, "")], None)
            continue
        if not ways:
            faults.append(RowFault(row.number, NOBODY))
            continue
        replies = _texts(row, answering)
        several |= len(replies or ()) > 1
        left += max(0, len(replies or ()) - len(ways))
        rows += _rows(row, (asking, answering), column, ways, replies)
        if len(rows) > limits.rows:
            raise DataError(
                f"The data set has more than {limits.rows:,} questions, the most we take. Please "
                "keep the best ones: a few hundred teach a lot. The command line takes any."
            )
    if not rows:
        return table
    note = SPREAD.format(asking=asking, intents=len(table.rows), rows=len(rows))
    note += IN_TURN * several + (LEFT.format(left=left) if left else "")
    return replace(
        table,
        columns=tuple(column if name == asking else name for name in table.columns),
        rows=tuple(rows),
        faults=tuple(sorted(faults, key=lambda fault: fault.number)),
        notes=(*table.notes, note),
    )


def _rows(
    row: TableRow,
    names: Sequence[str],
    column: str,
    ways: Sequence[str],
    replies: Sequence[str] | None,
) -> Iterator[TableRow]:
    """Yield a row for each way to ask; without a list of `replies` the reply stays as it is."""
    asking, answering = names
    rest = {name: cell for name, cell in row.cells.items() if name != asking}
    kept = tuple(note for note in row.repairs if not note.startswith(f"“{asking}”"))
    for at, way in enumerate(ways):
        reply = {answering: replies[at % len(replies)]} if replies else {}
        repairs = (note for note in kept if not reply or not note.startswith(f"“{answering}”"))
        yield TableRow(row.number, {**rest, column: way, **reply}, tuple(repairs))


def _columns(columns: Sequence[str]) -> tuple[list[str], str] | None:
    """Find the columns that may list ways to ask, and the one of replies."""
    known = {known_as(name): name for name in columns}
    able = [known[name] for name in ASKING if name in known]
    answering = next((known[name] for name in ANSWERING if name in known), None)
    return (able, answering) if able and answering is not None else None


def _ways(row: TableRow, asking: str, answering: str) -> list[str] | None:
    """Read the ways to ask of a row; None where it has a question, or one for each reply."""
    ways = _texts(row, asking)
    if ways is None or known_as(asking) in PATTERNS:
        return ways
    replies = _texts(row, answering)
    return None if len(ways) < 2 or (replies and len(replies) == len(ways)) else ways


def _texts(row: TableRow, column: str) -> list[str] | None:
    """Read a cell that lists texts; None for any other."""
    cell = row.cells.get(column, "")
    value = structure(cell) if cell.startswith("[") else None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return None
    return [text for text in value if text.strip()]
