"""What the page looks like on a desk, on a phone, by day and by night."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.chat import Chat

pytestmark = pytest.mark.page

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


COVERED = """() => {
    const inside = (x, y, box) => x > box.left && x < box.right && y > box.top && y < box.bottom;
    const clipped = (element, x, y) => {
        for (let on = element.parentElement; on; on = on.parentElement) {
            const clips = getComputedStyle(on).overflow !== "visible";
            if (clips && !inside(x, y, on.getBoundingClientRect())) return true;
        }
        return false;
    };
    const seen = [], covered = [];
    for (const element of document.querySelectorAll("button, a[href], input, textarea")) {
        const visible = {opacityProperty: true, visibilityProperty: true};
        const {left, top, width, height} = element.getBoundingClientRect();
        const [x, y] = [left + width / 2, top + height / 2];
        if (element.closest("[inert], [aria-hidden=true]")) continue;
        if (!element.checkVisibility(visible)) continue;
        if (element.type === "file" || width < 8 || clipped(element, x, y)) continue;
        const at = document.elementFromPoint(x, y);
        const name = element.ariaLabel || element.innerText || element.placeholder || element.id;
        seen.push(name.trim());
        if (!element.contains(at) && !at?.closest("label")?.contains(element)) {
            covered.push(`${name} at ${x}, ${y} lies below ${at?.outerHTML.slice(0, 120)}`);
        }
    }
    return [seen, covered];
}"""
SETTLED = """() => Promise.allSettled(
    document.getAnimations()
        .filter((one) => one.effect.getComputedTiming().iterations < Infinity)
        .map((one) => one.finished)
)"""
LOADING = """() => {
    const pill = document.querySelector("#status .pill");
    pill.classList.remove("ready");
    pill.querySelector(".state").textContent =
        "Preparing the kernel (it is compiled once, on the first start)";
}"""


def assert_nothing_covered(page: Page, *names: str) -> None:
    """A press on the middle of whatever can be pressed hits it; `names` are among that."""
    page.evaluate(SETTLED)
    seen, covered = page.evaluate(COVERED)
    assert not covered
    assert set(names) <= set(seen), seen


@pytest.mark.parametrize("width", [390, 768, 1000, 1280, 1920])
def test_nothing_lies_over_what_can_be_pressed(visit: Callable[..., Chat], width: int) -> None:
    chat = visit(viewport={"width": width, "height": 844})
    page = chat.page
    expect(page.locator("#conversation .example")).to_have_count(9)
    page.evaluate(LOADING)
    assert_nothing_covered(page, "Chat", "Teach", "Library", "Submit")
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("System prompt")).to_be_in_viewport()
    below = ["Library", "Submit", "Settings", "What is this?"] if width > 1080 else []
    assert_nothing_covered(page, "Toggle Sidebar", *below)
    if width <= 1080:
        page.keyboard.press("Escape")
        expect(page.get_by_label("System prompt")).not_to_be_in_viewport()
        page.get_by_role("button", name="Show or hide your chats").click()
        assert_nothing_covered(page, "New chat", "Search your chats")
        page.mouse.click(width - 10, 400)
    for name in ("Teach", "Library"):
        page.get_by_role("tab", name=name).click()
        expect(page.locator(f"#{name.lower()}")).to_be_visible()
        assert_nothing_covered(page, "Chat", "Teach", "Library")
    if width > 900:
        page.goto(page.url.split("?")[0].split("#")[0] + "zh")
        expect(page.get_by_role("tab", name="训练")).to_be_visible()
        page.evaluate(LOADING)
        assert_nothing_covered(page, "对话", "训练")
