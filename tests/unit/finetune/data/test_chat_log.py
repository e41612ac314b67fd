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


@pytest.mark.parametrize(("people", "count"), [("AAA", "1 people"), ("ABC", "3 people")])
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
