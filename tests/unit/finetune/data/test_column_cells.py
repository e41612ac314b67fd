"""What stands in a column may say something else than its name."""

import json
from typing import Any

import pytest

from demo.finetune.data.column_cells import cells_of, holds_objects, holds_words
from demo.finetune.data.columns import Layout, recognise_table, unused_columns
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table


def read(*rows: Any) -> tuple[Table, Layout]:
    table = read_table(json.dumps(rows).encode())
    layout = recognise_table(table)
    assert layout
    return table, layout


def first(table: Table, layout: Layout) -> str:
    turn = read_row(table.rows[0], layout).exchanges[0]
    return f"{turn.question} > {turn.reply}"


@pytest.mark.parametrize(
    ("column", "cell"),
    [("document", "law 1.pdf"), ("article", 31), ("file_name", "M1.pdf"), ("paragraph", "12")],
)
def test_where_a_question_comes_from_is_not_asked(column: str, cell: object) -> None:
    table, layout = read({"question": "Who?", "answer": "I.", column: cell})
    assert first(table, layout) == "Who? > I."
    assert unused_columns(table, layout) == (column,)


def test_a_number_to_work_on_and_a_missing_picture_stay_what_they_are() -> None:
    table, layout = read({"instruction": "Square it.", "input": "5", "output": "25"})
    assert first(table, layout) == "Square it.\n\n5 > 25"
    _, layout = read({"question": "Who?", "answer": "I.", "image": "a.png"})
    assert layout.barred == ("image",)


def test_texts_in_a_list_are_what_a_question_is_about() -> None:
    given = {"contexts": ["One.", "Two."], "labels": ["A", "B"]}
    table, layout = read({"question": "Who?", "context": given, "long_answer": "I."})
    assert first(table, layout) == "Who?\n\nOne.\n\nTwo. > I."
    assert read_row(table.rows[0], layout).repairs == ()
    table, layout = read({"question": "Who?", "context": [""], "answer": "I."})
    assert first(table, layout) == "Who? > I."


def test_options_that_are_objects_of_one_name() -> None:
    options = [{"A": "ant"}, {"B": "whale"}]
    table, layout = read({"question": "Which swims?", "options": options, "answer": "B"})
    assert first(table, layout) == "Which swims?\n\nOptions:\n(A) ant\n(B) whale > B"


@pytest.mark.parametrize(
    "head",
    ["問題文,タイプ,答え,a,b", "Küsimus,x,Õige vastus,Vastus A),Vastus B)", "Text,x,答え,a,b"],
)
def test_a_letter_of_options_is_listed_with_them(head: str) -> None:
    text = f"{head}\nWhich one swims?,y,b,ant,whale\nWhich one flies?,y,a,bat,cow\n"
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout
    assert first(table, layout) == "Which one swims?\n\nOptions:\n(A) ant\n(B) whale > B"


def test_marks_around_a_question_are_taken_off() -> None:
    table, layout = read({"Human": "Human: Name the sea. Assistant:", "Assistant": " The Baltic."})
    assert first(table, layout) == "Name the sea. > The Baltic."


def test_other_names_of_an_answer_and_its_points_are_no_reply() -> None:
    row = {"question": "Who?", "expected_answer": "I.", "answer_points": "1", "answer_aliases": "i"}
    table, layout = read(row)
    assert layout.reply == "expected_answer"


def test_two_columns_of_texts_without_names() -> None:
    text = "hi, how are you doing?\ti am fine, and you?\nyes, i am well.\tgood to hear that.\n"
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and first(table, layout) == "hi, how are you doing? > i am fine, and you?"
    assert "The columns have no names" in layout.remarks[0]
    labels = read_table(b"this is a film.\t1\nthat was a bad film.\t0\n")
    assert recognise_table(labels) is None


def test_a_column_of_quoted_conversations() -> None:
    text = (
        '0\n"### Human: Who, then?### Assistant: I, ""me""."\n"### Human: Why?### Assistant: So"\n'
    )
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and first(table, layout) == 'Who, then? > I, "me".'


def test_statistics_are_no_text() -> None:
    found = {"status": "PASS", "content": {"turns": 3}}
    assert recognise_table(read_table(json.dumps(found).encode())) is None


def test_a_name_of_a_file_that_is_no_picture_is_none() -> None:
    rows = "filename,description\n" + "".join(f"tool_{i}.ahk,Moves window {i}.\n" for i in range(9))
    assert recognise_table(read_table(rows.encode())) is None
    layout = recognise_table(read_table(rows.replace(".ahk", ".png").encode()))
    assert layout and (layout.name, layout.picture) == ("captions", "filename")


def test_words_are_no_codes_and_no_categories() -> None:
    def held(*cells: str) -> bool:
        table, _ = read(*({"question": "q", "answer": cell} for cell in cells))
        return holds_words(table, "answer")

    assert held("casa", "perro", "gato") and held("что", "где", "2 раза", "кто", "как", "там")
    assert not held("q1", "q2", "q3") and not held("yes", "no", "yes", "no") and not held("x", "y")


def test_cells_are_looked_at_all_over_a_table() -> None:
    rows = [{"question": f"Who is {n}?", "answer": str(n)} for n in range(120)]
    table = read_table(json.dumps(rows).encode())
    assert [*cells_of(table, "answer", 3)] == ["0", "40", "80"]
    assert len([*cells_of(table, "answer", 50)]) == 40
    assert len([*cells_of(table, "answer")]) == 120


@pytest.mark.parametrize(
    ("cell", "odd"),
    [
        ({"ans0": ["a man", "old"], "ans1": ["a woman"]}, True),
        ([{"model": "one", "completion": "Yes."}], True),
        ({"text": ["Paris"], "answer_start": [3]}, False),
        ([{"answer": "Paris", "quality": 2}], False),
        (["Paris", "Lyon"], False),
        ([{"role": "user", "content": "Hi"}], False),
        ("Paris", False),
    ],
)
def test_objects_in_which_no_text_stands_out_are_no_replies(cell: Any, odd: bool) -> None:
    rows = [{"question": f"Which is {n}?", "answer": cell} for n in range(3)]
    table = read_table(json.dumps(rows).encode())
    assert holds_objects(table, "answer") is odd
    assert (recognise_table(table) is None) is odd
    written = [{"instruction": "Write an event.", "output": cell} for _ in range(3)]
    assert recognise_table(read_table(json.dumps(written).encode())) is not None
