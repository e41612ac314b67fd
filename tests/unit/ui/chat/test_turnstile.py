"""One reply at a time for each visitor."""

import threading

import pytest

from demo.errors import BusyError
from demo.ui.chat.turnstile import Turnstile


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
    assert turnstile.wait("ada", 5)
    thread.join()
