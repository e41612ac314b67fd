"""Lists whose every line has a term and its meaning."""

import pytest

from demo.errors import DataError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.glossary import find_glossary
from demo.finetune.data.read import read_table

PAIRS = [("el perro", "the dog"), ("el gato", "the cat - or a tomcat"), ("la casa", "the house")]


@pytest.mark.parametrize("mark", [" -> ", " → ", " => ", " = ", " – ", " — ", " - ", ": ", "： "])
@pytest.mark.parametrize("before", ["", "- ", "{}. ", "• "])
def test_one_mark_parts_all_lines(mark: str, before: str) -> None:
    lines = [before.format(at) + mark.join(pair) for at, pair in enumerate(PAIRS, 1)]
    table = read_table("\n".join(lines).encode())
    layout = recognise_table(table)
    assert layout and (layout.question, layout.reply) == ("term", "meaning")
    assert [(row.cells["term"], row.cells["meaning"]) for row in table.rows] == PAIRS
    assert table.notes == (
        f"Each line is read as a term, “{mark.strip()}”, and its meaning: 3 rows.",
    )


@pytest.mark.parametrize(
    "text",
    [
        "a: one\nb: two",  # too few
        "a: one\nb: two\na: three",  # a term comes twice
        "a: one\nb: two\nand nothing more",
        "It rained. Note: we stayed.\nLater: more.\nWe slept: at last.",  # a sentence is no term
    ],
)
def test_other_lines_make_none(text: str) -> None:
    assert find_glossary(text) is None


def test_a_line_without_the_mark_is_left_out_and_a_term_may_come_twice() -> None:
    lines = [f"word {at} - meaning {at}" for at in range(18)]
    table = read_table("\n".join(["Unit 3", "", *lines, "word 0 - also this"]).encode())
    assert table.notes[1] == "1 lines without “-” are left out."
    assert [(row.number, row.cells["meaning"]) for row in table.rows][::18] == [
        (3, "meaning 0"),
        (21, "also this"),
    ]


def test_endless_lines_are_read_in_one_go() -> None:
    assert find_glossary("\n".join(["a" + " " * 200_000 + "b"] * 30)) is None
    assert find_glossary("Nobody asked. It rained on.\n" * 200_000) is None


def test_records_with_repeated_names_are_refused() -> None:
    with pytest.raises(DataError, match="only one column"):
        read_table(b"Name: Bob\nAge: 5\nName: Al\nAge: 6\nName: Cy\nAge: 7")
