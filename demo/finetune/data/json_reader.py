"""JSON, in the shapes that data sets come in → a table.

A list is cut at its commas first and each item read by itself, so a broken item costs one row and
no file, however built, more memory than its text and one row.
"""

import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

from demo.errors import DataError
from demo.finetune.data.columns import recognise
from demo.finetune.data.conversation import SPLIT_NAMES, normalise_name
from demo.finetune.data.dialogflow import ALONE, is_part
from demo.finetune.data.nested import grouped_pairs, is_row, pairs_of, talk_of, unfolded
from demo.finetune.data.table import (
    LIMITS,
    MAX_DEPTH,
    DataLimits,
    Number,
    Table,
    TableBuilder,
    excerpt,
)

# A whole string, a quote that opens none, or what structure is made of. Possessive, because a
# string of many escapes would otherwise cost a hundred times its size in ways to turn back.
STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
TOKEN = re.compile(STRING + r'|["\[\]{},]', re.DOTALL)
KEY = re.compile(f"({STRING})" + r"\s*+:\s*+", re.DOTALL)
PAIRS = "The file has no columns: each name in it is asked about, and its value replies."
TURN = ({"role", "content"}, {"from", "value"})


def read_json(text: str, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read a list of objects, an object that holds such a list, one object, or one object a line.

    An object with lists named `train` and `test` becomes one table with a column `split`; one with
    a list of equal length for each column becomes the table it means. In an object of objects, such
    as ScienceQA's problems by their id, each is a row, and its key the column `id`. COCO's lists
    `images` and `annotations` are joined.

    Args:
        text: of the file, not empty.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: not JSON, another shape, or a limit of `TableBuilder`.
    """
    start = len(text) - len(text.lstrip())
    by_line = _is_by_line(text[start:])
    table = TableBuilder(name, counted="line" if by_line else "item", limits=limits)
    if by_line:
        _add_lines(table, text)
    elif text[start] == "[":
        _add_items(table, text, start, whole=True)
    else:
        _add_object(table, text, start)
    return table.build()


def _is_by_line(text: str) -> bool:
    """Whether a second value begins where a list or object over several lines would go on."""
    first, _, rest = text.partition("\n")
    first, following = first.rstrip(), rest.lstrip()[:1]
    if not following:
        return False
    closed = first.endswith("]" if text[0] == "[" else "}") and following not in ",]}"
    return closed or (following == text[0] and first[-1] not in ":,[{")


def _add_lines(table: TableBuilder, text: str) -> None:
    # Not splitlines(): a string may hold U+2028, which that takes for the end of a line.
    for number, line in enumerate(io.StringIO(text, "\n"), 1):
        if line.strip():
            _add(table, number, line)


def _add_items(
    table: TableBuilder,
    text: str,
    start: int,
    *,
    split: str = "",
    before: int = 0,
    whole: bool = False,
    more: Mapping[str, str] | None = None,
) -> int:
    """Add the items of the list that begins at `start`, numbered on from `before`.

    `split` is what their column of that name becomes, `more` are other columns that they get unless
    they have them. Return the number of the last one.
    """
    number = before
    for number, (begin, end) in enumerate(_members(text, start, whole), before + 1):
        item = text[begin : min(end, begin + table.limits.row + 1)]
        _add(table, number, item, split=split, more=more)
    return number


def _add_object(table: TableBuilder, text: str, start: int) -> None:
    """Add what an object holds: its lists decide what it is."""
    whole = not text[:start].strip()
    members = dict(_keys(text, start, table.limits.rows + 1_000, whole=whole))
    if is_part(members):
        raise DataError(ALONE)
    lists = {key: at for key, (at, _) in members.items() if text.startswith("[", at)}
    rows = {key: at for key, at in lists.items() if _holds_rows(text, at, table.limits.row)}
    rows = {key: at for key, at in rows.items() if normalise_name(key) != "history"}
    if rows and {normalise_name(key) for key in rows} <= SPLIT_NAMES.keys():
        last = 0
        for split, at in rows.items():
            last = _add_items(table, text, at, split=split, before=last)
        _name_left(table, members, rows)
    elif len(rows) == 1:
        _add_items(table, text, *rows.values())
        _name_left(table, members, rows)
    elif {"images", "annotations"} <= rows.keys():
        _add_annotations(table, text, rows)
        _name_left(table, members, ("images", "annotations"))
    elif rows and (best := _taught(text, rows)):
        last = 0
        for key, at in best.items():
            group = {"group": key} if len(best) > 1 else {}
            last = _add_items(table, text, at, before=last, more=group)
        _name_left(table, members, best)
    elif rows:
        raise DataError(
            f"This file holds {len(rows)} lists: {', '.join(map(excerpt, list(rows)[:5]))}. Please "
            "keep one, or call them train and test."
        )
    elif pairs := _pairs({key: text[begin:end] for key, (begin, end) in members.items()}):
        table.note(PAIRS)
        for number, each in enumerate(pairs, 1):
            table.add(number, each)
    elif inner := _inner(text, members, table.limits.rows + 1_000):
        _add_object(table, text, inner)
        begins = {key: begin for key, (begin, _) in members.items()}
        _name_left(table, members, [key for key, begin in begins.items() if begin == inner])
    elif len(lists) > 1 and len(lists) == len(members) and not _hold_objects(text, lists):
        _add_columns(table, text, lists)
    elif _are_rows(text, members):
        for number, (key, (begin, end)) in enumerate(members.items(), 1):
            _add(table, number, text[begin : min(end, begin + table.limits.row + 1)], key=key)
    else:
        end = max((end for _, end in members.values()), default=start + 1)
        body, brace, _ = text[end:].partition("}")  # none where it is cut off
        _add(table, 1, text[start:end] + body + brace)


def _pairs(members: dict[str, str]) -> list[dict[str, Any]]:
    return pairs_of(members) or grouped_pairs(members)


def _name_left(table: TableBuilder, members: Iterable[str], used: Collection[str]) -> None:
    """Name what stands in an object beside the lists that are read."""
    left = [f"“{excerpt(key)}”" for key in members if key not in used]
    if left:
        more = f" and {len(left) - 9} more" if len(left) > 9 else ""
        table.note(f"Not read, because it stands beside the rows: {', '.join(left[:9])}{more}.")


def _taught(text: str, rows: Mapping[str, int]) -> dict[str, int]:
    """Choose the lists whose first item is a row that can be taught, if they have equal names."""
    firsts = {key: _first(text, at) for key, at in rows.items()}
    able = {key: rows[key] for key, item in firsts.items() if is_row(item)}
    names = {frozenset(item) for key, item in firsts.items() if key in able}
    return able if len(names) == 1 else {}


def _first(text: str, at: int) -> dict[str, Any]:
    """Read the first item of a list of objects; an empty one where it is no object or broken."""
    begin, end = next(_members(text, at), (at, at))
    if end - begin > LIMITS.row:
        return {}
    try:
        item = _load(text[begin:end])
    except DataError:
        return {}
    return item if isinstance(item, dict) else {}


def _inner(text: str, members: Mapping[str, tuple[int, int]], most: int) -> int | None:
    """Find the one object in an object that holds lists of rows, and is no row itself."""
    objects = [begin for begin, _ in members.values() if text.startswith("{", begin)]
    if len(objects) != 1 or recognise(list(members)) is not None:
        return None
    inner = {key: begin for key, (begin, _) in _keys(text, objects[0], most, whole=False)}
    lists = {key: at for key, at in inner.items() if text.startswith("[", at)}
    holds = any(is_row(_first(text, at)) for at in lists.values())
    return objects[0] if holds and recognise(list(inner)) is None else None


def _are_rows(text: str, members: Mapping[str, tuple[int, int]]) -> bool:
    """Whether each member of an object is an object that has the first one's names."""
    if not members or not all(text.startswith("{", begin) for begin, _ in members.values()):
        return False
    (begin, end), *_ = members.values()
    names = {normalise_name(key) for key in members}
    return end - begin > 2 and not names & {"question", "answer", "prompt", "input", "output"}


def _add_annotations(table: TableBuilder, text: str, rows: Mapping[str, int]) -> None:
    """Add what is said of each picture, with the picture's file in place of its number."""
    files: dict[str, str] = {}
    for begin, end in _members(text, rows["images"]):
        image = _load(text[begin : min(end, begin + table.limits.row + 1)])
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            files[str(image.get("id"))] = str(image["file_name"])
    for number, (begin, end) in enumerate(_members(text, rows["annotations"]), 1):
        _add(table, number, text[begin : min(end, begin + table.limits.row + 1)], files=files)


def _hold_objects(text: str, lists: Mapping[str, int]) -> bool:
    """Whether the first item of any of these lists is an object."""
    firsts = (next(_members(text, at), (at, at)) for at in lists.values())
    return any(text.startswith("{", begin) for begin, _ in firsts)


def _add_columns(table: TableBuilder, text: str, lists: Mapping[str, int]) -> None:
    """Add rows out of a list for each column, read side by side."""
    spans = zip_longest(*(_members(text, at) for at in lists.values()))
    for number, cells in enumerate(spans, 1):
        if None in cells:
            raise DataError(
                f"The lists {', '.join(map(excerpt, list(lists)[:5]))} are not equally long. Each "
                "needs one value for every example."
            )
        pairs = zip(lists, (text[begin:end] for begin, end in cells), strict=True)
        _add(table, number, "{" + ",".join(f"{json.dumps(k)}:{v}" for k, v in pairs) + "}")


def _holds_rows(text: str, start: int, most: int) -> bool:
    """Whether the list at `start` holds objects that are rows, not the turns of one talk."""
    begin, end = next(_members(text, start), (start, start))
    if text.startswith("[", begin) and end - begin <= most:
        return _is_talk(text[begin:end])
    if not text.startswith("{", begin) or end - begin > most:
        return text.startswith("{", begin)
    try:
        return not _is_turn(_load(text[begin:end]))
    except DataError:
        return True


def _is_talk(text: str) -> bool:
    """Whether a list holds texts that are said in turn."""
    try:
        return talk_of(_load(text)) is not None
    except DataError:
        return False


def _add(
    table: TableBuilder,
    number: int,
    text: str,
    *,
    split: str = "",
    key: str = "",
    files: Mapping[str, str] | None = None,
    more: Mapping[str, str] | None = None,
) -> None:
    """Add one object as a row. A list of turns is a row with the column `messages`.

    Args:
        table: gets the row.
        number: as a person sees it.
        text: of the object.
        split: what its column of that name becomes.
        key: the name under which it was found, for the column `id` if it has none.
        files: names of pictures by the number that the object may have as `image_id`.
        more: other columns, for a row that has none of these names.
    """
    if len(text) > table.limits.row:
        reason = f"It has more than {table.limits.row:,} characters, the most we take."
        table.add_fault(number, reason)
        return
    try:
        value = _load(text)
    except DataError as error:
        table.add_fault(number, str(error))
        return
    if isinstance(value, list) and value and all(map(_is_turn, value)):
        value = {"messages": value}
    if talk := talk_of(value):
        value = {"messages": talk}
    if isinstance(value, list) and len(value) == 1:  # as some programs write every row
        value = value[0]
    if not isinstance(value, dict):
        table.add_fault(
            number,
            'It is no object with names and values. Expected is {"question": "…", "answer": "…"}.',
        )
        return
    value = {**more, **value} if more else value
    if split:
        value = {**value, "split": split}
    if key and "id" not in value:
        value = {"id": key, **value}
    image = value.get("image")
    # ScienceQA calls every picture image.png, in a folder with the key of its problem.
    if key and isinstance(image, str) and image.endswith(".png") and "/" not in image:
        value = {**value, "image": f"{key}/{image}"}
    if files and str(value.get("image_id")) in files:
        value = {"image": files[str(value["image_id"])], **value}
    for each in unfolded(value):
        table.add(number, each)


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


def _keys(
    text: str, start: int, most: int, *, whole: bool = True
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the names of an object, and where each value stands; the `whole` text, or a part."""
    for count, (begin, end) in enumerate(_members(text, start, whole)):
        name = KEY.match(text, begin, end)
        if name is None or count == most:
            raise DataError(
                "This file begins like a JSON object and goes on like none. Expected is a list "
                "such as [{…}, {…}], or one object a line."
            )
        yield str(_load(name[1])), (name.end(), end)


def _members(text: str, start: int, whole: bool = False) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each member of the list or object that begins at `start`.

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
