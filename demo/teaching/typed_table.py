"""Rows that were typed into the page, as a table and as the file that a run reads."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from demo.finetune.data.columns import QA, Layout
from demo.finetune.data.pictures import ZipPictures
from demo.finetune.data.table import DataLimits, Table, TableBuilder


def typed_table(
    name: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    pictures: Sequence[Path | None],
    folder: Path,
    limits: DataLimits,
) -> tuple[Table, Layout | None, Path]:
    """Return the rows in which something stands, what their columns mean, and their file.

    Rows alone make a file of JSON lines, rows with pictures a zip, as a person would bring it.

    Args:
        name: of the table.
        columns: what the page calls question, reply and picture.
        rows: cells of the first two.
        pictures: of the rows; empty where none has one.
        folder: where the file is written.
        limits: the most that is taken.

    Raises:
        DataError: no row is left, or one cannot be read.
        OSError: the file cannot be written.
    """
    question, reply, picture = [*columns, ""][:3]
    typed, named = _with_names(columns, rows, pictures)
    builder = TableBuilder(name, limits=limits)
    for number, cells in enumerate(typed, 1):
        builder.add(number, cells)
    table = builder.build()
    lines = "\n".join(json.dumps(cells, ensure_ascii=False) for cells in typed)
    # The page has named the columns itself, so that nothing has to be recognised.
    if named:
        file = folder / "data.zip"
        layout: Layout | None = Layout(QA, question, reply, picture=picture)
        return replace(table, pictures=_packed(lines, named, file)), layout, file
    file = folder / "data.jsonl"
    file.write_text(lines, "utf-8")
    layout = Layout(QA, question, reply) if table.columns == (question, reply) else None
    return table, layout, file


def _with_names(
    columns: Sequence[str], rows: Sequence[Sequence[object]], pictures: Sequence[Path | None]
) -> tuple[list[dict[str, str]], dict[str, Path]]:
    """Give the rows, and the pictures by the names that stand in them."""
    typed, named = list[dict[str, str]](), dict[str, Path]()
    for place, row in enumerate(rows):
        cells = dict(zip(columns[:2], map(_typed, row), strict=False))  # a short row lacks the last
        picture = pictures[place] if place < len(pictures) else None
        if picture:
            cells[columns[2]] = f"{len(typed) + 1}{picture.suffix}"
            named[cells[columns[2]]] = picture
        if any(cell.strip() for cell in cells.values()):
            typed.append(cells)
    return typed, named


def _packed(lines: str, pictures: Mapping[str, Path], file: Path) -> ZipPictures:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.jsonl", lines)
        for name, path in pictures.items():
            archive.write(path, name)
    return ZipPictures(file, {name: name for name in pictures})


def _typed(cell: object) -> str:
    """Return a cell of an editable table; what was never filled in is None or not a number."""
    text = "" if cell is None or cell != cell else str(cell)
    return text.encode("utf-8", "replace").decode()  # halves of characters come as "?"
