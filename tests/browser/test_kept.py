"""Chats that stay: a reload, a second tab, Back, the list."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat
from tests.browser.conftest import SAMPLES

pytestmark = pytest.mark.page


def test_a_chat_outlives_its_page_until_it_is_deleted(visit: Callable[..., Chat]) -> None:
    chat = visit()
    page, titles = chat.page, chat.page.locator("#chats-list .title")
    chat.longest_reply(12)
    chat.close_settings()
    chat.attach(SAMPLES / "house.png")
    chat.ask("What is $x$ in this?")
    said = chat.answered(1)
    expect(page).to_have_url(re.compile(r"\?chat=[a-z0-9]{12}$"))
    page.reload()
    expect(chat.facts).to_have_count(1)
    expect(chat.pictures).to_have_count(1)
    expect(chat.chip).to_contain_text("Picture in use")
    assert chat.replies.last.inner_text().strip() == said
    assert page.get_by_label("number input for Longest reply").input_value() == "12"
    tab = page.context.new_page()  # a second one, of the same browser
    tab.goto(page.url)
    expect(tab.locator("#conversation .facts")).to_have_count(1)
    tab.close()

    page.get_by_role("button", name="New chat").click()
    expect(chat.questions).to_have_count(0)
    chat.ask("Say the word windmill.")
    chat.answered(1)
    expect(titles).to_have_text(["Say the word windmill.", "What is $x$ in this?"])
    page.go_back()
    expect(chat.pictures).to_have_count(1)
    titles.first.click()
    expect(chat.questions).to_have_text("Say the word windmill.")

    page.get_by_label("Search your chats").fill("$X$ what")
    expect(titles).to_have_text(["What is $x$ in this?"])
    page.get_by_label("Search your chats").fill("")
    row = page.locator("#chats-list li").first
    row.hover()
    row.get_by_role("button", name="Rename").click()
    row.locator("input").fill("<b>mills</b>")
    row.locator("input").press("Enter")
    expect(titles.first).to_have_text("<b>mills</b>")
    row.hover()
    row.get_by_role("button", name="Delete").first.click()
    row.locator(".yes").click()
    expect(titles).to_have_text(["What is $x$ in this?"])
    expect(chat.questions).to_have_count(0)  # it was on the page
    other = visit()
    other.page.goto(page.url.split("?")[0] + "?chat=" + "0" * 12 + "&adapter=none")
    expect(other.notice).to_contain_text("This chat is not here")
    expect(other.page.get_by_label("Adapter", exact=True)).to_have_value("none")
    expect(other.page.locator("#chats-list li")).to_have_count(0)
