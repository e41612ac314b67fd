"""What the chat tells apart before it asks the model."""

import pytest

from demo.ui.chat.handlers import is_foreign


@pytest.mark.parametrize(
    ("text", "foreign"),
    [
        ("你好", True),
        ("Как дела?", True),
        ("مرحبا", True),
        ("What does 谢谢 mean?", False),
        ("Wie geht es dir? Où es-tu?", False),
        ("1 + 1 = ?", False),
        ("Let α and β be angles.", False),
        ("🙂", False),
        ("", False),
    ],
)
def test_another_script_than_the_bases_is_known(text: str, foreign: bool) -> None:
    assert is_foreign(text) == foreign
