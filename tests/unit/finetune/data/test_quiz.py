"""A quiz: its answers are options, and another column or each of them says which is right."""

import json
from typing import Any

import pytest

from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row

LISTED = ["ant", "whale", "newt"]


def taught(**cells: Any) -> tuple[str, str]:
    """What the second of three rows asks and teaches."""
    rows = [{"question": f"{i}: which is largest?", **cells} for i in range(3)]
    table = read_table(json.dumps(rows).encode())
    layout = recognise_table(table)
    assert layout
    exchange = read_row(table.rows[1], layout).exchanges[0]
    return exchange.question, exchange.reply


@pytest.mark.parametrize(
    ("key", "value", "reply"),
    [
        ("correct", 1, "The answer is (B)."),
        ("correctIndex", 1, "The answer is (B)."),
        ("solution", 1, "The answer is (B)."),
        ("answer", 1, "The answer is (B)."),
        ("correctAnswer", "whale", "whale"),
        ("correct_answer", "B", "B"),
        ("Correct", "b", "B"),
    ],
)
def test_another_column_says_which_answer_is_right(key: str, value: Any, reply: str) -> None:
    question, said = taught(answers=LISTED, **{key: value})
    assert said == reply and question.endswith("Options:\n(A) ant\n(B) whale\n(C) newt")


def test_answers_by_letters_are_options_too() -> None:
    question, reply = taught(answers={"a": "ant", "b": "whale"}, correctAnswer="b")
    assert question.endswith("(a) ant\n(b) whale") and reply == "b"


@pytest.mark.parametrize("column", ["answers", "options"])
@pytest.mark.parametrize(("text", "says"), [("text", "correct"), ("answer", "isCorrect")])
def test_each_answer_says_of_itself_whether_it_is_right(column: str, text: str, says: str) -> None:
    listed = [{text: name, says: name != "ant"} for name in LISTED[:2]]
    question, reply = taught(**{column: listed})
    assert question.endswith("(A) ant\n(B) whale") and reply == "whale"
    both = [*listed, {text: "blue whale", says: True}]
    assert taught(**{column: both})[1] == "whale; blue whale"


@pytest.mark.parametrize(
    "cells",
    [
        {"answers": ["whale", "whale", "Whale"], "answer": "whale"},  # what ten people said
        {"answers": ["whale"], "correct": True},
        {"answers": {"text": ["whale"], "answer_start": [3]}, "label": 1},
    ],
)
def test_answers_of_several_people_are_no_options(cells: dict[str, Any]) -> None:
    question, reply = taught(**cells)
    assert "Options" not in question and reply == "whale"


def test_an_answer_that_nothing_marks_as_right_is_refused() -> None:
    good = [{"text": "ant", "correct": False}, {"text": "whale", "correct": True}]
    rows = [{"question": f"{i}?", "answers": good} for i in range(4)]
    rows[2] = {"question": "2?", "answers": [one | {"correct": False} for one in good]}
    table = read_table(json.dumps(rows).encode())
    assert "correct answer" in table.notes[-1]
    assert [row.cells["correct answer"] for row in table.rows] == ["whale", "whale", "", "whale"]


@pytest.mark.parametrize(
    ("row", "reply"),
    [
        ({"opciones": ["CSAT", "FCR"], "correctaIdx": 1}, "The answer is (B)."),
        ({"alternativas": ["CSAT", "FCR"], "respostaCorreta": "FCR"}, "FCR"),
        ({"选项": ["CSAT", "FCR"], "正确答案": "B"}, "B"),
        (
            {"opciones": [{"letra": "X", "texto": "CSAT"}, {"letra": "Y", "texto": "FCR"}],
             "respuestaCorrecta": "Y"},
            "Y",
        ),
        (
            {"opciones": [{"texto": "CSAT", "correcta": False},
                          {"texto": "FCR", "correcta": True}]},
            "FCR",
        ),
    ],
)  # fmt: skip
def test_a_quiz_in_another_language_shows_its_options(row: dict[str, Any], reply: str) -> None:
    rows = [{"pregunta": f"¿Qué es {n}?", **row} for n in range(3)]
    table = read_table(json.dumps(rows).encode())
    layout = recognise_table(table)
    assert layout and layout.options
    (exchange,) = read_row(table.rows[0], layout).exchanges
    first = "X" if reply == "Y" else "A"
    assert exchange.question.startswith(f"¿Qué es 0?\n\nOptions:\n({first}) CSAT\n(")
    assert exchange.reply == reply
