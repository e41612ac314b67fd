"""OpenAssistant's messages and trees become conversations, and nothing goes without a word."""

import io
import json
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo.errors import DataError
from demo.finetune.data.pictures import PictureStore
from demo.finetune.data.read import read_table
from demo.finetune.data.table import Table

# As in `2023-04-12_oasst_ready.messages.jsonl`, some of its columns left out.
MESSAGES: list[dict[str, Any]] = [
    {"message_id": "1", "parent_id": None, "text": "What is it?", "role": "prompter", "rank": None},
    {"message_id": "2", "parent_id": "1", "text": "Worse.", "role": "assistant", "rank": 1},
    {"message_id": "3", "parent_id": "1", "text": "A {thing}.", "role": "assistant", "rank": 0},
    {"message_id": "4", "parent_id": "3", "text": "Why?", "role": "prompter", "rank": 0},
    {"message_id": "5", "parent_id": "4", "text": "So.", "role": "assistant", "rank": 0},
    {"message_id": "6", "parent_id": "5", "text": "Hm?", "role": "prompter", "rank": 0},
    {"message_id": "7", "parent_id": None, "text": "Anybody?", "role": "prompter"},
    {"message_id": "8", "parent_id": "99", "text": "To whom?", "role": "assistant"},
]
THREAD = ["What is it?", "A {thing}.", "Why?", "So."]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def texts(table: Table) -> list[list[str]]:
    return [[t["content"] for t in json.loads(row.cells["messages"])] for row in table.rows]


def nested(parent: str | None) -> list[dict[str, Any]]:
    """The same as trees, by the message that is answered."""
    below = [message for message in MESSAGES if message["parent_id"] == parent]
    return [{**message, "replies": nested(message["message_id"])} for message in below]


def test_messages_are_joined_along_the_best_ranked_answers() -> None:
    table = read_table(lines(MESSAGES))
    assert texts(table) == [THREAD]
    roles = [turn["role"] for turn in json.loads(table.rows[0].cells["messages"])]
    assert roles == ["user", "assistant", "user", "assistant"]
    assert [(fault.number, fault.reason) for fault in table.faults] == [
        (7, "Nobody answered this message."),
        (8, "The message that this one answers is not in the file."),
    ]
    assert table.notes[-1] == (
        "The messages answer each other: each of 1 beginnings became a conversation along the best "
        "ranked answers, and 4 messages beside these are not used."
    )


def test_whole_trees_likewise() -> None:
    trees = [{"message_tree_id": tree["message_id"], "prompt": tree} for tree in nested(None)]
    table = read_table(lines(trees))
    assert texts(table) == [THREAD]
    assert [fault.reason for fault in table.faults] == ["Nobody answered this message."]
    assert "3 messages beside these" in table.notes[-1]


def test_what_was_deleted_is_not_followed() -> None:
    rows = [{**m, "deleted": m["message_id"] == "3"} for m in MESSAGES]
    assert texts(read_table(lines(rows))) == [["What is it?", "Worse."]]


def test_a_ring_and_a_long_chain() -> None:
    ring = [{**m, "parent_id": m["parent_id"] or "5"} for m in MESSAGES[:5]]
    assert len(read_table(lines(ring)).rows) == 5  # no beginning: the rows are as they came
    chain = [
        {"message_id": n, "parent_id": n - 1 if n else None, "text": f"{n}", "role": role}
        for n in range(3000)
        for role in (("prompter", "assistant")[n % 2],)
    ]
    assert len(texts(read_table(lines(chain)))[0]) == 3000


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "message_id": st.sampled_from(["1", "2", "3", ""]),
                "parent_id": st.sampled_from(["1", "2", "3", "", None, 3, "None"]),
                "role": st.sampled_from(["prompter", "assistant", "user", "x", None, 1]),
                "text": st.text(max_size=5) | st.none() | st.integers(),
            },
            optional={"rank": st.none() | st.floats() | st.text(max_size=2), "replies": st.none()},
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_messages_give_conversations_that_take_turns_or_a_refusal(
    rows: list[dict[str, Any]],
) -> None:
    try:
        table = read_table(json.dumps(rows).encode())
    except DataError:
        return
    if table.columns == ("messages",):
        for row in table.rows:
            roles = [turn["role"] for turn in json.loads(row.cells["messages"])]
            assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
        assert table.notes


@pytest.mark.matrix("B12")
def test_scienceqa_as_its_authors_pack_it() -> None:
    """Every picture is called image.png; the list of splits is no second table."""
    problem = {"question": "North?", "choices": ["a", "b"], "answer": 0, "image": "image.png"}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        problems = {str(n): {**problem, "split": "train"} for n in (1, 2)}
        file.writestr("scienceqa/problems.json", json.dumps(problems))
        file.writestr("scienceqa/pid_splits.json", json.dumps({"train": ["1", "2"]}))
        for n, colour in ((1, "red"), (2, "blue")):
            data = io.BytesIO()
            Image.new("RGB", (8, 8), colour).save(data, "PNG")
            file.writestr(f"scienceqa/train/{n}/image.png", data.getvalue())
    table = read_table(archive.getvalue())
    assert [row.cells["image"] for row in table.rows] == ["1/image.png", "2/image.png"]
    store = PictureStore(table.pictures, table.folder)
    seen = [store.resolve(row.cells["image"]) for row in table.rows]
    assert [one.name for one in seen] == [f"scienceqa/train/{n}/image.png" for n in (1, 2)]


def turns_of(data: bytes, name: str) -> list[list[tuple[str, str]]]:
    table = read_table(data, name=name)
    assert table.columns == ("messages",), table.columns
    talks = [json.loads(row.cells["messages"]) for row in table.rows]
    return [[(turn["role"], turn["content"]) for turn in talk] for talk in talks]


def test_tweets_to_a_company_are_questions_by_what_comes_in() -> None:
    tweets = (
        b"tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id\n"
        b"1,shop,False,Tue,We reply by mail.,,3.0\n3,115,True,Tue,Nobody answers.,1,4.0\n"
        b'4,shop,False,Tue,Please write to us.,3,8.0\n8,115,True,Tue,Where is my parcel?,"4,9",\n'
    )
    assert turns_of(tweets, "tweets.csv") == [
        [
            ("user", "Where is my parcel?"),
            ("assistant", "Please write to us."),
            ("user", "Nobody answers."),
            ("assistant", "We reply by mail."),
        ]
    ]


def test_in_a_forum_whoever_begins_asks_and_others_reply() -> None:
    posts = [
        {"id": 1, "author": "ann", "content": "How do I reset it?", "reply_to": None},
        {"id": 2, "author": "bob", "content": "Hold the red button.", "reply_to": 1},
        {"id": 3, "author": "ann", "content": "Thank you.", "reply_to": 2},
        {"id": 4, "author": "cy", "content": "Which oil?", "reply_to": None},
        {"id": 5, "author": "bob", "content": "Any.", "reply_to": 4},
    ]
    data = json.dumps(posts).encode()
    assert turns_of(data, "forum.json") == [
        [("user", "How do I reset it?"), ("assistant", "Hold the red button.")],
        [("user", "Which oil?"), ("assistant", "Any.")],
    ]
    assert any("Whoever writes the first" in note for note in read_table(data, name="a.json").notes)


def test_parts_of_a_plan_that_hang_below_each_other_are_no_messages() -> None:
    plan = b"id,parent_id,name,text\n" + b"".join(
        b"%d,%s,part %d,What is done in it.\n" % (n, str(n // 2).encode() if n > 1 else b"", n)
        for n in range(1, 9)
    )
    assert read_table(plan, name="plan.csv").columns == ("id", "parent_id", "name", "text")
