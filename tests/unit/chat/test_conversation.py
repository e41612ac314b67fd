from dataclasses import replace

import numpy as np
import pytest

from demo.chat import conversation as conversation_module
from demo.chat.conversation import (
    ALL,
    ASK_ABOUT_PICTURE,
    KEPT_CONVERSATIONS,
    MAX_CHARACTERS,
    Conversation,
    ConversationStore,
    ReplyStats,
)
from demo.chat.generation import after_talk
from demo.errors import BusyError, ContextFullError, InputError
from demo.llama.tokenizer.chat_template import Message
from demo.vision.image import Picture

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


@pytest.mark.matrix("E2")
def test_a_long_message_is_refused_with_both_numbers():
    with pytest.raises(InputError, match=r"100,000 characters; up to 8,000"):
        Conversation().ask("x" * 100_000)
    conversation = Conversation()
    conversation.ask("x" * MAX_CHARACTERS)
    assert len(conversation.turns) == 1


@pytest.mark.matrix("E6")
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


def test_a_turn_without_reply_stays_and_is_not_read_by_the_model(chat):
    chat.ask("never answered")
    chat.ask("this one")
    chat.ask("this one")  # once more, as nothing came
    assert [turn.text for turn in chat.turns][2:] == ["question 2", "never answered", "this one"]
    seen: list[Message] = []
    chat.prompt(lambda m: seen.extend(m) or [], window=9, reserve=1, drop_oldest=False)
    assert [m.content for m in seen][-3:] == ["question 2", "reply 2", "this one"]
    answer(chat, "reply 4")
    chat.edit(3, "in other words")
    assert [turn.text for turn in chat.turns][3:] == ["in other words"]
    chat.show_version(3, -1)
    assert [turn.text for turn in chat.turns][3:] == ["never answered", "this one"]


def test_the_same_words_with_another_picture_are_another_turn(chat):
    chat.ask("What is this?", picture(7))
    chat.ask("What is this?", picture(8))
    assert [turn.picture for turn in chat.turns[-2:]] == [picture(7), picture(8)]


def test_nothing_changes_while_a_reply_is_written(chat):
    chat.ask("next")
    chat.begin()
    for change in (chat.begin, chat.undo, chat.retry, lambda: chat.ask("x")):
        with pytest.raises(BusyError, match="still being written"):
            change()
    chat.finish("done", None)
    chat.ask("x")


def test_messages_reach_the_model_in_order(chat):
    chat.set_system("Be brief.")
    chat.ask("last")
    seen: list[Message] = []
    chat.prompt(lambda m: seen.extend(m) or [], window=9, reserve=1, drop_oldest=False)
    roles = [(message.role, message.content) for message in seen]
    assert roles[0] == ("system", "Be brief.") and roles[-1] == ("user", "last")
    assert roles[1:3] == [("user", "question 0"), ("assistant", "reply 0")]


def test_what_was_answered_about_pictures_can_be_left_out(chat):
    assert not after_talk(chat)
    chat.turns = tuple(
        replace(turn, stats=replace(STATS, image=turn.picture is not None)) for turn in chat.turns
    )
    chat.ask("another topic")
    assert after_talk(chat)  # the last of the three saw no picture, though one is in use
    seen: list[Message] = []
    for read, heard in ((0, 3), (1, 5), (2, 7), (ALL, 7)):
        seen.clear()
        options = {"window": 9, "reserve": 1, "drop_oldest": False, "about_pictures": read}
        chat.prompt(lambda m: seen.extend(m) or [], **options)
        assert len(seen) == heard and seen[-1].content == "another topic"
    answer(chat, "reply")
    chat.remove_picture()
    chat.ask("and one more")
    assert not after_talk(chat)


@pytest.mark.matrix("E2")
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


def test_a_visitors_conversation_is_kept_until_many_others_came() -> None:
    store = ConversationStore()
    first, second = store.of("first"), store.of("second")
    for number in range(KEPT_CONVERSATIONS - 1):
        assert store.of("first") is first  # in use
        store.of(f"visitor {number}")
    assert store.of("first") is first and store.of("second") is not second


def test_who_leaves_is_forgotten_and_waits_for_no_reply() -> None:
    store = ConversationStore()
    conversation = store.of("ada")
    store.drop("ada")
    store.drop("nobody")
    assert conversation.abandoned and store.of("ada") is not conversation


def noise(seed: int) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 255, (800, 600, 3), np.uint8))


@pytest.mark.matrix("H8")
def test_pictures_of_all_chats_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = noise(0).rgb.nbytes
    monkeypatch.setattr(conversation_module, "KEPT_BYTES", 9 * whole)
    store = ConversationStore()
    for number in range(24):
        mine = store.of(f"visitor {number % 3}")
        mine.ask("?", noise(number))
        mine.begin()
        mine.finish("!", None)
    chats = [store.of(f"visitor {number}") for number in range(3)]
    assert sum(chat.picture_bytes for chat in chats) <= 9 * whole
    assert [len(chat.turns) for chat in chats] == [8, 8, 8]
    for chat in chats:  # what is in use stays as it was sent; the rest is small
        assert chat.picture is chat.turns[-1].picture and _side(chat.picture) == 800
        assert {_side(turn.picture) for turn in chat.turns[:2]} == {384}


def _side(shown: object) -> int:
    assert isinstance(shown, Picture)
    return max(shown.rgb.shape)


def test_too_many_pictures_in_use_become_small_and_then_chats_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = noise(0).rgb.nbytes
    monkeypatch.setattr(conversation_module, "KEPT_BYTES", whole)
    store = ConversationStore()
    for number in range(30):
        store.of(f"{number}").ask("?", noise(number))
    last = store.of("29")
    assert last.turns and sum(chat.picture_bytes for chat in store._kept.values()) <= whole
    assert not store.of("0").turns


def texts(chat: Conversation) -> list[tuple[str, str]]:
    return [(turn.text, turn.reply) for turn in chat.turns]


def test_retry_gives_another_version_and_keeps_the_old(chat):
    assert chat.retry() == 1
    assert chat.turns[-1].reply == ""
    answer(chat, "another")
    assert [turn.reply for turn in chat.versions(2)] == ["reply 2", "another"]
    chat.ask("and then?")
    answer(chat, "this")
    chat.show_version(2, -1)
    assert texts(chat)[2:] == [("question 2", "reply 2")]
    chat.show_version(2, 1)  # and what came after it is there again
    assert texts(chat)[2:] == [("question 2", "another"), ("and then?", "this")]
    with pytest.raises(InputError, match="no other version"):
        chat.show_version(2, 1)


def test_an_edited_question_is_a_branch_and_nothing_is_lost(chat):
    before = texts(chat)
    chat.edit(1, "another question")
    answer(chat, "another reply")
    assert len(chat.turns) == 2 and chat.turns[1].picture == picture(2)
    chat.edit(1, "a third")
    answer(chat, "third reply")
    assert [turn.text for turn in chat.versions(1)] == ["question 1", "another question", "a third"]
    chat.show_version(1, -1)
    chat.show_version(1, -1)
    assert texts(chat) == before
    chat.like(0, True)  # shared by all versions
    chat.show_version(1, 1)
    assert chat.turns[0].liked


def test_a_reply_that_was_cut_goes_on_and_others_do_not(chat):
    with pytest.raises(InputError, match="no reply to continue"):
        chat.go_on()
    chat.ask("write")
    chat.begin()
    chat.finish("one, two", replace(STATS, stopped="length"))
    chat.go_on()
    assert chat.begin().reply == "one, two"
    assert [m.content for m in chat._messages(3)] == ["write"]  # what there is, is added as ids
    chat.finish("one, two, three", STATS)
    assert chat.turns[-1].reply == "one, two, three"
    with pytest.raises(InputError):
        chat.go_on()


def test_changes_are_told_and_a_reply_under_way_is_not(chat):
    told = []
    chat.on_change = lambda changed: told.append(texts(changed)[-1])
    chat.ask("next")
    chat.begin()
    chat.finish("done", STATS)
    assert told == [("next", ""), ("next", "done")]
