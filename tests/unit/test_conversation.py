from dataclasses import replace

import numpy as np
import pytest

from demo.chat.conversation import ASK_ABOUT_PICTURE, MAX_CHARACTERS, Conversation, ReplyStats
from demo.errors import BusyError, ContextFullError, InputError
from demo.llama.chat_template import Message
from demo.vision.media import Picture

STATS = ReplyStats("sight", False, 9, 3, 0.1, 50.0, "end")


def picture(shade: int) -> Picture:
    return Picture(np.full((2, 2, 3), shade, np.uint8))


def answer(conversation: Conversation, text: str) -> None:
    conversation.begin()
    conversation.finish(text, None)


@pytest.fixture
def chat() -> Conversation:
    """Three answered turns; the first two with pictures."""
    conversation = Conversation()
    for number, seen in enumerate((picture(1), picture(2), None)):
        conversation.ask(f"question {number}", seen)
        answer(conversation, f"reply {number}")
    return conversation


def count(messages: list[Message]) -> list[int]:
    """An encoder of 10 tokens a message."""
    return [0] * 10 * len(messages)


def prompt(conversation: Conversation, **options) -> list[int]:
    return conversation.prompt(
        count, **{"window": 1000, "reserve": 5, "drop_oldest": False, **options}
    )


def test_an_empty_message_is_refused():
    with pytest.raises(InputError, match="type a message or add a picture"):
        Conversation().ask("  \n ")


def test_a_long_message_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"100,000 characters; up to 8,000"):
        Conversation().ask("x" * 100_000)
    conversation = Conversation()
    conversation.ask("x" * MAX_CHARACTERS)
    assert len(conversation.turns) == 1


def test_lone_surrogates_and_nul_do_not_get_in():
    conversation = Conversation()
    conversation.ask("a\ud800b\0c")
    assert conversation.turns[0].text == "a?bc"


def test_a_picture_alone_asks_what_it_is():
    conversation = Conversation()
    conversation.ask("", picture(1))
    assert conversation.turns[0].text == ASK_ABOUT_PICTURE


def test_the_picture_in_use_is_the_last_one_sent(chat):
    assert chat.picture == picture(2)
    chat.ask("and this?", picture(3))
    assert chat.picture == picture(3)
    assert [turn.text for turn in chat.turns][:3] == ["question 0", "question 1", "question 2"]


def test_a_removed_picture_stays_with_its_turn_and_out_of_use(chat):
    chat.remove_picture()
    assert chat.picture is None and chat.turns[1].picture == picture(2)
    chat.undo()
    assert chat.picture is None
    chat.ask("a new one", picture(4))
    assert chat.picture == picture(4)


def test_what_was_answered_about_a_removed_picture_goes_with_it():
    chat = Conversation("Be brief.")
    for number, saw in enumerate((True, False, True)):
        chat.ask(f"question {number}", picture(number) if saw else None)
        chat.begin()
        chat.finish(f"reply {number}", replace(STATS, image=saw))
    read: list[str] = []

    def encode(messages: list[Message]) -> list[int]:
        read[:] = [message.content for message in messages]
        return [0]

    chat.ask("another one")
    chat.prompt(encode, window=1000, reserve=5, drop_oldest=False)
    assert len(read) == 8
    chat.undo()
    chat.remove_picture()
    chat.ask("another one")
    chat.prompt(encode, window=1000, reserve=5, drop_oldest=False)
    assert read == ["Be brief.", "question 1", "reply 1", "another one"]
    assert len(chat.turns) == 4  # the page shows them all
    answer(chat, "reply 3")
    chat.ask("and this?", picture(4))
    chat.prompt(encode, window=1000, reserve=5, drop_oldest=False)
    assert read[1:] == ["question 1", "reply 1", "another one", "reply 3", "and this?"]


def test_undo_gives_back_what_was_sent(chat):
    chat.undo()
    assert chat.undo() == ("question 1", picture(2))
    assert chat.picture == picture(1)
    chat.undo()
    with pytest.raises(InputError, match="no turn to undo"):
        chat.undo()


def test_retry_drops_the_reply_alone(chat):
    chat.retry()
    assert chat.turns[-1].text == "question 2" and chat.turns[-1].reply == ""
    answer(chat, "another")
    assert chat.turns[-1].reply == "another"


def test_edit_drops_what_came_after_and_keeps_the_picture(chat):
    chat.edit(1, "other words")
    assert [turn.text for turn in chat.turns] == ["question 0", "other words"]
    assert chat.picture == picture(2)
    with pytest.raises(InputError, match="no longer part"):
        chat.edit(7, "x")
    with pytest.raises(InputError, match="cannot be empty"):
        chat.edit(0, " ")


def test_an_unanswered_turn_is_replaced_by_the_next(chat):
    chat.ask("never answered")
    chat.ask("this one")
    assert [turn.text for turn in chat.turns][2:] == ["question 2", "this one"]


def test_nothing_changes_while_a_reply_is_written(chat):
    chat.ask("next")
    chat.begin()
    for change in (chat.begin, chat.undo, chat.retry, chat.clear, lambda: chat.ask("x")):
        with pytest.raises(BusyError, match="still being written"):
            change()
    chat.finish("done", None)
    chat.clear()
    assert chat.turns == () and chat.picture is None


def test_messages_reach_the_model_in_order(chat):
    chat.set_system("Be brief.")
    chat.ask("last")
    seen: list[Message] = []
    chat.prompt(lambda m: seen.extend(m) or [], window=9, reserve=1, drop_oldest=False)
    roles = [(message.role, message.content) for message in seen]
    assert roles[0] == ("system", "Be brief.") and roles[-1] == ("user", "last")
    assert roles[1:3] == [("user", "question 0"), ("assistant", "reply 0")]


def test_a_full_window_is_told_with_both_numbers(chat):
    chat.ask("one more")  # 7 messages
    assert len(prompt(chat, window=75)) == 70
    with pytest.raises(ContextFullError, match="75 tokens and the model's window holds 74"):
        prompt(chat, window=74)
    assert chat.dropped == 0


def test_oldest_turns_are_dropped_only_when_asked(chat):
    chat.ask("one more")
    assert len(prompt(chat, window=60, drop_oldest=True)) == 50
    assert chat.dropped == 1 and len(chat.turns) == 4
    assert len(prompt(chat, window=60)) == 50  # it stays dropped
    with pytest.raises(ContextFullError):
        prompt(chat, window=12, drop_oldest=True)
