"""Cards as Anki exports them in plain text → a table of their fronts and backs.

Lines with `#` say what follows ("Text Files" in Anki's manual): what separates the cells, whether
they hold HTML, and which columns are tags, decks and the like. There is no row of names.
"""

import re
from collections.abc import Mapping
from html import unescape
from itertools import chain

from demo.finetune.data.csv_reader import add_record, records_of
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
    """Read cards, a row each, without tags of HTML; rows are numbered as those of a sheet.

    Args:
        text: of the file.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: a limit of `TableBuilder`.
    """
    said, lines, rest = _directives(text)
    mark = SEPARATORS.get(said["separator"].casefold(), said["separator"][:1])
    html = said.get("html", "").casefold() == "true"
    records = (
        (number, record)
        for number, record in enumerate(records_of("\n" * lines + rest, mark, limits), 1)
        if isinstance(record, str) or any(map(str.strip, record))
    )
    first = next(records, (0, list[str]()))
    names = _names(said, len(first[1]) if isinstance(first[1], list) else len(FIELDS), mark)
    table = TableBuilder(name, columns=names, notes=[READ], limits=limits)
    for number, record in chain([first] if first[1] else [], records):
        plain_text = html and isinstance(record, list)
        add_record(table, number, names, [*map(plain, record)] if plain_text else record)
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
