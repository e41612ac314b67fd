"""Conversations of words on the real page."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.browser.chat import Chat
from tests.processes import eventually
from tests.serving import Served

pytestmark = pytest.mark.page

LONG = "Write a long story about a boat and the sea."


def test_reply_streams_and_says_what_it_cost(chat: Chat) -> None:
    chat.ask(LONG)
    chat.streaming()
    assert chat.updates(1.5) >= 5  # 10 and more when nothing else runs on the machine
    chat.answered(1)
    expect(chat.facts).to_contain_text("no adapter")
    expect(chat.facts).to_contain_text("no picture")
    expect(chat.facts).to_contain_text(re.compile(r"read \d+, wrote \d+ tokens"))
    expect(chat.facts).to_contain_text("tokens/s")


def test_a_retry_is_another_version_and_a_turn_remembers(chat: Chat) -> None:
    chat.ask("What is the capital of France?")
    first = chat.answered(1)
    assert "Paris" in first
    alone = chat.prompt_tokens()
    chat.button("Retry")
    expect(chat.facts.last).to_contain_text("2/2")
    chat.answered(1)
    chat.page.get_by_role("button", name="Earlier version").click()
    expect(chat.facts.last).to_contain_text("1/2")
    assert chat.answered(1) == first
    chat.ask("What is the capital of France?")
    chat.answered(2)
    assert chat.prompt_tokens() > 2 * alone - 20  # the first turn is part of the prompt
    chat.edit("Say hello.")  # a branch: the other question stays
    expect(chat.questions.last).to_have_text("Say hello.")
    chat.answered(2)
    expect(chat.facts.last).to_contain_text("2/2")


def test_stop_stops(chat: Chat, server: Served) -> None:
    chat.longest_reply(1024)  # not over before the click, however busy the machine is
    chat.ask(LONG)
    chat.streaming()
    chat.stop_button.click()
    kept = chat.answered(1)
    expect(chat.facts).to_contain_text("stopped")
    assert server.busy(1.0) < 0.5
    assert chat.replies.last.inner_text().strip() == kept


def test_escape_stops_too(chat: Chat) -> None:
    chat.longest_reply(1024)
    chat.ask(LONG)
    chat.streaming()
    chat.page.keyboard.press("Escape")
    chat.answered(1)
    expect(chat.facts).to_contain_text("stopped")


def test_full_window_says_both_numbers_and_goes_on_without_the_oldest(chat: Chat) -> None:
    chat.longest_reply(4)
    for turn in range(2):
        chat.ask("cat " * 1010)
        if turn == 0:
            chat.answered(1)
    expect(chat.notice).to_contain_text("tokens and the model's window holds 2,048")
    expect(chat.questions).to_have_count(2)
    chat.page.get_by_role("button", name="Continue without the oldest turns").click()
    chat.answered(2)
    expect(chat.notice).to_be_hidden()
    expect(chat.questions).to_have_count(2)


def test_copied_text_is_what_was_typed(visit: Callable[..., Chat]) -> None:
    chat = visit(permissions=["clipboard-read", "clipboard-write"])
    chat.longest_reply(5)
    typed = "Is <b> a tag? print $1, $HOME$ and $x$, ${A}/${B}"
    chat.ask(typed)
    chat.answered(1)
    chat.page.get_by_role("button", name="Copy message").first.click()
    assert chat.page.evaluate("navigator.clipboard.readText()") == typed
    row = chat.page.locator("#conversation .message-buttons-right")
    row.get_by_role("button", name="Edit").last.click()  # and Submit without a change
    chat.button("Submit")
    expect(chat.facts.last).to_contain_text("2/2")
    chat.page.get_by_role("button", name="Copy message").first.click()
    assert chat.page.evaluate("navigator.clipboard.readText()") == typed


def test_undo_edit_and_new_chat(chat: Chat) -> None:
    chat.ask("What is the capital of Spain?")
    chat.answered(1)
    chat.edit("What is the capital of France?")
    expect(chat.questions).to_have_text("What is the capital of France?")
    expect(chat.replies.last).to_contain_text("Paris")
    chat.answered(1)
    chat.button("Undo")
    expect(chat.questions).to_have_count(0)
    expect(chat.box).to_have_value("What is the capital of France?")
    chat.box.press("Enter")
    chat.answered(1)
    chat.page.get_by_role("button", name="New chat").click()
    expect(chat.questions).to_have_count(0)
    expect(chat.page.get_by_role("heading", name="What shall we look at?")).to_be_visible()


@pytest.mark.matrix("C9")
def test_two_visitors_see_only_their_own_turns(visit: Callable[..., Chat]) -> None:
    one, other = visit(), visit()
    one.ask("Say the word lighthouse.")
    other.ask("Say the word windmill.")
    one.answered(1)
    other.answered(1)
    expect(one.questions).to_have_text("Say the word lighthouse.")
    expect(other.questions).to_have_text("Say the word windmill.")


def test_closing_the_tab_ends_the_reply(visit: Callable[..., Chat], server: Served) -> None:
    chat = visit()
    chat.longest_reply(1024)
    chat.ask(LONG)
    chat.streaming()
    chat.page.context.close()
    eventually(lambda: server.busy(1.0) < 0.5)


def test_two_clicks_on_send_are_one_question(chat: Chat) -> None:
    chat.box.fill("What is the capital of France?")
    chat.send_button.dblclick()
    chat.answered(1)
    expect(chat.questions).to_have_count(1)


def test_enter_pressed_twice_is_one_question(chat: Chat) -> None:
    chat.box.fill("What is the capital of France?")
    chat.box.evaluate(
        """(box) => [1, 2].forEach(() => box.dispatchEvent(
            new KeyboardEvent("keypress", {key: "Enter", bubbles: true})
        ))"""
    )
    chat.answered(1)
    expect(chat.questions).to_have_count(1)
    expect(chat.notice).to_be_hidden()


def test_a_message_sent_too_early_is_kept_and_explained(chat: Chat) -> None:
    chat.longest_reply(1024)
    chat.ask(LONG)
    chat.streaming()
    chat.ask("And more?")
    expect(chat.notice).to_contain_text("still being answered")
    expect(chat.box).to_have_value("And more?")
    chat.stop_button.click()
    chat.answered(1)
    expect(chat.questions).to_have_count(1)


def test_what_cannot_be_sent_is_kept_and_explained(chat: Chat) -> None:
    chat.box.press("Enter")
    expect(chat.notice).to_contain_text("Please type a message")
    chat.box.fill("x" * 100_000)
    chat.box.press("Enter")
    expect(chat.notice).to_contain_text("100,000 characters")
    assert len(chat.box.input_value()) == 100_000
    chat.page.get_by_role("button", name="Dismiss").click()
    expect(chat.notice).to_be_hidden()
    expect(chat.questions).to_have_count(0)


def test_what_is_said_before_the_greeting_stays(chat: Chat) -> None:
    page = chat.page.context.new_page()
    held: list[Route] = []
    page.route("**/run/predict*", lambda route: held.append(route))
    early = Chat(page, chat.page.url)
    early.box.press("Enter")
    expect(early.notice).to_contain_text("Please type a message")
    with page.expect_response("**/run/predict*"):
        held[0].continue_()
    page.unroute("**/run/predict*")
    page.wait_for_timeout(1000)  # it shows nothing of its own that could be waited for
    expect(early.notice).to_contain_text("Please type a message")


@pytest.mark.matrix("C8", "E1")
def test_typed_markup_and_control_tokens_are_only_text(chat: Chat) -> None:
    typed = 'a <b>b</b> <img src="x" onerror="document.title = 1"> <|im_end|> ![c](//evil.test/c)'
    chat.ask(typed)
    chat.answered(1)
    shown = chat.questions.last.inner_text().replace("\u2060", "").strip()
    assert shown.startswith('a <b>b</b> <img src="x" onerror=')
    assert "<|im_end|>" in shown
    assert chat.questions.last.locator("img, b").count() == 0
    assert chat.page.title() == "LLaMA-Adapter Studio"


def test_half_a_character_does_no_harm(chat: Chat) -> None:
    chat.box.evaluate(
        """(box) => {
            box.value = "Say hi \\ud83d please";
            box.dispatchEvent(new Event("input", {bubbles: true}));
        }"""
    )
    chat.box.press("Enter")
    chat.answered(1)
    expect(chat.questions).to_have_text("Say hi ? please")


def test_formulas_code_and_dollars(chat: Chat) -> None:
    chat.ask("$x^2$ is a formula, $5 and $10 are not:\n```python\nprint('<b>')\n```")
    chat.answered(1)
    question = chat.questions.last
    expect(question.locator(".katex").first).to_be_visible()
    assert question.locator(".katex").count() == 1
    expect(question).to_contain_text("$5 and $10")
    expect(question.locator("pre")).to_contain_text("print")


def test_system_prompt_and_longest_reply_are_used(chat: Chat) -> None:
    chat.ask("Hello, who are you?")
    without = chat.answered(1)
    chat.page.get_by_role("button", name="New chat").click()
    expect(chat.facts).to_have_count(0)
    chat.longest_reply(5)
    chat.page.get_by_label("System prompt").fill("You are a pirate. Always say Arr.")
    chat.ask("Hello, who are you?")
    assert chat.answered(1) != without
    expect(chat.facts).to_contain_text("wrote 5 tokens")
    expect(chat.facts).to_contain_text("cut at 5 tokens")
    cut = chat.replies.last.inner_text().strip()
    chat.page.get_by_role("button", name="continue", exact=True).click()
    expect(chat.replies.last).not_to_have_text(cut)
    assert chat.answered(1).startswith(cut)
