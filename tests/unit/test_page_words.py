"""Words on the page: every sentence is used, and filled in with what it asks for."""

import string
from dataclasses import fields, replace
from pathlib import Path

import pytest

from demo.chat.conversation import ReplyStats
from demo.runtime import AdapterCard, Status
from demo.ui import snippets
from demo.ui.strings import ENGLISH

ROOT = Path(__file__).parents[2]
NASTY = '<img src=x onerror="alert(1)">'


def test_every_sentence_is_used() -> None:
    code = "".join(path.read_text() for path in (ROOT / "demo" / "ui").glob("*.py"))
    # By name, in chat.py's sliders.
    built = ("temperature", "top_", "repetition", "max_new", "strength")
    for field in fields(ENGLISH):
        assert f"strings.{field.name}" in code or field.name.startswith(built), field.name


def test_sentences_end_as_sentences_and_ask_for_named_things() -> None:
    for field in fields(ENGLISH):
        text = getattr(ENGLISH, field.name)
        if isinstance(text, str):
            assert text == text.strip()
            assert all(name != "" for _, name, _, _ in string.Formatter().parse(text))


def test_example_cards_show_six_pictures_that_exist() -> None:
    pictures = [example.picture for example in ENGLISH.examples if example.picture]
    assert len(pictures) >= 6
    assert all((ROOT / "assets" / "samples" / name).is_file() for name in pictures)


@pytest.mark.parametrize("state", ["loading", "ready", "failed"])
def test_status_from_outside_is_only_text(state: str) -> None:
    status = Status(state, NASTY, 0.5, NASTY, NASTY, NASTY, 8, 2, 300.0)  # type: ignore[arg-type]
    for html in (
        snippets.status_pill(status, ENGLISH),
        snippets.failed_panel(status, ENGLISH),
        snippets.notice(NASTY),
        snippets.waiting_line(NASTY),
    ):
        assert "<img" not in html


def test_status_pill_shows_progress_only_while_there_is_some() -> None:
    status = Status("loading", "Converting", 0.42, "", "", "cpu", 8, 2, 300.0)
    assert "42%" in snippets.status_pill(status, ENGLISH)
    ready = Status("ready", "Ready", None, "SmolLM2", "tower", "cpu", 8, 2, 300.0)
    assert "SmolLM2 · 8 bit · 2 threads" in snippets.status_pill(ready, ENGLISH)
    one = replace(ready, threads=1)
    assert "8 bit · 1 thread<" in snippets.status_pill(one, ENGLISH)


def test_footer_says_who_answered_and_how_fast() -> None:
    stats = ReplyStats("shapes", True, 41, 6, 0.42, 61.4, "cancelled")
    footer = snippets.reply_footer(stats, ENGLISH)
    words = ("shapes", "picture used", "41 + 6 tokens", "first token 0.42 s", "61 tokens/s")
    assert all(word in footer for word in (*words, "stopped"))
    plain = ReplyStats("none", False, 9, 1, 0.1, 0.0, "end")
    assert "plain base" in snippets.reply_footer(plain, ENGLISH)
    assert "tokens/s" not in snippets.reply_footer(plain, ENGLISH)  # one token has no speed


def test_adapter_sentence_describes_each_choice() -> None:
    card = AdapterCard("pirate", "Talks like a sailor.", ("text",), 172_800, "SmolLM2")
    said = snippets.adapter_sentence("pirate", (card,), ENGLISH)
    assert said == "Talks like a sailor. 172,800 parameters, for text."
    assert snippets.adapter_sentence("gone", (card,), ENGLISH) == ""
    assert "plain base" in snippets.adapter_sentence("none", (card,), ENGLISH)
