"""One reply at a time for each visitor, and what is told apart before the model is asked."""

import threading

import pytest

from demo.errors import BusyError
from demo.ui.chat.handlers import Turnstile, is_foreign


def test_one_reply_at_a_time_for_each_visitor() -> None:
    turnstile = Turnstile("busy")
    with turnstile.enter("ada") as stop:
        with pytest.raises(BusyError, match="busy"), turnstile.enter("ada"):
            pass
        with turnstile.enter("alan"):
            pass
        assert not turnstile.wait("ada", 0.05)
        assert stop.is_set()
    with turnstile.enter("ada") as stop:
        assert not stop.is_set()


def test_waiting_ends_with_the_reply() -> None:
    turnstile, inside = Turnstile("busy"), threading.Event()

    def answer() -> None:
        with turnstile.enter("ada") as stop:
            inside.set()
            stop.wait(60)

    thread = threading.Thread(target=answer)
    thread.start()
    inside.wait(60)
    assert turnstile.wait("ada", 60)
    thread.join()


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
