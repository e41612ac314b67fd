"""YAML as chatbots have it, and what of it is refused."""

import pytest

from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table
from tests.files import refusal

CORPUS = """categories:
- food
conversations:
- - Do you eat?
  - yes
- - What about: bread
  - 1.50 a loaf.
"""
RASA = """version: "3.1"
nlu:
- intent: greet
  examples: |
    - hey
    - hello [Ann](name)
- intent: ask_hours
  examples: |
    - when are you open?
- intent: mood
  examples: |
    - fine
rules:
- rule: hours
  steps:
  - intent: ask_hours
  - action: utter_hours
responses:
  utter_greet:
  - text: "Hey!"
  - text: "Hi {name}"
  utter_hours:
  - text: At nine.
"""


def taught(table: Table) -> list[str]:
    layout = recognise_table(table)
    assert layout
    talks = (read_row(row, layout).exchanges for row in table.rows)
    return [" | ".join(f"{turn.question} > {turn.reply}" for turn in talk) for talk in talks]


def test_a_corpus_of_chatterbot_keeps_every_word() -> None:
    table = read_table(CORPUS.encode())
    assert taught(table) == ["Do you eat? > yes", "What about: bread > 1.50 a loaf."]
    assert "“categories”" in "".join(table.notes)


def test_lists_of_questions_and_answers() -> None:
    text = (
        "faq:\n- question: Who?\n  answer: I.\n- question: Why?\n  answer: |\n    So\n    it is.\n"
    )
    assert taught(read_table(text.encode())) == ["Who? > I.", "Why? > So\nit is."]


def test_keys_in_quotation_marks() -> None:
    text = """- "question": "Are you open, on Sundays?"\n  'answer': Yes, from ten.\n"""
    (row,) = read_table(text.encode()).rows
    assert row.cells == {"question": "Are you open, on Sundays?", "answer": "Yes, from ten."}


def test_rasas_examples_are_asked_where_a_reply_is_known() -> None:
    table = read_table(RASA.encode())
    assert taught(table) == ["hey > Hey!", "hello Ann > Hey!", "when are you open? > At nine."]
    assert "“1 intents without examples, or without a reply”" in "".join(table.notes)


def test_intents_with_their_own_replies() -> None:
    text = "intents:\n- tag: hi\n  patterns:\n  - hey\n  - yo\n  responses:\n  - Hello!\n"
    assert taught(read_table(text.encode())) == ["hey > Hello!", "yo > Hello!"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (RASA.partition("rules:")[0], "has examples of what people say and no reply"),
        ("stories:\n- story: a\n  steps:\n  - intent: b\n  - action: c\n", "examples of stories"),
        ("a: &x\n- b\nc: *x\nd: *x\n", "alias, “*x”"),
        ("faq:\n- question: a\n  question: b\n  answer: c\n", "“question” twice"),
        ("a:\n- b: 'c\n- d: e\n- f: g\n", "cannot be read in line"),
        ("a:\n- " + "- " * 30 + "b\n", "nested too deeply"),
    ],
)
def test_what_is_refused_and_why(text: str, words: str) -> None:
    assert words in refusal(text.encode())


def test_no_tag_is_obeyed() -> None:
    text = 'faq:\n- question: Who?\n  answer: !!python/object/apply:os.system ["true"]\n'
    assert taught(read_table(text.encode())) == ["Who? > true"]
