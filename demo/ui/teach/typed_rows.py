"""The editable table of rows as the browser sends it: question, reply, and a picture's cell.

A cell with a picture is Markdown of a small copy whose address carries the key of the picture that
the server keeps (`demo/teaching/row_pictures.py`).
"""

import re
from base64 import b64encode
from typing import Any

from demo.errors import InputError
from demo.ui.teach.words import TeachWords
from demo.vision.image import Picture, thumbnail

MOST_TYPED = 2_000  # rows; gradio and browsers stand still over more
MOST_PICTURES = 200  # of these: their small copies come with every request that has the table
SMALL = 64  # pixels
LONGEST_NAME = 60
PICTURE_CELL = re.compile(
    rf"!\[[^\[\]()\n]{{0,{LONGEST_NAME}}}\]"
    r"\(data:image/webp;key=([0-9a-f]{32});base64,[A-Za-z0-9+/=]{1,9000}\)"
)


def rows_of(table: Any, words: TeachWords, more: int = 0) -> list[list[Any]]:
    """Read the rows of a table.

    Raises:
        InputError: it is no table, or with so many `more` rows too long a one.
    """
    rows = table.get("data") if isinstance(table, dict) else []
    if not isinstance(rows, list):
        raise InputError(words.not_a_table)
    if len(rows) + more > MOST_TYPED:
        raise InputError(words.table_full.format(count=MOST_TYPED))
    if not all(isinstance(row, list) for row in rows):
        raise InputError(words.not_a_table)
    return rows


def typed_rows(table: Any, words: TeachWords, more: int = 0) -> list[list[Any]]:
    """Read the rows of the table of examples, three cells each. Raises InputError as `rows_of`."""
    return [[*row, "", "", ""][:3] for row in rows_of(table, words, more)]


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


def picture_keys(rows: list[list[Any]], words: TeachWords) -> list[str]:
    """Return the key of each row's picture, "" for none.

    Raises:
        InputError: there are too many, or something else stands in a picture's cell.
    """
    keys = []
    for number, (_, _, cell) in enumerate(rows, 1):
        found = PICTURE_CELL.fullmatch(cell) if isinstance(cell, str) else None
        if not found and str(cell or "").strip():
            raise InputError(words.picture_odd.format(row=number))
        keys.append(found[1] if found else "")
    if sum(map(bool, keys)) > MOST_PICTURES:
        raise InputError(words.pictures_full.format(count=MOST_PICTURES))
    return keys
