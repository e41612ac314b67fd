"""Several ways to ask one thing, as chatbots list them."""

import json
from typing import Any

import pytest

from demo.errors import DataError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import DataLimits


def pairs(value: Any) -> list[str]:
    table = read_table(json.dumps(value).encode())
    layout = recognise_table(table)
    assert layout
    talks = (read_row(row, layout).exchanges for row in table.rows)
    return [" | ".join(f"{turn.question} > {turn.reply}" for turn in talk) for talk in talks]


def test_each_pattern_is_a_row_and_replies_take_turns() -> None:
    intents = [
        {"tag": "hi", "patterns": ["Hi", "Hello", "Hey"], "responses": ["Yo", "Ahoy"]},
        {"tag": "bye", "patterns": ["Bye"], "responses": ["See you", "Farewell", "Ciao"]},
        {"tag": "noanswer", "patterns": [], "responses": ["What?"]},
    ]
    said = ["Hi > Yo", "Hello > Ahoy", "Hey > Yo", "Bye > See you"]
    assert pairs({"intents": intents}) == pairs(intents) == said
    table = read_table(json.dumps({"intents": intents}).encode())
    assert [row.number for row in table.rows] == [1, 1, 1, 2]
    assert [fault.reason for fault in table.faults] == [
        "Nothing says how people would ask for this."
    ]
    assert "3 rows became 4" in table.notes[0] and "2 replies are not used" in table.notes[0]
    assert table.columns == ("tag", "patterns", "responses")


@pytest.mark.parametrize(
    "row",
    [
        {"intent": "x", "text": ["a", "b"], "responses": ["c"]},
        {"questions": ["a", "b"], "answer": "c"},
        {"utterances": ["a", "b"], "answer": "c", "id": 3},
        {"preguntas": ["a", "b"], "respuesta": "c"},
    ],
)
def test_other_names_of_the_same(row: dict[str, Any]) -> None:
    assert pairs([row]) == ["a > c", "b > c"]


def test_as_many_replies_as_questions_are_a_conversation() -> None:
    assert pairs([{"input": ["a", "b"], "output": ["c", "d"]}]) == ["a > c | b > d"]
    assert pairs([{"questions": ["a", "b"], "answers": ["c", "d"]}]) == ["a > c | b > d"]


def test_lists_in_the_cells_of_a_sheet() -> None:
    sheet = "tag,patterns,responses\nhi,\"['Hi', 'Hey']\",\"['Yo']\"\n"
    table = read_table(sheet.encode())
    layout = recognise_table(table)
    assert layout
    assert [read_row(row, layout).exchanges for row in table.rows] == [
        (Exchange("Hi", "Yo"),),
        (Exchange("Hey", "Yo"),),
    ]


def test_more_questions_than_the_limit_are_refused() -> None:
    many = [{"patterns": ["a"] * 9, "responses": ["b"]}]
    with pytest.raises(DataError, match="more than 5 questions"):
        read_table(json.dumps(many).encode(), limits=DataLimits(rows=5))
