"""What stands in a table's columns, whatever their names say.

A column that is called `document` may hold the file that a question was taken from, one called
`article` the number of a law: the question is not about these words. A column called `file_name`
may name pictures or PDFs.
"""

import re
from collections.abc import Iterator
from typing import Any

from demo.finetune.data.column_names import known_as
from demo.finetune.data.conversation import is_turn, is_turns
from demo.finetune.data.table import Table, plain, says, structure

SAMPLED = 50  # rows that are looked into to tell what a column holds
SHORTEST_TEXT = 12  # characters of what is taken for more than a code or a category
QUESTION_MARKS = ("?", "？", "؟")
DOCUMENT = re.compile(
    r"[^\n]{1,200}\.(?:pdf|docx?|odt|rtf|txt|md|html?|xml|csv|xlsx?|pptx?|epub|py|ipynb|clean)",
    re.IGNORECASE,
)
SHOWN = re.compile(r"[^\n]{1,300}\.(?:jpe?g|png|webp|gif)(?:#\d{1,2})?", re.IGNORECASE)  # Flickr8k
FILE = re.compile(r"[^\n]{1,200}\.[a-z][a-z0-9]{0,7}", re.IGNORECASE)
PICTURED = re.compile(
    r"\.(?:jpe?g|jpe|jfif|png|webp|gif|hei[cf]|avif|bmp|tiff?|svg)\b", re.IGNORECASE
)
NUMBER = re.compile(r"#?\d{1,9}(?:\.\d{1,3})?")
GIVEN = ("input", "context", "passage")  # a question may well be about a number that stands there


def names_documents(table: Table, column: str) -> bool:
    """Tell whether most cells of a column are names of files that are no pictures."""
    cells = list(cells_of(table, column, SAMPLED))
    named = sum(bool(DOCUMENT.fullmatch(cell.strip())) for cell in cells)
    return bool(cells) and named * 10 >= 7 * len(cells)


def names_other_files(table: Table, column: str) -> bool:
    """Tell whether most cells of a column are names of files, none of them a picture's."""
    cells = [cell.strip() for cell in cells_of(table, column, SAMPLED)]
    named = sum(bool(FILE.fullmatch(cell)) for cell in cells)
    return named * 10 >= 7 * len(cells) > 0 and not any(map(PICTURED.search, cells))


def names_pictures(table: Table, column: str) -> bool:
    """Tell whether all sampled cells of a column are names of pictures."""
    cells = list(cells_of(table, column, SAMPLED))
    return bool(cells) and all(SHOWN.fullmatch(cell.strip()) for cell in cells)


def is_reference(table: Table, column: str) -> bool:
    """Tell whether a column only says where a question comes from: by a file or by a number."""
    if names_documents(table, column):
        return True
    cells = list(cells_of(table, column, SAMPLED))
    numbers = bool(cells) and all(NUMBER.fullmatch(cell.strip()) for cell in cells)
    return numbers and known_as(column) not in GIVEN


def cells_of(table: Table, column: str, most: int | None = None) -> Iterator[str]:
    """Yield the cells of a column in which something stands, of all rows or of `most` of them.

    These are spread over the table, as its rows may be sorted.
    """
    step = -(-len(table.rows) // most) if most else 1
    for row in table.rows[:: max(1, step)]:
        cell = row.cells.get(column, "")
        if says(cell):
            yield cell


def holds_objects(table: Table, column: str) -> bool:
    """Tell whether most cells of a column are structures in which no text stands out."""
    cells = [structure(cell) for cell in cells_of(table, column, SAMPLED)]
    return 2 * sum(map(_is_object, cells)) > len(cells)


def _is_object(value: Any) -> bool:
    if isinstance(value, dict):
        return not (is_turn(value) or isinstance(value.get("text"), list)) and plain(value) is None
    if isinstance(value, list) and not is_turns(value):
        return any(isinstance(item, dict | list) and plain(item) is None for item in value)
    return False


def asks(table: Table, column: str) -> bool:
    """Tell whether most cells of a column end with a question mark."""
    cells = [cell.rstrip() for cell in cells_of(table, column, SAMPLED)]
    return sum(cell.endswith(QUESTION_MARKS) for cell in cells) * 10 > 6 * len(cells)


def holds_texts(table: Table, column: str) -> bool:
    """Tell whether most cells of a column are texts of their own: no numbers and no categories."""
    cells = list(cells_of(table, column, SAMPLED))
    worded = sum(len(cell) >= SHORTEST_TEXT for cell in cells)
    return worded * 2 > len(cells) and len(set(cells)) * 10 > 6 * len(cells)


def holds_sentences(table: Table, column: str) -> bool:
    """Tell whether most cells of a column have several words, some of them said again and again."""
    cells = list(cells_of(table, column, SAMPLED))
    worded = sum(len(cell) >= SHORTEST_TEXT and len(cell.split()) > 2 for cell in cells)
    return worded * 10 > 7 * len(cells) and len(set(cells)) * 5 > len(cells)


def holds_words(table: Table, column: str) -> bool:
    """Tell whether most cells of a column are words, as of a vocabulary: no codes or categories."""
    cells = list(cells_of(table, column, SAMPLED))
    worded = sum(
        bool(re.search(r"[^\W\d_]{2}", cell)) and not re.search(r"\d", cell) for cell in cells
    )
    return worded * 10 >= 8 * len(cells) > 0 and len(set(cells)) * 10 > 6 * len(cells)


def has_letters(table: Table, column: str) -> bool:
    """Tell whether words stand in most cells of a column, the same ones or others."""
    cells = list(cells_of(table, column, SAMPLED))
    return sum(bool(re.search(r"[^\W\d_]{2}", cell)) for cell in cells) * 2 > len(cells)
