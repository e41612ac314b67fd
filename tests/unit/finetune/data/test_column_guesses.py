"""One half is named, or marked, and a single other column can be the other half."""

import json

import pytest

from demo.finetune.data.column_guesses import by_question_marks, half_named
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.table import Table

FAULTS = ("The printer prints nothing.", "Nobody can log in.", "The screen is dark today.")
MENDED = ("Fill in some paper.", "Start the server again.", "Fill in some paper.")
TERMS, MEANINGS = ("Osmosis", "Mitosis", "Enzyme"), ("Water passes.", "Cells divide.", "It helps.")


def table(**columns: tuple[object, ...]) -> Table:
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return read_table(json.dumps(rows).encode())


@pytest.mark.parametrize(
    ("columns", "pair"),
    [
        ({"issue_description": FAULTS, "resolution": MENDED}, ("issue_description", "resolution")),
        ({"id": (1, 2, 3), "term": TERMS, "description": MEANINGS}, ("term", "description")),
        ({"source": TERMS, "target": MEANINGS}, ("source", "target")),
        ({"riddle": FAULTS, "answer": TERMS}, ("riddle", "answer")),
        ({"question": FAULTS, "priority": (1, 2, 1), "note": MEANINGS}, ("question", "note")),
    ],
)
def test_the_other_half_is_the_only_column_of_texts(
    columns: dict[str, tuple[object, ...]], pair: tuple[str, str]
) -> None:
    found = table(**columns)
    assert half_named(found, found.filled_columns) == pair
    layout = recognise_table(found)
    assert layout and (layout.question, layout.reply) == pair
    assert layout.remarks == (
        f"One of two columns is named so, and no other holds texts: “{pair[0]}” is asked, and "
        f"“{pair[1]}” replies.",
    )


@pytest.mark.parametrize(
    "columns",
    [
        {"description": FAULTS, "notes": MEANINGS, "resolution": MENDED},  # either may be asked
        {"question": FAULTS, "source": MEANINGS},  # where it is from
        {"question": FAULTS, "context": MEANINGS},  # what it is about
        {"review": FAULTS, "label": ("good", "bad", "good")},  # a kind of text
        {"prompt": FAULTS, "text": MEANINGS, "rating": (1, 5, 2)},  # an opinion
        {"question_id": (1, 2, 3), "question": FAULTS, "text": MEANINGS},  # nobody answers
        {"answer": (1, 2, 3), "riddle": FAULTS},  # numbers of what is not there
    ],
)
def test_what_could_be_something_else_is_left_to_a_person(
    columns: dict[str, tuple[object, ...]],
) -> None:
    found = table(**columns)
    assert half_named(found, found.filled_columns) is None
    assert recognise_table(found) is None


def test_the_body_below_a_title_that_asks_answers_it() -> None:
    asked = ("Where are you today?", "How do I pay here?")
    found = table(title=asked, body=("In a street in Lyon.", "With a card or in cash."))
    assert by_question_marks(found, found.filled_columns) == ("title", "body")
    about = table(title=asked, context=("In a street in Lyon.", "With a card or in cash."))
    assert by_question_marks(about, about.filled_columns) is None


@pytest.mark.parametrize("name", ["category", "channel", "Scenario", "topic"])
def test_what_sorts_rows_replies_to_nothing(name: str) -> None:
    rows = [
        {"text": f"What is the matter with number {n}?", name: f"#shop-of-the-town-{n}"}
        for n in range(9)
    ]
    assert recognise_table(read_table(json.dumps(rows).encode())) is None
    asked = [{"message": row["text"], name: row[name]} for row in rows]
    assert recognise_table(read_table(json.dumps(asked).encode())) is None


def test_options_in_a_cell_are_no_reply() -> None:
    rows = b"Text,Options,Topic\n" + b"".join(
        b'"What is number %d?","one thing;another thing %d;a third",things\n' % (n, n)
        for n in range(9)
    )
    assert recognise_table(read_table(rows)) is None


def test_options_without_names_are_no_answer() -> None:
    text = "What is 2 + 2?|3,4,5 or 6|1|Sums\nWhere is Rome?|Spain,Italy,France|1|Places\n"
    assert recognise_table(read_table(text.encode())) is None
    text = "Where is Rome?|Rome is in Italy.|Places\nWhere is Oslo?|Oslo is in Norway.|Places\n"
    layout = recognise_table(read_table(text.encode()))
    assert layout and layout.reply == "column 2"
