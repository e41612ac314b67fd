"""Chats of two people as messengers export them."""

import json

import pytest

from demo.errors import DataError
from demo.finetune.data.chat_log import is_chat_log
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table

OF_ONE_PHONE = (
    "[03.12.24, 21:04:11] Mia 🌸: are you coming?\n"
    "[03.12.24, 21:05:00] +49 170 1234567: yes, at eight\nwith cake\n"
    "[03.12.24, 21:06:00] Mia 🌸: \u200eimage omitted\n"
    "[03.12.24, 21:06:10] Mia 🌸: great\n"
    "[04.12.24, 08:00:00] Mia 🌸: where are you?\n"
    "[04.12.24, 08:00:30] +49 170 1234567: nearly there\n"
)
OF_THE_OTHER = (
    "12/03/24, 9:15\u202fam - Messages and calls are end-to-end encrypted.\n"
    "12/03/24, 9:15\u202fam - Anna: Open on Sunday?\n"
    "12/03/24, 9:16\u202fam - Stern Bakery: From eight.\n"
    "12/03/24, 9:17\u202fam - Anna: <Media omitted>\n"
)


def talks(text: str) -> list[list[tuple[str, str]]]:
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and layout.chat == "messages"
    turns = [json.loads(row.cells["messages"]) for row in table.rows]
    return [[(turn["role"][0], turn["content"]) for turn in talk] for talk in turns]


def test_a_day_begins_a_conversation_and_lines_go_on() -> None:
    assert talks(OF_ONE_PHONE) == [
        [("u", "are you coming?"), ("a", "yes, at eight\nwith cake"), ("u", "great")],
        [("u", "where are you?"), ("a", "nearly there")],
    ]
    notes = read_table(OF_ONE_PHONE.encode()).notes
    assert notes[0].startswith("“Mia 🌸” asks and “+49 170 1234567” replies")
    assert notes[1].startswith("1 messages without words")


def test_what_nobody_answered_waits_for_a_reply() -> None:
    text = "[2024-12-03, 09:00] A: hi\n[2024-12-04, 09:00] A: you?\n[2024-12-04, 09:01] B: yes\n"
    assert talks(text) == [[("u", "hi\nyou?"), ("a", "yes")]]


def test_a_caption_below_a_picture_is_kept() -> None:
    text = "1/2/24, 09:00 - A: <Media omitted>\nThis one?\n1/2/24, 09:01 - B: Yes.\nTake it.\n"
    assert talks("\n" + text) == [[("u", "This one?"), ("a", "Yes.\nTake it.")]]


def test_many_lines_and_messages_are_read_in_one_go() -> None:
    lines = "".join(f"1/2/24, 09:00 - A: {at}\n" for at in range(50_000))
    text = lines + "1/2/24, 09:01 - B: So.\n" + "and so on\n" * 200_000
    with pytest.raises(DataError, match="item 1: “messages” has 2,538,962 characters"):
        read_table(text.encode())


def test_what_the_app_says_is_left_out() -> None:
    assert talks(OF_THE_OTHER) == [[("u", "Open on Sunday?"), ("a", "From eight.")]]
    assert read_table(OF_THE_OTHER.encode()).notes[1].startswith("2 messages without words")


def test_a_long_day_is_cut_before_a_message() -> None:
    lines = (f"[2024-12-03, 09:{at:02}] {'AB'[at % 2]}: {at}\n" for at in range(20))
    assert [len(talk) for talk in talks("".join(lines))] == [12, 8]


@pytest.mark.parametrize(("people", "count"), [("AAA", "Only “A”"), ("ABC", "3 people")])
def test_a_group_is_refused_in_words(people: str, count: str) -> None:
    text = "".join(f"[03.12.24, 21:0{at}] {who}: hello\n" for at, who in enumerate(people))
    with pytest.raises(DataError, match=f"{count} write.*export a chat of two"):
        read_table(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "12/03/2024 was a cold day: it snowed.\nWe stayed in. Nobody came.\n",
        "[1, 2, 3]",
        "2024-12-03 09:15:22 INFO server: started\n2024-12-03 09:15:23 INFO server: ready\n",
    ],
)
def test_dates_alone_make_no_chat(text: str) -> None:
    assert not is_chat_log(text)


def telegram(*messages: dict[str, object]) -> dict[str, object]:
    service = {"id": 0, "type": "service", "actor": "Ann", "action": "phone_call", "text": ""}
    return {"name": "Bakery", "type": "personal_chat", "id": 7, "messages": [service, *messages]}


def written(who: str, text: object, day: str = "2024-01-01") -> dict[str, object]:
    return {"type": "message", "date": f"{day}T10:00:00", "from": who, "text": text}


def test_telegrams_export_is_a_chat() -> None:
    bold = ["At ", {"type": "bold", "text": "seven"}, 5, {"type": "link"}, "."]
    entities = {"text_entities": [{"type": "plain", "text": "And on Sunday?"}], "text": None}
    chat = telegram(
        written("Ann", "When do you open?"),
        written("Stern", bold),
        written("Ann", "") | entities,
        written("Ann", "", "2024-01-02") | {"photo": "photos/1.jpg"},
        written("Stern", "We are closed."),
        written("Ann", "Thanks", "2024-01-03"),
        written("Stern", "Bye", "2024-01-03"),
    )
    first, second = talks(json.dumps(chat, indent=1))
    assert first[:2] == [("u", "When do you open?"), ("a", "At seven.")]
    assert first[2:] == [("u", "And on Sunday?"), ("a", "We are closed.")]
    assert second == [("u", "Thanks"), ("a", "Bye")]
    notes = read_table(json.dumps(chat).encode()).notes
    assert any("2 messages without words" in note for note in notes)


def test_a_channel_of_discord_is_a_chat() -> None:
    def sent(who: str, text: str, kind: str = "Default") -> dict[str, object]:
        author = {"id": "1", "name": who.lower(), "nickname": who, "isBot": False}
        return {
            "type": kind,
            "timestamp": "2024-01-01T1:0+00:00",
            "content": text,
            "author": author,
        }

    chat = {
        "guild": {"id": "0", "name": "Direct Messages", "iconUrl": ""},
        "channel": {"id": "5", "type": "DirectTextChat", "name": "Stern"},
        "messages": [
            sent("Stern", "", "ChannelPinnedMessage"),
            sent("Ann", "Open?"),
            sent("Stern", "Yes.", "Reply"),
        ],
    }
    assert talks(json.dumps(chat)) == [[("u", "Open?"), ("a", "Yes.")]]


def test_metas_chats_begin_with_the_last_message() -> None:
    def sent(who: str, text: str, when: int) -> dict[str, object]:
        garbled = [part.encode().decode("latin-1") for part in (who, text)]
        return {"sender_name": garbled[0], "timestamp_ms": when, "content": garbled[1]}

    chat = {
        "participants": [{"name": "Zoë"}, {"name": "Stern"}],
        "messages": [
            sent("Stern", "Um acht, wie immer.", 1_700_000_060_000),
            sent("Zoë", "Wann öffnet ihr?", 1_700_000_000_000),
        ],
        "title": "Stern",
    }
    assert talks(json.dumps(chat)) == [[("u", "Wann öffnet ihr?"), ("a", "Um acht, wie immer.")]]


def test_an_export_of_all_chats_and_one_of_many_people_are_refused() -> None:
    both = {"about": "…", "chats": {"list": [telegram(written("Ann", "Hello"))]}}
    with pytest.raises(DataError, match="all your chats.*export a single chat"):
        read_table(json.dumps(both).encode())
    three = telegram(*(written(who, "Hello") for who in ("Ann", "Bo", "Cy")))
    with pytest.raises(DataError, match="3 people write: “Ann”, “Bo”, “Cy”"):
        read_table(json.dumps(three).encode())
    with pytest.raises(DataError, match="Only “Ann” writes in this chat"):
        read_table(json.dumps(telegram(written("Ann", "Hello"))).encode())
    with pytest.raises(DataError, match="No message of this chat has words"):
        read_table(json.dumps(telegram()).encode())


def test_other_objects_with_messages_are_read_as_before() -> None:
    turns = [{"role": "user", "content": "Open?"}, {"role": "assistant", "content": "Yes."}]
    assert talks(json.dumps([{"messages": turns}])) == [[("u", "Open?"), ("a", "Yes.")]]
    assert len(read_table(json.dumps({"type": "chat", "messages": turns}).encode()).rows) >= 1
    with pytest.raises(DataError):
        read_table(b'{"type": "personal_chat", "messages": [')
