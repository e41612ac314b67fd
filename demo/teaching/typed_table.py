"""The editable table of the page: what the browser sends, as rows, as a table, and as a run's file.

A cell with a picture is Markdown of a small copy whose address carries the key of the picture that
the server keeps (`row_pictures.py`).
"""

import json
import re
import zipfile
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demo.errors import InputError
from demo.finetune.data.columns import QA, Layout
from demo.finetune.data.pictures import ZipPictures
from demo.finetune.data.table import DataLimits, Table, TableBuilder
from demo.vision.image import Picture, thumbnail

MOST_TYPED = 2_000  # rows; gradio and browsers stand still over more
MOST_PICTURES = 200  # of these: their small copies come with every request that has the table
SMALL = 64  # pixels
LONGEST_NAME = 60
PICTURE_CELL = re.compile(
    rf"!\[[^\[\]()\n]{{0,{LONGEST_NAME}}}\]"
    r"\(data:image/webp;key=([0-9a-f]{32});base64,[A-Za-z0-9+/=]{1,9000}\)"
)
NOT_A_TABLE = "The table cannot be read. Please load the page again."


def rows_of(table: Any, more: int = 0) -> list[list[Any]]:
    """Read the rows of a table.

    Raises:
        InputError: it is no table, or with so many `more` rows too long a one.
    """
    rows = table.get("data") if isinstance(table, dict) else []
    if not isinstance(rows, list):
        raise InputError(NOT_A_TABLE)
    if len(rows) + more > MOST_TYPED:
        raise InputError(
            f"The table here holds at most {MOST_TYPED:,} rows. Please send a longer one as a file."
        )
    if not all(isinstance(row, list) for row in rows):
        raise InputError(NOT_A_TABLE)
    return rows


def typed_rows(table: Any, more: int = 0) -> list[list[Any]]:
    """Read the rows of the table of examples, three cells each. Raises InputError as `rows_of`."""
    return [[*row, "", "", ""][:3] for row in rows_of(table, more)]


def filled(rows: list[list[Any]]) -> list[list[Any]]:
    """Return the rows in which something stands."""
    return [row for row in rows if any(str(cell or "").strip() for cell in row)]


def empty_rows(count: int) -> list[list[Any]]:
    """Return rows to type into."""
    return [["", "", ""] for _ in range(count)]


def picture_cell(key: str, picture: Picture, name: str) -> str:
    """Write the cell of a picture.

    Args:
        key: by which the server finds it.
        picture: that is shown small.
        name: what it is called for whoever does not see it.
    """
    small = b64encode(thumbnail(picture, SMALL)).decode()
    said = re.sub(r"[\[\]()\s!<>`\\]+", " ", name).strip()[:LONGEST_NAME]
    return f"![{said}](data:image/webp;key={key};base64,{small})"


def is_picture_cell(cell: Any) -> bool:
    """Tell whether a cell is one that `picture_cell` wrote."""
    return isinstance(cell, str) and bool(PICTURE_CELL.fullmatch(cell))


def picture_keys(rows: list[list[Any]]) -> list[str]:
    """Return the key of each row's picture, "" for none.

    Raises:
        InputError: there are too many, or something else stands in a picture's cell.
    """
    keys = []
    for number, (_, _, cell) in enumerate(rows, 1):
        found = PICTURE_CELL.fullmatch(cell) if isinstance(cell, str) else None
        if not found and str(cell or "").strip():
            raise InputError(
                f"What stands in the picture's cell of row {number} is no picture. Please remove "
                "it, and add the picture by a click on the cell."
            )
        keys.append(found[1] if found else "")
    if sum(map(bool, keys)) > MOST_PICTURES:
        raise InputError(
            f"The table here takes at most {MOST_PICTURES} pictures. Please send more of them as a "
            "zip, with a table that names them."
        )
    return keys


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
