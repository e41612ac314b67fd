"""Options below a question in plain text, and which of them is right."""

import time

import pytest

from demo.finetune.data.quiz_text import (
    QuizQuestion,
    numbered_in,
    options_in,
    options_in_cell,
    trivia_in,
    without_marks,
)
from demo.finetune.data.read import read_table

BOXES = "- [ ] Lyon\n- [x] Paris\n- [ ] Nice"
TRIVIA = """#Q What is the capital
of France?
^ Paris
A Lyon
B Paris

#Q The sea is salty.
^ True
A True
B False
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A. Lyon\nB. Paris\nAnswer: B", QuizQuestion("Q?", ["Lyon", "Paris"], "B")),
        ("- A: Lyon\n- B: Paris\n\n#### Risposta: B\n\nSo it is.",
         QuizQuestion("Q?", ["Lyon", "Paris"], "B", "So it is.")),
        ("```js\nf()\n```\n\na) Lyon\nb) Paris\n**Respuesta**: a",
         QuizQuestion("Q?\n\n```js\nf()\n```", ["Lyon", "Paris"], "A")),
        (BOXES, QuizQuestion("Q?", ["Lyon", "Paris", "Nice"], "Paris")),
        (f"Look:\n\n{BOXES}\n\nSo it is.",
         QuizQuestion("Q?\n\nLook:", ["Lyon", "Paris", "Nice"], "Paris", "So it is.")),
        ("- [x] Lyon\n- [x] Paris\n- [ ] Bonn",
         QuizQuestion("Q?", ["Lyon", "Paris", "Bonn"], "Lyon; Paris")),
        ("A) Lyon\nB) Paris\nRéponse : B", QuizQuestion("Q?", ["Lyon", "Paris"], "B")),
        ("- A: Lyon\n- B: Paris\n\n#### Respuesta correcta: B",
         QuizQuestion("Q?", ["Lyon", "Paris"], "B")),
        ("- A: Lyon\n- B: Paris\n\n#### Đáp án: B", QuizQuestion("Q?", ["Lyon", "Paris"], "B")),
        ("A) Lyon\nB) Paris\nReponse: B", QuizQuestion("Q?", ["Lyon", "Paris"], "B")),
        ("In Paris.", None),
        ("- [ ] Lyon\n- [ ] Paris", None),  # no right one
        ("- [x] done", None),
        ("A. Lyon\nB. Paris", None),
    ],
)  # fmt: skip
def test_options_are_found_with_the_right_one(text: str, expected: QuizQuestion | None) -> None:
    assert options_in("Q?", text) == expected


def test_a_file_of_trivia_is_read() -> None:
    questions = [
        QuizQuestion("What is the capital of France?", ["Lyon", "Paris"], "Paris"),
        QuizQuestion("The sea is salty.", ["True", "False"], "True"),
    ]
    assert trivia_in(TRIVIA) == (questions, 0)
    assert trivia_in(f"{TRIVIA}\n#Q Nobody knows?\nA Yes\n") == (questions, 2)
    assert trivia_in("#Q Alone?\n^ Yes\nA Yes\nB No\n") == ([], 0)
    assert trivia_in("Prose.\n\n" * 20 + TRIVIA) == ([], 0)
    table = read_table(TRIVIA.encode())
    assert [row.cells["answer"] for row in table.rows] == ["Paris", "True"]
    told = read_table(f"{TRIVIA}\n#Q Nobody knows?\nA Yes\n".encode()).notes
    assert any(note.startswith("2 lines before the first question") for note in told)


@pytest.mark.parametrize(
    "text",
    ["#Q a\n" * 50_000, "a) b\n" * 50_000, "- [x] a\n" * 50_000],
    ids=["questions", "letters", "boxes"],
)
def test_a_long_text_is_looked_through_once(text: str) -> None:
    begun = time.process_time()
    trivia_in(text)
    options_in("Q?", text)
    assert time.process_time() - begun < 20  # a look from every place to the end takes hours


@pytest.mark.parametrize("cell", ["ant, bee, cow", "ant|bee|cow", "ant; bee; cow", "ant\nbee\ncow"])
def test_options_in_a_cell_are_parted_where_the_answer_is_one_of_them(cell: str) -> None:
    assert options_in_cell(cell, " Bee") == ["ant", "bee", "cow"]
    assert options_in_cell(cell, "dog") is None


def test_options_with_letters_in_a_cell_may_hold_commas() -> None:
    for cell in ("A) red, white B) blue C) 1.5 m", "(a) red, white; (b) blue; (c) 1.5 m"):
        assert options_in_cell(cell, "B") == {"A": "red, white", "B": "blue", "C": "1.5 m"}
    assert options_in_cell("B) red A) blue", "A") is None
    assert options_in_cell("a shop. b", "x") is None


def test_numbered_statements_are_a_quiz_and_other_lists_are_not() -> None:
    quiz = "# Test\n\n1. Water boils at\n   a) 50\n   b) 100\n\n   Answer: b\n\n"
    quiz += "2) **The sun is a**\n   a) star\n   b) moon\n   Answer: a\n"
    found, aside = numbered_in(quiz)
    assert [(q.question, q.options, q.answer) for q in found] == [
        ("Water boils at", ["50", "100"], "B"),
        ("**The sun is a**", ["star", "moon"], "A"),
    ]
    assert aside == 1
    assert numbered_in(quiz + "3. And that was all.\n") == ([], 0)
    assert numbered_in("1. One\n2. Two\n") == numbered_in("Nothing.") == ([], 0)


def test_options_that_begin_with_their_letters_lose_them() -> None:
    assert without_marks(["(A) ant", "(B) bee"]) == ["ant", "bee"]
    assert without_marks(["A. ant", "b) bee", "C: cow"]) == ["ant", "bee", "cow"]
    for other in (["(B) ant", "(A) bee"], ["(A) ant", "bee"], ["A) ant"], ["a", "b"]):
        assert without_marks(other) == other
