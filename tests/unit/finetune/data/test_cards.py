"""Cards as Anki exports them."""

import pytest

from demo.errors import DataError
from demo.finetune.data.cards import plain
from demo.finetune.data.columns import recognise_table, unused_columns
from demo.finetune.data.csv_reader import LONGEST_CELL
from demo.finetune.data.read import read_table


def cards(text: str) -> list[tuple[int, str, str]]:
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and layout.question and layout.reply
    return [(r.number, r.cells[layout.question], r.cells[layout.reply]) for r in table.rows]


def test_the_first_row_is_a_card() -> None:
    text = (
        "#separator:tab\n#html:false\n#tags column:3\nla casa\tthe house\tx\nel gato\tthe <cat>\t\n"
    )
    assert cards(text) == [(4, "la casa", "the house"), (5, "el gato", "the <cat>")]
    table = read_table(text.encode())
    assert table.notes == (
        "Cards as Anki exports them: each front is asked, and its back replies.",
    )
    layout = recognise_table(table)
    assert layout and unused_columns(table, layout) == ("tags",)


def test_columns_before_the_fields_are_named_as_the_lines_say() -> None:
    text = (
        "#separator:Semicolon\n#html:true\n#guid column:1\n#notetype column:2\n#deck column:3\n"
        'a1;Basic;Deck;"What <b>is</b>&nbsp;it?<br>Say";"A <i>cell</i> [sound:a.mp3]\nindeed"\n'
    )
    assert cards(text) == [(6, "What is it?\nSay", "A cell \nindeed")]


def test_columns_may_be_named() -> None:
    text = "#separator:Comma\n#columns:tags,back,front\nx,the house,la casa\n"
    assert cards(text) == [(3, "la casa", "the house")]


def test_comparisons_are_no_tags() -> None:
    assert plain("if a < b and b > c") == "if a < b and b > c"
    assert plain("<div>one</div><div>two &lt; 3</div>") == "one\ntwo < 3"


def test_no_card_and_no_cell_is_lost_without_a_word() -> None:
    table = read_table(b'#separator:tab\na\tb\nc\td\te\nf\t"g\nh\ti\n')
    assert [row.number for row in table.rows] == [2]
    assert "It has 3 cells, and there are 2 columns" in table.faults[0].reason
    assert "A double quote is opened and never closed" in table.faults[1].reason


def test_a_cell_without_end_is_a_fault() -> None:
    table = read_table(b'#separator:tab\na\tb\nc\t"' + b"d\n" * (LONGEST_CELL // 2 + 1))
    assert "a double quote is never closed" in table.faults[0].reason


def test_an_export_without_cards_is_refused() -> None:
    with pytest.raises(DataError):
        read_table(b"#separator:tab\n#html:true\n")
