"""Data sets from strangers: what is read, and in which words the rest is refused."""

import gzip
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from demo.errors import DataError, DemoError
from demo.finetune.data.csv_reader import read_csv
from demo.finetune.data.json_reader import read_json
from demo.finetune.data.read import MAX_PASTED, pasted_pairs, read_table
from demo.finetune.data.table import (
    LIMITS,
    MAX_CELL,
    NO_LIMITS,
    DataLimits,
    Table,
    TableBuilder,
    excerpt,
)
from tests.files import packed, png, refusal

CSV = "question,answer\nWho?,me\nWhere?,here\n"
ROWS = [{"question": "Who?", "answer": "me"}, {"question": "Where?", "answer": "here"}]


def cells(table: Table) -> list[dict[str, str]]:
    return [dict(row.cells) for row in table.rows]


def numbers(table: Table) -> list[int]:
    return [row.number for row in table.rows]


@pytest.mark.parametrize(
    "data",
    [
        CSV.encode(),
        CSV.encode("utf-8-sig"),
        CSV.replace("\n", "\r\n").encode(),
        CSV.replace("\n", "\r").encode(),
        CSV.replace("\n", "\n\n").encode() + b"\r\n \n,\n",
        CSV.replace(",", ";").encode(),
        CSV.replace(",", "\t").encode(),
        ("sep=;\r\n" + CSV.replace(",", ";")).encode(),
        CSV.replace("\n", ",\n").encode(),
        CSV.encode("utf-16"),
        CSV.encode("utf-16-le"),
        CSV.encode("utf-16-be"),
        CSV.encode("utf-32"),
        json.dumps(ROWS).encode(),
        json.dumps(ROWS, indent=2).encode("utf-8-sig"),
        "\n".join(map(json.dumps, ROWS)).encode(),
        "\r\n\r\n".join(map(json.dumps, ROWS)).encode() + b"\n\n",
        json.dumps({"version": 1, "data": ROWS}).encode(),
        json.dumps({"question": ["Who?", "Where?"], "answer": ["me", "here"]}).encode(),
        (json.dumps(ROWS)[:-1] + ",]").encode(),
        packed({"set/data.csv": CSV, "set/cat.png": png()}),
        packed({"rows.json": json.dumps(ROWS), "README.md": "hello", "LICENSE": "free"}),
    ],
)
def test_two_rows_however_they_are_written(data):
    assert cells(read_table(data)) == ROWS


def test_rows_are_numbered_as_a_person_sees_them():
    assert numbers(read_table(CSV.encode())) == [2, 3]
    assert numbers(read_table(b"question,answer\n\n\nq,a\n\nr,b\n")) == [4, 6]
    table = read_table(b'question,answer\n"two\nlines",a\nr,b\n')  # a sheet's row, not a line
    assert (numbers(table), table.counted) == ([2, 3], "row")
    table = read_table(b'\n{"q": "a"}\n\n{"q": "b"}\n')
    assert (numbers(table), table.counted) == ([2, 4], "line")
    table = read_table(json.dumps(ROWS).encode())
    assert (numbers(table), table.counted) == ([1, 2], "item")


def test_quotes_hold_separators_line_ends_and_quotes():
    table = read_table(b'question,answer\n"a, b\nc","He said ""ahoy"""\n')
    assert cells(table) == [{"question": "a, b\nc", "answer": 'He said "ahoy"'}]


def test_a_semicolon_in_a_text_does_not_separate():
    table = read_table(b"frage;antwort\nA, b; c\n")
    assert table.columns == ("frage", "antwort")
    table = read_table(b'question,answer\n"a; b","c; d"\n"e; f",g\n')
    assert table.columns == ("question", "answer")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_old_encodings_are_guessed_and_said(encoding):
    table = read_table("question,answer\nCafé für Ångström?,ja\n".encode(encoding))
    assert table.rows[0].cells["question"] == "Café für Ångström?"
    assert "Windows-1252" in table.notes[0]
    assert read_table("question,answer\n…“x”\x8f,y\n".encode("cp1252", "replace")).rows


def test_no_names_in_the_first_row():
    table = read_table(b"Who are you?,I am Robo.\nWhere are you?,Here.\n")
    assert (table.columns, len(table.rows)) == (("column 1", "column 2"), 2)
    assert "taken as an example" in table.notes[-1]
    assert read_table(b",question,answer\n0,q,a\n").columns == ("column 1", "question", "answer")


def test_faulty_rows_cost_one_row():
    table = read_table(b'question,answer\na,b\nc,d,e\n"f" g,h\ni\nj,k\n')
    assert numbers(table) == [2, 5, 6]
    assert [fault.number for fault in table.faults] == [3, 4]
    assert "3 cells, and there are 2 columns" in table.faults[0].reason
    assert "A quote inside a cell is written twice" in table.faults[1].reason

    lines = b'{"q": "a"}\n{"q": "b"\nnonsense\n[1]\n{"q": 1, "q": 2}\n{"q": "c"}\n'
    table = read_table(lines)
    assert numbers(table) == [1, 6]
    reasons = [fault.reason for fault in table.faults]
    assert [fault.number for fault in table.faults] == [2, 3, 4, 5]
    assert "no valid JSON near" in reasons[0] and "no valid JSON near" in reasons[1]
    assert "no object with names" in reasons[2] and "same name twice" in reasons[3]


def test_a_quote_that_never_closes_is_told():
    table = read_table(b'question,answer\na,b\nc,"d\ne,f\n')
    assert numbers(table) == [2]
    assert "opened and never closed. It runs over 2 lines" in table.faults[0].reason


def test_values_that_are_no_text():
    row = read_table(
        b'[{"a": 1.50, "b": true, "c": null, "d": NaN, "e": {"n": 3}, "f": 1e999, "g": -7}]'
    ).rows[0]
    assert dict(row.cells) == {
        "a": "1.50",
        "b": "true",
        "c": "",
        "d": "",
        "e": '{"n": 3}',
        "f": "1e999",
        "g": "-7",
    }
    assert row.repairs[0] == "“a”: a number, read as text"
    assert "“e”: a structure, taught as its JSON text" in row.repairs
    digits = "7" * 5000  # more than Python turns into a number
    assert cells(read_table(f'[{{"a": {digits}, "b": [{digits}]}}]'.encode()))[0]["a"] == digits


def test_lists_called_train_and_test_become_a_column():
    table = read_table(json.dumps({"train": ROWS, "test": [{"question": "q"}]}).encode())
    assert [row.cells["split"] for row in table.rows] == ["train", "train", "test"]
    assert numbers(table) == [1, 2, 3]


def test_one_conversation_is_one_row():
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert json.loads(cells(read_table(json.dumps({"messages": talk}).encode()))[0]["messages"])
    assert read_table(json.dumps([talk, talk]).encode()).columns == ("messages",)
    lines = f"{json.dumps(talk)}\n{json.dumps(talk)}\n"
    assert numbers(read_table(lines.encode())) == [1, 2]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "This file is empty. Please use JSON"),
        (b"\xef\xbb\xbf \r\n", "This file is empty"),
        (b"\n <!DOCTYPE html><html>", "a web page .HTML., not a table"),
        (b"<?xml version='1.0'?><a/>", "XML, which we do not read"),
        (b"%PDF-1.7 ...", "a PDF document. Please use"),
        (b"\x1f\x8b\x08\0", "gzip file is cut off or damaged"),
        (b"PAR1....", "file of columns .* is cut off or damaged"),
        (png(), "a picture. Please put it in a zip"),
        (bytes(range(256)) * 20, "no text"),
        (b"a,b\n\0\0\0,c\n", "no text"),
        (b"\xff\xfea\0b", "damaged further on"),
        (b"only one column\nand rows\n", "only one column. Expected is a first row with names"),
        (b"question,answer\n", "no rows"),
        (b"[]", "no rows"),
        (b"question,Question\na,b\n", "Two columns have the same name, “Question”"),
        (b'"question\n', "has only one column|cannot be read"),
        (b'"a"b,c\nd,e\n', "The first row of the file cannot be read"),
        (b",".join(b"c%d" % i for i in range(65)) + b"\n1,2\n", "more than 64 columns"),
        (b'{"a": 1', "cut off: its JSON list or object never ends"),
        (b'[{"a": "b}]', "opens a double quote that never closes"),
        (b'[{"a": "b"}] [{"a": "c"}]', "Line 1 goes on after the end"),
        (b'{"a" "b"}', "begins like a JSON object and goes on like none"),
        (b"[1, 2]", "No row .* can be read. The first fault is in item 1: It is no object"),
        (b'{"x": [{"a": 1}], "y": [{"a": 1}]}', "holds 2 lists: x, y"),
        (b'{"q": ["a"], "r": ["b", "c"]}', "q, r are not equally long"),
        (b"[" * 100_000, "nested more than 20 levels"),
        (b'[{"a": ' + b"[" * 30 + b"]" * 30 + b"}]", "nested more than 20 levels"),
        (b'{"a": ' * 100_000, "nested more than 20 levels"),
        (b'"' + b'\\"' * 100_000, "only one column|too long|cannot be read"),
        (b'["' + b'\\"' * 100_000, "never closes"),
        (b'[{"a": "\\ud800"}]', "characters that are no text"),
        (b'[{"a": "\\u0000"}]', "characters that are no text"),
        (b'[{"a": "' + b"x" * (MAX_CELL + 1) + b'"}]', "8,193 characters, and a cell may have"),
        (b"a,b\n" + b"x" * 200_000 + b",y\n", "a cell may have at most|much too long"),
        (b"a,b\n" + b"," * 300_000, "Line 2 has more than 262,144 characters"),
        (b"a,b\n" + b"\n" * 1_000_001, "more than 1,000,000 lines, most of them empty"),
        (b"[" + b"[]," * 70_000 + b"[]]", "more than 60,000 rows"),
        (b"[[" + b"[]," * 200_000 + b"[]]]", "more than 262,144 characters"),
    ],
)
@pytest.mark.matrix("B11")
def test_what_is_no_table_is_told_so(data, words):
    assert re.search(words, refusal(data))


@pytest.mark.matrix("B11")
def test_too_many_rows():
    assert "more than 60,000 rows" in refusal(b"a,b\n" + b"1,2\n" * (LIMITS.rows + 1))
    assert "more than 60,000 rows" in refusal(b'{"a":1}\n' * (LIMITS.rows + 1))


@pytest.mark.matrix("B11")
def test_too_many_bytes(tmp_path: Path):
    few = DataLimits(table=10_000, archive=20_000)
    table, zipped = b"a,b\n" + b"1,2\n" * 5_000, packed({"data.csv": CSV * 5_000})
    for data in (table, zipped, gzip.compress(table)):
        with pytest.raises(DataError, match="The table is larger than 0 MB"):
            read_table(data, limits=few)
    with pytest.raises(DataError, match="The file is larger than 0 MB"):
        read_table(b"PK\x03\x04" + bytes(20_000), limits=few)
    assert len(read_table(b"a,b\n" + b"1,2\n" * 70_000, limits=NO_LIMITS).rows) == 70_000
    path = tmp_path / "data.csv"
    path.write_text(CSV)
    assert cells(read_table(path)) == ROWS
    with pytest.raises(DataError, match="cannot be read. Please choose it again"):
        read_table(tmp_path / "gone.csv")


def test_rows_that_are_added_one_by_one():
    table = TableBuilder("typed", columns=["question", "answer"])
    table.add(1, {"question": "a", "answer": "b"})
    table.add(3, {"question": "c", "answer": 3})
    made = table.build()
    assert cells(made) == [{"question": "a", "answer": "b"}, {"question": "c", "answer": "3"}]
    assert numbers(made) == [1, 3] and made.columns == ("question", "answer")
    with pytest.raises(DataError, match="no rows"):
        TableBuilder("typed", columns=["question", "answer"]).build()


def test_an_excerpt_is_one_short_line():
    assert excerpt("a\nb\x1b[31m") == "a b [31m"
    assert len(excerpt("x" * 10_000)) == 61


ODD = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text('{}[]",:;\\\n\t aé0\0', max_size=80).map(str.encode),
    st.text('",;\n\ra', max_size=80).map(lambda text: f"question,answer\n{text}".encode()),
    st.binary(max_size=80).map(lambda tail: packed({"data.csv": CSV})[:-20] + tail),
    st.binary(max_size=80).map(lambda content: packed({"data.csv": content})),
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(ODD)
@example(b"{]")
@pytest.mark.matrix("B11")
def test_nothing_else_than_a_refusal_is_ever_raised(data):
    try:
        table = read_table(data)
    except DemoError as error:
        assert str(error)
    else:
        assert table.rows and all(type(v) is str for row in table.rows for v in row.cells.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, min_size=1, max_size=4),
        max_size=4,
    )
)
def test_any_json_list_of_objects_keeps_its_rows(values):
    """Cut at commas by hand, yet the rows are those of the whole parsed at once."""
    try:
        table = read_json(json.dumps(values, indent=1), "x")
    except DataError:
        return
    assert len(table.rows) + len(table.faults) == len(values)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), min_size=1, max_size=5))
def test_any_table_that_is_written_is_read(rows):
    import csv

    room = io.StringIO()
    writer = csv.writer(room)
    writer.writerow(["question", "answer"])
    writer.writerows(rows)
    try:
        table = read_csv(room.getvalue(), "x")
    except DataError:
        return
    found = {(row.cells["question"], row.cells["answer"]) for row in table.rows}
    assert found <= set(rows)


PAIRS = [["What is up?", "The sky."], ["And down", "The floor, mostly"]]


@pytest.mark.parametrize(
    "text",
    [
        "What is up?\tThe sky.\nAnd down\tThe floor, mostly\n",
        "What is up?\tThe sky.\r\nAnd down\tThe floor, mostly",
        "question\tanswer\nWhat is up?\tThe sky.\nAnd down\tThe floor, mostly\n",
        'What is up?,The sky.\nAnd down,"The floor, mostly"\n',
        'output;instruction\nThe sky.;What is up?\n"The floor, mostly";And down\n',
        json.dumps([{"prompt": q, "response": a} for q, a in PAIRS]),
        "\n".join(json.dumps({"answer": a, "question": q}) for q, a in PAIRS),
    ],
)
def test_questions_and_replies_are_found(text: str) -> None:
    assert pasted_pairs(text) == PAIRS


@pytest.mark.parametrize(
    "text",
    [
        "What is up? - The sky.\nWhat is down, mostly? - The floor.",
        "## What is up?\nThe sky.\n\n## What is down, mostly?\nThe floor.\n",
        "What is up?\nThe sky.\nWhat is down, mostly?\nThe floor.",
    ],
)
def test_pasted_text_is_read_as_a_file_is(text: str) -> None:
    pairs = [["What is up?", "The sky."], ["What is down, mostly?", "The floor."]]
    assert pasted_pairs(text) == pairs


def test_pasted_words_and_talks_are_read_as_a_file_is() -> None:
    words = [["casa", "house, home"], ["gato", "cat, or tomcat"], ["perro", "dog"]]
    assert pasted_pairs("\n".join(" -> ".join(pair) for pair in words)) == words
    assert pasted_pairs("Q: When, and who?\nA: At eight, I.\nQ: Why?\nA: So.") is None  # a chat


def test_short_first_rows_are_no_names() -> None:
    assert pasted_pairs("hi\thi\nbye\tbye\n") == [["hi", "hi"], ["bye", "bye"]]
    assert pasted_pairs('one\t"two\nlines"\n') == [["one", "two\nlines"]]
    assert pasted_pairs("sun\t\nmoon\tnoom\n") == [["sun", ""], ["moon", "noom"]]


@pytest.mark.parametrize(
    "text",
    [
        "instruction,input,output\na,b,c\n",
        "one,two,three\na,b,c\n",
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        "image,question,answer\na.png,b,c\n",
        '{"question": "a", "answer": "b"}\n{"question": \n',
        "question,answer\n" + "a,b\n" * (MAX_PASTED + 1),
    ],
)
def test_what_holds_more_is_a_files_kind(text: str) -> None:
    assert pasted_pairs(text) is None


@pytest.mark.parametrize(
    "text", ["", "  \n", "only one column\nof text\n", '"never closed\tb\n', "[1"]
)
def test_what_is_no_table_is_refused_in_words(text: str) -> None:
    with pytest.raises(DataError):
        pasted_pairs(text)
