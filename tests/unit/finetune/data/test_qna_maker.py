"""Questions and answers as bots of Microsoft keep them."""

from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from tests.files import refusal

QNA = """> !# @qna.pair.source = shop
> # Pairs
## ? When are you open?
- opening hours
- When do you open?

**Filters:**
- place = shop

```markdown
From *ten* to six.

    On Sundays never.
```
**Prompts:**
- [Where?](#?where)

### ? Do you bake rye bread?
\t```
\tYes, on Fridays.
\tAsk for it.
\t```

# ? And cakes?
- cakes
"""


def test_each_way_to_ask_has_the_answer() -> None:
    table = read_table(QNA.encode())
    layout = recognise_table(table)
    assert layout and (layout.question, layout.reply) == ("patterns", "responses"), table.columns
    rows = [(row.cells["patterns"], row.cells["responses"]) for row in table.rows]
    hours = "From *ten* to six.\n\n    On Sundays never."
    assert rows == [
        ("When are you open?", hours),
        ("opening hours", hours),
        ("When do you open?", hours),
        ("Do you bake rye bread?", "Yes, on Fridays.\nAsk for it."),
    ]
    assert any("1 questions without an answer" in note for note in table.notes), table.notes


def test_what_people_say_alone_is_refused() -> None:
    text = "> !# @app.name = Weather\n\n## Forecast\n- weather in {@Location=Redmond}\n- rain?\n"
    assert "no reply to it" in refusal(text.encode())


def test_a_page_of_questions_stays_one() -> None:
    text = "# ? Help\n\n## When are you open?\n\nFrom ten.\n\n## Do you bake?\n\nYes, we do.\n"
    assert len(read_table(text.encode()).rows) == 2
