"""Mutations of every known form of a row: no crash, and nothing of it gone without a word."""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from demo.errors import DataError
from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.columns import recognise_table, unused_columns
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table
from tests.files import packed, png

USER, BOT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}
TALK = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Hi"}]}, BOT]
FORMS: list[dict[str, Any]] = [
    {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]], "system": "f"},
    {"messages": [USER, BOT], "label": True, "tools": "[]"},
    {"messages": PARTS, "images": ["a.png"]},
    {"conversations": TALK, "image": "a.png", "id": "1"},
    {"conversations": TALK[:1], "chosen": TALK[1], "rejected": TALK[1]},
    {"prompt": [USER], "completion": [BOT]},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
    {"question": "q", "choices": ["x", "y"], "answer": 1, "hint": "h", "image": None, "task": "t"},
    {"question": "q", "choices": {"text": ["x"], "label": ["A"]}, "answerKey": "A"},
    {"image_id": 9, "question": "q", "answers": [{"answer": "x"}, {"answer": "y"}]},
    {"question": "q", "context": "c", "answers": {"text": ["x"], "answer_start": [0]}},
    {"file_name": "a.png", "text": "A square."},
    {"text": "### Human: Hi### Assistant: Yo"},
    {"instruction": "a", "instances": [{"input": "b", "output": "c"}]},
    {"question": "q", "answers": ["x", "y"], "correctIndex": 1, "id": "1"},
    {"question": "q", "answers": [{"text": "x", "correct": True}, {"text": "y", "correct": False}]},
    {"question": "q", "answers": {"a": "x", "b": "y"}, "correctAnswer": "b"},
    {"tag": "t", "patterns": ["a", "b"], "responses": ["c", "d", "e"]},
    {"questions": ["a", "b"], "answer": "c", "id": "1"},
    {"input": ["a", "b"], "output": ["c", "d"]},
    {"title": "t", "paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": ["a"]}]}]},
    {"category": "c", "faqs": [{"question": "a", "answer": "b"}]},
    {"pregunta_faq": "a?", "respuesta": "b", "id": "1"},
    {"id": "1", "title": "Is it open?", "desc": "Yes, it is open."},
]
NAMES = st.sampled_from(
    sorted({name for form in FORMS for name in form} | {"rating", "audio", "split", "note", "a"})
)
TEXTS = st.sampled_from(
    [
        "",
        "x",
        "<image>",
        "<audio>x",
        "{{name}}",
        "[",
        "[1,",
        "{}",
        "[]",
        "[[]]",
        "0",
        "A",
        "\0",
        "é",
    ]
) | st.text(max_size=9)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "from", "content", "value", "text", "type", "weight", "label"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> list[dict[str, Any]]:
    """One form in which columns are left out, put in, or hold something else."""
    form = draw(st.sampled_from(FORMS))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        row = {name: value for name, value in form.items() if draw(st.integers(0, 9))}
        for name in draw(st.lists(NAMES, max_size=2)):
            row[name] = draw(VALUES)
        inner = [value for value in row.values() if isinstance(value, list) and value]
        if inner and draw(st.booleans()):
            place = json.loads(json.dumps(inner[0]))
            place[draw(st.integers(0, len(place) - 1))] = draw(VALUES)
            row = {name: place if value is inner[0] else value for name, value in row.items()}
        rows.append(row)
    return rows


def accounted(table: Table) -> None:
    """Each column that holds something is in use, named, or asked about; no row crashes."""
    layout = recognise_table(table)
    if layout is None:
        assert why_unknown(table.columns)
        return
    named = {*layout.columns, *unused_columns(table, layout)}
    for row in table.rows:
        told = {name for name, cell in row.cells.items() if cell.strip() not in ("", "[]", "{}")}
        assert told <= named
        try:
            talk = read_row(row, layout)
        except DataError as error:
            assert str(error).endswith((".", "]", "}", "…"))
            continue
        for turn in talk.exchanges:
            assert (turn.question or turn.plain) and turn.reply
            for text in (turn.question, turn.reply) if turn.learn else ():
                assert "<image>" not in text and "{{name}}" not in text


def nothing_left(rows: Sequence[Mapping[str, Any]], table: Table) -> None:
    """Each text of the rows stands in a column, or is named as not read."""
    if table.faults:
        return
    wanted = {n for row in rows for n, v in row.items() if isinstance(v, str) and v.strip()}
    spread = any(note.startswith("Several ways to ask") for note in table.notes)
    have = {name.removeprefix("outer ") for name in table.columns} | ({"text"} if spread else set())
    told = " ".join([*table.notes, *(cell for row in table.rows for cell in row.cells.values())])
    for name in wanted - have:  # a structure in a cell has it inside
        assert f"“{name}”" in told or json.dumps(name) in told


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def sheet(rows: Sequence[Mapping[str, Any]], separator: str) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    room = io.StringIO()
    writer = csv.writer(room, delimiter=separator)
    writer.writerow(names)
    writer.writerows([[text_of(row.get(name)) for name in names] for row in rows])
    return room.getvalue()


def text_of(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def columns_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Columns of text where a column has several kinds of values, as Arrow wants one."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, UnicodeEncodeError):
            columns[name] = pa.array(
                [text_of(v).encode("utf-8", "replace").decode() for v in values]
            )
    return pa.table(columns)


def yaml(rows: Sequence[Mapping[str, Any]]) -> str:
    """A list of objects; JSON inside is YAML too."""
    told = [[f"{json.dumps(n)}: {json.dumps(v)}" for n, v in row.items()] for row in rows]
    return "".join("- " + "\n  ".join(members) + "\n" for members in told if members)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[text_of(row.get(n)).replace("|", " ") for n in names] for row in rows]
    lines = [names, ["---"] * len(names), *([" ".join(c.split()) for c in row] for row in cells)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def parquet(rows: Sequence[Mapping[str, Any]]) -> bytes:
    room = io.BytesIO()
    pq.write_table(columns_of(rows), room)
    return room.getvalue()


def arrow(rows: Sequence[Mapping[str, Any]]) -> bytes:
    room, table = io.BytesIO(), columns_of(rows)
    with pa.ipc.new_file(room, table.schema) as writer:
        writer.write_table(table)
    return room.getvalue()


def workbook(rows: Sequence[Mapping[str, Any]]) -> bytes:
    book = openpyxl.Workbook()
    for row in csv.reader(io.StringIO(sheet(rows, ","))):
        book.active.append([ILLEGAL_CHARACTERS_RE.sub("", cell) for cell in row])
    room = io.BytesIO()
    book.save(room)
    return room.getvalue()


FORMATS: dict[str, Callable[[Sequence[Mapping[str, Any]]], bytes]] = {
    "json": lambda rows: json.dumps(rows).encode(),
    "json lines": lambda rows: lines(rows).encode(),
    "object by id": lambda rows: json.dumps({str(n): row for n, row in enumerate(rows)}).encode(),
    "list of a program": lambda rows: f"const rows = {json.dumps(rows)};".encode(),
    "list in an object": lambda rows: json.dumps({"shop": {"faq": rows}, "version": 1}).encode(),
    "lists in an object": lambda rows: json.dumps({"one": rows, "two": rows}).encode(),
    "bars": lambda rows: sheet(rows, "|").encode("utf-16", "replace"),
    "csv": lambda rows: sheet(rows, ",").encode("utf-8", "replace"),
    "tsv": lambda rows: sheet(rows, "\t").encode("utf-8", "replace"),
    "semicolons": lambda rows: sheet(rows, ";").encode("utf-8", "replace"),
    "yaml": lambda rows: yaml(rows).encode(),
    "markdown": lambda rows: markdown(rows).encode("utf-8", "replace"),
    "gzip": lambda rows: gzip.compress(lines(rows).encode()),
    "zip": lambda rows: packed({"data.jsonl": lines(rows), "a.png": png()}),
    "xlsx": workbook,
    "parquet": parquet,
    "arrow": arrow,
}


def carry_out(form: str, count: int) -> None:
    """Read `count` mutations in a format; what cannot be written in it is passed over."""

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutated())
    def read(rows: list[Mapping[str, Any]]) -> None:
        try:
            data = FORMATS[form](rows)
        except (pa.ArrowException, UnicodeEncodeError):
            return
        try:
            table = read_table(data)
        except DataError:
            return
        accounted(table)
        if form not in ("zip", "parquet", "arrow", "xlsx"):  # these may write a text otherwise
            nothing_left(rows, table)

    read()


@pytest.mark.parametrize("form", FORMATS)
def test_mutated_rows(form: str) -> None:
    carry_out(form, 25)


@pytest.mark.nightly
@pytest.mark.parametrize("form", FORMATS)
def test_two_thousand_mutated_rows(form: str) -> None:
    carry_out(form, 2_000)


SPOKEN = st.text("abcdefgh ?.,:$()[]{}#*'\n", min_size=1, max_size=30).filter(str.strip)
SPEAKERS = st.sampled_from(
    [("Q", "A"), ("User", "Bot"), ("(user)", "(system)"), ("[Customer]", "[Agent]")]
)


def told_by(text: str) -> str:
    """All that a table says and holds of a text, without spaces and marks of who speaks."""
    table = read_table(text.encode())
    accounted(table)
    cells = [*table.columns, *(cell for row in table.rows for cell in row.cells.values())]
    said = " ".join([*cells, *table.notes, *(fault.reason for fault in table.faults)])
    return re.sub(r"[^a-h]", "", re.sub(r"\\n", "", said))


def talks(count: int) -> None:
    """Read transcripts, none of whose words may be gone."""

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(SPEAKERS, st.lists(st.tuples(SPOKEN, SPOKEN), min_size=3, max_size=6))
    def read(who: tuple[str, str], turns: list[tuple[str, str]]) -> None:
        text = "\n".join(f"{who[0]}: x{asked}\n{who[1]}: y{said}\n" for asked, said in turns)
        try:
            told = told_by(text)
        except DataError:
            return
        for words in (word for turn in turns for word in turn):
            assert all(re.sub(r"[^a-h]", "", line) in told for line in words.split("\n"))

    read()


def answered(count: int) -> None:
    """Read objects that give each question its reply; both stay."""

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(SPOKEN, SPOKEN, min_size=2, max_size=5))
    def read(replies: dict[str, str]) -> None:
        try:
            told = told_by(json.dumps(replies))
        except DataError:
            return
        for text in (*replies, *replies.values()):
            assert re.sub(r"[^a-h]", "", text) in told

    read()


@pytest.mark.parametrize("kind", [talks, answered])
def test_mutated_talks_and_objects(kind: Callable[[int], None]) -> None:
    kind(25)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [talks, answered])
def test_two_thousand_mutated_talks_and_objects(kind: Callable[[int], None]) -> None:
    kind(2_000)


@settings(max_examples=100)
@given(st.sampled_from(FORMS), st.integers(0, 400), TEXTS)
def test_mutated_text_of_a_file(form: dict[str, Any], at: int, put: str) -> None:
    text = json.dumps([form, form], indent=1)
    at %= len(text)
    try:
        table = read_table((text[:at] + put + text[at + 1 :]).encode("utf-8", "replace"))
    except DataError:
        return
    accounted(table)


@settings(max_examples=100)
@given(st.lists(NAMES, min_size=2, max_size=5, unique=True), st.lists(TEXTS, max_size=10))
def test_mutated_sheets(names: list[str], cells: list[str]) -> None:
    lines = [",".join(names)]
    for start in range(0, len(cells), len(names)):
        quoted = (cell.replace('"', '""') for cell in cells[start : start + len(names)])
        lines.append(",".join(f'"{cell}"' for cell in quoted))
    try:
        table = read_table("\n".join(lines).encode("utf-8", "replace"))
    except DataError:
        return
    accounted(table)
