"""What a person is told where columns cannot be understood."""

import pytest

from demo.finetune.data.column_doubts import why_unknown


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["ticket_text", "label"], "“label” may be what is to be said of each “ticket_text”"),
        (["label", "review"], "“label” may be what is to be said of each “review”"),
        (["messages", "label"], "“label” may say which replies are good"),
        (["review", "rating"], "“rating” may say which replies are good"),
        (["question", "query", "answer"], "could both be the question"),
        (["alpha", "beta"], "names do not say which is the question and which the reply"),
    ],
)
def test_the_doubt_is_said_with_what_to_do(columns: list[str], said: str) -> None:
    assert said in why_unknown(columns)
    assert "by hand" in why_unknown(columns)
