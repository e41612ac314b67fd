"""The server is killed outright in the middle of chats: at most the reply under way is lost."""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from demo.chat.chat_file import FILE, read_chat
from demo.chat.conversation import Conversation
from tests.browser.chat import Chat
from tests.serving import READY_SECONDS, free_port, start, until

SEED = 7
LONGEST = 2.5  # seconds from a question until the kill: most replies are still being written
EACH = 4  # kills of one chat
QUESTIONS = (
    "Why is the sky blue?",
    "Write a story about a lighthouse.",
    "Say $x$, ${A} and *b*.",
    "Name three animals.",
)
MOMENTS = ("while it writes", "while it saves", "between two questions")
# What stands on the page: of each turn the question, the reply, whether that has ended, and whether
# the page says that there is none.
TURNS = """() => {
    const turns = [];
    for (const row of document.querySelectorAll("#conversation :is(.user-row, .bot-row)")) {
        const text = row.querySelector(".message")?.innerText.trim() ?? "";
        if (row.matches(".user-row"))
            turns.push({ asked: text, reply: "", ended: false, lost: false });
        else if (row.querySelector(".unanswered")) turns.at(-1).lost = true;
        else if (row.querySelector(".facts")) turns.at(-1).ended = true;
        else turns.at(-1).reply = text;
    }
    return turns;
}"""

ENDED = f"""(turns) => {{
    const all = ({TURNS})();
    return all.length === turns && all.at(-1).ended;
}}"""
# Questions come first, replies a moment later.
SETTLED = f"() => ({TURNS})().every((turn) => turn.ended || turn.reply || turn.lost)"


@pytest.mark.nightly
@pytest.mark.parametrize("times", [3, 50])
def test_kills_cost_the_unfinished_reply_at_most(
    browser: Browser, tmp_path: Path, times: int
) -> None:
    killed(browser, tmp_path, times)


def killed(browser: Browser, room: Path, times: int) -> None:
    """Kill the server so often, at moments drawn from a seed, and look at all chats each time."""
    chats, port, chance = room / "chats", free_port(), random.Random(SEED)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page, before, asked = context.new_page(), [], ""
    said: dict[str, list[dict[str, Any]]] = {}
    places = ("--chats", str(chats), "--runs", str(room / "runs"))
    for number in range(times + 1):
        served = start(*places, port=port)
        try:
            until(lambda served=served: served.status()["state"] == "ready", READY_SECONDS, served)
            chat = Chat(page, f"{served.url}{asked}")
            if before:
                expect(chat.questions.nth(len(before) - 1)).to_be_visible()
                page.wait_for_function(SETTLED)
                assert_kept(before, page.evaluate(TURNS))
            if number == times:
                break
            if number % EACH == 0 and before:
                page.get_by_role("button", name="New chat").click()
                expect(chat.questions).to_have_count(0)
            shown = page.evaluate(TURNS)
            chat.ask(QUESTIONS[number % len(QUESTIONS)])
            moment(chat, chats, MOMENTS[number % len(MOMENTS)], len(shown) + 1, chance)
            before = page.evaluate(TURNS)
            if before and not before[-1]["asked"]:
                before.pop()  # its words are not drawn yet
        finally:
            served.process.kill()
            served.process.wait()
        asked = f"?{page.url.partition('?')[2]}"
        if before:
            said[asked.partition("chat=")[2]] = before
    context.close()
    for chat_id, turns in said.items():
        (place,) = chats.glob(f"*/{chat_id}")
        assert_readable(place, turns)


def moment(chat: Chat, chats: Path, when: str, turns: int, chance: random.Random) -> None:
    """Wait for the moment of a kill; with what was asked just now there are so many turns."""
    if when == "while it saves":
        saved_once(chats, chance.choice((1, 2)))  # the question, or the reply too
    elif when == "while it writes":
        time.sleep(chance.uniform(0, LONGEST))
    else:
        chat.page.wait_for_function(ENDED, arg=turns, timeout=300_000)
        time.sleep(chance.uniform(0, 0.5))


def saved_once(chats: Path, times: int) -> None:
    """Wait until a chat's file has begun to be written so often."""
    seen: set[str] = set()
    end = time.monotonic() + 300
    while len(seen) < times and time.monotonic() < end:
        for folder, _, files in os.walk(chats):
            seen |= {f"{folder}/{name}" for name in files if name.endswith(".part")}


def assert_kept(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """All that was on the page is there again, but for a reply that had not ended."""
    assert len(after) >= len(before)
    for old, new in zip(before, after, strict=False):
        assert new["asked"] == old["asked"]
        if old["ended"]:
            assert new == old


def assert_readable(place: Path, turns: list[dict[str, Any]]) -> None:
    """The file of a chat opens, and has a reply for every one that had ended."""
    kept = Conversation()
    read_chat(place / FILE, kept)
    for turn, old in zip(kept.turns, turns, strict=False):
        assert turn.text in QUESTIONS
        assert not old["ended"] or turn.reply and turn.stats
    assert len(kept.turns) >= len(turns)
