"""What a check says of a file and its rows, read from real files, is said in Chinese as well."""

import json

import pytest

from demo.errors import DataError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table
from demo.ui.chinese import CHINESE
from tests.unit.ui.test_sentences import english_in

QUIZ = [
    {
        "question": f"{i}?",
        "answers": [{"text": "ant", "correct": False}, {"text": "b", "correct": True}],
    }
    for i in range(3)
]
CALL = "<start_function_call>call:f{}<end_function_call>"
FILES = {
    "dollars": "image$caption\na.png$A small dog.\nb.png$A large dog.\n",
    "brackets": "(user): hi there\n(system): yes, I am\n\n" * 4,
    "quiz": json.dumps(QUIZ),
    "calls": json.dumps([{"question": "Weather?", "answer": CALL}]),
    "several": json.dumps([{"question": "Who?", "answer": ["I", "you", "I"]}]),
    "gap": json.dumps([{"question": "Who is {{name}}?", "answer": "I"}]),
    "marks": "prompt,completion\na, b<|endoftext|>\nHuman: Who? Assistant:,d</s>\ne,f<br>g\n",
    "comments": "// made by hand\nquestion,answer\nWho?,I\n// more, later, on\n",
    "numbered": json.dumps([{"question": "Which?", "options": ["ant", "bee"], "answer": 1}] * 2),
    "no names": "Where is the station?\tBehind the church.\nWhen does it open?\tAt nine o'clock.\n",
    "texts": json.dumps([{"text": "A long story, told well. And on it goes."}] * 2),
    "spaced": json.dumps([{"question": " Who?\r\n ", "answer": "I\u200b am"}]),
    "open": 'question,answer\nWhy?,So\nWho?,"I am\nnobody\n',
    "wide": "question,answer\nWhy?,So\nWho?,I,you,they\n",
}


def said_of(table: Table) -> list[str]:
    """All that a check says of a table: remarks on it, faults, repairs and refusals of rows."""
    layout = recognise_table(table)
    assert layout
    said = [*table.notes, *layout.remarks, *(fault.reason for fault in table.faults)]
    for row in table.rows:
        try:
            said += read_row(row, layout).repairs
        except DataError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("name", FILES)
def test_what_is_said_of_a_file_is_translated(name: str) -> None:
    said = said_of(read_table(FILES[name].encode()))
    assert said, "the file says nothing"
    assert {text: words for text in said if (words := english_in(CHINESE.said(text)))} == {}
