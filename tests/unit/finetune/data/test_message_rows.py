"""Rows that are messages become conversations; other tables that name people stay as they are."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.finetune.data.message_rows import ALONE, SEVERAL
from demo.finetune.data.read import read_table
from demo.finetune.data.table import Table

BAKERY = [
    "Open on Sunday?",
    "From 9 to 12.",
    "Rye bread?",
    "On Fridays.",
    "Any left?",
    "No, sorry.",
]


def sheet(columns: str, rows: list[list[Any]]) -> Table:
    text = io.StringIO()
    csv.writer(text).writerows([columns.split(","), *rows])
    return read_table(text.getvalue().encode())


def talks(table: Table) -> list[list[tuple[str, str]]]:
    assert table.columns == ("messages",)
    read = [json.loads(row.cells["messages"]) for row in table.rows]
    return [[(turn["role"][0], turn["content"]) for turn in turns] for turns in read]


@pytest.mark.parametrize(
    ("columns", "asks", "replies"),
    [
        ("conversation_id,role,content", "user", "assistant"),
        ("dialogue_id,speaker,utterance", "Customer", "Agent"),
        ("Ticket,From,Body", "client_17", "Support 2"),
        ("session,sender,message", "anna", "Bakery"),
        ("chat_id,author,text", "anna", "bakery"),
    ],
)
def test_numbered_conversations_are_parted(columns: str, asks: str, replies: str) -> None:
    rows = [[n // 2, (asks, replies)[n % 2], text] for n, text in enumerate(BAKERY)]
    read = talks(sheet(columns, rows))
    assert read == [[("u", BAKERY[n]), ("a", BAKERY[n + 1])] for n in (0, 2, 4)]


def test_two_people_who_take_turns_are_parted_by_days() -> None:
    days = [f"2024-01-0{2 + n // 4} 10:0{n}" for n in range(6)]
    rows = [[day, ("Anna", "Shop")[n % 2], BAKERY[n]] for n, day in enumerate(days)]
    table = sheet("timestamp,sender,message", rows)
    assert [len(talk) for talk in talks(table)] == [4, 2]
    assert "Whoever writes first asks" in table.notes[-1]
    assert talks(sheet("timestamp,sender,message", rows[::-1]))[0][0] == ("u", BAKERY[0])


def test_messages_as_discord_has_them() -> None:
    people = [{"id": "5", "username": "anna"}, {"id": "6", "username": "x", "global_name": "Shop"}]
    rows = [
        {"id": str(n), "content": text, "author": people[n % 2], "timestamp": f"2024-01-02T10:0{n}"}
        for n, text in enumerate(BAKERY)
    ]
    rows.append({"id": "9", "content": "", "author": people[1], "timestamp": "2024-01-02T10:09"})
    table = read_table(json.dumps(rows[::-1]).encode())  # the last one comes first
    assert talks(table) == [[("ua"[n % 2], text) for n, text in enumerate(BAKERY)]]
    assert "not used: “id”." in table.notes[-2] and "left out: 1." in table.notes[-1]


def test_turns_have_an_order_and_stand_mixed() -> None:
    rows = [[2, 1, "bot", "In Lyon."], [1, 1, "bot", "By card."]]
    rows += [[1, 0, "user", "How do I pay?"], [2, 0, "user", "Where?"], [1, 10, "user", "Thanks."]]
    rows += [[1, 2, "system", "The till is open."]]
    read = talks(sheet("dialog_id,turn_id,speaker,text", rows))
    assert read[0] == [("u", "Where?"), ("a", "In Lyon.")]
    assert read[1][:2] == [("u", "How do I pay?"), ("a", "By card.")]
    assert [role for role, _ in read[1]] == ["u", "a", "s", "u"]


def test_what_nobody_answered_and_what_several_wrote_is_named() -> None:
    rows = [[1, "ann", "Hello?"], [2, "ann", "Open?"], [2, "shop", "Yes."]]
    rows += [[3, who, "Hi."] for who in ("ann", "shop", "bob")]
    rows += [[4, "cy", "Bread?"], [4, "shop", "Yes."], [5, "cy", "Rye?"], [5, "shop", "No."]]
    table = sheet("thread,sender,text", rows)
    assert len(talks(table)) == 3
    assert [(fault.number, fault.reason) for fault in table.faults] == [(2, ALONE), (5, SEVERAL)]


def test_long_ones_are_parted_where_somebody_asks() -> None:
    rows = [[7, ("user", "bot")[n % 2], str(n)] for n in range(100)]
    read = talks(sheet("chat_id,role,text", rows))
    assert all(talk[0][0] == "u" and len(talk) <= 14 for talk in read)
    assert [text for talk in read for _, text in talk] == [str(n) for n in range(100)]


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ("author,text", [["Wilde", "a"], ["Twain", "b"], ["Wilde", "c"], ["Twain", "d"]]),
        ("user,text,date", [[f"u{n}", f"nice {n}", "2024-01-01"] for n in range(6)]),
        (
            "role,text,rating",
            [["user", "a", 1], ["bot", "b", 2], ["user", "c", 3], ["bot", "d", 1]],
        ),
        ("sender,text", [["ann", "a"], ["ann", "b"], ["bob", "c"], ["bob", "d"]]),
        ("speaker,question,answer", [["ann", "a", "b"], ["bob", "c", "d"], ["ann", "e", "f"]]),
        ("scene,speaker,text", [[1, who, "x"] for who in ("a", "b", "c")]),
    ],
)
def test_other_tables_stay(columns: str, rows: list[list[Any]]) -> None:
    assert sheet(columns, rows).columns == tuple(columns.split(","))


WORDS = st.text("abc 12", max_size=5)
SENDERS = st.sampled_from(["user", "agent", "", "Bob", "system"])
MESSAGE = st.tuples(st.integers(0, 3), SENDERS, WORDS)


@given(st.lists(MESSAGE, min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_words_are_lost_but_those_that_are_named(rows: list[tuple[int, str, str]]) -> None:
    data = [{"chat_id": talk, "role": who, "text": text} for talk, who, text in rows]
    table = read_table(json.dumps([*data, {"chat_id": 9, "role": "user", "text": "q"}]).encode())
    if table.columns != ("messages",):
        assert len(table.rows) + len(table.faults) == len(rows) + 1
        return
    kept = "\n".join(text for talk in talks(table) for _, text in talk)
    numbers = {row.number for row in table.rows} | {fault.number for fault in table.faults}
    first = {talk: n for n, (talk, _, text) in reversed(list(enumerate(rows, 1))) if text.strip()}
    assert numbers <= {*first.values(), len(rows) + 1}
    read = {row.number for row in table.rows}
    for talk, _, text in rows:
        assert not text.strip() or first[talk] not in read or text.strip() in kept


def test_writers_known_by_numbers_take_turns_in_a_chat() -> None:
    table = read_table(
        b"message_id,chat_id,author_id,created_at,text\n"
        b"1,10,501,2024-01-01,Is the shop open?\n2,10,502,2024-01-01,From nine to six.\n"
        b"3,11,503,2024-01-02,Can I return a jacket?\n4,11,502,2024-01-02,Within a month.\n",
        name="chats.csv",
    )
    turns = [json.loads(row.cells["messages"]) for row in table.rows]
    assert [[turn["content"] for turn in talk] for talk in turns] == [
        ["Is the shop open?", "From nine to six."],
        ["Can I return a jacket?", "Within a month."],
    ]
