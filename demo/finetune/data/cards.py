"""Cards as Anki exports them in plain text → a table of their fronts and backs.

Lines with `#` say what follows ("Text Files" in Anki's manual): what separates the cells, whether
they hold HTML, and which columns are tags, decks and the like. There is no row of names.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from html import unescape
from itertools import chain

from demo.errors import DataError
from demo.finetune.data.csv_reader import LONGEST_CELL
from demo.finetune.data.table import LIMITS, DataLimits, Table, TableBuilder

DIRECTIVE = re.compile(r"#([a-z ]{3,20}):[ \t]*(\S[^\r\n]*|)\r?(?:\n|\Z)", re.IGNORECASE)
SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "colon": ":", "space": " "}
FIELDS = ("front", "back")
LINE_ENDS = re.compile(r"<br\s*/?>|</(?:div|p|li)>", re.IGNORECASE)
TAG = re.compile(r"</?[a-z][^<>]{0,500}>", re.IGNORECASE)
SOUND = re.compile(r"\[sound:[^\]\s]{1,200}\]")
READ = "Cards as Anki exports them: each front is asked, and its back replies."


def is_cards(text: str) -> bool:
    """Tell whether a text begins with the lines of such an export."""
    return "separator" in _directives(text)[0]


def read_cards(text: str, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read cards, a row each, without tags of HTML; a row's number is the line where it ends.

    Args:
        text: of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a cell that is never closed, or a limit of `TableBuilder`.
    """
    said, lines, rest = _directives(text)
    mark = SEPARATORS.get(said["separator"].casefold(), said["separator"][:1])
    csv.field_size_limit(LONGEST_CELL)
    records = _records(rest, mark, lines)
    first = next(records, None)
    names = _names(said, len(first[1]) if first else 0, mark)
    table = TableBuilder(name, columns=names, notes=[READ], limits=limits)
    html = said.get("html", "").casefold() == "true"
    for number, cells in chain([first] if first else [], records):
        found = dict(zip(names, cells, strict=False))
        table.add(number, {n: plain(cell) if html else cell for n, cell in found.items()})
    return table.build()


def plain(html: str) -> str:
    """Take the tags and sounds off a field; lines stay apart."""
    text = TAG.sub("", LINE_ENDS.sub("\n", SOUND.sub("", html)))
    return unescape(text).replace("\xa0", " ").strip()


def _directives(text: str) -> tuple[dict[str, str], int, str]:
    """Return what the first lines say by name, how many they are, and the text below them."""
    said, lines, place = dict[str, str](), 0, 0
    while match := DIRECTIVE.match(text, place):
        said[match[1].casefold().strip()] = match[2].strip()
        lines, place = lines + 1, match.end()
    return said, lines, text[place:]


def _records(rest: str, mark: str, lines: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each card's cells and the line where it ends; `lines` stand above the first."""
    reader = csv.reader(io.StringIO(rest, ""), delimiter=mark)
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                yield lines + reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            "A card of this export is much too long; perhaps a double quote is never closed. "
            "Please export the cards again."
        ) from error


def _names(said: Mapping[str, str], width: int, mark: str) -> list[str]:
    """Name the columns: by the line `#columns`, or by what others say of them; fields remain."""
    if "columns" in said:
        named = [name.strip() for name in said["columns"].split(mark)]
        if len(named) == width and len(set(named)) == width and all(named):
            return named
    kinds = {
        value: key.removesuffix(" column") for key, value in said.items() if key.endswith(" column")
    }
    fields = chain(FIELDS, (f"field {place}" for place in range(3, width + 1)))
    return [kinds.get(str(place)) or next(fields) for place in range(1, width + 1)]
