"""JSON, in the shapes that data sets come in → rows.

A list is cut at its commas first and each item read by itself, so a broken item costs one row and
no file, however built, more memory than its text and one row.
"""

import io
import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from demo.errors import DataError
from demo.finetune.lessons import PART_NAMES, plain
from demo.finetune.rows import (
    MAX_DEPTH,
    MAX_ROW,
    Fault,
    Number,
    Row,
    Table,
    make_table,
    row_or_fault,
    shown,
)

# A whole string, a quote that opens none, or what structure is made of. Possessive, because a
# string of many escapes would otherwise cost a hundred times its size in ways to turn back.
STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
TOKEN = re.compile(STRING + r'|["\[\]{},]', re.DOTALL)
KEY = re.compile(f"({STRING})" + r"\s*+:\s*+", re.DOTALL)
TURN = ({"role", "content"}, {"from", "value"})
MOST_KEYS = 1_000


def read_json(text: str, name: str) -> Table:
    """A list of objects, an object that holds such a list, one object, or one object a line.

    An object with lists named `train` and `test` becomes one table with a column `split`; one with
    a list of equal length for each column becomes the table it means.

    Raises:
        DataError: not JSON, another shape, or a limit of `make_table`.
    """
    start = len(text) - len(text.lstrip())
    if _by_line(text[start:]):
        return make_table(name, _lines(text), counted="line")
    if text[start] == "[":
        return make_table(name, _items(text, start, whole=True), counted="item")
    return _object(text, start, name)


def _by_line(text: str) -> bool:
    """Whether a second value begins where a list or object over several lines would go on."""
    first, _, rest = text.partition("\n")
    first, following = first.rstrip(), rest.lstrip()[:1]
    if not following:
        return False
    closed = first.endswith("]" if text[0] == "[" else "}") and following not in ",]}"
    return closed or (following == text[0] and first[-1] not in ":,[{")


def _lines(text: str) -> Iterator[Row | Fault]:
    # Not splitlines(): a string may hold U+2028, which that takes for the end of a line.
    for number, line in enumerate(io.StringIO(text, "\n"), 1):
        if line.strip():
            yield _parsed(number, line)


def _items(
    text: str, start: int, *, part: str = "", before: int = 0, whole: bool = False
) -> Iterator[Row | Fault]:
    """The items of the list that begins at `start`; `part` is what their `split` becomes."""
    for number, (begin, end) in enumerate(_members(text, start, whole), before + 1):
        row = _parsed(number, text[begin : min(end, begin + MAX_ROW + 1)])
        if part and isinstance(row, Row):
            row = Row(row.number, {**row.cells, "split": part}, row.repairs)
        yield row


def _object(text: str, start: int, name: str) -> Table:
    """An object: the lists it holds decide what it is."""
    members = dict(_keys(text, start))
    lists = {key: at for key, (at, _) in members.items() if text.startswith("[", at)}
    rows = {key: at for key, at in lists.items() if _holds_rows(text, at)}
    if rows and {plain(key) for key in rows} <= PART_NAMES.keys():
        return make_table(name, _joined(text, rows), counted="item")
    if len(rows) == 1:
        return make_table(name, _items(text, *rows.values()), counted="item")
    if rows:
        raise DataError(
            f"This file holds {len(rows)} lists: {', '.join(map(shown, list(rows)[:5]))}. Please "
            "keep one, or call them train and test."
        )
    if len(lists) > 1 and len(lists) == len(members) and not any(_first(text, lists, "{")):
        return make_table(name, _columns(text, lists), counted="item")
    return make_table(name, iter([_parsed(1, text[start:].rstrip())]), counted="item")


def _first(text: str, lists: dict[str, int], mark: str) -> Iterator[bool]:
    """For each list, whether its first item begins with `mark`."""
    for at in lists.values():
        begin, _ = next(_members(text, at), (at, at))
        yield text.startswith(mark, begin)


def _columns(text: str, lists: dict[str, int]) -> Iterator[Row | Fault]:
    """A list a column, read side by side."""
    spans = zip_longest(*(_members(text, at) for at in lists.values()))
    for number, cells in enumerate(spans, 1):
        if None in cells:
            raise DataError(
                f"The lists {', '.join(map(shown, list(lists)[:5]))} are not equally long. Each "
                "needs one value for every example."
            )
        pairs = zip(lists, (text[begin:end] for begin, end in cells), strict=True)
        yield _parsed(number, "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in pairs) + "}")


def _joined(text: str, rows: dict[str, int]) -> Iterator[Row | Fault]:
    """Lists one after the other, numbered through."""
    number = 0
    for part, start in rows.items():
        for row in _items(text, start, part=part, before=number):
            number = row.number
            yield row


def _holds_rows(text: str, start: int) -> bool:
    """Whether the list at `start` holds objects that are rows, not the turns of one talk."""
    begin, end = next(_members(text, start), (start, start))
    if not text.startswith("{", begin) or end - begin > MAX_ROW:
        return text.startswith("{", begin)
    try:
        return not _is_turn(_load(text[begin:end]))
    except DataError:
        return True


def _parsed(number: int, text: str) -> Row | Fault:
    """One object → one row. A list of turns is a row with the column `messages`."""
    if len(text) > MAX_ROW:
        return Fault(number, f"It has more than {MAX_ROW:,} characters, the most we take.")
    try:
        value = _load(text)
    except DataError as error:
        return Fault(number, str(error))
    if isinstance(value, list) and value and all(map(_is_turn, value)):
        value = {"messages": value}
    if not isinstance(value, dict):
        return Fault(
            number,
            'It is no object with names and values. Expected is {"question": "…", "answer": "…"}.',
        )
    return row_or_fault(number, value)


def _load(text: str) -> Any:
    try:
        return json.loads(
            text,
            parse_int=Number,
            parse_float=Number,
            parse_constant=lambda name: None,  # NaN and Infinity, which pandas writes for nothing
            object_pairs_hook=_without_twins,
        )
    except json.JSONDecodeError as error:
        near = " ".join(text[max(0, error.pos - 10) : error.pos + 20].split())
        raise DataError(
            f"It is no valid JSON near “{near}”. Texts need double quotes, and a comma stands "
            "between values but not after the last."
        ) from error
    except RecursionError as error:
        raise _too_deep() from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DataError("It has the same name twice, so one value would be lost.")
    return found


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and any(names <= value.keys() for names in TURN)


def _keys(text: str, start: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """The names of an object, and where each value stands."""
    for count, (begin, end) in enumerate(_members(text, start, True)):
        name = KEY.match(text, begin, end)
        if name is None or count == MOST_KEYS:
            raise DataError(
                "This file begins like a JSON object and goes on like none. Expected is a list "
                "such as [{…}, {…}], or one object a line."
            )
        yield str(_load(name[1])), (name.end(), end)


def _members(text: str, start: int, whole: bool = False) -> Iterator[tuple[int, int]]:
    """Begin and end of each member of the list or object that begins at `start`.

    Raises:
        DataError: the text ends before it does; or, if it is the `whole`, more text follows it.
    """
    level, begin = 0, start + 1
    for token in TOKEN.finditer(text, start):
        mark = token[0]
        if mark == '"':
            raise DataError(f"{_line(text, token.start())} opens a double quote that never closes.")
        if mark in "[{":
            level += 1
            if level > MAX_DEPTH:
                raise _too_deep()
        elif mark in "]}":
            level -= 1
        if (mark == "," and level == 1) or level == 0:
            last = level == 0
            if not last or text[begin : token.start()].strip():
                yield _trimmed(text, begin, token.start())
            begin = token.end()
            if last:
                more = re.compile(r"\S").search(text, begin) if whole else None
                if more:
                    raise DataError(
                        f"{_line(text, more.start())} goes on after the end of the JSON list or "
                        "object. Please put all examples into one list, or one object a line."
                    )
                return
    raise DataError(
        "This file is cut off: its JSON list or object never ends. Please save or download it "
        "again."
    )


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    return begin, end


def _line(text: str, at: int) -> str:
    return f"Line {text.count(chr(10), 0, at) + 1}"


def _too_deep() -> DataError:
    return DataError(
        f"The JSON is nested more than {MAX_DEPTH} levels deep. Expected is a list of objects "
        "with texts in them."
    )
