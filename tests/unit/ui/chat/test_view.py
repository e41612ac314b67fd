"""Turns as the chat shows them."""

from dataclasses import replace

import pytest

from demo.chat.conversation import ReplyStats, Turn
from demo.runtime import Reply
from demo.ui import html
from demo.ui.chat.view import Transcript, asks_about_page, question_at, reply_at
from demo.ui.files import Uploads
from demo.ui.strings import ENGLISH
from demo.vision.image import Picture
from demo.vision.video import Video

STATS = ReplyStats("none", False, 9, 3, 0.1, 50.0, "end")


def test_a_video_is_shown_under_its_words(uploads: Uploads, video: Video) -> None:
    transcript = Transcript(uploads, ENGLISH)
    words, strip = transcript.render("ada", (Turn("one", video),))[0]["content"]
    assert words["text"] == "one"
    shown = strip["value"]
    assert shown.count("<img ") == shown.count("data:image/webp;base64,") == 8
    assert 'alt="The video after 0.8 s"' in shown
    assert "A video, 12 s; I look at 8 frames of it." in shown
    cut = Video(video.frames[:3], video.seconds[:3], 2.04, cut=True)
    shown = transcript.render("ada", (Turn("one", cut),))[0]["content"][1]["value"]
    assert "could not be read to its end; I look at 3 frames of its 2 s." in shown


def test_turns_are_shown_with_thumbnail_reply_and_facts(uploads: Uploads, picture: Picture) -> None:
    transcript = Transcript(uploads, ENGLISH)
    turns = (Turn("one", picture, "<b>", STATS), Turn("two"), Turn("three", None, "3", STATS))
    messages = transcript.render("ada", turns)
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant", "assistant", "user", "assistant"] + roles[:1] + roles[1:3]
    assert [part["type"] for part in messages[0]["content"]] == ["file", "text"]
    asked = [number for number, role in enumerate(roles) if role == "user"]
    assert [question_at(turns, index) for index in asked] == [0, 1, 2]
    assert question_at(turns, 1) is None
    assert question_at(turns, 99) is None
    assert [reply_at(turns, index) for index in (0, 1, 2, 6, 99)] == [None, 0, None, 2, None]


def test_a_doubt_stands_under_the_reply_and_never_in_it(uploads: Uploads) -> None:
    transcript, doubt = Transcript(uploads, ENGLISH), html.doubt_note(ENGLISH)
    code = "```python\nprint('a cat')\n```"
    growing = transcript.render("ada", (Turn("one"),), Reply(code, unfamiliar=True))
    assert [part["content"][0].get("text") for part in growing[1:]] == [code, None]
    assert growing[2]["content"][0]["value"] == doubt
    assert len(transcript.render("ada", (Turn("one"),), Reply(unfamiliar=True))) == 2  # no text yet
    doubtful = Turn("one", None, code, replace(STATS, unfamiliar=True), unfamiliar=True)
    question, reply, facts = transcript.render("ada", (doubtful,))
    assert reply["content"][0]["text"] == code
    assert facts["content"][0]["value"].startswith(doubt)
    corrected = replace(doubtful, reply="a dog", corrected=True, unfamiliar=False)
    for turn in (corrected, Turn("one", None, code, STATS)):
        assert "doubt" not in transcript.render("ada", (turn,))[2]["content"][0]["value"]


def test_a_running_reply_stands_in_for_the_last_turns(uploads: Uploads) -> None:
    transcript = Transcript(uploads, ENGLISH)
    waiting = transcript.render("ada", (Turn("one"),), Reply(waiting="Loading, 40%"))
    assert "Loading, 40%" in waiting[-1]["content"][0]["value"]
    growing = transcript.render("ada", (Turn("one"),), Reply("so far"))
    assert growing[-1]["content"][0]["text"] == "so far"


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("hi, what can you do?", True),
        ("What can I do with this page? What can it do", True),
        ("Who are you?", True),
        ("How do I use this?", True),
        ("what are your abilities", True),
        ("help!", True),
        ("你能做什么", True),
        ("What can a doctor do about a cold?", False),
        ("What is the capital of France?", False),
        ("What do you think of rain?", False),
        ("Help me write a letter.", False),
        ("What are you going to need to bake a cake? " + "Tell me all of it. " * 5, False),
    ],
)
def test_what_the_page_can_do_is_said_by_the_page(uploads: Uploads, text: str, about: bool) -> None:
    assert asks_about_page(text) == about
    transcript = Transcript(uploads, ENGLISH, "A note.")
    turns = (Turn(text, None, "I can help.", STATS),) * 2
    facts = [message["content"][0].get("value", "") for message in transcript.render("ada", turns)]
    assert [ENGLISH.page_can in part for part in (facts[2], facts[5])] == [about, about]
    assert [("A note." in part) for part in (facts[2], facts[5])] == [True, False]
