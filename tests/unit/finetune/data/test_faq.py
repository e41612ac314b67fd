"""Help pages as people write them: questions on lines of their own, with what answers each."""

import pytest

from demo.finetune.data.columns import recognise_table
from demo.finetune.data.faq import find_faq
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row

MARKDOWN = """# Help

Our shop, in short.

## How do I pay?

With a card.
Cash is fine too.

### 2. Where are you?

In Lyon.

## Contact
Write to us.
"""
PLAIN = "Where are you?\nIn Lyon.\n\nHow do I pay?\nWith a card.\n\nCash is fine too.\n"
BOLD = "**Wann öffnen Sie?**\nUm neun.\n\n**2. Wo sind Sie?**\n\nIn Köln.\n"


def rows(text: str) -> list[tuple[str, str]]:
    return [(row.cells["question"], row.cells["answer"]) for row in read_table(text.encode()).rows]


def test_headings_that_ask_are_questions_and_the_rest_is_told() -> None:
    table = read_table(MARKDOWN.encode(), "help.md")
    assert rows(MARKDOWN) == [
        ("How do I pay?", "With a card.\nCash is fine too."),
        ("Where are you?", "In Lyon."),
    ]
    assert table.notes == (
        "Lines that ask are read as 2 questions, and what follows each as its answer.",
        "2 lines before the first question, or below other headings, are left out.",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PLAIN, ["Where are you?|In Lyon.", "How do I pay?|With a card.\n\nCash is fine too."]),
        ("Who are you?\nA bot.\nWhere?\nHere.\n", ["Who are you?|A bot.", "Where?|Here."]),
        ("Who? - A bot.\n2. When?  Now.\nWhy? → So.", ["Who?|A bot.", "When?|Now.", "Why?|So."]),
        ("### Q: Who?\n\n**A:** I.\n### Q: Why?\nA. So.", ["Who?|I.", "Why?|So."]),
        (BOLD, ["Wann öffnen Sie?|Um neun.", "Wo sind Sie?|In Köln."]),
        ("1. 在哪里？\n里昂。\n\n2. 怎么付款？\n用卡。", ["在哪里？|里昂。", "怎么付款？|用卡。"]),
    ],
)  # fmt: skip
def test_lines_that_ask_begin_a_row(text: str, expected: list[str]) -> None:
    assert ["|".join(row) for row in rows(text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "Who is it?\n\nWhere is it?\n\nWhat is it?\n",  # nobody answers
        "Is it late?\nYes.\n",  # one is no page of questions
        "It was late. The rain fell.\n" * 9 + "\nWho knows?\nNobody.\n\nWho cares?\nI do.\n",
        "Part 1\n\nIt was dark. It rained.\n\nWho goes there?\nNobody.\n\nHe turned. He walked.\n\n"
        "Where to?\nTo the sea.\n\nSo it went on, until the winter came.\n\nThen it froze.\n",
        "int count = 1;\nrun();\n\nstop();\nwait();\n",
        "question,answer\nWho?,Me.\nWhere?,Here.\n",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert find_faq(text) is None


def test_lettered_lines_are_options() -> None:
    text = "1. Which is red?\nA) sky\nB) blood\nAnswer: B\n\n"
    text += "2. Which is blue?\na. sky\nb. grass\nCorrect answer: a"
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and layout.options == ("options",)
    (first,), (second,) = (read_row(row, layout).exchanges for row in table.rows)
    assert first.question == "Which is red?\n\nOptions:\n(A) sky\n(B) blood"
    assert (first.reply, second.reply) == ("B", "A")


def test_a_sheet_whose_cells_ask_stays_a_sheet() -> None:
    text = "place,text\nhall,Where are you?\ndesk,In Lyon.\nhall,How do I pay?\ndesk,By card.\n"
    assert read_table(text.encode()).columns == ("place", "text")


def test_smaller_headings_and_code_belong_to_the_answer() -> None:
    text = (
        "## How do I build?\n#### Linux\n```sh\n# Is make there?\nmake\n```\n## 1. **Why? **\nSo.\n"
    )
    assert rows(text) == [
        ("How do I build?", "#### Linux\n```sh\n# Is make there?\nmake\n```"),
        ("Why?", "So."),
    ]


def test_endless_lines_and_letters_are_read_in_one_go() -> None:
    text = f"## Who?\n{'A.' * 9}\n## What?\n" + "A.\n" * 5_000 + "# " * 200_000 + "x\n"
    table = read_table(text.encode())
    assert (len(table.rows), len(table.faults)) == (1, 1)  # the second answer is too long
    assert find_faq("# " * 200_000 + "x\n" + "**a" * 100_000) is None
    assert find_faq("Who?" + " " * 200_000 + ",\nWhat? That.") is None


def test_only_a_number_before_a_question_is_taken_off() -> None:
    text = "1. Is room 12. open? - Yes.\n2. Who cleans it? - Mara."
    found = find_faq(text)
    assert found and found.pairs == [("Is room 12. open?", "Yes."), ("Who cleans it?", "Mara.")]


def test_questions_in_numbered_headings_and_folds_are_read() -> None:
    numbered = "# All\n\n1.  ### What is it?\n\n    A cat.\n\n   2. ### Why? 👶\n    So.\n"
    assert rows(numbered) == [("What is it?", "A cat."), ("Why?", "So.")]
    folded = (
        "<details>\n<summary>What is <b>it</b>?</summary><br><b>\nA cat.\n</b></details>\n"
        "<details>\n<summary>Why?</summary>\n\nSo.\n</details>\n"
    )
    assert rows(folded)[1] == ("Why?", "So.")
    assert rows(folded)[0][1] == "A cat."


def test_commas_of_markdown_part_no_cells() -> None:
    said = "On peut, bien sûr, venir.\nLe matin, et le soir, c'est ouvert.\n"
    text = f"# Aide, et conseils\n\n## Où, et quand ?\n\n{said}\n## Comment, enfin ?\n\n{said}"
    assert rows(text) == [("Où, et quand ?", said.strip()), ("Comment, enfin ?", said.strip())]


def test_code_in_one_line_opens_no_block() -> None:
    text = "## What?\n\n```a = 1```\n\n## Why?\n\n```py\n# How?\n```\n\n## Who?\n\nI.\n"
    assert rows(text) == [("What?", "```a = 1```"), ("Why?", "```py\n# How?\n```"), ("Who?", "I.")]


def test_tags_within_a_folded_answer_stay() -> None:
    code = "```html\n<p>\n<b>So</b>\n</p>\n```"
    folded = "".join(
        f"<details>\n<summary>What is {n}?</summary>\n<p>\n\n"
        f"It is <b>{n}</b>.\n{code}\n\n</p>\n</details>\n"
        for n in range(2)
    )
    assert rows(folded)[0] == ("What is 0?", f"It is <b>0</b>.\n{code}")


def test_boxes_below_questions_are_options() -> None:
    text = "".join(f"#### Q{n}. Is it {n}?\n\n- [x] Yes {n}\n- [ ] No\n\n" for n in range(1, 5))
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and layout.options == ("options",)
    row = read_row(table.rows[1], layout)
    assert row.exchanges[0].question == "Is it 2?\n\nOptions:\n(A) Yes 2\n(B) No"
    assert row.exchanges[0].reply == "Yes 2"


def test_a_heading_that_says_answer_ends_no_question() -> None:
    text = "".join(f"###### {n}. Is it {n}?\n\nLook.\n\n## Answer\n\nYes.\n\n" for n in (1, 2, 3))
    assert rows(text)[0] == ("Is it 1?", "Look.\n\n## Answer\n\nYes.")


def test_a_line_that_ends_most_answers_is_left_out_and_said() -> None:
    text = "".join(f"## Is it {n}?\n\nYes, {n}.\n\n[Top](#top)\n\n" for n in range(4))
    assert rows(text)[3] == ("Is it 3?", "Yes, 3.")
    notes = read_table(text.encode()).notes
    assert "“[Top](#top)” ends 4 answers and is left out there." in notes


def test_headings_beside_such_that_ask_are_asked_too() -> None:
    text = "# How do I begin?\nClick.\n# My download stands still\nWait.\n# Why?\nNo idea.\n"
    text += "# Who?\nWe.\n# Empty\n"
    found = find_faq(text)
    assert found and [question for question, _ in found.pairs] == [
        *("How do I begin?", "My download stands still", "Why?", "Who?")
    ]
    chapters = "# Money\nAll of it.\n" + "".join(f"## Is {n} enough?\nYes.\n" for n in range(4))
    found = find_faq(chapters)
    assert found and all(question.endswith("?") for question, _ in found.pairs)
