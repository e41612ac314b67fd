"""What the page looks like on a desk, on a phone, by day and by night."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat import Chat

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("device", ["desk", "phone"])
def test_page_fits_by_day_and_by_night(
    visit: Callable[..., Chat], tmp_path: Path, device: str
) -> None:
    schemes = ("dark", "light") if device == "phone" else ("light", "dark")
    chat = visit(color_scheme=schemes[0], **(PHONE if device == "phone" else {}))
    for filled in (False, True):
        if filled:
            chat.ask("What is the capital of France?")
            chat.answered(1)
        else:
            expect(chat.page.locator("#conversation .example")).to_have_count(9)
        for scheme in schemes:
            chat.page.emulate_media(color_scheme=scheme)
            expect(chat.page.locator("body.dark")).to_have_count(int(scheme == "dark"))
            chat.page.screenshot(path=tmp_path / f"{device}-{scheme}-{filled}.png")
            assert_fits(chat.page, dark=scheme == "dark")


def assert_fits(page: Page, *, dark: bool) -> None:
    """Nothing lies beside the window, the field to type in is in it, and the ground is dark."""
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    box = page.locator("#composer").bounding_box()
    assert box["y"] + box["height"] <= height
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.strip("rgb()").split(",")[:3])) < 200) == dark


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
