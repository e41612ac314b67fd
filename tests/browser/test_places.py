"""Places with an address: tabs and trainings, as Back, Forward and a reload find them."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat import Chat
from tests.browser.teach import Teach, rows

pytestmark = [pytest.mark.page, pytest.mark.trainings]

RUN = re.compile(r"#run/[0-9a-f]{16}$")


def opened(page: Page, tab: str) -> None:
    """Look for an open tab."""
    expect(page.locator(f"#{tab.lower()}-tab-button")).to_have_attribute("aria-selected", "true")


def test_back_and_forward_go_from_tab_to_tab_and_a_reload_stays(chat: Chat) -> None:
    page = chat.page
    chat.box.fill("not sent yet")
    for name in ("Teach", "Library", "About"):
        page.get_by_role("tab", name=name).click()
        expect(page).to_have_url(re.compile(f"#{name.lower()}$"))
    for name in ("Library", "Teach", "Chat"):
        page.go_back()
        opened(page, name)
    expect(page).to_have_url(re.compile(r"[^#]*$"))
    expect(chat.box).to_have_value("not sent yet")
    page.go_forward()
    page.go_forward()
    opened(page, "Library")
    expect(page.locator(".adapter-card").first).to_be_visible()
    page.wait_for_timeout(2000)  # a reload amid what Teach puts back makes Gradio complain
    page.reload()
    expect(page.locator("#library-page")).to_be_visible()
    opened(page, "Library")
    page.go_back()
    opened(page, "Teach")
    expect(page.locator("#teach-steps")).to_be_visible()


def test_back_from_a_training_leads_to_teach_as_it_was(visit: Callable[..., Chat]) -> None:
    chat = visit()
    page, teach = chat.page, Teach(chat.page)
    teach.take(rows())
    expect(teach.report).to_contain_text("12usable")
    teach.smallest(steps=4)
    teach.start.scroll_into_view_if_needed()
    scrolled = page.locator("#teach").evaluate("(element) => element.scrollTop")
    page.wait_for_function("(top) => history.state?.scroll === top", arg=scrolled)
    teach.start.click()
    expect(teach.state).to_be_visible()
    expect(page).to_have_url(RUN)
    address = page.url

    page.go_back()
    expect(page).to_have_url(re.compile("#teach$"))
    expect(teach.state).to_be_hidden()
    expect(teach.report).to_contain_text("12usable")
    expect(page.locator("#field-steps input")).to_have_value("4")
    page.wait_for_function(
        "(top) => Math.abs(document.querySelector('#teach').scrollTop - top) < 3", arg=scrolled
    )
    expect(page.locator("#earlier")).to_be_visible()  # the way to it for whoever looks for one
    page.go_forward()
    expect(page).to_have_url(address)
    expect(teach.state).to_contain_text("my-adapter")

    page.reload()
    opened(page, "Teach")
    expect(teach.state).to_contain_text("my-adapter")
    expect(page).to_have_url(address)
    page.go_back()
    page.go_back()
    opened(page, "Chat")
    expect(chat.box).to_be_visible()
    page.go_forward()
    opened(page, "Teach")

    other = visit()  # who does not know the secret finds nothing under the address
    other.page.goto(address)
    other.page.reload()
    expect(other.page.locator("#run-problem")).to_contain_text("not here")
    expect(other.page).to_have_url(re.compile("#teach$"))

    page.goto(address)
    page.reload()
    stop, delete = page.locator("#stop-discard"), page.locator("#delete-run")
    expect(stop.or_(delete).locator("visible=true").first).to_be_visible()
    if stop.is_visible():
        stop.click()
    delete.click(timeout=300_000)
    page.get_by_role("button", name="Delete for good").click()
    expect(page).to_have_url(re.compile("#teach$"))
