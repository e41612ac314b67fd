"""JSON whose rows lie deeper than its first list."""

import json
from typing import Any

import pytest

from demo.finetune.data.columns import recognise_table, unused_columns
from demo.finetune.data.nested import grouped_pairs, unfolded
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table
from tests.files import refusal

PAIR = {"question": "a", "answer": "b"}
MORE = {"question": "c", "answer": "d"}


def read(value: Any) -> Table:
    return read_table(json.dumps(value).encode())


def taught(table: Table) -> list[str]:
    layout = recognise_table(table)
    assert layout
    talks = (read_row(row, layout).exchanges for row in table.rows)
    return [" | ".join(f"{turn.question} > {turn.reply}" for turn in talk) for talk in talks]


def test_squad() -> None:
    asked = {"id": "7", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}
    article = {"title": "Ada", "id": "1", "paragraphs": [{"context": "Ada wrote.", "qas": [asked]}]}
    table = read({"version": "1.1", "data": [article, article]})
    assert taught(table) == ["Who?\n\nAda wrote. > Ada"] * 2
    layout = recognise_table(table)
    assert layout and set(unused_columns(table, layout)) == {"title", "id", "outer id"}


@pytest.mark.parametrize(
    "value",
    [
        {"open": [PAIR], "pay": [MORE]},
        {"faq": {"open": [PAIR], "pay": [MORE]}, "version": 1},
        {"categories": [{"name": "open", "items": [PAIR]}, {"name": "pay", "items": [MORE]}]},
        [{"category": "open", "faqs": [PAIR, MORE]}],
        {"shop": {"faq": [PAIR, MORE]}},
        {"faq": [PAIR, MORE], "links": [{"url": "x"}]},
    ],
)
def test_questions_below_headings(value: Any) -> None:
    assert taught(read(value)) == ["a > b", "c > d"]


def test_the_name_of_a_list_is_kept_as_its_group() -> None:
    table = read({"open": [PAIR], "pay": [MORE]})
    assert [row.cells["group"] for row in table.rows] == ["open", "pay"]
    assert read({"faq": [PAIR], "links": [{"url": "x"}]}).notes == (
        "Not read, because it stands beside the rows: “links”.",
    )


def test_lists_that_mean_different_things_are_asked_about() -> None:
    other = {"prompt": "x", "completion": "y"}
    assert "holds 2 lists" in refusal(json.dumps({"one": [PAIR], "two": [other]}).encode())


def test_talks_as_lists_of_texts() -> None:
    talks = [["Hi", "Ahoy"], ["Who?", "I", "Why?", "So"]]
    for value in (talks, {"conversations": talks}):
        assert taught(read(value)) == ["Hi > Ahoy", "Who? > I | Why? > So"]


def test_a_row_with_a_list_of_objects_stays_one() -> None:
    row = {**PAIR, "sources": [{"title": "t", "text": "x"}]}
    assert taught(read([row])) == ["a > b"]
    assert "sources" in read([row]).columns


@pytest.mark.parametrize(
    "start", ["faq_data = ", "const faq = ", "export default ", "export const a: Faq[] = "]
)
def test_lists_of_programs(start: str) -> None:
    table = read_table(f"{start}{json.dumps([PAIR, MORE])};\n".encode())
    assert taught(table) == ["a > b", "c > d"]


def test_objects_that_give_each_question_its_reply() -> None:
    table = read({"Who are you?": "Ada.", "What do you do?": "I count."})
    assert taught(table) == ["Who are you? > Ada.", "What do you do? > I count."]
    table = read({"a.jpg": ["A cat.", "A tom."], "b.jpg": ["A dog."]})
    assert [dict(row.cells) for row in table.rows][1] == {"image": "b.jpg", "caption": '["A dog."]'}
    columns = read({"user question": ["a", "c"], "bot answer": ["b", "d"]})
    assert columns.columns == ("user question", "bot answer")
    assert read({"name": "x", "version": "1"}).columns == ("name", "version")


def test_a_question_with_its_choices_inside() -> None:
    choices = [{"label": "A", "text": "ant"}, {"label": "B", "text": "whale"}]
    row = {"answerKey": "B", "id": "1", "question": {"stem": "Which swims?", "choices": choices}}
    assert taught(read([row])) == ["Which swims?\n\nOptions:\n(A) ant\n(B) whale > B"]


def test_turns_of_senders() -> None:
    turns = [{"id": 0, "sender": "user", "text": "Hi"}, {"id": 1, "sender": "bot", "message": "Yo"}]
    assert taught(read([{"dialog_id": 1, "dialog": turns}])) == ["Hi > Yo"]


def test_questions_by_language() -> None:
    row = {"id": "1", "q": {"en": "Open?", "de": "Offen?"}, "a": {"en": "Yes.", "de": "Ja."}}
    table = read([row])
    assert taught(table) == ["Open? > Yes.", "Offen? > Ja."]
    assert [row.cells["language"] for row in table.rows] == ["en", "de"]


def test_a_translation_has_a_column_for_each_language() -> None:
    pair = {"translation": {"en": "the cat", "de": "die Katze"}, "id": 3}
    assert unfolded(pair) == [{"id": 3, "en": "the cat", "de": "die Katze"}]


def test_questions_by_language_or_subject_are_rows() -> None:
    members = {
        "en": '{"When do you open?": "At nine.", "Where are you?": "By the station."}',
        "de": '{"Wann öffnen Sie?": "Um neun.", "Wo sind Sie?": "Am Bahnhof."}',
    }
    rows = grouped_pairs(members)
    assert rows[0] == {"question": "When do you open?", "answer": "At nine.", "language": "en"}
    assert [row["language"] for row in rows] == ["en", "en", "de", "de"]
    assert {row["category"] for row in grouped_pairs({"hours": members["en"]})} == {"hours"}
    for other in ({"en": "[]"}, {"a": '{"question": "Who?"}'}, {"a": "{"}, {}):
        assert grouped_pairs(other) == []
