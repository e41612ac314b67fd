"""Text that is pasted becomes rows of the editable table."""

import json

import pytest

from demo.errors import DataError
from demo.finetune.pasted import MOST_TYPED, pasted_pairs

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
        "question,answer\n" + "a,b\n" * (MOST_TYPED + 1),
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
