"""What the page looks like on a desk, on a phone, by day and by night."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.chat import Chat

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", ["desk", "phone"])
def test_page_fits(visit: Callable[..., Chat], tmp_path: Path, device: str, scheme: str) -> None:
    chat = visit(color_scheme=scheme, **(PHONE if device == "phone" else {}))
    expect(chat.page.locator("#conversation .example")).to_have_count(9)
    chat.page.screenshot(path=tmp_path / f"{device}-{scheme}-empty.png")
    chat.ask("What is the capital of France?")
    chat.answered(1)
    chat.page.screenshot(path=tmp_path / f"{device}-{scheme}-chat.png")
    width, height = chat.page.viewport_size["width"], chat.page.viewport_size["height"]
    assert chat.page.evaluate("document.documentElement.scrollWidth") == width
    box = chat.page.locator("#composer").bounding_box()
    assert box["y"] + box["height"] <= height
    dark = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark.strip("rgb()").split(",")[:3])) < 200) == (scheme == "dark")


def test_phone_can_be_typed_and_touched_on(visit: Callable[..., Chat]) -> None:
    chat = visit(**PHONE)
    size = chat.box.evaluate("(box) => parseFloat(getComputedStyle(box).fontSize)")
    assert size >= 16  # below, a phone zooms in
    for button in chat.page.locator("#composer button:visible, #header button:visible").all():
        assert button.inner_text() or button.get_attribute("aria-label")
        area = button.bounding_box()
        assert min(area["width"], area["height"]) >= 40, button.get_attribute("aria-label")


def test_the_switch_wins_over_the_system_and_is_remembered(visit: Callable[..., Chat]) -> None:
    chat = visit(color_scheme="light")
    chat.page.get_by_role("button", name="Switch between light and dark").click()
    expect(chat.page.locator("body.dark")).to_be_attached()
    chat.page.reload()
    expect(chat.page.locator("body.dark")).to_be_attached()


def test_settings_open_and_close(chat: Chat) -> None:
    chat.page.get_by_role("button", name="Settings").click()
    expect(chat.page.get_by_label("System prompt")).to_be_in_viewport()
    chat.page.get_by_role("button", name="Toggle Sidebar").click()
    expect(chat.page.get_by_label("System prompt")).not_to_be_in_viewport()
